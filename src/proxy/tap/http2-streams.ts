import { LIMITS } from '../../core/limits.ts';
import { type FrameListener, FrameReader } from '../../http2/frames.ts';
import { type FieldList, HpackDecoder } from '../../http2/hpack.ts';
import { REFERENCED_BYTES } from './frame-queue.ts';
import type { CloseCause } from './frames.ts';

/**
 * What one stream is fed to: towards the recorder it is a separate connection with one exchange. Bytes that are fewer
 * than `REFERENCED_BYTES` change after the call, so they are copied within it.
 */
export interface StreamTap {
  /** Its number; null if it is not recorded. */
  readonly connection: number | null;
  client(bytes: Buffer): void;
  restOfTurn(bytes: Buffer): void;
  server(bytes: Buffer): void;
  clientEnd(): void;
  serverEnd(): void;
  close(cause: CloseCause): void;
}

export interface StreamsHost {
  /** Streams that are followed at present, over all connections. */
  readonly streams: { open: number };
  /** @param clientConnection the number that all streams of the client's connection share; null for its first one */
  open(clientConnection: number | null): StreamTap;
}

type Side = 'client' | 'server';

/**
 * The streams of one HTTP/2 connection, each fed to the recorder as an exchange in the form of HTTP/1: heads as text,
 * bodies in chunks. Everything that only makes sense in order is kept here, beside the socket: the header tables cannot
 * be sent for again. So a recorder may come and go, and each stream that begins after that is recorded.
 *
 * Answers that a server pushes are not recorded: no client asked for them.
 */
export class Http2Streams {
  readonly #host: StreamsHost;
  readonly #streams = new Map<number, Stream>();
  readonly #directions: Readonly<Record<Side, Direction>>;
  /** The highest number of a stream that the client has opened. */
  #latest = 0;
  #clientConnection: number | null = null;
  /** Streams with bytes that came in the current read. */
  readonly #touched: Stream[] = [];

  constructor(host: StreamsHost) {
    this.#host = host;
    this.#directions = { client: new Direction('client', this), server: new Direction('server', this) };
  }

  get clientConnection(): number | null {
    return this.#clientConnection;
  }

