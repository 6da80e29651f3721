import { Cancels } from './cancels.ts';
import { ConnectionLanes } from './connection-lanes.ts';
import type { Admission } from './in-flight.ts';
import type { LaunchTurn } from './launch-pad.ts';
import { type Activity, type PendingListener, PendingSend } from './pending-send.ts';
import { ResultOutbox } from './result-outbox.ts';
import type { OutgoingRequest } from './send-batch.ts';
import { refusedResult, type SendResult } from './send-result.ts';
import type { SendTally } from './send-tally.ts';
import type { SenderDeps } from './sender-parts.ts';
import type { LaidOut } from './transport.ts';
import { UnderWay } from './under-way.ts';

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
  readonly underWay = new UnderWay();
  readonly #startNs: number;
  readonly #deps: SenderDeps;
  readonly #tally: SendTally;
  readonly #activity: Activity;
  readonly #listener: SendsListener;
  readonly #cancels: Cancels;
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
    this.#cancels = new Cancels(deps.afterHearing);
    this.#outbox = new ResultOutbox(deps.onResults);
    const bodyWritten = (bytes: number): void => deps.inFlight.leaveBody(bytes);
    this.#pendingListener = { keeping: deps.keeping ?? null, bodyWritten, over: this.#onOver };
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

  /** Goes on with a request that another thread has sent, or found no room for. */
  goOnWith(request: OutgoingRequest, laidOut: LaidOut, end: LaunchTurn, rest: Buffer | null): void {
    this.#leaves(request);
    if (end.kind !== 'launched') {
      laidOut.withdraw();
      this.#refuse(request, end.kind, end.atNs);
      return;
    }
    const pending = this.#admitted(request, end.atNs, end.inFlight);
    this.#goes(pending);
    pending.launched(laidOut, rest);
    if (pending.cancelAfterNs !== null)
      this.#cancels.add(pending, Math.max(0, pending.cancelAfterNs - (this.#deps.clock.nowNs() - end.atNs)));
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
    this.#goes(pending);
    pending.dispatch(this.#deps.transport);
    if (pending.cancelAfterNs !== null) this.#cancels.add(pending, pending.cancelAfterNs);
  }

  #goes(pending: PendingSend): void {
    this.#tally.sent += 1;
    this.underWay.add(pending, this.#deps.loopTime.nowNs());
  }

  #refuse(request: OutgoingRequest, why: Exclude<Admission, 'admitted'>, atNs: number): void {
    this.#tally.refused(request, why, atNs - this.#startNs);
    this.report(refusedResult(request.index, request.intendedOffsetNs));
  }

  readonly #onOver = (pending: PendingSend, result: SendResult): void => {
    if (!this.underWay.remove(pending)) return;
    this.#cancels.forget(pending);
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
