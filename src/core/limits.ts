import { KIB, MIB } from './units.ts';

/** All limits in one place. A limit that is reached is counted and shown. */
const GIB = 1024 * MIB;

export const LIMITS = {
  /** Proxy. */
  connections: 10_000,
  listenBacklog: 1_024,
  /** Most bytes buffered from a side that is read only to detect whether its peer is still there. */
  probedBytes: 256 * KIB,
  /** A PROXY protocol header with all its extensions. */
  proxyHeaderBytes: 4 * KIB,
  /** Relay of faults: bytes that one direction of a connection may hold back; more is not read. */
  faultHeldBytes: 4 * MIB,
  faultHeadsBytes: 64 * MIB,
  faults: 100,
  faultProxies: 100,
  faultBodyBytes: 1 * MIB,
  faultCounts: 1_000,
  /** Until a proxy that could not listen again is tried once more. */
  faultRetryMs: 500,
  /** Requests after a planned fault that are looked at for the time to recover. */
  recoveryRequests: 200_000,
  /** A certificate, key or bundle of them. */
  tlsFileBytes: 4 * MIB,
  /** Proxy to recorder. A closed loop of small requests fills half of it while the recorder waits for a slow disk. */
  queueBytes: 64 * MIB,
  /** Frames that fill a block are written after this; what comes meanwhile goes with them. */
  fullFlushDelayMs: 5,
  /** Fewer wait for more: at 50 requests/s, each wake of the recorder costs more than all that it is woken for. */
  flushDelayMs: 50,

  /** Exchanges that `inspect` counts by route, model and status, and names of each that it gives: of a large capture a sample. */
  mixedExchanges: 50_000,
  mixedSegments: 48,
  mixedNames: 200,
  /** Requests that `show` lists, and bytes of a body that it prints. */
  shownRequests: 10_000,
  shownBodyBytes: 64 * KIB,

  /** Exchanges looked at before a start for recorded answers that can be compared; past it the run decides. */
  probedExchanges: 20_000,

  /** Assembly. */
  headBytes: 256 * KIB,
  headerLines: 2_000,
  chunkLineBytes: 4 * KIB,
  trailerBytes: 64 * KIB,
  pipelinedRequests: 1_000,
  heldClientBytes: 1 * MIB,
  /** Memory charged for an open exchange, and for a buffered piece, besides their bytes. */
  openExchangeBytes: 2 * KIB,
  heldPieceBytes: 256,
  chunkTimesPerBody: 16_384,
  requestBodyBytes: 32 * MIB,
  responseBodyBytes: 1 * MIB,
  assemblyBudgetBytes: 96 * MIB,
  recorderHeapMib: 128,
  recorderResidentBytes: 384 * MIB,

  /**
   * Body redaction, in order:
   * - nesting depth
   * - size without content coding, at some 20 MB a second: nothing else is recorded meanwhile; and for coded
   *   bodies as a multiple of their own size, above a floor
   * - zstd frames per body, 20 µs each
   * - hashed values per body, 6 µs each
   * - field names per form, and keys inside its values, up to 20 µs each
   * - lines per event
   */
  jsonDepth: 128,
  maskedBodyBytes: 8 * MIB,
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
   * Exchanges in one commit, if the last commit is some time ago. A commit blocks other work on its
   * processor.
   */
  commitExchanges: 64,
  commitSpacingMs: 25,
  /**
   * A commit is due when this many blocks are full. Fewer would sync too often at thousands of exchanges a
   * second.
   */
  commitBlocks: 4,
  segmentBytes: 1 * GIB,
  walBytes: 64 * MIB,
  maxDiskBytes: 10 * GIB,
  /** A smaller quota could not hold an open segment with its log. */
  leastDiskBytes: 16 * MIB,
  /** Free space to leave on the file system, or 1 % of it if that is less. */
  diskReserveBytes: 64 * MIB,
  /** Sealing rewrites segments up to this size, which briefly doubles their space. */
  compactedSegmentBytes: 2 * MIB,
  readPageRows: 256,
  blockCacheBytes: 16 * MIB,

  /** Probes, metrics and control. */
  /** A probe has to send its head before as many others come: a busy kubelet takes some tens of milliseconds. */
  probeConnections: 128,
  controlConnections: 16,
  requestHeadBytes: 8 * KIB,
  requestHeadMs: 2_000,
  /** Between two requests of one connection. */
  idleProbeMs: 5_000,
  recentExchanges: 20,

  /** Import. */
  importLineBytes: 64 * MIB,
  importRecordBytes: 1 * MIB,
  importPoolBytes: 512 * MIB,
  /**
   * Limits of an imported file, so that sums stay exact: bytes of a body, and time within an exchange (a
   * year).
   */
  importBodyBytes: 1024 * 1024 * MIB,
  importOffsetUs: 366 * 86_400_000_000,

  /** Analysis: parts of one `{*model}` objective. Each holds about 200 kB of histograms, of streams 300 kB. */
  slices: 50,

  /**
   * Mock, in order:
   * - recorded answers in the index, some 300 bytes each
   * - bytes of requests and answers held at one time
   * - answers that are sent or waited for at one time
   * - how long a client may not read
   */
  mockAnswers: 1_000_000,
  mockHeldBytes: 256 * MIB,
  mockInFlight: 10_000,
  mockStallMs: 60_000,

  /** Replay. */
  readAheadBytes: 64 * MIB,
  readAheadRequests: 4_096,
  /** Follow-ups waiting for the request before them, over all senders. */
  heldFollowUps: 16_384,
  heldFollowUpBytes: 64 * MIB,
  /** The longest event of a stream that is read. A stream buffers at most twice this. */
  answerEventBytes: 64 * KIB,
  /**
   * Comparing answers, in order:
   * - bytes of one answer
   * - bytes of all pending answers
   * - number of pending answers
   * - depth of a document
   * - how long to wait for the last ones
   */
  checkedAnswerBytes: 8 * MIB,
  checkBytes: 64 * MIB,
  checkQueue: 4_096,
  checkDrainMs: 60_000,
  checkRestarts: 3,
  inFlight: 10_000,
  /** Bytes of bodies that the target has not taken yet, over all senders. */
  inFlightBytes: 256 * MIB,
  senders: 16,
  /** Longest path of a unix socket that fits the kernel's address. */
  socketPathBytes: 103,
  /** Recorded connections counted exactly at one time. At most twice as many are held. */
  countedConnections: 65_536,
  rateOverPeak: 2,
  shards: 1_024,
  abortFailedShare: 0.5,
  abortWindowS: 30,

  /**
   * Monitors, in order:
   * - sources of a run
   * - series of a source
   * - bytes of one answer
   * - values kept of a run, 30 bytes each on disk
   * - processes of a tree
   * - how long a look may take, at least and at most, for any interval
   * - how long the scrape of a Prometheus after the run is waited for
   */
  monitors: 64,
  monitoredSeries: 256,
  monitorBodyBytes: 16 * MIB,
  monitoredValues: 10_000_000,
  monitoredProcesses: 1_024,
  monitorLookMs: 2_000,
  monitorLookMaxMs: 10_000,
  monitorScrapeMs: 30_000,
} as const;