  /** Follows no stream any more. @returns the taps of those that were open */
  abandon(): readonly StreamTap[] {
    const taps = [...this.#streams.values()].map(({ tap }) => tap);
    this.#host.streams.open -= taps.length;
    this.#streams.clear();
    return taps;
  }

  /**
   * Reads bytes of one side, after the preface.
   * @returns the position after what could be read. If that is not their end, nothing more of the connection can be
   * read, and no stream is open any more.
   */
  read(side: Side, bytes: Buffer): number {
    const direction = this.#directions[side];
    const { reader } = direction;
    direction.earn(bytes.length);
    const end = reader.read(bytes);
    for (const stream of this.#touched) {
      stream.flush(side);
      if (stream.ended) this.#close(stream, 'client_end');
    }
    this.#touched.length = 0;
    if (reader.broken) for (const stream of this.#streams.values()) this.#giveUp(stream, side);
    return end;
  }

  /** A side ended the connection. Who did so first decides how its open streams end, and when. */
  end(side: Side): void {
    for (const { tap } of this.#streams.values())
      if (side === 'client') tap.clientEnd();
      else tap.serverEnd();
  }

  /** The connection is over. */
  close(cause: CloseCause): void {
    for (const stream of this.#streams.values()) this.#close(stream, cause);
  }

  /** The table size that one side announced is for the header blocks of the other. */
  headerTableSize(side: Side, bytes: number): void {
    this.#directions[side === 'client' ? 'server' : 'client'].decoder.allowTable(bytes);
  }

  /** @param head null if its fields are too many for what came, so that the stream is given up */
  fields(side: Side, number: number, head: HeadText | null, endsStream: boolean): void {
    let stream = this.#streams.get(number);
    if (stream === undefined) {
      if (side === 'server' || number <= this.#latest || number % 2 === 0) return;
      this.#latest = number;
      stream = this.#begin(number);
    }
    const full =
      this.#streams.size > LIMITS.connectionStreams || this.#host.streams.open > LIMITS.openStreams;
    if (full || head === null || !stream.fields(side, head, endsStream)) this.#giveUp(stream, side);
    else this.#touch(stream);
  }

  /** The stream with this number, if it is followed. What is added to it is fed after the current read. */
  touch(number: number): Stream | undefined {
    const stream = this.#streams.get(number);
    if (stream !== undefined) this.#touch(stream);
    return stream;
  }

  #touch(stream: Stream): void {
    if (stream.touched) return;
    stream.touched = true;
    this.#touched.push(stream);
  }

  reset(side: Side, number: number): void {
    const stream = this.#streams.get(number);
    if (stream === undefined) return;
    stream.flush(side);
    // After a complete answer, a server asks in this way for no more of the request.
    const byServer = stream.message('server').state === 'ended' ? 'server_end' : 'server_reset';
    this.#close(stream, side === 'client' ? 'client_reset' : byServer);
  }

  goAway(side: Side, lastStream: number): void {
    if (side === 'client') return;
    for (const stream of this.#streams.values())
      if (stream.number > lastStream) this.reset('server', stream.number);
  }

  #begin(number: number): Stream {
    const tap = this.#host.open(this.#clientConnection);
    this.#clientConnection ??= tap.connection;
    const stream = new Stream(number, tap);
    this.#streams.set(number, stream);
    this.#host.streams.open += 1;
    return stream;
  }

  /** Nothing more of the stream can be read. The recorder counts what it has of it as unparsed. */
  #giveUp(stream: Stream, side: Side): void {
    stream.message(side).add(UNREADABLE);
    stream.flush(side);
    this.#close(stream, 'client_end');
  }

  #close(stream: Stream, cause: CloseCause): void {
    if (!this.#streams.delete(stream.number)) return;
    this.#host.streams.open -= 1;
    stream.tap.close(cause);
  }
}

/** No line of a head or a chunk begins with it. */
const UNREADABLE = '\0\r\n';
const LAST_CHUNK = '0\r\n';

/** One side's frames, told to the streams. */
class Direction implements FrameListener {
  readonly decoder = new HpackDecoder();
  readonly reader: FrameReader = new FrameReader(this);
  readonly #side: Side;
  readonly #streams: Http2Streams;
  /** The texts of the latest list, and of the one before. */
  #latest: HeadText | null = null;
  #before: HeadText | null = null;
  /** The stream of the current DATA frame. */
  #stream = 0;
  /** A chunk without bytes would end the body, so an empty frame gives none. */
  #isEmpty = true;
  /** How large the next header lists may be. Otherwise few bytes could keep the proxy busy, and all its clients wait. */
  #credit = LIMITS.headerListBytes;

  constructor(side: Side, streams: Http2Streams) {
    this.#side = side;
    this.#streams = streams;
  }

  headers(stream: number, block: Buffer, endsStream: boolean): boolean {
    const fields = this.decoder.decode(block);
    if (fields === null) return false;
    const { listBytes } = this.decoder;
    const affords = listBytes <= this.#credit;
    if (affords) this.#credit -= listBytes;
    this.#streams.fields(this.#side, stream, affords ? this.#textOf(fields) : null, endsStream);
    return true;
  }

  /** The decoder gives the same list for equal blocks. Two lists, because an answer has a head and trailers. */
  #textOf(fields: FieldList): HeadText {
    if (this.#latest?.fields === fields) return this.#latest;
    const before = this.#before;
    this.#before = this.#latest;
    this.#latest = before?.fields === fields ? before : headTextOf(this.#side, fields);
    return this.#latest;
  }

  /** This many bytes came. */
  earn(bytes: number): void {
    this.#credit = Math.min(LIMITS.headerCreditBytes, this.#credit + LIMITS.headerGrowth * bytes);
  }

  promised(block: Buffer): boolean {
    return this.decoder.decode(block) !== null;
  }

  dataBegins(stream: number, length: number): void {
    this.#stream = stream;
    this.#isEmpty = length === 0;
    if (!this.#isEmpty) this.#body?.add(`${length.toString(16)}\r\n`);
  }

  data(bytes: Buffer): void {
    this.#body?.add(bytes);
  }

  dataEnds(_stream: number, endsStream: boolean): void {
    const body = this.#body;
    if (!this.#isEmpty) body?.add('\r\n');
    if (endsStream) body?.end('');
  }

  /** The message that the current DATA frame belongs to, if its stream is still followed. */
  get #body(): Message | null {
    const message = this.#streams.touch(this.#stream)?.message(this.#side);
    return message?.state === 'body' ? message : null;
  }

  reset(stream: number): void {
    this.#streams.reset(this.#side, stream);
  }

  goAway(lastStream: number): void {
    this.#streams.goAway(this.#side, lastStream);
  }

  headerTableSize(bytes: number): void {
    this.#streams.headerTableSize(this.#side, bytes);
  }
}

/** Pieces of this size and more are kept by the queue. */
const SCRATCH = Buffer.allocUnsafeSlow(REFERENCED_BYTES);

/** A request or an answer, as far as it came, and what of it is still to be fed. */
class Message {
  state: 'head' | 'body' | 'ended' = 'head';
  readonly #parts: (string | Buffer)[] = [];
  #bytes = 0;

  add(part: string | Buffer): void {
    this.#parts.push(part);
    this.#bytes += part.length;
  }

  end(trailers: string): void {
    this.add(`${LAST_CHUNK}${trailers}\r\n`);
    this.state = 'ended';
  }

  /**
   * Everything added since the last call, in one piece; null if nothing was. Texts are latin1. A small piece is valid
   * until the next one: the queue copies it.
   */
  take(): Buffer | null {
    const parts = this.#parts;
    const [first] = parts;
    if (first === undefined) return null;
    let taken = first;
    if (parts.length > 1 || typeof taken === 'string') {
      taken =
        this.#bytes < SCRATCH.length ? SCRATCH.subarray(0, this.#bytes) : Buffer.allocUnsafe(this.#bytes);
      let at = 0;
      for (const part of parts)
        at += typeof part === 'string' ? taken.write(part, at, 'latin1') : part.copy(taken, at);
    }
    parts.length = 0;
    this.#bytes = 0;
    return taken;
  }
}

class Stream {
  readonly number: number;
  readonly tap: StreamTap;
  /** Whether bytes of it came in the current read. */
  touched = false;
  readonly #request = new Message();
  readonly #answer = new Message();
  #begun = false;

  constructor(number: number, tap: StreamTap) {
    this.number = number;
    this.tap = tap;
  }

  message(side: Side): Message {
    return side === 'client' ? this.#request : this.#answer;
  }

  get ended(): boolean {
    return this.#request.state === 'ended' && this.#answer.state === 'ended';
  }

  /** A head, an interim head, or trailers. @returns false if it is malformed (RFC 9113 section 8.1.1) */
  fields(side: Side, { line, lines }: HeadText, endsStream: boolean): boolean {
    const message = this.message(side);
    if (message.state === 'ended') return true;
    if (lines === null) return false;
    if (message.state === 'body') {
      if (endsStream) message.end(lines);
      return endsStream;
    }
    if (line === null) return false;
    message.add(`${line}${lines}\r\n`);
    if (INTERIM.test(line)) return !endsStream;
    message.state = 'body';
    if (endsStream) message.end('');
    return true;
  }

  flush(side: Side): void {
    this.touched = false;
    const bytes = this.message(side).take();
    if (bytes === null) return;
    if (side === 'server') this.tap.server(bytes);
    else if (this.#begun) this.tap.restOfTurn(bytes);
    else {
      this.#begun = true;
      this.tap.client(bytes);
    }
  }
}

/** A header list as text. */
interface HeadText {
  readonly fields: FieldList;
  /** The first line of a head; null if it cannot be formed, as of trailers. */
  readonly line: string | null;
  /** Null if a field could not be one line. */
  readonly lines: string | null;
}

function headTextOf(side: Side, fields: FieldList): HeadText {
  const line = side === 'client' ? requestLine(fields) : statusLine(fields);
  return { fields, line, lines: linesOf(fields) };
}

/** There is no switch of protocols in HTTP/2. */
const STATUS = /^(?!101)[1-9]\d\d$/;
const INTERIM = /^HTTP\/2 1/;
const NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
/** What would end a line, or the text for a reader in C. */
const LINE_ENDS = /[\0\r\n]/;
const PARTS_OF_LINE = /^[^\0- \x7f]+$/;

/** The request line, and the authority as the line of a host; null if they cannot be formed. */
function requestLine(fields: FieldList): string | null {
  const method = fieldOf(fields, ':method');
  const authority = fieldOf(fields, ':authority');
  const target = fieldOf(fields, ':path') ?? authority;
  if (method === null || target === null || !PARTS_OF_LINE.test(method) || !PARTS_OF_LINE.test(target))
    return null;
  return `${method} ${target} HTTP/2\r\n${authority === null ? '' : `host: ${authority}\r\n`}`;
}

function statusLine(fields: FieldList): string | null {
  const status = fieldOf(fields, ':status');
  return status !== null && STATUS.test(status) ? `HTTP/2 ${status}\r\n` : null;
}

/** Lines of all fields but the pseudo ones; null if a field could not be one line. */
function linesOf(fields: FieldList): string | null {
  // The authority takes the place of a host that stands beside it (RFC 9113 section 8.3.1).
  const hasAuthority = fieldOf(fields, ':authority') !== null;
  let lines = '';
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at]!;
    const value = encoded(name, fields[at + 1]!);
    if (LINE_ENDS.test(value)) return null;
    if (name.startsWith(':')) continue;
    if (!NAME.test(name)) return null;
    if (name !== 'host' || !hasAuthority) lines += `${name}: ${value}\r\n`;
  }
  return lines;
}

/**
 * Two peers of gRPC's C library send binary metadata as it is, after a NUL, instead of in base64 (`-bin`). Such a value
 * would be no line.
 */
function encoded(name: string, value: string): string {
  if (value.charCodeAt(0) !== 0 || !name.endsWith('-bin')) return value;
  return Buffer.from(value.slice(1), 'latin1').toString('base64');
}

function fieldOf(fields: FieldList, name: string): string | null {
  for (let at = 0; at < fields.length; at += 2) if (fields[at] === name) return fields[at + 1]!;
  return null;
}
