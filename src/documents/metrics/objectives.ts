import { AppError } from '../../core/errors.ts';
import { nearest } from '../../core/text.ts';
import { parseBytes, parseDurationMs } from '../../core/units.ts';
import type { ObjectiveUnit } from '../replay.ts';
import {
  factsOf,
  isOwnMetric,
  isTimed,
  METRIC_NAMES,
  type MetricFacts,
  type MetricName,
  metricsWith,
  type TimedMetric,
} from './metrics.ts';
import { faultOf, NO_FAULT, parseSlice, SLICE_PATTERN, type Slice, sliceText, withFault } from './slices.ts';

/** A limit for a time of one request, ms. A good request keeps all of them. */
export interface RequestLimit {
  /** `itl` is the mean time between the tokens of one stream. */
  readonly metric: TimedMetric;
  readonly operator: '<' | '<=';
  readonly limit: number;
}

type Operator = '<' | '<=' | '>' | '>=';

/** `percentile` of a time. `total` is the value of a metric that has only one. */
type Aggregation =
  | { readonly kind: 'percentile'; readonly percent: number }
  | { readonly kind: 'avg' | 'min' | 'max' | 'rate' | 'count' | 'total' };

/** One objective: compares the `aggregation` of `metric` with `limit` (ms, share 0–1, or count). */
export interface Objective {
  /** The normalised text, with the metric first and without white space: `latency: p(99)<200`. */
  readonly expression: string;
  readonly metric: MetricName;
  readonly aggregation: Aggregation;
  readonly operator: Operator;
  readonly limit: number;
  /** The requests that the objective applies to; null for all. */
  readonly slice: Slice | null;
  /** The limits of a goodput objective; otherwise empty. */
  readonly limits: readonly RequestLimit[];
  /** Name of the monitored series; absent in other objectives. */
  readonly series?: string;
  /** Whether it was added by default; absent for others. The limit of `rejected` then depends on the recording. */
  readonly isImplied?: boolean;
}

/** The same objective for other requests. */
export function ofSlice(objective: Objective, slice: Slice): Objective {
  return {
    ...objective,
    slice,
    expression: `${objective.metric}${sliceText(slice)}: ${conditionOf(objective)}`,
  };
}

/** An objective without its metric and its slice, as it was stated: `p(99)<200`. */
export function conditionOf({ expression }: Objective): string {
  return expression.slice(expression.indexOf(': ', expression.lastIndexOf('}') + 1) + 2);
}

/** Limits as text: `ttft<500 and tpot<50`. */
export function limitsText(limits: readonly RequestLimit[]): string {
  return limits.map(({ metric, operator, limit }) => `${metric}${operator}${limit}`).join(' and ');
}

/**
 * The limits that a single request keeps if it meets every objective on times. Only the highest percentile of a metric
 * counts, because half of the requests may exceed a median. Of several limits on it, the lowest counts.
 */
export function objectiveLimits(objectives: readonly Objective[]): readonly RequestLimit[] {
  const limits = new Map<string, RequestLimit & { readonly percent: number }>();
  for (const { metric, aggregation, operator, limit, slice } of objectives) {
    const percent =
      aggregation.kind === 'percentile' ? aggregation.percent : aggregation.kind === 'max' ? 100 : null;
    if (percent === null || slice !== null || !isTimed(metric)) continue;
    if (operator !== '<' && operator !== '<=') continue;
    const known = limits.get(metric);
    const isStricter = known === undefined || percent > known.percent;
    if (isStricter || (percent === known.percent && limit < known.limit))
      limits.set(metric, { metric, operator, limit, percent });
  }
  return [...limits.values()].map(({ percent: _percent, ...limit }) => limit);
}

export function unitOf({ aggregation, series }: Objective): ObjectiveUnit {
  if (aggregation.kind === 'count') return 'count';
  if (series !== undefined) return 'number';
  return aggregation.kind === 'rate' ? 'share' : 'ms';
}

const HOLDS: Readonly<Record<Operator, (observed: number, limit: number) => boolean>> = {
  '<': (observed, limit) => observed < limit,
  '<=': (observed, limit) => observed <= limit,
  '>': (observed, limit) => observed > limit,
  '>=': (observed, limit) => observed >= limit,
};

