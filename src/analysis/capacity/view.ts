import { zonedTime } from '../../core/calendar.ts';
import { linesOf, pathEnd, TonedLine } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier, percent } from '../../core/units.ts';
import type {
  CapacityDocument,
  CapacityGoal,
  CapacityPlanDocument,
  CapacityStep,
  EndedBy,
  LoadPoint,
  SearchedLoadDocument,
} from '../../documents/capacity.ts';
import { namesBesideOurs, objectiveOf, parseObjectives } from '../../documents/metrics/objectives.ts';
import type { QueueForecast } from '../../documents/parts.ts';
import { PERCENTILE_NAMES, percentilesIn } from '../../documents/percentiles.ts';
import { objectiveText } from '../plan/view.ts';
import { block, fitted, fixed, folded, SCREEN, type ScreenLine } from '../render/screen.ts';
import {
  columnsOf,
  digestLines,
  type Finding,
  NONE,
  sectionOf,
  type Table,
  tableLines,
  testedLines,
  type View,
} from '../render/table.ts';
import { labelsText, targetFirst, valueText } from '../report/monitors.ts';
import { wordsOf } from '../verdict/reasons.ts';
import { observedText as amountText } from '../verdict/violation.ts';
import { UNCOMPARABLE } from './build-document.ts';
import { goodLimitsOf, goodLimitsText } from './good-requests.ts';
import { isOfGenerator } from './step-windows.ts';

/** Loads of the table in a terminal. More do not fit on one screen. */
const MOST_LOADS = 7;
/** Most lines on tiers. The last one counts the rest. */
const MOST_TIERS = 4;
/** Most lines on steps below and above the bounds and on windows that were not judged. */
const MOST_DOUBTFUL = 4;
/** Least lines of the table: titles, note and the loads that the headline names. */
const LEAST_TABLE = 4;

/**
 * If the interval begins below this share of the load that passed, its few windows do not make the load safe: only what
 * is certain at 95 % is.
 */
const SAFE_SHARE = 0.8;

/** The exceed ratio of MLRsearch is 0.5, so percentiles of a passing load may be over their limit. */
const PASS_TEXT = 'A load passes if half of its windows are good. p50 to p99 are of all windows.';

/** Why a search ended without a breaking point or with a wide interval, and what to do. */
const ENDS: Readonly<
  Record<Exclude<EndedBy, 'resolved' | 'unjudged'>, { readonly text: string; readonly advice: string }>
> = {
  target_failed: {
    text: 'the target did not come back to its speed at rest after the last step',
    advice:
      'See whether it restarts, and how long its queue takes to empty; then go on with the same command.',
  },
  generator: {
    text: 'larger loads are limited by the generator, not by the target',
    advice: 'Raise its caps (--max-in-flight), give it more --threads or a separate host, then go on.',
  },
  max_multiplier: {
    text: 'the target stands the largest load that is allowed',
    advice: 'Raise --multiplier and repeat the command.',
  },
  max_rate: {
    text: 'the target stands the largest rate that is allowed',
    advice: 'Raise --max-rate.',
  },
  min_multiplier: {
    text: 'the target does not even stand the least load that is tried',
    advice: 'See what breaks at 1x by reprise replay, or go lower, such as --multiplier 0.01..1.',
  },
  budget: {
    text: 'the time ran out before the interval was as narrow as requested',
    advice: 'Repeat the command with a larger --budget.',
  },
  recording: {
    text: 'hardly a recorded request waited, so the number of requests that the server can process together is unknown',
    advice:
      'Choose a busier part of the recording (--window peak=1h), or search the server itself with --target.',
  },
  repeats_cached: {
    text: 'the same requests were faster when they were sent again: a cache answers, or the target was cold',
    advice:
      'Turn off the cache of the target, such as prefix caching. If it was cold, send it other traffic first. Then search with another --out.',
  },
  not_representative: {
    text: 'the target at 1x does not answer as was recorded, so that its breaking point would be another one',
    advice: 'Point --target at the same model with the same data, or widen the bounds of --compare-at-1x.',
  },
  not_ready: {
    text: 'what --ready-when asks for did not hold in time',
    advice: 'See the target, then repeat the command.',
  },
  interrupted: { text: 'the search was stopped', advice: 'Repeat the command.' },
};

