import { zonedTime } from '../../core/calendar.ts';
import { countLines } from '../../core/text.ts';
import { countOf, formatMs } from '../../core/units.ts';
import type {
  ComparedMetric,
  ComparedSide,
  ComparisonDocument,
  ComparisonVerdict,
  RouteComparison,
  ShiftedFigure,
} from '../../documents/comparison.ts';
import {
  calledHere,
  changeText,
  columnsOf,
  digestLines,
  figureText,
  INTERVAL_SHOWN,
  intervalText,
  latencyText,
  metricName,
  NONE,
  numberText,
  pointsText,
  ratioText,
  resultText,
  sectionOf,
  shareText,
  type Table,
  testedLines,
  type View,
} from '../render/table.ts';
import { stoppedText } from './comparison-reasons.ts';
import { lengthNeededS } from './judge.ts';
import { differingMetric } from './routes.ts';

/**
 * A comparison as readable text and tables.
 * @param timeZone the time zone of shown times
 * @param program how the program is called
 */
export function comparisonView(document: ComparisonDocument, timeZone = 'UTC', program = 'reprise'): View {
  const { verdict, reasons, notes, a, b } = document;
  const paths = { A: a.name, B: b.name };
  const pairs = pairsText(document);
  const ofBoth = (linesOf: (side: ComparedSide) => readonly string[]) => {
    const [ofA, ofB] = [linesOf(a), linesOf(b)];
    return [
      ...ofA.map((line) => `${ofB.includes(line) ? 'A and B' : 'A'}: ${line}`),
      ...ofB.filter((line) => !ofA.includes(line)).map((line) => `B: ${line}`),
    ];
  };
  return {
    title: 'Comparison',
    verdict,
    reasons: calledHere(reasons, paths, program),
    notes: calledHere(notes, paths, program),
    tone: TONES[verdict],
    headline: verdictSentence(document),
    lines: [
      directionsText(document),
      ...sideTexts(document, timeZone),
      ...(document.runs ?? [a, b]).filter(({ run }) => run !== null).map(ownText),
      ...[noiseText(document)].filter((line) => line !== ''),
      ...(pairs === '' ? [] : [pairs]),
      ...cacheLines(document),
      ...ofBoth(digestLines),
    ],
    tested: ofBoth(testedLines),
    sections: [
      sectionOf('metrics', 'Metrics', [metricTable(document), wholeTable(document)]),
      sectionOf('routes', 'By route', [routeTable(document)]),
    ].filter(({ tables }) => tables.length > 0),
  };
}

const TONES: Readonly<Record<ComparisonVerdict, View['tone']>> = {
  BETTER: 'good',
  SAME: 'good',
  WORSE: 'bad',
  INCONCLUSIVE: 'warn',
};

function metricTable({ compares, metrics }: ComparisonDocument): Table {
  if (compares === 'profiles') {
    return {
      title: 'Figures of both profiles',
      unit: 'as named; shift and bound are shares',
      source: 'the two profiles',
      lookFor: 'which figures are over their bound: a load test should be made of such traffic anew',
      columns: columnsOf(['figure'], ['A', 'B', 'B ÷ A', 'shift', 'bound', 'result']),
      rows: metrics.filter(isShift).map(shiftCells),
    };
  }
  return {
    title: 'Every metric',
    unit: 'B compared with A, + is slower; shares in percentage points (pp)',
    source:
      'means over windows of paired requests, so that a window that is slow on both sides is no change; the pairs have one recorded id. ‘worse’ and ‘better’ are certain at 99 %, for all metrics together',
    lookFor: 'the result. How long a run would decide what is undecided is in the notes',
    toneOf: resultTone,
    columns: columnsOf(['metric'], METRIC_COLUMNS),
    rows: metrics.filter((metric): metric is ComparedMetric => !isShift(metric)).map(metricCells),
  };
}

const METRIC_COLUMNS = ['change', INTERVAL_SHOWN, 'windows', 'result'];

/**
 * What each side measured. It is a table of its own, because the quotient of two whole runs is not the change by which
 * B is judged.
 */
function wholeTable({ compares, metrics }: ComparisonDocument): Table | null {
  if (compares === 'profiles') return null;
  return {
    title: 'Each side as a whole',
    unit: 'latency and TTFT: from the planned instant to the last byte, to the first token; ITL mean: mean time between tokens of a stream; shares of pairs',
    source: 'all pairs of the run, not window by window: B ÷ A of these is not the change above',
    lookFor: 'how long requests take',
    columns: columnsOf(['metric'], ['A', 'B']),
    rows: metrics
      .filter((metric): metric is ComparedMetric => !isShift(metric))
      .map(({ name, unit, a, b }) => [
        metricName(name),
        ...[a, b].map((of) => (unit === 'ms' ? latencyText(of) : shareText(of))),
      ]),
  };
}

