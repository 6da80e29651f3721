/** Every bound in one place. A limit that bites is counted and shown where it bites. */
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const LIMITS = {
  /** Forwarder. */
  connections: 10_000,
  listenBacklog: 1_024,
  /** Forwarder to recorder. */
  slabBytes: 64 * KIB,
  slabBudgetBytes: 64 * MIB,
  flushDelayMs: 5,

  /** Assembly. */
  headBytes: 256 * KIB,
  headerLines: 2_000,
  chunkLineBytes: 4 * KIB,
  trailerBytes: 64 * KIB,
  pipelinedRequests: 1_000,
  heldClientBytes: 1 * MIB,
  /** What is charged for an open exchange, and for a held piece, beside their bytes. */
  openExchangeBytes: 2 * KIB,
  heldPieceBytes: 256,
  chunkTimesPerBody: 16_384,
  requestBodyBytes: 32 * MIB,
  responseBodyBytes: 1 * MIB,
  assemblyBudgetBytes: 96 * MIB,
  recorderHeapMib: 128,
  recorderResidentBytes: 384 * MIB,

  /** Redaction of bodies: nesting, and what a content coding may unfold to (the share, past a floor). */
  jsonDepth: 128,
  decodedBodyBytes: 64 * MIB,
  decodedBodyFloorBytes: 1 * MIB,
  decodedBodyRatio: 100,
  contentCodings: 3,

  /** Capture. */
  blockSlots: 512,
  blockBytes: 1 * MIB,
  ownBlockBytes: 256 * KIB,
  commitDelayMs: 250,
  segmentBytes: 1 * GIB,
  walBytes: 64 * MIB,
  maxDiskBytes: 10 * GIB,
  /** Left free on the file system, or 1 % of it where that is less. */
  diskReserveBytes: 64 * MIB,
  /** Sealing rewrites a segment up to this size, which takes so much again for a moment. */
  compactedSegmentBytes: 2 * MIB,
  readPageRows: 256,
  blockCacheBytes: 32 * MIB,

  /** Import. */
  importLineBytes: 64 * MIB,
  importRecordBytes: 1 * MIB,
  importPoolBytes: 512 * MIB,

  /** Replay. */
  readAheadBytes: 64 * MIB,
  readAheadRequests: 4_096,
  inFlight: 10_000,
  rateOverPeak: 2,
  abortFailedShare: 0.5,
  abortWindowS: 30,
} as const;

/** Process supervision. */
export const SUPERVISION = {
  heartbeatMs: 1_000,
  heartbeatLimitMs: 5_000,
  restartDelayMs: 200,
  restartDelayMaxMs: 5_000,
  drainDeadlineMs: 20_000,
  /** For the last commit and the end of the segment; then the recorder is killed. */
  recorderStopMs: 15_000,
  /** For a forwarder that has said its last word to end by itself. */
  lingerMs: 1_000,
  /** For the recorder to settle what it was handed before the forwarder goes. */
  flushMs: 5_000,
} as const;
