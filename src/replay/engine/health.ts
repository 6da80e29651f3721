import { Histogram } from '../../core/histogram.ts';
import type { ConnectionsDocument, SessionOrderDocument } from '../../documents/replay.ts';

/** What its connections were, of one sender or of all. */
export type ConnectionUse = Omit<ConnectionsDocument, 'policy' | 'recorded'>;
/** A distribution of durations, nanoseconds. All 0 when `count` is 0. */
export type DurationsNs = ConnectionUse['connect'];

/** The same of one sender, with the set-up times of its connections as they go to another thread. */
export type SenderConnections = Omit<ConnectionUse, 'connect' | 'byAddress'> & {
  readonly connect: PackedDurations;
  readonly byAddress: readonly AddressUse[];
};

/** What one address of the target got of a sender. */
export interface AddressUse {
  readonly address: string;
  readonly connections: number;
  readonly requests: number;
  /** Of its first request, on the monotonic clock; null where it had none. */
  readonly firstNs: number | null;
}

/** A stretch of the run in which the engine, not the target, was late. Offsets from the start of the run. */
export interface Stall {
  readonly fromOffsetNs: number;
  readonly toOffsetNs: number;
}

/** How well one sender did its work. */
export interface SenderHealth {
  /** Nanoseconds after the start when the last in-flight request ended or was given up. */
  readonly endOffsetNs: number;
  /** Dispatched to the target, and refused by the in-flight cap. */
  readonly sent: number;
  readonly refused: number;
  /** Of the refused of the judged part: because bodies under way had reached their bytes, not requests their number. */
  readonly refusedForBytes: number;
  /** In flight when the drain deadline ended them; each has a result with error `stopped`. */
  readonly stopped: number;
  /** Waited for their recorded connection, or for what they follow, when sending ended. */
  readonly unreached: number;
  /** Actual minus intended send, over everything sent, stalled stretches included. */
  readonly lag: PackedDurations;
  /** Share of time its thread worked, its waiting for the instant (spin) excluded: whole run, worst 10 s. */
  readonly busyShare: number;
  readonly busyShareMax10s: number;
  /** Of the judged part, requests that were due before they had been handed to the sender: read-ahead was too slow. */
  readonly starved: number;
  /** Stretches of over 250 ms in which due requests, or the sender's own loop, stood still. */
  readonly stalls: readonly Stall[];
  /** The most that all senders had under way when this one sent something. */
  readonly inFlightMax: number;
  /** Follow-ups that came here after the instant their session had earned. */
  readonly heldBack: number;
}

/** How well the engine itself did its work; everything the judgement of a run needs to know about our side. */
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
  /** How late the pacer itself woke against what it had asked for. */
  readonly pacerLateness: DurationsNs;
  /** Of the busiest sender. */
  readonly senderBusyShare: number;
  readonly senderBusyShareMax10s: number;
  readonly followUps: Pick<SessionOrderDocument, 'heldBack' | 'notHeld'>;
  readonly connections: ConnectionUse;
}

/** A distribution on its way between threads: values and how often each, flat, ending with the greatest value. */
type PackedDurations = Float64Array<ArrayBuffer>;

/** Nanoseconds of something that happens often, at constant memory. */
export class Durations {
  readonly #histogram = new Histogram();

  /** Merges what several threads measured. */
  static merged(packed: readonly PackedDurations[]): Durations {
    const merged = new Durations();
    for (const each of packed) {
      const max = each.at(-1) ?? 0;
      // A bin is known by its greatest value, but for the last one, whose greatest value is the greatest of all.
      for (let at = 0; at + 1 < each.length; at += 2)
        merged.#histogram.record(Math.min(each[at] ?? 0, max), each[at + 1] ?? 0);
    }
    return merged;
  }

  /** Negative values, which rounding can make, count as 0. */
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

/** Lateness that makes a stretch a stall, and lateness below which it has been worked off. */
const STALL_NS = 250_000_000;
const RECOVERED_NS = 50_000_000;
/** Beyond this many stretches the last one is extended instead: such a run is invalid anyway. */
const STRETCHES_MAX = 1_000;

/**
 * Marks the stretches in which we, not the target, were late: a due request that was not sent for over 250 ms,
 * or an event loop that did not turn for as long. A stretch begins at the first intended instant it delayed
 * and ends when sends are on time again, catching up included.
 */
export class StallLog {
  readonly #stalls: Stall[] = [];
  #lateFromNs: number | null = null;

