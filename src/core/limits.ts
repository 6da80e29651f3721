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
  /** Fault relay: bytes that one direction of a connection may hold back. Beyond that it is not read. */
  faultHeldBytes: 4 * MIB,
  faultHeadsBytes: 64 * MIB,
  faults: 100,
  faultProxies: 100,
  faultBodyBytes: 1 * MIB,
  faultCounts: 1_000,
  /** Delay before a proxy that could not listen again is retried. */
  faultRetryMs: 500,
  /** Requests after a planned fault that are examined for the time to recover. */
  recoveryRequests: 200_000,
  /** Size of a certificate, a key or a bundle. */
  tlsFileBytes: 4 * MIB,
  /** Proxy to recorder. A closed loop of small requests fills half of it while the recorder waits for a slow disk. */
  queueBytes: 64 * MIB,
  /** Frames that fill a block are written after this delay, together with frames that arrive meanwhile. */
  fullFlushDelayMs: 5,
  /**
   * Fewer frames wait this long for more. At 50 requests/s, waking the recorder costs more than its work on the frames.
   */
  flushDelayMs: 50,

  /**
   * Sample of a large capture that `inspect` counts by route, model and status: exchanges, and segments. Then the
   * number of names that it lists of each.
   */
  mixedExchanges: 50_000,
  mixedSegments: 48,
  mixedNames: 200,
  /** Requests that `show` lists, and bytes of a body that it prints. */
  shownRequests: 10_000,
  shownBodyBytes: 64 * KIB,

  /**
   * Exchanges read before a run to find sendable requests and comparable answers. If that is not enough, the run
   * decides.
   */
  probedExchanges: 20_000,

  /**
   * Ranking of windows: their number, the models and routes that are compared, and the kinds of requests with an
   * expected service time of their own.
   */
  rankedWindows: 200_000,
  rankedNames: 64,
  requestKinds: 4_096,
  /** Requests in a row that an explanation examines, and values of each monitored series. */
  explainedRequests: 50_000,
  explainedValues: 20_000,

  /**
   * HTTP/2, in order:
   * - the fields of one header list, each with 32 bytes on top (RFC 9113 section 6.5.2), and a coded header block
   * - continuations of one header block
   * - the dynamic header table of one direction
   * - header lists of one direction together, as a multiple of all its bytes: one byte can name a field of kilobytes; and
   *   the most of that which is left for later
   * - a server's first bytes that are held back from the recorder until the client has begun too
   * - streams of one connection that are followed at one time, and of all connections together
   */
  headerListBytes: 256 * KIB,
  headerContinuations: 1_024,
  headerTableBytes: 64 * KIB,
  headerGrowth: 256,
  headerCreditBytes: 16 * MIB,
  unprefacedBytes: 16 * KIB,
  connectionStreams: 2_048,
  openStreams: 32_768,

  /** Assembly. */
  headBytes: 256 * KIB,
  interimHeadBytes: 4 * KIB,
  headerLines: 2_000,
  chunkLineBytes: 4 * KIB,
  trailerBytes: 64 * KIB,
  pipelinedRequests: 1_000,
  heldClientBytes: 1 * MIB,
  /** Memory charged for an open exchange, and for a buffered piece, besides their bytes. */
  openExchangeBytes: 2 * KIB,
  heldPieceBytes: 256,
  chunkTimesPerBody: 16_384,
  /**
   * How much of a request and of an answer is searched for links, and how many links an exchange may have. That part of
   * an answer is held in memory, whatever is stored of it, and must leave room for bodies.
   */
  linkedRequestBytes: 4 * MIB,
  linkedAnswerBytes: 64 * KIB,
  /** The most that a compressed request may have, decompressed, to be searched for links. */
  linkedDecodedBytes: 1 * MIB,
  linksPerExchange: 1_024,
  /** Sessions whose answers are held until their next request, when links are found in a capture. */
  linkedSessions: 10_000,
  /** Prefixes of prompts that are remembered to find how much of later ones is the same; about 32 MiB. */
  promptPrefixes: 3_000_000,
  requestBodyBytes: 32 * MIB,
  responseBodyBytes: 1 * MIB,
  assemblyBudgetBytes: 96 * MIB,
  recorderHeapMib: 128,
  recorderResidentBytes: 384 * MIB,

  /**
   * Body redaction, in order:
   * - nesting depth
   * - size after content decoding. Masking takes a second for about 20 MB, and nothing else is recorded meanwhile
   * - for coded bodies: a floor for that size, and above the floor a multiple of the coded size
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
  /** Values of one protobuf message that are read for facts or shown; and a file that describes messages. */
  messageValues: 10_000,
  descriptorSetBytes: 16 * MIB,

  /** Capture. */
  blockSlots: 512,
  blockBytes: 1 * MIB,
  ownBlockBytes: 256 * KIB,
  commitDelayMs: 250,
  /**
   * A commit is due with this many exchanges, once the oldest has waited for `commitSpacingMs`. If the last commit took
   * longer, that time counts instead. A commit blocks other work on its processor.
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
  /**
   * A new connection replaces the oldest. So a probe must send its head before this many others arrive. A busy kubelet
   * takes tens of milliseconds.
   */
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

  /** Analysis: parts of one `{*model}` objective. Each holds about 200 kB of histograms, or 300 kB for streams. */
  slices: 50,

  /**
   * Mock, in order:
   * - recorded answers in the index, some 300 bytes each
   * - bytes of requests and answers held at one time
   * - answers that are sent or waited for at one time
   * - how long a client may stop reading
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
  /**
   * Live values of sessions: links of a window that are known, bytes of an answer that is searched for values, and what
   * each sender holds: exchanges, bytes of their values, sessions, and bytes of one session's cookies.
   */
  liveLinks: 1_000_000,
  issuingAnswerBytes: 1 * MIB,
  liveExchanges: 131_072,
  liveValueBytes: 64 * MIB,
  liveSessions: 65_536,
  liveCookieBytes: 16 * KIB,
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
  /** What one sender thread cannot reach: the HTTP client sends some 16,000 requests of 2 KB a second. */
  sendsPerSecond: 20_000,
  shards: 1_024,
  abortFailedShare: 0.5,
  abortWindowS: 30,

  /**
   * Monitors, in order:
   * - sources of a run
   * - series of a source
   * - bytes of one answer
   * - values kept per run, 30 bytes each on disk
   * - processes of a tree
   * - time limit of one look: the interval, but at least the first value and at most the second
   * - how long to wait after the run for a scrape by Prometheus
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
  /** Niceness of a recorder with an empty queue. */
  recorderNiceness: 10,
  proxyNiceness: -10,
  /** Niceness of the threads of a replay that keep time and send. */
  sendingNiceness: -10,
  /** How often the proxy writes its account. If it is killed, the traffic after its last account is unknown. */
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
  /** Processor time that a recorder may use without a message, and time that it may be stopped without one. */
  heartbeatLimitMs: 5_000,
  /** The processor time until it records for the first time. */
  startLimitMs: 30_000,
  /**
   * How long a silent recorder may sleep, for example in a commit on a slow disk. Without /proc: how long it may be
   * silent.
   */
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
  /** A started server has this long to listen; large models are loaded before. */
  commandListensMs: 600_000,
  /** How often it is looked for, and how long its ports must be the same ones: some servers open several. */
  commandPollMs: 100,
  commandSettlesMs: 500,
  /** How long a started server that cannot be recorded has to end, before it is killed. */
  commandEndsMs: 10_000,
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
  /** Time for a short last step, such as the exit of a finished process. */
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
  /** Bytes of request bodies in flight. */
  heldBytes: 16 * MIB,
  /** Bytes read of one answer. */
  answerBytes: 64 * MIB,
  /** Pairs of different statuses that are counted separately. */
  statusPairs: 50,
  /** Idle connections are closed after this time, before the server would close them. */
  idleMs: 1_500,
  resolveMs: 30_000,
  /** How often its document is written into the capture. */
  documentMs: 10_000,
} as const;

