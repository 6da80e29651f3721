import { LOSS_REASONS, OMISSION_CAUSES } from '../../core/accounting.ts';
import type { Fate } from './counters.ts';

/**
 * What goes through the pipe between the proxy and the recorder. Both ends are the same program of the same
 * version, so the layout carries no version; integers are little-endian.
 *
 *   proxy → recorder              header (24 bytes)                        payload
 *   ┌──────────┬──────┬───────┬────────────┬────────┬──────────┐
 *   │ length 4 │ type │ flags │ reserved 2 │ conn 4 │ atNs f64 │ pad 4 …  `length` bytes
 *   └──────────┴──────┴───────┴────────────┴────────┴──────────┘
 *
 *   recorder → proxy              one settlement (32 bytes)
 *   ┌──────┬─────────┬──────────────┬────────┬─────────────┬─────────────┬─────────────┬───────┐
 *   │ kind │ because │ reserved 2   │ conn 4 │ client f64  │ server f64  │ exchanges 4 │ pad 4 │
 *   └──────┴─────────┴──────────────┴────────┴─────────────┴─────────────┴─────────────┴───────┘
 */
export const FRAME_HEADER_BYTES = 24;
const SETTLEMENT_BYTES = 32;

export const FRAME = {
  /** A connection begins; with flag RESYNC it has been going on unrecorded. Payload: both offsets (f64), its origin. */
  open: 1,
  clientBytes: 2,
  serverBytes: 3,
  /** Bytes were shed here. Flags: the loss reason. Payload: client bytes, server bytes and turns shed (f64). */
  gap: 4,
  clientEnd: 5,
  serverEnd: 6,
  /** Flags: index into CLOSE_CAUSES. Payload: total client and server bytes (f64). */
  close: 7,
  /**
   * Asks for everything before it to be committed and settled, then for a `flushed` settlement that has the number
   * which this one has in the place of a connection. The last of several is answered for all.
   */
  flush: 8,
} as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export const FLAG_TURN_START = 1;
export const FLAG_RESYNC = 1;

/**
 * How a connection came to its end. `…_end` is an orderly close, `…_reset` everything else that side can do;
 * `shutdown` is ourselves, cutting what the drain deadline left; `timed_out` is the gateway, whose upstream took
 * too long.
 */
export const CLOSE_CAUSES = [
  'client_end',
  'client_reset',
  'server_end',
  'server_reset',
  'shutdown',
  'timed_out',
] as const;
export type CloseCause = (typeof CLOSE_CAUSES)[number];

/** Of long traffic a part: only the first of a frame has its flags. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly connection: number;
  readonly atNs: number;
  /** Valid only during the call that hands it over. */
  readonly payload: Uint8Array;
}

export function writeFrameHeader(
  into: Buffer,
  at: number,
  head: { type: FrameType; flags: number; connection: number; atNs: number },
  payloadBytes: number,
): void {
  into.writeUInt32LE(payloadBytes, at);
  into[at + 4] = head.type;
  into[at + 5] = head.flags;
  into.writeUInt16LE(0, at + 6);
  into.writeUInt32LE(head.connection, at + 8);
  into.writeDoubleLE(head.atNs, at + 12);
  into.writeUInt32LE(0, at + 20);
}

/** A payload of doubles, for the frames that carry amounts. */
export function doubles(...values: number[]): Buffer {
  const payload = Buffer.allocUnsafe(values.length * 8);
  for (let index = 0; index < values.length; index += 1)
    payload.writeDoubleLE(values[index] as number, index * 8);
  return payload;
}

export function readDoubles(payload: Uint8Array): number[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return Array.from({ length: payload.byteLength >> 3 }, (_, index) => view.getFloat64(index * 8, true));
}

/** Frames of traffic of up to so much are handed on whole; of longer ones so much before the rest of it came. */
const WHOLE_FRAME_BYTES = 16 * 1024;

/** A traffic frame that was handed on in part. */
interface BegunFrame {
  readonly type: number;
  readonly connection: number;
  readonly atNs: number;
  leftBytes: number;
}

