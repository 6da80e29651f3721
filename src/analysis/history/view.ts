import { zonedTime } from '../../core/calendar.ts';
import { countOf, formatMs, formatShare } from '../../core/units.ts';
import type { Figure, HistoryChange, HistoryDocument, Result, TestHistory } from '../../documents/history.ts';
import { RUN_VALUES } from '../../documents/run-values.ts';
import {
  differencesText,
  LABEL_FACT,
  type ServerDifference,
  serverDifferences,
} from '../../documents/server-details.ts';
import { timeSeries } from '../render/charts.ts';
import { type PageAssets, tablesPart, viewPage } from '../render/html.ts';
import {
  columnsOf,
  exceptionText,
  labelsText,
  NONE,
  numberText,
  ratioText,
  type Section,
  sectionOf,
  type Table,
  type View,
} from '../render/table.ts';
import { LEAST_RUNS } from './build-history.ts';

/** A history in a readable form. */
export function historyView(document: HistoryDocument): View {
  const { file, tests, significance, exceptions } = document;
  const runs = tests.reduce((sum, test) => sum + test.runs.length, 0);
  const changed = tests.flatMap(({ test, metrics }) =>
    metrics.flatMap(({ name, unit, changes }) => changes.map((change) => ({ test, name, unit, change }))),
  );
  const isEnough = tests.some(({ enough }) => enough);
  const unchanged = isEnough
    ? 'No metric is known to have changed.'
    : 'No test has enough runs to tell a change.';
  const failed = tests.filter((test) => lastResultOf(test) === 'failed').map(({ test }) => test);
  return {
    title: 'History',
    verdict: changed.length > 0 ? 'CHANGED' : isEnough ? 'STEADY' : null,
    tone: toneOf(document, changed.length > 0),
    headline: [
      changed.length === 0
        ? unchanged
        : `${countOf(changed.length, 'change')} of a metric, each at the run it began with.`,
      ...(failed.length === 0 ? [] : [`The last run failed: ${namesOf(failed)}.`]),
    ].join(' '),
    reasons: changed.map(({ test, name, unit, change }) => ({
      code: name,
      title: test,
      text: changeText(unit, change),
      advice: 'Compare that run with the one before it: reprise compare.',
    })),
    notes: [],
    lines: [
      `${countOf(runs, 'run')} of ${countOf(tests.length, 'test')} in ${file}`,
      ...exceptions.map((each) => `${each.test}: ${exceptionText(each)}`),
      `A change is named by chance in at most ${formatShare(significance)} of tests that have none; a test needs ${LEAST_RUNS} decided runs.`,
    ],
    sections: tests.map(testSection),
  };
}

/** Green only if tests are known to be steady, and their last runs passed. An accepted failure is a warning. */
function toneOf({ tests, exceptions }: HistoryDocument, isChanged: boolean): View['tone'] {
  const last = tests.map(lastResultOf);
  const isAccepted = ({ runs }: TestHistory) => exceptions.some(({ run }) => run === runs.at(-1)?.run);
  if (tests.some((test) => lastResultOf(test) === 'failed' && !isAccepted(test))) return 'bad';
  if (isChanged || last.includes('failed') || last.includes('undecided')) return 'warn';
  return tests.some(({ enough }) => enough) ? 'good' : 'plain';
}

function lastResultOf({ runs }: TestHistory): Result | undefined {
  return runs.at(-1)?.result;
}

/** Most tests that a headline names. */
const MOST_NAMES = 3;

