import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { AnswerHead } from './answer-reader.ts';
import type { Connection } from './connection.ts';
import type { ConnectionPool } from './connection-pool.ts';
import type { PackedDurations } from './durations.ts';
import type { ConnectionUse } from './engine-health.ts';
import type { OutgoingRequest } from './send-batch.ts';
import { SendAborted, type SendEnd, sendErrorOf } from './send-error.ts';

/** What a transport tells about one request, in this order; exactly one of `onEnd` and `onError` comes last. */
export interface SendEvents {
  /** Its first byte is being written. */
  onStart(reusedConnection: boolean): void;
  /** Nobody holds its body any more; told of large ones only, and not when the request ends before. */
  onBodyWritten(): void;
  /** First byte of a response; again for each response when interim ones come first. */
  onFirstByte(): void;
  onStatus(status: number, head: AnswerHead): void;
  /** A piece of the body as it came; it belongs to the transport, and is to be read now or copied. */
  onData(bytes: Buffer): void;
  onEnd(): void;
  onError(end: SendEnd): void;
}

export interface SendHandle {
  /** Ends the request, whatever its state; `onError(end)` follows unless it is over. */
  abort(end: SendEnd): void;
}

/** How requests reach the target. Real: undici; in tests: a script. */
export interface Transport {
  send(request: OutgoingRequest, events: SendEvents): SendHandle;
  /** Opens connections ahead of the first request. */
  warm(connections: number): Promise<void>;
  use(): ConnectionUse;
  close(): Promise<void>;
}

/** undici reads `servername` though its types leave it out. */
type DispatchOptions = Dispatcher.DispatchOptions & { readonly servername: string };

/** Sends over pooled undici clients. */
export class UndiciTransport implements Transport {
  readonly #pool: ConnectionPool;

  constructor(pool: ConnectionPool) {
    this.#pool = pool;
  }

  send(request: OutgoingRequest, events: SendEvents): SendHandle {
    const connection = this.#pool.acquire(request.lane);
    const handler = new DispatchHandler(this.#pool, connection, events);
    const options: DispatchOptions = {
      method: request.method as Dispatcher.HttpMethod,
      path: request.path,
      headers: headersOf(request),
      body: bodyOf(request, events) as Buffer | null,
      // HEAD, and a body on GET or DELETE, would otherwise cost the connection.
      reset: false,
      // undici would take it from the Host header and give up a TLS connection whenever that changes.
      servername: this.#pool.hostname,
    };
    connection.client.dispatch(options, handler);
    return handler;
  }

  warm(connections: number): Promise<void> {
    return this.#pool.warm(connections);
  }

  use(): ConnectionUse {
    return this.#pool.use();
  }

  /** Set-up times of its connections, as they go to another thread. */
  connectTimes(): PackedDurations {
    return this.#pool.connectTimes();
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

/** undici keeps a buffer until its request has ended; a smaller one may stay that long. */
const PASSING_BODY_BYTES = 64 * 1024;

/** An iterable without a content-length is what undici sends chunked (its types do not list iterables). */
function bodyOf({ body, chunked }: OutgoingRequest, events: SendEvents): Buffer | Iterable<Buffer> | null {
  if (body !== null && body.length >= PASSING_BODY_BYTES) return new PassingBody(body, events);
  return chunked && body !== null ? [body] : body;
}

function answerHeadOf(headers: IncomingHttpHeaders): AnswerHead {
  return {
    contentType: headers['content-type'] ?? null,
    contentEncoding: headers['content-encoding'] ?? null,
    hasLength: headers['content-length'] !== undefined,
  };
}

/** The length of what it is not told the length of. */
function headersOf({ body, chunked, headers }: OutgoingRequest): string[] {
  if (body === null || chunked || body.length < PASSING_BODY_BYTES) return headers;
  return [...headers, 'content-length', String(body.length)];
}

/** A body that is let go of once it is written, however long its answer takes. Read once. */
class PassingBody implements Iterable<Buffer> {
  #body: Buffer | null;
  readonly #events: SendEvents;

  constructor(body: Buffer, events: SendEvents) {
    this.#body = body;
    this.#events = events;
  }

  /** Asked for a second piece when the connection has taken the first. */
  *[Symbol.iterator](): Generator<Buffer> {
    const body = this.#body;
    this.#body = null;
    if (body !== null) yield body;
    this.#events.onBodyWritten();
  }
}

/** Turns undici's callbacks for one request into events. Response bodies are passed on and let go. */
class DispatchHandler implements Dispatcher.DispatchHandler, SendHandle {
  readonly #pool: ConnectionPool;
  readonly #connection: Connection;
  readonly #events: SendEvents;
  #controller: Dispatcher.DispatchController | null = null;
  #reused = false;
  #answered = false;
  #over = false;

  constructor(pool: ConnectionPool, connection: Connection, events: SendEvents) {
    this.#pool = pool;
    this.#connection = connection;
    this.#events = events;
  }

  abort(end: SendEnd): void {
    if (this.#over) return;
    const reason = new SendAborted(end);
    if (this.#controller) this.#controller.abort(reason);
    else this.#pool.retire(this.#connection, reason);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    this.#reused = this.#connection.served > 0;
    this.#pool.noteRequest(this.#connection);
    this.#events.onStart(this.#reused);
  }

  onResponseStarted(): void {
    this.#answered = true;
    this.#events.onFirstByte();
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
  ): void {
    if (status >= 200) this.#events.onStatus(status, answerHeadOf(headers));
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#events.onData(chunk);
  }

  onResponseEnd(): void {
    this.#over = true;
    this.#pool.release(this.#connection);
    this.#events.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#pool.retire(this.#connection);
    this.#events.onError(
      sendErrorOf(error, {
        started: this.#controller !== null,
        answered: this.#answered,
        reusedConnection: this.#reused,
      }),
    );
  }
}
