import { posix } from 'node:path';
import { shownText, shownUrl } from '../../core/text.ts';
import { formatMultiplier } from '../../core/units.ts';
import type { CapacityDocument, CapacityStep } from '../../documents/capacity.ts';
import type { TestedDocument } from '../../documents/parts.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import {
  PUBLICATION_SCHEMA_VERSION,
  type PublicationDocument,
  type PublishedRun,
} from '../../documents/publication.ts';
import type { ObjectiveLine, ReplayDocument } from '../../documents/replay.ts';
import type { MonitoredLine, ReportDocument } from '../../documents/report.ts';
import { RUN_VALUES } from '../../documents/run-values.ts';
import type { StatementDocument } from '../../documents/statement.ts';
import { capacityView } from '../capacity/view.ts';
import { type View, withoutRepeats } from '../render/table.ts';
import { stateOf } from '../report/requests.ts';
import { reportView } from '../report/view.ts';
import { statementFigures } from '../statement/figures.ts';
import { statementView } from '../statement/view.ts';

/** Figures by name. `known` keeps only the numbers. */
type Figures = Readonly<Record<string, unknown>>;
type Series = PublishedRun['series'];

/**
 * A run in the form of experiment trackers. Metrics have the names of AIPerf's MLflow export, so that runs of both can
 * share a table. `request_latency` counts from the actual send, `scheduled_latency` from the intended instant.
 * @param report without addresses
 */
export function runPublication(report: ReportDocument, summary: ReplayDocument): PublicationDocument {
  const { run, version, verdict, startedAt, endedAt, interrupted } = summary;
  const { name } = summary.options;
  return {
    ...heading(version),
    id: run,
    name: `${typeof name === 'string' ? name : posix.basename(summary.capture)} ${multiplierText(summary.multiplier)}`,
    ...datasetOf(summary),
    kind: 'replay',
    verdict,
    startedAt,
    endedAt,
    complete: interrupted === null,
    note: noteOf(reportView(report)),
    params: paramsOf({
      capture: summary.capture,
      target: summary.target,
      scaling: summary.scaling,
      'window.from': summary.windows?.[0]?.from,
      'window.to': summary.windows?.at(-1)?.to,
      ...objectiveParams(summary.slo.map(({ expression }) => expression)),
      ...summary.options,
    }),
    tags: tagsOf('replay', version, {
      run,
      verdict: verdict ?? 'none',
      valid: String(report.valid),
      reasons: report.reasons.map(({ code }) => code).join(' '),
      ...testedTags(summary),
      ...objectiveTags(summary),
    }),
    metrics: known(runMetrics(summary)),
    series: { ...loadSeries(report), ...monitorSeries(report) },
    children: [],
  };
}

function runMetrics(run: ReplayDocument): Figures {
  return {
    ...Object.fromEntries(
      RUN_VALUES.flatMap(({ tracked, of }) => (tracked === undefined ? [] : [[tracked, of(run)]])),
    ),
    ...Object.assign({}, ...run.slo.map(objectiveMetrics)),
    ...Object.assign({}, ...(run.monitors?.series ?? []).map(monitorMetrics)),
  };
}

/** The key of a monitored series, in the namespace that MLflow shows as system metrics. */
function monitorKey({ source, name, labels }: Pick<MonitoredLine, 'source' | 'name' | 'labels'>): string {
  const own = Object.entries(labels).map(([label, value]) => `${label}:${value}`);
  return `system/${[source, name].map((part) => part.replaceAll('/', '_')).join('/')}${own.length === 0 ? '' : ` ${own.join(' ').replaceAll('/', '_')}`}`;
}

function monitorMetrics(series: NonNullable<ReplayDocument['monitors']>['series'][number]): Figures {
  const { mean, p95, max } = series;
  return named(monitorKey(series), { mean, p95, max });
}

function objectiveMetrics({ observed, limit, upperBound, goodput }: ObjectiveLine, at: number): Figures {
  return named(`objective.${at + 1}`, {
    observed,
    limit,
    upper_bound: upperBound,
    good_request_count: goodput?.good,
    goodput: goodput?.perSecond,
  });
}

/** The states of objectives in words of their own: trackers filter runs by them. */
const STATES = { kept: 'met', violated: 'violated', undecided: 'undecided', unmeasured: 'unknown' } as const;