/** Whether a value is within the limit of an objective. */
export function holds(observed: number, { operator, limit }: Pick<Objective, 'operator' | 'limit'>): boolean {
  return HOLDS[operator](observed, limit);
}

/** Usual objectives of some kinds of services. */
export const OBJECTIVE_PRESETS: Readonly<Record<string, string>> = {
  realtime: 'latency: p(50)<50, p(99)<200',
  recommendation: 'latency: p(99)<100',
  fraud: 'latency: p(99)<50',
  chat: 'ttft: p(95)<1000; itl: p(95)<80',
  batch: 'makespan: <4h',
};

/** Failed requests are fast. So objectives imply that at most 1 % may fail, unless another limit is stated. */
export const IMPLIED_ERRORS = 'errors: rate<0.01';
/** The same for answers that refuse a request because of load, in addition to the share refused in production. */
const IMPLIED_REJECTED = 0.01;

type Family = MetricFacts['family'];
const AGGREGATIONS: Readonly<Record<Family, readonly string[]>> = {
  time: ['p(N)', 'avg', 'min', 'max', 'med'],
  share: ['rate', 'count'],
  total: [],
  goodput: ['rate'],
  monitored: ['p(N)', 'avg', 'min', 'max', 'med', 'count'],
};
const LIMITED = metricsWith(({ limitsRequests }) => limitsRequests);
const NO_NAMES: ReadonlySet<string> = new Set();

const WITH_SLICE = new RegExp(`^([A-Za-z_]\\w*)\\s*(${SLICE_PATTERN})?\\s*:(.*)$`, 's');
const PRESET = new RegExp(`^([\\w-]+)\\s*(${SLICE_PATTERN})?$`);
/** The pieces of a text. Commas and semicolons within a slice do not separate them. */
const PIECES = new RegExp(`(?:${SLICE_PATTERN}|[^;,\n])+`, 'g');

/**
 * Parses the texts of `--slo`: k6 thresholds, such as `latency{model=gpt}: p(99)<200`, or names of presets. Times are
 * in ms unless they have a unit. One text may have several, separated by `;` or `,`; a metric applies until the next
 * one. Adds `errors: rate<0.01` unless there is an objective on the errors of all requests. An empty list means no
 * verdict.
 * @param monitored names of series that monitors may provide: `gpu_utilization: max<0.95`
 * @param what the option with the texts, for errors
 * @throws AppError OPTION_INVALID naming every invalid expression, with its reason
 */
export function parseObjectives(
  texts: readonly string[],
  monitored: ReadonlySet<string> = NO_NAMES,
  what = '--slo',
): Objective[] {
  const problems: string[] = [];
  const objectives = texts.flatMap((text) => parseText(text, problems, monitored));
  if (texts.length > 0 && objectives.length === 0 && problems.length === 0) {
    problems.push(`${JSON.stringify(texts.join(';'))} states no objective`);
  }
  if (problems.length > 0) {
    throw new AppError('OPTION_INVALID', `${what}: ${problems.join('; ')}`, {
      hint: `Write METRIC: AGGREGATION OPERATOR LIMIT, such as "latency: p(99)<200" or "latency{model=NAME}: p(95)<300", or a preset: ${Object.keys(OBJECTIVE_PRESETS).join(', ')}.`,
    });
  }
  const implied = objectives.length > 0 ? impliedOf(IMPLIED_ERRORS) : [];
  const isStated = ({ metric }: Objective) =>
    objectives.some((each) => each.metric === metric && each.slice === null);
  return [...objectives, ...implied.filter((each) => !isStated(each))];
}

export function impliedOf(text: string): Objective[] {
  return parseText(text, []).map((each) => ({ ...each, isImplied: true }));
}

/** A single objective as a run stored it; null if this version cannot parse it. */
export function objectiveOf(expression: string): Objective | null {
  const problems: string[] = [];
  const [objective = null] = parseText(expression, problems, namesBesideOurs([expression]));
  return objective;
}

/**
 * The objectives, with an added limit on refusals unless they have one: 1 % more than refused in production.
 * @param recorded share of the recorded answers that were refusals; null if unknown
 */
