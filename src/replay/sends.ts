import { ConnectionLanes } from './connection-lanes.ts';
import type { Admission } from './in-flight.ts';
import { type Activity, type PendingListener, PendingSend } from './pending-send.ts';
import { ResultOutbox } from './result-outbox.ts';
import type { OutgoingRequest } from './send-batch.ts';
import { refusedResult, type SendResult } from './send-result.ts';
import type { SendTally } from './send-tally.ts';
import type { SenderDeps } from './sender-parts.ts';

/** The longest a timer can wait. */
const LONGEST_MS = 2 ** 31 - 1;

/** What sends tell whoever knows when they are due. */
export interface SendsListener {
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
export class Sends {
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
