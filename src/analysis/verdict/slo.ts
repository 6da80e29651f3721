import { AppError } from '../../core/errors.ts';
import { parseDurationMs } from '../../core/units.ts';
import type { SloUnit } from '../../documents/replay.ts';

/** What a service-level objective can be about. */
const SLO_METRICS = [
  'latency',
  'service',
  'ttft',
  'itl',
  'tpot',
  'errors',
  'mismatch',
  'achieved',
  'makespan',
] as const;
export type SloMetric = (typeof SLO_METRICS)[number];

/** Those that are about answers which come piece by piece, and say nothing of others. */
export const STREAM_METRICS: ReadonlySet<SloMetric> = new Set(['ttft', 'itl', 'tpot']);

export type SloOperator = '<' | '<=' | '>' | '>=';

/** `percentile` of a time; `total` is the plain value of a metric that has but one. */
type Aggregation =
  | { readonly kind: 'percentile'; readonly percent: number }
  | { readonly kind: 'avg' | 'min' | 'max' | 'rate' | 'count' | 'total' };

/** One objective: `aggregation` of `metric` must stand in this relation to `limit` (ms, share 0–1, or count). */
export interface Threshold {
  /** As given, with the metric in front and white space removed: `latency: p(99)<200`. */
  readonly expression: string;
  readonly metric: SloMetric;
  readonly aggregation: Aggregation;
  readonly operator: SloOperator;
  readonly limit: number;
}

export function unitOf({ aggregation }: Threshold): SloUnit {
  if (aggregation.kind === 'count') return 'count';
  return aggregation.kind === 'rate' ? 'share' : 'ms';
}

/** Objectives that kinds of services usually have. */
export const SLO_PRESETS: Readonly<Record<string, string>> = {
  realtime: 'latency: p(50)<50, p(99)<200',
  recommendation: 'latency: p(99)<100',
  fraud: 'latency: p(99)<50',
  chat: 'ttft: p(95)<1000; itl: p(95)<80',
  batch: 'makespan: <4h',
};

/** A run that fails fast looks fast: beside any other objective at most 1 % may fail, unless stated. */
const IMPLIED_ERRORS = 'errors: rate<0.01';

type Family = 'time' | 'share' | 'total';
const FAMILIES: Readonly<Record<SloMetric, Family>> = {
  latency: 'time',
  service: 'time',
  ttft: 'time',
  itl: 'time',
  tpot: 'time',
  errors: 'share',
  mismatch: 'share',
  achieved: 'share',
  makespan: 'total',
};
const AGGREGATIONS: Readonly<Record<Family, readonly string[]>> = {
  time: ['p(N)', 'avg', 'min', 'max', 'med'],
  share: ['rate', 'count'],
  total: [],
};

/**
 * Reads the texts of `--slo`: k6 thresholds (`latency: p(99)<200`; times in ms unless a unit stands there),
 * several in one text after `;` or `,`, a metric holding until the next one; or names of presets. Adds
 * `errors: rate<0.01` where nothing is said of errors. An empty list asks for no verdict.
 * @throws AppError OPTION_INVALID naming every expression that cannot be used, with its reason.
 */
export function parseSlo(texts: readonly string[]): Threshold[] {
  const problems: string[] = [];
  const thresholds = texts.flatMap((text) => parseText(text, problems));
  if (texts.length > 0 && thresholds.length === 0 && problems.length === 0) {
    problems.push(`${JSON.stringify(texts.join(';'))} states no objective`);
  }
  if (problems.length > 0) {
    throw new AppError('OPTION_INVALID', `--slo: ${problems.join('; ')}`, {
      hint: `Write METRIC: AGGREGATION OPERATOR LIMIT, such as "latency: p(99)<200" or "errors: rate<0.001", or a preset: ${Object.keys(SLO_PRESETS).join(', ')}.`,
    });
  }
  const needsErrors = thresholds.length > 0 && !thresholds.some(({ metric }) => metric === 'errors');
  return needsErrors ? [...thresholds, ...parseText(IMPLIED_ERRORS, [])] : thresholds;
}

