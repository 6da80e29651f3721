import type { LossReason } from '../../core/accounting.ts';
import type { ChunkTimes, Exchange, Message, Outcome } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import { isEventStream, modelOfJson } from '../../core/payload-facts.ts';
import type { RedactedBytes } from '../../core/redaction.ts';
import type { Route } from '../../core/routes.ts';
import { BodyCollector } from './body.ts';
import type { Framing } from './framing.ts';
import type { ScannedRequest, ScannedResponse } from './head-scan.ts';
import type { RequestReading, ResponseReading } from './known-heads.ts';
import { MessageDraft } from './message-draft.ts';
import type { AssemblyContext } from './options.ts';

/** A complete head as it was found: a view, valid during the call only, and its times on the monotonic clock. */
export interface FoundHead {
  readonly bytes: Buffer;
  readonly firstByteNs: number;
  readonly endNs: number;
}

/** Who ended the connection first: a side, or the gateway when the upstream took too long. */
export type FirstEnd = 'client' | 'server' | 'timeout';

const NOTHING_KEPT: RedactedBytes = { bytes: new Uint8Array(0), names: [] };
const NO_TIMES: ChunkTimes = [];

/** An exchange between its request's head and its settlement. */
export class OpenExchange {
  readonly #context: AssemblyContext;
  readonly #connection: number;
  readonly #scanned: ScannedRequest;
  readonly #route: Route;
  /** The room taken by its maker for the exchange itself is given back with the rest. */
  #chargedBytes: number = LIMITS.openExchangeBytes;
  #answer: ScannedResponse | null = null;
  #tunnels = false;
  readonly request: MessageDraft;
  response: MessageDraft | null = null;
  /** Set once it cannot be recorded: what is missing of it, and why. */
  lossReason: LossReason | null = null;
  /** Turns begun with this request; its end, and its response's, counted from the start of the connection. */
  turns = 0;
  clientEndOffset: number | null = null;
  serverEndOffset: number | null = null;
  /** Whether the response was complete before either side ended the connection. */
  answeredInTime = false;

