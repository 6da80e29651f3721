import { reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { bareName, EXPORTERS, PRESETS, type Preset } from './presets.ts';
import type { MonitorQuery } from './query.ts';
import { type Look, type MonitorSource, NoSuchSource, type Reading, readingOf } from './source.ts';

/** One line of a scrape. */
interface ExposedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** When it was taken, epoch milliseconds. Null if the line has no time, which means now. */
  readonly timestampMs: number | null;
}

interface Exposition {
  readonly samples: readonly ExposedSample[];
  /** Number of names that are not wanted. A histogram counts once. */
  readonly unknown: number;
  /** Lines that do not have the format. */
  readonly malformed: number;
}

const NAME = /^[a-zA-Z_:][\w:]*/;
const HISTOGRAM_PART = /_(?:bucket|sum|count|created|total)$/;

/**
 * Reads a scrape in the text format of Prometheus 0.0.4 or in OpenMetrics 1.0. A histogram's buckets are read like any
 * other line, by the name of the line.
 * @param wanted which names are read; other names are only counted
 * @param isOpenMetrics in OpenMetrics, timestamps are seconds, not milliseconds
 */
export function parseExposition(
  text: string,
  wanted: (name: string) => boolean = () => true,
  isOpenMetrics = false,
): Exposition {
  const samples: ExposedSample[] = [];
  const unknown = new Set<string>();
  let malformed = 0;
  for (let from = 0; from < text.length; ) {
    const end = text.indexOf('\n', from);
    const line = text.slice(from, end < 0 ? undefined : end).trim();
    from = end < 0 ? text.length : end + 1;
    if (line === '' || line.startsWith('#')) continue;
    const name = NAME.exec(line)?.[0];
    if (name !== undefined && !wanted(name)) {
      unknown.add(name.replace(HISTOGRAM_PART, ''));
      // A name without a value or labels is no sample, so the text may have another format.
      if (!/[\s{]/.test(line[name.length] ?? '')) malformed += 1;
      continue;
    }
    const sample = name === undefined ? null : parseSample(name, line.slice(name.length), isOpenMetrics);
    if (sample === null) malformed += 1;
    else samples.push(sample);
  }
  return { samples, unknown: unknown.size, malformed };
}

const LABEL = /\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|(?=\}))/y;

/** @param rest the text of the line after the name */
function parseSample(name: string, rest: string, isOpenMetrics: boolean): ExposedSample | null {
  const labels: Record<string, string> = {};
  let at = 0;
  if (rest.trimStart().startsWith('{')) {
    at = rest.indexOf('{') + 1;
    for (;;) {
      LABEL.lastIndex = at;
      const found = LABEL.exec(rest);
      if (found === null) break;
      labels[found[1] as string] = unescaped(found[2] as string);
      at = LABEL.lastIndex;
    }
    const close = /^\s*\}/.exec(rest.slice(at));
    if (close === null) return null;
    at += close[0].length;
  }
  // An exemplar after ` # ` is dropped, because it describes only one request.
  const [value, timestamp] = (rest.slice(at).split(' # ')[0] ?? '').trim().split(/\s+/);
  const number = numberOf(value);
  if (number === null) return null;
  const stamp = timestamp === undefined ? null : numberOf(timestamp);
  return {
    name,
    labels,
    value: number,
    timestampMs: stamp === null ? null : stamp * (isOpenMetrics ? 1e3 : 1),
  };
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character));
}

/** Null if the text is no number. `NaN` is a number: it means that the server has no value. */
function numberOf(text: string | undefined): number | null {
  if (text === undefined || text === '') return null;
  if (/^[+-]?Inf$/i.test(text))
    return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (/^NaN$/i.test(text)) return Number.NaN;
  const number = Number(text);
  return Number.isNaN(number) ? null : number;
}

/** Headers of every look at a source. They may contain secrets and are never shown. */
export type MonitorHeaders = readonly (readonly [string, string])[];

const ACCEPT = 'application/openmetrics-text;version=1.0.0;q=0.8, text/plain;version=0.0.4;q=1, */*;q=0.1';

/** Where servers have their metrics: on the port for requests, or on the metrics ports of Triton and TorchServe. */
const PATHS = ['/metrics', '/prometheus/metrics', '/monitoring/prometheus/metrics'] as const;
const PORTS = [8002, 8082] as const;

/** URLs where a target may have its metrics, the likeliest first. @param target such as `http://host:8000` */
export function metricsPlacesOf(target: string): readonly string[] {
  const { origin, hostname } = new URL(target);
  return [
    ...PATHS.map((path) => `${origin}${path}`),
    ...PORTS.map((port) => `http://${hostname}:${port}${PATHS[0]}`),
  ];
}