const NOT_BEGUN = {
  text: 'one of the first requests failed, or the target refused all of at least 20: nothing was searched',
  advice:
    'See the log of the target, and that it is the right server, serves the recorded paths and accepts these credentials.',
};

/**
 * Why a search ended without a narrow interval, and what to do. A forecast has other advice, as it cannot be resumed.
 */
function endText(document: CapacityDocument): { text: string; advice: string } | null {
  const { endedBy, forecast, steps } = document;
  if (endedBy === 'target_failed' && steps.length === 0) return NOT_BEGUN;
  if (endedBy === 'resolved') return isAsWideAsNoise(document) ? noiseText(document) : null;
  if (endedBy === 'unjudged') return unjudgedText(document);
  const { text, advice } = ENDS[endedBy];
  const goesOn = forecast === undefined && (endedBy === 'budget' || endedBy === 'interrupted');
  return { text, advice: goesOn ? `${advice} With the same --out it goes on from here.` : advice };
}

/** Why windows could not be judged: the titles of their doubts, and what to do about them. */
function unjudgedText({ steps }: CapacityDocument): { text: string; advice: string } {
  const windows = steps.flatMap((step) => step.windows).filter(({ result }) => result === 'void');
  const codes = [...new Set(windows.flatMap(({ doubts }) => doubts))].filter((code) => !isOfGenerator(code));
  const words = codes.flatMap((code) => ({ title: code, advice: null, ...wordsOf(code), code }));
  const advice = words.map((each) =>
    isTooShort(each) ? 'A longer --step holds more requests.' : each.advice,
  );
  const known = new Set(advice.filter((each) => each !== null));
  return {
    text: `windows do not show whether the objectives hold${words.length === 0 ? '' : ': '}${words.map(({ title }) => `${title.charAt(0).toLowerCase()}${title.slice(1)}`).join('; ')}`,
    advice: known.size === 0 ? 'See the reasons of the steps.' : [...known].join(' '),
  };
}

function isTooShort({ code }: { readonly code: string }): boolean {
  return code === 'too_few_samples' || code === 'slice_empty';
}

/** An interval cannot be narrower than the noise of the target, so the search ends there. */
function isAsWideAsNoise({ noise, width }: CapacityDocument): boolean {
  return noise.share > 0 && noise.share >= width;
}

function noiseText({ noise }: CapacityDocument): { text: string; advice: string } {
  const by = noise.share >= 1 ? '100 % or more' : `up to ${percent(noise.share)}`;
  const anew = noise.source === 'file' ? 'another --out and --noise file' : 'another --out';
  return {
    text: `the search ended because its result cannot be narrower: sent twice, the same requests took ${by} longer or shorter`,
    advice: `Give target and generator idle cores, or a longer --step. Then search with ${anew}.`,
  };
}

/** `in 1.3 min, as narrow as asked`: every search says why it ended. */
function spentText(document: CapacityDocument): string {
  const { endedBy, spentS, budgetS, width } = document;
  const spent = `${formatMs(spentS * 1e3)} of ${formatMs(budgetS * 1e3)}`;
  if (endedBy !== 'resolved' || isAsWideAsNoise(document)) return spent;
  return `${spent}, until the result was as narrow as asked (--width ${width})`;
}

/** Whether a search has a result. If the target did not recover it has none, even with an interval. */
export function isFound({
  breakingPoint,
  endedBy,
}: Pick<CapacityDocument, 'breakingPoint' | 'endedBy'>): boolean {
  return breakingPoint.interval !== null && endedBy !== 'target_failed' && endedBy !== 'not_ready';
}

