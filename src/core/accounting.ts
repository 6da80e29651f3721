import type { BodyDropReason } from './errors.ts';

/**
 * The words of the equation: seen = recorded + lost(reason) + omitted(cause) + pending, in bytes and in turns.
 * Both lists are closed; a new reason is a change of the capture format.
 */
export const LOSS_REASONS = [
  'queue_bytes',
  'queue_age',
  'body_budget',
  'disk_full',
  'disk_reserve',
  'quota',
  'io_error',
  'corrupt',
  'locked',
  'writer_down',
  'writer_hung',
  'redaction_failed',
  'encode_failed',
  'crash_gap',
  'shutdown_timeout',
  'tap_failed',
] as const;
export type LossReason = (typeof LOSS_REASONS)[number];

export const OMISSION_CAUSES = ['sampled_out', 'skip_rule', 'replay_marked', 'unparsed'] as const;
export type OmissionCause = (typeof OMISSION_CAUSES)[number];

/** An amount of traffic. `exchanges` is a lower bound where bytes were never parsed. */
export interface Amount {
  readonly exchanges: number;
  readonly bytes: number;
}

/** What connections of one protocol carried, counted when they close. */
export interface ProtocolUse {
  readonly protocol: string;
  readonly connections: number;
  readonly bytes: number;
}

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

/** An amount whose exchanges are known as well. `exchanges` is a lower bound where bytes were never parsed. */
export interface Counted extends StatusTally {
  readonly exchanges: number;
}

/** What a recorder has committed since its life began. */
export type Progress = Counted;

export const NO_PROGRESS: Progress = { bytes: 0, turns: 0, exchanges: 0 };

/**
 * The account of one life of a recording: cumulative counters since its proxy was started. Only the proxy counts, so
 * a newer account replaces an older one, and writing it twice changes nothing.
 * seen = recorded + lost + omitted + pending, in bytes and in turns.
 */
export interface LifeAccount {
  /** The recorder's id: the first part of the name of each of its segments. */
  readonly life: string;
  readonly startedUs: number;
  /** The moment of this reading, epoch microseconds. */
  readonly atUs: number;
  /** The recording stopped in good order: these are its final counters. */
  readonly ended: boolean;
  readonly seen: StatusTally;
  readonly recorded: StatusTally;
  /** Exchanges that the recorder has acknowledged. */
  readonly exchanges: number;
  readonly lost: Readonly<Partial<Record<LossReason, Counted>>>;
  readonly omitted: Readonly<Partial<Record<OmissionCause, Counted>>>;
  readonly pending: StatusTally;
}

/** Accounts that no segment holds yet lie beside the segments, in `account-LIFE.json`. */
const ACCOUNT_FILE = /^account-([0-9a-z]{1,32})\.json$/;

export function accountFileOf(life: string): string {
  return `account-${life}.json`;
}

/** Whether a file of a capture holds an account. */
export function isAccountFile(file: string): boolean {
  return ACCOUNT_FILE.test(file);
}

/** The counters of `now` less those of `before`, by name; what did not grow is left out. */
export function growthOf<Name extends string>(
  now: Readonly<Partial<Record<Name, Counted>>>,
  before: Readonly<Partial<Record<Name, Counted>>>,
): (Counted & { readonly name: Name })[] {
  const names = Object.keys(now) as Name[];
  return names.flatMap((name) => {
    const { bytes, turns, exchanges } = now[name] ?? NO_PROGRESS;
    const known = before[name] ?? NO_PROGRESS;
    const growth = {
      name,
      bytes: Math.max(0, bytes - known.bytes),
      turns: Math.max(0, turns - known.turns),
      exchanges: Math.max(0, exchanges - known.exchanges),
    };
    return growth.bytes + growth.turns + growth.exchanges > 0 ? [growth] : [];
  });
}
