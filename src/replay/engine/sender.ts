import type { Clock } from '../../core/clock.ts';
import type { AnswerArena } from '../check/answer-arena.ts';
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
  /** Offset from which on what we did wrong is counted; without it, from the first send. */
  readonly judgedFromNs?: number;
  readonly totalTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly catchUp: CatchUp;
  /** This close to an instant the sender waits for it awake. At least the pacer's lead. */
  readonly spinNs: number;
}

export interface SenderDeps {
  readonly clock: Clock;
  /** That of the sender's event loop; the sender looks at it. */
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
  /** By `loopTime`, and after whatever had come by then was read; the answer takes it back. */
  readonly afterHearing: (callback: () => void, ms: number) => () => void;
  /** Nanoseconds the event loop has slept so far. */
  readonly loopIdleNs: () => number;
  readonly onResults: (results: SendResult[]) => void;
  /** Every request handed over has its result, all of them reported. */
  readonly onOver: (health: SenderHealth) => void;
}

/** Sends in one go before the event loop gets a turn: a tie of hundreds must not delay the stamps of answers. */
const SENDS_PER_TURN = 32;
/** Of the ticks, each so-manieth reports what has ended. */
const TICKS_PER_REPORT = 4;
/** How often whoever runs a sender calls `tick`; what a stall of the loop may be taken for too short. */
export const SENDER_TICK_MS = 25;

/**
 * Sends each request at its instant, never before, whatever became of the others. Nothing between an instant
 * and its dispatch waits, reads or decodes. Lives on an event loop of its own; needs `tick` some forty
 * times a second for everything that has no instant.
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
  /** Sending is over, by plan or by a stop: since when, by the loop's time, answers are only waited for. */
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

  /** Takes requests over, ahead of their time: follow-ups wait for other requests, and not for the pacer. */
  accept(batch: SendBatch, kind: BatchKind = 'batch'): void {
    this.#activity.events++;
    if (this.#drainingSinceNs !== null) return;
    const nowNs = this.#deps.clock.nowNs();
    if (kind === 'followUps') this.#queue.hold(batch, nowNs);
    else this.#tally.starved += this.#queue.add(batch, nowNs, this.#options.judgedFromNs);
    this.wake();
  }

  /** Something is about to be due. */
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

  /** Reports results, ends what took too long, looks after itself. */
  tick(): void {
    const nowNs = this.#deps.clock.nowNs();
    // A tick that comes later than planned means that nothing else ran either.
    const plannedNs = Math.max(this.#options.startNs, this.#lastTickNs + SENDER_TICK_MS * 1e6);
    this.#tally.stalls.noteLoopGap(this.#offset(plannedNs), this.#offset(nowNs));
    // Answers that came while nothing ran are read after this tick: what was overdue at the one before has had
    // a turn of the loop since, and only that is the target's doing.
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

  /** Once everything planned was sent, follow-ups have the drain deadline for their turns; then answers have. */
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

  /** The last send is the one that waited longest; answers have their time from there. */
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
   * Lets the pacer do the waiting. It may have passed by after the last look at the queue and before the flag
   * fell, so the queue is looked at once more behind it: one of the two always sees the other.
   */
  #sleep(): void {
    this.#deps.signals.setSenderAwake(false);
    this.#busy.rest();
    if (this.#drainingSinceNs !== null) return;
    const { waitNs } = this.#pacer.next(this.#deps.clock.nowNs(), 0);
    const awakeNs = this.#queue.awakeNs(this.#options.spinNs);
    if (waitNs <= awakeNs) this.wake();
    // The pacer knows planned instants only; those put off, and those of follow-ups, are the sender's to keep.
    else if ((this.#pacer.catchingUp || this.#queue.nextIsOwn) && Number.isFinite(waitNs))
      this.#timer.after(waitNs - awakeNs, this.#deps.clock.nowNs());
  }

  #offset(ns: number): number {
    return ns - this.#options.startNs;
  }
}

/** The longest a timer can wait. */
const LONGEST_MS = 2 ** 31 - 1;

/** What sends tell whoever knows when they are due. */
interface SendsListener {
  /** The turn of a request has come: it waits no longer. */
  leaves(request: OutgoingRequest): void;
  /** One was sent that had waited for its recorded connection. */
  lateSend(): void;
  /** A request has its result. */
  ended(result: SendResult): void;
  /** One that was sent is over. */
  over(): void;
}

/** What becomes of requests whose instant has come, until each has its result. */
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

  /** What waits for its recorded connection is not sent any more. */
  giveUpWaiting(): void {
    for (const pending of this.#lanes.takeWaiting()) {
      this.#deps.inFlight.endWaiting();
      this.#deps.inFlight.leave();
      this.#tally.unreached += 1;
      this.report(pending.neverSent());
    }
  }

  /** Ends what has been under way for so long at an instant of the loop's time. */
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

  /** Hands over the results that there are. */
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
    // Nobody is more patient than a timer.
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

/** Results on their way to whoever keeps them: a batch costs its reader a transaction, however small. */
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
 * Recorded connections, each of which carries one request at a time, as it did when it was recorded. Memory is
 * that of the lanes in use: one that nothing is on and nothing waits for is forgotten.
 */
class ConnectionLanes<T> {
  readonly #lanes = new Map<number, Lane<T>>();

  /** Takes the lane for something, or has it wait behind what came before it: false then. */
  enter(lane: number, item: T): boolean {
    const taken = this.#lanes.get(lane);
    if (taken === undefined) {
      this.#lanes.set(lane, { waiting: [] });
      return true;
    }
    taken.waiting.push(item);
    return false;
  }

  /** What was on the lane is over. @returns what has the lane now; null when nothing waited */
  leave(lane: number): T | null {
    const next = this.#lanes.get(lane)?.waiting.shift() ?? null;
    if (next === null) this.#lanes.delete(lane);
    return next;
  }

  /** Takes everything that waits, of all lanes: those of a lane in their order, the lanes in none. What has a lane keeps it. */
  takeWaiting(): T[] {
    return [...this.#lanes.values()].flatMap(({ waiting }) => waiting.splice(0));
  }
}

/** Wakes somebody at the earliest instant that was asked for since it last did. One timer waits, however often it is asked. */
export class WakeTimer {
  readonly #afterMs: (callback: () => void, ms: number) => void;
  readonly #wake: () => void;
  #atNs: number | null = null;

  constructor(afterMs: (callback: () => void, ms: number) => void, wake: () => void) {
    this.#afterMs = afterMs;
    this.#wake = wake;
  }

  /** In so many nanoseconds, whole milliseconds at the most early; both monotonic. */
  after(waitNs: number, nowNs: number): void {
    const atNs = nowNs + waitNs;
    if (this.#atNs !== null && this.#atNs <= atNs) return;
    this.#atNs = atNs;
    this.#afterMs(
      () => {
        // One that was set before an earlier one wakes nobody.
        if (this.#atNs !== atNs) return;
        this.#atNs = null;
        this.#wake();
      },
      Math.floor(waitNs / 1e6),
    );
  }
}