function resultTone(cell: string): 'good' | 'bad' | null {
  return cell === 'better' ? 'good' : cell === 'worse' ? 'bad' : null;
}

/** Each route by the metric that differs most. */
function routeTable({ routes }: ComparisonDocument): Table | null {
  if (routes == null) return null;
  return {
    title: routesText(routes),
    unit: 'as of every metric',
    source: `the pairs of each route, by the metric that differs most; all are in --json. ‘worse’ and ‘better’ are certain at 99 %, for all routes together`,
    lookFor: 'a route that is worse although the whole is not. Undecided ones have too few pairs',
    toneOf: resultTone,
    columns: columnsOf(['route', 'metric'], ['pairs', ...METRIC_COLUMNS]),
    rows: routes.shown.flatMap((each) => {
      const metric = differingMetric(each);
      if (metric === undefined) return [];
      const [name = '', ...cells] = metricCells(metric);
      return [[each.route ?? NONE, name, numberText(each.pairs), ...cells]];
    }),
  };
}

/** `7 routes: 1 worse (GET /slow), 4 the same, 2 undecided` */
export function routesText({ shown, unjudged, ...numbers }: RouteComparison): string {
  const { worse, better, same, undecided } = numbers;
  const all = worse + better + same + undecided + unjudged;
  const worst = worse === 0 ? '' : ` (${worse === 1 ? '' : 'most: '}${shown[0]?.route ?? NONE})`;
  const parts = countLines([
    [worse, `worse${worst}`],
    [better, 'better'],
    [same, 'the same'],
    [undecided, 'undecided'],
    [unjudged, 'not judged'],
  ]).map((line) => line.trim());
  const rest = shown.length < all ? `; those that differ most: ${shown.length}` : '';
  return `${countOf(all, 'route')}: ${parts.join(', ')}${rest}`;
}

export function isShift(metric: ComparedMetric | ShiftedFigure): metric is ShiftedFigure {
  return 'group' in metric;
}

/** The changed metrics with their directions; for two profiles, the number of shifted figures. */
function directionsText(document: ComparisonDocument): string {
  const { compares, metrics } = document;
  if (compares === 'profiles') {
    const shifted = metrics.filter(({ verdict }) => verdict === 'worse').length;
    return `${shifted} of ${countOf(metrics.length, 'figure')} shifted`;
  }
  const latencies = metrics.filter(
    (metric): metric is ComparedMetric => !isShift(metric) && metric.unit === 'ms',
  );
  const told = latencies.flatMap((metric) =>
    metric.ratio === null || metric.verdict === 'undecided'
      ? []
      : [`${metricName(metric.name)} ${changeOrBoth(metric)}`],
  );
  if (told.length > 0) return `B compared with A: ${told.slice(0, 2).join('; ')}`;
  const seconds = lengthNeededS(document);
  const length = seconds === null ? '' : `: a run of about ${formatMs(seconds * 1e3)} would tell`;
  return `no latency of B can be compared with A yet${length}`;
}

/** `20 % slower`; without a ratio, `30.2 ms → no answer`. */
export function changeOrBoth(metric: ComparedMetric): string {
  const change = changeText(metric);
  return change === NONE ? `${latencyText(metric.a)} → ${latencyText(metric.b)}` : change;
}

type SidesOf = Pick<ComparisonDocument, 'a' | 'b' | 'runs'>;

/** A line for each side: its name, its target and when it started. */
export function sideTexts({ a, b, runs }: SidesOf, timeZone: string): string[] {
  const names = sideNames({ a, b, runs });
  return (['A', 'B'] as const).map((side) => {
    const { kind, name, target, startedAt, stopped } = side === 'A' ? a : b;
    if (kind !== 'run') return `${side}: ${kind} ${name}`;
    const when = startedAt === null ? '' : `, ${zonedTime(Date.parse(startedAt), timeZone)} ${timeZone}`;
    const end = stopped == null ? '' : `; ${stoppedText(stopped)}`;
    const against = names[side] === target ? '' : ` against ${target}`;
    return `${side}: ${names[side]}${against}${when}${end}`;
  });
}

function ownText({ run, name, verdict }: Pick<ComparedSide, 'run' | 'name' | 'verdict'>): string {
  return `run ${run} in ${name}${verdict === null ? '' : `, ${verdict} by itself`}`;
}

/** `10 runs of each, in the order ABBAABBA`; with one run of each, that their noise is not known. */
export function noiseText({ compares, runs, metrics }: ComparisonDocument): string {
  if (compares === 'profiles') return '';
  if (runs == null) return 'noise between runs is not known: one run of each side';
  const noise = metrics.map((metric) => (isShift(metric) ? null : (metric.noise ?? null)))[0] ?? null;
  const order = runs.map(({ side }) => side).join('');
  const shown = order.length > 24 ? `${order.slice(0, 24)}…` : order;
  const varies = noise === null ? '' : `; runs of one build vary by ${shareText(noise)}`;
  return `${countOf(runs.length / 2, 'run')} of each side in the order ${shown}${varies}`;
}

