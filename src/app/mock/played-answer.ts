import {
  type IncomingMessage,
  type ServerResponse,
  validateHeaderName,
  validateHeaderValue,
} from 'node:http';
import { constants, Http2ServerResponse } from 'node:http2';
import type { Clock } from '../../core/clock.ts';
import type { ChunkTimes, ExchangePayload, Message } from '../../core/exchange.ts';
import {
  type HeaderPair,
  HOP_BY_HOP,
  HTTP2_VERSION,
  headerPairsOf,
  headerValue,
  parseResponseHead,
} from '../../core/headers.ts';
import type { Histogram } from '../../core/histogram.ts';
import { LIMITS } from '../../core/limits.ts';
import { isGrpc } from '../../inference/grpc.ts';
import type { AnswerPlace } from './answer-index.ts';

/** The last chunk, which is empty, and the blank line after it. */
const CODING_END_BYTES = '0\r\n\r\n'.length;
/** Memory of a piece in addition to its bytes. */
const PIECE_BYTES = 64;

/**
 * A recorded answer in the form to send. It is copied out of the capture's blocks, so that it does not keep them in
 * memory.
 */
export interface RecordedAnswer {
  readonly status: number;
  readonly reason: string;
  /** Flat list of names and values, without hop-by-hop headers. */
  readonly headers: readonly string[];
  readonly trailers: readonly HeaderPair[];
  readonly body: Buffer;
  /** The parts to send and their times, in microseconds after the end of the request. */
  readonly steps: readonly Step[];
  /** Whether the end of the connection marks the end of the body. */
  readonly untilClose: boolean;
  /** Whether the server broke off. Then this connection is broken too. */
  readonly broken: boolean;
  /** Whether the pieces of the body are exactly those of the recording. */
  readonly exactCuts: boolean;
  readonly heldBytes: number;
}

interface Step {
  readonly atUs: number;
  /** The range of the body to send; empty for the head and for the end. */
  readonly from: number;
  readonly to: number;
}

/**
 * Converts a recorded answer for a request.
 * @throws TypeError for a recorded header or reason that Node refuses to send, such as one with a control byte
 */
export function recordedAnswer(
  place: AnswerPlace,
  payload: Pick<ExchangePayload, 'responseChunks'> & { readonly response: Message },
  { method, httpVersion }: Pick<IncomingMessage, 'method' | 'httpVersion'>,
): RecordedAnswer {
  const { response, responseChunks } = payload;
  const { status, version, reason, headers: recorded } = parseResponseHead(response.head);
  const body = Buffer.from(response.body.kept ?? []);
  const broken = place.outcome !== 'completed';
  // A body of HTTP/2 ends by itself, and is recorded as a chunked one.
  const isFramed = version === HTTP2_VERSION;
  const chunked =
    isFramed || /(?:^|[\s,])chunked\s*$/i.test(headerValue(recorded, 'transfer-encoding') ?? '');
  const bodyless = method === 'HEAD' || status === 204 || status === 304;
  // Only such a body has trailers, and HTTP/1.0 does not support it.
  const trails = chunked && !bodyless && httpVersion !== '1.0';
  const trailers = !trails || response.trailers === null ? [] : headerPairsOf(response.trailers, false);
  const firstUs = place.firstByteOffsetUs ?? 0;
  const lastUs = place.lastByteOffsetUs ?? firstUs;
  // Of a gRPC call each piece is a message.
  const isCall = isGrpc(headerValue(recorded, 'content-type'));
  const codingEndBytes =
    !chunked || isCall ? null : broken ? 0 : CODING_END_BYTES + (response.trailers?.length ?? 0);
  const { pieces, exact } = piecesOf(body, responseChunks, { codingEndBytes, lastUs });
  const headers: HeaderPair[] = [];
  for (const [name, value] of recorded) {
    const lower = name.toLowerCase();
    if (lower === 'content-length') {
      if (chunked && !isFramed) continue;
      // A redaction rule may have changed the length of the body.
      headers.push([name, bodyless || broken ? value : String(body.length)]);
    } else if (!HOP_BY_HOP.has(lower) || (lower === 'trailer' && trails)) headers.push([name, value]);
  }
  validateHeaderValue('reason', reason);
  for (const [name, value] of [...headers, ...trailers]) {
    validateHeaderName(name);
    validateHeaderValue(name, value);
  }
  const sinceEnd = (offsetUs: number) => Math.max(0, offsetUs - (place.requestEndOffsetUs ?? 0));
  const bodySteps = pieces.map(({ atUs, end }, index) => {
    return { atUs: sinceEnd(atUs), from: pieces[index - 1]?.end ?? 0, to: end };
  });
  return {
    status,
    reason,
    headers: headers.flat(),
    trailers,
    body,
    broken,
    steps: [
      { atUs: sinceEnd(firstUs), from: 0, to: 0 },
      ...bodySteps,
      { atUs: sinceEnd(lastUs), from: body.length, to: body.length },
    ],
    untilClose:
      !chunked && !bodyless && httpVersion !== '2.0' && headerValue(recorded, 'content-length') === null,
    exactCuts: exact,
    heldBytes: body.length + (pieces.length + 2) * PIECE_BYTES,
  };
}

