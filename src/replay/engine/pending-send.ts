import { crc32 } from 'node:zlib';
import type { Clock } from '../../core/clock.ts';
import type { SendAnswer } from '../../core/run.ts';
import { ErrorAnswerScan } from '../../inference/error-answer.ts';
import { isJson, isPlain, mustBeJson } from '../../inference/features.ts';
import { httpStatusOfGrpc, isGrpc } from '../../inference/grpc.ts';
import { GrpcAnswer } from '../answers/grpc-answer.ts';
import type { IssuedValues } from '../answers/issued-values.ts';
import { type AnswerFacts, type AnswerHead, AnswerReader } from '../answers/read-answer.ts';
import { AnswerCopy, type KeepingBudget } from '../check/answer-copy.ts';
import type { SendEvents, SendHandle, Transport } from '../http/client.ts';
import type { SendEnd } from '../http/errors.ts';
import type { Heartbeat } from './heartbeat.ts';
import { type LivePart, notSentResult, type PreparedRequest, type SendResult } from './messages.ts';

/** The part of a sender that each of its requests uses. Instants are monotonic nanoseconds. */
export interface PendingHost {
  /** The run's zero. */
  readonly startNs: number;
  readonly clock: Pick<Clock, 'nowNs'>;
  readonly heartbeat: Pick<Heartbeat, 'waitedNs' | 'pausedNs'>;
  /** The budget for answers that are copied for comparison; null if none are. */
  readonly keeping: KeepingBudget | null;
  /** Counts events, so that a turn of the loop without events can be distinguished from work. */
  events: number;
  /** Called once for each body when it is no longer in memory. */
  bodyWritten(bytes: number): void;
  /** Called when an answer begins that is no error. */
  served(): void;
  /** Called when the head of an answer came. Returns what reads values from its body; null if none are needed. */
  answerBegins(index: number, live: LivePart, head: AnswerHead, lateNs: number): IssuedValues | null;
  over(pending: PendingSend, result: SendResult): void;
}

/**
 * Up to this size, a body fits into the buffers of its socket. A larger one also waits for a sender that is paused while
 * it passes.
 */
const BUFFERED_BYTES = 64 * 1024;

/** A request that is being sent. It takes the times of its events and builds the result. */
export class PendingSend implements SendEvents {
  /** When the request was ready to be sent. */
  readonly readyNs: number;
  readonly lane: number | null;
  /** Cancels the timer for the client's leaving; null without such a timer. */
  forgetCancel: (() => void) | null = null;
  /** When it was sent, on the loop's time. */
  sentNs = Number.POSITIVE_INFINITY;
  /** Set when the transport has taken the request. */
  handle: SendHandle | null = null;
  readonly #planned: Pick<
    PreparedRequest,
    'index' | 'intendedOffsetNs' | 'answer' | 'headers' | 'path' | 'http2' | 'live'
  >;
  readonly #host: PendingHost;
  /** Null after the transport has taken it, so that the body is not kept until the answer ends. */
  #request: PreparedRequest | null;
  /** The time of the actual send; before it, when the request was ready. */
  #actualNs: number;
  /** Those that are still in memory. */
  #bodyBytes: number;
  readonly #requestBytes: number;
  #startNs: number | null = null;
  /** When writing was called on an open connection, and how long it took. */
  #calledNs = 0;
  #writeNs: number | null = null;
  /** All pauses of the sender before the send, and between the send and an open connection. */
  #pausedBeforeNs = 0;
  #connectPausedNs = 0;
  #firstByteNs: number | null = null;
  #status: number | null = null;
  #grpcStatus: number | null = null;
  #responseBytes = 0;
  #reader: AnswerReader | null = null;
  /** Null for an answer that is none to a gRPC call. */
  #grpc: GrpcAnswer | null = null;
  #copy: AnswerCopy | null = null;
  /** Of the body of a 2xx so far. It shows whether the target answers everything alike. */
  #bodyCrc: number | null = null;
  /** Null for an answer whose body is not scanned: no 2xx, compressed and no JSON, or a stream that is read anyway. */
  #errorScan: ErrorAnswerScan | null = null;
  /** Null for an answer whose values no other request needs. */
  #issued: IssuedValues | null = null;

