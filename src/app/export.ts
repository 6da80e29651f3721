import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { systemClock } from '../core/clock.ts';
import { AppError, Problems } from '../core/errors.ts';
import { type ExchangeRow, isHttp2 } from '../core/exchange.ts';
import { headerValue } from '../core/headers.ts';
import { KeyedHash } from '../core/keyed-hash.ts';
import {
  type Asked,
  askedFor,
  choice,
  list,
  listOf,
  partsOf,
  type ResolvedOptions,
  resolveOptions,
  text,
  toggle,
  value,
} from '../core/options.ts';
import type { CaptureSource } from '../core/ports.ts';
import { formatInstantUs, parseCount } from '../core/units.ts';
import { factsOf, isOfStreams } from '../documents/metrics/metrics.ts';
import { type Objective, parseObjectives } from '../documents/metrics/objectives.ts';
import { SLICE_KEYS, sliceValueOf } from '../documents/metrics/slices.ts';
import { describeFilters } from '../documents/replay-plan.ts';
import {
  EXPORT_MODES,
  type ExportedAccount,
  type ExportedFile,
  type ExportedObjective,
  type ExportedObjectives,
  type ExportedSend,
  type ExportFormat,
  type ExportSettings,
  type ExportWriter,
  headerPairs,
  type PromptBlocks,
  TAKEN_OPTIONS,
} from '../formats/export-writer.ts';
import { EXPORT_FORMATS } from '../formats/index.ts';
import { PARQUET, PARQUET_DATASET } from '../formats/parquet.ts';
import { BLOCK_TOKENS } from '../formats/prompt-blocks.ts';
import { isGrpc } from '../inference/grpc.ts';
import { AnswerForecast } from '../replay/answers/expected-answer.ts';
import { RateCeiling, resolveHost, TargetFence } from '../replay/guard.ts';
import { PATH_PART, REQUEST_OPTIONS } from '../replay/options/replay-flags.ts';
import { type ReplayOptions, resolveReplayOptions } from '../replay/options/replay-options.ts';
import { Concurrency } from '../replay/plan/concurrency.ts';
import { linksOfPlan, type PlannedLinks } from '../replay/plan/links.ts';
import {
  AuditCounter,
  durationNsOf,
  type PlannedRequest,
  plannedRequests,
  type ReplayAudit,
  ScalingTally,
} from '../replay/plan/plan.ts';
import { isOfWindow, scheduleOf } from '../replay/plan/schedule.ts';
import { OpenSessions } from '../replay/plan/sessions.ts';
import { copyIdentityOf, layeredArrivals } from '../replay/plan/superpose.ts';
import { BodyChanges, NO_BODY_CHANGES } from '../replay/request/body-changes.ts';
import { RequestBuilder } from '../replay/request/build.ts';
import { arrivalsAlone, skipReasonOf } from '../replay/window/capture.ts';
import { nothingSelected } from '../replay/window/probe.ts';
import { type CopiedCapture, copyCapture } from '../storage/capture/copy.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { readHashKey } from '../storage/capture/keys.ts';
import { encryptionKeyOf, encryptionKeyOption, type OpenedCapture, openForReplay } from './open-capture.ts';
import { withOpenSlo } from './open-slo.ts';
import { VERSION } from './package.ts';
import { chooseReplay, planOf, type ReplayPlan } from './replay/plan.ts';
import { assertFree, StagedDirectory, StagedFile, writingTo } from './staged-output.ts';

/** Sends between two checks for cancellation. */
const SENDS_PER_PAUSE = 256;
const TABLES_HOLD_ALL = 'csv and parquet hold what can be said without requests.';

const NAMES = EXPORT_FORMATS.map(({ name }) => name);

