import type { Clock } from '../../core/clock.ts';
import type { AnswerArena } from '../check/messages.ts';
import type { Transport } from '../http/client.ts';
import { BusyMeter, Durations, type SenderHealth, StallLog } from './health.ts';
import type { LoopTime } from './loop-time.ts';
import {
  type BatchKind,
  neverSentResult,
  type OutgoingRequest,
  refusedResult,
  type SendBatch,
  type SendResult,
} from './messages.ts';
import { type CatchUp, Pacer } from './pacer.ts';
import { type Activity, type PendingListener, PendingSend } from './pending-send.ts';
import { SendQueue } from './queue.ts';
import type { Admission, InFlight, SenderSignals } from './shared-memory.ts';

export interface SenderOptions {
  /** The run's zero, monotonic. */
  readonly startNs: number;
  /** Our own faults are counted for sends intended from this offset on; without it, for all. */
  readonly judgedFromNs?: number;
  readonly totalTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly catchUp: CatchUp;
  /** This close to an instant the sender yields to its loop instead of sleeping. At least the pacer's lead. */
  readonly spinNs: number;
}

export interface SenderDeps {
  readonly clock: Clock;
  /** The time in which the sender's event loop ran. */
  readonly loopTime: LoopTime;
  readonly transport: Transport;
  readonly signals: SenderSignals;
  /** What this sender and the others have under way. */
  readonly inFlight: InFlight;
  /** Where answers are kept to be compared; null or left out where they are not. */
  readonly keeping?: AnswerArena | null;
  /** Runs a callback after the event loop has had a turn. */
  readonly afterTurn: (callback: () => void) => void;
  readonly afterMs: (callback: () => void, ms: number) => void;
  /** By `loopTime`, and not before everything that had arrived was read. Returns how to cancel it. */
  readonly afterHearing: (callback: () => void, ms: number) => () => void;
  /** Nanoseconds the event loop has slept so far. */
  readonly loopIdleNs: () => number;
  readonly onResults: (results: SendResult[]) => void;
  /** Every request handed over has its result, all of them reported. */
  readonly onOver: (health: SenderHealth) => void;
}

/** Sends in one go before the event loop gets a turn: a tie of hundreds must not delay the stamps of answers. */
const SENDS_PER_TURN = 32;
/** Results are reported every so many ticks. */
const TICKS_PER_REPORT = 4;
/** `tick` must be called this often. A tick that comes later than planned shows that the loop stalled. */
export const SENDER_TICK_MS = 25;

