import type { LossReason } from '../../core/accounting.ts';
import type { Fate } from './counters.ts';

/**
 * The format of the pipe between the proxy and the recorder. Both ends are the same version of the same program, so
 * the layout has no version number. Integers are little-endian.
 *
 *   proxy → recorder       header (20 bytes)                         payload
 *   ┌──────────┬──────┬────────────┬──────────────┬────────────┬────────┬──────────┐
 *   │ length 4 │ type │ turn start │ all answered │ reserved 1 │ conn 4 │ atNs f64 │  `length` bytes
 *   └──────────┴──────┴────────────┴──────────────┴────────────┴────────┴──────────┘
 *
 *   recorder → proxy       the settlements of a commit, as one line of JSON
 *
 * A traffic frame carries the bytes of one read of a socket. Everything else is a message in JSON. A connection has one
 * message when it opens and one when it closes, and more after losses.
 */
export const FRAME_HEADER_BYTES = 20;

export const FRAME = { message: 0, clientBytes: 1, serverBytes: 2 } as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export interface FrameHead {
  readonly type: FrameType;
  readonly turnStart: boolean;
  /** Whether a turn starts here and every earlier request is known to be answered. */
  readonly allAnswered: boolean;
  readonly connection: number;
  readonly atNs: number;
}

export interface Frame extends FrameHead {
  /** Valid only during the call that hands it over. */
  readonly payload: Buffer;
}

/**
 * How a connection ended. `…_end`: that side closed it properly. `…_reset`: that side ended it in another way.
 * `shutdown`: we cut it at the drain deadline. `timed_out`: the gateway ended it, because its upstream took too long.
 */
export type CloseCause =
  | 'client_end'
  | 'client_reset'
  | 'server_end'
  | 'server_reset'
  | 'shutdown'
  | 'timed_out';

/** Where a client connection came from. Sent to the recorder once, when the connection is announced. */
export interface ConnectionOrigin {
  /** The client's IP address, as its socket or a PROXY protocol header says; null if unknown. */
  readonly peer: string | null;
  /** Index of the pair whose listener accepted it. */
  readonly pair: number;
  /**
   * Number of the client connection if several fed connections share one: the gateway feeds each exchange separately.
   * Null if the fed connection is the client's own.
   */
  readonly clientConnection: number | null;
}

export const UNKNOWN_ORIGIN: ConnectionOrigin = { peer: null, pair: 0, clientConnection: null };

/** Bytes of each direction, since the connection began or within a gap. */
interface Amounts {
  readonly clientBytes: number;
  readonly serverBytes: number;
}

/** Position of a connection when it is announced to the recorder. The bytes before that were not recorded. */
export interface ConnectionStart extends Amounts {
  readonly origin: ConnectionOrigin;
}

/** Messages to the recorder besides traffic. */
export type PipeMessage =
  | ({ readonly kind: 'open' } & ConnectionStart)
  /** Bytes were shed here. */
  | ({ readonly kind: 'gap'; readonly reason: LossReason } & Amounts)
  | { readonly kind: 'clientEnd' }
  | { readonly kind: 'serverEnd' }
  /** With the totals of the connection. */
  | ({ readonly kind: 'close'; readonly cause: CloseCause } & Amounts)
  /**
   * Requests that everything before it is committed and settled. The answer is a `flushed` settlement with this number
   * in place of a connection. Only the last of several requests is answered.
   */
  | { readonly kind: 'flush'; readonly number: number };

export function encodeMessage(message: PipeMessage): Buffer {
  return Buffer.from(JSON.stringify(message));
}

export function decodeMessage(payload: Buffer): PipeMessage {
  return JSON.parse(payload.toString()) as PipeMessage;
}

export function writeFrameHeader(into: Buffer, at: number, head: FrameHead, payloadBytes: number): void {
  into.writeUInt32LE(payloadBytes, at);
  into[at + 4] = head.type;
  into[at + 5] = head.turnStart ? 1 : 0;
  into[at + 6] = head.allAnswered ? 1 : 0;
  into[at + 7] = 0;
  into.writeUInt32LE(head.connection, at + 8);
  into.writeDoubleLE(head.atNs, at + 12);
}

/** Splits a byte stream into frames, and passes them to the consumer, complete and in order. */
export class FrameReader {
  readonly #onFrame: (frame: Frame) => void;
  /** A copy of the incomplete frame. */
  #rest: Buffer | null = null;

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#rest !== null) at += this.#complete(this.#rest, chunk.subarray(at));
      else {
        const end = at + frameBytes(chunk, at);
        if (end <= chunk.length) this.#hand(chunk, at, end);
        else this.#rest = Buffer.from(chunk.subarray(at));
        at = end;
      }
    }
  }

  /**
   * Adds missing bytes to a frame. Its header is completed first, because that contains the length. Returns the number
   * of bytes taken.
   */
  #complete(rest: Buffer, bytes: Buffer): number {
    const added = bytes.subarray(0, frameBytes(rest, 0) - rest.length);
    const frame = Buffer.concat([rest, added]);
    this.#rest = frame.length < frameBytes(frame, 0) ? frame : null;
    if (this.#rest === null) this.#hand(frame, 0, frame.length);
    return added.length;
  }

  /** Passes on the frame between two positions of these bytes. */
  #hand(bytes: Buffer, at: number, end: number): void {
    this.#onFrame({
      type: bytes[at + 4] as FrameType,
      turnStart: bytes[at + 5] === 1,
      allAnswered: bytes[at + 6] === 1,
      connection: bytes.readUInt32LE(at + 8),
      atNs: bytes.readDoubleLE(at + 12),
      payload: bytes.subarray(at + FRAME_HEADER_BYTES, end),
    });
  }
}

/** Length of the frame that begins at `at`. If its header is incomplete, the length of the header. */
function frameBytes(bytes: Buffer, at: number): number {
  if (bytes.length - at < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
  return FRAME_HEADER_BYTES + bytes.readUInt32LE(at);
}

/**
 * The fate of a connection's bytes up to two offsets. Settlements of a connection arrive in order.
 *
 * `opaque`: nothing more of this connection can be recorded, so copying stops. `flushed` answers a flush.
 */
export type PipeSettlement = (
  | Fate
  | { readonly kind: 'opaque'; readonly because: null }
  | { readonly kind: 'flushed'; readonly because: null }
) & {
  readonly connection: number;
  readonly clientEndOffset: number;
  readonly serverEndOffset: number;
  readonly exchanges: number;
};

export function encodeSettlements(settlements: readonly PipeSettlement[]): string {
  return `${JSON.stringify(settlements)}\n`;
}

export class SettlementReader {
  readonly #onSettlement: (settlement: PipeSettlement) => void;
  #rest = '';

  constructor(onSettlement: (settlement: PipeSettlement) => void) {
    this.#onSettlement = onSettlement;
  }

  /** Our JSON is ASCII, so no chunk ends within a character. */
  push(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) (JSON.parse(line) as PipeSettlement[]).forEach(this.#onSettlement);
  }
}
