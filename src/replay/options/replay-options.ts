import { Problems } from '../../core/errors.ts';
import { type HeaderPair, parseAddedHeader, type Secrets } from '../../core/headers.ts';
import { LIMITS } from '../../core/limits.ts';
import {
  grouped,
  isOnCommandLine,
  list,
  listOf,
  type Origin,
  type ResolvedOptions,
  readOptions,
  type StatedOptions,
  switchOrValue,
  text,
  toggle,
  value,
} from '../../core/options.ts';
import type { TimeRange } from '../../core/ports.ts';
import { CHECK_LEVELS, type CheckLevel } from '../../core/run.ts';
import {
  formatBytes,
  parseCount,
  parseMultiplier,
  parsePositiveMs,
  parseSeed,
  parseTimeLimitMs,
  parseWaitMs,
} from '../../core/units.ts';
import { CANCEL_POLICIES } from '../answers/expected-answer.ts';
import {
  defaultScaling,
  SCALINGS,
  type ScalingName,
  type ScalingOptions,
  unreachable,
} from '../plan/scaling.ts';
import { SESSION_ORDERS } from '../plan/session-order.ts';
import { parseStages, RateCurve, stageText } from '../plan/stages.ts';
import { type BodyChangeOptions, PIN_MODES } from '../request/body-changes.ts';
import { parsePathMapping, parseRemovedHeader } from '../request/build.ts';
import { parsePerturbedPlace, placeText } from '../request/copy-identity.ts';
import { parseTimePlace } from '../request/shift-time.ts';
import { parseHostName, parseTarget, type Target } from '../target.ts';
import { LOAD_OPTIONS, loadOf } from './load-options.ts';
import {
  CALIBRATION_BOUNDS_TEXT,
  CHECK_TOLERANCE,
  CHECK_TOLERANCE_TEXT,
  type CheckTolerance,
  countTo,
  type LagBound,
  parseCalibrationBounds,
  parseConfidence,
  parseHostPolicy,
  parseIgnored,
  parseInFlightBytes,
  parseJitterMs,
  parseLagBound,
  parseRetainRuns,
  parseShard,
  parseStart,
  parseTargetShare,
  parseTolerance,
  readCertificates,
  switched,
  word,
} from './parsers.ts';
import {
  checkZoneIsOfDays,
  type Filters,
  filtersOf,
  WINDOW_OPTIONS,
  type WindowRequest,
  windowRequestOf,
} from './window-options.ts';

const CONNECTION_POLICIES = ['pooled', 'recorded'] as const;
/** `pooled`: any free connection. `recorded`: the connection on which the request was recorded. */
export type ConnectionPolicy = (typeof CONNECTION_POLICIES)[number];

const CALIBRATE_ALONE = '2m';
const SENDERS_HINT = 'One sender handles several thousand requests a second. Each sender needs its own CPU.';

/** Options for the way to the multiplier. */
const SCALING_OPTIONS = grouped('Load and scaling', {
  scaling: value(
    '--scaling <way>',
    `${SCALINGS.join(', ')} (default: compress, below 1x thin)`,
    word(SCALINGS),
  ),
  stages: value('--stages <list>', 'multipliers over the run, such as 10m@1x,5m@1x..2x,30s@4x', parseStages),
  targetShare: value(
    '--target-share <share>',
    'replicas of the target divided by recorded replicas, such as 2/20',
    parseTargetShare,
    { default: '1' },
  ),
  seed: value('--seed <n>', 'random seed for which sessions are dropped or copied', parseSeed, {
    default: '1',
  }),
  jitter: value('--jitter <time>', 'delay copies of sessions by up to this much', parseJitterMs, {
    default: '1s',
  }),
  perturb: listOf(
    '--perturb <place>',
    'place to change in copies: header:NAME or json:/POINTER',
    parsePerturbedPlace,
  ),
});

/** Options for the length of answers, and for recorded clients that left. */
const ANSWER_OPTIONS = grouped('Responses', {
  cancels: value(
    '--cancels <how>',
    `what to do when a recorded client disconnected: ${CANCEL_POLICIES.join(' or ')}`,
    word(CANCEL_POLICIES),
    { default: 'replay' },
  ),
  pinOutputLength: switchOrValue(
    '--pin-output-length [how]',
    `request responses as long as recorded: ${PIN_MODES.join(' or ')} (without a value: limit)`,
    word(PIN_MODES),
    'limit',
  ),
  requestUsage: toggle('--request-usage', 'request token counts in streams'),
});

