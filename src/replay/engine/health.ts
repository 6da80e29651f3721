import { Histogram } from '../../core/histogram.ts';
import type { ConnectionsDocument } from '../../documents/connections.ts';
import type { SessionOrderDocument } from '../../documents/replay.ts';

/** The connections of one sender or of all. */
export type ConnectionUse = Omit<ConnectionsDocument, 'policy' | 'recorded'>;
/** A distribution of durations, nanoseconds. All 0 when `count` is 0. */
export type DurationsNs = ConnectionUse['connect'];

/** The connections of one sender, with set-up times in the form that goes to another thread. */
export type SenderConnections = Omit<
  ConnectionUse,
  'connect' | 'byAddress' | 'openedAtLimit' | 'overtaken'
> & {
  readonly openedAtLimit: number;
  readonly overtaken: number;
  readonly connect: PackedDurations;
  readonly byAddress: readonly AddressUse[];
  /** Names of software in the `Server` headers of its answers. */
  readonly software: readonly string[];
};

/** The connections and requests that one address of the target got from a sender. */
export interface AddressUse {
  readonly address: string;
  readonly connections: number;
  readonly requests: number;
  /** When it got its first request, on the monotonic clock; null if it got none. */
  readonly firstNs: number | null;
}

/** A period of the run in which the engine, not the target, was late. Offsets from the start of the run. */
export interface Stall {
  readonly fromOffsetNs: number;
  readonly toOffsetNs: number;
}

/** Figures of the health of one sender. */
export interface SenderHealth {
  /** When the last request in flight ended or was given up, nanoseconds after the start. */
  readonly endOffsetNs: number;
  /** Dispatched to the target, and refused by the in-flight cap. */
  readonly sent: number;
  readonly refused: number;
  /** Refused in the judged part because of the limit on bytes of bodies, not on the number of requests. */
  readonly refusedForBytes: number;
  /** In flight when the drain deadline ended them; each has a result with error `stopped`. */
  readonly stopped: number;
  /** Still waiting for their recorded connection, or for the request they follow, when sending ended. */
  readonly unreached: number;
  /** Actual minus intended send time, over all sends, including stalls. */
  readonly lag: PackedDurations;
  /** Share of time that its thread worked, without waiting for an instant (spinning): whole run, and worst 10 s. */
  readonly busyShare: number;
  readonly busyShareMax10s: number;
  /** Requests of the judged part that came to the sender after their instant, because the read-ahead was too slow. */
  readonly starved: number;
  /** Periods of over 250 ms in which due requests were not sent, or the sender's event loop did not run. */
  readonly stalls: readonly Stall[];
  /** The most requests that all senders had in flight when this one sent a request. */
  readonly inFlightMax: number;
  /** Follow-ups that came to the sender after their instant. */
  readonly heldBack: number;
  /** Null if all values were sent as recorded. */
  readonly live: LiveCounts | null;
}

/** Counts of requests with live values. */
export interface LiveCounts {
  /** Requests that were due and needed live values. */
  readonly linked: number;
  /** Those that waited for an answer. */
  readonly waited: number;
  /** Those for which an answer had no such value. */
  readonly diverged: number;
  /** Those that were not sent for that reason, and those of their sessions after them. */
  readonly skipped: number;
  /** Values, cookies and sessions that were given up, because too many were held. */
  readonly forgotten: number;
}

/** Figures of the health of the engine: all facts about our own side that the judgement of a run needs. */
export interface EngineHealth
  extends Omit<SenderHealth, 'unreached' | 'lag' | 'busyShare' | 'busyShareMax10s' | 'heldBack'> {
  /** The run's zero on the monotonic clock, and the same instant as epoch microseconds. */
  readonly startNs: number;
  readonly startedAtUs: number;
  /** Requests handed to the senders. */
  readonly prepared: number;
  /** The run was stopped by its signal before the schedule ended. */
  readonly aborted: boolean;
  readonly lag: DurationsNs;
  /** How late the pacer woke, compared with the requested time. */
  readonly pacerLateness: DurationsNs;
  /** The highest niceness of the threads that keep time and send. */
  readonly niceness: number;
  /** Busy shares of the busiest sender. */
  readonly senderBusyShare: number;
  readonly senderBusyShareMax10s: number;
  readonly followUps: Pick<SessionOrderDocument, 'heldBack' | 'notHeld'>;
  readonly connections: ConnectionUse;
  /** Names of software in the `Server` headers of the answers; as they were sent. */
  readonly software: readonly string[];
}

