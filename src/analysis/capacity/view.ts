import { linesOf } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier, percent } from '../../core/units.ts';
import type { CapacityDocument, CapacityStep, EndedBy, LoadPoint } from '../../documents/capacity.ts';
import {
  columnsOf,
  type Finding,
  NONE,
  sectionOf,
  type Table,
  tableLines,
  type View,
} from '../render/table.ts';

/** Loads of the table in a terminal: one screen holds no more. */
const MOST_LOADS = 7;

/** What a search that ended without a breaking point, or with a wide one, ran into, and what to do. */
const ENDS: Readonly<
  Record<Exclude<EndedBy, 'resolved'>, { readonly text: string; readonly advice: string }>
> = {
  target_failed: {
    text: 'the target did not come back to its speed at rest after the last step',
    advice:
      'See whether it restarts, and how long its queue takes to empty; then go on with the same command.',
  },
  generator: {
    text: 'larger loads are limited by the generator, not by the target',
    advice: 'Raise its caps (--max-in-flight), give it more --senders or a host of its own, then go on.',
  },
  max_multiplier: {
    text: 'the target stands the largest load that is allowed',
    advice: 'Raise --max-multiplier and repeat the command.',
  },
  max_rate: {
    text: 'the target stands the largest rate that is allowed',
    advice: 'Raise --max-rate.',
  },
  min_multiplier: {
    text: 'the target does not even stand the least load that is tried',
    advice: 'See what breaks at 1x by reprise replay, or lower --min-multiplier.',
  },
  budget: {
    text: 'the time is over before the interval is as narrow as asked',
    advice: 'Repeat the command with a larger --budget.',
  },
  unjudged: {
    text: 'windows say nothing of the target: they hold too few requests, or their answers are none of production’s',
    advice: 'See the reasons of the steps. A longer --window holds more requests.',
  },
  not_representative: {
    text: 'the target at 1x does not answer as was recorded, so that its breaking point would be another one',
    advice: 'Point --target at the same model with the same data, or widen --calibrate-bounds.',
  },
  not_ready: {
    text: 'what --ready-when asks for did not hold in time',
    advice: 'See the target, then repeat the command.',
  },
  interrupted: { text: 'the search was stopped', advice: 'Repeat the command.' },
};

/** Of a forecast there is nothing to go on with: it is made anew. */
function endText({ endedBy, forecast }: CapacityDocument): { text: string; advice: string } | null {
  if (endedBy === 'resolved') return null;
  const { text, advice } = ENDS[endedBy];
  const goesOn = forecast === undefined && (endedBy === 'budget' || endedBy === 'interrupted');
  return { text, advice: goesOn ? `${advice} With the same --out it goes on from here.` : advice };
}

/** Whether a search has its answer: one whose target did not come back has not, even with an interval. */
export function isFound({
  breakingPoint,
  endedBy,
}: Pick<CapacityDocument, 'breakingPoint' | 'endedBy'>): boolean {
  return breakingPoint.interval !== null && endedBy !== 'target_failed' && endedBy !== 'not_ready';
}

/** The result on one screen: at most 20 lines of 80 columns. */
export function capacityLines(document: CapacityDocument): string[] {
  const { breakingPoint, gaveFirst, steps, spentS, directory, forecast } = document;
  const end = endText(document);
  return linesOf(
    headline(document),
    `  passes ${pointText(breakingPoint.passes)}; fails ${pointText(breakingPoint.fails)}`,
    gaveFirst !== null && `  gave first: ${gaveFirst.objective}, ${observedText(gaveFirst)}`,
    end !== null && [`  ${end.text}`, `    to do: ${end.advice}`],
    `  ${conditionsText(document)}`,
    ...forecastLines(forecast).map((line) => `  ${line}`),
    ...tableLines(loadColumns(), loadRows(document)).map((line) => `  ${line}`),
    sizingText(document),
    forecast === undefined
      ? `Searched ${steps.length} steps in ${formatMs(spentS * 1e3)}: ${directory}`
      : `Simulated ${steps.length} steps of ${formatMs(spentS * 1e3)} in all; nothing was sent`,
  );
}