/** Options for sending. */
const SENDING_OPTIONS = grouped('Sending and time limits', {
  threads: value(
    '--threads <n>',
    `number of sender threads, at most ${LIMITS.senders}`,
    countTo(LIMITS.senders, SENDERS_HINT),
    { default: '1' },
  ),
  connections: value(
    '--connections <how>',
    `${CONNECTION_POLICIES.join(' or ')}: any free connection, or the recorded one`,
    word(CONNECTION_POLICIES),
    { default: 'pooled' },
  ),
  sessionOrder: value(
    '--session-order <order>',
    `${SESSION_ORDERS.join(' or ')}: send follow-ups as planned, or after the previous response`,
    word(SESSION_ORDERS),
    { default: 'open' },
  ),
  maxConnectionAge: value(
    '--max-connection-age <time>',
    'replace connections older than this (default: never)',
    parsePositiveMs,
  ),
  maxInFlight: value(
    '--max-in-flight <n>',
    'most requests in flight; further due requests are not sent and counted as refused',
    parseCount,
    {
      default: String(LIMITS.inFlight),
    },
  ),
  maxInFlightBytes: value(
    '--max-in-flight-bytes <size>',
    'most bytes of bodies in flight at once',
    parseInFlightBytes,
    { default: formatBytes(LIMITS.inFlightBytes) },
  ),
  timeout: value('--timeout <time>', 'limit for a whole request', parseTimeLimitMs, { default: '300s' }),
  // Longer than any useful connection needs.
  connectTimeout: value('--connect-timeout <time>', 'limit for connecting', parseTimeLimitMs, {
    default: '10s',
  }),
  // By default a model may use the complete time of the request.
  firstByteTimeout: value(
    '--first-byte-timeout <time>',
    'limit until the first byte of the response (default: --timeout)',
    parseTimeLimitMs,
  ),
  // Models do not pause this long between two pieces of an answer.
  idleTimeout: value('--idle-timeout <time>', 'limit for a pause in a response', parseTimeLimitMs, {
    default: '60s',
  }),
});

/** Options for comparing answers with the recorded ones. */
const CHECK_OPTIONS = grouped('Responses', {
  // The level is never weakened automatically. Answers that cannot be compared by value are counted, and prevent a
  // PASS.
  compareResponses: switchOrValue(
    '--compare-responses [level]',
    `compare responses with the recorded ones, by ${CHECK_LEVELS.join(', ')} (without a value: values)`,
    switched(word(CHECK_LEVELS), 'values'),
    'values',
  ),
  responseTolerance: value(
    '--response-tolerance <list>',
    `how much numbers and lengths may differ (default: ${CHECK_TOLERANCE_TEXT})`,
    parseTolerance,
  ),
  responseIgnore: listOf(
    '--response-ignore <pointer>',
    'JSON pointer to exclude from the comparison',
    parseIgnored,
  ),
});

/** Options for the parts before the judged part, and for the limits of a valid result. */
const TRUST_OPTIONS = grouped('What a verdict needs', {
  warmup: value(
    '--warmup <time>',
    'replay this much before the window as warm-up; it is not measured',
    parsePositiveMs,
  ),
  compareAt1x: switchOrValue(
    '--compare-at-1x [time]',
    `first replay at 1x for this long and compare with the recording (without a value: ${CALIBRATE_ALONE})`,
    switched(parsePositiveMs, CALIBRATE_ALONE),
    CALIBRATE_ALONE,
  ),
  compareAt1xBounds: value(
    '--compare-at-1x-bounds <list>',
    'how far calibration may differ, such as p50:2,status:2%,size:20%: median latency by this factor, statuses and median size by these shares',
    parseCalibrationBounds,
    { default: CALIBRATION_BOUNDS_TEXT },
  ),
  confidence: value(
    '--confidence <share|point>',
    'how sure PASS must be that a percentile is within its limit; point compares the observed value, as k6 does',
    parseConfidence,
    { default: '95%' },
  ),
  lagBound: value(
    '--lag-bound <list>',
    'largest allowed lag p99, such as 5ms, 10% (of the smallest latency objective) or 5ms,10% (the greater)',
    parseLagBound,
  ),
});