  constructor(context: AssemblyContext, connection: number, reading: RequestReading, head: FoundHead) {
    this.#context = context;
    this.#connection = connection;
    this.#scanned = reading.scanned;
    this.#route = reading.route;
    const { policy } = context;
    const redacted = this.#redacted(head.bytes, (bytes) => {
      reading.redacted ??= context.redaction.requestHead(bytes);
      return reading.redacted;
    });
    const cap = policy.bodies === 'none' ? null : policy.requestBodyBytes;
    this.request = this.#draft(redacted, head, head.firstByteNs, reading.framing, cap);
  }

  get method(): string {
    return this.#scanned.method;
  }

  /** Whether this is a replay's request, to be left out of every capture. */
  get marked(): boolean {
    return this.#scanned.fields.marked;
  }

  /** Whether what the client says next may not be HTTP: it asked for a tunnel or another protocol. */
  get holdsClient(): boolean {
    return this.method === 'CONNECT' || this.#scanned.fields.upgrade !== null;
  }

  /** Whether the client may leave the body out, having asked first and been answered otherwise. */
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

  /** The name of what the connection turned into when the answer was 101 or a tunnel. */
  get tunnelProtocol(): string {
    if (this.method === 'CONNECT') return 'connect';
    const asked = this.#answer?.fields.upgrade ?? this.#scanned.fields.upgrade ?? '';
    const name = /^[A-Za-z0-9.+_-]{1,32}/.exec(asked)?.[0].toLowerCase() ?? 'unknown';
    return name === 'websocket' || name === 'h2c' ? name : `upgrade:${name}`;
  }

  /** Takes the head of the final response. */
  beginResponse(reading: ResponseReading, head: FoundHead): MessageDraft {
    const { policy, redaction } = this.#context;
    this.#answer = reading.scanned;
    this.#tunnels = reading.framing.kind === 'tunnel';
    const redacted = this.#redacted(head.bytes, (bytes) => {
      reading.redacted ??= redaction.responseHead(bytes);
      return reading.redacted;
    });
    const cap = policy.bodies === 'all' ? policy.responseBodyBytes : null;
    this.response = this.#draft(redacted, head, this.request.firstByteNs, reading.framing, cap);
    return this.response;
  }

  /** @param trailers Trailer lines, a view valid during the call only; null when there were none. */
  endMessage(message: MessageDraft, trailers: Buffer | null): void {
    message.ended = true;
    if (trailers === null) return;
    message.trailers = this.#redacted(trailers, (bytes) => this.#context.redaction.trailers(bytes));
  }

  /** How it ended, given who ended the connection first (null while nobody has). */
  outcome(firstEnd: FirstEnd | null): Outcome {
    // An early answer is an answer, even when the client then never sent the rest of its request.
    if (this.answered && (this.request.ended || this.answeredInTime || firstEnd === 'server'))
      return 'completed';
    if (firstEnd === 'timeout') return 'timed_out';
    return firstEnd === 'client' ? 'client_aborted' : 'upstream_failed';
  }

  finish(outcome: Outcome): Exchange {
    const { request, response } = this;
    const { fields, method } = this.#scanned;
    const requestMessage = request.finish();
    const offsetUs = (ns: number): number => Math.round((ns - request.firstByteNs) / 1_000);
    return {
      arrivalUs: this.#context.epochUsOf(request.firstByteNs),
      outcome,
      protocol: 'http/1.1',
      method,
      route: this.#route.route,
      status: this.#answer?.status ?? null,
      connection: this.#connection,
      client: null,
      session: null,
      model:
        this.#route.model ??
        (fields.contentEncoding === null ? modelIn(method, this.#route, requestMessage) : null),
      streamed: this.#answer === null ? null : isEventStream(this.#answer.fields.contentType),
      requestEndOffsetUs: request.ended ? offsetUs(request.lastByteNs) : null,
      firstByteOffsetUs: response === null ? null : offsetUs(response.firstByteNs),
      lastByteOffsetUs: response === null ? null : offsetUs(response.lastByteNs),
      firstTokenOffsetUs: null,
      promptTokens: null,
      outputTokens: null,
      batch: null,
      request: requestMessage,
      response: response?.finish() ?? null,
      requestChunks: request.body.times,
      responseChunks: response?.body.times ?? NO_TIMES,
    };
  }

  /** Gives back to the budget whatever is held for this exchange. */
  release(): void {
    this.request.body.release();
    this.response?.body.release();
    this.#context.budget.release(this.#chargedBytes);
    this.#chargedBytes = 0;
  }

  #draft(redacted: RedactedBytes, head: FoundHead, originNs: number, framing: Framing, cap: number | null) {
    const unwanted = this.marked || this.lossReason !== null;
    const taking = {
      capBytes: unwanted ? null : cap,
      hash: unwanted ? null : this.#context.hash,
      budget: this.#context.budget,
    };
    const expectedBytes = framing.kind === 'length' ? framing.bytes : null;
    const body = new BodyCollector(taking, expectedBytes, originNs);
    return new MessageDraft(redacted, body, head.firstByteNs, head.endNs);
  }

  /** A masked copy of head or trailers. Nothing is stored of what could not be masked, or not be held. */
  #redacted(bytes: Buffer, redact: (bytes: Buffer) => RedactedBytes): RedactedBytes {
    if (this.marked || this.lossReason !== null) return NOTHING_KEPT;
    // Twice: the masked copy, and the text whose pieces the scanned fields are.
    if (!this.#context.budget.reserve(2 * bytes.length)) {
      this.lossReason = 'body_budget';
      return NOTHING_KEPT;
    }
    this.#chargedBytes += 2 * bytes.length;
    try {
      return redact(bytes);
    } catch {
      // Whatever the cause, the exchange is given up and counted: that is what the reason is for.
      this.lossReason = 'redaction_failed';
      return NOTHING_KEPT;
    }
  }
}

/** OpenAI-style requests name their model in the body. */
function modelIn(method: string, route: Route, request: Message): string | null {
  if (method !== 'POST' || request.body.kept === null || !route.route.includes('/v1/')) return null;
  return modelOfJson(request.body.kept);
}
