/** Every bound in one place. A limit that bites is counted and shown where it bites. */
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const LIMITS = {
  /** Of the proxy. */
  connections: 10_000,
  listenBacklog: 1_024,
  /** Held at most of what is read from a side only to learn whether its peer is still there. */
  probedBytes: 256 * KIB,
  /** A PROXY protocol header with all its extensions. */
  proxyHeaderBytes: 4 * KIB,
  /** A certificate, key or bundle of them. */
  tlsFileBytes: 4 * MIB,
  /** Proxy to recorder. */
  queueBytes: 32 * MIB,
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
  /** Half of the young generation: exchanges die young where it holds what comes between two commits. */
  recorderSemiSpaceMib: 16,
  recorderResidentBytes: 384 * MIB,

  /**
   * Redaction of bodies: nesting; what a content coding may unfold to, absolutely (as much as is kept of a body
   * without one) and, past a floor, as a multiple; frames of zstd in one body, at 20 µs each; values that are
   * hashed in one body, at 6 µs each; names of fields in one form, and of keys in what its values encode, at up to
   * 20 µs each; lines of an event.
   */
  jsonDepth: 128,
  decodedBodyBytes: 32 * MIB,
  decodedBodyFloorBytes: 1 * MIB,
  decodedBodyRatio: 100,
  zstdFrames: 4_096,
  hashedValues: 10_000,
  judgedNames: 10_000,
  eventLines: 10_000,
  contentCodings: 3,

  /** Capture. */
  blockSlots: 512,
  blockBytes: 1 * MIB,
  ownBlockBytes: 256 * KIB,
  commitDelayMs: 250,
  /**
   * So many exchanges are committed together, if the last commit is a while ago: what a commit does at a stretch,
   * others on its processor wait for.
   */
  commitExchanges: 64,
  commitSpacingMs: 25,
  /** A commit is due when so many blocks are full: fewer would be synced too often where thousands come a second. */
  commitBlocks: 4,
  segmentBytes: 1 * GIB,
  walBytes: 64 * MIB,
  maxDiskBytes: 10 * GIB,
  /** A quota below this could not hold an open segment with its log. */
  leastDiskBytes: 16 * MIB,
  /** Left free on the file system, or 1 % of it where that is less. */
  diskReserveBytes: 64 * MIB,
  /** Sealing rewrites a segment up to this size, which takes so much again for a moment. */
  compactedSegmentBytes: 2 * MIB,
  readPageRows: 256,
  blockCacheBytes: 16 * MIB,

  /** Probes, metrics and control. */
  probeConnections: 64,
  controlConnections: 16,
  requestHeadBytes: 8 * KIB,
  requestHeadMs: 5_000,
  recentExchanges: 20,

  /** Import. */
  importLineBytes: 64 * MIB,
  importRecordBytes: 1 * MIB,
  importPoolBytes: 512 * MIB,
  /** What a file may say of a body's size, and of times within an exchange (a year): sums of many stay exact. */
  importBodyBytes: 1024 * 1024 * MIB,
  importOffsetUs: 366 * 86_400_000_000,

  /** Replay. */
  readAheadBytes: 64 * MIB,
  readAheadRequests: 4_096,
  /** Follow-ups that wait for the request before them, over all senders. */
  heldFollowUps: 16_384,
  heldFollowUpBytes: 64 * MIB,
  /** The longest event of a stream that is read; twice as much is held of a stream at most. */
  answerEventBytes: 64 * KIB,
  /**
   * Comparing answers: of one answer, of all that are held or wait for it, answers that wait, how deep a document is
   * followed, and how long the last ones are waited for.
   */
  checkedAnswerBytes: 8 * MIB,
  checkBytes: 64 * MIB,
  checkQueue: 4_096,
  checkDrainMs: 60_000,
  checkRestarts: 3,
  inFlight: 10_000,
  /** Bodies that the target has not taken yet, over all senders. */
  inFlightBytes: 256 * MIB,
  senders: 16,
  /** Path of a unix socket: a longer one does not fit into the kernel's address of it. */
  socketPathBytes: 103,
  /** Recorded connections that are surely told apart at once when they are counted; twice as many may be held. */
  countedConnections: 65_536,
  rateOverPeak: 2,
  shards: 1_024,
  abortFailedShare: 0.5,
  abortWindowS: 30,
} as const;

/** Process supervision. */
export const SUPERVISION = {
  heartbeatMs: 1_000,
  /** How often the proxy writes its account: what it saw after that nobody knows if it is killed. */
  accountMs: 250,
  /** A recording writes its account all the time: after this without, it was killed, wherever nothing else says so. */
  accountWatchMs: 3_000,
  /** By the clock of whoever looks, which may be another host's: one written longer ago is not watched at all. */
  accountSilenceMs: 3_600_000,
  heartbeatLimitMs: 5_000,
  startLimitMs: 30_000,
  /** So long a resume waits to say how recording fares. */
  resumeWaitMs: 10_000,
  restartDelayMs: 200,
  /** With the half second that a start takes, what was repaired is recorded again within 5 s. */
  restartDelayMaxMs: 4_000,
  /** A recorder that recorded before it died is worth more attempts. */
  restartDelayWorkingMaxMs: 1_000,
  /** For what is under way in a proxy that met an error of its own, before it ends. */
  faultDrainMs: 2_000,
  /** A recorder that lived this long is well: the next pause is the shortest again. */
  calmMs: 10_000,
  /** So many deaths before a first commit within the window, and only now and then another one is tried. */
  deathsBeforeOff: 5,
  deathWindowMs: 600_000,
  offProbeMs: 60_000,
  drainDelayMs: 5_000,
  drainDeadlineMs: 20_000,
  /** For the last commit and the end of the segment; then the recorder is killed. */
  recorderStopMs: 15_000,
  /** For what is over to end by itself. */
  lingerMs: 1_000,
  /** For the sealer at the end; what it does not finish, the next start does. */
  sealMs: 30_000,
  /** For the command that ships segments, after that, until it is told to end; the rest is for the next start as well. */
  sealHookMs: 20_000,
  /** For a command that is told to end to do so, and again for what it said last. */
  commandGraceMs: 1_000,
  /** For the recorder to settle what it was handed, at the end. */
  flushMs: 5_000,
} as const;

/** Time that the wire plane gives to what is not traffic yet, or no longer. */
export const WIRE = {
  /** From the connect to the end of the upstream's TLS handshake. */
  connectMs: 10_000,
  /** For a client's TLS handshake, and for its PROXY protocol header. */
  handshakeMs: 10_000,
  proxyHeaderMs: 5_000,
  /** How often a side that hears nothing is asked whether its peer is still there. */
  probeMs: 100,
  /** For what a peer had said before it reset the connection; with the asking, a reset is passed on within 250 ms. */
  readOutMs: 100,
  /** For the first line of a client whose upstream cannot be reached, and to read its refusal. */
  refusalMs: 10_000,
  refusalLingerMs: 2_000,
  /** Silence after which a peer is asked by the kernel: nobody else would notice one that lost its power. */
  keepAliveMs: 600_000,
  /** How often it is looked whether a certificate was replaced. */
  certificateCheckMs: 30_000,
} as const;