function objectiveTags(run: ReplayDocument): Record<string, string> {
  return Object.fromEntries(
    run.slo.map((line, at) => {
      const unanswered = line.observed === 'Infinity' ? ', most got no answer' : '';
      return [`objective.${at + 1}`, `${STATES[stateOf(line, run)]}${unanswered}`];
    }),
  );
}

function objectiveParams(expressions: readonly string[]): Record<string, string> {
  return Object.fromEntries(expressions.map((expression, at) => [`objective.${at + 1}`, expression]));
}

/** The load and its latency, one value for each step of the report's time axis. */
function loadSeries({ overTime }: ReportDocument): Series {
  const { at, stepS } = overTime;
  const perStep = (['offered', 'sent', 'completed', 'failed'] as const).map((name) => [
    `over_time/${name}_per_second`,
    overTime[name].map((count) => count / stepS),
  ]);
  const values: Record<string, readonly (number | null)[]> = {
    ...Object.fromEntries(perStep),
    'over_time/in_flight': overTime.inFlight,
    ...named(
      'over_time/scheduled_latency',
      byPercent(PERCENTS, (percent) => overTime[`p${percent}Ms`]),
    ),
  };
  return Object.fromEntries(Object.entries(values).map(([key, each]) => [key, pointsOf(at, each)]));
}

function monitorSeries({ monitored = [], overTime }: ReportDocument): Series {
  return Object.fromEntries(monitored.map((line) => [monitorKey(line), pointsOf(overTime.at, line.values)]));
}

function pointsOf(at: readonly number[], values: readonly (number | null)[]): [number, number][] {
  return at.flatMap((second, index): [number, number][] => {
    const value = values[index];
    return value == null ? [] : [[second, value]];
  });
}

/** A search, with its steps as child runs. @param document without addresses */
export function capacityPublication(document: CapacityDocument): PublicationDocument {
  const { version, startedAt, endedAt, endedBy, limitedBy, breakingPoint, steps } = document;
  const id = idOf(document);
  const { passes, fails, boundary, interval } = breakingPoint;
  const name = `${document.name ?? posix.basename(document.capture)} search`;
  return {
    ...heading(version),
    id,
    name,
    ...datasetOf(document),
    kind: 'capacity',
    verdict: null,
    startedAt,
    endedAt,
    complete: endedBy !== 'interrupted',
    note: noteOf(capacityView(document)),
    // Trackers keep the first value of a param. So params are only settings that stay the same when a search is
    // resumed.
    params: paramsOf({
      capture: document.capture,
      target: document.target,
      width: document.width,
      ...objectiveParams(document.objectives),
    }),
    tags: tagsOf('capacity', version, {
      run: id,
      ...testedTags(document),
      limited_by: limitedBy,
      ended_by: endedBy,
      gave_first: document.gaveFirst?.objective ?? 'none',
      scaling: document.scaling,
      window_s: `${document.windowS}`,
      budget_s: `${document.budgetS}`,
    }),
    metrics: known({
      ...named('breaking_point', { passes: passes?.multiplier, fails: fails?.multiplier }),
      'breaking_point.boundary': boundary?.multiplier,
      'breaking_point.boundary_per_second': boundary?.ratePerSecond,
      ...named('breaking_point', { low: interval?.[0], high: interval?.[1] }),
      'knee.multiplier': document.knee?.multiplier,
      noise: document.noise.share,
      spent_s: document.spentS,
    }),
    series: {},
    curve: curveOf(document),
    children: steps.map((step, at) => stepPublication(step, stepId(steps, at, id), name, document)),
  };
}

/** A statement. Its runs and its search can be published alone. @param document without addresses */
export function statementPublication(document: StatementDocument): PublicationDocument {
  const { version, startedAt, endedAt, verdict, runs, limits, multiplier } = document;
  const id = idOf(document);
  return {
    ...heading(version),
    id,
    name: `${document.name ?? posix.basename(document.capture)} statement`,
    ...datasetOf(document),
    kind: 'statement',
    verdict,
    startedAt,
    endedAt,
    complete: !limits.some(({ code }) => code === 'part_missing'),
    note: noteOf(statementView(document)),
    params: paramsOf({
      capture: document.capture,
      target: document.target,
      multiplier,
      'window.from': document.window.from,
      'window.to': document.window.to,
      ...objectiveParams(document.objectives),
    }),
    tags: tagsOf('statement', version, {
      run: id,
      verdict,
      ...testedTags(document),
      reasons: limits.flatMap(({ code, decides }) => (decides ? [code] : [])).join(' '),
      ...Object.fromEntries(runs.map(({ part, verdict: each }) => [`part.${part}`, each ?? 'none'])),
    }),
    metrics: Object.fromEntries(statementFigures(document).map(({ name, value }) => [name, value])),
    series: {},
    children: [],
  };
}

