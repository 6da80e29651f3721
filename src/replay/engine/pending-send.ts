import type { Clock } from '../../core/clock.ts';
import type { SendAnswer, SendError } from '../../core/run.ts';
import type { ExpectedAnswer } from '../answers/expected-answer.ts';
import { type AnswerFacts, type AnswerHead, AnswerReader } from '../answers/read-answer.ts';
import { AnswerCopy } from '../check/answer-copy.ts';
import type { AnswerArena } from '../check/messages.ts';
import type { SendEvents, SendHandle, Transport } from '../http/client.ts';
import type { SendEnd } from '../http/errors.ts';
import { neverSentResult, type OutgoingRequest, type SendResult } from './messages.ts';

/** Counts events, so that a turn of the loop in which there were none can be told from work. */
export interface Activity {
  events: number;
}

/** What a pending send tells whoever sent it. */
export interface PendingListener {
  /** Where its answer is copied to be compared; null where it is not. */
  readonly keeping?: AnswerArena | null;
  /** Its body, of so many bytes, is held no longer. Once. */
  bodyWritten(bytes: number): void;
  over(pending: PendingSend, result: SendResult): void;
}

/** A request whose time has come: stamps its events and becomes its result. Instants are monotonic nanoseconds. */
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
  readonly #index: number;
  readonly #expected: ExpectedAnswer;
  readonly #intendedOffsetNs: number;
  readonly #startNs: number;
  readonly #clock: Clock;
  readonly #activity: Activity;
  readonly #listener: PendingListener;
  /** Until the transport has it: a body must not live as long as its answer takes. */
  #request: OutgoingRequest | null;
  /** The actual send; before it, when the request's turn came. */
  #actualNs: number;
  #bodyBytes: number;
  #writtenNs: number | null = null;
  #firstByteNs: number | null = null;
  #status: number | null = null;
  #responseBytes = 0;
  #reusedConnection = false;
  #reader: AnswerReader | null = null;
  #copy: AnswerCopy | null = null;

  constructor(
    request: OutgoingRequest,
    startNs: number,
    clock: Clock,
    activity: Activity,
    listener: PendingListener,
    readyNs = clock.nowNs(),
  ) {
    this.#request = request;
    this.lane = request.lane;
    this.#index = request.index;
    this.#expected = request.answer;
    this.#intendedOffsetNs = request.intendedOffsetNs;
    this.#bodyBytes = request.body?.length ?? 0;
    this.#startNs = startNs;
    this.#clock = clock;
    this.#activity = activity;
    this.#listener = listener;
    this.readyNs = readyNs;
    this.#actualNs = this.readyNs;
  }

  /** How long after the send its client leaves; null for one that stays. */
  get cancelAfterNs(): number | null {
    return this.#expected.cancelAfterNs;
  }

  /** Its connection is free now, which it was not when its turn came. */
  endsWaiting(): void {
    this.#actualNs = this.#clock.nowNs();
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
    return neverSentResult(this.#index, this.#intendedOffsetNs);
  }

  onBodyWritten(): void {
    if (this.#bodyBytes > 0) this.#listener.bodyWritten(this.#bodyBytes);
    this.#bodyBytes = 0;
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

  onStatus(status: number, head: AnswerHead): void {
    this.#activity.events++;
    this.#status = status;
    this.#reader = AnswerReader.of(status, head, this.#expected);
    const keeping = this.#listener.keeping ?? null;
    if (keeping !== null && this.#reader?.readsEvents !== true) this.#copy = new AnswerCopy(keeping, head);
  }

  onData(bytes: Buffer): void {
    this.#activity.events++;
    this.#responseBytes += bytes.length;
    this.#reader?.write(bytes, this.#clock.nowNs());
    this.#copy?.write(bytes);
  }

  onEnd(): void {
    this.#activity.events++;
    const facts = this.#reader?.finish() ?? null;
    this.#over(this.#reader?.broken === true ? 'broken_stream' : null, facts);
  }

  onError(end: SendEnd): void {
    this.#activity.events++;
    this.#over(end, this.#reader?.finish() ?? null);
  }

  #over(end: SendEnd | null, facts: AnswerFacts | null): void {
    this.onBodyWritten();
    const result = this.#result(end, facts);
    this.#listener.over(this, this.#copy === null ? result : this.#withCopy(result, this.#copy));
  }

  #result(end: SendEnd | null, facts: AnswerFacts | null): SendResult {
    const cancelled = end === 'cancelled';
    const error: SendError | null = cancelled ? null : end;
    return {
      index: this.#index,
      intendedOffsetNs: this.#intendedOffsetNs,
      actualOffsetNs: this.#actualNs - this.#startNs,
      connectionWaitNs: this.lane === null ? null : this.#actualNs - this.readyNs,
      startOffsetNs: this.#offset(this.#writtenNs),
      // An interim response alone is not an answer.
      firstByteOffsetNs: this.#status === null ? null : this.#offset(this.#firstByteNs),
      lastByteOffsetNs: this.#clock.nowNs() - this.#startNs,
      status: this.#status,
      responseBytes: this.#responseBytes,
      error,
      refused: false,
      cancelled,
      streamed: facts?.streamed ?? (hasSucceeded(this.#status) ? false : null),
      answer: facts?.read === true ? this.#answerOf(facts) : null,
      reusedConnection: this.#reusedConnection,
    };
  }

  /** What is not complete is no answer to be compared. */
  #withCopy(result: SendResult, copy: AnswerCopy): SendResult {
    if (result.error === null && !result.cancelled) return { ...result, kept: copy.finish(this.#index) };
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
    return ns === null ? null : ns - this.#startNs;
  }
}

/** Whether this is the answer itself, and not a word on why there is none. */
function hasSucceeded(status: number | null): boolean {
  return status !== null && status >= 200 && status <= 299;
}
