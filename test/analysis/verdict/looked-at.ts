import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { JUDGEMENT_BOUNDS } from '../../../src/analysis/verdict/run-context.ts';
import { boundsOfLooks, Looks } from '../../../src/analysis/verdict/until-sure.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import type { DrawnRun } from '../../support/drawn-runs.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { send } from '../../support/sends.ts';

interface Looked {
  readonly requests: number;
  readonly durationNs: number;
  sendAt(index: number): Send;
  /** When the request has ended, for the looks. */
  endNs(index: number): number;
  /** Requests in flight when this one has ended; none if absent. */
  readonly open?: (index: number) => number;
}

/** Plays a run that may end early, on a clock that is at the end of each answer. */
export function lookedAt(slo: string, { requests, durationNs, sendAt, endNs, open = () => 0 }: Looked) {
  const objectives = parseObjectives([slo]);
  const looks = new Looks(objectives, { requests, durationNs }, 0.95);
  const bounds = { ...JUDGEMENT_BOUNDS, ...boundsOfLooks(looks.plan) };
  const statistics = new RunStatistics(0, null, { objectives, stageEndsNs: [] });
  let index = 0;
  for (let sure = false; index < requests && !sure; index++) {
    const each = sendAt(index);
    statistics.addPlanned(exchangeRow(), each.intendedOffsetNs);
    statistics.addSends([each]);
    sure = looks.take(endNs(index), open(index), () => statistics.figuresSoFar());
  }
  const context = { ...contextOf([]), figures: statistics.figures() };
  return {
    ...judge(context, objectives, bounds),
    document: looks.document(index < requests),
    requests: index,
  };
}

/** Nanoseconds of a mean service time of a drawn run. */
export const UNIT_NS = 1e8;

/** The sends of a drawn run, each on time. */
export function sendsOf({ arrivals, latencies }: DrawnRun): Send[] {
  return Array.from(arrivals, (arrival, index) => {
    const intendedOffsetNs = Math.round(arrival * UNIT_NS);
    const lastByteOffsetNs = intendedOffsetNs + Math.round(latencies[index]! * UNIT_NS);
    return send({ index, intendedOffsetNs, lastByteOffsetNs });
  });
}

/** The same for a drawn run. Each look knows the answers of all requests that were due. */
export function lookedAtDrawn(slo: string, run: DrawnRun) {
  const sends = sendsOf(run);
  const at = (index: number) => sends[index]!.intendedOffsetNs;
  return lookedAt(slo, {
    requests: sends.length,
    durationNs: at(sends.length - 1),
    sendAt: (index) => sends[index]!,
    endNs: at,
  });
}
