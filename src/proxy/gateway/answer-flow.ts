import type { IncomingMessage, OutgoingMessage, ServerResponse } from 'node:http';
import type { ExchangeTap } from './exchange-tap.ts';
import { passableTrailers, type RawHeaders } from './guard.ts';

/** What the flow of an answer tells. */
export interface AnswerListener {
  /** Bytes came from the target. */
  moved(): void;
  /** All of it came; what is not out yet is on its way. */
  complete(): void;
  /** The target's side failed. */
  closed(): void;
}

/** An answer, and whether an end that Node's parser saw is one: of a body that only its connection ends it cannot know. */
export interface Answer {
  readonly from: IncomingMessage;
  readonly isEnd: () => boolean;
}

/**
 * The body of an answer on its way to the client, and to the recorder: with back-pressure, with its trailers,
 * and its head at once, because a stream's first event may be long in coming.
 */
export class AnswerFlow {
  readonly #from: IncomingMessage;
  readonly #isEnd: () => boolean;
  readonly #response: ServerResponse;
  readonly #tap: ExchangeTap;
  readonly #listener: AnswerListener;
  #begun = false;
  #holding = false;

  constructor(answer: Answer, response: ServerResponse, tap: ExchangeTap, listener: AnswerListener) {
    const { from } = answer;
    this.#from = from;
    this.#isEnd = answer.isEnd;
    this.#response = response;
    this.#tap = tap;
    this.#listener = listener;
    from.on('data', (chunk: Buffer) => this.#pass(chunk));
    from.on('end', () => this.#end());
    from.on('error', () => listener.closed());
    // What came in one piece with the head is read before this runs.
    process.nextTick(() => {
      if (!this.#begun && !response.destroyed && !response.writableEnded) sendHead(response);
    });
  }

  /** Whether Node's parser saw the whole answer. */
  get whole(): boolean {
    return this.#from.complete && this.#isEnd();
  }

  get paused(): boolean {
    return this.#from.isPaused();
  }

  resume(): void {
    this.#from.resume();
  }

  #pass(chunk: Buffer): void {
    this.#begun = true;
    this.#listener.moved();
    if (!this.#response.write(chunk)) this.#hold();
    this.#tap.responseBytes(chunk);
  }

  #hold(): void {
    this.#from.pause();
    if (this.#holding) return;
    this.#holding = true;
    this.#response.once('drain', () => {
      this.#holding = false;
      this.#from.resume();
    });
  }

  #end(): void {
    // A connection that broke off ends the stream as well; its close says what there is to say.
    if (!this.whole) return;
    const trailers = this.#from.rawTrailers;
    this.#tap.responseEnd(trailers);
    this.#listener.complete();
    if (this.#response.chunkedEncoding) addTrailers(this.#response, trailers);
    this.#response.end();
  }
}

/** Adds to a chunked message what trailers may be passed on. */
export function addTrailers(message: OutgoingMessage, trailers: RawHeaders, tellsPeer = false): void {
  const passed = passableTrailers(trailers, tellsPeer);
  if (passed.length === 0) return;
  try {
    message.addTrailers(passed);
  } catch {
    // Node will not send a name or value that it would not read either: the body is whole without it.
  }
}

const NOTHING = Buffer.alloc(0);

/** Sends a head without waiting for a body. Node's own `flushHeaders` sends it as UTF-8, and heads are latin1. */
export function sendHead(message: OutgoingMessage): void {
  message.write(NOTHING);
}
