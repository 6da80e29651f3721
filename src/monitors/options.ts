import { AppError, type Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { grouped, listOf, type OptionParser, type ResolvedOptions } from '../core/options.ts';
import { parsePositiveMs, parseWaitMs, refused } from '../core/units.ts';
import { type MonitorHeaders, metricsPlacesOf, ScrapeSource } from './metrics-scrape.ts';
import { MONITORED_NAMES } from './presets.ts';
import { ProcessSource } from './process-tree.ts';
import { PrometheusSource } from './prometheus-api.ts';
import { type MonitorQuery, parseMonitorQuery } from './query.ts';
import { GeneratorSource, type MonitorSource } from './source.ts';

/** One `--monitor`. */
type MonitorPlace =
  | { readonly kind: 'target' }
  | { readonly kind: 'scrape' | 'prometheus' | 'recorded'; readonly url: string }
  | { readonly kind: 'pid' | 'port'; readonly number: number };
const URL_KINDS = { scrape: '', prometheus: 'prom=', recorded: 'recorded=' } as const;

const PLACES_HINT =
  'Give target, http://HOST:PORT/metrics, prom=http://HOST:9090, recorded=http://HOST:9090, pid:NUMBER, port:NUMBER, or NAME=PROMQL for a series.';

/** @throws AppError OPTION_INVALID */
export function parseMonitorPlace(text: string, what: string): MonitorPlace {
  const given = text.trim();
  if (given === 'target') return { kind: 'target' };
  const [, kind, number] = /^(pid|port):(\d{1,10})$/.exec(given) ?? [];
  if ((kind === 'pid' || kind === 'port') && Number(number) > 0) return { kind, number: Number(number) };
  const [, api, url = given] = /^(?:(prom|recorded)=)?(https?:\/\/.+)$/.exec(given) ?? [];
  if (!URL.canParse(url) || !/^https?:/.test(url)) throw refused(what, text, 'is no monitor', PLACES_HINT);
  const { username, password } = new URL(url);
  if (username + password !== '') {
    // The URL is stored with the run.
    throw new AppError('OPTION_INVALID', `${what}: the URL holds credentials`, {
      hint: 'Give them with --header "monitor Authorization: env:NAME".',
    });
  }
  if (api === undefined) return { kind: 'scrape', url };
  return { kind: api === 'prom' ? 'prometheus' : 'recorded', url };
}

/** Shorter intervals would load the target without telling more. */
const LEAST_INTERVAL_MS = 100;

function parseInterval(text: string, what: string): number {
  const ms = parsePositiveMs(text, what);
  if (ms < LEAST_INTERVAL_MS) throw refused(what, text, `is below ${LEAST_INTERVAL_MS}ms`);
  return parseWaitMs(text, what);
}

/** One `--monitor`: what is watched, a series of it by name, or the time between two readings. */
type StatedMonitor =
  | { readonly kind: 'place'; readonly place: MonitorPlace }
  | { readonly kind: 'query'; readonly query: MonitorQuery }
  | { readonly kind: 'interval'; readonly ms: number };

const parseMonitor: OptionParser<StatedMonitor> = (text, what) => {
  const [, name, rest = ''] = /^\s*([a-z_]\w*)(?:@recorded)?\s*=(.*)$/s.exec(text) ?? [];
  if (name === 'interval') return { kind: 'interval', ms: parseInterval(rest.trim(), `${what} interval`) };
  if (name === undefined || name === 'prom' || (name === 'recorded' && /^\s*https?:/.test(rest)))
    return { kind: 'place', place: parseMonitorPlace(text, what) };
  return { kind: 'query', query: parseMonitorQuery(text, what) };
};

/** What to watch during the load. */
export const MONITOR_OPTIONS = grouped('Monitors', {
  monitor: listOf(
    '--monitor <source|series>',
    'what to watch: target, a URL of metrics, prom=URL (Prometheus), recorded=URL (its recorded window), pid:N or port:N; ' +
      'NAME=PROMQL: a series by this name, PromQL or the metric of a scrape (NAME@recorded=… for the recorded window); ' +
      'interval=TIME: time between two readings (default: 1s, for a Prometheus 5s)',
    parseMonitor,
  ),
});

/** What is watched, and how. */
export interface MonitorOptions {
  readonly monitor: readonly MonitorPlace[];
  readonly monitorQuery: readonly MonitorQuery[];
  /** Null for the default of each source. */
  readonly monitorInterval: number | null;
  readonly headers: readonly MonitorHeader[];
}

interface MonitorHeader {
  /** The `--monitor` that it is for; null for all of them. */
  readonly of: string | null;
  readonly header: MonitorHeaders[number];
}

/**
 * Sorts what is watched, and checks what can be combined.
 * @param headers headers for all monitors (`monitor`) or one (`monitor=SOURCE`)
 * @param isTaken whether objectives use a name for something else
 * @param isAskedMore whether a Prometheus is asked for more than series
 */
export function monitorOptionsOf(
  read: ResolvedOptions<typeof MONITOR_OPTIONS>,
  headers: readonly { readonly to: string; readonly header: MonitorHeaders[number] }[],
  problems: Problems,
  isTaken: (name: string) => boolean,
  isAskedMore = false,
): MonitorOptions {
  const monitor = read.monitor.flatMap((each) => (each.kind === 'place' ? [each.place] : []));
  const monitorQuery = read.monitor.flatMap((each) => (each.kind === 'query' ? [each.query] : []));
  const [monitorInterval = null, ...more] = read.monitor.flatMap((each) =>
    each.kind === 'interval' ? [each.ms] : [],
  );
  if (more.length > 0) problems.add('--monitor: interval is given twice');
  const isApi = ({ kind }: MonitorPlace) => kind === 'prometheus' || kind === 'recorded';
  if (monitor.length > LIMITS.monitors)
    problems.add(`--monitor: ${monitor.length} sources are more than ${LIMITS.monitors}`);
  if (monitorQuery.length > LIMITS.monitoredSeries)
    problems.add(`--monitor: ${monitorQuery.length} series are more than ${LIMITS.monitoredSeries}`);
  if (monitor.some(isApi) && monitorQuery.length === 0 && !isAskedMore) {
    problems.add(
      '--monitor: a Prometheus is asked for nothing',
      "Name a series, such as --monitor 'queue_length=sum(vllm:num_requests_waiting)'.",
    );
  }
  const isRead = monitor.some(({ kind }) => kind === 'target' || kind === 'scrape');
  for (const { name, promql, selector } of monitorQuery) {
    if (isTaken(name)) problems.add(`--monitor ${name}: it is the name of a metric of objectives`);
    if (monitor.some(isApi)) continue;
    if (!isRead) problems.add(`--monitor ${name}=… has no effect without a source that it can be asked of`);
    else if (selector === null)
      problems.add(
        `--monitor ${name}: only a Prometheus answers ${promql}; of metrics that are scraped give a name`,
      );
  }
  const addressed = headers.map(({ to, header }): MonitorHeader => {
    const [, of = null] = /^monitor=(.*)$/s.exec(to) ?? [];
    if (of !== null && !monitor.some((place) => placeText(place) === of))
      problems.add(`--header: ${of} is no --monitor`, 'Name a source as --monitor has it.');
    return { of, header };
  });
  return { monitor, monitorQuery, monitorInterval, headers: addressed };
}

/** The headers for a source: those for all sources, then its own. */
export function headersFor({ headers }: MonitorOptions, place: MonitorPlace): MonitorHeaders {
  const ofPlace = (of: string | null) => headers.filter((each) => each.of === of);
  // Names ignore case. Of two equal names, the later is sent.
  return [...ofPlace(null), ...ofPlace(placeText(place))].map(({ header: [name, text] }) => [
    name.toLowerCase(),
    text,
  ]);
}

/** Names of series that objectives of this run can use; empty without a monitor. */
export function objectiveNames({ monitor, monitorQuery }: MonitorOptions): ReadonlySet<string> {
  if (monitor.length === 0) return new Set();
  return new Set([...MONITORED_NAMES, ...monitorQuery.map(({ name }) => name)]);
}

/** The options as a run stores them, without headers. */
export function describeMonitors({ monitor, monitorQuery, monitorInterval }: MonitorOptions) {
  return {
    monitor: monitor.map(placeText),
    monitorQuery: monitorQuery.map(
      ({ name, promql, isRecorded }) => `${name}${isRecorded ? '@recorded' : ''}=${promql}`,
    ),
    monitorIntervalMs: monitorInterval,
  };
}

function placeText(place: MonitorPlace): string {
  if (place.kind === 'target') return place.kind;
  if ('number' in place) return `${place.kind}:${place.number}`;
  return `${URL_KINDS[place.kind]}${place.url}`;
}

const DIRECT_MS = 1_000;
const API_MS = 5_000;

/** The longest time between two looks of one source. */
export function longestIntervalMs({ monitor, monitorQuery, monitorInterval }: MonitorOptions): number {
  const asksApi = monitorQuery.length > 0 && monitor.some(({ kind }) => kind === 'prometheus');
  return monitorInterval ?? (asksApi ? API_MS : DIRECT_MS);
}

/** The sources of a run. */
export interface MonitorSources {
  readonly generator: GeneratorSource;
  readonly all: readonly MonitorSource[];
  /** Sources for the recorded window: those of `recorded=`, else the Prometheus sources of the run. */
  readonly recorded: readonly PrometheusSource[];
}

/**
 * @param target URL of the target, where metrics are searched
 * @param nowMs the wall clock, epoch milliseconds
 */
export function monitorSources(options: MonitorOptions, target: string, nowMs: () => number): MonitorSources {
  const { monitor, monitorQuery: queries, monitorInterval } = options;
  const directMs = monitorInterval ?? DIRECT_MS;
  const apiMs = monitorInterval ?? API_MS;
  const generator = new GeneratorSource(directMs);
  const names = new Set<string>([generator.name]);
  const named = (name: string): string => {
    const free = names.has(name) ? `${name} (${names.size})` : name;
    names.add(free);
    return free;
  };
  const scrape = (name: string, places: readonly string[], headers: MonitorHeaders) =>
    new ScrapeSource(named(name), places, directMs, queries.filter(isLive), headers, nowMs);
  const isLive = ({ isRecorded }: MonitorQuery) => !isRecorded;
  const recorded: PrometheusSource[] = [];
  const apis: PrometheusSource[] = [];
  const sources = monitor.flatMap((place): MonitorSource[] => {
    const headers = headersFor(options, place);
    if (place.kind === 'target') return [scrape('target', metricsPlacesOf(target), headers)];
    if (place.kind === 'scrape') return [scrape(hostOf(place.url), [place.url], headers)];
    if ('number' in place) {
      const of = place.kind === 'pid' ? { pid: place.number } : { port: place.number };
      return [new ProcessSource(named(placeText(place)), of, directMs)];
    }
    if (queries.length === 0) return [];
    const name = named(`prometheus ${hostOf(place.url)}`);
    const source = new PrometheusSource(name, place.url, apiMs, queries, headers);
    if (place.kind === 'recorded') recorded.push(source);
    else apis.push(source);
    return place.kind === 'recorded' ? [] : [source];
  });
  return { generator, all: [generator, ...sources], recorded: recorded.length > 0 ? recorded : apis };
}

function hostOf(url: string): string {
  return new URL(url).host;
}
