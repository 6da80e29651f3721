import { Problems } from '../../core/errors.ts';
import { addressedHeader, type HeaderPair, parseAddedHeader, type Secrets } from '../../core/headers.ts';
import {
  isOnCommandLine,
  type OptionShape,
  type Origin,
  type ResolvedOptions,
  readOptions,
  type StatedOptions,
  textsOf,
} from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import type { TimeRange } from '../../core/ports.ts';
import type { CheckLevel } from '../../core/run.ts';
import { needsComparison } from '../../documents/metrics/metrics.ts';
import { parseObjectives } from '../../documents/metrics/objectives.ts';
import type { CalibrationLimits } from '../../documents/replay.ts';
import type { DivergencePolicy } from '../engine/messages.ts';
import { defaultScaling, type ScalingName, type ScalingOptions, unreachable } from '../plan/scaling.ts';
import { RateCurve, stageText } from '../plan/stages.ts';
import type { BodyChangeOptions } from '../request/body-changes.ts';
import { type PathMapping, parseRemovedHeader } from '../request/build.ts';
import { type PerturbedPlace, placeText } from '../request/copy-identity.ts';
import type { CopyPrompts } from '../request/copy-prompt.ts';
import type { TimePlace } from '../request/shift-time.ts';
import { parseTarget, type Target } from '../target.ts';
import { loadOf } from './load-options.ts';
import {
  CHECK_TOLERANCE,
  type CheckTolerance,
  calibrationLimitsOf,
  clientCertificateOf,
  type LagBound,
  parseStart,
  readCertificates,
  type Shard,
} from './parsers.ts';
import { JITTER_MS, REPLAY_OPTIONS } from './replay-flags.ts';
import {
  checkZoneIsOfDays,
  type Filters,
  filtersOf,
  type WindowRequest,
  windowRequestOf,
} from './window-options.ts';

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
  'cancels',
  'dryRun',
  'slo',
  'maxRequests',
  'host',
  'retainRuns',
  'threads',
] as const;

/** Options that are used under a name with their unit or contents. */
const RENAMED = {
  /** Run time of the recorded part to replay before the window; null for none. */
  warmup: 'warmupMs',
  /** Requests per second. Null: the plan determines it (LIMITS.rateOverPeak times its peak). */
  maxRate: 'maxRatePerSecond',
} as const;

type Renamed = { readonly [Key in keyof typeof RENAMED as (typeof RENAMED)[Key]]: ReplayRead[Key] };
type AsRead = Pick<ReplayRead, (typeof AS_READ)[number]> & Renamed;

/** The resolved options. Code that uses them applies no defaults. */
export interface ReplayOptions extends AsRead, ScalingOptions, BodyChangeOptions {
  /** Null for a dry run without a target. */
  readonly target: Target | null;
  /** Where gRPC calls go; null if to `target`. */
  readonly grpcTarget: Target | null;
  readonly window: WindowRequest;
  readonly filters: Filters;
  /** Copies of a session start up to this much later than the original. */
  readonly jitterMs: number;
  /** Whether the scaling was not set, so that links in the capture may decide it. */
  readonly isScalingDefault: boolean;
  readonly perturb: readonly PerturbedPlace[];
  readonly copyPrompts: CopyPrompts;
  /** Starts of paths, and what replaces them. */
  readonly pathMappings: readonly PathMapping[];
  /** Times in bodies that are shifted to the time of sending. */
  readonly shiftTime: readonly TimePlace[];
  /** In lower case. They are removed from all requests. */
  readonly removedHeaders: readonly string[];
  readonly productionHosts: readonly string[];
  readonly allowedProductionHosts: readonly string[];
  readonly shard: Shard | null;
  /** Null to compare the observed value. */
  readonly confidence: number | null;
  /** Whether the run ends when every objective is decided. */
  readonly untilSure: boolean;
  readonly sessionOrder: ReplayRead['sessionOrder']['order'];
  /** How values that the server issues are sent; null to send them as recorded. */
  readonly liveValues: {
    readonly onDivergence: DivergencePolicy;
    /** Headers in lower case that sessions send back, besides cookies and `x-session-token`. */
    readonly affinity: readonly string[];
  } | null;
  readonly connections: ReplayRead['connections']['policy'];
  /** Null for no limit. */
  readonly maxConnectionAgeMs: number | null;
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
  /** How long to compare the target with the recording before the run; null to skip it. */
  readonly calibrateMs: number | null;
  readonly calibrationBounds: CalibrationLimits;
  /** From the actual send to the last byte. */
  readonly timeoutMs: number;
  readonly drainDeadlineMs: number;
  /** These three are parts of the total time-out, and never longer. */
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly lagBound: LagBound;
  /** Zero of the run by the wall clock of the host, epoch microseconds. Null to start as soon as possible. */
  readonly startAtUs: number | null;
  /** Certificates (PEM) to trust in addition to the system's. */
  readonly caPem: string | null;
  /** Accepts any certificate of a TLS target. */
  readonly acceptAnyCertificate: boolean;
  /** The certificate (PEM) that is shown to a target that requires one, with its key. Never stored. */
  readonly clientCertificate: { readonly cert: string; readonly key: string } | null;
  /** Set on every request, instead of a recorded header of the same name. May be secret, so it is never stored. */
  readonly addedHeaders: readonly HeaderPair[];
  /** Settings for comparing answers with the recorded ones; null to compare none. */
  readonly check: CheckOptions | null;
}