export const EXPORT_OPTIONS = {
  out: text(
    '-o, --out <path>',
    'file to write, or directory for locust, k6 and --partition; must not exist',
    {
      required: true,
    },
  ),
  pacing: choice(
    '--pacing <mode>',
    `how k6 paces: ${EXPORT_MODES.join(' or ')} (default: exact)`,
    EXPORT_MODES,
  ),
  slo: list('--slo <objective>', 'objective to write as a threshold (k6)'),
  includeBodies: toggle('--include-bodies', 'include request bodies in the table (parquet)'),
  partition: toggle('--partition', 'write a directory with a file for each day and recorder (parquet)'),
  omitPayloads: toggle('--omit-payloads', 'write lengths and hashes, no payloads (mooncake)'),
  blockTokens: value(
    '--block-tokens <n>',
    `tokens in each hashed block of a prompt (mooncake; default: ${BLOCK_TOKENS})`,
    parseCount,
  ),
  hashKeyFile: text(
    '--hash-key-file <file>',
    'key of hash_ids; ids of two files match only under one key (mooncake; default: a new key)',
  ),
  ...REQUEST_OPTIONS,
  target: text('--target <url>', 'server URL to write into the file (locust, k6, vegeta, har)'),
  maxRequests: text('--max-requests <n>', 'export at most this many requests, from the start'),
  header: list('-H, --header <header>', 'header to remove from every request, as "Name:"'),
  rewrite: listOf(
    '--rewrite <part=value>',
    'change requests: path=FROM=TO replaces a prefix of the path',
    partsOf(PATH_PART),
  ),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
};
/** Callbacks of an export, and the signal that stops it. */
interface ExportWatcher {
  readonly signal: AbortSignal;
  /** Called after planning, before anything is written. */
  readonly onPlan?: (plan: ReplayPlan) => void;
  readonly onProgress?: (sends: number) => void;
}

export interface Exported {
  readonly format: ExportFormat;
  readonly out: string;
  readonly plan: ReplayPlan;
  /** What the format cannot hold, and the objectives it cannot express. */
  readonly cannotCarry: readonly string[];
  /** Exchanges in the window that pass the filters. */
  readonly recorded: number;
  readonly filtered: number;
  /** Requests or table rows in the output. */
  readonly exported: number;
  readonly spanNs: number;
  readonly audit: ReplayAudit;
  /** Number of requests that lost a part, by the kind of the loss. */
  readonly lost: Readonly<Record<string, number>>;
  readonly files: readonly ExportedFile[];
  readonly usage: readonly string[];
}

/**
 * Converts a capture into a file of another tool. It can take a window at a multiple of its rate. The output is
 * complete or absent.
 * @throws AppError OPTION_INVALID for options that cannot be combined; for bad output or nothing to write; the signal's
 *   reason if it aborts. Nothing is left behind then
 */
export async function exportTraffic(
  name: string,
  directory: string,
  asked: Asked<typeof EXPORT_OPTIONS>,
  watcher: ExportWatcher,
): Promise<Exported> {
  const flags = resolveOptions(EXPORT_OPTIONS, asked);
  const { out } = flags;
  const format = flags.partition && name === PARQUET.name ? PARQUET_DATASET : formatNamed(name);
  assertTaken(format, flags);
  assertFree(out, format.shape);
  const options = optionsOfPlan(asked);
  const mode = flags.pacing ?? 'exact';
  const objectives = k6Objectives(withOpenSlo(flags.slo), mode);
  const opened = openForReplay(directory, encryptionKeyOf(flags), options.window.recorders);
  try {
    const { source, unexplained, ...choice } = chooseReplay(opened, options);
    const plan = planOf({ source, unexplained, ...choice });
    watcher.onPlan?.(plan);
    const planned = new ExportPlan(plan, source);
    const written = await writeExport(format, planned, out, watcher, {
      creator: { name: 'reprise', version: VERSION },
      origin: options.target?.origin ?? null,
      mode,
      objectives,
      includeBodies: flags.includeBodies,
      promptBlocks: promptBlocksOf(flags),
      account: accountOf(opened, plan, unexplained),
    });
    const { recorded, spanNs, audit } = planned;
    const cannotCarry = [...format.cannotCarry, ...(objectives?.cannotCarry ?? [])];
    const counts = { recorded, filtered: source.filtered, spanNs, audit };
    return { format, out, plan, cannotCarry, ...counts, ...written };
  } finally {
    opened.source.close();
  }
}

