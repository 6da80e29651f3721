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

export function encodeOrigin(origin: ConnectionOrigin): Buffer {
  return Buffer.from(JSON.stringify(origin), 'utf8');
}

/** The inverse; both ends are the same program. Nothing at all is the unknown origin. */
export function decodeOrigin(bytes: Uint8Array): ConnectionOrigin {
  return bytes.length === 0
    ? UNKNOWN_ORIGIN
    : (JSON.parse(Buffer.from(bytes).toString('utf8')) as ConnectionOrigin);
}
