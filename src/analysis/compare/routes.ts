import type {
  ComparedMetric,
  ComparedRoute,
  ComparisonBounds,
  RouteComparison,
} from '../../documents/comparison.ts';
import { endsAmong } from './intervals.ts';
import { planMetrics } from './metrics.ts';
import { type PairedAnswers, runEndsOf, type SideAnswers } from './pairs.ts';

/** Most judged routes: each more makes the intervals of all routes wider. */
const MOST_JUDGED = 100;
const MOST_SHOWN = 20;
/** With a tenth of the metrics sharing the error, the joint confidence falls from 99 % to 90 %. */
const DOUBTED = 0.1;

interface RoutesJudgement {
  readonly document: RouteComparison;
  readonly worse: readonly ComparedRoute[];
  /** Worse at 90 % confidence, but not at 99 %. By chance alone, one of twenty comparisons has such a route. */
  readonly doubtful: readonly ComparedRoute[];
}

/**
 * Judges each route by the same metrics as all pairs, because the total can hide a slower route. All routes share one
 * error, separate from that of the total. Null for pairs of a single route.
 */
export function compareRoutes(pairs: PairedAnswers, bounds: ComparisonBounds): RoutesJudgement | null {
  const { busiest, found } = pairsByRoute(pairs);
  if (found < 2) return null;
  const parts = busiest.map(({ route, positions }) => {
    // Built again for each use. Keeping the plans of all routes would store every pair a second time.
    const plan = () => planMetrics(partOf(pairs, positions));
    return { route, pairs: positions.length, plan, judged: plan().judged };
  });
  const judged = parts.reduce((sum, part) => sum + part.judged, 0);
  const routes = parts.map(({ route, pairs: count, plan }) => {
    const { metricsOf } = plan();
    const line = routeLine(route, count, metricsOf(bounds, judged));
    if (line.verdict !== 'undecided') return { line, isDoubtful: false };
    const doubted = routeLine(route, count, metricsOf(bounds, judged * DOUBTED));
    const isDoubtful = doubted.verdict === 'worse';
    return { line: isDoubtful ? { ...line, differs: doubted.differs } : line, isDoubtful };
  });
  const rank = ({ line, isDoubtful }: (typeof routes)[number]) =>
    (line.verdict === 'worse' ? 2_000 : isDoubtful ? 1_000 : 0) + changeOf(differingMetric(line));
  routes.sort((one, other) => rank(other) - rank(one));
  const lines = routes.map(({ line }) => line);
  const numberOf = (verdict: ComparedRoute['verdict']) =>
    lines.filter((line) => line.verdict === verdict).length;
  return {
    document: {
      shown: lines.slice(0, MOST_SHOWN),
      worse: numberOf('worse'),
      better: numberOf('better'),
      same: numberOf('same'),
      undecided: numberOf('undecided'),
      unjudged: found - parts.length,
    },
    worse: lines.filter(({ verdict }) => verdict === 'worse'),
    doubtful: routes.filter(({ isDoubtful }) => isDoubtful).map(({ line }) => line),
  };
}

function routeLine(route: string | null, pairs: number, metrics: readonly ComparedMetric[]): ComparedRoute {
  const has = (verdict: ComparedMetric['verdict']) => metrics.some((metric) => metric.verdict === verdict);
  const isOpen = metrics.some(({ verdict, required }) => verdict === 'undecided' && required);
  const verdict = has('worse') ? 'worse' : isOpen ? 'undecided' : has('better') ? 'better' : 'same';
  const telling = metrics.filter((metric) => metric.verdict === verdict);
  const isChanged = verdict === 'worse' || verdict === 'better';
  const differs = isChanged ? telling.toSorted((a, b) => changeOf(b) - changeOf(a))[0] : metrics[0];
  return { route, pairs, verdict, differs: differs?.name ?? '', metrics };
}

/** The metric that is shown for a route. */
export function differingMetric({ differs, metrics }: ComparedRoute): ComparedMetric | undefined {
  return metrics.find(({ name }) => name === differs);
}

const MOST_CHANGE = 100;

/** How far B differs from A: by the logarithm for a time, by the difference for a share. */
function changeOf(metric: ComparedMetric | undefined): number {
  if (metric === undefined) return 0;
  const { unit, a, b, ratio, difference } = metric;
  if (unit === 'share') return Math.abs(difference ?? 0);
  if (typeof a === 'number' && typeof b === 'number')
    return Math.abs(Math.log(ratio ?? Math.max(1e-6, b) / Math.max(1e-6, a)));
  return a === b ? 0 : MOST_CHANGE;
}

/** Positions of the pairs of the busiest routes, and the number of routes. Pairs without a route name are one route. */
function pairsByRoute({ count, routes }: PairedAnswers) {
  if (routes === undefined) return { busiest: [], found: 0 };
  const { names, of } = routes;
  const counts = new Uint32Array(names.length + 1);
  for (let at = 0; at < count; at++) counts[of[at]!]! += 1;
  const found = counts.filter((pairs) => pairs > 0).length;
  const numbers = Array.from(names.keys(), (route) => ({ route, pairs: counts[route]! }))
    .filter(({ pairs }) => pairs > 0)
    .sort((one, other) => other.pairs - one.pairs)
    .slice(0, MOST_JUDGED);
  const places = new Map(numbers.map(({ route, pairs }) => [route, new Uint32Array(pairs)]));
  counts.fill(0);
  for (let at = 0; at < count; at++) {
    const route = of[at]!;
    const positions = places.get(route);
    if (positions === undefined) continue;
    positions[counts[route]!] = at;
    counts[route]! += 1;
  }
  const busiest = Array.from(places, ([route, positions]) => ({ route: names[route]!, positions }));
  return { busiest, found };
}

function partOf(pairs: PairedAnswers, positions: Uint32Array): PairedAnswers {
  const { a, b, offsetNs } = pairs;
  const side = (of: SideAnswers) =>
    Object.fromEntries(
      Object.entries(of).map(([name, column]) => [name, taken(column, positions)]),
    ) as unknown as SideAnswers;
  const runEnds = endsAmong(positions, runEndsOf(pairs));
  const part = { count: positions.length, runEnds, a: side(a), b: side(b) };
  return offsetNs === undefined ? part : { ...part, offsetNs: taken(offsetNs, positions) };
}

function taken<Column extends Float64Array | Float32Array | Uint16Array | Uint8Array>(
  column: Column,
  positions: Uint32Array,
): Column {
  const part = column.slice(0, positions.length) as Column;
  for (let at = 0; at < positions.length; at++) part[at] = column[positions[at]!]!;
  return part;
}
