import type { OutgoingRequest } from '../send-batch.ts';
import type { SendEnd } from '../send-error.ts';
import type { SendEvents, SendHandle } from '../transport.ts';

/** The connection of a request, as far as that has to do with it. */
export interface Carrier {
  /** Ends the connection, and the request with `end`. */
  retire(end: SendEnd): void;
}

/** One request on its connection. */
export class OneRequest implements SendHandle {
  readonly #events: SendEvents;
  readonly #connection: Carrier;
  #request: OutgoingRequest | null;
  #answered = false;
  #reused = false;
  #over = false;

  constructor(request: OutgoingRequest, events: SendEvents, connection: Carrier) {
    this.#request = request;
    this.#events = events;
    this.#connection = connection;
  }

  /** A byte of an answer came. */
  get answered(): boolean {
    return this.#answered;
  }

  get reusedConnection(): boolean {
    return this.#reused;
  }

  /** What is to be written; from here nobody holds it. */
  take(): OutgoingRequest | null {
    const request = this.#request;
    this.#request = null;
    return request;
  }

  abort(end: SendEnd): void {
    if (!this.#over) this.#connection.retire(end);
  }

  start(reusedConnection: boolean, atNs?: number): void {
    this.#reused = reusedConnection;
    this.#events.onStart(reusedConnection, atNs);
  }

  bodyWritten(): void {
    if (!this.#over) this.#events.onBodyWritten();
  }

  onFirstByte(): void {
    this.#answered = true;
    if (!this.#over) this.#events.onFirstByte();
  }

  onStatus(...word: Parameters<SendEvents['onStatus']>): void {
    if (!this.#over) this.#events.onStatus(...word);
  }

  onData(bytes: Buffer): void {
    if (!this.#over) this.#events.onData(bytes);
  }

  end(): void {
    this.#over = true;
    this.#events.onEnd();
  }

  fail(end: SendEnd): void {
    this.#over = true;
    this.#events.onError(end);
  }
}