interface Playing {
  readonly clock: Clock;
  /** Recorded seconds per second. With Infinity everything is sent at once. */
  readonly speed: number;
  /** When the request had arrived completely. */
  readonly baseNs: number;
  /** The lateness of each part, microseconds. Not measured at infinite speed. */
  readonly lateUs: Histogram;
}

/** Sends an answer with its recorded times. Instants are absolute, so a late part does not delay the following ones. */
export class PlayedAnswer {
  readonly answer: RecordedAnswer;
  /** Whether everything was sent, or broken off as recorded. */
  ended = false;
  readonly #to: ServerResponse | Http2ServerResponse;
  readonly #playing: Playing;
  #next = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(answer: RecordedAnswer, to: ServerResponse | Http2ServerResponse, playing: Playing) {
    this.answer = answer;
    this.#to = to;
    this.#playing = playing;
  }

  /** @throws RangeError if Node refuses the recorded status; then nothing is sent */
  start(): void {
    this.#to.sendDate = false;
    if (this.#to instanceof Http2ServerResponse) this.#beginStream(this.#to);
    else this.#begin(this.#to);
    this.#to.on('close', () => clearTimeout(this.#timer));
    this.#to.on('drain', () => this.#go());
    this.#go();
  }

  #begin(to: ServerResponse): void {
    const { status, reason, headers, trailers, untilClose } = this.answer;
    if (untilClose) {
      to.useChunkedEncodingByDefault = false;
      to.shouldKeepAlive = false;
    }
    // Node sends the head with the first part of the body, or when it is flushed.
    to.writeHead(status, reason, [...headers]);
    if (trailers.length > 0) to.addTrailers(trailers.map(([name, value]): [string, string] => [name, value]));
  }

  #beginStream(to: Http2ServerResponse): void {
    const { status, headers, trailers } = this.answer;
    const pairs = headers.flatMap((name, at) =>
      at % 2 === 0 ? [[name, headers[at + 1] ?? ''] as const] : [],
    );
    for (const [name, value] of pairs) to.appendHeader(name, value);
    to.statusCode = status;
    for (const [name, values] of Map.groupBy(trailers, ([each]) => each.toLowerCase()))
      to.addTrailers({ [name]: values.map(([, value]) => value) } as unknown as Record<string, string>);
  }

  /** Ends the connection, or the stream, as a server that failed. */
  #breakOff(): void {
    if (this.#to instanceof Http2ServerResponse) this.#to.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    else if (this.answer.untilClose) {
      const { socket } = this.#to;
      socket?.write('', () => socket.resetAndDestroy());
    } else this.#to.socket?.destroySoon();
  }

  /** Whether its client has left. */
  get #isGone(): boolean {
    return this.#to instanceof Http2ServerResponse ? this.#to.stream.destroyed : this.#to.destroyed;
  }

  #go(): void {
    clearTimeout(this.#timer);
    const { steps } = this.answer;
    for (;;) {
      const step = steps[this.#next];
      if (step === undefined || this.#isGone) return;
      const waitMs = this.#msUntil(step);
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#go(), Math.ceil(waitMs));
        return;
      }
      this.#next += 1;
      if (!this.#take(step)) {
        // The client does not read. Its answer is kept in memory for this time at most.
        const stalled = this.#to instanceof Http2ServerResponse ? this.#to.stream : this.#to;
        this.#timer = setTimeout(() => stalled.destroy(), LIMITS.mockStallMs);
        return;
      }
    }
  }

  /** Milliseconds until a step is due; 0 if it is due already. */
  #msUntil({ atUs }: Step): number {
    const { speed, baseNs, clock, lateUs } = this.#playing;
    if (speed === Number.POSITIVE_INFINITY) return 0;
    const lateNs = clock.nowNs() - (baseNs + (atUs * 1e3) / speed);
    if (lateNs < 0) return -lateNs / 1e6;
    lateUs.record(Math.round(lateNs / 1e3));
    return 0;
  }

  /** False if the client must read before more is sent. */
  #take({ from, to }: Step): boolean {
    const { steps, body, broken, trailers } = this.answer;
    if (this.#next === steps.length) {
      this.ended = true;
      if (broken) this.#breakOff();
      else this.#to.end();
      return true;
    }
    const piece = body.subarray(from, to);
    if (this.#to instanceof Http2ServerResponse) {
      if (piece.length > 0) return this.#to.write(piece);
      // Without anything after it, the head is also the end, as of a gRPC call that was refused.
      if (broken || body.length + trailers.length > 0) this.#to.writeHead(this.#to.statusCode);
      return true;
    }
    if (piece.length > 0) return this.#to.write(piece);
    // If a part of the body is due at once, the head is sent with it in one packet.
    const following = steps[this.#next];
    if (following === undefined || following.to === following.from || following.atUs > (steps[0]?.atUs ?? 0))
      this.#to.flushHeaders();
    return true;
  }
}