/** Options that an export and a replay have in common: which requests of the window are built, and how. */
export const REQUEST_OPTIONS = {
  // Parsed only when it is used. So a configuration with credentials here can still be printed, without them.
  target: text('--target <url>', 'the server to test, such as staging:8000 or https://staging/base'),
  multiplier: value(
    '--speed, --multiplier <m>',
    'how much faster than recorded, such as 1.5 or 2x',
    parseMultiplier,
    {
      default: '1',
    },
  ),
  ...WINDOW_OPTIONS,
  ...SCALING_OPTIONS,
  ...grouped('What is sent', {
    host: value('--host <which>', 'the Host header: target, recorded, or a host', parseHostPolicy, {
      default: 'target',
    }),
    removeHeader: listOf('--remove-header <name>', 'header to remove from every request', parseRemovedHeader),
    mapPath: listOf('--map-path <from=to>', 'replace the path prefix FROM with TO', parsePathMapping),
  }),
  ...grouped('Safety', {
    maxRequests: value(
      '--max-requests <n>',
      'send at most this many requests, including calibration and warm-up',
      parseCount,
    ),
    productionHost: listOf('--production-host <name>', 'a host that must never be the target', parseHostName),
    allowProductionHost: listOf(
      '--allow-production-host <name>',
      'allow this production host as the target',
      parseHostName,
    ),
  }),
};

/** Options for stdout. */
export const OUTPUT_OPTIONS = grouped('Output', {
  json: toggle('--json', 'print one JSON document'),
  ndjson: toggle('--ndjson', 'print events as they happen, one JSON document per line'),
});

/** All options of a replay. */
export const REPLAY_OPTIONS = {
  ...REQUEST_OPTIONS,
  ...LOAD_OPTIONS,
  ...ANSWER_OPTIONS,
  ...SENDING_OPTIONS,
  ...TRUST_OPTIONS,
  ...CHECK_OPTIONS,
  ...grouped('Several machines', {
    shard: value('--shard <i/n>', 'play the i-th of n parts of the plan; i counts from 0', parseShard),
    startAt: text('--start-at <time>', 'begin at this instant, ISO 8601, the same for all shards'),
  }),
  ...grouped('What a verdict needs', {
    slo: list('--slo <objective>', 'objective to judge by, such as "latency: p(99)<200", or a preset'),
    untilSure: toggle(
      '--until-sure',
      'stop early when every objective is decided; checks a few times during the run',
    ),
  }),
  ...grouped('Where the run is kept', {
    retainRuns: value(
      '--retain-runs <which>',
      'delete older runs in the same directory: keep the last 20, or those of 30d',
      parseRetainRuns,
    ),
  }),
  ...grouped('Safety', {
    maxRate: value(
      '--max-rate <n>',
      'most planned requests per second; others are not sent and counted as refused (default: twice the peak)',
      parseCount,
    ),
    dryRun: toggle('--dry-run', 'print the plan and what cannot be replayed; send nothing'),
  }),
  ...grouped('What is sent', {
    shiftTime: listOf(
      '--shift-time <pointer>',
      'JSON pointer to a time in bodies; it is shifted to the time of sending',
      parseTimePlace,
    ),
    header: list(
      '-H, --header <header>',
      'header to set on every request: "Name: value", "Name: env:VARIABLE" or "Name: file:PATH"',
    ),
  }),
  ...grouped('Sending and time limits', {
    drainDeadline: value('--drain-deadline <time>', 'how long to wait for the last responses', parseWaitMs, {
      default: '30s',
    }),
    ca: text('--ca <file>', 'CA certificates (PEM) to trust in addition to the system’s'),
    insecure: toggle('--insecure', 'accept any certificate of the target'),
  }),
  ...OUTPUT_OPTIONS,
};

