import type { LossReason, OmissionCause } from '../../core/accounting.ts';
import { decodedOrNull } from '../../core/content-coding.ts';
import type { Body, ChunkTimes, Exchange, KnownHead, Linked, Message, Outcome } from '../../core/exchange.ts';
import { latin1, traceIdOf } from '../../core/headers.ts';
import type { KeyedHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import type { MessageType } from '../../core/protobuf.ts';
import type { Route } from '../../core/routes.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import { type HeadFields, type ScannedRequest, type ScannedResponse, scanFields } from '../../http1/heads.ts';
import { ErrorAnswerScan } from '../../inference/error-answer.ts';
import {
  FACT_BYTES,
  isPlain,
  modelOfForm,
  modelOfJson,
  mustBeJson,
  type RequestFeatures,
  requestFeatures,
} from '../../inference/features.ts';
import {
  GRPC_OK,
  grpcMessagesOf,
  httpStatusOfGrpc,
  isGrpc,
  parseGrpcStatus,
  parseGrpcTimeoutUs,
  streamsGrpcAnswer,
} from '../../inference/grpc.ts';
import type { Linker, OnIssued } from '../../inference/links/linker.ts';
import {
  CallErrorScan,
  type CallFacts,
  callFacts,
  firstMessage,
} from '../../inference/protobuf/call-facts.ts';
import type { JsonObject } from '../../inference/protobuf/message-json.ts';
import type { CallSchema, CallTypes } from '../../inference/protobuf/schema.ts';
import { EventData } from '../../inference/stream-events.ts';
import { AnswerScan } from '../../inference/stream-timing.ts';
import { type BodyAbout, type BodyRedaction, dropNote } from '../../redaction/body-redaction.ts';
import type { RedactedBytes, Redaction } from '../../redaction/head-redaction.ts';
import type { ExchangeKeys } from '../../redaction/identities.ts';
import { type BodyPolicy, type Selection, storedBytes } from '../../redaction/recording-policy.ts';
import { type AnswerType, answerForm, BodyCollector, isReadable } from './body-collector.ts';
import {
  type HeadCache,
  type HeadJudgement,
  judgeHead,
  type RequestReading,
  type ResponseReading,
} from './head-cache.ts';

export interface AssemblyContext {
  /** Epoch microseconds of a monotonic stamp. */
  readonly epochUsOf: (monotonicNs: number) => number;
  readonly policy: BodyPolicy;
  readonly budget: AssemblyBudget;
  readonly hash: KeyedHash;
  readonly redaction: Redaction;
  readonly bodyRedaction: BodyRedaction;
  /** Which exchanges belong together. */
  readonly keys: ExchangeKeys;
  readonly selection: Selection;
  readonly heads: HeadCache;
  /** The gRPC calls whose messages can be read. */
  readonly calls: CallSchema;
  readonly linker: Linker;
  /** An error of our own cost a part of the recording; that part is counted as lost or dropped. */
  readonly onFailure: (what: 'a head' | 'a body' | 'the links of an exchange', error: unknown) => void;
}

/** A complete head and its times on the monotonic clock. `bytes` is a view that is valid only during the call. */
interface FoundHead {
  readonly bytes: Buffer;
  readonly firstByteNs: number;
  readonly endNs: number;
}

/** Who ended the connection first: a side, or the gateway when the upstream took too long. */
export type FirstEnd = 'client' | 'server' | 'timeout';

export interface ExchangeOrigin {
  readonly connection: number;
  /** The client's address; null if unknown. */
  readonly peer: string | null;
}

const NOTHING_KEPT: RedactedBytes = { bytes: new Uint8Array(0), names: [] };
const NO_TIMES: ChunkTimes = [];
const EMPTY = Buffer.alloc(0);
/** Answers with this status or a higher one issue nothing. */
const FIRST_ERROR = 400;
const NO_FACTS: CallFacts = { model: null, batch: null };
/**
 * What a client's deadline may lie before arrival and `grpc-timeout`: libraries round the field up to three digits, and
 * the head may be read late.
 */
const ROUNDED_UP_SHARE = 0.01;
const HEAD_DELAY_US = 5_000;

const MULTIPART = /^multipart\/form-data\s*;/i;

/** An exchange between its request's head and its settlement. */
export class ExchangeBuilder {
  readonly #context: AssemblyContext;
  readonly #origin: ExchangeOrigin;
  readonly #scanned: ScannedRequest;
  readonly #isCall: boolean;
  /** Of a gRPC call; null if its messages are not known. */
  readonly #types: CallTypes | null;
  readonly #route: Route;
  readonly #judged: HeadJudgement;
  readonly #headText: string;
  /** Its links; null as long as its request is not complete, and without a session. */
  #linked: Linked | null = null;
  /** Values from its body. Each is read on first use, and before anything in the body is masked. */
  #text: Buffer | null = null;
  #session: Uint8Array | null | undefined;
  #features: RequestFeatures | null = null;
  #first: Readonly<JsonObject> | null | undefined;
  /** Bytes to return to the budget. They include those that the creator reserved for the exchange itself. */
  #chargedBytes: number = LIMITS.openExchangeBytes;
  #answer: ScannedResponse | null = null;
  /** Whether its answer is a document that is read for values when it is complete. */
  #documents = false;
  /** Of a gRPC call; null until its answer has one. */
  #grpcStatus: number | null = null;
  #answerType: AnswerType = null;
  #tunnels = false;
  readonly request: MessageDraft;
  response: MessageDraft | null = null;
  /** Set when it is omitted on purpose. */
  omission: OmissionCause | null;
  /** Set when it cannot be recorded, with the reason. */
  lossReason: LossReason | null = null;
  /**
   * Turns that belong to this request. Then the ends of request and response, as offsets from the start of the
   * connection.
   */
  turns = 0;
  clientEndOffset: number | null = null;
  serverEndOffset: number | null = null;
  /** Whether the response was complete before either side ended the connection. */
  answeredInTime = false;

  constructor(context: AssemblyContext, origin: ExchangeOrigin, reading: RequestReading, head: FoundHead) {
    this.#context = context;
    this.#origin = origin;
    this.#scanned = reading.scanned;
    this.#route = reading.route;
    this.#headText = reading.text;
    this.#isCall = reading.isCall;
    this.#types = reading.isCall ? context.calls.of(reading.scanned.target) : null;
    reading.judged ??= judgeHead(context, reading.scanned, reading.route, head.bytes);
    this.#judged = reading.judged;
    this.omission = this.#judged.omission;
    // Sampled as soon as its session is known, so that no memory is used for exchanges that will not be recorded.
    const { session } = this.#judged;
    if (session.inBody.length === 0)
      this.#sample(() => context.keys.of('session', session, null, origin.peer), head.firstByteNs);
    const redacted = this.#redacted(head.bytes, (bytes) => {
      reading.redacted ??= context.redaction.requestHead(bytes);
      return reading.redacted;
    });
    this.request = this.#draft(reading, redacted, head, head.firstByteNs, this.#requestCap(), 'first_byte');
  }

  get method(): string {
    return this.#scanned.method;
  }

  get isHttp2(): boolean {
    return this.#scanned.protocol === 'h2';
  }

  /** Whether the client's next bytes may not be HTTP, because it asked for a tunnel or another protocol. */
  get holdsClient(): boolean {
    return this.method === 'CONNECT' || this.#scanned.fields.upgrade !== null;
  }

  /** Whether the client may omit the body, because it asked first (`Expect`) and got another answer. */
  get mayWithholdBody(): boolean {
    const { expect } = this.#scanned.fields;
    return expect !== null && /100-continue/i.test(expect) && this.request.body.wireBytes === 0;
  }

  /** Whether the answer ended HTTP on this connection. */
  get tunnels(): boolean {
    return this.#tunnels;
  }

  get answered(): boolean {
    return this.response?.ended ?? false;
  }

  /** The protocol of the connection after an answer of 101 or a tunnel. */
  get tunnelProtocol(): string {
    if (this.method === 'CONNECT') return 'connect';
    const asked = this.#answer?.fields.upgrade ?? this.#scanned.fields.upgrade ?? '';
    const name = /^[A-Za-z0-9.+_-]{1,32}/.exec(asked)?.[0].toLowerCase() ?? 'unknown';
    return name === 'websocket' || name === 'h2c' ? name : `upgrade:${name}`;
  }

  /** Takes the head of the final response. Returns the receiver of its body. */
  beginResponse(reading: ResponseReading, head: FoundHead): BodyCollector {
    const { policy, redaction } = this.#context;
    this.#answer = reading.scanned;
    this.#answerType = reading.type;
    if (this.#isCall) this.#grpcStatus = parseGrpcStatus(reading.scanned.fields.grpcStatus);
    this.#tunnels = reading.framing.kind === 'tunnel';
    const redacted = this.#redacted(head.bytes, (bytes) => {
      reading.redacted ??= redaction.responseHead(bytes);
      return reading.redacted;
    });
    const stored = storedBytes(policy).response;
    const cap = this.#readsLinks(reading) ? Math.max(LIMITS.linkedAnswerBytes, stored ?? 0) : stored;
    this.response = this.#draft(reading, redacted, head, this.request.firstByteNs, cap, 'last_byte');
    this.#watch(this.response.body, reading);
    this.#issueHead(this.response.body, reading);
    return this.response.body;
  }

  /** @param trailers Trailer lines, a view valid during the call only; null when there were none. */
  endMessage(message: MessageDraft, trailers: Buffer | null): void {
    message.ended = true;
    if (message === this.request) {
      this.#sampleByBody();
      this.#link();
    } else {
      this.#issueBody(message.body);
      const fields = trailers === null ? null : scanFields(latin1(trailers), 0, true);
      // The status that a head promises counts only if nothing comes after the head.
      if (this.#isCall && (trailers !== null || message.body.bytes > 0))
        this.#grpcStatus = parseGrpcStatus(fields?.grpcStatus ?? null);
    }
    if (trailers === null) return;
    message.trailers = this.#redacted(trailers, (bytes) => this.#context.redaction.trailers(bytes));
  }

  /**
   * Its client ended the connection before the answer was complete. A server ends its open calls with an error then, which
   * nobody reads and which tells nothing about the server.
   */
  answeredAfterItsClient(): void {
    if (this.#grpcStatus !== GRPC_OK) this.#grpcStatus = null;
  }

  /** To be called before it is settled. If its request has not ended, nothing more of it will come. */
  settling(): void {
    if (!this.request.ended) this.#sampleByBody();
  }

  /** How it ended, given who ended the connection first (null while it is open), and when its client did. */
  outcome(firstEnd: FirstEnd | null, clientEndNs: number | null): Outcome {
    // An early answer is an answer, even when the client then never sent the rest of its request.
    if (this.#isAnswered && (this.request.ended || this.answeredInTime || firstEnd === 'server'))
      return 'completed';
    if (firstEnd === 'timeout' || (firstEnd === 'client' && this.#isPastDeadline(clientEndNs)))
      return 'timed_out';
    return firstEnd === 'client' ? 'client_aborted' : 'upstream_failed';
  }

  /** @param clientEndNs when the client left, if it ended the connection first; null otherwise */
  finish(outcome: Outcome, clientEndNs: number | null): Exchange {
    const { request, response } = this;
    const stored = storedBytes(this.#context.policy);
    const scan = response?.body.scan ?? null;
    const usage = scan?.finish() ?? null;
    const offsetUs = (ns: number): number => Math.round((ns - request.firstByteNs) / 1_000);
    // Without an answer the exchange ends when its client leaves.
    const leftNs = outcome === 'completed' || outcome === 'upstream_failed' ? null : clientEndNs;
    const lastByteNs = response?.lastByteNs ?? leftNs;
    const streamed = this.#answer === null ? null : this.#streams();
    const firstTokenNs =
      scan?.firstTokenNs ?? (streamed === true ? (response?.body.firstMessageNs ?? null) : null);
    return {
      arrivalUs: this.#context.epochUsOf(request.firstByteNs),
      outcome,
      protocol: this.#scanned.protocol,
      method: this.method,
      route: this.#route.route,
      status: this.#status(),
      connection: this.#origin.connection,
      client: this.#keyOf('client'),
      session: this.#sessionKey(),
      model: this.#model(),
      streamed,
      requestEndOffsetUs: request.ended ? offsetUs(request.lastByteNs) : null,
      firstByteOffsetUs: response === null ? null : offsetUs(response.firstByteNs),
      lastByteOffsetUs: lastByteNs === null ? null : offsetUs(lastByteNs),
      clientLeftOffsetUs: leftNs === null ? null : offsetUs(leftNs),
      firstTokenOffsetUs: firstTokenNs === null ? null : offsetUs(firstTokenNs),
      promptTokens: usage?.promptTokens ?? null,
      cachedTokens: usage?.cachedTokens ?? null,
      outputTokens: usage?.outputTokens ?? null,
      batch: this.#asked().batch,
      finish: scan?.finishReason ?? null,
      grpcStatus: this.#grpcStatus,
      requestMessages: request.messageCount,
      responseMessages: response?.messageCount ?? null,
      answerError: this.#answerError(),
      traceId: traceIdOf(this.#scanned.fields.traceparent, this.request.head.bytes),
      request: request.finish(stored.request, this.#context, this.#scanned.fields, this.#types?.request),
      response:
        response?.finish(
          stored.response,
          this.#context,
          this.#answer?.fields ?? null,
          this.#types?.response,
        ) ?? null,
      requestChunks: request.body.times,
      responseChunks: response?.body.times ?? NO_TIMES,
      linked: this.#linked,
    };
  }

  /** Returns everything to the budget that is reserved for this exchange. */
  release(): void {
    this.request.body.release();
    this.response?.body.release();
    this.#context.budget.release(this.#chargedBytes);
    this.#chargedBytes = 0;
  }

  /** Whether its answer is complete. That of a gRPC call ends with a status, or was none of gRPC but an error of HTTP. */
  get #isAnswered(): boolean {
    return this.answered && (!this.#isCall || this.#status() !== null);
  }

  #status(): number | null {
    const status = this.#answer?.status ?? null;
    if (!this.#isCall) return status;
    if (this.#grpcStatus !== null) return httpStatusOfGrpc(this.#grpcStatus);
    return status === 200 ? null : status;
  }

  /** Whether a gRPC client left at its deadline or later. */
  #isPastDeadline(leftNs: number | null): boolean {
    const timeoutUs = this.#isCall ? parseGrpcTimeoutUs(this.#scanned.fields.grpcTimeout) : null;
    if (timeoutUs === null || leftNs === null) return false;
    const waitedUs = (leftNs - this.request.firstByteNs) / 1_000;
    return waitedUs >= timeoutUs * (1 - ROUNDED_UP_SHARE) - HEAD_DELAY_US;
  }

  get #unwanted(): boolean {
    return this.omission !== null || this.lossReason !== null;
  }

  /** Called once, when nothing more of the request will come: at its end, or at the end of the exchange. */
  #sampleByBody(): void {
    if (this.#judged.session.inBody.length === 0) return;
    this.#sample(() => this.#sessionKey(), this.request.firstByteNs);
    if (this.omission === null) return;
    this.request.body.forget();
    this.#text = null;
  }

  /** Omits the exchange if its session is not in the sample. Without a session, the exchange itself decides. */
  #sample(sessionOf: () => Uint8Array | null, firstByteNs: number): void {
    const { sampling } = this.#context.selection;
    if (sampling.all || this.omission !== null) return;
    const session = sessionOf();
    const kept =
      session === null
        ? sampling.keepsExchange(this.#origin.connection, firstByteNs)
        : sampling.keepsSession(session);
    if (!kept) this.omission = 'sampled_out';
  }

  /** Finds the links of its request, which is complete. */
  #link(): void {
    const session = this.#unwanted ? null : this.#sessionKey();
    if (session === null) return;
    const { contentType, contentEncoding, inferenceHeaderLength } = this.#scanned.fields;
    const isText = !this.#isCall && inferenceHeaderLength === null;
    this.#linking(({ linker }) => {
      if (isText && this.request.body.bytes > LIMITS.linkedRequestBytes) linker.onMissed('long_body', 1);
      const received = isText ? this.request.body.beginning(LIMITS.linkedRequestBytes) : EMPTY;
      this.#linked = linker.request({
        session,
        route: this.#route.route,
        head: this.#headText,
        body: decodedOrNull(received, contentEncoding, LIMITS.linkedDecodedBytes),
        contentType,
      });
    });
  }

  /** Whether its answer is a document that may have values for later requests. */
  #readsLinks({ scanned, framing, type }: ResponseReading): boolean {
    if (this.#linked === null || type !== 'document' || this.#unwanted) return false;
    return isReadable(scanned, framing) && isPlain(scanned.fields.contentEncoding);
  }

  /** Notes the values of an answer's head, and begins to read a stream. */
  #issueHead(body: BodyCollector, reading: ResponseReading): void {
    const { text, type, scanned, framing } = reading;
    if (this.#linked === null || this.#unwanted || scanned.status >= FIRST_ERROR) return;
    this.#documents = this.#readsLinks(reading);
    const onIssued = this.#issuing(this.#linked.number);
    this.#linking(({ linker, budget }) => {
      linker.answerHead(text, onIssued);
      const mayIssue = type === 'document' || type === 'events' || type === 'lines';
      if (mayIssue && !isPlain(scanned.fields.contentEncoding)) linker.onMissed('unread', 1);
      const streams = (type === 'events' || type === 'lines') && isReadable(scanned, framing);
      if (!streams || !isPlain(scanned.fields.contentEncoding)) return;
      if (!budget.reserve(EventData.heldBytes)) {
        linker.onMissed('budget', 1);
        return;
      }
      this.#chargedBytes += EventData.heldBytes;
      const events = linker.answerStream(type, onIssued);
      body.links = {
        write: (bytes) => this.#linking(() => events.write(bytes)),
        end: () => this.#linking(() => events.end()),
      };
    });
  }

  /** Notes the values of an answer that is complete. */
  #issueBody(body: BodyCollector): void {
    body.links?.end();
    if (this.#linked === null || !this.#documents) return;
    const onIssued = this.#issuing(this.#linked.number);
    const document = body.beginning(LIMITS.linkedAnswerBytes);
    this.#linking(({ linker }) => {
      if (body.bytes > document.length) linker.onMissed('long_body', 1);
      linker.answerDocument(document, onIssued);
    });
  }

  #issuing(number: number): OnIssued {
    const issuer = { number, session: this.#sessionKey() ?? EMPTY };
    return (low, high, place) => this.#context.linker.issue(issuer, low, high, place);
  }

  /** An error costs the links, and nothing else of the recording. */
  #linking(work: (context: AssemblyContext) => void): void {
    try {
      work(this.#context);
    } catch (error) {
      this.#context.onFailure('the links of an exchange', error);
    }
  }

  /** Most bytes of the request's body that are kept until it is settled: to store them, or to read facts from them. */
  #requestCap(): number | null {
    const stored = storedBytes(this.#context.policy).request;
    return this.#judged.readsBody || this.#types !== null ? Math.max(FACT_BYTES, stored ?? 0) : stored;
  }

  /** The beginning of its body, if it can be read: not compressed, and without Triton's binary tensors. */
  #readable(): Buffer {
    if (this.#text !== null) return this.#text;
    if (this.#isCall) {
      const first = this.#firstMessage();
      this.#text = first === null ? EMPTY : Buffer.from(JSON.stringify(first));
      return this.#text;
    }
    const { contentEncoding, inferenceHeaderLength } = this.#scanned.fields;
    const body = this.request.body.beginning(FACT_BYTES);
    const json = inferenceHeaderLength === null ? body.length : Number(inferenceHeaderLength);
    this.#text = isPlain(contentEncoding) && json >= 0 ? body.subarray(0, json) : EMPTY;
    return this.#text;
  }

  /** The first message of a gRPC call in short; null if it cannot be read. */
  #firstMessage(): Readonly<JsonObject> | null {
    if (this.#first === undefined) {
      const body = this.request.body.beginning(FACT_BYTES);
      this.#first = firstMessage(this.#types?.request ?? null, body, this.#scanned.fields.grpcEncoding);
    }
    return this.#first;
  }

  #callFacts(): CallFacts {
    const first = this.#firstMessage();
    return first === null ? NO_FACTS : callFacts(first);
  }

  #keyOf(kind: 'client' | 'session'): Uint8Array | null {
    const text = this.#judged[kind].inBody.length === 0 ? EMPTY : this.#readable();
    const body = text.length === 0 ? null : text;
    return this.#context.keys.of(kind, this.#judged[kind], body, this.#origin.peer);
  }

  #sessionKey(): Uint8Array | null {
    if (this.#session === undefined) this.#session = this.#keyOf('session');
    return this.#session;
  }

  /** The model that the path names, or else the body. */
  #model(): string | null {
    if (this.#route.model !== null) return this.#route.model;
    const named = this.#isCall ? this.#callFacts().model : this.#modelOfBody();
    return named === null ? null : this.#context.bodyRedaction.shownModel(named);
  }

  #modelOfBody(): string | null {
    const text = this.#readable();
    if (!this.#judged.namesModel || text.length === 0) return null;
    const type = this.#scanned.fields.contentType ?? '';
    return MULTIPART.test(type) ? modelOfForm(text, type) : modelOfJson(text);
  }

  #asked(): RequestFeatures {
    if (this.#isCall) return { batch: this.#callFacts().batch, stream: false };
    const { ended, body } = this.request;
    const whole = ended && body.beginning(FACT_BYTES).length === body.bytes;
    this.#features ??= requestFeatures(this.#judged.api, this.#readable(), whole);
    return this.#features;
  }

  /** Starts the scans of a response, for token counts and for errors. */
  #watch(body: BodyCollector, { scanned, framing, type }: ResponseReading): void {
    if (this.#unwanted || !isReadable(scanned, framing)) return;
    if (this.#isCall) {
      if (this.#types !== null && isGrpc(scanned.fields.contentType))
        this.#watchCall(body, this.#types, scanned);
      return;
    }
    const asksStream = (): boolean => this.request.ended && this.#asked().stream;
    const { fields } = scanned;
    const isCoded = !isPlain(fields.contentEncoding);
    const form = isCoded ? null : answerForm(type, framing, this.#judged.api, asksStream);
    const isWhole = isCoded ? type === 'document' : form === null || form === 'document';
    const expectedBytes = framing.kind === 'length' ? framing.bytes : null;
    const heldBytes =
      (form === null ? 0 : AnswerScan.heldBytes(form)) +
      (isWhole ? ErrorAnswerScan.heldBytes(expectedBytes) : 0);
    // If memory is short, facts are given up before bodies.
    if (!this.#context.budget.reserve(heldBytes)) return;
    this.#chargedBytes += heldBytes;
    if (form !== null) body.scan = new AnswerScan(form);
    if (!isWhole) return;
    const mustBe = mustBeJson(fields, () => this.#scanned.fields.contentType);
    body.errorScan = new ErrorAnswerScan(expectedBytes, mustBe, fields.contentEncoding);
  }

  #watchCall(body: BodyCollector, types: CallTypes, { fields }: ScannedResponse): void {
    const heldBytes = CallErrorScan.heldBytes(types);
    if (!this.#context.budget.reserve(heldBytes)) return;
    this.#chargedBytes += heldBytes;
    body.errorScan = new CallErrorScan(types, fields.grpcEncoding);
  }

  /** Whether a complete 2xx reports an error; null for any other answer, and for one that was not scanned. */
  #answerError(): boolean | null {
    if (!this.answered || this.response === null) return null;
    if (this.#isCall && this.#grpcStatus !== 0) return null;
    const { scan, errorScan } = this.response.body;
    if (errorScan !== null) return errorScan.finish();
    return scan?.streams === true ? scan.tellsError : null;
  }

  #streams(): boolean {
    if (this.#isCall) return streamsGrpcAnswer(this.#scanned.target, this.response?.messageCount ?? 0);
    return (
      this.response?.body.scan?.streams ?? (this.#answerType === 'events' || this.#answerType === 'lines')
    );
  }

  #draft(
    { framing, known }: Pick<RequestReading, 'framing' | 'known'>,
    redacted: RedactedBytes,
    head: FoundHead,
    originNs: number,
    cap: number | null,
    messagesAt: 'first_byte' | 'last_byte',
  ) {
    const taking = {
      capBytes: this.#unwanted ? null : cap,
      hash: this.#unwanted ? null : this.#context.hash,
      budget: this.#context.budget,
    };
    const expectedBytes = framing.kind === 'length' ? framing.bytes : null;
    const body = new BodyCollector(taking, expectedBytes, originNs, this.#isCall ? messagesAt : null);
    return new MessageDraft(redacted, known, body, head.firstByteNs, head.endNs);
  }

  /** A masked copy of head or trailers. If masking fails, or if memory is short, nothing is stored. */
  #redacted(bytes: Buffer, redact: (bytes: Buffer) => RedactedBytes): RedactedBytes {
    if (this.#unwanted) return NOTHING_KEPT;
    // Twice: for the masked copy, and for the text that the scanned fields are slices of.
    if (!this.#context.budget.reserve(2 * bytes.length)) {
      this.lossReason = 'body_budget';
      return NOTHING_KEPT;
    }
    this.#chargedBytes += 2 * bytes.length;
    try {
      return redact(bytes);
    } catch (error) {
      // For any cause, the exchange is given up and counted with this reason.
      this.lossReason = 'redaction_failed';
      this.#context.onFailure('a head', error);
      return NOTHING_KEPT;
    }
  }
}

/** A request or response while it is being read. */
class MessageDraft {
  readonly head: RedactedBytes;
  readonly known: KnownHead | null;
  readonly body: BodyCollector;
  /** Monotonic nanoseconds of the first byte, and of the one that completed the head. */
  readonly firstByteNs: number;
  readonly headEndNs: number;
  ended = false;
  trailers: RedactedBytes | null = null;

  constructor(
    head: RedactedBytes,
    known: KnownHead | null,
    body: BodyCollector,
    firstByteNs: number,
    headEndNs: number,
  ) {
    this.head = head;
    this.known = known;
    this.body = body;
    this.firstByteNs = firstByteNs;
    this.headEndNs = headEndNs;
  }

  get messageCount(): number | null {
    return this.body.messageCount(this.ended);
  }

  /** Monotonic nanoseconds of the last byte seen. */
  get lastByteNs(): number {
    return this.body.lastByteNs ?? this.headEndNs;
  }

  /**
   * The message as it may be stored, with a redacted body.
   * @param storedBytes Most bytes of its body that the policy stores; null for none.
   * @param type what the messages of a gRPC call are, if that is known
   */
  finish(
    storedBytes: number | null,
    { bodyRedaction: redaction, onFailure }: AssemblyContext,
    fields: HeadFields | null,
    type: MessageType | null = null,
  ): Message {
    const names = this.trailers === null ? this.head.names : union(this.head.names, this.trailers.names);
    const body = this.body.finish(this.ended, storedBytes);
    if (!redaction.active || body.kept === null || fields === null) return this.#message(names, body);
    const {
      kept,
      names: covered,
      dropped,
      error,
    } = redaction.redact(body.kept, aboutBody(body, fields, type));
    if (dropped === 'failed') onFailure('a body', error);
    const said = dropped === null ? covered : [dropNote(dropped)];
    return this.#message(union(names, said), { ...body, kept });
  }

  #message(redacted: readonly string[], body: Body): Message {
    const { head, trailers } = this;
    const known = trailers === null && redacted === head.names ? this.known : null;
    return { head: head.bytes, redacted, body, trailers: trailers?.bytes ?? null, known };
  }
}

function aboutBody(
  body: Body,
  { contentType, contentEncoding, inferenceHeaderLength, grpcEncoding }: HeadFields,
  type: MessageType | null,
): BodyAbout {
  const isCall = body.kept !== null && isGrpc(contentType);
  return {
    call: isCall ? { type, coding: grpcEncoding, ...grpcMessagesOf(body.kept) } : null,
    contentType,
    contentEncoding,
    truncated: body.truncated,
    // A length that is no number becomes NaN. Then the tensors count as unreadable, and the body is dropped.
    inferenceHeaderLength: inferenceHeaderLength === null ? null : Number(inferenceHeaderLength),
    hash: body.hash,
  };
}

function union(first: readonly string[], second: readonly string[]): readonly string[] {
  return second.length === 0 ? first : [...new Set([...first, ...second])];
}
