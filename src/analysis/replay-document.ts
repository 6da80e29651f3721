import type { FinishReason, SendError } from '../core/run.ts';
import type { ArrivalFigures } from './arrival-statistics.ts';
import type { Calibration } from './calibration.ts';
import type { CheckDocument } from './check-statistics.ts';
import type { ErrorExamples } from './error-examples.ts';
import type { StreamDistance, WaitsFor } from './fidelity.ts';
import type { LagUs, LatencyMs, TrustedLatencyMs } from './latency-summary.ts';
import type { SloUnit } from './slo.ts';
import type { Reason } from './verdict/reasons.ts';
import type { ConnectionWaits, JudgementBounds } from './verdict/run-context.ts';
import type { Verdict } from './verdict/verdict.ts';
import type { WarmupFigures } from './warmup-statistics.ts';

/** Raised when a field changes its meaning; fields are added without. */
export const REPLAY_SCHEMA_VERSION = 1;

/** One objective and what it came to. */
export interface SloLine {
  readonly expression: string;
  /** Of `observed` and `limit`: milliseconds, a share from 0 to 1, or a count. */
  readonly unit: SloUnit;
  /** `"Infinity"` where too many requests had no answer, null where nothing was measured. */
  readonly observed: number | 'Infinity' | null;
  readonly limit: number;
  readonly ok: boolean | null;
}

/** Of a run that was stopped: of what it had read of its plan until then. */
export interface FidelityDocument {
  readonly recorded: ArrivalFigures;
  readonly planned: ArrivalFigures;
  /** What put requests off beyond their planned instants, and null where nothing did. Absent in older runs. */
  readonly waitsFor?: WaitsFor | null;
  /** Where requests wait: instants as sessions or connections came to them. `sent` and `ksGaps` are held against these. */
  readonly resolved: ArrivalFigures | null;
  /** Likewise, requests whose instant came before the last planned one. */
  readonly dueInTime: number | null;
  readonly sent: ArrivalFigures;
  /** Everything in the window where filters left a part of it out; else null. */
  readonly unfiltered: ArrivalFigures | null;
  /** Planned to sent, both 0 to 1. */
  readonly ksGaps: number | null;
  readonly mixDistance: number | null;
  /** Share of planned requests that repeat an earlier one, and whether it was counted or estimated. */
  readonly duplicateRatio: number | null;
  readonly duplicateRatioExact: boolean;
  readonly recordedToPlanned: StreamDistance;
  /** Share of recorded statuses 429 and 503; clients' retries are not told apart yet. */
  readonly recordedRejected: number | null;
  readonly recordedRetries: null;
  /** Sends whose place in the order of sending is not known. */
  readonly unordered: number;
}

/** How the sending side did. */
export interface HealthDocument {
  readonly busyShare: number | null;
  readonly throttled: boolean | null;
  readonly starved: number | null;
  /** Of the refused: because of the bytes of bodies on their way. */
  readonly refusedForBytes: number;
  /** Stretches in which a due request was over 250 ms late. Their requests count, with their lag. */
  readonly stalls: number;
  readonly stalledMs: number;
  readonly longestStallMs: number;
}

export interface WarmupDocument extends WarmupFigures {
  /** Run time that was asked for, and that the recording before the window held. */
  readonly askedS: number;
  readonly playedS: number;
}

/** Answers that came piece by piece. */
export interface StreamsDocument {
  readonly completed: number;
  readonly failed: number;
  readonly refused: number;
  /** Completed without any content: infinitely slow for an objective of `ttft`. */
  readonly withoutContent: number;
  /** Completed under a content coding, and so not read: their times are not known. */
  readonly unread: number;
  /** Wanted as streams and answered by no 2xx: neither completed nor failed. */
  readonly turnedAway: number;
  /** Wanted as streams and answered whole by a 2xx: neither completed nor failed. */
  readonly whole: number;
  /** Gaps between tokens that `itlMs` is of. */
  readonly gaps: number;
}

/** What servers said of tokens: sums over completed answers that said it. */
export interface TokensDocument {
  readonly answers: number;
  readonly prompt: number;
  readonly output: number;
  readonly finishReasons: Readonly<Partial<Record<FinishReason, number>>>;
}

/** What `replay --json` prints and `summary.json` holds. Null is not known or not measured, never 0. */
export interface ReplayDocument {
  readonly schemaVersion: typeof REPLAY_SCHEMA_VERSION;
  readonly kind: 'replay';
  readonly run: string;
  readonly version: string;
  readonly capture: string;
  readonly target: string;
  readonly startedAt: string;
  readonly endedAt: string;
  readonly verdict: Verdict | null;
  readonly valid: boolean;
  readonly reasons: readonly Reason[];
  readonly notes: readonly Reason[];
  readonly interrupted: string | null;
  /** Exchanges of the window: `selected`, and those that filters left out (`skipped.filtered`). */
  readonly recorded: number;
  readonly selected: number;
  readonly planned: number;
  /**
   * Whether `recorded`, `selected`, `planned` and what hangs on them are of the whole plan. False where a run was
   * stopped and its plan was too long to be counted to its end: they are then at least so many. Absent in older runs.
   */
  readonly planCounted?: boolean;
  /** What of `selected` and `planned` a run that was stopped had not read of its plan: it has no rows. */
  readonly unread: { readonly recorded: number; readonly planned: number };
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  /** Ended by us where the recorded client had left; `sent` is `completed` + `failed` + `cancelled`. */
  readonly cancelled: number;
  readonly refused: number;
  readonly unreached: number;
  readonly unreplayable: number;
  readonly skipped: Readonly<Record<string, number>>;
  readonly multiplier: number;
  readonly effectiveMultiplier: number | null;
  readonly coverage: number | null;
  readonly coverageUnexplained: number | null;
  readonly scaling: string;
  readonly durationS: number;
  readonly lagUs: LagUs;
  /** From the actual send to the request's first byte: choosing a connection, or opening one. */
  readonly connectMs: LatencyMs;
  /** Before the actual send: waiting for the recorded connection. Null where connections are pooled. */
  readonly connectionWaitMs: LatencyMs;
  /** How many waited for it. Null where none could; absent in older runs. */
  readonly connectionWaits?: ConnectionWaits | null;
  readonly fidelity: FidelityDocument;
  /** Requests that completed. */
  readonly latencyMs: { readonly scheduled: TrustedLatencyMs; readonly service: TrustedLatencyMs };
  /** Of streams that completed: first token minus intended send, between tokens, and per output token. */
  readonly ttftMs: LatencyMs;
  readonly itlMs: LatencyMs;
  readonly tpotMs: LatencyMs;
  readonly streams: StreamsDocument;
  readonly tokens: TokensDocument;
  readonly statuses: Readonly<Record<string, number>>;
  readonly errors: Readonly<Partial<Record<SendError, number>>>;
  /** By kind of failure the first few that failed so: ids, never payloads. */
  readonly errorExamples: ErrorExamples;
  /** How answers compare with the recorded ones: counts, ids and places. Null where they were not compared. */
  readonly check: CheckDocument | null;
  readonly slo: readonly SloLine[];
  readonly health: HealthDocument;
  /** What was sent before the judged part; it is in no other figure. Null without a warm-up. */
  readonly warmup: WarmupDocument | null;
  /** Null where it was not asked for. */
  readonly calibration: Calibration | null;
  /** Beyond these the run is inconclusive. */
  readonly bounds: JudgementBounds;
  readonly options: Readonly<Record<string, unknown>>;
}