/** The options that a caller may state, as on a command line. */
export type RawReplayOptions = StatedOptions<typeof REPLAY_OPTIONS>;
type ReplayRead = ResolvedOptions<typeof REPLAY_OPTIONS>;

/** The settings for comparing answers with the recorded ones. */
export interface CheckOptions {
  readonly level: CheckLevel;
  readonly tolerance: CheckTolerance;
  /** JSON pointers that are not compared, in addition to those of the protocol. `*` matches any member. */
  readonly ignore: readonly string[];
}

/** Options that are used under the same name. */
const AS_READ = [
  'multiplier',
  'stages',
  'targetShare',
  'seed',
  'perturb',
  'cancels',
  'pinOutputLength',
  'requestUsage',
  'shard',
  'dryRun',
  'slo',
  'untilSure',
  'connections',
  'sessionOrder',
  'maxInFlight',
  'maxInFlightBytes',
  'maxRequests',
  'host',
  'shiftTime',
  'confidence',
  'retainRuns',
] as const;

/** Options that are used under a name with their unit or contents. */
const RENAMED = {
  /** Copies of a session start up to this much later than the original. */
  jitter: 'jitterMs',
  threads: 'senders',
  drainDeadline: 'drainDeadlineMs',
  /** Null for no limit. */
  maxConnectionAge: 'maxConnectionAgeMs',
  /** From the actual send to the last byte. */
  timeout: 'timeoutMs',
  /** Run time of the recorded part to replay before the window; null for none. */
  warmup: 'warmupMs',
  /** How long to compare the target with the recording before the run; null to skip it. */
  compareAt1x: 'calibrateMs',
  compareAt1xBounds: 'calibrationBounds',
  /** Requests per second. Null: the plan determines it (LIMITS.rateOverPeak times its peak). */
  maxRate: 'maxRatePerSecond',
  /** Accepts any certificate of a TLS target. */
  insecure: 'acceptAnyCertificate',
  /** In lower case. They are removed from all requests. */
  removeHeader: 'removedHeaders',
  mapPath: 'pathMappings',
  productionHost: 'productionHosts',
  allowProductionHost: 'allowedProductionHosts',
} as const;

type Renamed = { readonly [Key in keyof typeof RENAMED as (typeof RENAMED)[Key]]: ReplayRead[Key] };
type AsRead = Pick<ReplayRead, (typeof AS_READ)[number]> & Renamed;

/** The resolved options. Code that uses them applies no defaults. */
export interface ReplayOptions extends AsRead, ScalingOptions, BodyChangeOptions {
  /** Null for a dry run without a target. */
  readonly target: Target | null;
  readonly window: WindowRequest;
  readonly filters: Filters;
  /** These three are parts of the total time-out, and never longer. */
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly lagBound: LagBound;
  /** Zero of the run by the wall clock of the host, epoch microseconds. Null to start as soon as possible. */
  readonly startAtUs: number | null;
  /** Certificates (PEM) to trust in addition to the system's. */
  readonly caPem: string | null;
  /** Set on every request, instead of a recorded header of the same name. May be secret, so it is never stored. */
  readonly addedHeaders: readonly HeaderPair[];
  /** Settings for comparing answers with the recorded ones; null to compare none. */
  readonly check: CheckOptions | null;
}

/** The external sources of option values. */
export interface OptionSources extends Secrets {
  /** Throws OPTION_INVALID for an invalid expression. */
  checkSlo(expressions: readonly string[]): void;
  /** Whether an objective requires comparing answers. */
  asksForCheck?(expressions: readonly string[]): boolean;
  /** The wall clock, epoch microseconds. */
  nowUs(): number;
  /** Where a value was stated. A variable or a key of a file may be meant for other commands too. */
  originOf(key: keyof RawReplayOptions): Origin | null;
}

/**
 * Resolves all options.
 * @throws AppError OPTION_INVALID listing every problem at once
 */