/** The result in its colour. */
export function capacityVerdict(document: CapacityDocument): TonedLine[] {
  const tone = isFound(document) ? 'good' : 'warn';
  return folded(headline(document), '', 2).map((line) => new TonedLine(line, tone));
}

/** The result on one screen: at most 20 lines of 80 columns. */
export function capacityScreen(document: CapacityDocument): ScreenLine[] {
  const { breakingPoint, gaveFirst, steps, spentS, directory, forecast } = document;
  const end = endText(document);
  const sizing = sizingText(document);
  const found = [
    ...linesOf(intervalText(breakingPoint)).flatMap((line) => folded(line, '  ', 1)),
    ...(gaveFirst === null
      ? []
      : folded(`broke first: ${gaveFirst.objective}, ${observedText(gaveFirst)}`, '  ', 2)),
  ];
  const ending = [
    ...(end === null ? [] : [...folded(end.text, '  ', 2), ...folded(`To do: ${end.advice}`, '    ', 2)]),
  ];
  const conditions = [
    ...folded(conditionsText(document), '  ', 2),
    ...(forecast === undefined ? [] : folded(queueText(forecast), '  ', 2)),
    ...(forecast === undefined ? [] : folded(errorText(forecast, document.width), '  ', 3)),
  ];
  const foot = [
    ...(sizing === false ? [] : folded(sizing, '', 2)),
    ...folded(
      forecast === undefined
        ? `Searched ${steps.length} steps in ${spentText(document)}: ${directory}`
        : `Simulated ${steps.length} steps of ${formatMs(spentS * 1e3)} in all; nothing was sent`,
      '',
      3,
    ),
  ];
  const loads = (most: number) => tableLines(loadColumns(), loadRows(document, most - 2));
  const isTable = steps.length > 0;
  return fitted([
    fixed(capacityVerdict(document)),
    fixed(found),
    { ...block(1, 0, MOST_TIERS, (most) => tierLines(document, most)), isJoined: true },
    { ...block(2, 0, MOST_DOUBTFUL, (most) => doubtfulLines(document, most)), isJoined: true },
    { ...fixed(ending), isJoined: true },
    fixed(conditions),
    block(3, isTable ? LEAST_TABLE : 0, isTable ? MOST_LOADS + 2 : 0, (most) =>
      [...loads(most), PASS_TEXT].map((line) => `  ${line}`),
    ),
    fixed(foot),
  ]);
}

/** A line about steps below and above the bounds. */
function widenedLines({ steps }: Pick<CapacityDocument, 'steps'>): string[] {
  const widened = steps.filter(({ purpose }) => purpose === 'widen').length;
  const text = `${countOf(widened, 'more step')} below and above, because windows near the boundary disagreed`;
  return linesOf(widened > 0 && text);
}

/** A line for each load with void windows. */
function voidLines({ steps }: Pick<CapacityDocument, 'steps'>): string[] {
  const spoilt = steps.flatMap(({ multiplier, windows }) =>
    windows.flatMap(({ result, doubts }) => (result === 'void' ? [{ multiplier, doubts }] : [])),
  );
  const byLoad = [...Map.groupBy(spoilt, ({ multiplier }) => multiplier)].toSorted(([a], [b]) => a - b);
  return byLoad.map(([multiplier, windows]) => {
    const codes = [...new Set(windows.flatMap(({ doubts }) => doubts))];
    const why = codes.some(isOfGenerator) ? ', limited by the generator' : '';
    return `${countOf(windows.length, 'window')} at ${formatMultiplier(multiplier)}x not judged${why}: ${codes.join(', ')}`;
  });
}

/** The first of these lines, as many as fit on the screen. */
function doubtfulLines(document: CapacityDocument, most: number): string[] {
  const lines = [...widenedLines(document), ...voidLines(document)];
  const shown = lines.slice(0, Math.max(0, lines.length > most ? most - 1 : most));
  const more = lines.length - shown.length;
  const rest = more > 0 && most > 0 && `windows at ${countOf(more, 'more load')} not judged: see --verbose`;
  return linesOf(shown, rest).flatMap((line) => folded(line, '  ', 1));
}