/** The same for a page. */
export function capacityView(document: CapacityDocument): View<'loads' | 'goals' | 'steps'> {
  const { breakingPoint, endedBy, capture, target, startedAt, spentS, version } = document;
  const end = endText(document);
  return {
    title: document.forecast === undefined ? 'Breaking point' : 'Breaking point, as a forecast',
    verdict: breakingPoint.interval === null ? 'not found' : 'found',
    tone: isFound(document) ? 'good' : 'warn',
    headline: headline(document),
    reasons: end === null ? [] : [{ code: endedBy, ...end }],
    notes: notesOf(document),
    lines: [
      document.forecast === undefined ? `${capture} against ${target}` : `${capture}, simulated`,
      `${startedAt}, ${document.steps.length} steps in ${formatMs(spentS * 1e3)}, version ${version}`,
      conditionsText(document),
      ...forecastLines(document.forecast),
      ...linesOf(sizingText(document)),
    ],
    sections: [
      sectionOf('loads', 'Loads', [loadTable(document)]),
      sectionOf('goals', 'Objectives', [goalTable(document)]),
      sectionOf('steps', 'Steps', [stepTable(document)]),
    ],
  };
}

function headline({
  breakingPoint: { interval, boundary, shape },
  limitedBy,
  forecast,
}: CapacityDocument): string {
  const what = forecast === undefined ? 'Breaking point' : 'Forecast of the breaking point';
  if (interval === null || boundary === null) return `${what}: not found (limited by ${limitedBy})`;
  const [low, high] = interval.map(formatMultiplier);
  return `${what}: ${low}x to ${high}x of the recorded traffic (${shape}); half of the windows pass at ${formatMultiplier(boundary.multiplier)}x`;
}

function pointText(point: LoadPoint | null): string {
  return point === null
    ? 'unknown'
    : `${formatMultiplier(point.multiplier)}x (${point.ratePerSecond.toFixed(1)}/s)`;
}

function observedText({
  objective,
  observed,
  multiplier,
}: NonNullable<CapacityDocument['gaveFirst']>): string {
  const at = `at ${formatMultiplier(multiplier)}x`;
  if (observed === 'Infinity') return `most got no answer ${at}`;
  if (observed === null) return at;
  const isTime = /^(latency|service|ttft|itl|tpot)\b/.test(objective);
  return `${isTime ? formatMs(observed) : percent(observed)} ${at}`;
}

/** What a forecast stands on: the queue, how well it explains the other half of the recording, and what it assumes. */
function forecastLines(forecast: CapacityDocument['forecast']): string[] {
  if (forecast === undefined) return [];
  const { executors, executorsLeast, executorsMost, isOpen, fitted, checked, assumptions } = forecast;
  const alike =
    executorsLeast === executorsMost ? '' : ` (${executorsLeast} to ${executorsMost} fit as well)`;
  const errors = checked.percentiles.map(
    ({ percent: at, error }) => `p${at} ${error < 0 ? '−' : '+'}${percent(Math.abs(error))}`,
  );
  return linesOf(
    `a queue with ${countOf(executors, 'executor')}${alike}, fitted to ${countOf(fitted.requests, 'request')}`,
    isOpen &&
      'hardly a recorded request waited: the server may have more executors, and stand more than this says',
    `on ${countOf(checked.requests, 'other request')} it is off by ${errors.join(', ')}`,
    'it assumes:',
    ...assumptions.map((each) => `  ${each}`),
  );
}