/**
 * A distribution in the form that goes between threads: flat pairs of a value and its count, then the greatest value.
 */
type PackedDurations = Float64Array<ArrayBuffer>;

/** A distribution of durations in nanoseconds, at constant memory. */
export class Durations {
  readonly #histogram = new Histogram();

  /** Merges what several threads measured. */
  static merged(packed: readonly PackedDurations[]): Durations {
    const merged = new Durations();
    for (const each of packed) {
      const max = each.at(-1) ?? 0;
      // Each bin is represented by its greatest value; the last one by the greatest value of all.
      for (let at = 0; at + 1 < each.length; at += 2)
        merged.#histogram.record(Math.min(each[at] ?? 0, max), each[at + 1] ?? 0);
    }
    return merged;
  }

  /** Negative values, which rounding can cause, count as 0. */
  record(ns: number): void {
    this.#histogram.record(Math.max(0, Math.round(ns)));
  }

  packed(): PackedDurations {
    const counts = [...this.#histogram.bins()].flatMap(({ highest, count }) => [highest, count]);
    return Float64Array.from([...counts, this.#histogram.max ?? 0]);
  }

  summary(): DurationsNs {
    const { count, max } = this.#histogram;
    const at = (percent: number): number => this.#histogram.percentile(percent) ?? 0;
    return { count, p50Ns: at(50), p90Ns: at(90), p99Ns: at(99), maxNs: max ?? 0 };
  }
}

/** Lateness at which a stall begins, and lateness below which it is over. */
const STALL_NS = 250_000_000;
const RECOVERED_NS = 50_000_000;
/** Most stalls. Beyond that the last one is extended, because such a run is invalid anyway. */
const STRETCHES_MAX = 1_000;

/**
 * Notes periods in which our side, not the target, was late: a due request was not sent for over 250 ms, or the event
 * loop did not turn for as long. A stall begins at the first delayed instant. It ends when sends are on time again, so
 * it includes catching up.
 */
export class StallLog {
  readonly #stalls: Stall[] = [];
  #lateFromNs: number | null = null;

  /** Notes that a due request was sent or refused at `actualOffsetNs`. */
  noteSend(intendedOffsetNs: number, actualOffsetNs: number): void {
    const lagNs = actualOffsetNs - intendedOffsetNs;
    if (this.#lateFromNs === null) {
      if (lagNs <= STALL_NS) return;
      this.#lateFromNs = intendedOffsetNs;
    } else if (lagNs < RECOVERED_NS) {
      this.#lateFromNs = null;
      return;
    }
    this.#mark(Math.min(this.#lateFromNs, intendedOffsetNs), actualOffsetNs);
  }

  /** Notes that the event loop should have turned at `fromOffsetNs`, but did at `toOffsetNs`. */
  noteLoopGap(fromOffsetNs: number, toOffsetNs: number): void {
    if (toOffsetNs - fromOffsetNs > STALL_NS) this.#mark(fromOffsetNs, toOffsetNs);
  }

  /** The stalls in order of time, without overlaps. */
  stalls(): readonly Stall[] {
    return mergedStalls(this.#stalls);
  }

  #mark(fromOffsetNs: number, toOffsetNs: number): void {
    const last = this.#stalls.at(-1);
    const joins = last !== undefined && fromOffsetNs <= last.toOffsetNs && toOffsetNs >= last.fromOffsetNs;
    const isFull = this.#stalls.length >= STRETCHES_MAX;
    addStall(this.#stalls, { fromOffsetNs, toOffsetNs }, joins || isFull);
  }
}

/** Sorts stalls of several senders and joins overlapping ones: if one sender stalls, requests are not sent. */
export function mergedStalls(stalls: readonly Stall[]): readonly Stall[] {
  const merged: Stall[] = [];
  for (const stall of stalls.toSorted((a, b) => a.fromOffsetNs - b.fromOffsetNs)) {
    addStall(merged, stall, stall.fromOffsetNs <= (merged.at(-1)?.toOffsetNs ?? Number.NEGATIVE_INFINITY));
  }
  return merged;
}

/** Adds a stall, or extends the last one by it. */
function addStall(stalls: Stall[], stall: Stall, joinsLast: boolean): void {
  const last = joinsLast ? stalls.pop() : undefined;
  stalls.push({
    fromOffsetNs: Math.min(last?.fromOffsetNs ?? stall.fromOffsetNs, stall.fromOffsetNs),
    toOffsetNs: Math.max(last?.toOffsetNs ?? stall.toOffsetNs, stall.toOffsetNs),
  });
}

const WINDOW_NS = 10_000_000_000;
/**
 * A turn of the loop without work takes some microseconds. Time of a turn beyond this limit does not count as waiting.
 */
const EMPTY_TURN_NS = 20_000;

/**
 * Measures the share of time that a thread works. Waiting for an instant by turning the event loop looks like work to
 * the runtime, so turns that did nothing else are subtracted.
 */
export class BusyMeter {
  /** Nanoseconds the loop has slept in its poll phase so far. */
  readonly #idleNs: () => number;
  readonly #start: RestSoFar;
  #window: RestSoFar;
  #lately: RestSoFar;
  #spunNs = 0;
  #lastTurnNs: number | null = null;
  #lastEvents = 0;
  #windowShareMax = 0;

  constructor(nowNs: number, idleNs: () => number) {
    this.#idleNs = idleNs;
    this.#start = this.#at(nowNs);
    this.#window = this.#start;
    this.#lately = this.#start;
  }

  /**
   * Call it at the begin of a turn of the loop that may only wait for an instant.
   * @param events number of events so far; a turn without events was only waiting
   */
  turn(nowNs: number, events: number): void {
    if (this.#lastTurnNs !== null && events === this.#lastEvents)
      this.#spunNs += Math.min(nowNs - this.#lastTurnNs, EMPTY_TURN_NS);
    this.#lastTurnNs = nowNs;
    this.#lastEvents = events;
  }

  /** Call it when no turn follows immediately. */
  rest(): void {
    this.#lastTurnNs = null;
  }

  /** Call it regularly. It closes each window of ten seconds. */
  tick(nowNs: number): void {
    if (nowNs - this.#window.atNs < WINDOW_NS) return;
    const now = this.#at(nowNs);
    this.#windowShareMax = Math.max(this.#windowShareMax, busyShareOf(this.#window, now));
    this.#window = now;
  }

  /** The share since the last call, from 0 to 1. */
  lately(nowNs: number): number {
    const now = this.#at(nowNs);
    const share = busyShareOf(this.#lately, now);
    this.#lately = now;
    return share;
  }

  /** Shares from 0 to 1. If the run is shorter than a window, the mean is the worst window. */
  shares(nowNs: number): Pick<SenderHealth, 'busyShare' | 'busyShareMax10s'> {
    const mean = busyShareOf(this.#start, this.#at(nowNs));
    return { busyShare: mean, busyShareMax10s: this.#windowShareMax > 0 ? this.#windowShareMax : mean };
  }

  #at(atNs: number): RestSoFar {
    return { atNs, restNs: this.#idleNs() + this.#spunNs };
  }
}

/** How long a thread has rested (slept or spun) up to an instant. */
interface RestSoFar {
  readonly atNs: number;
  readonly restNs: number;
}

function busyShareOf(from: RestSoFar, to: RestSoFar): number {
  const elapsedNs = to.atNs - from.atNs;
  return elapsedNs <= 0 ? 0 : Math.min(1, Math.max(0, 1 - (to.restNs - from.restNs) / elapsedNs));
}