export function withRejected(
  objectives: readonly Objective[],
  recorded: number | null,
): readonly Objective[] {
  if (objectives.length === 0) return objectives;
  const limit = Math.min(1, Number(((recorded ?? 0) + IMPLIED_REJECTED).toFixed(4)));
  const implied = impliedOf(`rejected: rate<${limit}`);
  const missing = judgedParts(objectives).filter((part) => !boundsRefusals(objectives, part));
  const added = missing.flatMap((part) =>
    implied.map((each) => (part === null ? each : ofSlice(each, part))),
  );
  return [...objectives, ...added];
}

/** Whether an objective was stated, is a default, or a default whose limit grows with what production refused. */
export function originOf({ metric, isImplied }: Objective): 'stated' | 'default' | 'recording' {
  if (isImplied !== true) return 'stated';
  return metric === 'rejected' ? 'recording' : 'default';
}

/** Whether an objective limits the refusals of all requests, or of a part of a run with planned faults. */
export function boundsRefusals(objectives: readonly Objective[], part: Slice | null = null): boolean {
  return objectives.some(
    ({ metric, slice }) =>
      metric === 'rejected' && (part === null ? slice === null : faultOf(slice) === faultOf(part)),
  );
}

/** The parts of a run that have their own objectives: the complete run, or with planned faults each part. */
function judgedParts(objectives: readonly Objective[]): (Slice | null)[] {
  const parts = objectives
    .filter(({ metric, slice }) => metric === 'errors' && faultOf(slice) !== null)
    .map(({ slice }) => slice);
  return parts.some((slice) => faultOf(slice) === NO_FAULT) ? parts : [null];
}

/**
 * Objectives of a run restricted to the requests of one fault, or outside all faults. Objectives on the complete run
 * are unchanged.
 */
export function ofFault(objectives: readonly Objective[], fault: string): Objective[] {
  const isOfFault = ({ slice }: Objective) => slice?.tags.some(({ key }) => key === 'fault') ?? false;
  return objectives.map((each) =>
    !factsOf(each).hasSlices || isOfFault(each) ? each : ofSlice(each, withFault(each.slice, fault)),
  );
}

/** The metric and the slice of an objective. */
interface Subject {
  readonly metric: string;
  readonly slice: Slice | null;
}

function parseText(text: string, problems: string[], monitored = NO_NAMES): Objective[] {
  const objectives: Objective[] = [];
  let subject: Subject | null = null;
  for (const piece of (text.match(PIECES) ?? []).map((each) => each.trim())) {
    if (piece === '') continue;
    const refuse = (reason: string) => problems.push(`${JSON.stringify(piece)} ${reason}`);
    const preset = PRESET.exec(piece);
    const named = preset ?? WITH_SLICE.exec(piece);
    const slice = named?.[2] === undefined ? null : parseSlice(named[2]);
    if (typeof slice === 'string') {
      refuse(slice);
      continue;
    }
    if (preset?.[1] !== undefined && Object.hasOwn(OBJECTIVE_PRESETS, preset[1])) {
      const stated = parseText(OBJECTIVE_PRESETS[preset[1]] ?? '', problems);
      objectives.push(...stated.map((each) => (slice === null ? each : ofSlice(each, slice))));
      subject = null;
      continue;
    }
    if (named?.[1] !== undefined && preset === null) subject = { metric: named[1], slice };
    const condition = preset === null ? (named?.[3] ?? piece) : piece;
    const result = parseCondition(subject, condition, piece, monitored);
    if (typeof result === 'string') refuse(result);
    else objectives.push(result);
  }
  return objectives;
}

