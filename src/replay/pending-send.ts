import type { Clock } from '../core/clock.ts';
import type { SendError } from '../core/run.ts';
import type { OutgoingRequest } from './send-batch.ts';
import type { SendResult } from './send-result.ts';
import type { SendEvents, SendHandle } from './transport.ts';

/** Counts events, so that a turn of the loop in which there were none can be told from work. */
export interface Activity {
  events: number;
}

/** A request in flight: stamps its events and becomes its result. Instants are monotonic nanoseconds. */
export class PendingSend implements SendEvents {
  readonly actualNs: number;
  /** Set once the transport has it. */
  handle: SendHandle | null = null;
  readonly #index: number;
  readonly #intendedOffsetNs: number;
  readonly #startNs: number;
  readonly #clock: Clock;
  readonly #activity: Activity;
  readonly #onOver: (pending: PendingSend, result: SendResult) => void;
  #writtenNs: number | null = null;
  #firstByteNs: number | null = null;
  #status: number | null = null;
  #responseBytes = 0;
  #reusedConnection = false;

  constructor(
    request: OutgoingRequest,
    startNs: number,
    clock: Clock,
    activity: Activity,
    onOver: (pending: PendingSend, result: SendResult) => void,
  ) {
    this.#index = request.index;
    this.#intendedOffsetNs = request.intendedOffsetNs;
    this.#startNs = startNs;
    this.#clock = clock;
    this.#activity = activity;
    this.#onOver = onOver;
    this.actualNs = clock.nowNs();
  }

  onStart(reusedConnection: boolean): void {
    this.#activity.events++;
    this.#writtenNs = this.#clock.nowNs();
    this.#reusedConnection = reusedConnection;
  }

  onFirstByte(): void {
    this.#activity.events++;
    this.#firstByteNs = this.#clock.nowNs();
  }

  onStatus(status: number): void {
    this.#activity.events++;
    this.#status = status;
  }

  onData(bytes: number): void {
    this.#activity.events++;
    this.#responseBytes += bytes;
  }

  onEnd(): void {
    this.#activity.events++;
    this.#onOver(this, this.#result(null));
  }

  onError(error: SendError): void {
    this.#activity.events++;
    this.#onOver(this, this.#result(error));
  }

  #result(error: SendError | null): SendResult {
    return {
      index: this.#index,
      intendedOffsetNs: this.#intendedOffsetNs,
      actualOffsetNs: this.actualNs - this.#startNs,
      startOffsetNs: this.#offset(this.#writtenNs),
      // An interim response alone is not an answer.
      firstByteOffsetNs: this.#status === null ? null : this.#offset(this.#firstByteNs),
      lastByteOffsetNs: this.#clock.nowNs() - this.#startNs,
      status: this.#status,
      responseBytes: this.#responseBytes,
      error,
      refused: false,
      reusedConnection: this.#reusedConnection,
    };
  }

  #offset(ns: number | null): number | null {
    return ns === null ? null : ns - this.#startNs;
  }
}