  /** One due request was handled at `actualOffsetNs`; sent or refused makes no difference. */
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

  /** The event loop turned at `toOffsetNs` for the first time since `fromOffsetNs`, where it meant to at once. */
  noteLoopGap(fromOffsetNs: number, toOffsetNs: number): void {
    if (toOffsetNs - fromOffsetNs > STALL_NS) this.#mark(fromOffsetNs, toOffsetNs);
  }

  /** Stretches in order of time, none overlapping. */
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

/** Stretches of whatever order, joined where they overlap: when one of several stood still, not all was sent. */
export function mergedStalls(stalls: readonly Stall[]): readonly Stall[] {
  const merged: Stall[] = [];
  for (const stall of stalls.toSorted((a, b) => a.fromOffsetNs - b.fromOffsetNs)) {
    addStall(merged, stall, stall.fromOffsetNs <= (merged.at(-1)?.toOffsetNs ?? Number.NEGATIVE_INFINITY));
  }
  return merged;
}

/** Adds a stretch, or extends the last one by it. */
function addStall(stalls: Stall[], stall: Stall, joinsLast: boolean): void {
  const last = joinsLast ? stalls.pop() : undefined;
  stalls.push({
    fromOffsetNs: Math.min(last?.fromOffsetNs ?? stall.fromOffsetNs, stall.fromOffsetNs),
    toOffsetNs: Math.max(last?.toOffsetNs ?? stall.toOffsetNs, stall.toOffsetNs),
  });
}

const WINDOW_NS = 10_000_000_000;
/** A turn of the loop without work takes some microseconds. The rest of a longer one is not counted as waiting. */
const EMPTY_TURN_NS = 20_000;

/**
 * How much of its time a thread works. Waiting for an instant by turning the event loop looks like work to
 * the runtime, so turns that did nothing else are taken out again.
 */
export class BusyMeter {
  /** Nanoseconds the loop has slept in its poll phase so far. */
  readonly #idleNs: () => number;
  readonly #start: RestSoFar;
  #window: RestSoFar;
  #spunNs = 0;
  #lastTurnNs: number | null = null;
  #lastEvents = 0;
  #windowShareMax = 0;

  constructor(nowNs: number, idleNs: () => number) {
    this.#idleNs = idleNs;
    this.#start = this.#at(nowNs);
    this.#window = this.#start;
  }

  /**
   * A turn of the loop begins that may only wait for an instant.
   * @param events how many there have been: a turn without any was waiting
   */
  turn(nowNs: number, events: number): void {
    if (this.#lastTurnNs !== null && events === this.#lastEvents)
      this.#spunNs += Math.min(nowNs - this.#lastTurnNs, EMPTY_TURN_NS);
    this.#lastTurnNs = nowNs;
    this.#lastEvents = events;
  }

  /** No turn follows for now. */
  rest(): void {
    this.#lastTurnNs = null;
  }

  /** Call now and then: closes a window of ten seconds when one is over. */
  tick(nowNs: number): void {
    if (nowNs - this.#window.atNs < WINDOW_NS) return;
    const now = this.#at(nowNs);
    this.#windowShareMax = Math.max(this.#windowShareMax, busyShareOf(this.#window, now));
    this.#window = now;
  }

  /** Shares of 1. A run shorter than a window is its own worst window. */
  shares(nowNs: number): Pick<SenderHealth, 'busyShare' | 'busyShareMax10s'> {
    const mean = busyShareOf(this.#start, this.#at(nowNs));
    return { busyShare: mean, busyShareMax10s: this.#windowShareMax > 0 ? this.#windowShareMax : mean };
  }

  #at(atNs: number): RestSoFar {
    return { atNs, restNs: this.#idleNs() + this.#spunNs };
  }
}

/** How long a thread has not worked up to an instant: it slept, or spun. */
interface RestSoFar {
  readonly atNs: number;
  readonly restNs: number;
}

function busyShareOf(from: RestSoFar, to: RestSoFar): number {
  const elapsedNs = to.atNs - from.atNs;
  return elapsedNs <= 0 ? 0 : Math.min(1, Math.max(0, 1 - (to.restNs - from.restNs) / elapsedNs));
}
