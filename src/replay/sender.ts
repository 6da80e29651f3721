import { BusyMeter } from './busy-meter.ts';
import { Cancels } from './cancels.ts';
import { ConnectionLanes } from './connection-lanes.ts';
import { Durations } from './durations.ts';
import type { Admission } from './in-flight.ts';
import type { LoopTime } from './loop-time.ts';
import { Pacer } from './pacer.ts';
import { type Activity, PendingSend } from './pending-send.ts';
import type { OutgoingRequest, SendBatch } from './send-batch.ts';
import { SendQueue } from './send-queue.ts';
import { neverSentResult, refusedResult, type SendResult } from './send-result.ts';
import type { SenderDeps, SenderOptions } from './sender-parts.ts';
import { SpinAccount } from './spin-account.ts';
import { StallLog } from './stall-log.ts';
import type { BatchKind } from './thread-messages.ts';
import { WakeTimer } from './wake-timer.ts';

export type { SenderDeps, SenderHealth, SenderOptions } from './sender-parts.ts';

/** Sends in one go before the event loop gets a turn: a tie of hundreds must not delay the stamps of answers. */
const SENDS_PER_TURN = 32;
const RESULTS_PER_BATCH = 256;
/** Of the ticks, each so-manieth reports what has ended: a batch costs its reader a transaction, however small. */
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
  readonly #spin: SpinAccount;
  readonly #lag = new Durations();
  readonly #stalls = new StallLog();
  readonly #activity: Activity = { events: 0 };
  readonly #cancels: Cancels;
  readonly #timer: WakeTimer;
  readonly #loopTime: LoopTime;
  /** In order of their actual sends, and when those were by the loop's time. */
  readonly #inFlight = new Map<PendingSend, number>();
  readonly #lanes = new ConnectionLanes<PendingSend>();
  #results: SendResult[] = [];
  #dispatched = 0;
  #sent = 0;
  #refused = 0;
  #refusedForBytes = 0;
  #stopped = 0;
  #unreached = 0;
  #starved = 0;
  #inFlightMax = 0;
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
    this.#queue = new SendQueue(options.startNs, deps.onSpent);
    this.#pacer = new Pacer(this.#queue, { leadNs: 0, catchUp: options.catchUp });
    this.#cancels = new Cancels(deps.afterHearing);
    this.#timer = new WakeTimer(deps.afterMs, () => this.wake());
    this.#busy = new BusyMeter(deps.clock.nowNs(), deps.loopIdleNs);
    this.#spin = new SpinAccount(this.#busy, this.#activity);
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
    else this.#starved += this.#queue.add(batch, nowNs, this.#options.judgedFromNs);
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
    this.#giveUpWaiting();
    this.#endWhenDrained();
  }

  /** Reports results, ends what took too long, looks after itself. */
  tick(): void {
    const nowNs = this.#deps.clock.nowNs();
    // A tick that comes later than planned means that nothing else ran either.
    const plannedNs = Math.max(this.#options.startNs, this.#lastTickNs + SENDER_TICK_MS * 1e6);
    this.#stalls.noteLoopGap(this.#offset(plannedNs), this.#offset(nowNs));
    // Answers that came while nothing ran are read after this tick: what was overdue at the one before has had
    // a turn of the loop since, and only that is the target's doing.
    this.#endOverdue(this.#lastLookNs);
    this.#endOvertime(nowNs);
    this.#lastTickNs = nowNs;
    this.#lastLookNs = this.#loopTime.nowNs();
    this.#busy.tick(nowNs);
    this.#ticks += 1;
    if (this.#ticks % TICKS_PER_REPORT === 0) this.#flush();
    this.#endWhenDrained();
  }

  #planTurn(): void {
    if (this.#turnPlanned || this.#over) return;
    this.#turnPlanned = true;
    this.#deps.afterTurn(() => this.#turn());
  }

  #turn(): void {
    this.#turnPlanned = false;
    this.#spin.turn(this.#deps.clock.nowNs());
    const waitNs = this.#sendDue();
    if (this.#finished && waitNs === Number.POSITIVE_INFINITY && this.#queue.followUps.size === 0)
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
      this.#send(request);
      this.#queue.prepare();
    }
    return 0;
  }

  #send(request: OutgoingRequest): void {
    const { clock, signals, inFlight } = this.#deps;
    const bodyBytes = request.body?.length ?? 0;
    if (request.follows === null) signals.setDispatched(++this.#dispatched);
    else signals.addReleased(bodyBytes);
    this.#queue.sent(request);
    const admission = inFlight.enter(bodyBytes);
    if (admission !== 'admitted') {
      this.#refuse(request, admission, this.#offset(clock.nowNs()));
      return;
    }
    this.#inFlightMax = Math.max(this.#inFlightMax, inFlight.requests);
    const pending = new PendingSend(request, this.#options.startNs, clock, this.#activity, {
      keeping: this.#deps.keeping ?? null,
      bodyWritten: (bytes) => inFlight.leaveBody(bytes),
      over: this.#onOver,
    });
    const readyOffsetNs = this.#offset(pending.readyNs);
    this.#lag.record(readyOffsetNs - request.intendedOffsetNs);
    this.#stalls.noteSend(request.intendedOffsetNs, readyOffsetNs);
    if (request.lane === null || this.#lanes.enter(request.lane, pending)) this.#dispatch(pending);
  }

  #dispatch(pending: PendingSend): void {
    this.#sent++;
    this.#inFlight.set(pending, this.#loopTime.nowNs());
    pending.dispatch(this.#deps.transport);
    if (pending.cancelAfterNs !== null) this.#cancels.add(pending, pending.cancelAfterNs);
  }

  #refuse({ index, intendedOffsetNs }: OutgoingRequest, why: Admission, nowOffsetNs: number): void {
    this.#refused++;
    if (why === 'too_heavy' && intendedOffsetNs >= (this.#options.judgedFromNs ?? 0)) this.#refusedForBytes++;
    this.#stalls.noteSend(intendedOffsetNs, nowOffsetNs);
    this.#report(refusedResult(index, intendedOffsetNs));
  }

  readonly #onOver = (pending: PendingSend, result: SendResult): void => {
    if (!this.#inFlight.delete(pending)) return;
    this.#cancels.forget(pending);
    this.#deps.inFlight.leave();
    if (result.error === 'stopped') this.#stopped++;
    this.#report(result);
    const next = pending.lane === null ? null : this.#lanes.leave(pending.lane);
    if (next !== null) {
      // The last send is the one that waited longest; answers have their time from there.
      if (this.#drainingSinceNs !== null) this.#drainingSinceNs = this.#loopTime.nowNs();
      this.#dispatch(next);
    }
    if (this.#drainingSinceNs !== null) this.#endWhenDrained();
  };

  /** Once everything planned was sent, follow-ups have the drain deadline for their turns; then answers have. */
  #endOvertime(nowNs: number): void {
    if (!this.#finished || this.#drainingSinceNs !== null) return;
    const late = this.#queue.takeOvertime(nowNs, this.#options.drainDeadlineMs * 1e6);
    if (late.length > 0) this.#drainingSinceNs = this.#loopTime.nowNs();
    this.#unreached += late.length;
    for (const { index, intendedOffsetNs } of late) this.#report(neverSentResult(index, intendedOffsetNs));
  }

  /** What waits for its recorded connection is not sent any more. */
  #giveUpWaiting(): void {
    for (const pending of this.#lanes.takeWaiting()) {
      this.#deps.inFlight.leave();
      this.#unreached++;
      this.#report(pending.neverSent());
    }
  }

  #report(result: SendResult): void {
    if (this.#queue.ended(result, this.#deps.clock.nowNs()) && this.#drainingSinceNs === null) this.wake();
    this.#results.push(result);
    if (this.#results.length >= RESULTS_PER_BATCH) this.#flush();
  }

  #flush(): void {
    if (this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#deps.onResults(results);
  }

  /** @param atNs by the loop's time */
  #endOverdue(atNs: number): void {
    for (const [pending, sinceNs] of this.#inFlight) {
      if (atNs - sinceNs < this.#options.totalTimeoutMs * 1e6) break;
      pending.handle?.abort('total_timeout');
    }
    const drainedNs = this.#drainingSinceNs === null ? 0 : atNs - this.#drainingSinceNs;
    if (this.#drainingSinceNs === null || drainedNs < this.#options.drainDeadlineMs * 1e6) return;
    this.#giveUpWaiting();
    for (const pending of this.#inFlight.keys()) pending.handle?.abort('stopped');
  }

  #endWhenDrained(): void {
    if (this.#over || this.#drainingSinceNs === null || this.#inFlight.size > 0) return;
    this.#over = true;
    this.#flush();
    const nowNs = this.#deps.clock.nowNs();
    const busy = this.#busy.shares(nowNs);
    this.#deps.onOver({
      endOffsetNs: this.#offset(nowNs),
      sent: this.#sent,
      refused: this.#refused,
      refusedForBytes: this.#refusedForBytes,
      stopped: this.#stopped,
      unreached: this.#unreached,
      lag: this.#lag.packed(),
      busyShare: busy.mean,
      busyShareMax10s: busy.max10s,
      starved: this.#starved,
      stalls: this.#stalls.stalls(),
      inFlightMax: this.#inFlightMax,
      heldBack: this.#queue.followUps.heldBack,
    });
  }

  /**
   * Lets the pacer do the waiting. It may have passed by after the last look at the queue and before the flag
   * fell, so the queue is looked at once more behind it: one of the two always sees the other.
   */
  #sleep(): void {
    this.#deps.signals.setSenderAwake(false);
    this.#spin.end();
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