/** One objective, or why it is invalid. */
function parseCondition(
  subject: Subject | null,
  text: string,
  piece: string,
  monitored: ReadonlySet<string>,
): Objective | string {
  if (subject === null) {
    if (piece.includes('{') && !PRESET.test(piece))
      return 'has a slice without its end: write METRIC{KEY=VALUE}: …, values with braces in "…"';
    if (PRESET.test(piece)) {
      const presets = Object.keys(OBJECTIVE_PRESETS);
      const near = nearest(piece, [...presets, ...METRIC_NAMES]);
      const means =
        near === null ? '' : presets.includes(near) ? `; write ${near}` : `; write "${near}: p(95)<300"`;
      return `is no preset (${presets.join(', ')})${means}`;
    }
    const meant = likelyObjective(piece);
    return meant === null
      ? `names no metric (${METRIC_NAMES.join(', ')})`
      : `names no metric before a colon; write "${meant}"`;
  }
  const { metric: name, slice } = subject;
  const metric = monitored.has(name) ? 'monitored' : isOwnMetric(name) ? name : null;
  if (metric === null || name === 'monitored') return unknownMetric(name, monitored);
  const { family, hasSlices } = factsOf({ metric });
  if (slice !== null && !hasSlices) return `has a slice, and ${name} is of the whole run`;
  const [stated = '', limited, ...more] = text.split(/\bwhere\b/);
  const condition = stated.replace(/\s+/g, '');
  if (/baseline/i.test(condition)) return 'is relative to a baseline, which this release cannot compare with';
  const match = /^([^<>=]*)(<=|>=|<|>)(?!=)(.+)$/.exec(condition);
  if (match === null) return 'has no comparison (<, <=, >, >=) with a limit';
  const aggregation = parseAggregation(match[1] ?? '', family);
  if (typeof aggregation === 'string') return aggregation;
  const limit = parseLimit(match[3] ?? '', family, aggregation);
  if (typeof limit === 'string') return limit;
  const operator = match[2] as Operator;
  const doubt = wrongDirection(name, metric, aggregation, operator, match[3] ?? '');
  if (doubt !== null) return doubt;
  const limits = more.length > 0 ? 'has more than one where' : parseLimits(metric, limited);
  if (typeof limits === 'string') return limits;
  if (family === 'goodput' && (operator.startsWith('<') || limit >= 1)) {
    return 'takes > or >= and a share below 1, such as rate>0.95: no number of answers proves all';
  }
  const where = limits.length === 0 ? '' : ` where ${limitsText(limits)}`;
  const expression = `${name}${slice === null ? '' : sliceText(slice)}: ${condition}${where}`;
  const series = metric === 'monitored' ? { series: name } : {};
  return { expression, metric, aggregation, operator, limit, slice, limits, ...series };
}

/** What is likely meant by a text without a colon, such as `p95<300ms` or `errors<1%`; null if it cannot be read. */
function likelyObjective(piece: string): string | null {
  const text = piece.replace(/\s+/g, '');
  const [, left = '', operator = '', limit = ''] = /^([^<>=]+)(<=|>=|<|>)(.+)$/.exec(text) ?? [];
  const metric = METRIC_NAMES.find((name) => left.includes(name)) ?? 'latency';
  const stated = left.replace(metric, '').replace(/^p(\d[\d.]*)$/, 'p($1)');
  const usual = isOwnMetric(metric) && factsOf({ metric }).family === 'time' ? 'p(95)' : 'rate';
  const meant = `${metric}: ${stated || usual}${operator}${limit.replace(/^([\d.]+)ms$/, '$1')}`;
  const problems: string[] = [];
  return parseText(meant, problems).length === 1 && problems.length === 0 ? meant : null;
}

/** Why an objective has the wrong direction; null if it is right. `min>5` is allowed, because it detects a cache. */
function wrongDirection(
  name: string,
  metric: MetricName,
  { kind }: Aggregation,
  operator: Operator,
  limit: string,
): string | null {
  const { better, worse } = factsOf({ metric });
  const wrong = better === 'more' ? '<' : '>';
  if (worse === null || !operator.startsWith(wrong)) return null;
  const write = `write ${operator.replace(wrong, wrong === '<' ? '>' : '<')}${limit}`;
  if (better === 'more') return `asks for ${worse}: ${write}`;
  if (kind === 'min') return null;
  const tooFast = isTimed(metric) ? `; to find a target that is too fast, write ${name}: min>${limit}` : '';
  return `asks for ${worse} than ${limit}: ${write}${tooFast}`;
}