function parseText(text: string, problems: string[]): Threshold[] {
  const thresholds: Threshold[] = [];
  let metric: string | null = null;
  for (const piece of text.split(/[;,\n]/).map((each) => each.trim())) {
    if (piece === '') continue;
    if (Object.hasOwn(SLO_PRESETS, piece)) {
      thresholds.push(...parseText(SLO_PRESETS[piece] ?? '', problems));
      metric = null;
      continue;
    }
    const named = /^([A-Za-z_]\w*)\s*:(.*)$/s.exec(piece);
    metric = named?.[1] ?? metric;
    const condition = (named?.[2] ?? piece).replace(/\s+/g, '');
    const result = parseCondition(metric, condition, piece);
    if (typeof result === 'string') problems.push(`${JSON.stringify(piece)} ${result}`);
    else thresholds.push(result);
  }
  return thresholds;
}

/** One objective, or the reason why it is none. */
function parseCondition(metric: string | null, condition: string, piece: string): Threshold | string {
  if (metric === null) {
    return /^[\w-]+$/.test(piece)
      ? `is no preset (${Object.keys(SLO_PRESETS).join(', ')})`
      : `names no metric (${SLO_METRICS.join(', ')})`;
  }
  if (!isMetric(metric)) return `has an unknown metric ${metric} (${SLO_METRICS.join(', ')})`;
  if (/baseline/i.test(condition)) return 'is relative to a baseline, which this release cannot compare with';
  const match = /^([^<>=]*)(<=|>=|<|>)(?!=)(.+)$/.exec(condition);
  if (match === null) return 'has no comparison (<, <=, >, >=) with a limit';
  const family = FAMILIES[metric];
  const aggregation = parseAggregation(match[1] ?? '', family);
  if (typeof aggregation === 'string') return aggregation;
  const limit = parseLimit(match[3] ?? '', family, aggregation);
  if (typeof limit === 'string') return limit;
  const operator = match[2] as SloOperator;
  return { expression: `${metric}: ${condition}`, metric, aggregation, operator, limit };
}

function isMetric(name: string): name is SloMetric {
  return (SLO_METRICS as readonly string[]).includes(name);
}

function parseAggregation(text: string, family: Family): Aggregation | string {
  if (family === 'total') {
    return text === '' ? { kind: 'total' } : `takes a plain limit and no ${text}, such as "makespan: <4h"`;
  }
  const expected = `takes ${AGGREGATIONS[family].join(', ')}`;
  const percentile = /^p\((\d+(?:\.\d+)?)\)$/.exec(text);
  if (percentile !== null && family === 'time') {
    const percent = Number(percentile[1]);
    return percent > 0 && percent < 100
      ? { kind: 'percentile', percent }
      : 'has a percentile outside 0 to 100';
  }
  if (text === 'med' && family === 'time') return { kind: 'percentile', percent: 50 };
  if (!AGGREGATIONS[family].includes(text)) {
    const shorthand = /^p\d/.test(text) ? `; write p(${text.slice(1)})` : '';
    return `${expected}, not ${text === '' ? 'nothing' : text}${shorthand}`;
  }
  return { kind: text as 'avg' | 'min' | 'max' | 'rate' | 'count' };
}

function parseLimit(text: string, family: Family, aggregation: Aggregation): number | string {
  const bare = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : null;
  if (aggregation.kind === 'count') return bare ?? `has a limit ${text} that is no count`;
  if (family === 'share') {
    const percent = /^(\d+(?:\.\d+)?)%$/.exec(text);
    const share = percent === null ? bare : Number(percent[1]) / 100;
    return share !== null && share <= 1 ? share : `has a limit ${text} that is no share (0.01 or 1%)`;
  }
  if (bare !== null) return bare;
  try {
    return parseDurationMs(text, 'limit');
  } catch (error) {
    if (error instanceof AppError) return `has a limit ${text} that is no time (200, 200ms, 1.5s, 4h)`;
    throw error;
  }
}