/**
 * Cuts a byte stream back into frames, and hands each to the consumer, in order: control frames and short ones whole,
 * longer ones of traffic as they come, each part a frame of its type of which only the first has the flags. Nothing
 * that was pushed is kept.
 */
export class FrameReader {
  readonly #onFrame: (frame: Frame) => void;
  /** The beginning of a frame that is to be handed on whole. */
  #rest: Buffer | null = null;
  #begun: BegunFrame | null = null;

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    let at = this.#rest ? this.#complete(this.#rest, chunk) : 0;
    if (this.#begun) at = this.#goOn(this.#begun, chunk, at);
    while (chunk.length - at >= FRAME_HEADER_BYTES) {
      const end = at + FRAME_HEADER_BYTES + chunk.readUInt32LE(at);
      if (end > chunk.length) break;
      this.#hand(chunk, at, end);
      at = end;
    }
    if (at === chunk.length) return;
    if (chunk.length - at >= enoughOf(chunk, at)) this.#hand(chunk, at, chunk.length);
    else this.#rest = Buffer.from(chunk.subarray(at));
  }

  /** Continues an incomplete frame; only that frame is copied. Returns where the next one begins. */
  #complete(begun: Buffer, chunk: Buffer): number {
    let rest = begun;
    let at = 0;
    const take = (length: number): void => {
      const end = Math.min(chunk.length, at + length - rest.length);
      if (end <= at) return;
      rest = Buffer.concat([rest, chunk.subarray(at, end)]);
      at = end;
    };
    take(FRAME_HEADER_BYTES);
    const enough = enoughOf(rest, 0);
    if (rest.length >= FRAME_HEADER_BYTES) take(enough);
    this.#rest = rest.length < enough ? rest : null;
    if (this.#rest === null) this.#hand(rest, 0, rest.length);
    return at;
  }

  /** The next part of a frame that was begun. Answers where what follows begins. */
  #goOn(begun: BegunFrame, chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + begun.leftBytes);
    const { type, connection, atNs } = begun;
    begun.leftBytes -= end - at;
    if (begun.leftBytes === 0) this.#begun = null;
    if (end > at) this.#onFrame({ type, flags: 0, connection, atNs, payload: chunk.subarray(at, end) });
    return end;
  }

  /** Hands on a frame from its header to an end, which may be before its own. */
  #hand(bytes: Buffer, at: number, end: number): void {
    const type = bytes[at + 4] as number;
    const connection = bytes.readUInt32LE(at + 8);
    const atNs = bytes.readDoubleLE(at + 12);
    const leftBytes = at + FRAME_HEADER_BYTES + bytes.readUInt32LE(at) - end;
    if (leftBytes > 0) this.#begun = { type, connection, atNs, leftBytes };
    const payload = bytes.subarray(at + FRAME_HEADER_BYTES, end);
    this.#onFrame({ type, flags: bytes[at + 5] as number, connection, atNs, payload });
  }
}