/** A line for each tier; if there are too many, for the first ones and a count of the others. */
function tierLines({ tiers = [] }: CapacityDocument, most: number): string[] {
  const shown = tiers.slice(0, tiers.length > most ? most - 1 : most);
  const more = tiers.length - shown.length;
  return [
    ...shown.map(({ name, passes, fails }) => {
      const result = `: passes ${pointText(passes)}; fails ${pointText(fails)}`;
      return `  tier ${shortened(name, SCREEN.columns - '  tier '.length - result.length)}${result}`;
    }),
    ...(more > 0 ? [`  ${more} ${shown.length === 0 ? 'tiers' : 'more tiers'}: see --verbose`] : []),
  ];
}

/** Cuts out the middle of a long name, because long names often differ at their end. */
function shortened(name: string, most: number): string {
  const end = Math.floor((most - 1) / 2);
  return name.length <= most ? name : `${name.slice(0, most - 1 - end)}…${name.slice(-end)}`;
}

/** The result for a page. */
export function capacityView(document: CapacityDocument): View<'loads' | 'goals' | 'monitors' | 'steps'> {
  const { breakingPoint, endedBy, capture, target, startedAt, version } = document;
  const end = endText(document);
  const started = zonedTime(Date.parse(startedAt), 'UTC');
  const isForecast = document.forecast !== undefined;
  return {
    title: isForecast ? 'Breaking point, as a forecast' : 'Breaking point',
    facts: [isForecast ? pathEnd(capture) : `${pathEnd(capture)} → ${target}`, started],
    tone: isFound(document) ? 'good' : 'warn',
    headline: headline(document),
    reasons: end === null ? [] : [{ code: endedBy, ...end }],
    notes: notesOf(document),
    lines: [
      ...linesOf(
        intervalText(breakingPoint),
        document.gaveFirst !== null &&
          `broke first: ${document.gaveFirst.objective}, ${observedText(document.gaveFirst)}`,
      ),
      `1x is ${loadText(document.load)}`,
      isForecast ? `${pathEnd(capture)}, simulated` : `${pathEnd(capture)} against ${target}`,
      `${started} UTC, ${document.steps.length} steps in ${spentText(document)}, version ${version}`,
      conditionsText(document),
      ...forecastLines(document),
      ...linesOf(sizingText(document), goodText(document), digestLines(document)),
    ],
    tested: testedLines(document),
    sections: [
      sectionOf('loads', 'Loads', [loadTable(document)]),
      sectionOf('goals', 'Objectives', [tierTable(document), goalTable(document)]),
      sectionOf('monitors', 'Monitors', [monitorTable(document)]),
      sectionOf('steps', 'Steps', [stepTable(document)]),
    ],
  };
}

/** The largest load that passes and the smallest that fails, of which load. */
function headline(document: CapacityDocument): string {
  const { breakingPoint, endedBy, limitedBy, forecast, load } = document;
  const { passes, fails, interval } = breakingPoint;
  const isForecast = forecast !== undefined;
  const what = isForecast ? 'Forecast of the breaking point: ' : '';
  if (limitedBy === 'recording') return `${what}cannot be known from this recording`;
  const isHalfKnown = passes === null || fails === null;
  if (UNCOMPARABLE.has(endedBy) || (passes === null && fails === null) || (interval === null && !isHalfKnown))
    return `${what || 'Breaking point: '}not found (limited by ${limitedBy})`;
  const of = `of ${loadName(load)}`;
  if (passes === null)
    return `${what}${isForecast ? 'breaks' : 'Breaks'} by ${multiplierOf(fails)} ${of} ${rateOf(fails)}; no load passed (limited by ${limitedBy})`;
  const certain = interval?.[0] ?? passes.multiplier;
  // What is certain was not replayed, so it has no rate that was sent.
  const most =
    certain < SAFE_SHARE * passes.multiplier
      ? `${formatMultiplier(certain)}x ${of}`
      : `${multiplierOf(passes)} ${of} ${rateOf(passes)}`;
  const safe = `${what}${isForecast ? 'safe' : 'Safe'} up to ${most}`;
  if (fails === null) return `${safe}; breaking point not found (limited by ${limitedBy})`;
  return `${safe}, breaks by ${pointText(fails)}`;
}

