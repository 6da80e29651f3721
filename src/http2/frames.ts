import { LIMITS } from '../core/limits.ts';

/** The first bytes of every HTTP/2 connection, from its client (RFC 9113 section 3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

const FRAME_HEAD_BYTES = 9;
/** A header block with its padding and priority. A longer one is over the limit of a header list. */
const GATHERED_BYTES = LIMITS.headerListBytes + 512;

const TYPE = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  push: 5,
  goAway: 7,
  continuation: 9,
} as const;

const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

const HEADER_TABLE_SIZE = 1;

/** Whether a server's first bytes may be HTTP/2: its settings, which it may send before the client has said anything. */
export function mayBeginWithSettings(bytes: Buffer): boolean {
  if (bytes.length >= FRAME_HEAD_BYTES && (bytes.readUIntBE(0, 3) % 6 !== 0 || bytes.readUInt32BE(5) !== 0))
    return false;
  return (bytes[3] ?? TYPE.settings) === TYPE.settings && (bytes[4] ?? 0) === 0;
}

/** What frames contain, in their order. Views of bytes are valid only during the call. */
export interface FrameListener {
  /** A whole header block. @returns false if it cannot be decoded, which ends the reading */
  headers(stream: number, block: Buffer, endsStream: boolean): boolean;
  /** The header block of a request that the server promises to answer. @returns as `headers` */
  promised(block: Buffer): boolean;
  /** A DATA frame with this many bytes begins. The padding is not counted. */
  dataBegins(stream: number, length: number): void;
  /** The next bytes of that frame. */
  data(bytes: Buffer): void;
  dataEnds(stream: number, endsStream: boolean): void;
  reset(stream: number, code: number): void;
  /** No stream with a higher number will be answered. */
  goAway(lastStream: number): void;
  /** This side announced how large the table of the other side's header blocks may be. */
  headerTableSize(bytes: number): void;
}

/** Bytes of something that must be complete, gathered over cuts. */
class Gathered {
  #bytes: Buffer = NO_BYTES;
  length = 0;

  append(bytes: Buffer): void {
    const needed = this.length + bytes.length;
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(64, needed, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, this.length));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.length);
    this.length = needed;
  }

  take(): Buffer {
    const taken = this.#bytes.subarray(0, this.length);
    this.#bytes = NO_BYTES;
    this.length = 0;
    return taken;
  }
}

const NO_BYTES: Buffer = Buffer.alloc(0);

/**
 * Follows the frames of one direction of an HTTP/2 connection, after the preface, in whatever pieces they come. It only
 * reads: flow control, priorities and pings are skipped. What it cannot read ends the reading, because the place of the
 * next frame or the header tables are no longer known.
 */
export class FrameReader {
  readonly #listener: FrameListener;
  /** A frame's head that has not come completely. */
  readonly #head = Buffer.alloc(FRAME_HEAD_BYTES);
  #headBytes = 0;
  #type = 0;
  #flags = 0;
  #stream = 0;
  /** Bytes of the frame's payload that have not come yet. */
  #left = 0;
  #inFrame = false;
  /** Null until the length of a DATA frame's padding is known. */
  #paddingBytes: number | null = null;
  readonly #payload = new Gathered();
  readonly #block = new Gathered();
  /** The frame whose header block is continued; null if none is. */
  #continued: { readonly type: number; readonly stream: number; readonly endsStream: boolean } | null = null;
  #continuations = 0;
  #isFirst = true;
  /** Whether the reading has ended. */
  broken = false;

  constructor(listener: FrameListener) {
    this.#listener = listener;
  }

