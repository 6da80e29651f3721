/** Where a client connection came from; told to the recorder once, when it is announced. */
export interface ConnectionOrigin {
  /** The client's IP address, as its socket or a PROXY protocol header says; null where there is none. */
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