/** `the busiest 30 s`: the load at 1x by its name. */
export function loadName({ isBusiest, seconds }: SearchedLoadDocument): string {
  const isMinute = Math.round(seconds) === 60;
  const length = isMinute ? 'minute' : seconds < 120 ? `${Math.round(seconds)} s` : formatMs(seconds * 1e3);
  return `the ${isBusiest ? 'busiest' : 'recorded'} ${length}`;
}

function loadText(load: SearchedLoadDocument): string {
  const { windows, ratePerSecond } = load;
  const times = windows.map(({ from }) => `${from.slice(0, 19)}Z`).join(', ');
  return `${loadName(load)}: ${ratePerSecond.toFixed(1)} requests/s on average, from ${times}`;
}

/** Details of the breaking point; false without an interval. */
function intervalText({ boundary, interval, shape }: CapacityDocument['breakingPoint']): string | false {
  if (boundary === null || interval === null) return false;
  const [low, high] = interval.map(formatMultiplier);
  return `half of the windows pass at ${multiplierOf(boundary)} (95 %: ${low}x to ${high}x, ${shape})`;
}

function multiplierOf(point: LoadPoint | null): string {
  return point === null ? 'unknown' : `${formatMultiplier(point.multiplier)}x`;
}

function rateOf(point: LoadPoint | null): string {
  return point === null ? '' : `(${point.ratePerSecond.toFixed(1)}/s)`;
}

function pointText(point: LoadPoint | null): string {
  return point === null ? 'unknown' : `${multiplierOf(point)} ${rateOf(point)}`;
}

export function observedText({
  objective: expression,
  observed,
  multiplier,
}: NonNullable<CapacityDocument['gaveFirst']>): string {
  const at = `at ${formatMultiplier(multiplier)}x`;
  if (observed === 'Infinity') return `most got no answer ${at}`;
  if (observed === null) return at;
  const objective = objectiveOf(expression);
  return objective === null ? at : `${amountText({ objective, observed })} ${at}`;
}

/** The basis of a forecast: the queue, how well it predicts the other half of the recording, and its assumptions. */
function forecastLines({ forecast, width }: CapacityDocument): string[] {
  if (forecast === undefined) return [];
  const assumptions = forecast.assumptions.map((each) => `  ${each}`);
  return [queueText(forecast), errorText(forecast, width), 'it assumes:', ...assumptions];
}

function queueText({ executors, executorsLeast, executorsMost, isOpen, fitted }: QueueForecast): string {
  const many = isOpen ? ' or more' : '';
  const alike =
    executorsLeast === executorsMost ? '' : ` (${executorsLeast} to ${executorsMost}${many} fit as well)`;
  return `a queue with ${countOf(executors, 'executor')}${alike}, fitted to ${countOf(fitted.requests, 'request')}`;
}

/** How far the queue is off on the other half of the recording, with a warning if that is more than the width. */
function errorText({ checked }: QueueForecast, width: number): string {
  const errors = checked.percentiles.map(
    ({ percent: at, error }) => `p${at} ${error < 0 ? '−' : '+'}${percent(Math.abs(error))}`,
  );
  const isFar = checked.percentiles.some(({ error }) => Math.abs(error) > width);
  const warning = isFar
    ? `: more than the width of ${percent(width)}, so search the server itself before you rely on this`
    : '';
  return `on ${countOf(checked.requests, 'other request')} it is off by ${errors.join(', ')}${warning}`;
}