/**
 * What tells both sides apart: the build, the targets of repeated runs, the label of each run, or the fewest last parts
 * of its path.
 */
function sideNames({ a, b, runs }: SidesOf): Readonly<Record<'A' | 'B', string>> {
  const apart = [[a.labels?.['build'], b.labels?.['build']], runs == null ? [] : [a.target, b.target]];
  for (const [A, B] of apart) if (A != null && B != null && A !== B) return { A, B };
  const nameOf = ({ label, name }: ComparedSide, parts: number) =>
    label ??
    (name
      .split(/[/\\]+/)
      .filter(Boolean)
      .slice(-parts)
      .join('/') ||
      name);
  for (const parts of [1, 2, 3]) {
    const [A, B] = [nameOf(a, parts), nameOf(b, parts)];
    if (A !== B) return { A, B };
  }
  return { A: a.name, B: b.name };
}

/** The undecided metrics. For two profiles, only figures that exactly one of them has. */
export function undecidedOf(metrics: ComparisonDocument['metrics']): string[] {
  return metrics
    .filter((metric) => metric.verdict === 'undecided')
    .filter((metric) => !isShift(metric) || (metric.a === null) !== (metric.b === null))
    .map(({ name }) => name);
}

/** The meaning of the verdict in one sentence, with its limits: SAME covers only what was compared. */
function verdictSentence(document: ComparisonDocument): string {
  const { verdict, undecided, routes } = document;
  const sentence = meaningOf(document);
  const open = (routes?.undecided ?? 0) + (routes?.unjudged ?? 0);
  const parts = [...undecided.map(metricName), ...(open === 0 ? [] : [countOf(open, 'route')])];
  if (parts.length === 0 || (verdict !== 'SAME' && verdict !== 'BETTER')) return sentence;
  return `${sentence.slice(0, -1)}, apart from what is undecided: ${parts.join(', ')}.`;
}

function meaningOf({ compares, verdict, a, b, runs }: ComparisonDocument): string {
  if (compares === 'profiles') {
    return {
      SAME: 'The traffic is what it was: load tests of A still hold.',
      WORSE: 'The traffic has shifted: a new load test is due.',
      BETTER: '',
      INCONCLUSIVE: 'It is undecided whether the traffic has shifted.',
    }[verdict];
  }
  const names = sideNames({ a, b, runs });
  const [one, other] = [`A (${names.A})`, `B (${names.B})`];
  return {
    SAME: `${other} is no slower than ${one}, and fails no more often.`,
    BETTER: `${other} is better than ${one}.`,
    WORSE: `${other} is worse than ${one}.`,
    INCONCLUSIVE: `It is undecided whether ${other} is worse than ${one}.`,
  }[verdict];
}

/** How many requests were compared; empty for profiles. */
function pairsText({ pairs, unpaired }: ComparisonDocument): string {
  if (pairs === null || unpaired === null) return '';
  const { onlyA, onlyB, leftOut } = unpaired;
  return `${pairs} pairs of the same request; only in A ${onlyA}, only in B ${onlyB}, left out for causes of our own ${leftOut}`;
}

function cacheLines({ cacheHits }: ComparisonDocument): string[] {
  if (cacheHits == null || (cacheHits.a === null && cacheHits.b === null)) return [];
  return [`prompt tokens from a cache: A ${shareText(cacheHits.a)}, B ${shareText(cacheHits.b)}`];
}

function metricCells(metric: ComparedMetric): string[] {
  const { name, unit, difference, interval90, windows } = metric;
  const isMs = unit === 'ms';
  const range = isMs ? intervalText(interval90) : (interval90?.map(pointsText).join(' to ') ?? NONE);
  return [
    metricName(name),
    isMs ? changeText(metric) : pointsText(difference),
    range,
    String(windows),
    resultText(metric),
  ];
}

/** `20 % slower (90 % interval +15 % to +25 %), over 900 pairs` */
export function metricLine(metric: ComparedMetric | ShiftedFigure): string {
  if (isShift(metric))
    return `a shift of ${shareText(metric.shift)}, the bound is ${shareText(metric.bound)}`;
  const [, change, range] = metricCells(metric);
  return `${change} (${INTERVAL_SHOWN} ${range}), over ${countOf(metric.pairs, 'pair')}`;
}

function shiftCells({ name, group, a, b, ratio, shift, bound, verdict }: ShiftedFigure): string[] {
  return [
    name,
    figureText(a),
    figureText(b),
    ratioText(ratio),
    shareText(shift),
    `${shareText(bound)} (${group})`,
    verdict === 'worse' ? 'shifted' : verdict,
  ];
}