function namesOf(tests: readonly string[]): string {
  const more = tests.length - MOST_NAMES;
  return `${tests.slice(0, MOST_NAMES).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function testSection(test: TestHistory): Section {
  return sectionOf(test.test, titleOf(test), [metricTable(test), runTable(test)]);
}

function titleOf({ test, runs, judged, enough }: TestHistory): string {
  const open = runs.length - judged;
  const undecided = open === 0 ? '' : `, ${open} of them undecided`;
  return `${test}: ${countOf(runs.length, 'run')}${undecided}${enough ? '' : '; too few to tell a change'}`;
}

function metricTable({ metrics }: TestHistory): Table {
  const isLimited = metrics.some(({ limits }) => limits !== undefined);
  return {
    title: 'Metrics',
    unit: 'as named',
    source: 'the runs of this test, the oldest first; undecided ones are drawn and not searched for changes',
    lookFor: 'a step that stays: the run it began with is named',
    columns: columnsOf(
      ['metric', 'over the runs'],
      ['first', 'median', 'last', ...(isLimited ? ['last limit'] : []), 'changed at'],
    ),
    rows: metrics.map(({ name, unit, values, limits = [], changes }) => {
      const known = values.filter((value) => value !== null);
      const show = (value: number | undefined) => (value === undefined ? NONE : valueText(unit, value));
      return [
        name,
        sparkline(values),
        ...[known[0], median(known), known.at(-1)].map(show),
        ...(isLimited ? [show(lastOf(limits))] : []),
        changes.map(({ run, ratio }) => `${run} (× ${ratioText(ratio)})`).join(', ') || NONE,
      ];
    }),
  };
}

function runTable({ runs }: TestHistory): Table {
  const isLabelled = runs.some(({ labels = {} }) => Object.keys(labels).length > 0);
  const changes = runs.map((run, at) => serverDifferences(runs[at - 1] ?? run, run).filter(isOfServer));
  const isServerKnown = changes.some((each) => each.length > 0);
  return {
    title: 'Runs',
    unit: 'verdicts',
    source: 'this history',
    lookFor: 'the last run that passed, and the first that did not',
    columns: columnsOf(
      [
        'started (UTC)',
        'run',
        'verdict',
        ...(isLabelled ? ['tested'] : []),
        ...(isServerKnown ? ['server, since the run before'] : []),
        'version',
        'target',
        'directory',
      ],
      [],
    ),
    rows: runs.map(({ startedAt, run, verdict, result, version, target, directory, labels = {} }, at) => [
      timeOf(startedAt),
      run,
      verdict ?? `none (${result})`,
      ...(isLabelled ? [labelsText(labels)] : []),
      ...(isServerKnown ? [differencesText(changes[at] ?? [], 'before', 'now') || NONE] : []),
      ...[version, target, directory],
    ]),
  };
}

/** Labels have a column of their own. */
function isOfServer({ fact }: ServerDifference): boolean {
  return !fact.startsWith(LABEL_FACT);
}

function changeText(
  unit: Figure['unit'],
  { run, startedAt, before, after, ratio, p }: HistoryChange,
): string {
  const times = ratio === null ? '' : ` (× ${ratioText(ratio)})`;
  return `changed at run ${run} of ${timeOf(startedAt)} from ${valueText(unit, before)} to ${valueText(unit, after)}${times}, p ${p.toFixed(4)}`;
}

/** Runs may come from several time zones, so times are in UTC. */
function timeOf(startedAt: string): string {
  return zonedTime(Date.parse(startedAt), 'UTC');
}

function valueText(unit: Figure['unit'], value: number): string {
  if (unit === 'ms') return formatMs(value);
  return unit === 'share' ? formatShare(value) : numberText(value);
}

function lastOf(values: readonly (number | null)[]): number | undefined {
  return values.findLast((value) => value !== null) ?? undefined;
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

const STEPS = '▁▂▃▄▅▆▇█';
/** Text that fits into a table cell without a line break. */
const MOST_STEPS = 50;

/**
 * The latest values as text bars. A dot marks a missing value.
 * @param range the least and the greatest bar; those of the values if it is not given
 */
export function sparkline(values: readonly (number | null)[], range?: readonly [number, number]): string {
  const shown = values.slice(-MOST_STEPS);
  const known = shown.filter((value) => value !== null);
  const [least, most] = range ?? [Math.min(...known), Math.max(...known)];
  const span = most - least;
  return shown
    .map((value) => {
      if (value === null) return '·';
      return STEPS[span === 0 ? 0 : Math.round(((value - least) / span) * (STEPS.length - 1))];
    })
    .join('');
}

const UNITS: Readonly<Record<Figure['unit'], string>> = {
  ms: 'ms',
  share: '%',
  per_second: 'requests/s',
  ratio: 'ratio',
  count: 'requests',
};

/** Without green, which is the colour of runs that passed. */
const LINE_COLOURS = ['one', 'two', 'four'] as const;

/** The charts of each test on the page, with the values in each. The tables have the other metrics. */
const CHARTS = [...Map.groupBy(RUN_VALUES, ({ chart }) => chart)].filter(([title]) => title !== undefined);

/** A history as a page. */
export function historyPage(document: HistoryDocument, assets: PageAssets): string {
  const view = historyView(document);
  const charts = document.tests.map((test, at) => chartsOf(test, at));
  const parts = view.sections.map((each, at) =>
    // Test names may contain any characters, so a part's key is its position.
    tablesPart({ ...each, key: `test-${at}` }, at === 0 ? '' : htmlOf(charts[at])),
  );
  const first = parts.length === 0 ? '<p>The history holds no run.</p>' : htmlOf(charts[0]);
  return viewPage(view, { title: 'History', first, parts, charts: charts.flat(), timeZone: 'UTC' }, assets);
}

function htmlOf(charts: readonly { readonly html: string }[] = []): string {
  return charts.map(({ html }) => html).join('');
}

function chartsOf({ runs, metrics }: TestHistory, at: number) {
  if (runs.length < 2) return [];
  const starts = runs.map(({ startedAt }) => Math.round(Date.parse(startedAt) / 1e3));
  return CHARTS.flatMap(([title = '', drawn], index) => {
    const lines = drawn.flatMap(({ name }) => metrics.filter((metric) => metric.name === name));
    const [first] = lines;
    if (first === undefined) return [];
    const drawnAs = (value: number) => (first.unit === 'share' ? value * 100 : value);
    return [
      timeSeries({
        id: `test-${at}-${index}`,
        title,
        unit: UNITS[first.unit],
        lines: lines.map(({ name, values }, line) => ({
          label: name,
          colour: LINE_COLOURS[line % LINE_COLOURS.length] ?? 'one',
          values: values.map((value) => (value === null ? null : drawnAs(value))),
        })),
        limits: lines.flatMap(({ name, unit, limits = [] }) => {
          const limit = lastOf(limits);
          if (limit === undefined) return [];
          return [{ label: `limit of ${name}: ${valueText(unit, limit)}`, at: drawnAs(limit) }];
        }),
        verdicts: runs.map(verdictMark),
        source: 'the runs of this test, each at its start; the limits of the last run that has one',
        lookFor: 'a step that stays, and points near their limit',
        at: starts,
        // Lines go on over days without a run.
        stepS: Math.max(...starts.map((start, run) => start - (starts[run - 1] ?? start))),
        timeZone: 'UTC',
      }),
    ];
  });
}

/** Runs without objectives have no verdict, and also searches and tests of k6, but those of k6 may have failed. */
function verdictMark({ verdict, result }: TestHistory['runs'][number]) {
  if (result === 'failed') return { tone: 'bad', label: 'failed' } as const;
  if (verdict === null) return { tone: 'plain', label: 'no verdict' } as const;
  return result === 'passed'
    ? ({ tone: 'good', label: 'passed' } as const)
    : ({ tone: 'warn', label: 'undecided' } as const);
}
