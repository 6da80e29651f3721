import type { PackedDurations } from './durations.ts';

/** A distribution of durations, nanoseconds. All 0 when `count` is 0. */
export interface DurationsNs {
  readonly count: number;
  readonly p50Ns: number;
  readonly p90Ns: number;
  readonly p99Ns: number;
  readonly maxNs: number;
}

/** A stretch of the run in which the engine, not the target, was late. Offsets from the start of the run. */
export interface Stall {
  readonly fromOffsetNs: number;
  readonly toOffsetNs: number;
}

/** Requests and connections one address of the target's name got. */
export interface AddressUse {
  readonly address: string;
  readonly connections: number;
  readonly requests: number;
}

export interface ConnectionUse {
  readonly opened: number;
  /** Connection attempts that failed. */
  readonly failed: number;
  /** Most connections open at one instant; of several senders the sum of what each had. */
  readonly openMax: number;
  /** Connections that carried a request. */
  readonly used: number;
  /** TCP and TLS set-up of the connections opened on demand or for warming. */
  readonly connect: DurationsNs;
  /** Requests sent on one connection, over the connections that sent any: the mean and the most. */
  readonly requestsPerConnection: { readonly mean: number; readonly max: number };
  readonly byAddress: readonly AddressUse[];
}

/** What became of follow-ups for want of room. */
export interface FollowUpHealth {
  /** Sent after the instant their session had earned, because they were beyond what is read ahead. */
  readonly heldBack: number;
  /** Refused, because too many waited already. */
  readonly notHeld: number;
}

/** How well the engine itself did its work; everything the judgement of a run needs to know about our side. */
export interface EngineHealth {
  /** The run's zero on the monotonic clock, and the same instant as epoch microseconds. */
  readonly startNs: number;
  readonly startedAtUs: number;
  /** Nanoseconds after the start when the last in-flight request ended or was given up. */
  readonly endOffsetNs: number;
  /** Requests handed to the sender, dispatched, refused by the in-flight cap. */
  readonly prepared: number;
  readonly sent: number;
  readonly refused: number;
  /** Of the refused of the judged part: because bodies under way had reached their bytes, not requests their number. */
  readonly refusedForBytes: number;
  /** In flight when the drain deadline ended them; each has a result with error `stopped`. */
  readonly stopped: number;
  /** The run was stopped by its signal before the schedule ended. */
  readonly aborted: boolean;
  /** Actual minus intended send, over everything sent, stalled stretches included. */
  readonly lag: DurationsNs;
  /** How late the pacer itself woke against what it had asked for. */
  readonly pacerLateness: DurationsNs;
  /**
   * Share of time the busiest sender thread worked, its waiting for the instant (spin) excluded: whole run, worst
   * 10 s.
   */
  readonly senderBusyShare: number;
  readonly senderBusyShareMax10s: number;
  /** Of the judged part, requests that were due before they had been handed to the sender: read-ahead was too slow. */
  readonly starved: number;
  /** Stretches of over 250 ms in which due requests, or the sender's own loop, stood still; of whichever sender. */
  readonly stalls: readonly Stall[];
  readonly inFlightMax: number;
  readonly followUps: FollowUpHealth;
  readonly connections: ConnectionUse;
}

/** The part of EngineHealth that is one sender's. */
export interface SenderHealth {
  readonly endOffsetNs: number;
  readonly sent: number;
  readonly refused: number;
  /** Of the refused: for the bytes of their bodies, not for the number of requests. */
  readonly refusedForBytes: number;
  readonly stopped: number;
  /** Waited for their recorded connection when sending ended. */
  readonly unreached: number;
  readonly lag: PackedDurations;
  readonly busyShare: number;
  readonly busyShareMax10s: number;
  readonly starved: number;
  readonly stalls: readonly Stall[];
  /** The most that all senders had under way when this one sent something. */
  readonly inFlightMax: number;
  /** Follow-ups that came here after the instant their session had earned. */
  readonly heldBack: number;
}
