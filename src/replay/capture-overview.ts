import type { TimeRange } from '../core/ports.ts';

/** Arrivals of one second of UTC, from a capture's roll-ups. Seconds without arrivals are left out. */
export interface SecondCount {
  /** Epoch seconds. */
  readonly second: number;
  readonly exchanges: number;
}

/** The same with the latencies that were recorded in it: how many are known, and their sum. */
export interface SecondSums extends SecondCount {
  readonly latencyCount: number;
  readonly latencySumUs: number;
}

/** What a replay needs to know of a capture before it reads one exchange of it. */
export interface CaptureOverview {
  /** The capture's directory, for people. */
  readonly name: string;
  readonly exchanges: number;
  /** Null where there are none. */
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  /** Recorded share of what was seen; null where it is not known, as for imports. */
  readonly coverage: number | null;
  /** It holds arrivals without requests, as of an import without payloads: to be planned, never sent. */
  readonly arrivalsOnly: boolean;
  /** Authorities of the upstreams that were recorded. */
  readonly targets: readonly string[];
  /** Where its recorders looked for the key of a session; empty where they knew none. */
  readonly sessionKeys: readonly string[];
  /** Seconds that overlap a range, in order. */
  seconds(range: TimeRange): Iterable<SecondSums>;
}
