import type { Clock } from '../../core/clock.ts';
import type { SendAnswer } from '../../core/run.ts';
import { ErrorAnswerScan } from '../../inference/error-answer.ts';
import { isPlain } from '../../inference/features.ts';
import { type AnswerFacts, type AnswerHead, AnswerReader } from '../answers/read-answer.ts';
import { AnswerCopy, type KeepingBudget } from '../check/answer-copy.ts';
import type { SendEvents, SendHandle, Transport } from '../http/client.ts';
import type { SendEnd } from '../http/errors.ts';
import { notSentResult, type PreparedRequest, type SendResult } from './messages.ts';

/** Who sends requests, as each of them sees it. Instants are monotonic nanoseconds. */
export interface PendingHost {
  /** The run's zero. */
  readonly startNs: number;
  readonly clock: Pick<Clock, 'nowNs'>;
  /** Where answers are copied to be compared; null where they are not. */
  readonly keeping: KeepingBudget | null;
  /** Counts events, so that a turn of the loop in which there were none can be told from work. */
  events: number;
  /** A body, of so many bytes, is held no longer. Once for each. */
  bodyWritten(bytes: number): void;
  /** An answer has begun that is no error. */
  served(): void;
  over(pending: PendingSend, result: SendResult): void;
}

/** A request whose time has come: stamps its events and becomes its result. */
export class PendingSend implements SendEvents {
  /** When its turn came. */
  readonly readyNs: number;
  readonly lane: number | null;
  /** Its client's leaving is waited for no longer; null where it is not. */
  forgetCancel: (() => void) | null = null;
  /** When it was sent, by the loop's time. */
  sentNs = Number.POSITIVE_INFINITY;
  /** Set once the transport has it. */
  handle: SendHandle | null = null;
  readonly #planned: Pick<PreparedRequest, 'index' | 'intendedOffsetNs' | 'answer'>;
  readonly #host: PendingHost;
  /** Until the transport has it: a body must not live as long as its answer takes. */
  #request: PreparedRequest | null;
  /** The actual send; before it, when the request's turn came. */
  #actualNs: number;
  #bodyBytes: number;
  #writtenNs: number | null = null;
  #firstByteNs: number | null = null;
  #status: number | null = null;
  #responseBytes = 0;
  #reader: AnswerReader | null = null;
  #copy: AnswerCopy | null = null;
  /** Null for an answer whose body is not looked at: no 2xx, under a content coding, or read event by event. */
  #errorScan: ErrorAnswerScan | null = null;

  constructor(request: PreparedRequest, host: PendingHost, readyNs = host.clock.nowNs()) {
    const { index, intendedOffsetNs, answer } = request;
    this.#planned = { index, intendedOffsetNs, answer };
    this.#request = request;
    this.#host = host;
    this.#bodyBytes = request.body?.length ?? 0;
    this.lane = request.lane ?? null;
    this.readyNs = readyNs;
    this.#actualNs = readyNs;
  }

  /** How long after the send its client leaves; null for one that stays. */
  get cancelAfterNs(): number | null {
    return this.#planned.answer.cancelAfterNs;
  }

  /** Its connection is free now, which it was not when its turn came. */
  endsWaiting(): void {
    this.#actualNs = this.#host.clock.nowNs();
  }

  /** Sends it now. @param sentNs by the loop's time */
  dispatch(transport: Transport, sentNs: number): void {
    const request = this.#request;
    if (request === null) return;
    this.#request = null;
    this.sentNs = sentNs;
    this.handle = transport.send(request, this);
  }

  /** Ends it before it was sent. */
  neverSent(): SendResult {
    this.#request = null;
    this.onBodyWritten();
    return notSentResult(this.#planned, 'stopped');
  }

  onBodyWritten(): void {
    if (this.#bodyBytes > 0) this.#host.bodyWritten(this.#bodyBytes);
    this.#bodyBytes = 0;
  }

  onStart(): void {
    this.#host.events++;
    this.#writtenNs = this.#host.clock.nowNs();
  }

  onFirstByte(): void {
    this.#host.events++;
    this.#firstByteNs = this.#host.clock.nowNs();
  }

  onStatus(status: number, head: AnswerHead): void {
    this.#host.events++;
    this.#status = status;
    if (status < 400) this.#host.served();
    this.#reader = AnswerReader.of(status, head, this.#planned.answer);
    const isRead = hasSucceeded(status) && isPlain(head.contentEncoding);
    if (isRead && this.#reader?.readsEvents !== true) this.#errorScan = new ErrorAnswerScan();
    const { keeping } = this.#host;
    if (keeping !== null && this.#reader?.readsEvents !== true) this.#copy = new AnswerCopy(keeping, head);
  }

  onData(bytes: Buffer): void {
    this.#host.events++;
    this.#responseBytes += bytes.length;
    this.#reader?.write(bytes, this.#host.clock.nowNs());
    this.#errorScan?.write(bytes);
    this.#copy?.write(bytes);
  }

  onEnd(): void {
    this.#host.events++;
    const facts = this.#reader?.finish() ?? null;
    this.#over(this.#reader?.broken === true ? 'broken_stream' : null, facts);
  }

  onError(end: SendEnd): void {
    this.#host.events++;
    this.#over(end, this.#reader?.finish() ?? null);
  }

  #over(end: SendEnd | null, facts: AnswerFacts | null): void {
    this.onBodyWritten();
    const result = this.#result(end, facts);
    this.#host.over(this, this.#copy === null ? result : this.#withCopy(result, this.#copy));
  }

  #result(end: SendEnd | null, facts: AnswerFacts | null): SendResult {
    // It never left this host, as if a cap of ours had refused it.
    if (end === 'no_socket') return notSentResult(this.#planned, end);
    const { index, intendedOffsetNs } = this.#planned;
    const cancelled = end === 'cancelled';
    return {
      index,
      intendedOffsetNs,
      actualOffsetNs: this.#actualNs - this.#host.startNs,
      connectionWaitNs: this.lane === null ? null : this.#actualNs - this.readyNs,
      startOffsetNs: this.#offset(this.#writtenNs),
      // An interim response alone is not an answer.
      firstByteOffsetNs: this.#status === null ? null : this.#offset(this.#firstByteNs),
      lastByteOffsetNs: this.#host.clock.nowNs() - this.#host.startNs,
      status: this.#status,
      responseBytes: this.#responseBytes,
      error: cancelled ? null : end,
      refused: false,
      cancelled,
      streamed: facts?.streamed ?? (hasSucceeded(this.#status) ? false : null),
      answer: facts?.read === true ? this.#answerOf(facts) : null,
      tellsError: end === null ? (this.#errorScan?.finish() ?? null) : null,
    };
  }

  /** What is not complete is no answer to be compared. */
  #withCopy(result: SendResult, copy: AnswerCopy): SendResult {
    if (result.error === null && !result.cancelled) return { ...result, kept: copy.finish() };
    copy.drop();
    return result;
  }

  #answerOf({
    streamed: _streamed,
    read: _read,
    firstTokenNs,
    lastTokenNs,
    ...facts
  }: AnswerFacts): SendAnswer {
    return {
      ...facts,
      firstTokenOffsetNs: this.#offset(firstTokenNs),
      lastTokenOffsetNs: this.#offset(lastTokenNs),
    };
  }

  #offset(ns: number | null): number | null {
    return ns === null ? null : ns - this.#host.startNs;
  }
}

/** Whether this is the answer itself, and not a word on why there is none. */
function hasSucceeded(status: number | null): boolean {
  return status !== null && status >= 200 && status <= 299;
}