/** A part of an answer's body with its time: microseconds after the arrival of its request. */
interface Piece {
  readonly atUs: number;
  /** End offset of the part in the body. */
  readonly end: number;
}

interface Pieces {
  readonly pieces: readonly Piece[];
  /** Whether the ends of the parts are exact. */
  readonly exact: boolean;
}

const LF = 0x0a;
/** CR LF after the size of a chunk, and after the chunk. */
const CHUNK_LINE_ENDS = 4;

/**
 * Divides a stored body into the pieces that were sent. For each read of the server's answer, its time and its bytes on
 * the wire are stored. With chunked coding these bytes include the sizes of chunks, which are not stored. The result is
 * exact if each read was one chunk, which is true for servers that write one token per chunk. Otherwise the body is
 * divided in proportion. Each cut is then moved to the end of the nearest line, because events end there.
 * @param times times of the body's reads; empty if unknown
 * @param codingEndBytes wire bytes after the last chunk; null for a body without chunked coding
 * @param lastUs time of the last byte, for a body without times
 */
export function piecesOf(
  body: Uint8Array,
  times: ChunkTimes,
  { codingEndBytes, lastUs }: { readonly codingEndBytes: number | null; readonly lastUs: number },
): Pieces {
  if (body.length === 0) return { pieces: [], exact: true };
  if (times.length === 0) return { pieces: [{ atUs: lastUs, end: body.length }], exact: true };
  const ends =
    codingEndBytes === null
      ? endsOfReads(body.length, times)
      : endsOfChunks(body.length, times, codingEndBytes);
  if (ends !== null) return { pieces: timed(times, ends), exact: true };
  return { pieces: timed(times, endsByShare(body, times)), exact: false };
}

function timed(times: ChunkTimes, ends: readonly number[]): Piece[] {
  const pieces: Piece[] = [];
  let before = 0;
  for (const [index, end] of ends.entries()) {
    // The last read of a chunked body may contain only the end of the coding.
    if (end > before) pieces.push({ atUs: times[2 * index] ?? 0, end });
    before = end;
  }
  return pieces;
}

/** Null if the sum of the reads differs from the body, because some of their times are not stored. */
function endsOfReads(bytes: number, times: ChunkTimes): number[] | null {
  const ends = wireEnds(times);
  return ends.at(-1) === bytes ? ends : null;
}

/** Null unless each read was one chunk, and the end of the coding came with the last one or alone. */
function endsOfChunks(bytes: number, times: ChunkTimes, codingEndBytes: number): number[] | null {
  const ends: number[] = [];
  let end = 0;
  let wireLeft = wireEnds(times).at(-1) ?? 0;
  for (let at = 1; at < times.length; at += 2) {
    const wireBytes = times[at] ?? 0;
    const last = wireBytesOf(bytes - end);
    if (wireLeft === last + codingEndBytes && wireBytes >= last) return [...ends, bytes];
    const content = chunkIn(wireBytes);
    if (content === 0 || end + content >= bytes) return null;
    end += content;
    ends.push(end);
    wireLeft -= wireBytes;
  }
  return null;
}

function wireBytesOf(content: number): number {
  return content + content.toString(16).length + CHUNK_LINE_ENDS;
}

/** Size of the chunk with this number of bytes on the wire; 0 if there is none. */
function chunkIn(wireBytes: number): number {
  for (let digits = 1; digits <= 8; digits += 1) {
    const content = wireBytes - digits - CHUNK_LINE_ENDS;
    if (content > 0 && content.toString(16).length === digits) return content;
  }
  return 0;
}

function wireEnds(times: ChunkTimes): number[] {
  const ends: number[] = [];
  let end = 0;
  for (let at = 1; at < times.length; at += 2) {
    end += times[at] ?? 0;
    ends.push(end);
  }
  return ends;
}

function endsByShare(body: Uint8Array, times: ChunkTimes): number[] {
  const wire = wireEnds(times);
  const total = wire.at(-1) ?? 1;
  let before = 0;
  return wire.map((end, index) => {
    if (index === wire.length - 1) return body.length;
    before = Math.max(before, lineEndNear(body, Math.round((end / total) * body.length)));
    return before;
  });
}

/**
 * The nearest end of a line, or of the lines up to a blank one, at most this far from a place. The place itself if
 * there is none.
 */
const NEAR_BYTES = 512;

function lineEndNear(body: Uint8Array, place: number): number {
  for (let off = 0; off <= NEAR_BYTES; off += 1) {
    for (const end of [place + off, place - off]) {
      // Not between the line feeds at the end of an event.
      if (end > 0 && end <= body.length && body[end - 1] === LF && body[end] !== LF) return end;
    }
  }
  return place;
}
