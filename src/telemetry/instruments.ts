import { hasFailed, readyOffsetNs, type Send } from '../core/run.ts';

export type Attributes = Readonly<Record<string, string>>;

/** One series of an instrument. */
export interface Series {
  readonly attributes: Attributes;
  /** For a histogram, the sum of its values. */
  value: number;
  /** For a histogram: its count, and the values in each bucket. The last bucket has the values above all bounds. */
  count: number;
  readonly buckets: number[];
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

/** Bucket bounds. Those of the GenAI conventions are as recommended there. */
const DURATION_S = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_S = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const LAG_S = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];
const TOKENS = Array.from({ length: 14 }, (_, power) => 4 ** power);

/** @see https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics */
const FACTS = {
  requests: {
    kind: 'counter',
    otlp: 'reprise.replay.requests',
    prometheus: 'reprise_replay_requests_total',
    unit: '{request}',
    description: 'Planned requests that are over, by their outcome.',
  },
  duration: {
    kind: 'histogram',
    otlp: 'gen_ai.client.operation.duration',
    prometheus: 'reprise_replay_request_duration_seconds',
    unit: 's',
    description: 'Time from the send to the last byte, of completed and failed requests.',
    bounds: DURATION_S,
  },
  scheduled: {
    kind: 'histogram',
    otlp: 'reprise.replay.scheduled_latency',
    prometheus: 'reprise_replay_scheduled_latency_seconds',
    unit: 's',
    description: 'Time from the planned instant to the last byte, of completed requests.',
    bounds: DURATION_S,
  },
  firstToken: {
    kind: 'histogram',
    otlp: 'gen_ai.client.operation.time_to_first_chunk',
    prometheus: 'reprise_replay_time_to_first_token_seconds',
    unit: 's',
    description: 'Time from the send to the first token of a stream.',
    bounds: FIRST_S,
  },
  tokens: {
    kind: 'histogram',
    otlp: 'gen_ai.client.token.usage',
    prometheus: 'reprise_replay_tokens',
    unit: '{token}',
    description: 'Input and output tokens of a request, as its answer counts them.',
    bounds: TOKENS,
  },
  lag: {
    kind: 'histogram',
    otlp: 'reprise.replay.dispatch_lag',
    prometheus: 'reprise_replay_dispatch_lag_seconds',
    unit: 's',
    description: 'Time from the planned instant to the send.',
    bounds: LAG_S,
  },
  inFlight: {
    kind: 'gauge',
    otlp: 'reprise.replay.inflight',
    prometheus: 'reprise_replay_inflight',
    unit: '{request}',
    description: 'Requests that the target has.',
  },
  offered: {
    kind: 'gauge',
    otlp: 'reprise.replay.offered_rate',
    prometheus: 'reprise_replay_offered_rate',
    unit: '{request}/s',
    description: 'Requests a second that were planned since the export before.',
  },
} as const satisfies Record<string, InstrumentFacts>;
type InstrumentName = keyof typeof FACTS;

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

export function errorOf(send: Pick<Send, 'error' | 'status'>): string {
  return send.error ?? String(send.status);
}

/** The exported metrics of a run, cumulative since its start. They exclude the warm-up. */
export class RunInstruments {
  readonly #series = Object.fromEntries(
    Object.keys(FACTS).map((name) => [name, new Map<string, Series>()]),
  ) as Record<InstrumentName, Map<string, Series>>;
  readonly #models = new Set<string>();

  get all(): Instrument[] {
    return Object.entries(FACTS).map(([name, facts]) => ({
      ...facts,
      series: this.#series[name as InstrumentName],
    }));
  }

  addSends(sends: readonly Send[]): void {
    for (const send of sends) if (!send.warmup) this.#add(send);
  }

  /** Sets the current values of gauges. */
  setGauges({ inFlight, offered }: { readonly inFlight: number; readonly offered: number }): void {
    this.#of('inFlight', {}).value = inFlight;
    this.#of('offered', {}).value = offered;
  }

  #add(send: Send): void {
    const { actualOffsetNs, startOffsetNs, lastByteOffsetNs, intendedOffsetNs, answer } = send;
    const asked = this.#attributesOf(send);
    if (actualOffsetNs === null || send.refused) {
      this.#of('requests', { ...asked, outcome: send.refused ? 'refused' : 'not_sent' }).value += 1;
      return;
    }
    const failed = hasFailed(send);
    const outcome = send.cancelled ? 'cancelled' : failed ? 'failed' : 'completed';
    this.#of('requests', { ...asked, outcome }).value += 1;
    this.#record('lag', {}, readyOffsetNs({ ...send, actualOffsetNs }) - intendedOffsetNs);
    if (lastByteOffsetNs === null || send.cancelled) return;
    const sentNs = startOffsetNs ?? actualOffsetNs;
    const ended = failed ? { ...asked, 'error.type': errorOf(send) } : asked;
    this.#record('duration', ended, lastByteOffsetNs - sentNs);
    if (!failed) this.#record('scheduled', asked, lastByteOffsetNs - intendedOffsetNs);
    if (answer === null) return;
    const { firstTokenOffsetNs, promptTokens, outputTokens } = answer;
    if (send.streamed && firstTokenOffsetNs !== null)
      this.#record('firstToken', asked, firstTokenOffsetNs - sentNs);
    const tokens = { input: promptTokens, output: outputTokens };
    for (const [type, count] of Object.entries(tokens)) {
      if (count !== null) this.#observe('tokens', { ...asked, 'gen_ai.token.type': type }, count);
    }
  }

  #attributesOf({ route, model }: Send): Record<string, string> {
    const { operation, provider } = operationOf(route);
    const asked = { 'gen_ai.operation.name': operation, 'gen_ai.provider.name': provider };
    return model === null ? asked : { ...asked, 'gen_ai.request.model': this.#modelOf(model) };
  }

  #modelOf(model: string): string {
    if (this.#models.size < MAX_MODELS) this.#models.add(model);
    return this.#models.has(model) ? model : 'other';
  }

  #record(name: InstrumentName, attributes: Attributes, ns: number): void {
    this.#observe(name, attributes, ns / 1e9);
  }

  #observe(name: InstrumentName, attributes: Attributes, value: number): void {
    const series = this.#of(name, attributes);
    const { bounds = [] }: InstrumentFacts = FACTS[name];
    const at = bounds.findIndex((bound) => value <= bound);
    series.value += value;
    series.count += 1;
    const bucket = at < 0 ? bounds.length : at;
    series.buckets[bucket] = (series.buckets[bucket] ?? 0) + 1;
  }

  #of(name: InstrumentName, attributes: Attributes): Series {
    const key = Object.values(attributes).join('\n');
    let series = this.#series[name].get(key);
    if (series === undefined) {
      const { bounds }: InstrumentFacts = FACTS[name];
      const buckets = bounds === undefined ? [] : new Array<number>(bounds.length + 1).fill(0);
      series = { attributes, value: 0, count: 0, buckets };
      this.#series[name].set(key, series);
    }
    return series;
  }
}
