import type { ExchangeRow } from '../core/exchange.ts';
import { hasFailed, lagNsOf, type Send } from '../core/run.ts';
import type { TestedDocument } from '../documents/parts.ts';
import type { ObjectiveLine, Verdict } from '../documents/replay.ts';
import { grpcStatusName } from '../inference/grpc.ts';
import type { TraceContext } from './traces.ts';

export type Attributes = Readonly<Record<string, string>>;

/** One series of an instrument. */
export interface Series {
  readonly attributes: Attributes;
  /** For a histogram, the sum of its values. */
  value: number;
  /** For a histogram: its count, and the values in each bucket. The last bucket has the values above all bounds. */
  count: number;
  readonly buckets: number[];
  /** The values again, in exponential buckets by their index. The bucket i has values from base^i, exclusive, to base^(i+1). */
  readonly exponential: Map<number, number>;
  /** Values of 0, which have no exponential bucket. */
  zeros: number;
  /** The last traced request in each bucket since the export before, by the index of the bucket. */
  readonly exemplars: Map<number, Exemplar>;
}

/** A traced request that is in a histogram. */
export interface Exemplar {
  readonly value: number;
  /** When it was counted, epoch microseconds. */
  readonly atUs: number;
  readonly trace: TraceContext;
}

interface InstrumentFacts {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** Its names in OpenTelemetry and in Prometheus. */
  readonly otlp: string;
  readonly prometheus: string;
  /** UCUM. */
  readonly unit: string;
  readonly description: string;
  readonly bounds?: readonly number[];
}

export interface Instrument extends InstrumentFacts {
  readonly series: ReadonlyMap<string, Series>;
}

/** Base 2^(1/2^scale): neighbouring exponential buckets differ by 9 %. */
export const EXPONENTIAL_SCALE = 3;

/** Explicit bounds of times: 1, 2 and 5 a decade, from 0.1 ms to 10 min. */
const SECONDS = [
  ...[-4, -3, -2, -1, 0, 1, 2].flatMap((decade) => [1, 2, 5].map((step) => Number(`${step}e${decade}`))),
  600,
];
/** Bounds as the GenAI conventions recommend them. */
const TOKENS = Array.from({ length: 14 }, (_, power) => 4 ** power);

/** An instrument of ours. In Prometheus its name has the unit of times, and says that it is a count, as OpenTelemetry translates names. */
function own(
  kind: InstrumentFacts['kind'],
  name: string,
  unit: string,
  description: string,
): InstrumentFacts {
  const otlp = `reprise.replay.${name}`;
  const suffix = `${unit === 's' ? '_seconds' : ''}${kind === 'counter' ? '_total' : ''}`;
  const prometheus = `${otlp.replaceAll('.', '_')}${suffix}`;
  return { kind, otlp, prometheus, unit, description, ...(kind === 'histogram' && { bounds: SECONDS }) };
}

/** @see https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics */
const FACTS = {
  requests: own('counter', 'requests', '{request}', 'Planned requests that are over, by their outcome.'),
  duration: {
    kind: 'histogram',
    otlp: 'gen_ai.client.operation.duration',
    prometheus: 'reprise_replay_request_duration_seconds',
    unit: 's',
    description: 'Time from the send to the last byte, of completed and failed requests.',
    bounds: SECONDS,
  },
  scheduled: own(
    'histogram',
    'scheduled_latency',
    's',
    'Time from the planned instant to the last byte, of completed requests.',
  ),
  firstToken: {
    kind: 'histogram',
    otlp: 'gen_ai.client.operation.time_to_first_chunk',
    prometheus: 'reprise_replay_time_to_first_token_seconds',
    unit: 's',
    description: 'Time from the send to the first token of a stream.',
    bounds: SECONDS,
  },
  tokens: {
    kind: 'histogram',
    otlp: 'gen_ai.client.token.usage',
    prometheus: 'reprise_replay_tokens',
    unit: '{token}',
    description: 'Input and output tokens of a request, as its answer counts them.',
    bounds: TOKENS,
  },
  lag: own('histogram', 'lag', 's', 'Time from the planned instant to the send.'),
  inFlight: own('gauge', 'inflight', '{request}', 'Requests that the target has.'),
  offered: own(
    'gauge',
    'offered_rate',
    '{request}/s',
    'Requests a second that were planned since the export before.',
  ),
  info: own(
    'gauge',
    'info',
    '1',
    'Always 1: its labels are those of the tested build, and the digest of the capture.',
  ),
  verdict: own(
    'gauge',
    'verdict',
    '1',
    '1 for the verdict of the run, 0 for the others. Exported when the run is judged.',
  ),
  observed: own(
    'gauge',
    'objective.observed',
    '1',
    'Observed value of an objective, in the unit of its limit; infinite if too many had no answer.',
  ),
  limit: own('gauge', 'objective.limit', '1', 'Limit of an objective.'),
} as const satisfies Record<string, InstrumentFacts>;
type InstrumentName = keyof typeof FACTS;

