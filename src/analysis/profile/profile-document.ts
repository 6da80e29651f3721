import type { LossReason, OmissionCause } from '../../core/accounting.ts';
import type { IdcWindow } from '../arrival-statistics.ts';
import type { ConcurrencyFigures } from './concurrency.ts';
import type { DailyHour, WeeklyDay } from './cycle.ts';
import type { Distribution, ShapeStep } from './distribution.ts';
import type { GroupFigures } from './groups.ts';
import type { InputSizeGroup } from './input-sizes.ts';
import type { PartyFigures } from './parties.ts';
import type { PayloadFigures } from './payloads/payload-statistics.ts';
import type { SeriesColumns } from './rate-series.ts';
import type { RetryFigures } from './retries.ts';
import type { UnusualDays } from './unusual-days.ts';

/** A count and what share of all requests it is. */
export interface Counted {
  readonly requests: number;
  readonly share: number;
}

/** Percentiles of sizes, bytes, with the distribution as a list. */
export interface SizeFigures extends Distribution {
  readonly shape: readonly ShapeStep[];
}

/** The traffic that a capture holds, in numbers. Rates are requests per second; instants are ISO 8601, UTC. */
export interface ProfileDocument {
  readonly schemaVersion: 1;
  readonly kind: 'profile';
  readonly privacy: {
    readonly holdsPayloads: false;
    readonly holdsSecrets: false;
    /** Whether names that could identify clients were left out. */
    readonly shared: boolean;
    readonly statement: string;
  };
  /** The capture's directory; null in a profile that is shared. */
  readonly capture: string | null;
  /** Null for a capture without exchanges. */
  readonly window: {
    readonly from: string;
    /** The last instant that belongs to it. */
    readonly to: string;
    /** Of all parts together. */
    readonly spanS: number;
    readonly timeZone: string;
    readonly parts: readonly { readonly from: string; readonly to: string; readonly requests: number }[];
    /** What was looked for and found: the busiest or the slowest stretch. */
    readonly search: object | null;
  } | null;
  /** What filters were asked for, in words; their values are left out of a profile that is shared. */
  readonly filters: readonly string[];
  readonly requests: number;
  /** Exchanges of the window before the filters. */
  readonly unfilteredRequests: number;
  readonly rate: {
    readonly mean: number | null;
    readonly peak1s: number | null;
    readonly peak60s: number | null;
    readonly peak10m: number | null;
    readonly peak1h: number | null;
    readonly peakToMean1s: number | null;
    readonly peakToMean60s: number | null;
    readonly peakToMean10m: number | null;
    readonly peakToMean1h: number | null;
  };
  /** Where the peaks lie; widths of which the window holds none whole are left out. */
  readonly peaks: readonly {
    readonly windowS: number;
    readonly requests: number;
    readonly perSecond: number;
    /** Over the mean of all whole windows of that width. */
    readonly toMean: number;
    readonly from: string;
  }[];
  readonly series: Omit<SeriesColumns, 'failed'> & { readonly failed: readonly (number | null)[] };
  readonly interArrival: {
    readonly cv: number | null;
    readonly meanMs: number | null;
    readonly p50Ms: number | null;
    readonly p90Ms: number | null;
    readonly p99Ms: number | null;
    readonly maxMs: number | null;
    readonly ties: number | null;
    /** Milliseconds. */
    readonly shape: readonly ShapeStep[];
  };
  readonly idc: Readonly<Record<IdcWindow, number | null>>;
  /** Requests by the hour of the week, Monday 00:00 of the window's time zone first. */
  readonly hourOfWeek: readonly number[];
  /** The same per second of the time that was looked at; null where none of it was. */
  readonly hourOfWeekPerSecond: readonly (number | null)[];
  readonly cycle: {
    readonly daily: readonly DailyHour[];
    readonly weekly: readonly WeeklyDay[];
    readonly unusual: UnusualDays;
  };
  readonly mix: {
    readonly routes: readonly (GroupFigures & { readonly route: string | null })[];
    readonly models: readonly (GroupFigures & { readonly model: string | null })[];
    readonly statuses: readonly (Counted & { readonly status: number | null })[];
    readonly methods: readonly (Counted & { readonly method: string | null })[];
    readonly protocols: readonly (Counted & { readonly protocol: string | null })[];
    /** Null where it is known of no request how it ended; so are the counts of `errors`, and `likely` of `retries`. */
    readonly outcomes: Readonly<Record<string, number | null>>;
    readonly streamed: number | null;
  };
  readonly requestBytes: SizeFigures;
  readonly responseBytes: SizeFigures;
  readonly duplicateRatio: number | null;
  readonly duplicateRatioExact: boolean;
  readonly sessions: PartyFigures;
  readonly clients: PartyFigures;
  /** Of completed requests, to the last byte; failed ones count nothing. */
  readonly latencyMs: Distribution & { readonly shape: readonly ShapeStep[] };
  readonly firstByteMs: Distribution;
  readonly ttftMs: Distribution;
  readonly latencyByInputSize: readonly InputSizeGroup[];
  /** As the server counted them and the recorder read them. */
  readonly tokens: { readonly prompt: Distribution; readonly output: Distribution };
  readonly batch: Distribution;
  readonly concurrency: ConcurrencyFigures;
  readonly errors: {
    /** No complete answer, or a 5xx. */
    readonly failed: number | null;
    /** Of those of which it is known how they ended. */
    readonly failedShare: number | null;
    readonly serverErrors: number | null;
    readonly clientErrors: number | null;
    readonly tooManyRequests: number | null;
    readonly clientAborted: number | null;
    readonly upstreamFailed: number | null;
    readonly timedOut: number | null;
  };
  readonly retries: Omit<RetryFigures, 'likely'> & {
    readonly likely: number | null;
    readonly share: number | null;
  };
  /** Recorded share of what was seen in the window; null where it is not known. */
  readonly coverage: number | null;
  readonly coverageUnexplained: number | null;
  /** Of the whole capture, not of the window. */
  readonly losses: AmountBy<LossReason>;
  readonly omitted: AmountBy<OmissionCause>;
  /** What the payloads ask for; null where none was looked into. */
  readonly payloads: PayloadFigures | null;
  /** What a reader must know of the numbers: limits that were reached, what is missing. */
  readonly notes: readonly string[];
}

export interface AmountBy<Key extends string> {
  readonly exchanges: number;
  readonly bytes: number;
  readonly by: Readonly<Partial<Record<Key, { readonly exchanges: number; readonly bytes: number }>>>;
}