/** The id of a search or a statement. If it is resumed, it keeps its start. */
function idOf({ directory, startedAt }: Pick<CapacityDocument, 'directory' | 'startedAt'>): string {
  return `${posix.basename(directory)}-${startedAt}`.replace(/[^\w.:-]/g, '-');
}

/** The id of a step. It has no index, because a resumed search may lack earlier steps. */
function stepId(steps: readonly CapacityStep[], at: number, parent: string): string {
  const names = steps.slice(0, at + 1).map(({ multiplier, purpose }) => `${multiplier}x-${purpose}`);
  const alike = names.filter((name) => name === names[at]).length;
  return `${parent}-${names[at]}${alike === 1 ? '' : `-${alike}`}`;
}

function stepPublication(
  step: CapacityStep,
  id: string,
  search: string,
  { startedAt, endedAt, version }: CapacityDocument,
): PublishedRun {
  const { multiplier, purpose, verdict, reasons, windows } = step;
  const ended = (result: string) => windows.filter((window) => window.result === result).length;
  return {
    id,
    name: `${search} ${multiplierText(multiplier)} ${purpose}`,
    kind: 'step',
    verdict,
    startedAt,
    endedAt,
    complete: step.endedEarly === null,
    note: `**${verdict}** at ${multiplier}x${reasons.map(({ text }) => `\n- ${verbatim(text)}`).join('')}`,
    params: paramsOf({ multiplier, purpose }),
    tags: tagsOf('step', version, {
      run: id,
      verdict,
      reasons: reasons.map(({ code }) => code).join(' ') || 'none',
      ended_early: step.endedEarly ?? 'no',
    }),
    metrics: known({
      multiplier,
      planned_per_second: step.ratePerSecond,
      spent_s: step.spentS,
      request_throughput: step.achieved.ratePerSecond,
      achieved: step.achieved.share,
      'scheduled_latency.mean': step.latencyMeanMs,
      ...named('scheduled_latency', step.latencyMs),
      ...named('windows', { good: ended('good'), bad: ended('bad'), void: ended('void') }),
    }),
    series: {},
  };
}

/** The values of each load of a search, by the load. */
function curveOf({ curve }: CapacityDocument): NonNullable<PublishedRun['curve']> {
  const pointsBy = (pick: (point: CapacityDocument['curve'][number]) => number | null | undefined) =>
    curve.flatMap((point): [number, number][] => {
      const value = pick(point);
      return value == null ? [] : [[point.multiplier * 100, value]];
    });
  const values = {
    request_rate: pointsBy(({ ratePerSecond }) => ratePerSecond),
    request_throughput: pointsBy(({ completedPerSecond }) => completedPerSecond),
    goodput: pointsBy(({ goodPerSecond }) => goodPerSecond),
    'scheduled_latency.mean': pointsBy(({ latencyMeanMs }) => latencyMeanMs),
    ...named(
      'scheduled_latency',
      byPercent(PERCENTS, (percent) => pointsBy(({ latencyMs }) => latencyMs[`p${percent}`])),
    ),
  };
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, points]) =>
      points.length === 0 ? [] : [[`by_load/${key}`, points]],
    ),
  );
}

function multiplierText(multiplier: number): string {
  return `${formatMultiplier(multiplier)}x`;
}

function datasetOf({ capture, captureDigest }: Pick<ReplayDocument, 'capture' | 'captureDigest'>) {
  return captureDigest === undefined
    ? {}
    : { dataset: { name: posix.basename(capture), digest: captureDigest } };
}

function testedTags({ labels = {}, captureDigest = '' }: TestedDocument): Record<string, string> {
  const named = Object.entries(labels).map(([name, value]) => [`label.${name}`, value]);
  return { ...Object.fromEntries(named), capture_digest: captureDigest };
}

function heading(version: string) {
  return { schemaVersion: PUBLICATION_SCHEMA_VERSION, published: true, version } as const;
}

