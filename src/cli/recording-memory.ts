const KIB = 1024;
const MIB = 1024 * KIB;

/** The proxy with its queue to the recorder and what is passing through, and the recorder at most. */
export const RECORDING_BYTES = (128 + 64 + 30 + 384) * MIB;
/** Of one whose reader has stopped. */
const CONNECTION_BYTES = 64 * KIB;
/** For what runs beside it in the same limit: what `--on-seal` starts, a health check, a `/tmp` of memory. */
const BESIDE_BYTES = 200 * MIB;

/** What its limit of memory should be at least, for so many connections in all. */
export function leastMemoryBytes(connections: number): number {
  return RECORDING_BYTES + connections * CONNECTION_BYTES + BESIDE_BYTES;
}
