import type { AssemblyBudget } from '../core/http1/budget.ts';
import { isRequestLine } from '../core/http1/head-scan.ts';
import { type BodyTaker, type MessagePlan, MessageReader } from '../core/http1/message-reader.ts';
import { LastHead } from './last-head.ts';

const VERSION = Buffer.from('HTTP/1.');
const HEAD_END = Buffer.from('\r\n\r\n');
const NOTHING = Buffer.alloc(0);
/** Where a status line has the first digit of its status, which is 1 of an answer that another one follows. */
const STATUS_AT = VERSION.length + 2;
const INTERIM = 0x31;
/** Of an interim answer that comes in pieces; a longer one is none that anybody sends. */
const INTERIM_BYTES = 8 * 1024;

/**
 * Whether a connection is known to have asked for one thing after the other, from its first byte on. Only then does
 * an answer that begins after a loss belong to the request before it: a client that had several under way looks the
 * same from there on. Watches everything that passes, recorded or not: where each request begins, and how the server
 * begins to answer it. Bodies are counted, not read. In doubt the proof is gone, for good.
 */
export class SerialProof {
  #requests: MessageReader | null;
  readonly #heads = new LastHead();
  /** Requests whose heads have come since the answer to the last one began. */
  #unanswered = 0;
  /** The last head asked whether its body is wanted, and none of that has come. */
  #asksFirst = false;
  /** What came of an answer's beginning, as far as it does not tell yet. */
  #answer: Buffer = NOTHING;

  /** @param budget for heads that come in pieces, of all connections together; without it the proof is gone */
  constructor(budget: AssemblyBudget) {
    this.#requests = new MessageReader({
      budget,
      isStartLine: isRequestLine,
      onHead: (head) => this.#begin(head),
    });
  }

  /** Whether everything asked so far is known to be answered, or being answered as the last that will be. */
  get nothingOpen(): boolean {
    return this.#requests !== null && this.#unanswered === 0 && isBetween(this.#requests);
  }

  client(bytes: Buffer): void {
    const requests = this.#requests;
    if (requests === null) return;
    let at = 0;
    if (isBetween(requests) && this.#heads.isWholeRequest(bytes)) this.#unanswered += 1;
    else while (at >= 0 && at < bytes.length) at = requests.read(bytes, at, 0);
    if (at < 0 || this.#unanswered > 1) this.close();
  }

  server(bytes: Buffer): void {
    if (this.#requests === null || this.#unanswered === 0) return;
    const began = this.#answer.length === 0 ? bytes : Buffer.concat([this.#answer, bytes]);
    this.#answer = NOTHING;
    const from = endOfInterims(began);
    const answer = from === 0 ? began : began.subarray(from);
    const isTold = answer.length > STATUS_AT && answer[STATUS_AT] !== INTERIM;
    // What goes on with an older answer shows that it was not over when the next request came.
    if (!mayBeginAnswer(answer, 0) || (!isTold && answer.length > INTERIM_BYTES)) this.close();
    else if (isTold) this.#answered();
    else this.#answer = Buffer.from(answer);
  }

  /** Nothing is proven from here on, and nothing held for it: its connection stays until all of it is settled. */
  close(): void {
    this.#requests?.reset();
    this.#requests = null;
    this.#heads.forget();
    this.#answer = NOTHING;
  }

  #begin(head: Buffer): MessagePlan | null {
    const plan = this.#heads.planOf(head);
    if (plan === null) return null;
    this.#unanswered += 1;
    this.#asksFirst = plan.asksFirst;
    return { framing: plan.framing, body: this.#asksFirst ? this.#awaited() : null };
  }

  #awaited(): BodyTaker {
    return {
      write: () => {
        this.#asksFirst = false;
      },
      arrived: () => undefined,
    };
  }

  #answered(): void {
    this.#unanswered = 0;
    // Whether the body still comes, or the next request in its place, nobody says.
    if (this.#asksFirst) this.close();
  }
}

/** One request has come whole, and nothing of the next. */
function isBetween({ ended, inside }: MessageReader): boolean {
  return ended || !inside;
}

/** Where the interim answers end that these bytes begin with, as far as they are whole. */
function endOfInterims(bytes: Buffer): number {
  let at = 0;
  while (bytes[at + STATUS_AT] === INTERIM && mayBeginAnswer(bytes, at)) {
    const end = bytes.indexOf(HEAD_END, at);
    if (end < 0) break;
    at = end + HEAD_END.length;
  }
  return at;
}

/** By hand: `equals` takes ten times as long for so few bytes. */
function mayBeginAnswer(bytes: Buffer, at: number): boolean {
  const length = Math.min(VERSION.length, bytes.length - at);
  for (let index = 0; index < length; index += 1) if (bytes[at + index] !== VERSION[index]) return false;
  return true;
}