/** The external sources of option values. */
export interface OptionSources extends Secrets {
  /** Names of monitored series that an objective may have. */
  readonly monitored: ReadonlySet<string>;
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
  const isMultiplied = raw.multiplier !== undefined && isOnCommandLine(asked, 'multiplier');
  const isScaled =
    read.scaling.way !== null || (isOnCommandLine(asked, 'scaling') && read.scaling.jitter !== JITTER_MS);
  const objectives = problems.attempt(() => parseObjectives(read.slo, sources.monitored), []);
  const { timeout, connections, maxInFlight, scaling } = read;
  const part = (ms: number) => Math.min(timeout.total, ms);
  const resolved: ReplayOptions = {
    ...asRead(read),
    target: problems.optional(read.target, parseTarget),
    grpcTarget: problems.optional(read.grpcTarget, (stated) => parseTarget(stated, '--grpc-target')),
    scaling: scalingNameOf(read, problems),
    ...changesOf(read, problems),
    ...loadOf(
      {
        ...read,
        shard: read.shard?.part ?? null,
        connections: connections.policy,
        sessionOrder: read.sessionOrder.order,
        maxInFlight: maxInFlight.requests,
        shiftsTime: read.rewrite.some(({ time }) => time.length > 0),
        isMultiplied,
        isScaled,
      },
      problems,
    ),
    confidence: read.confidence.share,
    untilSure: read.confidence.untilSure,
    jitterMs: scaling.jitter,
    isScalingDefault: scaling.way === null,
    perturb: scaling.perturb,
    copyPrompts: scaling.copyPrompts,
    shard: read.shard?.part ?? null,
    sessionOrder: read.sessionOrder.order,
    liveValues:
      read.sessionOrder.values === 'live' ? picked(read.sessionOrder, 'onDivergence', 'affinity') : null,
    connections: connections.policy,
    maxConnectionAgeMs: connections.maxAge,
    maxInFlight: maxInFlight.requests,
    maxInFlightBytes: maxInFlight.bytes,
    calibrateMs: read.compareAt1x?.time ?? null,
    calibrationBounds: calibrationLimitsOf(read.compareAt1x),
    productionHosts: read.productionHost.flatMap(({ host }) => host),
    allowedProductionHosts: read.productionHost.flatMap(({ allow }) => allow),
    check: checkOf(read, raw.check === undefined && objectives.some(needsComparison), problems),
    startAtUs: problems.optional(read.shard?.start, (start) => parseStart(start, sources.nowUs())),
    window: windowRequestOf(read, problems),
    filters: filtersOf(read, problems),
    lagBound: read.lagBound ?? { lagMs: null, share: null },
    timeoutMs: timeout.total,
    drainDeadlineMs: timeout.drain,
    connectTimeoutMs: part(timeout.connect),
    firstByteTimeoutMs: part(timeout.firstByte ?? timeout.total),
    idleTimeoutMs: part(timeout.idle),
    acceptAnyCertificate: read.targetTls?.insecure ?? false,
    caPem: problems.optional(read.targetTls?.ca, (path) =>
      readCertificates(path, (file) => sources.readFile(file), '--target-tls ca'),
    ),
    clientCertificate: problems.attempt(
      () => clientCertificateOf(read.targetTls, (file) => sources.readFile(file)),
      null,
    ),
    ...headersOf(read.header, sources, problems),
  };
  checkTogether(resolved, problems);
  problems.throwIfAny();
  return Object.freeze(resolved);
}

