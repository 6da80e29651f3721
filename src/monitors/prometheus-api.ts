import type { TimeRange } from '../core/ports.ts';
import type { MonitorSample } from '../documents/monitors.ts';
import { answerOf, type MonitorHeaders } from './metrics-scrape.ts';
import type { MonitorQuery } from './query.ts';
import {
  type Look,
  type MonitorSource,
  NoSuchSource,
  type Reading,
  readingOf,
  type Scrape,
} from './source.ts';

/** Most points that Prometheus returns for one series of a range. */
const MOST_POINTS = 11_000;

/** The label of the elements that are times of scrapes, in an answer that has values too. */
const STAMP = 'reprise_scraped_at';

/** One element of an answer: labels, and a value (instant) or values (range), each after its epoch seconds. */
interface Element {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly values?: readonly (readonly [number, string])[];
}

/** A series over the recorded window; offsets count from its start. */
export interface RecordedSeries {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly kind: Reading['kind'];
  readonly samples: readonly MonitorSample[];
}

/** Queries the HTTP API of a Prometheus or a compatible server (Thanos, Mimir, VictoriaMetrics). */
export class PrometheusSource implements MonitorSource {
  readonly kind = 'prometheus';
  readonly name: string;
  readonly address: string;
  readonly intervalMs: number;
  readonly #queries: readonly MonitorQuery[];
  readonly #headers: MonitorHeaders;

  constructor(
    name: string,
    address: string,
    intervalMs: number,
    queries: readonly MonitorQuery[],
    headers: MonitorHeaders,
  ) {
    this.name = name;
    this.address = address.replace(/\/$/, '');
    this.intervalMs = intervalMs;
    this.#queries = queries;
    this.#headers = headers;
  }

  async look(signal: AbortSignal): Promise<Look> {
    const asked = this.#queries.filter(({ isRecorded }) => !isRecorded);
    const looks = await Promise.all(asked.map((query) => this.#now(query, signal)));
    const ages = looks.flatMap(({ ageMs }) => (ageMs === null ? [] : [ageMs]));
    return {
      readings: looks.flatMap(({ readings }) => readings),
      ageMs: ages.length === 0 ? null : Math.max(...ages),
      unknown: 0,
    };
  }

  /**
   * The results of the queries over the recorded window, to compare production with the target.
   * @param stepMs time between two values; it is increased if the API would refuse the number of points
   */
  async recorded(window: TimeRange, stepMs: number, signal: AbortSignal): Promise<RecordedSeries[]> {
    const { fromUs, toUs } = window;
    const spanS = (toUs - fromUs) / 1e6;
    const step = Math.max(stepMs / 1e3, spanS / MOST_POINTS, 0.001).toFixed(3);
    const range = { start: String(fromUs / 1e6), end: String(toUs / 1e6), step };
    const own = new Set(this.#queries.filter((query) => query.isRecorded).map(({ name }) => name));
    const asked = this.#queries.filter((query) => query.isRecorded || !own.has(query.name));
    const found = await Promise.all(
      asked.map(async (query) => {
        const elements = await this.#ask('query_range', { query: query.promql, ...range }, signal);
        return elements.map((element) => ({
          name: query.name,
          kind: kindOf(query),
          labels: element.metric,
          samples: (element.values ?? []).map(([second, text]) => ({
            offsetNs: (second - fromUs / 1e6) * 1e9,
            value: Number.isFinite(Number(text)) ? Number(text) : null,
            base: null,
          })),
        }));
      }),
    );
    return found.flat();
  }

  /** Whether a query such as `sum(queue_length) == 0` returns anything now, like a firing alert. @throws Error */
  async returns(promql: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#ask('query', { query: promql }, signal)).length > 0;
  }

  async #now(query: MonitorQuery, signal: AbortSignal): Promise<Omit<Look, 'unknown'>> {
    const { name, promql, selector } = query;
    const facts = { name, metric: promql, kind: kindOf(query), unit: 'count' } as const;
    if (selector === null) {
      const elements = await this.#ask('query', { query: promql }, signal);
      return { readings: elements.flatMap((each) => readingIn(each, facts, null)), ageMs: null };
    }
    // The API has scrape times only for selectors. One query reads both: a scrape may end between two.
    const both = `${promql} or label_replace(timestamp(${promql}), "${STAMP}", "1", "", "")`;
    const elements = await this.#ask('query', { query: both }, signal);
    const isStamp = ({ metric }: Element) => metric[STAMP] !== undefined;
    const scrapes = new Map(elements.filter(isStamp).map((each) => [labelsKey(each), scrapeIn(each)]));
    if (scrapes.size === 0) return { readings: [], ageMs: null };
    const readings = elements.flatMap((each) => {
      const scrape = isStamp(each) ? undefined : scrapes.get(labelsKey(each));
      return scrape === undefined ? [] : readingIn(each, facts, scrape);
    });
    return { readings, ageMs: [...scrapes.values()].reduce((most, { ageMs }) => Math.max(most, ageMs), 0) };
  }

  async #ask(
    path: 'query' | 'query_range',
    parameters: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<readonly Element[]> {
    const url = `${this.address}/api/v1/${path}?${new URLSearchParams(parameters)}`;
    const headers = { accept: 'application/json', ...Object.fromEntries(this.#headers) };
    const { statusCode, text } = await answerOf(url, { signal, headers });
    return elementsOf(text, statusCode, parameters['query'] ?? '');
  }
}

/** @throws NoSuchSource for an answer that is not from the API, Error if the query was rejected */
function elementsOf(text: string, statusCode: number, query: string): readonly Element[] {
  let answer: { status?: string; error?: string; data?: { resultType?: string; result?: unknown } };
  try {
    answer = JSON.parse(text);
  } catch {
    if (statusCode >= 500) throw new Error(`answered ${statusCode}`);
    throw new NoSuchSource(`answered ${statusCode} with no JSON: it is no Prometheus HTTP API`);
  }
  if (answer?.status === 'error') throw new Error(`${query}: ${answer.error ?? `answered ${statusCode}`}`);
  if (answer?.status !== 'success')
    throw new NoSuchSource(`answered ${statusCode} with no result of a query`);
  const { resultType, result } = answer.data ?? {};
  if (resultType === 'scalar') return [{ metric: {}, value: result as [number, string] }];
  return Array.isArray(result) ? (result as Element[]) : [];
}

function labelsOf({ metric: { __name__: _, [STAMP]: __, ...labels } }: Element): Element['metric'] {
  return labels;
}

function labelsKey(element: Element): string {
  return JSON.stringify(Object.entries(labelsOf(element)).sort());
}

/** @param element one that is the time of a scrape */
function scrapeIn({ value: [now, second] = [Number.NaN, ''] }: Element): Scrape {
  return { atMs: Math.round(Number(second) * 1e3), ageMs: Math.max(0, (now - Number(second)) * 1e3) };
}

function readingIn(
  element: Element,
  facts: Pick<Reading, 'name' | 'metric' | 'kind' | 'unit'>,
  scrape: Scrape | null,
): Reading[] {
  const value = Number(element.value?.[1] ?? Number.NaN);
  return Number.isFinite(value) ? [readingOf({ ...facts, labels: labelsOf(element), value, scrape })] : [];
}

function kindOf({ selector }: MonitorQuery): Reading['kind'] {
  return selector?.isCounter === true ? 'counter' : 'gauge';
}
