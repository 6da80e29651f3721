import { join } from 'node:path';
import { FidelityStatistics, type RecordedRequest, wholePlanOf } from '../../src/analysis/run/fidelity.ts';
import { RunStatistics, totalsOf } from '../../src/analysis/run/run-statistics.ts';
import { summariseReplay } from '../../src/analysis/verdict/summary.ts';
import type { Run, Send } from '../../src/core/run.ts';
import type {
  CheckDocument,
  CheckFigures,
  JudgementBounds,
  ShardDocument,
  WaitsFor,
} from '../../src/documents/replay.ts';
import { SqliteRunStore } from '../../src/storage/runs/store.ts';
import { exchangeRow } from './exchange-row.ts';
import { HEALTHY } from './run-contexts.ts';
import { run } from './sends.ts';
import { temporaryDirectory } from './temp-dir.ts';

export const SHARD_START_US = 1_794_000_000_000_000;

/** The recorded request of a send, such that planned and recorded arrivals are equal. */
export function recordedOf(send: Send): RecordedRequest {
  const { route, model, requestBytes, exchangeId } = send;
  const body = Buffer.alloc(8);
  body.writeUInt32LE(exchangeId % 50, 0);
  return exchangeRow({
    arrivalUs: SHARD_START_US + Math.round(send.intendedOffsetNs / 1e3),
    requestHash: body,
    status: 200,
    route,
    model,
    requestBytes,
  });
}

export interface ShardFacts {
  /** How its answers were compared; absent if they were not. */
  readonly check?: Omit<CheckDocument, keyof CheckFigures>;
  /** What its requests waited for; absent for nothing. */
  readonly waitsFor?: WaitsFor;
  readonly shard?: Partial<ShardDocument>;
  readonly run?: Partial<Run>;
  readonly interrupted?: string;
  readonly bounds?: Partial<JudgementBounds>;
  /** Whether it is a run of the whole plan, not of a shard. */
  readonly alone?: boolean;
}

/**
 * Stores a run of one shard as a replay does.
 * @param sends sends of this shard, with the shard's own indexes
 * @param whole sends of all shards, in order
 * @returns its directory
 */
export function shardRun(
  [index, count]: readonly [number, number],
  sends: readonly Send[],
  whole: readonly Send[],
  facts: ShardFacts = {},
): string {
  const directory = join(temporaryDirectory(), `run-${index}`);
  const statistics = new RunStatistics(0, facts.waitsFor ?? null);
  const all = new FidelityStatistics();
  for (const send of whole) {
    all.addRecorded(recordedOf(send));
    all.addPlanned(recordedOf(send), send.intendedOffsetNs);
  }
  for (const send of sends) {
    statistics.addRecorded(recordedOf(send));
    statistics.addPlanned(recordedOf(send), send.intendedOffsetNs);
  }
  statistics.addSends(sends);
  const own = run({ id: `run-${index}`, startedAtUs: SHARD_START_US, ...facts.run });
  const shard: ShardDocument = {
    index,
    count,
    planDigest: 'a'.repeat(64),
    host: `host-${index}`,
    startAt: null,
    clock: { driftUs: 3 - index, kernel: `kernel-${index}` },
    pace: 1.5,
    recordedStatuses: statistics.statusMix.recordedStatuses(),
    recordedFailures: statistics.statusMix.recordedFailures(),
    whole: wholePlanOf(all.figures()),
    ...facts.shard,
  };
  const figures = statistics.figures(facts.interrupted === undefined);
  const document = {
    ...summariseReplay({
      run: own,
      figures,
      ...(facts.check === undefined || figures.check == null
        ? {}
        : { check: { ...figures.check, ...facts.check } }),
      objectives: [],
      multiplier: 1.5,
      scaling: 'compress',
      skipped: { truncated_request: index, no_payload: 0 },
      filtered: 7,
      unreplayable: 1,
      coverage: { share: 1, unexplained: 0 },
      health: { ...HEALTHY, busyShare: 0.1 * (index + 1), starved: 1 },
      interrupted: facts.interrupted ?? null,
      bounds: facts.bounds ?? {},
      played: { recorded: whole.length, planned: whole.length },
    }),
    audit: {
      unreplayableByReason: { trailers: 1 },
      maskedHeaders: {},
      maskedQueryKeys: {},
      maskedRequests: 2,
    },
    connections: { opened: 4, failed: 0, openMax: 4 },
    shard: facts.alone === true ? null : shard,
  };
  const store = new SqliteRunStore(directory);
  store.append(sends);
  store.seal(own, totalsOf(figures), document);
  return directory;
}