/**
 * Sends each request at its instant and never before, whatever became of the others. Between an instant and its
 * send nothing is awaited, read or decoded. Runs on an event loop of its own; `tick` does what has no instant.
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #deps: SenderDeps;
  readonly #queue: SendQueue;
  readonly #pacer: Pacer;
  readonly #busy: BusyMeter;
  readonly #tally: SendTally;
  readonly #activity: Activity = { events: 0 };
  readonly #timer: WakeTimer;
  readonly #loopTime: LoopTime;
  readonly #sends: Sends;
  #turnPlanned = false;
  #lastTickNs: number;
  /** The last tick by the loop's time. */
  #lastLookNs: number;
  #ticks = 0;
  /** No batch will follow. */
  #finished = false;
  /** When sending ended, by plan or by a stop, by the loop's time; from then on answers are awaited. */
  #drainingSinceNs: number | null = null;
  #over = false;

  constructor(options: SenderOptions, deps: SenderDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#queue = new SendQueue(options.startNs);
    this.#tally = new SendTally(options.judgedFromNs ?? 0);
    this.#sends = new Sends(options.startNs, deps, this.#tally, this.#activity, {
      leaves: (request) => this.#queue.sent(request),
      lateSend: this.#onLateSend,
      ended: this.#onEnded,
      over: this.#onOver,
    });
    this.#pacer = new Pacer(this.#queue, options.catchUp);
    this.#timer = new WakeTimer(deps.afterMs, () => this.wake());
    this.#busy = new BusyMeter(deps.clock.nowNs(), deps.loopIdleNs);
    this.#lastTickNs = deps.clock.nowNs();
    this.#loopTime = deps.loopTime;
    this.#lastLookNs = this.#loopTime.nowNs();
  }

  /** Takes requests ahead of their time. Follow-ups wait for another request instead of the pacer. */
  accept(batch: SendBatch, kind: BatchKind = 'batch'): void {
    this.#activity.events++;
    if (this.#drainingSinceNs !== null) return;
    const nowNs = this.#deps.clock.nowNs();
    if (kind === 'followUps') this.#queue.hold(batch, nowNs);
    else this.#tally.starved += this.#queue.add(batch, nowNs, this.#options.judgedFromNs);
    this.wake();
  }

  /** A request is due soon. */
  wake(): void {
    this.#deps.signals.setSenderAwake(true);
    this.#planTurn();
  }

  /** All batches have come. */
  finish(): void {
    this.#finished = true;
    this.wake();
  }

  /** Sends nothing more; what is in flight has the drain deadline to finish. */
  stop(): void {
    this.#drainingSinceNs ??= this.#loopTime.nowNs();
    this.#sends.giveUpWaiting();
    this.#endWhenDrained();
  }

  /** Reports results and ends requests that took too long. */
  tick(): void {
    const nowNs = this.#deps.clock.nowNs();
    // If a tick is late, nothing else ran in time either.
    const plannedNs = Math.max(this.#options.startNs, this.#lastTickNs + SENDER_TICK_MS * 1e6);
    this.#tally.stalls.noteLoopGap(this.#offset(plannedNs), this.#offset(nowNs));
    // Answers that arrived while the loop stood still are read after this tick. A request that was overdue at the
    // tick before has had a turn of the loop since, so it is the target that was late.
    this.#endOverdue(this.#lastLookNs);
    this.#endOvertime(nowNs);
    this.#lastTickNs = nowNs;
    this.#lastLookNs = this.#loopTime.nowNs();
    this.#busy.tick(nowNs);
    this.#ticks += 1;
    if (this.#ticks % TICKS_PER_REPORT === 0) this.#sends.flush();
    this.#endWhenDrained();
  }

  #planTurn(): void {
    if (this.#turnPlanned || this.#over) return;
    this.#turnPlanned = true;
    this.#deps.afterTurn(() => this.#turn());
  }

  #turn(): void {
    this.#turnPlanned = false;
    this.#busy.turn(this.#deps.clock.nowNs(), this.#activity.events);
    const waitNs = this.#sendDue();
    if (this.#finished && this.#queue.isEmpty && this.#queue.followUps.size === 0)
      this.#drainingSinceNs ??= this.#loopTime.nowNs();
    if (this.#drainingSinceNs === null && waitNs <= this.#queue.awakeNs(this.#options.spinNs)) {
      this.#planTurn();
      return;
    }
    this.#sleep();
    this.#endWhenDrained();
  }

  /** Sends what is due and returns how long until the next: 0 when there is more. */
  #sendDue(): number {
    if (this.#drainingSinceNs !== null) return Number.POSITIVE_INFINITY;
    for (let sends = 0; sends < SENDS_PER_TURN; sends++) {
      const step = this.#pacer.next(this.#deps.clock.nowNs(), 1);
      const request = step.due === 0 ? null : this.#queue.takeShifted();
      if (request === null) return step.waitNs;
      this.#sends.send(request);
      this.#queue.prepare();
    }
    return 0;
  }

  /** Once everything planned was sent, follow-ups have the drain deadline to become due; then answers have it. */
  #endOvertime(nowNs: number): void {
    if (!this.#finished || this.#drainingSinceNs !== null) return;
    const late = this.#queue.takeOvertime(nowNs, this.#options.drainDeadlineMs * 1e6);
    if (late.length > 0) this.#drainingSinceNs = this.#loopTime.nowNs();
    this.#tally.unreached += late.length;
    for (const { index, intendedOffsetNs } of late)
      this.#sends.report(neverSentResult(index, intendedOffsetNs));
  }

  readonly #onEnded = (result: SendResult): void => {
    if (this.#queue.ended(result, this.#deps.clock) && this.#drainingSinceNs === null) this.wake();
  };

  readonly #onOver = (): void => {
    this.#endWhenDrained();
  };

  /** The drain deadline counts from the last send, which may have waited for its recorded connection. */
  readonly #onLateSend = (): void => {
    if (this.#drainingSinceNs !== null) this.#drainingSinceNs = this.#loopTime.nowNs();
  };

  /** @param atNs by the loop's time */
  #endOverdue(atNs: number): void {
    this.#sends.abortOverdue(atNs, this.#options.totalTimeoutMs * 1e6);
    const drainedNs = this.#drainingSinceNs === null ? 0 : atNs - this.#drainingSinceNs;
    if (this.#drainingSinceNs === null || drainedNs < this.#options.drainDeadlineMs * 1e6) return;
    this.#sends.giveUpWaiting();
    this.#sends.abortAll();
  }

  #endWhenDrained(): void {
    if (this.#over || this.#drainingSinceNs === null || this.#sends.underWay > 0) return;
    this.#over = true;
    this.#sends.flush();
    const nowNs = this.#deps.clock.nowNs();
    const { heldBack } = this.#queue.followUps;
    this.#deps.onOver(this.#tally.health(this.#busy, nowNs, this.#offset(nowNs), heldBack));
  }

  /**
   * Sleeps until the pacer wakes it. The pacer may have looked at the flag just before it was cleared, so the queue
   * is checked once more afterwards: either the pacer sees the flag, or this sees the request.
   */
  #sleep(): void {
    this.#deps.signals.setSenderAwake(false);
    this.#busy.rest();
    if (this.#drainingSinceNs !== null) return;
    const { waitNs } = this.#pacer.next(this.#deps.clock.nowNs(), 0);
    const awakeNs = this.#queue.awakeNs(this.#options.spinNs);
    if (waitNs <= awakeNs) this.wake();
    // The pacer knows planned instants only. Overdue ones that are spread out, and follow-ups, need a timer.
    else if ((this.#pacer.catchingUp || this.#queue.nextIsOwn) && Number.isFinite(waitNs))
      this.#timer.after(waitNs - awakeNs, this.#deps.clock.nowNs());
  }

  #offset(ns: number): number {
    return ns - this.#options.startNs;
  }
}

/** The longest a timer can wait. */
const LONGEST_MS = 2 ** 31 - 1;

/** What `Sends` tells the sender. */
interface SendsListener {
  /** A request became due and leaves the queue. */
  leaves(request: OutgoingRequest): void;
  /** One was sent that had waited for its recorded connection. */
  lateSend(): void;
  /** A request has its result. */
  ended(result: SendResult): void;
  /** One that was sent is over. */
  over(): void;
}

/** Requests from the instant at which they are due until each has its result. */
class Sends {
  /** Sent, and not over; in the order of their sends. */
  readonly #underWay = new Set<PendingSend>();
  readonly #startNs: number;
  readonly #deps: SenderDeps;
  readonly #tally: SendTally;
  readonly #activity: Activity;
  readonly #listener: SendsListener;
  readonly #lanes = new ConnectionLanes<PendingSend>();
  readonly #outbox: ResultOutbox;
  readonly #pendingListener: PendingListener;

  /** @param startNs the run's zero, monotonic */
  constructor(
    startNs: number,
    deps: SenderDeps,
    tally: SendTally,
    activity: Activity,
    listener: SendsListener,
  ) {
    this.#startNs = startNs;
    this.#deps = deps;
    this.#tally = tally;
    this.#activity = activity;
    this.#listener = listener;
    this.#outbox = new ResultOutbox(deps.onResults);
    const bodyWritten = (bytes: number): void => deps.inFlight.leaveBody(bytes);
    this.#pendingListener = { keeping: deps.keeping ?? null, bodyWritten, over: this.#onOver };
  }

  /** Requests that were sent and are not over. */
  get underWay(): number {
    return this.#underWay.size;
  }

  /** Sends a request now, or has it wait for its recorded connection. */
  send(request: OutgoingRequest): void {
    const { clock, inFlight } = this.#deps;
    this.#leaves(request);
    const admission = inFlight.enter(request.body?.length ?? 0);
    if (admission !== 'admitted') {
      this.#refuse(request, admission, clock.nowNs());
      return;
    }
    const pending = this.#admitted(request, clock.nowNs(), inFlight.requests);
    if (request.lane === null || this.#lanes.enter(request.lane, pending)) this.#dispatch(pending);
    else inFlight.beginWaiting();
  }

  /** Gives up requests that wait for their recorded connection. */
  giveUpWaiting(): void {
    for (const pending of this.#lanes.takeWaiting()) {
      this.#deps.inFlight.endWaiting();
      this.#deps.inFlight.leave();
      this.#tally.unreached += 1;
      this.report(pending.neverSent());
    }
  }

  /** Ends requests that have been under way for `limitNs` at `atNs`, by the loop's time. */
  abortOverdue(atNs: number, limitNs: number): void {
    for (const pending of this.#underWay) {
      if (atNs - pending.sentNs < limitNs) break;
      pending.handle?.abort('total_timeout');
    }
  }

  abortAll(): void {
    for (const pending of this.#underWay) pending.handle?.abort('stopped');
  }

  report(result: SendResult): void {
    this.#outbox.add(result);
    this.#listener.ended(result);
  }

  /** Hands over all results so far. */
  flush(): void {
    this.#outbox.flush();
  }

  #leaves(request: OutgoingRequest): void {
    const { signals } = this.#deps;
    if (request.follows === null) signals.setDispatched(this.#tally.countDispatched());
    else signals.addReleased(request.body?.length ?? 0);
    this.#listener.leaves(request);
  }

  /** @param requests under way, this one included */
  #admitted(request: OutgoingRequest, readyNs: number, requests: number): PendingSend {
    this.#tally.admitted(request, readyNs - this.#startNs, requests);
    const listener = this.#pendingListener;
    return new PendingSend(request, this.#startNs, this.#deps.clock, this.#activity, listener, readyNs);
  }

  #dispatch(pending: PendingSend): void {
    const { loopTime, transport, afterHearing } = this.#deps;
    this.#tally.sent += 1;
    this.#underWay.add(pending);
    pending.dispatch(transport, loopTime.nowNs());
    if (pending.cancelAfterNs === null || !this.#underWay.has(pending)) return;
    const ms = Math.ceil(pending.cancelAfterNs / 1e6);
    // A client that stays longer than a timer can wait is taken to stay.
    if (ms <= LONGEST_MS) pending.forgetCancel = afterHearing(() => pending.handle?.abort('cancelled'), ms);
  }

  #refuse(request: OutgoingRequest, why: Exclude<Admission, 'admitted'>, atNs: number): void {
    this.#tally.refused(request, why, atNs - this.#startNs);
    this.report(refusedResult(request.index, request.intendedOffsetNs));
  }

  readonly #onOver = (pending: PendingSend, result: SendResult): void => {
    if (!this.#underWay.delete(pending)) return;
    pending.forgetCancel?.();
    this.#deps.inFlight.leave();
    if (result.error === 'stopped') this.#tally.stopped += 1;
    const next = pending.lane === null ? null : this.#lanes.leave(pending.lane);
    if (next !== null) {
      this.#listener.lateSend();
      this.#deps.inFlight.endWaiting();
      next.endsWaiting();
      this.#dispatch(next);
    }
    this.report(result);
    this.#listener.over();
  };
}

/** What one sender has done so far, and how well. Offsets are nanoseconds of the run. */
class SendTally {
  readonly stalls = new StallLog();
  /** Went to the target. */
  sent = 0;
  stopped = 0;
  unreached = 0;
  starved = 0;
  readonly #judgedFromNs: number;
  readonly #lag = new Durations();
  #dispatched = 0;
  #refused = 0;
  #refusedForBytes = 0;
  #inFlightMax = 0;

  /** @param judgedFromNs offset from which on what we did wrong is counted */
  constructor(judgedFromNs: number) {
    this.#judgedFromNs = judgedFromNs;
  }

  /** One more planned request has left the queue. @returns how many have */
  countDispatched(): number {
    this.#dispatched += 1;
    return this.#dispatched;
  }

  /** @param requests under way, this one included */
  admitted({ intendedOffsetNs }: OutgoingRequest, readyOffsetNs: number, requests: number): void {
    this.#inFlightMax = Math.max(this.#inFlightMax, requests);
    this.#lag.record(readyOffsetNs - intendedOffsetNs);
    this.stalls.noteSend(intendedOffsetNs, readyOffsetNs);
  }

  refused({ intendedOffsetNs }: OutgoingRequest, why: Admission, atOffsetNs: number): void {
    this.#refused += 1;
    if (why === 'too_heavy' && intendedOffsetNs >= this.#judgedFromNs) this.#refusedForBytes += 1;
    this.stalls.noteSend(intendedOffsetNs, atOffsetNs);
  }

  health(busy: BusyMeter, nowNs: number, endOffsetNs: number, heldBack: number): SenderHealth {
    const { mean, max10s } = busy.shares(nowNs);
    return {
      endOffsetNs,
      sent: this.sent,
      refused: this.#refused,
      refusedForBytes: this.#refusedForBytes,
      stopped: this.stopped,
      unreached: this.unreached,
      lag: this.#lag.packed(),
      busyShare: mean,
      busyShareMax10s: max10s,
      starved: this.starved,
      stalls: this.stalls.stalls(),
      inFlightMax: this.#inFlightMax,
      heldBack,
    };
  }
}

const RESULTS_PER_BATCH = 256;

/** Collects results into batches: each batch, however small, costs its reader a transaction. */
class ResultOutbox {
  readonly #deliver: (results: SendResult[]) => void;
  #results: SendResult[] = [];

  constructor(deliver: (results: SendResult[]) => void) {
    this.#deliver = deliver;
  }

  add(result: SendResult): void {
    this.#results.push(result);
    if (this.#results.length >= RESULTS_PER_BATCH) this.flush();
  }

  flush(): void {
    if (this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#deliver(results);
  }
}

interface Lane<T> {
  /** In the order they came; the one that has the lane is not among them. */
  readonly waiting: T[];
}

/**
 * Recorded connections, each of which carries one request at a time, as it did when it was recorded. A connection
 * that carries nothing and that nothing waits for takes no memory.
 */
class ConnectionLanes<T> {
  readonly #lanes = new Map<number, Lane<T>>();

  /** Takes the lane. @returns false where it is taken, and the item waits its turn */
  enter(lane: number, item: T): boolean {
    const taken = this.#lanes.get(lane);
    if (taken === undefined) {
      this.#lanes.set(lane, { waiting: [] });
      return true;
    }
    taken.waiting.push(item);
    return false;
  }

  /** Frees the lane. @returns the item that has it now; null when none waited */
  leave(lane: number): T | null {
    const next = this.#lanes.get(lane)?.waiting.shift() ?? null;
    if (next === null) this.#lanes.delete(lane);
    return next;
  }

  /** Takes all waiting items, in order within each lane. The items that have a lane keep it. */
  takeWaiting(): T[] {
    return [...this.#lanes.values()].flatMap(({ waiting }) => waiting.splice(0));
  }
}

/** Calls `wake` at the earliest instant asked for since the last call. One timer is enough however often it is asked. */
export class WakeTimer {
  readonly #afterMs: (callback: () => void, ms: number) => void;
  readonly #wake: () => void;
  #atNs: number | null = null;

  constructor(afterMs: (callback: () => void, ms: number) => void, wake: () => void) {
    this.#afterMs = afterMs;
    this.#wake = wake;
  }

  /** Wakes after `waitNs`, up to a millisecond early. */
  after(waitNs: number, nowNs: number): void {
    const atNs = nowNs + waitNs;
    if (this.#atNs !== null && this.#atNs <= atNs) return;
    this.#atNs = atNs;
    this.#afterMs(
      () => {
        // An earlier instant was asked for since.
        if (this.#atNs !== atNs) return;
        this.#atNs = null;
        this.#wake();
      },
      Math.floor(waitNs / 1e6),
    );
  }
}