function promptBlocksOf({
  omitPayloads,
  blockTokens,
  hashKeyFile,
}: ResolvedOptions<typeof EXPORT_OPTIONS>): PromptBlocks | null {
  if (!omitPayloads) return null;
  const key = hashKeyFile === null ? randomBytes(32) : readHashKey('', hashKeyFile, null);
  return { tokens: blockTokens ?? BLOCK_TOKENS, hash: new KeyedHash(key) };
}

function accountOf(
  { inspection: { losses, omitted, recorders, fleetSize } }: OpenedCapture,
  { overview, window, options }: ReplayPlan,
  coverageUnexplained: number | null,
): ExportedAccount {
  return {
    schemaVersion: 1,
    kind: 'dataset-account',
    capture: overview.name,
    recorders: recorders.map(({ id }) => id).sort(),
    from: formatInstantUs(window.fromUs),
    to: formatInstantUs(window.toUs - 1),
    filters: describeFilters(options.filters),
    fleetSize,
    coverage: overview.coverage,
    coverageUnexplained,
    losses: {
      exchanges: losses.exchanges,
      bytes: losses.bytes,
      exact: losses.exact,
      by: losses.byReason,
    },
    omitted: { exchanges: omitted.exchanges, bytes: omitted.bytes, by: omitted.byCause },
  };
}

/** The options of a dry run, because an export is planned like a replay but sends nothing. */
function optionsOfPlan(asked: Asked<typeof EXPORT_OPTIONS>): ReplayOptions {
  const options = resolveReplayOptions(
    { ...askedFor(REQUEST_OPTIONS, asked).stated, dryRun: true },
    {
      environment: (variable) => process.env[variable],
      readFile: (path) => readFileSync(path, 'utf8'),
      monitored: new Set(),
      nowUs: () => systemClock.epochUs(),
      originOf: (key) => (key in EXPORT_OPTIONS ? asked.originOf(key as keyof typeof EXPORT_OPTIONS) : null),
    },
  );
  if (options.addedHeaders.length > 0)
    throw new AppError('OPTION_INVALID', '--header: an export adds no header', {
      hint: 'Remove one with --header "Name:", or set it where the file is used.',
    });
  if (options.target === null || options.target.socketPath === null) return options;
  throw new AppError('OPTION_INVALID', '--target is a unix socket; files of other tools cannot name one', {
    hint: 'Give a server URL, such as http://staging:8000.',
  });
}

/** @throws AppError OPTION_INVALID for no format */
export function formatNamed(name: string): ExportFormat {
  const format = EXPORT_FORMATS.find((known) => known.name === name);
  if (format !== undefined) return format;
  throw new AppError('OPTION_INVALID', `${JSON.stringify(name)} is not a format: ${NAMES.join(', ')}`, {
    hint: 'For example: reprise export csv CAPTURE --out traffic.csv',
  });
}

/** @throws AppError OPTION_INVALID listing all options that the format does not support */
function assertTaken(format: ExportFormat, flags: ResolvedOptions<typeof EXPORT_OPTIONS>): void {
  const problems = new Problems();
  for (const [option, name] of Object.entries(TAKEN_OPTIONS) as [keyof typeof TAKEN_OPTIONS, string][]) {
    const stated = flags[option];
    if (!stated || (Array.isArray(stated) && stated.length === 0) || format.takes.includes(option)) continue;
    const takers = EXPORT_FORMATS.filter(({ takes }) => takes.includes(option)).map((each) => each.name);
    problems.add(`${name} works with ${takers.join(', ')}, not with ${format.name}`);
  }
  if (!flags.omitPayloads && (flags.blockTokens !== null || flags.hashKeyFile !== null)) {
    problems.add('--block-tokens and --hash-key-file work with --omit-payloads: payloads have no hash_ids');
  }
  if (format.needsTarget && flags.target === null) {
    problems.add(
      `--target is missing: ${format.name} needs absolute URLs`,
      'Give the server URL, such as --target http://staging:8000. Export sends nothing.',
    );
  }
  problems.throwIfAny();
}