export const OUTCOMES = ['completed', 'failed', 'cancelled', 'refused', 'not_sent'] as const;
type RequestEnd = (typeof OUTCOMES)[number];

/** Models with their own series at most. Further models become `other`. */
const MAX_MODELS = 20;

/** The kind of operation of a route, and the provider of its API. The first match wins. */
const OPERATIONS: readonly (readonly [ending: RegExp, operation: string, provider: string])[] = [
  [/\/chat\/completions$/, 'chat', 'openai'],
  [/\/responses$/, 'chat', 'openai'],
  [/\/messages$/, 'chat', 'anthropic'],
  [/\/completions$/, 'text_completion', 'openai'],
  [/\/embeddings$/, 'embeddings', 'openai'],
  [/\/generate(?:_stream)?$/, 'text_completion', 'other'],
];

export function operationOf(route: string | null): { readonly operation: string; readonly provider: string } {
  const [, operation = 'infer', provider = 'other'] =
    OPERATIONS.find(([ending]) => ending.test(route ?? '')) ?? [];
  return { operation, provider };
}

export function errorOf(send: Pick<Send, 'error' | 'status' | 'grpcStatus'>): string {
  return send.error ?? (send.grpcStatus == null ? String(send.status) : grpcStatusName(send.grpcStatus));
}

type Traced = Omit<Exemplar, 'value'> | null;

/** The exponential buckets of a series in their order, without gaps, and the index of the first. */
export function exponentialBuckets({ exponential }: Series): {
  readonly first: number;
  readonly counts: number[];
} {
  if (exponential.size === 0) return { first: 0, counts: [] };
  const first = Math.min(...exponential.keys());
  const counts = new Array<number>(Math.max(...exponential.keys()) - first + 1).fill(0);
  for (const [index, count] of exponential) counts[index - first] = count;
  return { first, counts };
}

/** The parts of a run's document that are exported when it was judged. */
export interface Judgement {
  readonly verdict: Verdict | null;
  readonly slo: readonly Pick<ObjectiveLine, 'expression' | 'unit' | 'observed' | 'limit'>[];
}