function conditionsText({ scaling, noise, calibration, windowS, width, forecast }: CapacityDocument): string {
  if (forecast !== undefined)
    return `${scaling}; windows of ${formatMs(windowS * 1e3)}; width ${percent(width)}`;
  const compared =
    calibration === null || calibration.representative === null
      ? 'not compared with the recording'
      : calibration.representative
        ? 'as recorded at 1x'
        : 'NOT as recorded at 1x';
  const own = noise.source === 'none' ? 'noise unknown' : `noise ${percent(noise.share)}`;
  return `${scaling}; windows of ${formatMs(windowS * 1e3)}; target ${compared}, ${own}; width ${percent(width)}`;
}

function sizingText({ sizing }: CapacityDocument): string | false {
  if (sizing === null) return false;
  const [one, more, two] = sizing.replicasNeeded.map(({ replicas }) => replicas);
  const cost =
    sizing.costPerThousandGood === null
      ? ''
      : `; ${sizing.costPerThousandGood.toPrecision(3)} per 1,000 good requests`;
  return `Replicas for the recorded peak: ${one}; at 1.5x ${more}; at 2x ${two}${cost}`;
}

function loadColumns(): Table['columns'] {
  return columnsOf(['load'], ['due/s', 'answered/s', 'p50', 'p95', 'p99', 'windows']).concat(
    columnsOf([''], []),
  );
}

/** Those about the boundary, where there are more than fit. */
function loadRows(document: CapacityDocument, most = MOST_LOADS): string[][] {
  const { curve, breakingPoint, steps } = document;
  const centre = breakingPoint.boundary?.multiplier ?? curve.at(-1)?.multiplier ?? 1;
  const distance = ({ multiplier }: LoadPoint) => Math.abs(Math.log(multiplier / centre));
  const kept = new Set(curve.toSorted((a, b) => distance(a) - distance(b)).slice(0, most));
  return curve
    .filter((point) => kept.has(point))
    .map(({ multiplier, ratePerSecond, completedPerSecond, latencyMs }) => {
      const windows = steps.filter((step) => step.multiplier === multiplier).flatMap((step) => step.windows);
      const good = windows.filter(({ result }) => result === 'good').length;
      return [
        `${formatMultiplier(multiplier)}x`,
        ratePerSecond.toFixed(1),
        completedPerSecond.toFixed(1),
        ...[latencyMs.p50, latencyMs.p95, latencyMs.p99].map(timeText),
        `${good}/${windows.length}`,
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
    source: 'for each load its step with the most windows; windows good of all that were played',
    lookFor:
      'where answered stops to follow due, and latency leaves its level: the knee comes before the breaking point',
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
    rows: goals.map(({ name, passes, fails, interval }) => [
      name,
      passes === null ? NONE : `${formatMultiplier(passes.multiplier)}x`,
      fails === null ? NONE : `${formatMultiplier(fails.multiplier)}x`,
      interval === null ? NONE : interval.map((each) => `${formatMultiplier(each)}x`).join(' to '),
    ]),
  };
}

function stepTable({ steps }: CapacityDocument): Table {
  return {
    title: 'Steps in the order they were played',
    unit: 'requests/s; scheduled latency',
    source: 'one run for each step, which reprise report reads',
    lookFor: 'INCONCLUSIVE steps, and those that the target took long to settle before',
    columns: columnsOf(['load', 'purpose', 'verdict'], ['windows', 'due/s', 'p99', 'settled in']).concat(
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

function notesOf({
  inverted,
  voidWindows,
  scaling,
  scalingKeeps,
  scalingBends,
}: CapacityDocument): Finding[] {
  const voids = Object.entries(voidWindows);
  return [
    {
      code: 'scaling',
      text: `${scaling} keeps ${scalingKeeps}; it bends ${scalingBends}`,
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
    ...(voids.length === 0
      ? []
      : [
          {
            code: 'void_windows',
            text: `windows that say nothing of the target: ${voids.map(([code, count]) => `${code} ${count}`).join(', ')}`,
            advice: 'docs/verdict.md explains each code.',
          },
        ]),
  ];
}