function conditionsText({ scaling, noise, calibration, windowS, width, forecast }: CapacityDocument): string {
  if (forecast !== undefined)
    return `${scaling}; windows of at least ${formatMs(windowS * 1e3)}; width ${percent(width)}`;
  const compared =
    calibration === null || calibration.representative === null
      ? 'not compared with the recording'
      : calibration.representative
        ? 'as recorded at 1x'
        : 'NOT as recorded at 1x';
  const own = noise.source === 'none' ? 'noise unknown' : `noise ${percent(noise.share)}`;
  return `${scaling}; windows of at least ${formatMs(windowS * 1e3)}; target ${compared}, ${own}; width ${percent(width)}`;
}

function sizingText({ sizing, breakingPoint }: CapacityDocument): string | false {
  if (sizing === null) return false;
  const times = sizing.replicasNeeded.map(({ timesPeak }) => `${timesPeak}x`).join(', ');
  const cost =
    sizing.costPerThousandGood === null
      ? ''
      : `; ${sizing.costPerThousandGood.toPrecision(3)} per 1,000 good requests`;
  return `Replicas for ${times} of the peak: ${replicasText(sizing, breakingPoint.passes)}${cost}`;
}

/** The replicas by the load that passed, and by what is certain: the two differ where the interval is wide. */
function replicasText(
  { replicasNeeded, certainMultiplier = null }: NonNullable<CapacityDocument['sizing']>,
  passes: LoadPoint | null,
): string {
  const numbers = (of: 'replicas' | 'replicasPassed') =>
    replicasNeeded.map((each) => each[of] ?? each.replicas).join(', ');
  const at = (multiplier: number) => `(${formatMultiplier(multiplier)}x)`;
  const passed = `${numbers('replicasPassed')} by what passed ${passes === null ? '' : at(passes.multiplier)}`;
  return certainMultiplier === null
    ? `${passed}; none is certain at 95 %`
    : `${passed}; ${numbers('replicas')} certain at 95 % ${at(certainMultiplier)}`;
}

/** The limits of a good request; with tiers, those of all of them. */
function goodText({ objectives, tiers = [] }: CapacityDocument): string | false {
  const read = (texts: readonly string[]) => parseObjectives(texts, namesBesideOurs(texts));
  const sets = tiers.map((tier) => ({ name: tier.name, objectives: read(tier.objectives) }));
  const limits = goodLimitsText(goodLimitsOf(read(objectives), sets));
  const whose = tiers.length === 0 ? '' : ', the strictest of all tiers';
  return limits !== '' && `good requests are served within ${limits} (ms${whose})`;
}

function loadColumns(): Table['columns'] {
  return columnsOf(['load'], ['sent/s', 'answered/s', ...PERCENTILE_NAMES, 'good']).concat(
    columnsOf([''], []),
  );
}

/** Rows of loads; if there are too many, those that the headline names and those nearest to the boundary. */
function loadRows(document: CapacityDocument, most = MOST_LOADS): string[][] {
  const { curve, breakingPoint, steps } = document;
  const named = new Set([breakingPoint.passes?.multiplier, breakingPoint.fails?.multiplier]);
  const centre = breakingPoint.boundary?.multiplier ?? curve.at(-1)?.multiplier ?? 1;
  const distance = ({ multiplier }: LoadPoint) => Math.abs(Math.log(multiplier / centre));
  const isNamed = ({ multiplier }: LoadPoint) => Number(named.has(multiplier));
  const byRank = curve.toSorted((a, b) => isNamed(b) - isNamed(a) || distance(a) - distance(b));
  const kept = new Set(byRank.slice(0, most));
  return curve
    .filter((point) => kept.has(point))
    .map(({ multiplier, ratePerSecond, completedPerSecond, latencyMs }) => {
      const windows = steps.filter((step) => step.multiplier === multiplier).flatMap((step) => step.windows);
      const judged = windows.filter(({ result }) => result !== 'void').length;
      const good = windows.filter(({ result }) => result === 'good').length;
      return [
        `${formatMultiplier(multiplier)}x`,
        ratePerSecond.toFixed(1),
        completedPerSecond.toFixed(1),
        ...percentilesIn(latencyMs).map(timeText),
        `${good} of ${judged}`,
        markOf(document, multiplier),
      ];
    });
}

