import type { Send } from '../../core/run.ts';
import { holds, type Objective } from '../../documents/metrics/objectives.ts';
import type { CheckFigures } from '../../documents/replay.ts';
import type { PercentileLadder, ReportDocument } from '../../documents/report.ts';
import type { OutcomeFigures, SendCategory, StatusMixFigures } from '../run/outcomes.ts';
import type { LatencyFigures } from './answer-times.ts';
import type { MonitoredByName } from './monitored.ts';
import type { ShareWindows } from './share-windows.ts';
import type { StreamFigures } from './streams.ts';

/** The figures of finished requests: all requests of a run, or a part. */
export interface PartFigures {
  readonly outcomes: OutcomeFigures;
  readonly latency: LatencyFigures;
  readonly streams: StreamFigures;
  readonly shares: ShareWindows;
  /** By the text of their limits. */
  readonly goodput: ReadonlyMap<string, GoodputFigures>;
  /** From the first intended send to the end of the last answer or error; null if nothing was sent. */
  readonly makespanNs: number | null;
}

/**
 * How many requests kept their limits. Requests without the limited time are left out, for example with a limit of
 * `ttft` but without streaming.
 */
export interface GoodputFigures {
  /** Served requests with known times. Of these, the good ones, counted from the planned and from the actual send. */
  readonly served: number;
  readonly good: number;
  readonly goodFromSent: number;
  /** Good ones without the pauses of the sender. */
  readonly goodOfTarget: number;
  /** Turned away, or answered without streaming although a stream was requested. They kept no limit. */
  readonly unserved: number;
  /** Of these, the ones answered without streaming. */
  readonly whole: number;
  /** Served requests for which a limited time could not be read. */
  readonly unknown: number;
  /** Requests cancelled as recorded: within all limits until then, or beyond one already. */
  readonly left: number;
  readonly leftOver: number;
  readonly failed: number;
  /** Failed requests that the replay ended itself when the run was stopped. */
  readonly stopped: number;
  readonly refused: number;
  readonly unreached: number;
}

/** Requests without an answer. In a stopped run, requests that were open or not yet due do not count. */
interface Unanswered {
  readonly interrupted: boolean;
  readonly failed: number;
  /** Refused by one of our limits, or not sent by the end of the run. */
  readonly unsent: number;
  /**
   * Sent requests that were answered or failed. Cancelled requests do not count, because they would reduce the share of
   * errors.
   */
  readonly sent: number;
  readonly failedStreams: number;
  readonly refusedStreams: number;
}

/** The figures that an objective is read from. */
export interface Observable extends PartFigures {
  readonly planned: number;
  readonly check?: CheckFigures | null;
  readonly monitored?: MonitoredByName;
  readonly unanswered: Unanswered;
}

/** @param interrupted whether the run was stopped, so that requests in flight that the replay ended are no failures */
export function observable<Figures extends Omit<Observable, 'unanswered'>>(
  figures: Figures,
  interrupted: boolean,
): Figures & Observable {
  const { outcomes, streams } = figures;
  const unanswered = {
    interrupted,
    ...judgedSends(figures, interrupted),
    // Requests that still waited for their connection at the end of the drain were not sent. After a stop they do not
    // count.
    unsent: outcomes.refused + (interrupted ? 0 : outcomes.unreached),
    failedStreams: streams.failed - (interrupted ? streams.stopped : 0),
    refusedStreams: streams.refused,
  };
  return { ...figures, unanswered };
}

/** The number of sent requests that are judged: neither cancelled as recorded, nor open when the run was stopped. */
export function judgedSends(
  { outcomes }: { readonly outcomes: Pick<OutcomeFigures, 'sent' | 'failed' | 'cancelled' | 'stopped'> },
  interrupted: boolean,
): { sent: number; failed: number } {
  const stopped = interrupted ? outcomes.stopped : 0;
  return { sent: outcomes.sent - outcomes.cancelled - stopped, failed: outcomes.failed - stopped };
}

/** The requests and the times that an objective is compared with. */
export interface Scope {
  /**
   * Counted from the planned instant, or from the actual send. `target` counts from the actual send too, without pauses
   * of the sender. It is a lower bound of the time of the target.
   */
  readonly from: 'planned' | 'sent' | 'target';
  /** Whether requests that were never sent count as infinitely slow. */
  readonly unsent: boolean;
  /** Whether requests that were turned away, or answered without streaming, count as infinitely slow streams. */
  readonly streamless: boolean;
  /**
   * `least`: cancelled requests count as answered at the cancellation, a lower bound. `worst`: they count as never
   * answered.
   */
  readonly cancelled: 'least' | 'worst';
}

export const EVERYTHING: Scope = { from: 'planned', unsent: true, streamless: true, cancelled: 'least' };
/** Only causes in the target itself. */
export const OF_TARGET: Scope = { ...EVERYTHING, from: 'target', unsent: false, streamless: false };