export function resolveReplayOptions(raw: RawReplayOptions, sources: OptionSources): ReplayOptions {
  const problems = new Problems();
  const asked = { stated: raw, originOf: sources.originOf };
  const read = readOptions(REPLAY_OPTIONS, asked, problems);
  checkWhatIsMissing(read, problems);
  if (isOnCommandLine(asked, 'tz')) checkZoneIsOfDays(read, problems);
  if (isOnCommandLine(asked, 'compareAt1xBounds') && read.compareAt1x === null) {
    if ((raw.compareAt1xBounds ?? CALIBRATION_BOUNDS_TEXT) !== CALIBRATION_BOUNDS_TEXT)
      problems.add('--compare-at-1x-bounds has no effect without --compare-at-1x');
  }
  problems.attempt(() => sources.checkSlo(read.slo), undefined);
  const isMultiplied = raw.multiplier !== undefined && isOnCommandLine(asked, 'multiplier');
  const isJittered = raw.jitter !== undefined && isOnCommandLine(asked, 'jitter');
  const part = (ms: number) => Math.min(read.timeout, ms);
  const resolved: ReplayOptions = {
    ...asRead(read),
    target: problems.optional(read.target, parseTarget),
    scaling: scalingNameOf(read, problems),
    ...loadOf({ ...read, isMultiplied, isJittered }, problems),
    startAtUs: problems.optional(read.startAt, (start) => parseStart(start, sources.nowUs())),
    window: windowRequestOf(read, problems),
    filters: filtersOf(read, problems),
    lagBound: read.lagBound ?? { lagMs: null, share: null },
    connectTimeoutMs: part(read.connectTimeout),
    firstByteTimeoutMs: part(read.firstByteTimeout ?? read.timeout),
    idleTimeoutMs: part(read.idleTimeout),
    caPem: problems.optional(read.ca, (path) => readCertificates(path, (file) => sources.readFile(file))),
    addedHeaders: read.header.flatMap((header) =>
      problems.attempt<HeaderPair[]>(() => [parseAddedHeader(header, sources)], []),
    ),
    check: checkOf(
      read,
      raw.compareResponses === undefined && (sources.asksForCheck?.(read.slo) ?? false),
      problems,
    ),
  };
  checkTogether(resolved, problems);
  problems.throwIfAny();
  return Object.freeze(resolved);
}

function asRead(read: ReplayRead): AsRead {
  const renamed = Object.entries(RENAMED).map(([key, name]) => [name, read[key as keyof typeof RENAMED]]);
  return Object.fromEntries([...AS_READ.map((key) => [key, read[key]]), ...renamed]) as AsRead;
}

/** The options in the form that a run stores, without the values of added headers. */
export function describeReplayOptions(options: ReplayOptions, window: TimeRange): Record<string, unknown> {
  const { addedHeaders, target, caPem, ...plain } = options;
  return {
    ...plain,
    target: target?.url ?? null,
    fromUs: window.fromUs,
    toUs: window.toUs,
    stages: options.stages?.map(stageText) ?? null,
    perturb: options.perturb.map(placeText),
    shiftTime: options.shiftTime.map(({ pointer }) => pointer),
    extraCa: caPem !== null,
    addedHeaders: addedHeaders.map(([name]) => name),
  };
}

function checkWhatIsMissing({ target, dryRun, json, ndjson }: ReplayRead, problems: Problems): void {
  if (target === null && !dryRun) {
    problems.add(
      '--target is missing; only a dry run works without it',
      'Give the server, such as --target http://staging:8000, or use --dry-run to plan only.',
    );
  }
  if (ndjson && json) problems.add('--json and --ndjson cannot be combined: each uses all of stdout');
  if (ndjson && dryRun)
    problems.add('--ndjson prints the events of a run, and a dry run has no events: use --json');
}

/** Most places, because each is looked up separately in every body. */
const MAX_PLACES = 16;

function scalingNameOf(read: ReplayRead, problems: Problems): ScalingName {
  if (read.rate !== null) return 'rate';
  if (read.concurrency !== null) return 'closed';
  const { min, max } = new RateCurve(read.multiplier, read.stages);
  const scaling = read.scaling ?? defaultScaling(min, max);
  const reason = unreachable(scaling, min, max);
  if (reason !== null) {
    problems.add(
      `--scaling: ${reason}, and ${min === max ? `${min}x was` : `${min}x to ${max}x were`} asked for`,
    );
  }
  return scaling;
}

/** Most ignored pointers; services need fewer. */
const MAX_IGNORED = 64;

