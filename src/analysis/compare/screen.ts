import { TonedLine } from '../../core/text.ts';
import { countOf, formatMs } from '../../core/units.ts';
import type { ComparedMetric, ComparisonDocument } from '../../documents/comparison.ts';
import {
  block,
  findingLines,
  fitted,
  fixed,
  folded,
  SCREEN,
  type ScreenLine,
  verdictLines,
} from '../render/screen.ts';
import {
  changeText,
  columnsOf,
  figureText,
  INTERVAL_SHOWN,
  intervalText,
  latencyText,
  metricName,
  NONE,
  pointsText,
  resultText,
  shareText,
  tableLines,
  type View,
} from '../render/table.ts';
import { lengthNeededS } from './judge.ts';
import { isShift, noiseText, routesText, sideTexts } from './view.ts';

/** Lines reserved for reasons, independent of the number of metrics. */
const FEWEST_OF_REASONS = 6;
const WORST_FIRST = ['worse', 'undecided', 'better', 'same'] as const;

/** The end of a comparison on one screen: at most 20 lines of 80 columns. @param view of the same document */
export function comparisonScreen(document: ComparisonDocument, view: View, timeZone = 'UTC'): ScreenLine[] {
  const { pairs, metrics, notes, routes } = document;
  const sides = sideTexts(document, timeZone).flatMap((line) => folded(line, '  ', 2));
  const verdict = [...verdictLines(view), ...sides];
  const ofRoutes = routes == null ? [] : folded(`${routesText(routes)} (--verbose)`, '  ', 1);
  const codes = [...new Set(notes.map(({ code }) => code))].join(', ');
  const foot = [
    ...(pairs === null
      ? []
      : folded(
          `${countOf(pairs, 'pair')} of the same request${longerText(document)}; ${noiseText(document)}`,
          '  ',
          3,
        )),
    ...ofRoutes,
    ...(codes === '' ? [] : folded(`Notes: ${codes} (--verbose)`, '  ', 1)),
  ];
  const fewest = findingLines(view.reasons, FEWEST_OF_REASONS).length;
  return fitted([
    fixed(verdict),
    block(2, fewest, SCREEN.lines, (most) => findingLines(view.reasons, most)),
    block(1, 0, metrics.length + 1, (most) => metricLines(metrics, most)),
    fixed(foot),
  ]);
}

function longerText(document: ComparisonDocument): string {
  if (document.runs != null && document.moreS != null)
    return `; about ${formatMs(document.moreS * 1e3)} more of both would tell`;
  const seconds = lengthNeededS(document);
  return seconds === null ? '' : `; a run of about ${formatMs(seconds * 1e3)} would tell of all`;
}

function metricLines(metrics: ComparisonDocument['metrics'], most: number): ScreenLine[] {
  if (metrics.length === 0) return [];
  const rank = ({ verdict }: { readonly verdict: ComparedMetric['verdict'] }) => WORST_FIRST.indexOf(verdict);
  const shown = metrics
    .toSorted((a, b) => rank(a) - rank(b))
    .slice(0, metrics.length < most ? metrics.length : Math.max(1, most - 2));
  const columns = shown.some(isShift)
    ? columnsOf(['figure'], ['A', 'B', 'shift', 'result'])
    : columnsOf(['metric'], ['change', INTERVAL_SHOWN, 'result', 'A', 'B']);
  const [title, ...rows] = tableLines(columns, shown.map(cellsOf));
  const more = metrics.length - shown.length;
  return [
    `  ${title}`,
    ...rows.map((row, at) => {
      const verdict = shown[at]?.verdict;
      if (verdict === 'same') return `  ${row}`;
      const tone = verdict === 'worse' ? 'bad' : verdict === 'better' ? 'good' : 'warn';
      return new TonedLine(`  ${row}`, tone);
    }),
    ...(more === 0 ? [] : [`  and ${countOf(more, 'metric')} more: --verbose`]),
  ];
}

function cellsOf(metric: ComparisonDocument['metrics'][number]): string[] {
  if (isShift(metric)) {
    const { name, a, b, shift, bound, verdict } = metric;
    const result = verdict === 'worse' ? 'shifted' : verdict;
    return [name, figureText(a), figureText(b), `${shareText(shift)} of ${shareText(bound)}`, result];
  }
  const { name, unit, a, b, difference, interval90 } = metric;
  const isMs = unit === 'ms';
  const value = isMs ? latencyText : shareText;
  const change = isMs ? changeText(metric) : pointsText(difference);
  const range = isMs ? intervalText(interval90) : NONE;
  return [metricName(name), change, range, resultText(metric), value(a), value(b)];
}