function unknownMetric(name: string, monitored: ReadonlySet<string>): string {
  const ofK6 = METRIC_NAMES.filter(isOwnMetric).find((metric) => factsOf({ metric }).k6.summary === name);
  const near = ofK6 ?? nearest(name, METRIC_NAMES);
  const known = `has an unknown metric ${name} (${METRIC_NAMES.join(', ')})${near === null ? '' : `; write ${near}`}`;
  if (monitored.size === 0) return `${known}; a monitored series needs --monitor`;
  return `${known}, nor is it a monitored series (${[...monitored].join(', ')})`;
}

/** Parses the text after `where`: the limits of a good request. */
function parseLimits(metric: MetricName, text: string | undefined): readonly RequestLimit[] | string {
  const example = 'goodput: rate>0.95 where ttft<500 and tpot<50';
  if (factsOf({ metric }).family !== 'goodput')
    return text === undefined ? [] : `has a where, which only goodput takes: ${example}`;
  if (text === undefined) return `has no limits for its requests: ${example}`;
  const limits: RequestLimit[] = [];
  for (const part of text.split(/\band\b/)) {
    const [, name, operator, stated = ''] = /^(\w+)(<=?)(.+)$/.exec(part.replace(/\s+/g, '')) ?? [];
    const metric = LIMITED.find((known) => known === name);
    if (metric === undefined || !isTimed(metric)) {
      return `has a limit ${part.trim() || 'of nothing'} that is not on ${LIMITED.join(', ')} with < or <=`;
    }
    const limit = parseLimit(stated, 'time', { kind: 'max' });
    if (typeof limit === 'string') return limit;
    limits.push({ metric, operator: operator as RequestLimit['operator'], limit });
  }
  return limits;
}

/** Names in objectives that are none of our metrics. They may be monitored series, which only the run knows. */
export function namesBesideOurs(texts: readonly string[]): ReadonlySet<string> {
  const names = texts.flatMap((text) => text.match(/[A-Za-z_]\w*(?=\s*:)/g) ?? []);
  return new Set(names.filter((name) => !isOwnMetric(name)));
}

function parseAggregation(text: string, family: Family): Aggregation | string {
  if (family === 'total') {
    return text === '' ? { kind: 'total' } : `takes a plain limit and no ${text}, such as "makespan: <4h"`;
  }
  const expected = `takes ${AGGREGATIONS[family].join(', ')}`;
  const percentile = /^p\((\d+(?:\.\d+)?)\)$/.exec(text);
  const isSpread = family === 'time' || family === 'monitored';
  if (percentile !== null && isSpread) {
    const percent = Number(percentile[1]);
    return percent > 0 && percent < 100
      ? { kind: 'percentile', percent }
      : 'has a percentile outside 0 to 100';
  }
  if (text === 'med' && isSpread) return { kind: 'percentile', percent: 50 };
  if (!AGGREGATIONS[family].includes(text)) {
    const shorthand = /^p\d/.test(text) ? `; write p(${text.slice(1)})` : '';
    return `${expected}, not ${text === '' ? 'nothing' : text}${shorthand}`;
  }
  return { kind: text as 'avg' | 'min' | 'max' | 'rate' | 'count' };
}

function parseLimit(text: string, family: Family, aggregation: Aggregation): number | string {
  const bare = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : null;
  if (aggregation.kind === 'count') return bare ?? `has a limit ${text} that is no count`;
  if (family === 'share' || family === 'goodput') {
    const percent = /^(\d+(?:\.\d+)?)%$/.exec(text);
    const share = percent === null ? bare : Number(percent[1]) / 100;
    return share !== null && share <= 1 ? share : `has a limit ${text} that is no share (0.01 or 1%)`;
  }
  if (bare !== null) return bare;
  if (family === 'monitored') return parseAmount(text);
  try {
    return parseDurationMs(text, 'limit');
  } catch (error) {
    if (error instanceof AppError) return `has a limit ${text} that is no time (200, 200ms, 1.5s, 4h)`;
    throw error;
  }
}

/** A share (`95%`) or an amount of memory (`8GiB`). Plain numbers are parsed elsewhere. */
function parseAmount(text: string): number | string {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text);
  if (percent !== null) return Number(percent[1]) / 100;
  try {
    return parseBytes(text, 'limit');
  } catch (error) {
    if (error instanceof AppError) return `has a limit ${text} that is no amount (0.95, 95%, 10, 8GiB)`;
    throw error;
  }
}