/** The possible error of a percentile within its limit. */
export interface Margin {
  readonly confidence: number;
  /**
   * With this confidence, the true value is at most this; for goodput it is at least this. In the unit of the limit.
   */
  readonly upperBound: number;
  readonly holds: boolean;
  /** By this factor more requests would probably prove the objective; null if no number would. */
  readonly timesNeeded: number | null;
  /** The slowest answer that was seen, if the bound is beyond it. */
  readonly slowest?: number;
}

/** Above this factor no advice is given, because the percentile is at its limit and a longer run would not decide. */
const MOST_TIMES_NEEDED = 1_000;

/**
 * @param upperBound the bound with this confidence
 * @param needed independent samples that would decide, and how many there are
 */
export function marginOf(
  objective: Objective,
  confidence: number,
  upperBound: number,
  needed: { readonly samples: number; readonly known: number },
): Margin {
  const times = needed.samples / Math.max(1, needed.known);
  return {
    confidence,
    upperBound,
    holds: holds(upperBound, objective),
    timesNeeded: times > MOST_TIMES_NEEDED ? null : Math.max(1.25, times),
  };
}

/** Requests over time, for the chart of an objective. */
export interface TimeCourse {
  record(intendedNs: number, ns: number, times?: number): void;
  /** Adds a request that counts as infinitely slow. */
  addUnanswered(intendedNs: number): void;
  /** Adds the number of gaps of a stream with a token. A stream without an answer counts as often as their mean. */
  addStream(gaps: number): void;
}

/** How a run is judged: once, before its end because it may end early, or at its end after such looks. */
export type Look = 'only' | 'early' | 'last';

/** How objectives on a metric are measured, judged and drawn. What is known without rows is in documents/metrics. */
export interface Measure {
  /** The value in the unit of the limit. Infinity if too many failed; null if nothing was measured. */
  observe(objective: Objective, figures: Observable, scope: Scope): number | null;
  /** The number of answers and failures; null if reasons of its own report that there are too few. */
  samples(objective: Pick<Objective, 'limits'>, figures: Observable): number | null;
  /** The fewest answers that can prove an objective. */
  floor(objective: Objective): number;
  /** The fewest requests in which one may be beyond the limit; absent if that is `floor`. */
  readonly floorOfWindow?: (objective: Objective) => number;
  /** The percentile that more requests prove with more confidence; null if they do not. */
  provenPercent(objective: Objective): number | null;
  readonly margin?: (
    objective: Objective,
    figures: Observable,
    confidence: number,
    look: Look,
  ) => Margin | null;
  /**
   * The best value that is possible for a violated objective with this confidence. It counts from the actual sends, in
   * the unit of the limit. Null for an objective without bounds, whose observed value is final.
   */
  readonly best?: (objective: Objective, figures: Observable, confidence: number) => number | null;
  /** The cause of a violation, if it does not follow from the scopes. */
  readonly brokenBy?: (objective: Objective, figures: Observable) => 'target' | 'unsent' | 'lag';
  /** Whether an objective limits a share of the plan, which a stopped run may not know. */
  readonly isOfPlan?: (objective: Objective) => boolean;
  /** Whether answers of a single token have no value. */
  readonly isOfGaps?: boolean;
  /** Whether it is a value of the complete run, which finished requests alone do not give. */
  readonly isOfRun?: boolean;
  /** What to do about a violation that failures do not explain; absent for advice on slow answers. */
  readonly advice?: string;
  /** The share of requests that may break the limit; null if an objective does not limit single requests. */
  readonly allowedShare?: (objective: Objective) => number | null;
  /** Whether a sent request breaks the limit. */
  readonly isBroken?: (objective: Objective, send: Send, from: Scope['from']) => boolean;
  /** Adds a request to a chart of times, as the verdict counts it. */
  readonly addTimes?: (course: TimeCourse, send: Send, outcome: SendCategory) => void;
  /** Whether a request counts for a chart of shares; null if it does not belong to the whole either. */
  readonly isCounted?: (objective: Objective, send: Send, outcome: SendCategory) => boolean | null;
  /** The value in the recording, in the unit of the limit; null if unknown. */
  readonly inRecording?: (objective: Objective, mix: StatusMixFigures) => number | null;
  /** The recorded percentiles of the metric. */
  readonly recorded?: (report: ReportDocument) => PercentileLadder | null;
  /** Whether a recorded status counts for the share. */
  readonly isRecordedIn?: (status: number) => boolean;
}

/** The number of answers and failures of requests. */
export function answersIn({ latency, outcomes, unanswered }: Observable): number {
  return latency.service.count + unanswered.failed + outcomes.refused;
}

export function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}