function checkOf(
  { compareResponses, responseTolerance, responseIgnore }: ReplayRead,
  isImplied: boolean,
  problems: Problems,
): CheckOptions | null {
  const level = compareResponses ?? (isImplied ? 'values' : null);
  if (level === null) {
    if (responseTolerance !== null)
      problems.add('--response-tolerance has no effect without --compare-responses');
    if (responseIgnore.length > 0)
      problems.add('--response-ignore has no effect without --compare-responses');
    return null;
  }
  if (responseIgnore.length > MAX_IGNORED)
    problems.add(`--response-ignore: ${responseIgnore.length} pointers are more than ${MAX_IGNORED}`);
  return { level, tolerance: responseTolerance ?? CHECK_TOLERANCE, ignore: responseIgnore };
}

/** Checks combinations of options. */
function checkTogether(resolved: ReplayOptions, problems: Problems): void {
  const { shard, warmupMs, calibrateMs, retainRuns, perturb, shiftTime } = resolved;
  if (perturb.length > MAX_PLACES)
    problems.add(`--perturb: ${perturb.length} places are more than ${MAX_PLACES}`);
  if (shiftTime.length > MAX_PLACES)
    problems.add(`--shift-time: ${shiftTime.length} places are more than ${MAX_PLACES}`);
  checkHeaders(resolved, problems);
  if (shard !== null && (warmupMs !== null || calibrateMs !== null)) {
    problems.add(
      '--shard cannot be combined with --warmup or --compare-at-1x: each shard would warm up or calibrate only its part',
    );
  }
  if (shard !== null && retainRuns !== null)
    problems.add(
      '--shard cannot be combined with --retain-runs: runs of other shards would count as older runs',
    );
  checkSessionOrder(resolved, problems);
  if (resolved.untilSure) checkUntilSure(resolved, problems);
}

/** Checks the options that `--until-sure` needs or excludes. */
function checkUntilSure(
  { window, slo, confidence, shard, stages, concurrency }: ReplayOptions,
  problems: Problems,
): void {
  if (window.durationMs === null)
    problems.add('--until-sure needs --duration', 'Say how long the run may last, such as --duration 10m.');
  if (slo.length === 0)
    problems.add('--until-sure needs an objective', 'Give one, such as --slo "latency: p(99)<200".');
  const withoutSense = {
    '--confidence point': confidence === null && 'the observed value is never sure',
    '--shard': shard !== null && 'one shard does not see the answers of the others',
    '--stages': stages !== null && 'a run that ends early plays only some of the stages',
    '--concurrency': concurrency !== null && 'a closed loop has no verdict',
  };
  for (const [flag, why] of Object.entries(withoutSense)) {
    if (why !== false) problems.add(`--until-sure cannot be combined with ${flag}: ${why}`);
  }
}

/** A header that is set on every request cannot be perturbed or removed. */
function checkHeaders({ addedHeaders, removedHeaders, perturb }: ReplayOptions, problems: Problems): void {
  for (const place of perturb) {
    const isSet = ([name]: HeaderPair) =>
      place.kind === 'header' && name.toLowerCase() === place.name.toLowerCase();
    if (addedHeaders.some(isSet)) {
      problems.add(`--perturb ${placeText(place)}: --header sets it to one value on every request`);
    }
  }
  for (const [name] of addedHeaders) {
    if (removedHeaders.includes(name.toLowerCase())) {
      problems.add(`--remove-header ${name}: --header sets it on every request`);
    }
  }
}

/** Checks the options that waiting follow-ups exclude. */
function checkSessionOrder(resolved: ReplayOptions, problems: Problems): void {
  const { sessionOrder, shard, connections, shiftTime } = resolved;
  if (sessionOrder === 'open') return;
  const goesWithout = (flag: string, why: string) =>
    problems.add(`--session-order ${sessionOrder} cannot be combined with ${flag}: ${why}`);
  if (shard !== null) goesWithout('--shard', 'a plan that depends on response times differs between hosts');
  if (connections === 'recorded')
    goesWithout(
      '--connections recorded',
      'a session with several connections would be spread over several senders',
    );
  if (shiftTime.length > 0) goesWithout('--shift-time', 'bodies are built before their send time is known');
}