/** Receivers of headers in a run, besides the target. */
export const HEADER_RECEIVERS = ['otlp', 'remote-write', 'monitor'] as const;

/** The headers that are set on every request, and those that are removed from it. */
function headersOf(
  texts: readonly string[],
  secrets: Secrets,
  problems: Problems,
): Pick<ReplayOptions, 'addedHeaders' | 'removedHeaders'> {
  const [removed, added] = [[] as string[], [] as HeaderPair[]];
  for (const { to, text } of texts.map((each) => addressedHeader(each, HEADER_RECEIVERS))) {
    if (to !== null) continue;
    problems.attempt(() => {
      if (text.endsWith(':')) removed.push(parseRemovedHeader(text.slice(0, -1), '--header'));
      else added.push(parseAddedHeader(text, secrets));
    }, undefined);
  }
  return { addedHeaders: added, removedHeaders: removed };
}

/** How requests are changed. */
function changesOf(
  { rewrite }: ReplayRead,
  problems: Problems,
): Pick<ReplayOptions, 'pathMappings' | 'shiftTime' | 'pinOutputLength' | 'requestUsage'> {
  const [outputLength = null, ...more] = rewrite.flatMap((each) => each.outputLength ?? []);
  if (more.length > 0) problems.add('--rewrite: output-length is given twice');
  return {
    pathMappings: rewrite.flatMap(({ path }) => path),
    shiftTime: rewrite.flatMap(({ time }) => time),
    pinOutputLength: outputLength,
    requestUsage: rewrite.some(({ usage }) => usage),
  };
}

function asRead(read: ReplayRead): AsRead {
  const renamed = Object.entries(RENAMED).map(([key, name]) => [name, read[key as keyof typeof RENAMED]]);
  return Object.fromEntries([...AS_READ.map((key) => [key, read[key]]), ...renamed]) as AsRead;
}

/** The options in the form that a run stores, without the values of added headers. */
export function describeReplayOptions(options: ReplayOptions, window: TimeRange): Record<string, unknown> {
  const { addedHeaders, target, grpcTarget, caPem, isScalingDefault: _default, ...rest } = options;
  const { clientCertificate: _secret, ...plain } = rest;
  return {
    ...plain,
    target: target?.url ?? null,
    grpcTarget: grpcTarget?.url ?? null,
    fromUs: window.fromUs,
    toUs: window.toUs,
    stages: options.stages?.map(stageText) ?? null,
    perturb: options.perturb.map(placeText),
    shiftTime: options.shiftTime.map(({ pointer }) => pointer),
    extraCa: caPem !== null,
    addedHeaders: addedHeaders.map(([name]) => name),
  };
}

/** Described options that are made of an option of another name, besides those in `RENAMED`. */
const MADE_OF: Readonly<Record<string, keyof ReplayRead>> = {
  extraCa: 'targetTls',
  acceptAnyCertificate: 'targetTls',
  drainDeadlineMs: 'timeout',
  timeoutMs: 'timeout',
  connectTimeoutMs: 'timeout',
  firstByteTimeoutMs: 'timeout',
  idleTimeoutMs: 'timeout',
  maxConnectionAgeMs: 'connections',
  maxInFlightBytes: 'maxInFlight',
  productionHosts: 'productionHost',
  allowedProductionHosts: 'productionHost',
  calibrationBounds: 'confidence',
  liveValues: 'sessionOrder',
  untilSure: 'confidence',
};

