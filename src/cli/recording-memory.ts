const KIB = 1024;
const MIB = 1024 * KIB;

/** Supervisor, recorder, and a sealer now and then. */
const ONCE_BYTES = (128 + 384 + 100) * MIB;
/** One with its queue to the recorder, and what is passing through. */
const FORWARDER_BYTES = (128 + 64 + 30) * MIB;
/** Of one whose reader has stopped. */
const CONNECTION_BYTES = 64 * KIB;
/** For what runs beside it in the same limit: what `--on-seal` starts, a health check, a `/tmp` of memory. */
const BESIDE_BYTES = 200 * MIB;

/** What a recording in the wire plane holds at most, without its connections. */
export function recordingBytes(forwarders: number): number {
  return ONCE_BYTES + forwarders * FORWARDER_BYTES;
}

/** What its limit of memory should be at least, for so many connections in all. */
export function leastMemoryBytes(forwarders: number, connections: number): number {
  return recordingBytes(forwarders) + connections * CONNECTION_BYTES + BESIDE_BYTES;
}
