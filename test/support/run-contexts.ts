import { RunStatistics } from '../../src/analysis/run/run-statistics.ts';
import type { RunContext } from '../../src/analysis/verdict/run-context.ts';
import type { Send } from '../../src/core/run.ts';
import { NO_CAPS } from '../../src/documents/parts.ts';
import type { HealthDocument } from '../../src/documents/replay.ts';
import { exchangeRow } from './exchange-row.ts';
import { send } from './sends.ts';

const MS = 1e6;
/** The health of a sender without problems. */
export const HEALTHY: HealthDocument = {
  busyShare: 0.2,
  throttled: false,
  stalls: 0,
  stalledMs: 0,
  longestStallMs: 0,
  starved: 0,
  refusedForBytes: 0,
  caps: NO_CAPS,
};
const COVERED = { share: 1, unexplained: 0 };

/** A run of these sends, all planned and ended, without other problems. */
export function contextOf(sends: readonly Send[], facts: Partial<RunContext> = {}): RunContext {
  const statistics = new RunStatistics();
  for (const each of sends) statistics.addPlanned(exchangeRow(), each.intendedOffsetNs);
  statistics.addSends(sends);
  return {
    figures: statistics.figures(),
    health: HEALTHY,
    coverage: COVERED,
    multiplier: 1,
    playedMultiplier: 1,
    effectiveMultiplier: 1,
    interrupted: null,
    plannedElsewhere: 0,
    ...facts,
  };
}

/** Sends on time, 0.1 s apart, each answered after 10 ms. */
export const good = (count: number): Send[] => Array.from({ length: count }, (_, index) => send({ index }));

/** Sends that are 5 ms late: scheduled latency is 15 ms, service latency 10 ms. */
export const late = (count: number): Send[] =>
  good(count).map(({ index }) => send({ index, actualOffsetNs: index * 100 * MS + 5 * MS }));