function markOf({ breakingPoint: { passes, fails }, knee }: CapacityDocument, multiplier: number): string {
  const marks = [
    multiplier === passes?.multiplier && 'passes',
    multiplier === fails?.multiplier && 'fails',
    multiplier === knee?.multiplier && 'knee',
  ];
  return marks.filter((mark) => mark !== false).join(', ');
}

function timeText(ms: number | null): string {
  return ms === null ? NONE : formatMs(ms);
}

function loadTable(document: CapacityDocument): Table {
  return {
    title: 'Load, throughput and latency',
    unit: 'requests/s; scheduled latency',
    source:
      'for each load its step with the most windows; good windows meet every objective, of those that could be judged. A load passes if half of them are good (exceed ratio 0.5 of MLRsearch)',
    lookFor:
      'where answered stops to follow sent, and latency leaves its level: the knee comes before the breaking point',
    columns: loadColumns(),
    rows: loadRows(document, Number.POSITIVE_INFINITY),
  };
}

function goalTable({ goals }: CapacityDocument): Table {
  return {
    title: 'Each objective by itself',
    unit: 'multipliers of the recorded traffic',
    source: 'the same windows, judged by one objective each',
    lookFor: 'which objective breaks first, and how much the others would leave',
    columns: columnsOf(['objective'], ['passes', 'fails', 'interval']),
    rows: goals.map((goal) => [goal.name, ...boundsOf(goal)]),
  };
}

function tierTable({ tiers = [] }: CapacityDocument): Table | null {
  if (tiers.length === 0) return null;
  return {
    title: 'Each tier',
    unit: 'multipliers of the recorded traffic',
    source: 'the same windows, judged by the objectives of one tier and those of every tier',
    lookFor:
      'how much more a looser tier leaves; a tier without a load that fails was not looked for further',
    columns: columnsOf(['tier'], ['passes', 'fails', 'interval']).concat(columnsOf(['objectives'], [])),
    rows: tiers.map((tier) => [tier.name, ...boundsOf(tier), tier.objectives.join('; ')]),
  };
}

function boundsOf({ passes, fails, interval }: CapacityGoal): string[] {
  const at = (multiplier: number) => `${formatMultiplier(multiplier)}x`;
  return [
    ...[passes, fails].map((point) => (point === null ? NONE : at(point.multiplier))),
    interval === null ? NONE : interval.map(at).join(' to '),
  ];
}

function monitorTable({ monitors = [], breakingPoint: { passes, fails } }: CapacityDocument): Table | null {
  if (monitors.length === 0) return null;
  return {
    title: 'Monitored at the knee, and at the loads that pass and fail',
    unit: 'as stated; of counters the rate a second',
    source: 'for each load its step with the most windows',
    lookFor: 'what comes to its limit between the load that passes and the one that fails',
    columns: columnsOf(
      ['series', 'from'],
      ['knee p50', 'p95', 'max', 'passes p95', 'max', 'fails p95', 'max'],
    ),
    rows: targetFirst(monitors).map((series) => {
      const at = (point: LoadPoint | null) =>
        series.loads.find(({ multiplier }) => multiplier === point?.multiplier);
      const text = (value: number | null | undefined) => valueText(series, value);
      const [passing, failing] = [at(passes), at(fails)];
      return [
        `${series.name}${labelsText(series)}`,
        series.source,
        ...[series.knee?.p50, series.knee?.p95, series.knee?.max].map(text),
        ...[passing?.p95, passing?.max, failing?.p95, failing?.max].map(text),
      ];
    }),
  };
}

