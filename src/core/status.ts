import type { LossReason, OmissionCause } from './accounting.ts';
import type { BodyDropReason } from './errors.ts';

/** An amount in the two units that the account of a recorder is kept in. */
export interface StatusTally {
  readonly bytes: number;
  readonly turns: number;
}

/** One exchange as the live page shows it: facts, never a payload. */
export interface RecentExchange {
  readonly arrivalUs: number;
  readonly route: string | null;
  readonly model: string | null;
  readonly status: number | null;
  readonly outcome: string;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly durationUs: number | null;
}

/** Counts of what was recorded since the start. */
export interface RecordedTraffic {
  /** Exchanges by method and class of status (`2xx`; `none` without a response), both from closed lists. */
  readonly requests: readonly {
    readonly method: string;
    readonly codeClass: string;
    readonly count: number;
  }[];
  /** From the request's first byte to the response's last. */
  readonly durationSeconds: SecondsHistogram;
  /** Time that commits took. */
  readonly writeSeconds: SecondsHistogram;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** Bodies of which nothing is stored because rules could not be applied for certain, by why; a closed list. */
  readonly bodiesDropped: Readonly<Partial<Record<BodyDropReason, number>>>;
  /** Connections that have ended, by what was spoken on them; a closed list. To a gateway an exchange is one. */
  readonly protocols: Readonly<Partial<Record<string, ProtocolCount>>>;
}

export interface ProtocolCount {
  readonly connections: number;
  readonly bytes: number;
}

/** Counts up to each bound, not cumulated, and one more for all beyond the last. */
export interface SecondsHistogram {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
}

/**
 * How a recorder fares: what the control socket answers, `reprise status` prints and the metrics are made of.
 * seen = recorded + lost + omitted + pending holds in every one, in bytes and in turns.
 */
export interface RecorderStatus {
  readonly schema: 'reprise-status/1';
  readonly version: string;
  readonly mode: 'wire' | 'gateway';
  /** HEALTHY: recorded. SHEDDING: some is lost and counted. OFF: nothing is recorded. Traffic flows in all. */
  readonly state: 'HEALTHY' | 'SHEDDING' | 'OFF';
  /** Why it is not HEALTHY; null when it is, or nobody knows. */
  readonly why: string | null;
  readonly paused: boolean;
  readonly draining: boolean;
  /** Whether traffic is accepted, whatever becomes of the recorder. */
  readonly ready: boolean;
  readonly startedUs: number;
  readonly atUs: number;
  readonly pairs: readonly { readonly listen: string; readonly target: string }[];
  /** Where a gateway sends the requests of some paths instead; one that ends with `*` takes what begins so. */
  readonly routes: readonly { readonly path: string; readonly target: string }[];
  /** Process ids; null where none records just now. */
  readonly pids: {
    readonly proxy: number;
    readonly recorder: number | null;
  };
  readonly restarts: { readonly recorder: number };
  readonly connections: {
    readonly open: number;
    readonly seen: number;
    readonly turnedAway: number;
    /** Accepted, and come to nothing, by what failed. */
    readonly failed: Readonly<Record<string, number>>;
    /** Requests that a gateway answered itself, by reason. */
    readonly refused: Readonly<Record<string, number>>;
  };
  readonly seen: StatusTally;
  readonly recorded: StatusTally;
  readonly lost: Readonly<Partial<Record<LossReason, StatusTally>>>;
  readonly omitted: Readonly<Partial<Record<OmissionCause, StatusTally>>>;
  readonly pending: StatusTally;
  readonly exchanges: number;
  /** Bodies kept in part because the memory for assembly was spent. */
  readonly bodiesCut: number;
  readonly queuedBytes: number;
  readonly recorderResidentBytes: number | null;
  readonly disk: {
    readonly directory: string;
    /** All files of the capture; null while no recorder says so. */
    readonly bytes: number | null;
    readonly maxBytes: number | null;
    readonly freeBytes: number | null;
  };
  readonly traffic: RecordedTraffic;
  /** The last exchanges that were recorded, newest first. */
  readonly recent: readonly RecentExchange[];
}