async function writeExport(
  format: ExportFormat,
  planned: ExportPlan,
  out: string,
  watcher: ExportWatcher,
  settings: ExportSettings,
): Promise<Pick<Exported, 'exported' | 'lost' | 'files' | 'usage'>> {
  await planned.check(format);
  const staged =
    format.shape === 'file' ? new StagedFile(out, 'exporting') : new StagedDirectory(out, 'exporting');
  let writer: ExportWriter | null = null;
  try {
    writer = writingTo(out, () => format.open(staged.path, settings));
    const exported = await fill(writer, format, planned, out, watcher);
    staged.publish();
    return { exported, lost: writer.lost.all, files: writer.files, usage: writer.usage };
  } catch (thrown) {
    writer?.abandon();
    staged.discard();
    throw thrown;
  }
}

/** @returns the number of sends in the output */
async function fill(
  writer: ExportWriter,
  format: ExportFormat,
  planned: ExportPlan,
  out: string,
  { signal, onProgress }: ExportWatcher,
): Promise<number> {
  let exported = 0;
  const sends = format.holds === 'requests' ? planned.requests() : planned.rows();
  for (const send of sends) {
    if (isCall(send) && format.holds === 'requests' && format.holdsCalls !== true)
      writer.lost.count('a gRPC call: left out');
    else if (writingTo(out, () => writer.add(send))) exported += 1;
    if (send.index % SENDS_PER_PAUSE !== SENDS_PER_PAUSE - 1) continue;
    await setImmediate();
    signal.throwIfAborted();
    onProgress?.(exported);
  }
  signal.throwIfAborted();
  if (planned.recorded === 0) throw nothingSelected(planned.source, planned.plan.options.filters);
  if (planned.sends === 0) throw nothingSendable(planned);
  if (exported === 0) throw nothingFits(format, planned, writer);
  const { spanNs, concurrency } = planned;
  writingTo(out, () => writer.end({ requests: exported, spanNs, concurrency }));
  return exported;
}

function isCall({ row, request }: ExportedSend): boolean {
  if (!isHttp2(row) || request === null) return false;
  return isGrpc(headerValue(headerPairs(request.headers), 'content-type'));
}

function nothingFits({ name }: ExportFormat, { sends }: ExportPlan, { lost }: ExportWriter): AppError {
  const why = Object.entries(lost.all).map(([what, count]) => `${what} ${count}`);
  return new AppError('CAPTURE_EMPTY', `None of ${sends} requests fits ${name}: ${why.join(', ')}`, {
    hint: TABLES_HOLD_ALL,
  });
}

