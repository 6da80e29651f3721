import type { BodyDropReason } from './errors.ts';
import type { SecondsHistogram } from './histogram.ts';

/**
 * The terms of the equation seen = recorded + lost(reason) + omitted(cause) + pending, in bytes and in turns.
 * Both lists are closed: a new reason changes the capture format.
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

/**
 * Limits beyond which links of sessions are not searched for. The exchange itself is recorded all the same. A closed list
 * for labels of metrics.
 */
export const LINK_LIMITS = [
  'forgotten',
  'many_links',
  'many_places',
  'many_values',
  'long_body',
  'unread',
  'budget',
] as const;
export type LinkLimit = (typeof LINK_LIMITS)[number];
export type MissedLinks = Readonly<Partial<Record<LinkLimit, number>>>;

/** An amount of traffic. `exchanges` is a lower bound where bytes were never parsed. */
export interface Amount {
  readonly exchanges: number;
  readonly bytes: number;
}

/** Traffic of connections with one protocol, counted when they close. */
export interface ProtocolUse {
  readonly protocol: string;
  readonly connections: number;
  readonly bytes: number;
}

/** An amount in the two units of a recorder's account. */
export interface StatusTally {
  readonly bytes: number;
  readonly turns: number;
}

/** One exchange on the live page: facts, never a payload. */
export interface RecentExchange {
  readonly arrivalUs: number;
  readonly route: string | null;
  readonly model: string | null;
  readonly status: number | null;
  readonly outcome: string | null;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly durationUs: number | null;
}

/** Counts of recorded traffic since the start. */
export interface RecordedTraffic {
  /** Exchanges by method and status class (`2xx`; `none` without a response), both from closed lists. */
  readonly requests: readonly {
    readonly method: string;
    readonly codeClass: string;
    readonly count: number;
  }[];
  /** From the request's first byte to the response's last. */
  readonly durationSeconds: SecondsHistogram;
  /** Duration of commits. */
  readonly writeSeconds: SecondsHistogram;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** Bodies dropped because redaction could not be applied reliably, by reason; a closed list. */
  readonly bodiesDropped: Readonly<Partial<Record<BodyDropReason, number>>>;
  /** How often each limit on the search for links was reached. */
  readonly linksMissed: MissedLinks;
  /** Ended connections by protocol; a closed list. In a gateway each exchange counts as one. */
  readonly protocols: Readonly<Partial<Record<string, ProtocolCount>>>;
}

interface ProtocolCount {
  readonly connections: number;
  readonly bytes: number;
}

/**
 * How recording fares. Traffic flows in every state.
 * - HEALTHY: recorded
 * - SHEDDING: some is lost and counted
 * - OFF: nothing is recorded
 * - FAILED: an error in the proxy ended the recording, and another is being started
 */
export const RECORDER_STATES = ['HEALTHY', 'SHEDDING', 'OFF', 'FAILED'] as const;

/**
 * The recorder's status, for the control socket, `reprise status` and the metrics. The equation seen =
 * recorded + lost + omitted + pending holds in each one, in bytes and in turns.
 */
export interface RecorderStatus {
  readonly schema: 'reprise-status/1';
  readonly version: string;
  readonly mode: 'wire' | 'gateway';
  readonly state: (typeof RECORDER_STATES)[number];
  /** Why it is not HEALTHY; null if it is, or if the reason is unknown. */
  readonly why: string | null;
  readonly paused: boolean;
  readonly draining: boolean;
  /** Whether traffic is accepted, independent of the recorder. */
  readonly ready: boolean;
  readonly startedUs: number;
  readonly atUs: number;
  readonly pairs: readonly { readonly listen: string; readonly target: string }[];
  /** A gateway's targets for some paths. A path that ends with `*` is a prefix. */
  readonly routes: readonly { readonly path: string; readonly target: string }[];
  /** Process ids; null if none records now. */
  readonly pids: {
    readonly proxy: number;
    readonly recorder: number | null;
  };
  readonly restarts: { readonly recorder: number };
  /** How often an error in the proxy ended the recording of all connections. */
  readonly recordingFailures: number;
  readonly connections: {
    readonly open: number;
    readonly seen: number;
    readonly turnedAway: number;
    /** Accepted connections that failed, by cause. */
    readonly failed: Readonly<Record<string, number>>;
    /** Requests that a gateway answered itself, by reason. */
    readonly refused: Readonly<Record<string, number>>;
  };
  /** Connections to the probe port that gave their place to a new one. */
  readonly probesDropped: number;
  readonly seen: StatusTally;
  readonly recorded: StatusTally;
  readonly lost: Readonly<Partial<Record<LossReason, StatusTally>>>;
  readonly omitted: Readonly<Partial<Record<OmissionCause, StatusTally>>>;
  readonly pending: StatusTally;
  readonly exchanges: number;
  /** Bodies truncated because the assembly memory was used up. */
  readonly bodiesCut: number;
  readonly queuedBytes: number;
  readonly recorderResidentBytes: number | null;
  readonly disk: {
    readonly directory: string;
    /** All files of the capture; null until a recorder reports it. */
    readonly bytes: number | null;
    readonly maxBytes: number | null;
    readonly freeBytes: number | null;
  };
  readonly traffic: RecordedTraffic;
  /** The most recently recorded exchanges, newest first. */
  readonly recent: readonly RecentExchange[];
  /** Null without a mirror, and until a recorder reports it. */
  readonly mirror: MirrorReading | null;
}