/** Scrapes the metrics of a server. Of several URLs, the first with metrics is kept. */
export class ScrapeSource implements MonitorSource {
  readonly kind = 'scrape';
  readonly name: string;
  readonly intervalMs: number;
  readonly #places: readonly string[];
  readonly #headers: MonitorHeaders;
  readonly #read: ReturnType<typeof readingsFor>;
  readonly #nowMs: () => number;
  #found: string | null = null;

  constructor(
    name: string,
    places: readonly string[],
    intervalMs: number,
    queries: readonly MonitorQuery[],
    headers: MonitorHeaders,
    nowMs: () => number,
  ) {
    this.name = name;
    this.intervalMs = intervalMs;
    this.#places = places;
    this.#headers = headers;
    // Only a Prometheus can answer queries that are more than a selector.
    this.#read = readingsFor(queries.filter(({ selector }) => selector !== null));
    this.#nowMs = nowMs;
  }

  get address(): string | null {
    return this.#found ?? (this.#places.length === 1 ? (this.#places[0] ?? null) : null);
  }

  async look(signal: AbortSignal): Promise<Look> {
    if (this.#found !== null) return this.#scrape(this.#found, signal);
    let failure: unknown = null;
    for (const place of this.#places) {
      try {
        const look = await this.#scrape(place, signal);
        this.#found = place;
        return look;
      } catch (thrown) {
        // The error of the first place is reported, because the other places are only guesses.
        failure ??= thrown;
        if (signal.aborted) break;
      }
    }
    if (this.#places.length === 1 || signal.aborted) throw failure;
    throw new NoSuchSource(`no metrics at ${this.#places.join(', ')}: ${reasonOf(failure)}`);
  }

  async #scrape(place: string, signal: AbortSignal): Promise<Look> {
    // A guessed port may belong to another program, so it gets no credentials.
    const isNamed = new URL(place).origin === new URL(this.#places[0] ?? place).origin;
    const headers = { accept: ACCEPT, ...(isNamed && Object.fromEntries(this.#headers)) };
    const { statusCode, contentType, text } = await answerOf(place, { signal, headers });
    if (statusCode >= 500) throw new Error(`${place} answered ${statusCode}`);
    if (statusCode !== 200) throw new NoSuchSource(`${place} answered ${statusCode}`);
    const isOpenMetrics = contentType.includes('openmetrics');
    const { wanted, readings } = this.#read;
    const { samples, unknown, malformed } = parseExposition(text, wanted, isOpenMetrics);
    if (samples.length + unknown === 0 || malformed > samples.length + unknown) {
      throw new NoSuchSource(`${place} answered with no Prometheus text`);
    }
    const stamps = samples.flatMap(({ timestampMs }) => (timestampMs === null ? [] : [timestampMs]));
    const ageMs = stamps.length === 0 ? null : Math.max(0, this.#nowMs() - Math.min(...stamps));
    return { readings: readings(samples), ageMs, unknown };
  }
}

/**
 * The answer of a server to a GET.
 * @throws Error for a body over the limit; its rest is not read
 */
export async function answerOf(
  url: string,
  options: { readonly signal: AbortSignal; readonly headers: Record<string, string> },
): Promise<{ readonly statusCode: number; readonly contentType: string; readonly text: string }> {
  // Loaded only by the first look, so that a replay without monitors starts 0.1 s earlier.
  const { request } = await import('undici');
  const { statusCode, headers, body } = await request(url, options);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > LIMITS.monitorBodyBytes) {
      body.destroy();
      throw new Error(`the answer (${statusCode}) has more than ${LIMITS.monitorBodyBytes} bytes`);
    }
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  return { statusCode, contentType: String(headers['content-type']), text };
}

const BY_METRIC = Map.groupBy(PRESETS, ({ metric }) => bareName(metric));
const BASES: ReadonlySet<string> = new Set(
  PRESETS.flatMap(({ per }) => (per === undefined ? [] : [bareName(per)])),
);

/** Which lines of a source's scrapes are read, and how each scrape becomes readings. Scrapes must come in order. */
export function readingsFor(queries: readonly MonitorQuery[]) {
  const asked = Map.groupBy(queries, ({ selector }) => bareName(selector?.metric ?? ''));
  const wanted = (name: string) => {
    const bare = bareName(name);
    return BY_METRIC.has(bare) || BASES.has(bare) || asked.has(bare);
  };
  const sums = new Map<string, LabelledSum>();
  const readings = (samples: readonly ExposedSample[]): Reading[] => {
    const known = samples.filter(({ value }) => Number.isFinite(value));
    const byName = Map.groupBy(known, ({ name }) => bareName(name));
    return [...presetReadings(byName, sums), ...askedReadings(byName, queries)];
  };
  return { wanted, readings };
}

type ByName = ReadonlyMap<string, readonly ExposedSample[]>;

function presetReadings(byName: ByName, sums: Map<string, LabelledSum>): Reading[] {
  const found = PRESETS.filter(({ metric }) => byName.has(bareName(metric)));
  const isExporter = found.some(({ server }) => EXPORTERS.has(server));
  const taken = new Set<string>();
  return found.flatMap((preset) => {
    // These figures describe the exporter's own process, not the server that it reports on.
    if (isExporter && preset.server === 'process') return [];
    const key = `${preset.server} ${preset.name}`;
    // A server may have an old and a new name for the same figure at once. Only one is used.
    if (preset.over !== 'each' && taken.has(key)) return [];
    taken.add(key);
    return readingsOf(preset, byName, sums);
  });
}

function readingsOf(preset: Preset, byName: ByName, sums: Map<string, LabelledSum>): Reading[] {
  const { metric, per, over, divisor = 1, name, kind, unit, without = {} } = preset;
  const isLeftOut = ({ labels }: ExposedSample) =>
    Object.entries(without).some(([label, values]) => values.includes(labels[label] ?? ''));
  const samples = (byName.get(bareName(metric)) ?? []).filter((sample) => !isLeftOut(sample));
  if (samples.length === 0) return [];
  const facts = { name, metric: samples[0]?.name ?? metric, kind, unit };
  if (over === 'each') {
    return samples.map(({ labels, value }) => readingOf({ ...facts, labels, value: value / divisor }));
  }
  const all = samples.map(({ value }) => value / divisor);
  if (kind === 'gauge')
    return [readingOf({ ...facts, value: over === 'sum' ? sumOf(all) : Math.max(...all) })];
  const grown = (of: string, each: readonly ExposedSample[]) => {
    const sum = sums.get(`${name} ${of}`) ?? new LabelledSum();
    sums.set(`${name} ${of}`, sum);
    return sum.after(each);
  };
  if (per === undefined) return [readingOf({ ...facts, value: grown(metric, samples) / divisor })];
  const counts = (byName.get(bareName(per)) ?? []).filter((sample) => !isLeftOut(sample));
  if (counts.length === 0) return [];
  return [readingOf({ ...facts, value: grown(metric, samples) / divisor, base: grown(per, counts) })];
}

/** The readings that the user named: every series that matches a selector, each separately. */
function askedReadings(byName: ByName, queries: readonly MonitorQuery[]): Reading[] {
  return queries.flatMap(({ name, promql, selector }) => {
    if (selector === null) return [];
    const met = (byName.get(bareName(selector.metric)) ?? []).filter(({ labels }) =>
      selector.labels.every(([label, value]) => (labels[label] ?? '') === value),
    );
    const kind = selector.isCounter ? 'counter' : 'gauge';
    return met.map(({ labels, value }) =>
      readingOf({ name, metric: promql, labels, kind, unit: 'count', value }),
    );
  });
}

/** Label sets of a counter that are remembered after they disappeared. */
const MOST_GONE = 100_000;

/**
 * The sum of counters that differ by labels. A counter that disappears does not reduce the sum. A counter that was
 * reset counts from 0. After a reset, the sum restarts at the growth since, if that makes it smaller: a reader can
 * recognize only a smaller value as a reset.
 */
class LabelledSum {
  readonly #last = new Map<string, number>();
  #sum = 0;

  /** The sum after the next scrape. */
  after(samples: readonly ExposedSample[]): number {
    let [grown, isAnew] = [0, false];
    const seen = new Map(
      samples.map(({ labels, value }) => [JSON.stringify(Object.entries(labels).sort()), value]),
    );
    for (const [labels, value] of seen) {
      const before = this.#last.get(labels) ?? 0;
      grown += value < before ? value : value - before;
      isAnew ||= value < before;
      // Inserted again, so that the latest is last.
      this.#last.delete(labels);
      this.#last.set(labels, value);
    }
    for (const labels of this.#last.keys()) {
      if (this.#last.size <= seen.size + MOST_GONE) break;
      this.#last.delete(labels);
    }
    this.#sum = isAnew && grown < this.#sum ? grown : this.#sum + grown;
    return this.#sum;
  }
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
