import { BusyMeter } from './busy-meter.ts';
import type { LoopTime } from './loop-time.ts';
import { Pacer } from './pacer.ts';
import type { Activity } from './pending-send.ts';
import type { SendBatch } from './send-batch.ts';
import { SendQueue } from './send-queue.ts';
import { neverSentResult, type SendResult } from './send-result.ts';
import { SendTally } from './send-tally.ts';
import type { SenderDeps, SenderOptions } from './sender-parts.ts';
import { Sends } from './sends.ts';
import type { BatchKind } from './thread-messages.ts';
import { WakeTimer } from './wake-timer.ts';

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
