import type { Clock } from '../core/clock.ts';
import { BusyMeter } from './busy-meter.ts';
import { Cancels } from './cancels.ts';
import type { SenderSignals } from './due-ring.ts';
import { Durations } from './durations.ts';
import type { DurationsNs, Stall } from './engine-health.ts';
import { type CatchUp, Pacer } from './pacer.ts';
import { type Activity, PendingSend } from './pending-send.ts';
import { RequestQueue } from './request-queue.ts';
import type { OutgoingRequest, SendBatch } from './send-batch.ts';
import type { SendResult } from './send-result.ts';
import { StallLog } from './stall-log.ts';
import type { Transport } from './transport.ts';

/** Sends in one go before the event loop gets a turn: a tie of hundreds must not delay the stamps of answers. */
const SENDS_PER_TURN = 32;
/** A turn of the loop that did nothing takes some microseconds; what it took beyond this was not waiting. */
const EMPTY_TURN_NS = 20_000;
const RESULTS_PER_BATCH = 256;
/** How often whoever runs a sender calls `tick`; what a stall of the loop may be taken for too short. */
export const SENDER_TICK_MS = 25;

export interface SenderOptions {
  /** The run's zero, monotonic. */
  readonly startNs: number;
  readonly maxInFlight: number;
  readonly totalTimeoutMs: number;
  readonly drainDeadlineMs: number;
  readonly catchUp: CatchUp;
  /** This close to an instant the sender waits for it awake. At least the pacer's lead. */
  readonly spinNs: number;
}

export interface SenderDeps {
  readonly clock: Clock;
  readonly transport: Transport;
  readonly signals: SenderSignals;
  /** Runs a callback after the event loop has had a turn. */
  readonly afterTurn: (callback: () => void) => void;
  readonly afterMs: (callback: () => void, ms: number) => void;
  /** Nanoseconds the event loop has slept so far. */
  readonly loopIdleNs: () => number;
  readonly onResults: (results: SendResult[]) => void;
  /** Every request handed over has its result, all of them reported. */
  readonly onOver: (health: SenderHealth) => void;
}

/** The sender's part of EngineHealth. */
export interface SenderHealth {
  readonly endOffsetNs: number;
  readonly sent: number;
  readonly refused: number;
  readonly stopped: number;
  readonly lag: DurationsNs;
  readonly busyShare: number;
  readonly busyShareMax10s: number;
  readonly starved: number;
  readonly stalls: readonly Stall[];
  readonly inFlightMax: number;
}