  constructor(request: PreparedRequest, host: PendingHost, readyNs = host.clock.nowNs()) {
    const { index, intendedOffsetNs, answer, headers, path, http2, live = null } = request;
    this.#planned = { index, intendedOffsetNs, answer, headers, path, http2, live };
    this.#request = request;
    this.#host = host;
    this.#requestBytes = request.body?.length ?? 0;
    this.#bodyBytes = this.#requestBytes;
    this.lane = request.lane ?? null;
    this.readyNs = readyNs;
    this.#actualNs = readyNs;
  }

  /** When after the send its client ends it, and how: it leaves, or its own deadline passes. Null if it stays. */
  get leaving(): { readonly afterNs: number; readonly end: SendEnd } | null {
    const { answer, http2 } = this.#planned;
    const { cancelAfterNs } = answer;
    const deadlineNs = http2?.deadlineNs ?? null;
    if (deadlineNs !== null && (cancelAfterNs === null || deadlineNs <= cancelAfterNs))
      return { afterNs: deadlineNs, end: 'deadline' };
    return cancelAfterNs === null ? null : { afterNs: cancelAfterNs, end: 'cancelled' };
  }

  /** Ends the wait for its connection, which was busy when the request was ready. */
  endsWaiting(): void {
    this.#actualNs = this.#host.clock.nowNs();
  }

  /** Sends it now. @param sentNs the present on the loop's time */
  dispatch(transport: Transport, sentNs: number): void {
    const request = this.#request;
    if (request === null) return;
    this.#request = null;
    this.sentNs = sentNs;
    this.#pausedBeforeNs = this.#host.heartbeat.pausedNs(this.#actualNs);
    this.handle = transport.send(request, this);
  }

