import { AppError, Problems, reasonOf } from '../core/errors.ts';
import type { HeaderPair } from '../core/headers.ts';
import type { TimeRange } from '../core/ports.ts';
import { parseCount, parseMultiplier, parseWaitMs } from '../core/units.ts';
import { parseAddedHeader, parseRemovedHeader, type Secrets } from './added-headers.ts';
import { type AnswerOptions, type RawAnswerOptions, resolveAnswerOptions } from './answer-options.ts';
import { type CheckOptions, type RawCheckOptions, resolveCheck } from './check/options.ts';
import { type Filters, type RawFilterOptions, resolveFilters } from './filters.ts';
import { parseHostName } from './host-name.ts';
import { type PathMapping, parsePathMapping } from './path-map.ts';
import { placeText } from './perturbation.ts';
import { parseRetainRuns, type RunsRetained } from './run-retention-option.ts';
import { type RawScalingOptions, resolveScaling, type ScalingOptions } from './scaling/options.ts';
import { type RawSendingOptions, resolveSending, type SendingOptions } from './sending-options.ts';
import { type RawShardOptions, resolveShard, type ShardOptions } from './shard.ts';
import { stageText } from './stages.ts';
import { parseTarget, type Target } from './target.ts';
import { parseTimePlaces, type TimePlace } from './time-shift.ts';
import {
  checkBoundsAreAskedFor,
  type RawTrustOptions,
  resolveTrust,
  type TrustOptions,
} from './trust-options.ts';
import {
  checkZoneIsOfDays,
  type RawWindowOptions,
  resolveWindowRequest,
  type WindowRequest,
} from './windows/request.ts';

/** What was asked for: texts as they stand on the command line, in the environment or in a file. */
export interface RawReplayOptions
  extends RawScalingOptions,
    RawWindowOptions,
    RawFilterOptions,
    RawTrustOptions,
    RawAnswerOptions,
    RawCheckOptions,
    RawShardOptions,
    RawSendingOptions {
  readonly target?: string | undefined;
  readonly multiplier?: string | undefined;
  readonly dryRun?: boolean | undefined;
  readonly slo?: readonly string[] | undefined;
  readonly maxRate?: string | undefined;
  readonly maxRequests?: string | undefined;
  readonly drainDeadline?: string | undefined;
  /** File of certificates (PEM) to trust besides the system's. */
  readonly ca?: string | undefined;
  readonly insecure?: boolean | undefined;
  readonly host?: string | undefined;
  readonly header?: readonly string[] | undefined;
  readonly removeHeader?: readonly string[] | undefined;
  readonly mapPath?: readonly string[] | undefined;
  readonly shiftTime?: readonly string[] | undefined;
  readonly productionHost?: readonly string[] | undefined;
  readonly allowProductionHost?: readonly string[] | undefined;
  readonly retainRuns?: string | undefined;
  readonly json?: boolean | undefined;
  readonly ndjson?: boolean | undefined;
}

export const REPLAY_DEFAULTS = Object.freeze({
  multiplier: '1',
  drainDeadline: '30s',
  host: 'target',
});

/** What the Host header says: that of the `target`, the `recorded` one, or else the authority that is named. */
export type HostPolicy = string;

/** What will be done. Nothing downstream applies a default. */
export interface ReplayOptions
  extends ScalingOptions,
    TrustOptions,
    ShardOptions,
    SendingOptions,
    AnswerOptions {
  /** Null for a dry run without one. */
  readonly target: Target | null;
  readonly multiplier: number;
  readonly window: WindowRequest;
  readonly filters: Filters;
  readonly dryRun: boolean;
  readonly slo: readonly string[];
  /** Requests per second; null lets the plan decide (LIMITS.rateOverPeak times its peak). */
  readonly maxRatePerSecond: number | null;
  /** Null replays the whole window. */
  readonly maxRequests: number | null;
  readonly drainDeadlineMs: number;
  /** Certificates (PEM) to trust besides the system's. */
  readonly caPem: string | null;
  /** Takes any certificate of a TLS target. */
  readonly acceptAnyCertificate: boolean;
  readonly host: HostPolicy;
  /** Set on every request, in place of a recorded header of the same name. May be secret: never stored. */
  readonly addedHeaders: readonly HeaderPair[];
  /** In lower case; no request is sent with them. */
  readonly removedHeaders: readonly string[];
  readonly pathMappings: readonly PathMapping[];
  /** Where bodies hold a time that is moved to when it is sent. */
  readonly shiftTime: readonly TimePlace[];
  readonly productionHosts: readonly string[];
  readonly allowedProductionHosts: readonly string[];
  /** How answers are compared with the recorded ones; null for not at all. */
  readonly check: CheckOptions | null;
  /** Which older runs stay beside this one; null for all. */
  readonly retainRuns: RunsRetained | null;
}

/** What the parser asks of its surroundings. */
export interface OptionSources extends Secrets {
  /** Throws OPTION_INVALID for an expression that cannot be judged. */
  checkSlo(expressions: readonly string[]): void;
  /** The wall clock, epoch microseconds. */
  nowUs(): number;
  /** Whether a flag stands on the command line itself: a variable, or a key of a file, is for other commands too. */
  isOnCommandLine(flag: keyof RawReplayOptions): boolean;
}

/**
 * Resolves what was asked for.
 * @throws AppError OPTION_INVALID listing every problem at once.
 */