/**
 * Sends each request at its instant, never before, whatever became of the others. Nothing between an instant
 * and its dispatch waits, reads or decodes. Lives on an event loop of its own; needs `tick` some forty
 * times a second for everything that has no instant.
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #deps: SenderDeps;
  readonly #queue: RequestQueue;
  readonly #pacer: Pacer;
  readonly #busy: BusyMeter;
  readonly #lag = new Durations();
  readonly #stalls = new StallLog();
  readonly #activity: Activity = { events: 0 };
  readonly #cancels: Cancels;
  /** In order of their actual sends. */
  readonly #inFlight = new Set<PendingSend>();
  #results: SendResult[] = [];
  #dispatched = 0;
  #sent = 0;
  #refused = 0;
  #stopped = 0;
  #starved = 0;
  #inFlightMax = 0;
  #turnPlanned = false;
  #lastTurnNs: number | null = null;
  #eventsAtLastTurn = 0;
  #lastTickNs: number;
  /** No batch will follow. */
  #finished = false;
  /** Sending is over, by plan or by a stop: since when answers are only waited for. */
  #drainingSinceNs: number | null = null;
  #over = false;

  constructor(options: SenderOptions, deps: SenderDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#queue = new RequestQueue(options.startNs);
    this.#pacer = new Pacer(this.#queue, { leadNs: 0, catchUp: options.catchUp });
    this.#cancels = new Cancels(deps.afterMs);
    this.#busy = new BusyMeter(deps.clock.nowNs(), deps.loopIdleNs);
    this.#lastTickNs = deps.clock.nowNs();
  }

  /** Takes requests over, ahead of their time. */
  accept(batch: SendBatch): void {
    this.#activity.events++;
    if (this.#drainingSinceNs !== null) return;
    this.#starved += this.#queue.add(batch, this.#deps.clock.nowNs());
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
    this.#drainingSinceNs ??= this.#deps.clock.nowNs();
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
    this.#endOverdue(this.#lastTickNs);
    this.#lastTickNs = nowNs;
    this.#busy.tick(nowNs);
    this.#flush();
    this.#endWhenDrained();
  }

  #planTurn(): void {
    if (this.#turnPlanned || this.#over) return;
    this.#turnPlanned = true;
    this.#deps.afterTurn(() => this.#turn());
  }

  #turn(): void {
    this.#turnPlanned = false;
    this.#accountSpin();
    const waitNs = this.#sendDue();
    if (this.#finished && waitNs === Number.POSITIVE_INFINITY)
      this.#drainingSinceNs ??= this.#deps.clock.nowNs();
    if (this.#drainingSinceNs === null && waitNs <= this.#options.spinNs) {
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
    const { clock, transport, signals } = this.#deps;
    signals.setDispatched(++this.#dispatched);
    if (this.#inFlight.size >= this.#options.maxInFlight) {
      this.#refuse(request, this.#offset(clock.nowNs()));
      return;
    }
    const pending = new PendingSend(request, this.#options.startNs, clock, this.#activity, this.#onOver);
    this.#inFlight.add(pending);
    pending.handle = transport.send(request, pending);
    if (request.answer.cancelAfterNs !== null) this.#cancels.add(pending, request.answer.cancelAfterNs);
    this.#sent++;
    this.#inFlightMax = Math.max(this.#inFlightMax, this.#inFlight.size);
    const actualOffsetNs = this.#offset(pending.actualNs);
    this.#lag.record(actualOffsetNs - request.intendedOffsetNs);
    this.#stalls.noteSend(request.intendedOffsetNs, actualOffsetNs);
  }

  #refuse({ index, intendedOffsetNs }: OutgoingRequest, nowOffsetNs: number): void {
    this.#refused++;
    this.#stalls.noteSend(intendedOffsetNs, nowOffsetNs);
    this.#report({
      index,
      intendedOffsetNs,
      actualOffsetNs: null,
      startOffsetNs: null,
      firstByteOffsetNs: null,
      lastByteOffsetNs: null,
      status: null,
      responseBytes: 0,
      error: null,
      refused: true,
      cancelled: false,
      streamed: null,
      answer: null,
      reusedConnection: false,
    });
  }

  readonly #onOver = (pending: PendingSend, result: SendResult): void => {
    if (!this.#inFlight.delete(pending)) return;
    this.#cancels.forget(pending);
    if (result.error === 'stopped') this.#stopped++;
    this.#report(result);
    if (this.#drainingSinceNs !== null) this.#endWhenDrained();
  };

  #report(result: SendResult): void {
    this.#results.push(result);
    if (this.#results.length >= RESULTS_PER_BATCH) this.#flush();
  }

  #flush(): void {
    if (this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#deps.onResults(results);
  }

  #endOverdue(atNs: number): void {
    for (const pending of this.#inFlight) {
      if (atNs - pending.actualNs < this.#options.totalTimeoutMs * 1e6) break;
      pending.handle?.abort('total_timeout');
    }
    const drainedNs = this.#drainingSinceNs === null ? 0 : atNs - this.#drainingSinceNs;
    if (this.#drainingSinceNs === null || drainedNs < this.#options.drainDeadlineMs * 1e6) return;
    for (const pending of this.#inFlight) pending.handle?.abort('stopped');
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
      stopped: this.#stopped,
      lag: this.#lag.summary(),
      busyShare: busy.mean,
      busyShareMax10s: busy.max10s,
      starved: this.#starved,
      stalls: this.#stalls.stalls(),
      inFlightMax: this.#inFlightMax,
    });
  }

  /**
   * Lets the pacer do the waiting. It may have passed by after the last look at the queue and before the flag
   * fell, so the queue is looked at once more behind it: one of the two always sees the other.
   */
  #sleep(): void {
    this.#deps.signals.setSenderAwake(false);
    this.#lastTurnNs = null;
    if (this.#drainingSinceNs !== null) return;
    const { waitNs } = this.#pacer.next(this.#deps.clock.nowNs(), 0);
    if (waitNs <= this.#options.spinNs) this.wake();
    // The pacer knows intended instants only; those it put off itself are the sender's to keep.
    else if (this.#pacer.catchingUp && Number.isFinite(waitNs)) {
      this.#deps.afterMs(() => this.wake(), Math.floor((waitNs - this.#options.spinNs) / 1e6));
    }
  }

  #accountSpin(): void {
    const nowNs = this.#deps.clock.nowNs();
    if (this.#lastTurnNs !== null && this.#activity.events === this.#eventsAtLastTurn) {
      this.#busy.addSpin(Math.min(nowNs - this.#lastTurnNs, EMPTY_TURN_NS));
    }
    this.#lastTurnNs = nowNs;
    this.#eventsAtLastTurn = this.#activity.events;
  }

  #offset(ns: number): number {
    return ns - this.#options.startNs;
  }
}