function nothingSendable({ recorded, audit }: ExportPlan): AppError {
  const why = Object.entries({ ...audit.skipped, ...audit.unreplayableByReason })
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason} ${count}`);
  return new AppError('CAPTURE_EMPTY', `None of ${recorded} exchanges can be sent: ${why.join(', ')}`, {
    hint: TABLES_HOLD_ALL,
  });
}

/** Marks requests of load tools like those of a replay, so that recorders do not count them as user traffic. */
const RUN_PREFIX = 'export-';

/** The planned sends of a capture, with counts of everything that was left out. */
class ExportPlan {
  readonly plan: ReplayPlan;
  readonly source: CaptureSource;
  readonly #audit = new AuditCounter();
  readonly #concurrency = new Concurrency();
  readonly #fence: TargetFence | null;
  /** Exchanges in the window that pass the filters. */
  recorded = 0;
  sends = 0;
  spanNs = 0;
  #startUs: number | null = null;
  /** Null if values of answers are sent as recorded. */
  #links: PlannedLinks | null = null;

  constructor(plan: ReplayPlan, source: CaptureSource) {
    const { target } = plan.options;
    this.plan = plan;
    this.source = source;
    this.#fence = target === null ? null : new TargetFence({ ...plan.options, target });
  }

  get concurrency(): number | null {
    return this.#concurrency.max;
  }

  get audit(): ReplayAudit {
    return this.#audit.report();
  }

  /** @throws AppError TARGET_FORBIDDEN if the target is the recorded server; CAPTURE_EMPTY without requests */
  async check({ holds, correlates }: ExportFormat): Promise<void> {
    const { overview } = this.plan;
    if (holds === 'requests' && overview.arrivalsOnly) throw arrivalsAlone(overview.name);
    await this.#fence?.check(overview.targets, resolveHost);
    if (correlates) this.#links = await linksOfPlan(this.source, this.plan);
  }

  /** The requests that a replay of the same plan would send. */
  *requests(): Generator<ExportedSend> {
    const { options, overview, window, scaling } = this.plan;
    // Filled by `planned` just before the request is yielded.
    const told: PlannedRequest[] = [];
    const requests = plannedRequests(
      {
        source: this.source,
        range: window,
        scaling,
        tally: new ScalingTally(),
        openSessions: OpenSessions.before(overview, this.source, window),
        maxRequests: options.maxRequests,
        durationNs: window.durationNs,
        builder: new RequestBuilder({
          ...options,
          addedHeaders: [],
          http2: true,
          runId: `${RUN_PREFIX}${randomBytes(4).toString('hex')}`,
          identity: copyIdentityOf(overview, scaling),
        }),
        // A file holds recorded bodies. The tool itself decides about answers and about clients that leave.
        changes: new BodyChanges(NO_BODY_CHANGES),
        answers: new AnswerForecast('wait'),
        fence: { checkRecorded: (authority) => this.#fence?.checkRecorded(authority) },
        // Tools that use the file have their own rate limits.
        ceiling: new RateCeiling(Number.POSITIVE_INFINITY),
        audit: this.#audit,
        links: this.#links,
      },
      {
        recorded: () => {
          this.recorded += 1;
        },
        planned: (request) => told.push(request),
        refusedByCeiling: () => undefined,
      },
    );
    for (const request of requests) {
      for (const { row, index, intendedOffsetNs } of told.splice(0)) {
        yield this.#send(row, index, intendedOffsetNs, { request });
      }
    }
  }

  /** All planned sends, for tables. Requests that cannot be sent are included. */
  *rows(): Generator<ExportedSend> {
    const { options, window, scaling } = this.plan;
    let index = 0;
    for (const send of scheduleOf(layeredArrivals(this.source, window, scaling.layers), scaling)) {
      if (index === options.maxRequests) return;
      if (send.intendedOffsetNs >= (window.durationNs ?? Number.POSITIVE_INFINITY)) return;
      if (isOfWindow(send)) this.recorded += 1;
      if (!send.kept) continue;
      const skipped = skipReasonOf(send.row);
      yield this.#send(send.row, index, send.intendedOffsetNs, { copy: send.copy, skipped });
      index += 1;
    }
  }

  #send(
    row: ExchangeRow,
    index: number,
    offsetNs: number,
    rest: Partial<Pick<ExportedSend, 'copy' | 'skipped' | 'request'>>,
  ): ExportedSend {
    const offsetUs = Math.round(offsetNs / 1e3);
    this.#startUs ??= row.arrivalUs - offsetUs;
    this.sends += 1;
    this.spanNs = offsetNs;
    this.#concurrency.add(offsetNs, durationNsOf(row));
    return {
      index,
      offsetNs,
      instantUs: this.#startUs + offsetUs,
      row,
      copy: null,
      request: null,
      skipped: null,
      ...rest,
      recorded: () => this.source.payload(row),
    };
  }
}

/**
 * Objectives as k6 thresholds, as far as k6 can express them.
 * @returns null without objectives
 * @throws AppError OPTION_INVALID for an invalid objective
 */
function k6Objectives(texts: readonly string[], mode: 'exact' | 'rate'): ExportedObjectives | null {
  if (texts.length === 0) return null;
  const cannotCarry: string[] = [];
  const objectives = parseObjectives(texts).flatMap((objective): ExportedObjective[] => {
    const { script: metric } = factsOf(objective).k6;
    const why = metric === null ? unseenBy(objective) : whyNot(objective, mode);
    if (why !== null) cannotCarry.push(`the objective ${objective.expression}: ${why}`);
    return why === null && metric !== null ? [exportedObjective(objective, metric)] : [];
  });
  return { objectives, cannotCarry, tagValueOf };
}

/** Why our script for k6 does not measure a metric. */
function unseenBy(objective: Objective): string {
  return isOfStreams(objective) ? 'k6 does not see the tokens of a stream' : `k6 has no ${objective.metric}`;
}

/** Why k6 cannot express an objective on a metric of our script; null if it can. */
function whyNot(objective: Objective, mode: 'exact' | 'rate'): string | null {
  const { aggregation, slice } = objective;
  if (factsOf(objective).includesLag && mode === 'rate')
    return 'without --pacing exact no request has its own instant';
  if (aggregation.kind === 'count') return 'k6 holds a rate of errors, no count';
  for (const { key, value } of slice?.tags ?? []) {
    if (key === 'stage') return 'requests have no tag that says their stage';
    if (key === 'size' && value.includes('..')) return 'sizes are tagged small, medium and large only';
    if (/[,"']/.test(value)) return 'k6 cannot take commas and quotes in the value of a tag';
  }
  return slice?.each === 'stage' ? 'requests have no tag that says their stage' : null;
}

function exportedObjective(
  { aggregation, operator, limit, slice }: Objective,
  metric: string,
): ExportedObjective {
  const kind = aggregation.kind === 'percentile' ? `p(${aggregation.percent})` : aggregation.kind;
  return {
    metric,
    condition: `${kind}${operator}${limit}`,
    tags: (slice?.tags ?? []).map(({ key, value }) => [tagOf(key, value), value]),
    each: slice?.each ?? null,
  };
}

/** A path without a method has a tag of its own, because k6 compares complete values. */
function tagOf(key: string, value: string): string {
  return key === 'route' && value.startsWith('/') ? 'path' : key;
}

/** The value of a request's tag; null if it has none. */
function tagValueOf({ row, request }: ExportedSend, tag: string): string | null {
  if (tag === 'path') return row.route === null ? null : row.route.slice(row.route.indexOf(' ') + 1);
  const key = SLICE_KEYS.find((known) => known === tag);
  if (key === undefined) return null;
  return sliceValueOf(key, {
    model: row.model,
    route: row.route,
    client: row.client && Buffer.from(row.client).toString('hex'),
    requestBytes: request?.body?.length ?? 0,
    stage: 1,
  });
}

/** The result of `export capture`. */
export interface ExportedCapture extends CopiedCapture {
  readonly schemaVersion: 1;
  readonly kind: 'export';
  readonly format: 'capture';
  readonly out: string;
  readonly captures: readonly string[];
}

/**
 * Copies captures into one new capture, also while they are recorded: sealed segments, what is committed of open ones,
 * and the accounts. The copy is complete or absent.
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_DAMAGED, OUTPUT_EXISTS or OUTPUT_UNWRITABLE; the signal's reason if it
 *   aborts
 */
export async function exportCapture(
  directories: readonly string[],
  out: string,
  { signal, onSegment }: { readonly signal: AbortSignal; readonly onSegment: (file: string) => void },
): Promise<ExportedCapture> {
  const captures = directories.map((directory) => resolveCaptureDirectory(directory, 'read'));
  const staged = new StagedDirectory(out, 'copying');
  try {
    const copied: CopiedCapture[] = [];
    for (const capture of captures) {
      const visit = (file: string) => {
        signal.throwIfAborted();
        onSegment(file);
      };
      copied.push(writingTo(out, () => copyCapture(capture, staged.path, visit)));
      // Signals are heard between two captures.
      await setImmediate();
    }
    staged.publish();
    const sum = (of: keyof CopiedCapture) => copied.reduce((total, each) => total + each[of], 0);
    return {
      schemaVersion: 1,
      kind: 'export',
      format: 'capture',
      out,
      captures,
      segments: sum('segments'),
      open: sum('open'),
      duplicates: sum('duplicates'),
      bytes: sum('bytes'),
    };
  } catch (thrown) {
    staged.discard();
    throw thrown;
  }
}