function tagsOf(
  kind: PublishedRun['kind'],
  version: string,
  more: Readonly<Record<string, string>>,
): Record<string, string> {
  const tags = Object.entries({ kind, version, ...more }).filter(([, value]) => value !== '');
  return Object.fromEntries(tags.map(([key, value]) => [`reprise.${key}`, value]));
}

/** Settings as texts by dotted path, without those that are not set. */
function paramsOf(settings: Readonly<Record<string, unknown>>, path = ''): Record<string, string> {
  const params: Record<string, string> = {};
  for (const [key, value] of Object.entries(settings)) {
    if (value === null || value === undefined) continue;
    if (Array.isArray(value)) {
      if (value.length > 0) params[path + key] = value.map(textOf).join(', ');
    } else if (typeof value === 'object') Object.assign(params, paramsOf({ ...value }, `${path}${key}.`));
    else params[path + key] = String(value);
  }
  return params;
}

function textOf(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function named<Value>(name: string, values: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${name}.${key}`, value]));
}

/** The measured values: only numbers, which every tracker can store. */
function known(values: Figures): Record<string, number> {
  const measured = Object.entries(values).filter(([, value]) => typeof value === 'number');
  return Object.fromEntries(measured) as Record<string, number>;
}

function noteOf({ verdict, headline, reasons }: View): string {
  const lines = withoutRepeats(reasons).map(({ code, text }) => `\n- ${verbatim(code)}: ${verbatim(text)}`);
  return `**${verdict ?? 'no verdict'}** ${verbatim(headline)}${lines.join('')}`;
}

/** Text that Markdown only displays. Lists of runs show a note as it is, so nothing in it is escaped by backslashes. */
function verbatim(text: string): string {
  return `\`${shownText(text).replace(/\s+/g, ' ').replaceAll('`', "'")}\``;
}

const URLS = /\b([a-z][a-z0-9+.-]{0,30}:\/\/)([^\s/?#"'<>(),;]+)/gi;
const WHOLE_URLS = /\b[a-z][a-z0-9+.-]{0,30}:\/\/[^\s"'<>()]+/gi;
const PROCESS = /\bpid[: ]\d+\b/g;
const IPV4 = /(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\w.]*\w)/g;
/** A match is an address only if it has a hexadecimal digit and all groups. */
const IPV6 = /(?<![\w:])(?:[\da-f]{0,4}:){2,8}[\da-f]{0,5}(?![\w:])/gi;
const NAME_AND_PORT = /(?<![\w.:/@-])[a-z][\w.-]{0,252}:[1-9]\d{1,4}(?![\w:]|\.\d)/gi;
/** Names in errors of the resolver and of TLS. */
const NAMED = /\b((?:getaddrinfo|query\w+) E[A-Z_]+ |Host: |DNS:)([\w*][\w.*-]*\w)/g;
/** A matcher of PromQL: `instance="gpu-7"`. */
const MATCHER = /\b([a-z_]\w*)(\s*(?:=~|!=|!~|=)\s*)(["'`])([^"'`]+)\3/gi;
/** Fields and labels with an address or a machine's name as the complete value, such as `Hostname` of DCGM. */
const ADDRESS_FIELD =
  /(?:^|_)(?:address|fqdn|host|host_?name|instance|ip|machine|node|node_?name)$|^(?:control|(?:allowedP|p)roductionHosts)$/i;
/** Fields with messages of other programs, which may name any machine; and fields with our own sentences. */
const ERROR_FIELD = /^(?:lastError|off|problem)$/;
const SENTENCE_FIELD = /^(?:text|notes?)$/;
/** Values of a `host` option that name no host. */
const WORDS: ReadonlySet<string> = new Set(['target', 'recorded']);

/**
 * Removes addresses of machines and paths of this machine from a document, so that it can leave the machine. The target
 * becomes `name`, other machines `host-1`, `host-2` …, and processes `process-1` …; equal ones stay equal. Only the
 * last part of a path stays. Names without a dot are recognized in URLs, in fields for addresses, with a port, and in
 * certain errors. In errors they are then replaced everywhere; in sentences only if they cannot be words, such as
 * `gpu-7`.
 * @param target URL of the target; null if the document does not name it
 * @param name what the target is called instead
 * @param paths directories that the document names
 */
export function withoutAddresses<Document extends object>(
  document: Document,
  target: string | null,
  paths: readonly string[],
  name = 'target',
): Document {
  const names = new AddressNames(target, name);
  // The first pass collects all addresses, before known addresses are searched in texts.
  const found = mapTexts(document, (text, key) => names.replaced(text, key));
  const patterns = names.patterns();
  const longestFirst = paths.filter((path) => path.includes('/')).sort((a, b) => b.length - a.length);
  return mapTexts(found, (text, key) => {
    const known = ERROR_FIELD.test(key)
      ? patterns.inErrors
      : SENTENCE_FIELD.test(key)
        ? patterns.inSentences
        : patterns.anywhere;
    const short = longestFirst.reduce((rest, path) => rest.replaceAll(path, posix.basename(path)), text);
    return known === null ? short : short.replace(known, (address) => names.of(address));
  }) as Document;
}

/** The replacement of each address. */
class AddressNames {
  readonly #names = new Map<string, string>();
  readonly #counts = { host: 0, process: 0 };

  constructor(target: string | null, name: string) {
    const [[, , authority] = []] = [...(target ?? '').matchAll(URLS)];
    if (authority !== undefined) this.#add(hostIn(authority), name);
  }

  of(address: string, kind: 'host' | 'process' = 'host'): string {
    const known = this.#names.get(address) ?? this.#names.get(withoutPort(address));
    if (known !== undefined) return known;
    this.#counts[kind] += 1;
    return this.#add(address, `${kind}-${this.#counts[kind]}`);
  }

  /** Replaces addresses that are recognizable by their form, and remembers them. */
  replaced(text: string, key: string): string {
    if (ADDRESS_FIELD.test(key) && /^[^\s/]+$/.test(text)) return WORDS.has(text) ? text : this.of(text);
    const inErrors = ERROR_FIELD.test(key)
      ? text.replace(NAMED, (_, before: string, name: string) => before + this.of(name))
      : text;
    return inErrors
      .replace(PROCESS, (process) => this.of(process.replace(' ', ':'), 'process'))
      .replace(WHOLE_URLS, shownUrl)
      .replace(URLS, (_, scheme: string, authority: string) => scheme + this.of(hostIn(authority)))
      .replace(MATCHER, (matcher, label: string, is: string, quote: string, value: string) =>
        ADDRESS_FIELD.test(label) ? label + is + quote + this.of(value) + quote : matcher,
      )
      .replace(IPV4, (address) => this.of(address))
      .replace(IPV6, (address) => (isIpv6(address) ? this.of(address) : address))
      .replace(NAME_AND_PORT, (address) => this.of(address));
  }

  /** Patterns of the known addresses, by the kind of text to search. */
  patterns(): Readonly<Record<'anywhere' | 'inSentences' | 'inErrors', RegExp | null>> {
    return {
      anywhere: this.#pattern(/[.:]/),
      inSentences: this.#pattern(/[.:]|[a-z].*[\d-]|[\d-].*[a-z]/i),
      inErrors: this.#pattern(/[.:]|[a-z].*\w/i),
    };
  }

  /** Null if no known address has this form. */
  #pattern(form: RegExp): RegExp | null {
    const clear = [...this.#names.keys()].filter((address) => form.test(address));
    if (clear.length === 0) return null;
    const escaped = clear.sort((a, b) => b.length - a.length).map((each) => each.replace(/[^\w:]/g, '\\$&'));
    return new RegExp(`(?<![\\w.-])(?:${escaped.join('|')})(?![\\w-]|\\.\\w)`, 'g');
  }

  #add(address: string, name: string): string {
    this.#names.set(address, name).set(withoutPort(address), name);
    return name;
  }
}

/** The host of an authority, with its port but without user info. */
function hostIn(authority: string): string {
  return authority.slice(authority.lastIndexOf('@') + 1);
}

/** Removes the port. An IPv6 address without brackets stays, because its last group looks like a port. */
function withoutPort(address: string): string {
  return /^pid:|^[^[]*:.*:/.test(address) ? address : address.replace(/:\d{1,5}$/, '');
}

function isIpv6(text: string): boolean {
  return /[\da-f]/i.test(text) && (text.includes('::') || text.split(':').length >= 8);
}

function mapTexts(value: unknown, change: (text: string, key: string) => string, key = ''): unknown {
  if (typeof value === 'string') return change(value, key);
  if (Array.isArray(value)) return value.map((each) => mapTexts(each, change, key));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, mapTexts(each, change, name)]),
  );
}
