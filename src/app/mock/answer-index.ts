import { createHash } from 'node:crypto';
import type { ExchangePayload, ExchangeRow } from '../../core/exchange.ts';
import { latin1, parseRequestHead } from '../../core/headers.ts';
import type { KeyedHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { Routes } from '../../core/routes.ts';
import {
  isPlain,
  modelOfForm,
  modelOfJson,
  payloadApiOf,
  requestFeatures,
} from '../../inference/features.ts';
import { isGrpc } from '../../inference/grpc.ts';
import { callFacts, firstMessage } from '../../inference/protobuf/call-facts.ts';
import { knownCall } from '../../inference/protobuf/known-services.ts';
import { dropReasonOf } from '../../redaction/body-redaction.ts';
import type { Redaction } from '../../redaction/head-redaction.ts';
import { maskedPointers } from '../../replay/check/compared-fields.ts';

/** Why a recorded exchange cannot be used as an answer. */
const UNANSWERABLE = [
  /** The client left before its answer ended, so the rest is unknown. */
  'client_left',
  /** There was no answer, or nothing of it is stored. */
  'no_answer',
  /** The body of the answer is not stored: `record --bodies all` stores it. */
  'body_not_stored',
  /** Only the start of the body is stored (`record --bodies max-response=…`). */
  'body_cut',
  /** A redaction rule dropped the body. */
  'body_dropped',
  /** Not indexed, because the index is full. */
  'over_limit',
] as const;
export type Unanswerable = (typeof UNANSWERABLE)[number];

/** Where an answer is stored, its outcome, and its times. */
export type AnswerPlace = Pick<
  ExchangeRow,
  'segment' | 'id' | 'outcome' | 'requestEndOffsetUs' | 'firstByteOffsetUs' | 'lastByteOffsetUs'
>;

interface Candidate extends AnswerPlace {
  readonly requestBytes: number;
}

/** The answers to equal requests, in order of arrival. */
interface Turns {
  readonly places: AnswerPlace[];
  next: number;
}

/**
 * Candidates for an unrecorded request, by size. `next` counts answers, so that candidates of equal size are used in
 * turn.
 */
interface Sized {
  readonly candidates: Candidate[];
  next: number;
}

/** A request to answer. */
export interface AskedRequest {
  readonly method: string;
  readonly target: string;
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** `grpc-encoding` */
  readonly messageCoding?: string | null;
  /** The start of the body, at most FACT_BYTES. */
  readonly beginning: Buffer;
  readonly bytes: number;
  /**
   * Digests of the complete body: a plain one, and one under the capture's hash key. Null for an empty body or without
   * a key.
   */
  readonly digest: Buffer | null;
  readonly keyed: Buffer | null;
}

export interface FoundAnswer {
  readonly how: 'exact' | 'nearest';
  readonly place: AnswerPlace;
}

/** A plain digest of a body, to find equal bodies within one process. */
export function bodyDigest() {
  return createHash('sha256');
}

/** Nearest answers are successful ones, because an unrecorded request did not fail in production. */
const FIRST_REFUSAL = 400;

/**
 * Finds the recorded answer to a request. It keeps the places of answers, some 300 bytes each, but not their bytes.
 *
 * Two requests are equal if method, target and body are equal. Secret query values are not compared, because the
 * capture does not contain them. A body that was changed by redaction is compared by its hash under the capture's key.
 */
export class AnswerIndex {
  readonly #redaction: Redaction;
  readonly #routes: Routes;
  readonly #equal = new Map<string, Turns>();
  readonly #similar = new Map<string, Sized>();
  readonly #hash: KeyedHash | null;
  readonly leftOut = Object.fromEntries(UNANSWERABLE.map((why) => [why, 0])) as Record<Unanswerable, number>;
  #answers = 0;

  /** @param hash hash under the capture's key; null if the key is unknown */
  constructor(redaction: Redaction, hash: KeyedHash | null) {
    this.#redaction = redaction;
    this.#routes = new Routes(redaction);
    this.#hash = hash;
  }

  /** Number of exchanges that can be used as answers. */
  get answers(): number {
    return this.#answers;
  }

  /**
   * Reads a capture once.
   * @param onRead called after every 1,024 exchanges with their number; may wait, so that signals are handled
   * @throws AppError CAPTURE_DAMAGED, CAPTURE_ENCRYPTED
   */
  async read(
    source: CaptureSource,
    range: TimeRange | undefined,
    onRead: (exchanges: number) => Promise<void>,
  ): Promise<void> {
    let read = 0;
    for (const row of source.rows(range)) {
      this.#add(row, source.payload(row));
      read += 1;
      if (read % 1024 === 0) await onRead(read);
    }
    for (const { candidates } of this.#similar.values())
      candidates.sort((a, b) => a.requestBytes - b.requestBytes);
  }

  /** Null for an unknown request. @param nearest whether to accept the answer to a similar request */
  find(asked: AskedRequest, nearest: boolean): FoundAnswer | null {
    const turns =
      this.#equal.get(this.#keyOf(asked.method, asked.target, asked.digest)) ??
      (asked.keyed === null
        ? undefined
        : this.#equal.get(this.#keyOf(asked.method, asked.target, asked.keyed)));
    if (turns !== undefined) {
      const place = turns.places[turns.next] as AnswerPlace;
      turns.next = (turns.next + 1) % turns.places.length;
      return { how: 'exact', place };
    }
    const place = nearest ? this.#nearest(asked) : null;
    return place === null ? null : { how: 'nearest', place };
  }

  #add(row: ExchangeRow, payload: ExchangePayload | null): void {
    const why = this.#answers >= LIMITS.mockAnswers ? 'over_limit' : unanswerable(row, payload);
    if (why !== null) {
      this.leftOut[why] += 1;
      return;
    }
    this.#answers += 1;
    const { segment, id, outcome, requestEndOffsetUs, firstByteOffsetUs, lastByteOffsetUs } = row;
    const times = { requestEndOffsetUs, firstByteOffsetUs, lastByteOffsetUs };
    const candidate = { segment, id, outcome, ...times, requestBytes: row.requestBytes ?? 0 };
    const key = this.#recordedKey(payload as ExchangePayload);
    if (key !== null) {
      const turns = this.#equal.get(key);
      if (turns === undefined) this.#equal.set(key, { places: [candidate], next: 0 });
      else turns.places.push(candidate);
    }
    if (row.outcome !== 'completed' || row.status === null || row.status >= FIRST_REFUSAL) return;
    for (const name of similarTo(row.route ?? '', row.streamed ?? false, row.model)) {
      const sized = this.#similar.get(name);
      if (sized === undefined) this.#similar.set(name, { candidates: [candidate], next: 0 });
      else sized.candidates.push(candidate);
    }
  }

  /** Null if nothing identifies the request. */
  #recordedKey({ request }: ExchangePayload): string | null {
    if (request === null) return null;
    const { body, redacted, head } = request;
    const { method, target } = parseRequestHead(head);
    if (body.bytes === 0) return this.#keyOf(method, target, null);
    const isWhole = body.kept !== null && body.kept.byteLength === body.bytes && !body.truncated;
    const isChanged = maskedPointers(redacted).length > 0 || dropReasonOf(redacted) !== null;
    if (isWhole && !isChanged && body.kept !== null)
      return this.#keyOf(method, target, bodyDigest().update(body.kept).digest());
    return this.#hash === null || body.hash === null ? null : this.#keyOf(method, target, body.hash);
  }

  #keyOf(method: string, target: string, digest: Buffer | null): string {
    const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n\r\n`, 'latin1');
    // Masks have the length of the hidden secrets, which may differ between requests.
    const start = latin1(this.#redaction.requestHead(head).bytes).replace(/\*+/g, '*');
    const hash = createHash('sha256').update(start, 'latin1');
    // 16 bytes are enough to distinguish requests.
    return (digest === null ? hash : hash.update(digest)).digest().toString('latin1', 0, 16);
  }

  #nearest({
    method,
    target,
    contentType,
    contentEncoding,
    messageCoding = null,
    beginning,
    bytes,
  }: AskedRequest): AnswerPlace | null {
    const route = this.#routes.of(method, target);
    const text = isPlain(contentEncoding) ? beginning : Buffer.alloc(0);
    const isForm = contentType?.startsWith('multipart/') ?? false;
    const named = isGrpc(contentType)
      ? modelOfCall(target, text, messageCoding)
      : isForm
        ? modelOfForm(text, contentType ?? '')
        : modelOfJson(text);
    const streams = requestFeatures(payloadApiOf(route), text, bytes === text.length).stream;
    const names = similarTo(route.route, streams, route.model ?? named);
    // A client that requests a stream cannot read other answers. Some routes always stream.
    const fit = streams ? names.slice(0, 2) : names;
    for (const name of fit) {
      const sized = this.#similar.get(name);
      if (sized !== undefined) return nextBySize(sized, bytes);
    }
    return null;
  }
}

function modelOfCall(path: string, body: Buffer, coding: string | null): string | null {
  const message = firstMessage(knownCall(path)?.request ?? null, body, coding);
  return message === null ? null : callFacts(message).model;
}

/** Names of groups of similar requests, the most similar first. */
function similarTo(route: string, streamed: boolean, model: string | null): string[] {
  return [
    `${route}\n${streamed}\n${model ?? ''}`,
    `${route}\n${streamed}`,
    `${route}\nany\n${model ?? ''}`,
    route,
  ];
}

/** The candidate with the nearest size. Candidates of equal size are used in turn. */
function nextBySize(sized: Sized, bytes: number): AnswerPlace {
  const { candidates } = sized;
  const sizeAt = (at: number) => candidates[at]?.requestBytes ?? Number.POSITIVE_INFINITY;
  const above = firstAtLeast(candidates, bytes);
  const isBelowNearer = above > 0 && bytes - sizeAt(above - 1) < sizeAt(above) - bytes;
  const nearest = isBelowNearer ? sizeAt(above - 1) : sizeAt(above);
  const from = firstAtLeast(candidates, nearest);
  const count = firstAtLeast(candidates, nearest + 1) - from;
  const place = candidates[from + (sized.next % count)] as AnswerPlace;
  sized.next += 1;
  return place;
}

function firstAtLeast(candidates: readonly Candidate[], bytes: number): number {
  let [from, to] = [0, candidates.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((candidates[middle]?.requestBytes ?? 0) < bytes) from = middle + 1;
    else to = middle;
  }
  return from;
}

function unanswerable(row: ExchangeRow, payload: ExchangePayload | null): Unanswerable | null {
  if (row.outcome === 'client_aborted' || row.outcome === 'timed_out') return 'client_left';
  const response = payload?.response ?? null;
  if (payload === null || response === null || row.status === null) return 'no_answer';
  if (dropReasonOf(response.redacted) !== null) return 'body_dropped';
  const { kept, bytes, truncated } = response.body;
  if (kept === null) return 'body_not_stored';
  // A server that failed in the middle also has a truncated body, but everything it sent is stored.
  const isCut = row.outcome === 'completed' ? truncated : kept.byteLength < bytes;
  return isCut ? 'body_cut' : null;
}