  /** @returns the position after what was read: the end, or the frame in these bytes that cannot be read */
  read(bytes: Buffer): number {
    let at = 0;
    let frameAt = 0;
    while (!this.broken && (at < bytes.length || (this.#inFrame && this.#left === 0))) {
      if (!this.#inFrame) {
        frameAt = at;
        at = this.#readHead(bytes, at);
        if (!this.#inFrame || this.broken) continue;
      }
      at = this.#readPayload(bytes, at);
    }
    return this.broken ? frameAt : bytes.length;
  }

  #readHead(bytes: Buffer, from: number): number {
    if (this.#headBytes === 0 && bytes.length - from >= FRAME_HEAD_BYTES) {
      this.#begin(bytes, from);
      return from + FRAME_HEAD_BYTES;
    }
    const copied = bytes.copy(this.#head, this.#headBytes, from);
    this.#headBytes += copied;
    if (this.#headBytes === FRAME_HEAD_BYTES) {
      this.#headBytes = 0;
      this.#begin(this.#head, 0);
    }
    return from + copied;
  }

  #begin(head: Buffer, at: number): void {
    this.#left = head.readUIntBE(at, 3);
    this.#type = head[at + 3]!;
    this.#flags = head[at + 4]!;
    this.#stream = head.readUInt32BE(at + 5) & 0x7fff_ffff;
    this.#inFrame = true;
    const valid = this.#isValid();
    this.#isFirst = false;
    if (!valid) this.broken = true;
    else if (this.#type === TYPE.data) this.#beginData();
  }

  /** Whether the frame may stand here. Only what is needed to read on reliably is examined. */
  #isValid(): boolean {
    const type = this.#type;
    // Both sides begin with their settings. Otherwise this is another protocol, such as an answer in HTTP/1.
    if (this.#isFirst && type !== TYPE.settings) return false;
    if ((this.#continued !== null) !== (type === TYPE.continuation)) return false;
    if (this.#continued !== null && this.#continued.stream !== this.#stream) return false;
    if (isOfConnection(type)) return this.#stream === 0 && this.#left <= GATHERED_BYTES;
    if (type === TYPE.data) return this.#stream !== 0;
    if (isOfStream(type)) return this.#stream !== 0 && this.#left <= GATHERED_BYTES;
    return true;
  }

  #readPayload(bytes: Buffer, from: number): number {
    const to = Math.min(bytes.length, from + this.#left);
    if (this.#type === TYPE.data) this.#readData(bytes, from, to);
    else if (isOfConnection(this.#type) || isOfStream(this.#type)) this.#gather(bytes, from, to);
    else this.#left -= to - from;
    if (this.#left === 0) this.#inFrame = false;
    return to;
  }

  #beginData(): void {
    this.#paddingBytes = (this.#flags & FLAG.padded) === 0 ? 0 : null;
    if (this.#paddingBytes === 0) this.#listener.dataBegins(this.#stream, this.#left);
    else if (this.#left === 0) this.broken = true;
  }

  #readData(bytes: Buffer, from: number, to: number): void {
    let at = from;
    if (this.#paddingBytes === null && at < to) {
      this.#paddingBytes = bytes[at]!;
      at += 1;
      this.#left -= 1;
      if (this.#paddingBytes > this.#left) {
        this.broken = true;
        return;
      }
      this.#listener.dataBegins(this.#stream, this.#left - this.#paddingBytes);
    }
    const dataEnd = Math.min(to, at + this.#left - (this.#paddingBytes ?? 0));
    if (dataEnd > at) this.#listener.data(bytes.subarray(at, dataEnd));
    this.#left -= to - at;
    if (this.#left === 0) this.#listener.dataEnds(this.#stream, (this.#flags & FLAG.endStream) !== 0);
  }

  #gather(bytes: Buffer, from: number, to: number): void {
    const piece = from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to);
    this.#left -= piece.length;
    if (this.#left === 0 && this.#payload.length === 0) {
      this.#whole(piece);
      return;
    }
    this.#payload.append(piece);
    if (this.#left === 0) this.#whole(this.#payload.take());
  }

  #whole(payload: Buffer): void {
    switch (this.#type) {
      case TYPE.settings:
        this.#readSettings(payload);
        break;
      case TYPE.reset:
        if (payload.length === 4) this.#listener.reset(this.#stream, payload.readUInt32BE(0));
        else this.broken = true;
        break;
      case TYPE.goAway:
        if (payload.length >= 8) this.#listener.goAway(payload.readUInt32BE(0) & 0x7fff_ffff);
        else this.broken = true;
        break;
      case TYPE.continuation:
        this.#continueBlock(payload);
        break;
      default:
        this.#beginBlock(payload);
    }
  }

  #readSettings(payload: Buffer): void {
    const isAck = (this.#flags & FLAG.ack) !== 0;
    if (payload.length % 6 !== 0 || (isAck && payload.length > 0)) {
      this.broken = true;
      return;
    }
    for (let at = 0; at < payload.length; at += 6)
      if (payload.readUInt16BE(at) === HEADER_TABLE_SIZE)
        this.#listener.headerTableSize(payload.readUInt32BE(at + 2));
  }

  /** HEADERS or PUSH_PROMISE: padding, then the priority or the promised stream, then the block. */
  #beginBlock(payload: Buffer): void {
    const padded = (this.#flags & FLAG.padded) !== 0;
    const isPush = this.#type === TYPE.push;
    const from =
      (padded ? 1 : 0) + (isPush ? 4 : 0) + (!isPush && (this.#flags & FLAG.priority) !== 0 ? 5 : 0);
    const to = payload.length - (padded ? (payload[0] ?? 0) : 0);
    if (from > to) {
      this.broken = true;
      return;
    }
    const endsStream = !isPush && (this.#flags & FLAG.endStream) !== 0;
    const block = from === 0 && to === payload.length ? payload : payload.subarray(from, to);
    if ((this.#flags & FLAG.endHeaders) !== 0) {
      this.#blockEnds(this.#type, this.#stream, block, endsStream);
      return;
    }
    this.#continued = { type: this.#type, stream: this.#stream, endsStream };
    this.#continuations = 0;
    this.#block.append(block);
  }

  #continueBlock(fragment: Buffer): void {
    this.#block.append(fragment);
    this.#continuations += 1;
    const { type, stream, endsStream } = this.#continued!;
    if (this.#block.length > GATHERED_BYTES || this.#continuations > LIMITS.headerContinuations)
      this.broken = true;
    else if ((this.#flags & FLAG.endHeaders) !== 0) {
      this.#continued = null;
      this.#blockEnds(type, stream, this.#block.take(), endsStream);
    }
  }

  #blockEnds(type: number, stream: number, block: Buffer, endsStream: boolean): void {
    const decoded =
      type === TYPE.push ? this.#listener.promised(block) : this.#listener.headers(stream, block, endsStream);
    if (!decoded) this.broken = true;
  }
}

function isOfConnection(type: number): boolean {
  return type === TYPE.settings || type === TYPE.goAway;
}

/** Frames of a stream that must be complete to be read. */
function isOfStream(type: number): boolean {
  return type === TYPE.headers || type === TYPE.continuation || type === TYPE.push || type === TYPE.reset;
}