/** How much of a frame must be there before it is handed on, its header included. */
function enoughOf(bytes: Buffer, at: number): number {
  if (bytes.length - at < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
  const type = bytes[at + 4];
  const isTraffic = type === FRAME.clientBytes || type === FRAME.serverBytes;
  const payloadBytes = bytes.readUInt32LE(at);
  return FRAME_HEADER_BYTES + (isTraffic ? Math.min(payloadBytes, WHOLE_FRAME_BYTES) : payloadBytes);
}

/** What became of a connection's bytes up to two offsets. Settlements of a connection arrive in order. */
export type PipeSettlement = (
  | Fate
  | { readonly kind: 'opaque'; readonly because: null }
  | { readonly kind: 'pipelined'; readonly because: null }
  | { readonly kind: 'flushed'; readonly because: null }
) & {
  readonly connection: number;
  readonly clientEndOffset: number;
  readonly serverEndOffset: number;
  readonly exchanges: number;
};

/**
 * `opaque`: nothing further of this connection can be recorded, stop copying it. `pipelined`: its client has had
 * several requests under way, so it is not to be resumed after a loss. `flushed` answers a flush.
 */
const KINDS = ['recorded', 'lost', 'omitted', 'opaque', 'pipelined', 'flushed'] as const;

export function encodeSettlements(settlements: readonly PipeSettlement[]): Buffer {
  const bytes = Buffer.alloc(settlements.length * SETTLEMENT_BYTES);
  settlements.forEach((settlement, index) => {
    const at = index * SETTLEMENT_BYTES;
    bytes[at] = KINDS.indexOf(settlement.kind);
    bytes[at + 1] = becauseIndex(settlement);
    bytes.writeUInt32LE(settlement.connection, at + 4);
    bytes.writeDoubleLE(settlement.clientEndOffset, at + 8);
    bytes.writeDoubleLE(settlement.serverEndOffset, at + 16);
    bytes.writeUInt32LE(settlement.exchanges, at + 24);
  });
  return bytes;
}

function becauseIndex(settlement: PipeSettlement): number {
  if (settlement.kind === 'lost') return LOSS_REASONS.indexOf(settlement.because);
  if (settlement.kind === 'omitted') return OMISSION_CAUSES.indexOf(settlement.because);
  return 0;
}

/** Cuts the recorder's answers back into settlements. */
export class SettlementReader {
  readonly #onSettlement: (settlement: PipeSettlement) => void;
  #rest: Buffer | null = null;

  constructor(onSettlement: (settlement: PipeSettlement) => void) {
    this.#onSettlement = onSettlement;
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk;
    let at = 0;
    for (; bytes.length - at >= SETTLEMENT_BYTES; at += SETTLEMENT_BYTES)
      this.#onSettlement(decode(bytes, at));
    this.#rest = at < bytes.length ? bytes.subarray(at) : null;
  }
}

function decode(bytes: Buffer, at: number): PipeSettlement {
  const amounts = {
    connection: bytes.readUInt32LE(at + 4),
    clientEndOffset: bytes.readDoubleLE(at + 8),
    serverEndOffset: bytes.readDoubleLE(at + 16),
    exchanges: bytes.readUInt32LE(at + 24),
  };
  const kind = KINDS[bytes[at] as number] ?? 'recorded';
  const because = bytes[at + 1] as number;
  if (kind === 'lost') return { kind, because: LOSS_REASONS[because] ?? 'corrupt', ...amounts };
  if (kind === 'omitted') return { kind, because: OMISSION_CAUSES[because] ?? 'unparsed', ...amounts };
  return { kind, because: null, ...amounts };
}

/** Where a client connection came from; told to the recorder once, when it is announced. */
export interface ConnectionOrigin {
  /** The client's IP address, as its socket or a PROXY protocol header says; null if unknown. */
  readonly peer: string | null;
  /** Index of the pair of addresses it came in by. */
  readonly pair: number;
  /**
   * Number of the client connection where several fed connections share one: the gateway feeds each exchange by
   * itself. Null where the fed connection is the client's.
   */
  readonly clientConnection: number | null;
}

export const UNKNOWN_ORIGIN: ConnectionOrigin = { peer: null, pair: 0, clientConnection: null };

const HEADER_BYTES = 8;

/** Pair (u32), number of the client connection (u32, 0 for none: they begin at 1), address; little-endian. */
export function encodeOrigin({ pair, clientConnection, peer }: ConnectionOrigin): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + (peer?.length ?? 0));
  bytes.writeUInt32LE(pair, 0);
  bytes.writeUInt32LE(clientConnection ?? 0, 4);
  if (peer !== null) bytes.write(peer, HEADER_BYTES, 'latin1');
  return bytes;
}

/** The inverse; both ends are the same program. Nothing at all is the unknown origin. */
export function decodeOrigin(bytes: Uint8Array): ConnectionOrigin {
  if (bytes.length === 0) return UNKNOWN_ORIGIN;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const clientConnection = buffer.readUInt32LE(4);
  return {
    peer: bytes.length === HEADER_BYTES ? null : buffer.toString('latin1', HEADER_BYTES),
    pair: buffer.readUInt32LE(0),
    clientConnection: clientConnection === 0 ? null : clientConnection,
  };
}