/** What is asked of a server about itself. */
export const SERVER_DETAILS = {
  /** Bytes read of one answer. */
  answerBytes: MIB,
  requestMs: 4_000,
  /** For all requests of one look together. */
  lookMs: 10_000,
  /** Models that are asked about one by one. */
  models: 8,
  /** Fields that are kept of one answer, and the characters of a value. */
  fields: 256,
  valueChars: 200,
  /** Places of a recording: clients choose the names of models in paths. */
  places: 64,
  /** How deep an answer is nested at most. */
  depth: 8,
  /** Servers of a recording that are asked. */
  servers: 8,
  /** How often a recorder asks again: after an answer, and while there is none. */
  againMs: 3_600_000,
  retryMs: 60_000,
  /** How often a recorder reads the heads of an answer for what they say of the server. */
  headMs: 1_000,
} as const;

/** Time limits of the wire plane outside of traffic. */
export const WIRE = {
  /** From connect to the end of the upstream's TLS handshake. */
  connectMs: 10_000,
  connectRetryMs: 3_000,
  /** How often to test whether a refusing target accepts again, and whether a watched target still accepts. */
  targetRetryMs: 50,
  targetWatchMs: 1_000,
  /** Client bytes that are kept while its target is tried again. Beyond that, the client is not read until then. */
  unsentBytes: 64 * KIB,
  /** Time for a client's TLS handshake, and for its PROXY protocol header. */
  handshakeMs: 10_000,
  proxyHeaderMs: 5_000,
  /** How often an idle side is checked for a live peer. */
  probeMs: 100,
  /**
   * Time to read what a peer sent before it reset the connection. Together with `probeMs`, a reset is passed on within
   * 250 ms.
   */
  readOutMs: 100,
  /** If the upstream cannot be reached: time for the client's first line, and for it to read the refusal. */
  refusalMs: 10_000,
  refusalLingerMs: 2_000,
  /** Idle time before TCP keep-alive probes, which detect a peer that lost power. */
  keepAliveMs: 600_000,
  /** How often certificates are checked for replacement. */
  certificateCheckMs: 30_000,
} as const;