/** Process supervision. */
export const SUPERVISION = {
  heartbeatMs: 1_000,
  /** Of a recorder with an empty queue. */
  recorderNiceness: 10,
  proxyNiceness: -10,
  /** How often the proxy writes its account. If it is killed, what it saw after the last one is unknown. */
  accountMs: 250,
  /**
   * A recording writes its account continuously. Without a write for this long it counts as killed, unless
   * other signs exist.
   */
  accountWatchMs: 3_000,
  /**
   * An account file older than this is not watched at all. The age uses the reader's clock, which may be
   * another host's.
   */
  accountSilenceMs: 3_600_000,
  /** Processor time that a recorder may get, or time that it may be stopped, without a word. */
  heartbeatLimitMs: 5_000,
  /** The same until it records for the first time. */
  startLimitMs: 30_000,
  /** How long a silent recorder may sleep, in commits on a slow disk. Without /proc, how long it may be silent. */
  asleepLimitMs: 120_000,
  /** After this silence the log says what the recorder waits for. */
  slowRecorderMs: 10_000,
  /** How long a resume waits to report the recorder's state. */
  resumeWaitMs: 10_000,
  restartDelayMs: 200,
  /** With the half second of a start, recording resumes within 5 s after a repair. */
  restartDelayMaxMs: 4_000,
  /** A recorder that had recorded before it died is retried more often. */
  restartDelayWorkingMaxMs: 1_000,
  /** Time for open connections in a proxy that met an internal error, before it exits. */
  faultDrainMs: 2_000,
  /** A recorder that lived this long is healthy: the restart delay is reset to the shortest. */
  calmMs: 10_000,
  /** After this many deaths before a first commit within the window, restarts become rare. */
  deathsBeforeOff: 5,
  deathWindowMs: 600_000,
  offProbeMs: 60_000,
  drainDelayMs: 5_000,
  drainDeadlineMs: 20_000,
  /** Time for the last commit and the end of the segment. Then the recorder is killed. */
  recorderStopMs: 15_000,
  /** Time for something finished to exit by itself. */
  lingerMs: 1_000,
  /** Time for the sealer at the end. The next start finishes the rest. */
  sealMs: 30_000,
  /**
   * Time after that for the command that ships segments, before it gets a signal. The next start ships the
   * rest.
   */
  sealHookMs: 20_000,
  /** Time for a command to exit after a signal, and again for its last output. */
  commandGraceMs: 1_000,
  /** Time for the recorder to settle its pending input at the end. */
  flushMs: 5_000,
} as const;

/** The mirror of a recorder. */
export const MIRROR = {
  inFlight: 64,
  timeoutMs: 30_000,
  /** Of request bodies that are under way. */
  heldBytes: 16 * MIB,
  /** Read of one answer. */
  answerBytes: 64 * MIB,
  /** Pairs of different statuses that are told apart. */
  statusPairs: 50,
  /** Idle connections are given up before servers close theirs. */
  idleMs: 1_500,
  resolveMs: 30_000,
  /** How often its document is written into the capture. */
  documentMs: 10_000,
} as const;

/** Time limits of the wire plane outside of traffic. */
export const WIRE = {
  /** From connect to the end of the upstream's TLS handshake. */
  connectMs: 10_000,
  connectRetryMs: 3_000,
  /** How often a target that refuses is asked whether it accepts, and one that is watched while it accepts. */
  targetRetryMs: 50,
  targetWatchMs: 1_000,
  /** Kept of what a client says while its target is asked again; then it is not read for so long. */
  unsentBytes: 64 * KIB,
  /** For a client's TLS handshake, and for its PROXY protocol header. */
  handshakeMs: 10_000,
  proxyHeaderMs: 5_000,
  /** How often an idle side is checked for a live peer. */
  probeMs: 100,
  /**
   * For reading what a peer sent before it reset the connection. With the check, a reset is passed on within
   * 250 ms.
   */
  readOutMs: 100,
  /** For the first line of a client whose upstream cannot be reached, and for it to read the refusal. */
  refusalMs: 10_000,
  refusalLingerMs: 2_000,
  /** Idle time before TCP keep-alive probes, which detect a peer that lost power. */
  keepAliveMs: 600_000,
  /** How often certificates are checked for replacement. */
  certificateCheckMs: 30_000,
} as const;