  /** Ends the request without sending it. */
  neverSent(): SendResult {
    this.#request = null;
    this.onBodyWritten();
    return notSentResult(this.#planned, 'stopped');
  }

  onBodyWritten(): void {
    if (this.#bodyBytes > 0) this.#host.bodyWritten(this.#bodyBytes);
    this.#bodyBytes = 0;
  }

  onStart(reusedConnection: boolean): void {
    this.#host.events++;
    const nowNs = this.#host.clock.nowNs();
    this.#startNs = nowNs;
    this.#calledNs = reusedConnection ? this.#actualNs : nowNs;
    this.#connectPausedNs = reusedConnection ? 0 : this.#pausedSinceSend(nowNs);
    this.#writeNs = null;
  }

  onFirstWrite(): void {
    this.#writeNs ??= this.#host.clock.nowNs() - this.#calledNs;
  }

  onFirstByte(): void {
    this.#host.events++;
    this.#firstByteNs = this.#host.clock.nowNs();
  }

  onStatus(status: number, head: AnswerHead): void {
    this.#host.events++;
    this.#status = status;
    const { index, live, intendedOffsetNs } = this.#planned;
    const lateNs = Math.max(0, this.readyNs - this.#host.startNs - intendedOffsetNs) + (this.#writeNs ?? 0);
    if (live != null) this.#issued = this.#host.answerBegins(index, live, head, lateNs);
    if (this.#planned.http2?.grpc === true && hasSucceeded(status)) {
      this.#beginCall(head);
      return;
    }
    if (status < 400) this.#host.served();
    this.#reader = AnswerReader.of(status, head, this.#planned.answer);
    const isRead = hasSucceeded(status) && (isPlain(head.contentEncoding) || isJson(head.contentType));
    if (isRead && this.#reader?.readsEvents !== true) {
      const mustBe = mustBeJson(head, () => contentTypeOf(this.#planned.headers));
      this.#errorScan = new ErrorAnswerScan(null, mustBe, head.contentEncoding);
    }
    const { keeping } = this.#host;
    if (keeping !== null && this.#reader?.readsEvents !== true) this.#copy = new AnswerCopy(keeping, head);
  }

  /** The answer to a gRPC call begins. Only its end shows whether the call succeeded, its first message that it may. */
  #beginCall(head: AnswerHead): void {
    if (!isGrpc(head.contentType)) return;
    const { answer, path } = this.#planned;
    this.#grpc = new GrpcAnswer(path, answer.streams, head.grpcEncoding ?? null);
    const { keeping } = this.#host;
    if (keeping !== null) this.#copy = new AnswerCopy(keeping, head);
  }

  onData(bytes: Buffer): void {
    this.#host.events++;
    this.#responseBytes += bytes.length;
    const reader = this.#reader ?? this.#grpc;
    if (reader !== null) {
      const nowNs = this.#host.clock.nowNs();
      reader.write(bytes, nowNs, this.#pausedNs(nowNs));
      if (this.#grpc?.hasMessage === true) this.#host.served();
    }
    this.#errorScan?.write(bytes);
    if (hasSucceeded(this.#status)) this.#bodyCrc = crc32(bytes, this.#bodyCrc ?? 0);
    this.#copy?.write(bytes);
    this.#issued?.write(bytes);
  }

  onEnd(grpcStatus?: number | null): void {
    this.#host.events++;
    if (grpcStatus !== undefined && hasSucceeded(this.#status)) {
      this.#endCall(grpcStatus);
      return;
    }
    const facts = this.#reader?.finish() ?? null;
    this.#over(this.#reader?.broken === true ? 'broken_stream' : null, facts);
  }

  /** The status of a gRPC call is that of its end, whatever the head of the answer promised. */
  #endCall(code: number | null): void {
    const wantsMessage = this.#planned.http2?.wantsMessage === true;
    const error = this.#grpc === null ? 'no_status' : this.#grpc.errorOf(code, wantsMessage);
    this.#grpcStatus = code;
    if (code !== null) this.#status = httpStatusOfGrpc(code);
    if (error === null && hasSucceeded(this.#status)) this.#host.served();
    this.#over(error, this.#grpc?.facts() ?? null);
  }

  onError(end: SendEnd): void {
    this.#host.events++;
    this.#over(end, this.#reader?.finish() ?? this.#grpc?.facts() ?? null);
  }

  #over(end: SendEnd | null, facts: AnswerFacts | null): void {
    this.onBodyWritten();
    const result = this.#result(end, facts);
    this.#issued?.end();
    this.#host.over(this, this.#copy === null ? result : this.#withCopy(result, this.#copy));
  }

  #result(end: SendEnd | null, facts: AnswerFacts | null): SendResult {
    // The request never left this host, so it counts as if our own cap had refused it.
    if (end === 'no_socket') return notSentResult(this.#planned, end);
    const { index, intendedOffsetNs } = this.#planned;
    const cancelled = end === 'cancelled';
    const nowNs = this.#host.clock.nowNs();
    return {
      index,
      intendedOffsetNs,
      actualOffsetNs: this.#actualNs - this.#host.startNs,
      connectionWaitNs: this.lane === null ? null : this.#actualNs - this.readyNs,
      startOffsetNs: this.#offset(this.#startNs),
      writeNs: this.#writeNs,
      pausedNs: this.#pausedNs(nowNs),
      // An interim response alone is not an answer.
      firstByteOffsetNs: this.#status === null ? null : this.#offset(this.#firstByteNs),
      lastByteOffsetNs: nowNs - this.#host.startNs,
      status: this.#status,
      ...(this.#grpcStatus === null ? {} : { grpcStatus: this.#grpcStatus }),
      responseBytes: this.#responseBytes,
      error: cancelled ? null : end,
      refused: false,
      cancelled,
      streamed: facts?.streamed ?? (hasSucceeded(this.#status) ? false : null),
      answer: facts?.read === true ? this.#answerOf(facts) : null,
      tellsError: end === null ? this.#tellsError() : null,
      bodyCrc: end === null && hasSucceeded(this.#status) ? this.#bodyCrc : null,
    };
  }

  #tellsError(): boolean | null {
    if (this.#grpc !== null) return hasSucceeded(this.#status) ? this.#grpc.tellsError() : null;
    return this.#errorScan?.finish() ?? null;
  }

  /** Adds the copy of the answer. An incomplete answer is not compared, so its copy is dropped. */
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

  /** How long what is read now may have waited. */
  #pausedNs(nowNs: number): number {
    if (this.#requestBytes + this.#responseBytes > BUFFERED_BYTES) return this.#pausedSinceSend(nowNs);
    return this.#connectPausedNs + this.#host.heartbeat.waitedNs(nowNs);
  }

  #pausedSinceSend(nowNs: number): number {
    return this.#host.heartbeat.pausedNs(nowNs) - this.#pausedBeforeNs;
  }

  #offset(ns: number | null): number | null {
    return ns === null ? null : ns - this.#host.startNs;
  }
}

/** @param headers name, value, name, value … */
function contentTypeOf(headers: readonly string[]): string | null {
  const at = headers.findIndex((name, place) => place % 2 === 0 && /^content-type$/i.test(name));
  return at < 0 ? null : (headers[at + 1] ?? null);
}

/** Whether the answer has a 2xx status, so that its body is a real answer. */
function hasSucceeded(status: number | null): boolean {
  return status !== null && status >= 200 && status <= 299;
}
