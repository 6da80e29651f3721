export const FRAME_TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const FRAME_FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

/** One frame as it stands on the wire. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function settingsFrame(...settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const entries = settings.map(([id, value]) => Buffer.concat([Buffer.from([0, id]), uint32(value)]));
  return frame(FRAME_TYPE.settings, 0, 0, Buffer.concat(entries));
}

export interface BlockForm {
  /** Bytes of padding; null for none. */
  readonly padding?: number | null;
  readonly priority?: boolean;
  readonly endStream?: boolean;
  /** Into how many frames it is divided. */
  readonly fragments?: number;
}

/** A header block as HEADERS and CONTINUATION frames. */
export function headerFrames(stream: number, block: Buffer, form: BlockForm = {}): Buffer {
  const { padding = null, priority = false, endStream = false, fragments = 1 } = form;
  const size = Math.max(1, Math.ceil(block.length / fragments));
  const pieces = Array.from({ length: fragments }, (_, at) => block.subarray(at * size, (at + 1) * size));
  return Buffer.concat(
    pieces.map((piece, at) => {
      const ends = at === pieces.length - 1 ? FRAME_FLAG.endHeaders : 0;
      if (at > 0) return frame(FRAME_TYPE.continuation, ends, stream, piece);
      const flags = ends | (endStream ? FRAME_FLAG.endStream : 0) | (priority ? FRAME_FLAG.priority : 0);
      const payload = Buffer.concat([priority ? Buffer.from([0, 0, 0, 0, 15]) : Buffer.alloc(0), piece]);
      return padded(FRAME_TYPE.headers, flags, stream, payload, padding);
    }),
  );
}

export function dataFrame(
  stream: number,
  bytes: Buffer,
  { padding = null, endStream = false }: Pick<BlockForm, 'padding' | 'endStream'> = {},
): Buffer {
  return padded(FRAME_TYPE.data, endStream ? FRAME_FLAG.endStream : 0, stream, bytes, padding);
}

function padded(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer,
  padding: number | null,
): Buffer {
  if (padding === null) return frame(type, flags, stream, payload);
  const whole = Buffer.concat([Buffer.from([padding]), payload, Buffer.alloc(padding)]);
  return frame(type, flags | FRAME_FLAG.padded, stream, whole);
}

/** Cuts bytes into pieces at the given shares of their length. */
export function cut(bytes: Buffer, shares: readonly number[]): Buffer[] {
  const places = shares.map((share) => Math.floor(share * bytes.length)).sort((a, b) => a - b);
  return [0, ...places].map((from, at) => bytes.subarray(from, places[at] ?? bytes.length));
}