/** The described options that decide what is sent when. Shards of one plan have these in common. */
export function describePlanOptions(options: ReplayOptions, window: TimeRange): Record<string, unknown> {
  const renamed = Object.fromEntries(Object.entries(RENAMED).map(([key, name]) => [name, key]));
  const shape: OptionShape = REPLAY_OPTIONS;
  const described = Object.entries(describeReplayOptions(options, window)).filter(([name]) => {
    const type = shape[MADE_OF[name] ?? renamed[name] ?? name];
    return type === undefined || textsOf(type).decides === 'plan';
  });
  return Object.fromEntries(described.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function checkWhatIsMissing({ target, dryRun, json, ndjson }: ReplayRead, problems: Problems): void {
  if (target === null && !dryRun) {
    problems.add(
      '--target is missing',
      'Give the server, such as --target http://staging:8000. Without one, reprise replay --dry-run plans, and reprise capacity --simulate forecasts.',
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
  const scaling = read.scaling.way ?? defaultScaling(min, max);
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

function checkOf({ check }: ReplayRead, isImplied: boolean, problems: Problems): CheckOptions | null {
  if (check === null) return isImplied ? { level: 'values', tolerance: CHECK_TOLERANCE, ignore: [] } : null;
  const { level, rel, abs, length, ignore } = check;
  if (ignore.length > MAX_IGNORED)
    problems.add(`--check: ${ignore.length} pointers to ignore are more than ${MAX_IGNORED}`);
  return { level, tolerance: { relative: rel, absolute: abs, lengthShare: length }, ignore };
}

/** Checks combinations of options. */
function checkTogether(resolved: ReplayOptions, problems: Problems): void {
  const { shard, warmupMs, calibrateMs, retainRuns, perturb, shiftTime } = resolved;
  if (perturb.length > MAX_PLACES)
    problems.add(`--scaling: ${perturb.length} places to perturb are more than ${MAX_PLACES}`);
  if (shiftTime.length > MAX_PLACES)
    problems.add(`--rewrite: ${shiftTime.length} times are more than ${MAX_PLACES}`);
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

/** Checks the options that `--confidence until-sure` needs or excludes. */
function checkUntilSure(
  { window, slo, confidence, shard, stages, concurrency }: ReplayOptions,
  problems: Problems,
): void {
  if (window.durationMs === null)
    problems.add(
      '--confidence until-sure needs --duration',
      'Say how long the run may last, such as --duration 10m.',
    );
  if (slo.length === 0)
    problems.add(
      '--confidence until-sure needs an objective',
      'Give one, such as --slo "latency: p(99)<200".',
    );
  const withoutSense = {
    point: confidence === null && 'the observed value is never sure',
    '--shard': shard !== null && 'one shard does not see the answers of the others',
    '--stages': stages !== null && 'a run that ends early replays only some of the stages',
    '--concurrency': concurrency !== null && 'a closed loop has no verdict',
  };
  for (const [flag, why] of Object.entries(withoutSense)) {
    if (why !== false) problems.add(`--confidence until-sure cannot be combined with ${flag}: ${why}`);
  }
}

/** A header that is set on every request cannot be perturbed or removed. */
function checkHeaders({ addedHeaders, removedHeaders, perturb }: ReplayOptions, problems: Problems): void {
  for (const place of perturb) {
    const isSet = ([name]: HeaderPair) =>
      place.kind === 'header' && name.toLowerCase() === place.name.toLowerCase();
    if (addedHeaders.some(isSet)) {
      problems.add(`--scaling perturb=${placeText(place)}: --header sets it to one value on every request`);
    }
  }
  for (const [name] of addedHeaders) {
    if (removedHeaders.includes(name.toLowerCase()))
      problems.add(`--header ${name}: is both set and removed`);
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
  if (shiftTime.length > 0) goesWithout('--rewrite time', 'bodies are built before their send time is known');
}