/** The exported metrics of a run, cumulative since its start. They exclude the warm-up. */
export class RunInstruments {
  readonly #series = Object.fromEntries(
    Object.keys(FACTS).map((name) => [name, new Map<string, Series>()]),
  ) as Record<InstrumentName, Map<string, Series>>;
  readonly #models = new Set<string>();

  constructor({ labels = {}, captureDigest }: TestedDocument = {}) {
    this.#of('lag', {});
    const info = { ...labels, ...(captureDigest !== undefined && { capture_digest: captureDigest }) };
    if (Object.keys(info).length > 0) this.#of('info', info).value = 1;
  }

  /** All instruments as they are now. Exemplars belong to one export: the next has new ones. */
  collect(): Instrument[] {
    const all = Object.entries(FACTS).map(([name, facts]) => ({
      ...facts,
      series: structuredClone(this.#series[name as InstrumentName]),
    }));
    for (const series of Object.values(this.#series))
      for (const { exemplars } of series.values()) exemplars.clear();
    return all;
  }

  /**
   * Makes the counters that a planned request may count in, with 0. Otherwise a counter first appears with its first
   * requests, and no rate shows them.
   * @returns whether there were none for such a request
   */
  expect(row: Pick<ExchangeRow, 'route' | 'model'>): boolean {
    const before = this.#series.requests.size;
    const asked = this.#attributesOf(row);
    for (const outcome of OUTCOMES) {
      this.#of('requests', { ...asked, outcome });
      // All are made together.
      if (this.#series.requests.size === before) return false;
    }
    return true;
  }

  /** @param exemplarOf what traces a request, if anything does */
  addSends(sends: readonly Send[], exemplarOf: (send: Send) => Traced = () => null): void {
    for (const send of sends) if (!send.warmup) this.#add(send, exemplarOf(send));
  }

  /** Sets the current values of gauges. */
  setGauges({ inFlight, offered }: { readonly inFlight: number; readonly offered: number }): void {
    this.#of('inFlight', {}).value = inFlight;
    this.#of('offered', {}).value = offered;
  }

  /** Sets the verdict of the run, and what its objectives observed. What is not known has no series. */
  setVerdict({ verdict, slo }: Judgement): void {
    for (const each of ['PASS', 'FAIL', 'INCONCLUSIVE'] as const)
      this.#of('verdict', { verdict: each }).value = Number(verdict === each);
    for (const { expression: objective, unit, observed, limit } of slo) {
      this.#of('limit', { objective, unit }).value = limit;
      if (observed !== null) this.#of('observed', { objective, unit }).value = Number(observed);
    }
  }

  #add(send: Send, traced: Traced): void {
    const { actualOffsetNs, startOffsetNs, lastByteOffsetNs, intendedOffsetNs, answer } = send;
    const asked = this.#attributesOf(send);
    this.expect(send);
    const count = (outcome: RequestEnd) => {
      this.#of('requests', { ...asked, outcome }).value += 1;
    };
    if (actualOffsetNs === null || send.refused) {
      count(send.refused ? 'refused' : 'not_sent');
      return;
    }
    const failed = hasFailed(send);
    count(send.cancelled ? 'cancelled' : failed ? 'failed' : 'completed');
    const observeNs = (name: InstrumentName, attributes: Attributes, ns: number) =>
      this.#observe(name, attributes, ns / 1e9, traced);
    observeNs('lag', {}, lagNsOf({ ...send, actualOffsetNs }));
    if (lastByteOffsetNs === null || send.cancelled) return;
    const sentNs = startOffsetNs ?? actualOffsetNs;
    const ended = failed ? { ...asked, 'error.type': errorOf(send) } : asked;
    observeNs('duration', ended, lastByteOffsetNs - sentNs);
    if (!failed) observeNs('scheduled', asked, lastByteOffsetNs - intendedOffsetNs);
    if (answer === null) return;
    const { firstTokenOffsetNs, promptTokens, outputTokens } = answer;
    if (send.streamed && firstTokenOffsetNs !== null)
      observeNs('firstToken', asked, firstTokenOffsetNs - sentNs);
    const tokens = { input: promptTokens, output: outputTokens };
    for (const [type, number] of Object.entries(tokens)) {
      if (number !== null) this.#observe('tokens', { ...asked, 'gen_ai.token.type': type }, number, traced);
    }
  }

  #attributesOf({ route, model }: Pick<ExchangeRow, 'route' | 'model'>): Record<string, string> {
    const { operation, provider } = operationOf(route);
    const asked = { 'gen_ai.operation.name': operation, 'gen_ai.provider.name': provider };
    return model === null ? asked : { ...asked, 'gen_ai.request.model': this.#modelOf(model) };
  }

  #modelOf(model: string): string {
    if (this.#models.size < MAX_MODELS) this.#models.add(model);
    return this.#models.has(model) ? model : 'other';
  }

  #observe(name: InstrumentName, attributes: Attributes, value: number, traced: Traced): void {
    const series = this.#of(name, attributes);
    const { bounds = [] }: InstrumentFacts = FACTS[name];
    const at = bounds.findIndex((bound) => value <= bound);
    series.value += value;
    series.count += 1;
    const bucket = at < 0 ? bounds.length : at;
    series.buckets[bucket] = (series.buckets[bucket] ?? 0) + 1;
    if (value > 0) {
      const index = Math.ceil(Math.log2(value) * 2 ** EXPONENTIAL_SCALE) - 1;
      series.exponential.set(index, (series.exponential.get(index) ?? 0) + 1);
    } else series.zeros += 1;
    if (traced !== null) series.exemplars.set(bucket, { ...traced, value });
  }

  #of(name: InstrumentName, attributes: Attributes): Series {
    const key = Object.values(attributes).join('\n');
    let series = this.#series[name].get(key);
    if (series === undefined) {
      const { bounds }: InstrumentFacts = FACTS[name];
      const buckets = bounds === undefined ? [] : new Array<number>(bounds.length + 1).fill(0);
      const counts = { value: 0, count: 0, buckets, exponential: new Map(), zeros: 0 };
      series = { attributes, ...counts, exemplars: new Map() };
      this.#series[name].set(key, series);
    }
    return series;
  }
}