export function resolveReplayOptions(raw: RawReplayOptions, sources: OptionSources): ReplayOptions {
  const problems = new Problems();
  const dryRun = raw.dryRun ?? false;
  if (raw.target === undefined && !dryRun) {
    problems.add(
      '--target is missing (a dry run needs none)',
      'Name the server to send to, such as --target http://staging:8000, or plan only: --dry-run.',
    );
  }
  if (raw.ndjson && raw.json) problems.add('--json and --ndjson are one at a time: each is all of stdout');
  if (raw.ndjson && dryRun)
    problems.add('--ndjson tells of a run as it goes on, and a dry run has none: use --json');
  if (sources.isOnCommandLine('tz')) checkZoneIsOfDays(raw, problems);
  if (sources.isOnCommandLine('calibrateBounds')) checkBoundsAreAskedFor(raw, problems);
  const slo = raw.slo ?? [];
  problems.attempt(() => sources.checkSlo(slo), undefined);
  const multiplier = problems.attempt(
    () => parseMultiplier(raw.multiplier ?? REPLAY_DEFAULTS.multiplier, '--multiplier'),
    1,
  );
  const resolved: ReplayOptions = {
    target: problems.optional(raw.target, (text) => parseTarget(text)),
    multiplier,
    ...resolveScaling(raw, multiplier, problems),
    ...resolveAnswerOptions(raw, problems),
    ...resolveShard(raw, sources.nowUs(), problems),
    window: resolveWindowRequest(raw, problems),
    filters: resolveFilters(raw, problems),
    ...resolveTrust(raw, problems),
    dryRun,
    slo,
    ...resolveSending(raw, problems),
    maxRatePerSecond: problems.optional(raw.maxRate, (text) => parseCount(text, '--max-rate')),
    maxRequests: problems.optional(raw.maxRequests, (text) => parseCount(text, '--max-requests')),
    drainDeadlineMs: problems.attempt(
      () => parseWaitMs(raw.drainDeadline ?? REPLAY_DEFAULTS.drainDeadline, '--drain-deadline'),
      0,
    ),
    caPem: problems.optional(raw.ca, (path) => readCertificates(path, sources)),
    acceptAnyCertificate: raw.insecure ?? false,
    host: problems.attempt(() => parseHostPolicy(raw.host ?? REPLAY_DEFAULTS.host), 'target'),
    addedHeaders: (raw.header ?? []).flatMap((text) =>
      problems.attempt<HeaderPair[]>(() => [parseAddedHeader(text, sources)], []),
    ),
    removedHeaders: (raw.removeHeader ?? []).flatMap((text) =>
      problems.attempt<string[]>(() => [parseRemovedHeader(text)], []),
    ),
    pathMappings: (raw.mapPath ?? []).flatMap((text) =>
      problems.attempt<PathMapping[]>(() => [parsePathMapping(text)], []),
    ),
    shiftTime: parseTimePlaces(raw.shiftTime ?? [], problems),
    productionHosts: parseHosts(raw.productionHost, '--production-host', problems),
    allowedProductionHosts: parseHosts(raw.allowProductionHost, '--allow-production-host', problems),
    check: resolveCheck(raw, problems),
    retainRuns: problems.optional(raw.retainRuns, parseRetainRuns),
  };
  checkHeaders(resolved, problems);
  if (resolved.shard !== null && (resolved.warmupMs !== null || resolved.calibrateMs !== null)) {
    problems.add(
      '--shard goes without --warmup and --calibrate: a stripe of them would warm and prove a stripe only',
    );
  }
  if (resolved.shard !== null && resolved.retainRuns !== null)
    problems.add(
      '--shard goes without --retain-runs: the runs of the other shards would count as older ones',
    );
  checkSessionOrder(resolved, problems);
  problems.throwIfAny();
  return Object.freeze(resolved);
}

function parseHosts(texts: readonly string[] = [], flag: string, problems: Problems): string[] {
  return texts.flatMap((text) => problems.attempt<string[]>(() => [parseHostName(text, flag)], []));
}

/** What is set on every request is neither perturbed nor removed. */
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

/** What cannot be had together with follow-ups that wait. */
function checkSessionOrder(resolved: ReplayOptions, problems: Problems): void {
  const { sessionOrder, shard, connections, shiftTime } = resolved;
  if (sessionOrder === 'open') return;
  const goesWithout = (flag: string, why: string) =>
    problems.add(`--session-order ${sessionOrder} goes without ${flag}: ${why}`);
  if (shard !== null) goesWithout('--shard', 'a plan that follows the target is not the same on every host');
  if (connections === 'recorded')
    goesWithout('--connections recorded', 'a session over several connections would wait at several senders');
  if (shiftTime.length > 0)
    goesWithout('--shift-time', 'bodies are made before it is known when they are sent');
}

/** The options as a run stores them: what was done with which value, less the values of added headers. */
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

function readCertificates(path: string, sources: OptionSources): string {
  let pem: string;
  try {
    pem = sources.readFile(path);
  } catch (cause) {
    throw new AppError('OPTION_INVALID', `--ca: ${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new AppError('OPTION_INVALID', `--ca: ${path} holds no certificate in PEM form`);
  }
  return pem;
}

function parseHostPolicy(text: string): HostPolicy {
  // A name alone could as well be a misspelt word.
  if (
    /^(?:target|recorded|localhost|[\w-]+(?:\.[\w-]+)+|\[[0-9A-Fa-f:.]+\]|[\w-]+(?=:))(?::\d{1,5})?$/.test(
      text,
    )
  ) {
    return text;
  }
  throw new AppError('OPTION_INVALID', `--host: ${JSON.stringify(text)} is neither target nor recorded`, {
    hint: 'Or name a host, with its domain or its port: models.staging.internal, models:8000.',
  });
}
