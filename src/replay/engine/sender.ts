import type { Clock } from '../../core/clock.ts';
import { lagNsOf } from '../../core/run.ts';
import type { KeepingBudget } from '../check/answer-copy.ts';
import type { Transport } from '../http/client.ts';
import { ConnectionNeeds } from './connections.ts';
import { BusyMeter, Durations, type SenderHealth, StallLog } from './health.ts';
import type { Heartbeat } from './heartbeat.ts';
import { isLive, type LiveRequest, LiveValues } from './live-values.ts';
import type { LoopTime } from './loop-time.ts';
import {
  type BatchKind,
  notSentResult,
  type PreparedRequest,
  type SendBatch,
  type SenderSetup,
  type SendResult,
} from './messages.ts';
import { Pacer, RESTED_LEAD_NS } from './pacer.ts';
import { type PendingHost, PendingSend } from './pending-send.ts';
import { SendQueue } from './queue.ts';
import type { InFlight, SenderSignals } from './shared-memory.ts';

export interface SenderOptions
  extends Pick<
    SenderSetup,
    'totalTimeoutMs' | 'drainDeadlineMs' | 'catchUpGapNs' | 'judgedFromNs' | 'closed' | 'live'
  > {
  /** The run's zero, monotonic. */
  readonly startNs: number;
}

/** The priority of the thread that sends. */
export interface SendingPriority {
  /** The highest niceness that the thread has had. */
  readonly highest: number;
  /** @param share share of its time that the thread worked since the last call */
  readonly follow: (share: number, nowNs: number) => void;
}

export interface SenderDeps {
  readonly clock: Clock;
  /** The time during which the sender's event loop ran. */
  readonly loopTime: LoopTime;
  /** Beats on the sender's event loop. */
  readonly heartbeat: Pick<Heartbeat, 'opens' | 'closes' | 'waitedNs' | 'pausedNs'>;
  readonly transport: Transport;
  readonly signals: SenderSignals;
  /** Counts the requests in flight of all senders. */
  readonly inFlight: InFlight;
  /** Counts follow-ups that wait at senders; null or absent if no request follows another. */
  readonly held?: InFlight | null;
  /** Keeps answers for comparison; null or absent if they are not compared. */
  readonly keeping?: KeepingBudget | null;
  /** Runs a callback after the event loop has had a turn. */
  readonly afterTurn: (callback: () => void) => void;
  readonly afterMs: (callback: () => void, ms: number) => void;
  /** A timer on `loopTime` that runs only after all arrived data were read. Returns a function that cancels it. */
  readonly afterHearing: (callback: () => void, ms: number) => () => void;
  /** Nanoseconds the event loop has slept so far. */
  readonly loopIdleNs: () => number;
  /** Follows how busy the sender is; null or absent if it has none of its own. */
  readonly priority?: SendingPriority | null;
  readonly onResults: (results: SendResult[]) => void;
  /** Called when every request has a result and all results are reported. */
  readonly onOver: (health: SenderHealth) => void;
}

/**
 * Most sends before the event loop gets a turn, so that hundreds of equal instants do not delay the times of answers.
 */
const SENDS_PER_TURN = 32;
/**
 * Results are reported after this many ticks or results. Batches are large, because each costs its reader a
 * transaction.
 */
const TICKS_PER_REPORT = 4;
const RESULTS_PER_REPORT = 256;
/**
 * The priority follows how busy the sender was in this many ticks. A sender of thousands of requests a second sends more
 * evenly without one: it is woken less often, and its target gets a processor.
 */
const TICKS_PER_PRIORITY = 10;
/** `tick` must be called this often. A tick that comes later than planned shows that the loop stalled. */
export const SENDER_TICK_MS = 25;
/** Lateness above which overdue sends are spread out instead of sent at once. */
const CATCH_UP_FROM_NS = 50_000_000;
/**
 * How far catching up may fall behind its own spacing. Beside busy programs the loop runs only once in some milliseconds.
 * With less slack than that, it would send less than becomes due, and be later and later for the rest of the run.
 */
const CATCH_UP_SLACK_NS = 10_000_000;
/** Opening a connection takes a part of this. So long before the next send, and so many in a tick, they are opened. */
const OPENING_NS = 500_000;
const OPENED_PER_TICK = 8;
/** The longest delay of a timer. */
const LONGEST_MS = 2 ** 31 - 1;

