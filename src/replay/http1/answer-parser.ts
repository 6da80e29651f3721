import { LIMITS } from '../../core/limits.ts';
import { AssemblyBudget } from '../../http1/budget.ts';
import { type Framing, responseFraming } from '../../http1/framing.ts';
import { isStatusLine, scanResponse } from '../../http1/heads.ts';
import { type BodyTaker, type MessagePlan, MessageReader } from '../../http1/message-reader.ts';
import type { AnswerHead } from '../answer-reader.ts';

/** What an answer is told to, piece by piece. */
export interface AnswerTaker {
  onFirstByte(): void;
  /** Not for interim answers. */
  onStatus(status: number, head: AnswerHead): void;
  /** The view is valid during the call only. */
  onData(bytes: Buffer): void;
}

/** How far an answer has come. `protocol`: it is none that HTTP/1.1 knows. */
export type AnswerProgress = 'open' | 'complete' | 'protocol';

/** What a head says of the answer and of its connection. */
interface ReadHead {
  readonly framing: Framing;
  readonly status: number;
  readonly head: AnswerHead;
  readonly keepsAlive: boolean;
  readonly keepAliveSeconds: number | null;
}

/** One connection at a time: a head and its trailers, whatever they are like. */
const BUDGET_BYTES = 2 * (LIMITS.headBytes + LIMITS.trailerBytes);

/** Longer heads are read each time: one is kept with every connection. */
const KNOWN_HEAD_LENGTH_MAX = 2_048;

const CLOSES = /\nconnection:(?:[^\r\n]*,)?[ \t]*close[ \t]*[,\r\n]/i;
const KEEPS = /\nconnection:(?:[^\r\n]*,)?[ \t]*keep-alive[ \t]*[,\r\n]/i;
const KEEP_ALIVE_SECONDS = /\nkeep-alive:[^\r\n]*\btimeout=(\d{1,9})/i;

/**
 * The bytes of a connection as answers to its requests, one at a time. Framing is core's, which never guesses: where
 * two clients could read an answer in two ways it is none.
 */
export class AnswerParser {
  readonly #reader: MessageReader;
  readonly #body: BodyTaker;
  #taker: AnswerTaker | null = null;
  #method = '';
  #isFinal = false;
  #begun = false;
  #kept = false;
  #keepAliveSeconds: number | null = null;
  /** The head read last, and to what method: a server's heads are mostly alike, and reading one takes a while. */
  #known: { readonly text: string; readonly method: string; readonly read: ReadHead } | null = null;

  constructor() {
    this.#reader = new MessageReader({
      budget: new AssemblyBudget(BUDGET_BYTES),
      isStartLine: isStatusLine,
      onHead: (head) => this.#onHead(head),
    });
    this.#body = { write: (bytes) => this.#taker?.onData(bytes), arrived: () => undefined };
  }

  /** Whether the connection stays open behind the answer that was read last. */
  get keepsAlive(): boolean {
    return this.#kept;
  }

  /** So long the server said it would keep an idle connection; null where it did not say. */
  get keepAliveSeconds(): number | null {
    return this.#keepAliveSeconds;
  }

  /** Whether the head of the answer itself, and not only of interim ones, is there. */
  get hasStatus(): boolean {
    return this.#isFinal;
  }

  /** A request of this method was sent. The answer before it was complete, or there was none. */
  expect(method: string, taker: AnswerTaker): void {
    this.#method = method;
    this.#taker = taker;
    this.#isFinal = false;
    this.#begun = false;
  }

  read(bytes: Buffer): AnswerProgress {
    let at = 0;
    while (at < bytes.length) {
      if (!this.#begun) {
        this.#begun = true;
        this.#taker?.onFirstByte();
      }
      at = this.#reader.read(bytes, at, 0);
      if (at < 0) return 'protocol';
      if (!this.#reader.ended) continue;
      // Nobody asked for what comes behind the answer.
      if (this.#isFinal) return at === bytes.length ? 'complete' : this.#overlong();
      this.#begun = false;
    }
    return 'open';
  }

  /** The server said that it sends no more: whether that completes the answer. */
  endOfStream(): boolean {
    return this.#isFinal && this.#reader.endOfStream();
  }

  #overlong(): AnswerProgress {
    this.#kept = false;
    return 'complete';
  }

  #onHead(head: Buffer): MessagePlan | null {
    const read = this.#readHead(head.toString('latin1'));
    if (read === null) return null;
    const { framing, status } = read;
    if (status < 200) return { framing, body: null };
    this.#isFinal = true;
    this.#kept = read.keepsAlive;
    this.#keepAliveSeconds = read.keepAliveSeconds;
    this.#taker?.onStatus(status, read.head);
    return { framing, body: this.#body };
  }

  #readHead(text: string): ReadHead | null {
    const method = this.#method;
    if (this.#known?.text === text && this.#known.method === method) return this.#known.read;
    const read = readHead(text, method);
    // Interim ones come before each answer, and say little.
    if (read !== null && read.status >= 200 && text.length <= KNOWN_HEAD_LENGTH_MAX) {
      this.#known = { text, method, read };
    }
    return read;
  }
}

/** Null for what is no answer to a request of this method, a tunnel that nobody asked for included. */
function readHead(text: string, method: string): ReadHead | null {
  const scanned = scanResponse(text);
  const framing = scanned === null ? null : responseFraming(scanned, method);
  if (scanned === null || framing === null || framing.kind === 'tunnel') return null;
  const { status, minorVersion, fields } = scanned;
  const keepsAlive =
    framing.kind !== 'until_close' && (minorVersion === 1 ? !CLOSES.test(text) : KEEPS.test(text));
  const seconds = keepsAlive ? KEEP_ALIVE_SECONDS.exec(text)?.[1] : undefined;
  return {
    framing,
    status,
    head: {
      contentType: fields.contentType,
      contentEncoding: fields.contentEncoding,
      hasLength: fields.contentLength !== null,
      contentLength: fields.contentLength,
      inferenceHeaderLength: fields.inferenceHeaderLength,
    },
    keepsAlive,
    keepAliveSeconds: seconds === undefined ? null : Number(seconds),
  };
}