/** An amount including exchanges. `exchanges` is a lower bound where bytes were never parsed. */
export interface Counted extends StatusTally {
  readonly exchanges: number;
}

/** What a recorder has committed since its life began. */
export type Progress = Counted;

export const NO_PROGRESS: Progress = { bytes: 0, turns: 0, exchanges: 0 };

/**
 * The account of one life of a recording: cumulative counters since its proxy started. Only the proxy counts.
 * So a newer account replaces an older one, and writing it twice changes nothing. The equation seen =
 * recorded + lost + omitted + pending holds, in bytes and in turns.
 */
export interface LifeAccount {
  /** The recorder's id, part of the name of each of its segments. */
  readonly life: string;
  readonly startedUs: number;
  /** Time of this reading, epoch microseconds. */
  readonly atUs: number;
  /** The recording stopped properly; these are its final counters. */
  readonly ended: boolean;
  readonly seen: StatusTally;
  readonly recorded: StatusTally;
  /** Exchanges that the recorder has acknowledged. */
  readonly exchanges: number;
  readonly lost: Readonly<Partial<Record<LossReason, Counted>>>;
  readonly omitted: Readonly<Partial<Record<OmissionCause, Counted>>>;
  readonly pending: StatusTally;
  /**
   * The most turns that pass before a newer account is in the file. If the recording is killed, at most this many were
   * seen and not counted. Null if no such limit was kept.
   */
  readonly turnsAhead: number | null;
  /**
   * A file on another file system of the recording's host. It has a newer account if the capture took no write. Null if
   * there is none elsewhere. Without knowing that file, a reader does not know what a killed recording saw last.
   * Accounts of older versions do not have it.
   */
  readonly spare?: string | null;
  /** The newest segment of the recording; null before the first. Accounts of older versions do not have it. */
  readonly segment?: string | null;
}

/** Accounts that no segment holds yet are beside the segments, in `account-LIFE.json`. */
const ACCOUNT_FILE = /^account-([0-9a-z]{1,32})\.json$/;

export function accountFileOf(life: string): string {
  return `account-${life}.json`;
}

/** The life whose account a file of a capture holds by its name; null for other files. */
export function lifeOfFile(file: string): string | null {
  return ACCOUNT_FILE.exec(file)?.[1] ?? null;
}

/** Counters of `now` minus those of `before`, by name; unchanged ones are omitted. */
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

/** Why a recorded exchange in the sample was not mirrored. */
export const MIRROR_DROPS = [
  /** The limit of concurrent requests was reached. */
  'busy',
  /** Its body does not fit into the mirror's memory. */
  'too_large',
  /** Production gave no complete answer to compare with. */
  'not_answered',
  /** It is not stored completely, or cannot be sent as recorded. */
  'not_replayable',
  /** The name of the mirror, or of a target, could not be resolved (yet). */
  'unresolved',
  /** The mirror is a target of this recording, or this recorder itself. */
  'forbidden',
] as const;
export type MirrorDrop = (typeof MIRROR_DROPS)[number];

/** Why a mirrored request has no complete answer. Nothing is sent again. */
export const MIRROR_FAILURES = ['connect', 'timeout', 'broken', 'answer_too_large', 'stopped'] as const;
export type MirrorFailure = (typeof MIRROR_FAILURES)[number];

/** Milliseconds; null without an answer. */
export interface MirrorTimes {
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/**
 * What a mirror did. chosen = dropped + inFlight + failed + answered. Counts include earlier recorder processes of the
 * recording. Percentiles cover only the current process.
 */
export interface MirrorReading {
  readonly url: string;
  readonly share: number;
  /** Recorded exchanges that the sample chose. */
  readonly chosen: number;
  readonly dropped: Readonly<Record<MirrorDrop, number>>;
  readonly inFlight: number;
  readonly failed: Readonly<Record<MirrorFailure, number>>;
  readonly answered: number;
  /** Answers with another status than production's, and answers that took longer than production's. */
  readonly otherStatus: number;
  readonly slower: number;
  /** The most common pairs of different statuses, such as `200 503`: production's, then the mirror's. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Durations of answered requests from first to last byte: as recorded at production, and at the mirror. */
  readonly productionSeconds: SecondsHistogram;
  readonly mirrorSeconds: SecondsHistogram;
  readonly latencyMs: { readonly production: MirrorTimes; readonly mirror: MirrorTimes };
  readonly firstByteMs: { readonly production: MirrorTimes; readonly mirror: MirrorTimes };
  /** Event loop delay of the recorder process. It is part of the mirror's times but not of production's. */
  readonly delayMs: MirrorTimes;
}