/**
 * Sends each request at its instant and never before, independent of the others. Between an instant and its send,
 * nothing is awaited, read or decoded. It has its own event loop. `tick` does all work that has no instant.
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #deps: SenderDeps;
  readonly #queue: SendQueue;
  readonly #pacer: Pacer;
  readonly #busy: BusyMeter;
  readonly #loopTime: LoopTime;
  readonly #host: PendingHost;
  /** Requests that were sent and have not ended, in the order of their sends. */
  readonly #pending = new Set<PendingSend>();
  /** Recorded connections in use, each with the requests that wait for it, in order. */
  readonly #lanes = new Map<number, PendingSend[]>();
  /** Null if all values are sent as recorded. */
  readonly #live: LiveValues | null;
  /** Due requests that wait for values of answers. */
  readonly #waiting = new Set<LiveRequest>();
  /** Those that wait no longer, while one of them is being sent. */
  #released: LiveRequest[] = [];
  #isReleasing = false;
  readonly #needs = new ConnectionNeeds();
  readonly #stalls = new StallLog();
  readonly #lag = new Durations();
  readonly #counts = {
    sent: 0,
    refused: 0,
    refusedForBytes: 0,
    stopped: 0,
    unreached: 0,
    starved: 0,
    inFlightMax: 0,
  };
  #results: SendResult[] = [];
  /** Planned requests that have left the queue. */
  #dispatched = 0;
  #turnPlanned = false;
  /** The earliest instant with a timer; null for none. */
  #wakesAtNs: number | null = null;
  #lastTickNs: number;
  /** The last tick, on the loop's time. */
  #lastLookNs: number;
  #ticks = 0;
  /** Whether all batches have come. */
  #finished = false;
  /** When sending ended, by plan or by a stop, on the loop's time. After that, only answers are awaited. */
  #drainingSinceNs: number | null = null;
  #over = false;

  constructor(options: SenderOptions, deps: SenderDeps) {
    const { clock, loopTime, heartbeat, inFlight, keeping = null } = deps;
    const { startNs, catchUpGapNs: gapNs, closed } = options;
    this.#options = options;
    this.#deps = deps;
    this.#loopTime = loopTime;
    const heardNs = (nowNs = clock.nowNs()): number => this.#offset(nowNs - heartbeat.waitedNs(nowNs));
    this.#live = options.live == null ? null : new LiveValues(options.live, heardNs);
    this.#queue = new SendQueue(startNs);
    const catchUp = { fromLagNs: CATCH_UP_FROM_NS, gapNs, slackNs: CATCH_UP_SLACK_NS };
    this.#pacer = new Pacer(this.#queue, closed == null ? catchUp : null);
    this.#host = {
      startNs,
      clock,
      heartbeat,
      keeping,
      events: 0,
      over: this.#onOver,
      served: () => inFlight.noteServed(),
      answerBegins: (...answer) => this.#live?.answerBegins(...answer) ?? null,
      bodyWritten: (bytes) => inFlight.leaveBody(bytes),
    };
    this.#busy = new BusyMeter(clock.nowNs(), deps.loopIdleNs);
    this.#lastTickNs = clock.nowNs();
    this.#lastLookNs = loopTime.nowNs();
  }

  /** Adds requests before they are due. Follow-ups wait for another request instead of the pacer. */
  accept(batch: SendBatch, kind: BatchKind = 'batch'): void {
    this.#host.events++;
    if (this.#drainingSinceNs !== null) return;
    const nowNs = this.#deps.clock.nowNs();
    this.#needs.add(batch.connections);
    if (kind === 'followUps') this.#queue.hold(batch, nowNs);
    else {
      const late = this.#queue.add(batch, nowNs, this.#options.judgedFromNs);
      if (this.#options.closed == null) this.#counts.starved += late;
    }
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

  /** Stops sending. Requests in flight have the drain deadline to finish. */
  stop(): void {
    this.#drainingSinceNs ??= this.#loopTime.nowNs();
    this.#giveUpWaiting();
    this.#endWhenDrained();
  }

  /** Reports results, ends requests that took too long, and opens connections for the next ones. */
  tick(): void {
    const nowNs = this.#deps.clock.nowNs();
    // If a tick is late, everything else on this loop was late too.
    const plannedNs = Math.max(this.#options.startNs, this.#lastTickNs + SENDER_TICK_MS * 1e6);
    this.#stalls.noteLoopGap(this.#offset(plannedNs), this.#offset(nowNs));
    // Answers that arrived while the loop stood still are read after this tick. So only requests that were overdue at
    // the previous tick are ended: the loop has turned since, so the target was late.
    this.#endOverdue(this.#lastLookNs);
    this.#endOvertime(nowNs);
    this.#lastTickNs = nowNs;
    this.#lastLookNs = this.#loopTime.nowNs();
    this.#busy.tick(nowNs);
    this.#ticks += 1;
    if (this.#ticks % TICKS_PER_REPORT === 0) this.#reportResults();
    if (this.#ticks % TICKS_PER_PRIORITY === 0) this.#deps.priority?.follow(this.#busy.lately(nowNs), nowNs);
    if (this.#drainingSinceNs === null && this.#options.closed == null) this.#openAhead(nowNs);
    this.#endWhenDrained();
  }

  /** Opens connections that are needed soon, as long as this delays no send. */
  #openAhead(nowNs: number): void {
    const { clock, transport, inFlight } = this.#deps;
    const count = Math.min(this.#needs.at(this.#offset(nowNs)), inFlight.setup.limits.maxRequests);
    for (let opened = 0; opened < OPENED_PER_TICK; opened += 1) {
      const nextNs = this.#queue.peekNs() ?? Number.POSITIVE_INFINITY;
      if (nextNs - clock.nowNs() < OPENING_NS || !transport.openAhead(count)) return;
    }
  }

  #planTurn(): void {
    if (this.#turnPlanned || this.#over) return;
    this.#turnPlanned = true;
    this.#deps.afterTurn(() => this.#turn());
  }

  #turn(): void {
    this.#turnPlanned = false;
    this.#busy.turn(this.#deps.clock.nowNs(), this.#host.events);
    const waitNs = this.#sendDue();
    if (this.#finished && this.#queue.isEmpty && this.#queue.followUps.size === 0)
      this.#drainingSinceNs ??= this.#loopTime.nowNs();
    if (this.#drainingSinceNs === null && waitNs <= this.#queue.awakeNs(RESTED_LEAD_NS)) {
      this.#planTurn();
      return;
    }
    this.#sleep();
    this.#endWhenDrained();
  }

  /** Sends due requests. @returns the time until the next is due; 0 if more are due now */
  #sendDue(): number {
    if (this.#drainingSinceNs !== null) return Number.POSITIVE_INFINITY;
    for (let sends = 0; sends < SENDS_PER_TURN; sends++) {
      if (this.#isClosedNow()) return Number.POSITIVE_INFINITY;
      const step = this.#pacer.next(this.#deps.clock.nowNs(), 1);
      const request = step.due === 0 ? null : this.#queue.takeShifted();
      if (request === null) return step.waitNs;
      this.#send(
        this.#options.closed == null
          ? request
          : { ...request, intendedOffsetNs: this.#offset(this.#deps.clock.nowNs()) },
      );
      this.#queue.prepare();
    }
    return 0;
  }

  /** Whether a closed loop sends nothing now: the allowed number is in flight, or its time is over. */
  #isClosedNow(): boolean {
    const { closed = null } = this.#options;
    if (closed === null) return false;
    if (this.#offset(this.#deps.clock.nowNs()) >= closed.untilNs) {
      this.stop();
      return true;
    }
    return this.#pending.size >= closed.concurrency;
  }

  /** Sends a due request, or makes it wait for values of answers. */
  #send(request: PreparedRequest): void {
    const bodyBytes = request.body?.length ?? 0;
    if (request.follows == null) this.#deps.signals.setDispatched(++this.#dispatched);
    else this.#letGo(bodyBytes);
    const live = this.#live;
    if (live === null || !isLive(request)) {
      this.#sendNow(request);
      return;
    }
    live.begin(request);
    if (!live.mustWait(request)) this.#sendLive(request);
    else if (this.#admits(request)) {
      this.#deps.inFlight.beginWaiting();
      this.#waiting.add(request);
      live.wait(request, this.#onReady);
    }
  }

  /** A request needs to wait no longer. One after the other, because each that is not sent may release others. */
  readonly #onReady = (request: LiveRequest): void => {
    this.#released.push(request);
    if (this.#isReleasing) return;
    this.#isReleasing = true;
    for (let next = this.#released.shift(); next !== undefined; next = this.#released.shift()) {
      if (!this.#waiting.has(next)) continue;
      this.#endWaiting(next);
      // Its session reached it only now. The drain deadline counts from the last send.
      if (this.#drainingSinceNs !== null) this.#drainingSinceNs = this.#loopTime.nowNs();
      this.#sendLive(next);
    }
    this.#isReleasing = false;
  };

  #endWaiting(request: LiveRequest): void {
    const { inFlight } = this.#deps;
    this.#waiting.delete(request);
    inFlight.endWaiting();
    inFlight.leaveBody(request.body?.length ?? 0);
    inFlight.leave();
  }

  /** Sends a request with its live values, unless its session has diverged. */
  #sendLive(request: LiveRequest): void {
    const resolved = this.#live?.resolve(request) ?? null;
    if (resolved !== null) {
      this.#sendNow(resolved);
      return;
    }
    this.#queue.sent(request);
    this.#counts.unreached += 1;
    this.#report(notSentResult(request, 'stopped'));
  }

  /** Counts a request as in flight, or refuses it. */
  #admits(request: PreparedRequest): boolean {
    const { clock, inFlight } = this.#deps;
    const admission = inFlight.enter(request.body?.length ?? 0);
    this.#stalls.noteSend(request.intendedOffsetNs, this.#offset(clock.nowNs()));
    if (admission === 'admitted') return true;
    this.#counts.refused += 1;
    const isJudged = request.intendedOffsetNs >= (this.#options.judgedFromNs ?? 0);
    if (admission === 'too_heavy' && isJudged) this.#counts.refusedForBytes += 1;
    this.#report(notSentResult(request, 'refused'));
    return false;
  }

  /** Sends a request now, or makes it wait for its recorded connection. */
  #sendNow(request: PreparedRequest): void {
    const { clock, inFlight } = this.#deps;
    this.#queue.sent(request);
    if (!this.#admits(request)) return;
    const nowNs = clock.nowNs();
    this.#counts.inFlightMax = Math.max(this.#counts.inFlightMax, inFlight.requests);
    const pending = new PendingSend(request, this.#host, nowNs);
    const waiting = pending.lane === null ? undefined : this.#lanes.get(pending.lane);
    if (waiting !== undefined) {
      waiting.push(pending);
      inFlight.beginWaiting();
      return;
    }
    if (pending.lane !== null) this.#lanes.set(pending.lane, []);
    this.#dispatch(pending);
  }

  /** Frees the place of a follow-up that waits no longer. */
  #letGo(bodyBytes: number): void {
    this.#deps.held?.leaveBody(bodyBytes);
    this.#deps.held?.leave();
  }

  #dispatch(pending: PendingSend): void {
    const { transport, afterHearing, heartbeat } = this.#deps;
    this.#counts.sent += 1;
    this.#pending.add(pending);
    heartbeat.opens();
    pending.dispatch(transport, this.#loopTime.nowNs());
    const { leaving } = pending;
    if (leaving === null || !this.#pending.has(pending)) return;
    const ms = Math.ceil(leaving.afterNs / 1e6);
    // If the delay is too long for a timer, the client is treated as staying.
    if (ms <= LONGEST_MS) pending.forgetCancel = afterHearing(() => pending.handle?.abort(leaving.end), ms);
  }

  readonly #onOver = (pending: PendingSend, result: SendResult): void => {
    if (!this.#pending.delete(pending)) return;
    this.#deps.heartbeat.closes();
    pending.forgetCancel?.();
    this.#deps.inFlight.leave();
    if (result.error === 'stopped') this.#counts.stopped += 1;
    const { actualOffsetNs } = result;
    if (actualOffsetNs !== null) this.#lag.record(lagNsOf({ ...result, actualOffsetNs }));
    if (result.refused) {
      this.#counts.sent -= 1;
      this.#counts.refused += 1;
    }
    if (pending.lane !== null) this.#leaveLane(pending.lane);
    this.#report(result);
    if (this.#options.closed != null) this.wake();
    this.#endWhenDrained();
  };

  /** Frees a recorded connection and sends the next request that waits for it. */
  #leaveLane(lane: number): void {
    const next = this.#lanes.get(lane)?.shift();
    if (next === undefined) {
      this.#lanes.delete(lane);
      return;
    }
    // The drain deadline counts from the last send.
    if (this.#drainingSinceNs !== null) this.#drainingSinceNs = this.#loopTime.nowNs();
    this.#deps.inFlight.endWaiting();
    next.endsWaiting();
    this.#dispatch(next);
  }

  /** Gives up requests that wait for values or for their recorded connection. */
  #giveUpWaiting(): void {
    const waiting = [...this.#waiting];
    // All of them first, because the end of one must not send another.
    for (const request of waiting) this.#endWaiting(request);
    for (const request of waiting) {
      this.#counts.unreached += 1;
      this.#report(notSentResult(request, 'stopped'));
    }
    for (const pending of [...this.#lanes.values()].flatMap((waiting) => waiting.splice(0))) {
      this.#deps.inFlight.endWaiting();
      this.#deps.inFlight.leave();
      this.#counts.unreached += 1;
      this.#report(pending.neverSent());
    }
  }

  /** After all planned requests were sent, follow-ups have the drain deadline to become due; then answers have it. */
  #endOvertime(nowNs: number): void {
    if (!this.#finished || this.#drainingSinceNs !== null) return;
    const late = this.#queue.takeOvertime(nowNs, this.#options.drainDeadlineMs * 1e6);
    if (late.length > 0) this.#drainingSinceNs = this.#loopTime.nowNs();
    this.#counts.unreached += late.length;
    for (const request of late) this.#report(notSentResult(request, 'stopped'));
  }

  /** Ends requests that exceeded the total time-out. @param atNs an instant on the loop's time */
  #endOverdue(atNs: number): void {
    for (const pending of this.#pending) {
      if (atNs - pending.sentNs < this.#options.totalTimeoutMs * 1e6) break;
      pending.handle?.abort('total_timeout');
    }
    if (this.#drainingSinceNs === null) return;
    if (atNs - this.#drainingSinceNs < this.#options.drainDeadlineMs * 1e6) return;
    this.#giveUpWaiting();
    for (const pending of this.#pending) pending.handle?.abort('stopped');
  }

  /** Adds the result of a request. */
  #report(result: SendResult): void {
    this.#results.push(result);
    if (this.#results.length >= RESULTS_PER_REPORT) this.#reportResults();
    this.#live?.ended(result.index);
    if (this.#queue.ended(result, this.#deps.clock) && this.#drainingSinceNs === null) this.wake();
  }

  #reportResults(): void {
    if (this.#results.length > 0) this.#deps.onResults(this.#results);
    this.#results = [];
  }

  #endWhenDrained(): void {
    if (this.#over || this.#drainingSinceNs === null || this.#pending.size > 0) return;
    // Nothing that they could wait for is left.
    this.#giveUpWaiting();
    this.#over = true;
    this.#reportResults();
    const nowNs = this.#deps.clock.nowNs();
    this.#deps.onOver({
      ...this.#counts,
      ...this.#busy.shares(nowNs),
      endOffsetNs: this.#offset(nowNs),
      lag: this.#lag.packed(),
      stalls: this.#stalls.stalls(),
      heldBack: this.#queue.followUps.heldBack,
      live: this.#live?.counts() ?? null,
    });
  }

  /**
   * Sleeps until the pacer wakes it. The pacer may have read the flag just before it was cleared, so the queue is
   * checked again afterwards. Either the pacer sees the cleared flag, or the sender sees the request.
   */
  #sleep(): void {
    this.#deps.signals.setSenderAwake(false);
    this.#busy.rest();
    if (this.#drainingSinceNs !== null || this.#isClosedNow()) return;
    const { waitNs } = this.#pacer.next(this.#deps.clock.nowNs(), 0);
    const awakeNs = this.#queue.awakeNs(RESTED_LEAD_NS);
    if (waitNs <= awakeNs) this.wake();
    // The pacer knows only planned instants. Follow-ups and spread-out overdue requests need a timer.
    else if ((this.#pacer.catchingUp || this.#queue.nextIsOwn) && Number.isFinite(waitNs))
      this.#wakeAfter(waitNs - awakeNs);
  }

  /** Wakes the sender by a timer, up to a millisecond early. A request for a later instant needs no second timer. */
  #wakeAfter(waitNs: number): void {
    const atNs = this.#deps.clock.nowNs() + waitNs;
    if (this.#wakesAtNs !== null && this.#wakesAtNs <= atNs) return;
    this.#wakesAtNs = atNs;
    const wake = (): void => {
      // Outdated: an earlier instant was requested since.
      if (this.#wakesAtNs !== atNs) return;
      this.#wakesAtNs = null;
      this.wake();
    };
    this.#deps.afterMs(wake, Math.floor(waitNs / 1e6));
  }

  #offset(ns: number): number {
    return ns - this.#options.startNs;
  }
}