function stepTable({ steps }: CapacityDocument): Table {
  return {
    title: 'Steps in the order they ran',
    unit: 'requests/s; scheduled latency',
    source: 'one run for each step, which reprise report reads',
    lookFor: 'INCONCLUSIVE steps, and those that the target took long to settle before',
    columns: columnsOf(['load', 'purpose', 'verdict'], ['windows', 'sent/s', 'p99', 'settled in']).concat(
      columnsOf(['reasons', 'run'], []),
    ),
    rows: steps.map((step) => [
      `${formatMultiplier(step.multiplier)}x`,
      step.purpose,
      step.verdict,
      String(step.windows.length),
      step.ratePerSecond.toFixed(1),
      timeText(step.latencyMs.p99),
      formatMs(step.settledS * 1e3),
      reasonsText(step),
      step.run,
    ]),
    toneOf: (cell) => (cell === 'PASS' ? 'good' : cell === 'FAIL' ? 'bad' : null),
  };
}

function reasonsText({ reasons, endedEarly }: CapacityStep): string {
  return [
    ...reasons.map(({ text }) => text),
    ...(endedEarly === null ? [] : [`ended early: ${endedEarly}`]),
  ].join('; ');
}

function notesOf(document: CapacityDocument): Finding[] {
  const { inverted, unplayed, scaling, scalingKeeps, scalingBends } = document;
  const spoilt = voidLines(document);
  return [
    {
      code: 'scaling',
      text: `${scaling} keeps ${scalingKeeps}; it changes ${scalingBends}`,
      advice: 'A breaking point is only as true as the scaling behind it: compare with another --scaling.',
    },
    ...(inverted.length === 0
      ? []
      : [
          {
            code: 'inverted',
            text: `${inverted.map(formatMultiplier).join('x, ')}x passed although a smaller load failed`,
            advice: 'The result lies below the smallest load that failed.',
          },
        ]),
    ...(unplayed.length === 0
      ? []
      : [
          {
            code: 'unplayed',
            text: `nothing was replayed between ${unplayed.map((each) => each.map((at) => `${formatMultiplier(at)}x`).join(' and ')).join(', ')}`,
            advice: 'A load that fails only there was not seen. reprise replay --multiplier tests one load.',
          },
        ]),
    ...widenedLines(document).map((text) => ({
      code: 'widened',
      text,
      advice: 'The boundary is no cliff: see the windows of each load in the table of loads.',
    })),
    ...(spoilt.length === 0
      ? []
      : [
          {
            code: 'void_windows',
            text: spoilt.join('; '),
            advice: 'docs/guides/reading-a-verdict.md explains each code.',
          },
        ]),
  ];
}

/** The plan of a search as text: first the search, then its limits. */
export function capacityPlanLines(plan: CapacityPlanDocument): string[] {
  const { target, load, ratePerSecond, windowS, leastWindowS, largestLimitS, samples, multipliers } = plan;
  const seconds = (value: number) => formatMs(value * 1e3);
  const perWindow = Math.floor(Math.max(windowS, load.seconds) * ratePerSecond);
  const loads = multipliers.map(formatMultiplier);
  return linesOf(
    `Search: ${plan.capture}${target === null ? '' : ` against ${target}`}`,
    `  1x is ${loadText(load)}`,
    `  every window replays all of it, for at least ${seconds(windowS)}, after ${seconds(plan.settlingS)} that are not judged`,
    windowS < leastWindowS &&
      `  windows are shorter than ${leastWindowS / largestLimitS} times the limit of ${seconds(largestLimitS)}: loads just above the capacity may pass`,
    perWindow < samples &&
      `  a window at 1x holds fewer than the ${samples} requests that its objectives need: small multipliers are judged roughly`,
    plan.objectives.map(objectiveText),
    plan.calibrates &&
      `  first ${loads[0]}x twice: is the target as recorded, and how far does it differ from itself?`,
    `  then, while it passes: ${loads.join('x, ')}x (${plan.ceilingBy === 'max_rate' ? '--max-rate' : '--multiplier'}); then between the last that passed and the first that failed`,
    `  scaling ${plan.scaling}: changes ${plan.scalingBends}`,
    `  lasts ${seconds(plan.longestS)} at most (--budget ${seconds(plan.budgetS)}); ends earlier where the interval is ${(plan.width * 100).toFixed(0)} % wide`,
  );
}
