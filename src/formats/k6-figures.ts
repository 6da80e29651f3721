import { z } from 'zod';
import type { Figure } from '../documents/history.ts';

/** What a k6 test says of itself. Null is what its summary does not hold. */
interface K6Figures {
  readonly durationS: number | null;
  /** Epoch milliseconds of the summary. */
  readonly writtenMs: number | null;
  /** Of the program that wrote it. */
  readonly version: string | null;
  /** Whether every threshold held; null where the summary cannot say. */
  readonly passed: boolean | null;
  readonly figures: readonly Figure[];
}

const numbers = z.record(z.string(), z.unknown());
/** `handleSummary` and `--summary-export` have an object of metrics, the newer machine-readable summary lists. */
const summary = z.object({
  metrics: z.record(z.string(), numbers).optional(),
  state: z.object({ testRunDurationMs: z.number() }).optional(),
  config: z.object({ duration: z.number() }).optional(),
  metadata: z.object({ generated_at: z.string(), k6_version: z.string() }).optional(),
  results: z.object({ metrics: z.array(z.object({ name: z.string(), values: numbers })) }).optional(),
});

/** Metrics of k6, and of the scripts that `export k6` writes, by the names that figures of a run have. */
const TRENDS: Readonly<Record<string, string>> = {
  http_req_duration: 'service',
  scheduled_latency: 'latency',
  time_to_first_token: 'ttft',
  inter_token_latency: 'itl',
  time_per_output_token: 'tpot',
};
/** By the name that each form of the summary gives a percentile. */
const PERCENTILES = [
  ['p50', ['med', 'p(50)', 'p50']],
  ['p95', ['p(95)', 'p95']],
  ['p99', ['p(99)', 'p99']],
] as const;

/**
 * Reads the summary of a k6 test: of `--summary-export`, what `handleSummary` is given, or the machine-readable summary.
 * Times are in milliseconds.
 * @returns null if it is not a k6 summary
 * @see https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/
 */
export function k6Figures(document: unknown): K6Figures | null {
  const { data } = summary.safeParse(document);
  if (data === undefined) return null;
  const { metrics, state, config, metadata, results } = data;
  const listed = results?.metrics.map(({ name, values }) => [name, values] as const);
  if (metrics === undefined && listed === undefined) return null;
  const byName = new Map(listed ?? Object.entries(metrics ?? {}));
  const numberIn = (name: string, keys: readonly string[]): number | null => {
    const metric = byName.get(name);
    const values = numbers.safeParse(metric?.['values']).data ?? metric ?? {};
    return keys.map((key) => values[key]).find((value) => typeof value === 'number') ?? null;
  };
  const spanOf = (counter: string): number | null => {
    const [count, perSecond] = [numberIn(counter, ['count']), numberIn(counter, ['rate'])];
    return count && perSecond ? count / perSecond : null;
  };
  const sent = numberIn('http_reqs', ['count']);
  const rate = numberIn('http_reqs', ['rate']);
  const figures: (readonly [string, Figure['unit'], number | null])[] = [
    ...Object.entries(TRENDS).flatMap(([metric, name]) =>
      PERCENTILES.map(([at, keys]) => [`${name}_${at}`, 'ms', numberIn(metric, keys)] as const),
    ),
    ['failed', 'share', numberIn('http_req_failed', ['rate', 'value'])],
    ['rate', 'per_second', rate],
    ['sent', 'count', sent],
  ];
  const written = metadata === undefined ? Number.NaN : Date.parse(metadata.generated_at);
  const durationMs = state?.testRunDurationMs ?? null;
  return {
    // An export of the older form tells the time only by its counters.
    durationS:
      durationMs !== null
        ? durationMs / 1e3
        : (config?.duration ?? spanOf('http_reqs') ?? spanOf('iterations')),
    writtenMs: Number.isNaN(written) ? null : written,
    version: metadata?.k6_version ?? null,
    passed: metrics === undefined ? null : Object.values(metrics).every(thresholdsHold),
    figures: figures.flatMap(([name, unit, value]) => (value === null ? [] : [{ name, unit, value }])),
  };
}

/** `handleSummary` says of each threshold whether it held, `--summary-export` whether it failed. */
function thresholdsHold({ thresholds }: Readonly<Record<string, unknown>>): boolean {
  return Object.values(numbers.safeParse(thresholds).data ?? {}).every((each) =>
    typeof each === 'boolean' ? !each : numbers.safeParse(each).data?.['ok'] === true,
  );
}
