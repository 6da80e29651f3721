import type { ErrorExamples } from '../error-examples.ts';
import type { ReplayDocument, SloLine, TokensDocument } from '../replay-document.ts';
import type { Verdict } from '../verdict/verdict.ts';
import type { ReportedReason } from './advice.ts';
import type { LatencyMap } from './latency-map.ts';
import type { PercentileLadder } from './percentile-ladder.ts';
import type { ReportGroups } from './report-groups.ts';
import type { TimeColumns } from './time-steps.ts';

/** Raised when a field changes its meaning; fields are added without. */
export const REPORT_SCHEMA_VERSION = 1;

/** What was asked for, and of whom. Null where an unsealed run does not say. */
export interface ReportedRun {
  readonly id: string | null;
  readonly directory: string;
  readonly version: string | null;
  readonly capture: string | null;
  readonly target: string | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  /** Whether it came to its end in order. */
  readonly sealed: boolean;
  readonly multiplier: number | null;
  readonly effectiveMultiplier: number | null;
  readonly scaling: string | null;
  /** Of the judged part, to the end of its last answer. */
  readonly durationS: number;
  /** Of the part before it that counts nowhere. */
  readonly warmupS: number;
}

/** Requests by what became of them. Null where only a sealed run knows. */
export interface ReportedCounts {
  readonly recorded: number | null;
  readonly selected: number | null;
  readonly planned: number | null;
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly refused: number;
  readonly unreached: number;
  readonly unreplayable: number | null;
}

export interface ReportedLatency {
  /** Last byte minus intended send, and minus actual send; of requests that completed. */
  readonly scheduled: PercentileLadder;
  readonly service: PercentileLadder;
  /** Of the same requests when they were recorded, of those that completed then; null where the recording was not read. */
  readonly recorded: PercentileLadder | null;
}

/** Of streams that completed. */
export interface ReportedStreams {
  readonly completed: number;
  readonly failed: number;
  /** Wanted as streams and answered by no 2xx: neither of the two. */
  readonly turnedAway: number;
  /** Wanted as streams and answered whole: neither of the two. */
  readonly whole: number;
  readonly ttft: PercentileLadder;
  readonly itl: PercentileLadder;
  readonly tpot: PercentileLadder;
  readonly recordedTtft: PercentileLadder | null;
  readonly tokens: TokensDocument;
}

/** Something of the recording that was not sent. */
export interface SkippedLine {
  readonly reason: string;
  readonly requests: number;
  readonly meaning: string;
}

export interface ErrorLine {
  /** `reset`, `status_503` … */
  readonly kind: string;
  readonly requests: number;
  /** Of everything sent. */
  readonly share: number;
  readonly meaning: string;
  /** The first few: position in the schedule, segment and id of the recorded exchange. */
  readonly examples: ErrorExamples[string];
}

/** Where the recording's own answers come from. */
export interface RecordingSource {
  readonly capture: string | null;
  /** Why they are not here; null where they are. */
  readonly unavailable: string | null;
  /** Of the requests that were sent, how many have their exchange in the capture, and how many with a latency. */
  readonly found: number;
  readonly timed: number;
  readonly sought: number;
  /** Statuses of the exchanges that were found. */
  readonly statuses: Readonly<Record<string, number>> | null;
}

/** What `report --json` prints. Null is not known or not measured, never 0. */
export interface ReportDocument {
  readonly schemaVersion: typeof REPORT_SCHEMA_VERSION;
  readonly kind: 'report';
  readonly run: ReportedRun;
  readonly verdict: Verdict | null;
  readonly valid: boolean;
  /** The verdict as a sentence. */
  readonly headline: string;
  readonly reasons: readonly ReportedReason[];
  readonly notes: readonly ReportedReason[];
  readonly slo: readonly SloLine[];
  readonly counts: ReportedCounts;
  readonly overTime: TimeColumns;
  readonly latencyMap: LatencyMap;
  readonly latencyMs: ReportedLatency;
  readonly streams: ReportedStreams;
  readonly routes: ReportGroups;
  readonly models: ReportGroups;
  readonly inputSizes: ReportGroups;
  readonly skipped: readonly SkippedLine[];
  readonly errors: readonly ErrorLine[];
  readonly statuses: Readonly<Record<string, number>>;
  readonly recording: RecordingSource;
  /** What the run said of itself when it ended, as `replay --json` printed it; null for one that was not sealed. */
  readonly summary: ReplayDocument | null;
}
