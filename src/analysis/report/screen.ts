import { shellWord, TonedLine } from '../../core/text.ts';
import { countOf, formatMs } from '../../core/units.ts';
import { factsOf } from '../../documents/metrics/metrics.ts';
import { objectiveOf } from '../../documents/metrics/objectives.ts';
import { IDC_WINDOWS, type LatencyMs, type ThroughputDocument } from '../../documents/parts.ts';
import { PERCENTILE_NAMES, PERCENTS } from '../../documents/percentiles.ts';
import type { ObjectiveLine, ReplayDocument } from '../../documents/replay.ts';
import {
  block,
  findingLines,
  fitted,
  fixed,
  folded,
  SCREEN,
  type ScreenLine,
  shortTitle,
  verdictLines,
} from '../render/screen.ts';
import { columnsOf, msText, NONE, numberText, shareText, tableLines } from '../render/table.ts';
import { sampleFloor } from '../stats/percentiles.ts';
import { arrivalStreams } from './conditions.ts';
import { TOO_FEW } from './latency.ts';
import { goodputLacks, unservedNote } from './objective-notes.ts';
import { judgedFailures, stateOf, stateText, valueText } from './requests.ts';
import { runView } from './view.ts';

const LONGEST_OBJECTIVE = 44;
/** Lines for the title, recorded and replayed latency. Token times have further lines. */
const FEWEST_OF_LATENCIES = 3;
const IN_REPORT = 'in the report';
/** Objectives that decide a verdict come first. */
const RANKS = ['violated', 'undecided', 'unmeasured', 'kept'] as const;

type Goodput = NonNullable<ThroughputDocument['goodput']>;

/**
 * The result of a run on one screen: at most 20 lines of 80 columns.
 * @param directory the directory of the run
 * @param program how the user calls this program
 */
export function runScreen(document: ReplayDocument, directory: string, program = 'reprise'): ScreenLine[] {
  const view = runView(document, directory, program);
  const { slo } = document;
  // Violated objectives that do not fit among the reasons still have their rows.
  const brief = view.reasons.filter(({ code }, at) => at === 0 || code !== 'slo_violated');
  const times = latencyLines(document);
  const throughput = throughputLines(document);
  const lacks = goodputLacks(document);
  const fewest = findingLines(brief, 0, IN_REPORT).length;
  return fitted([
    fixed(verdictLines(view)),
    block(4, fewest, SCREEN.lines, (most) => {
      const every = findingLines(view.reasons, SCREEN.lines, IN_REPORT);
      return every.length <= most ? every : findingLines(brief, most, IN_REPORT);
    }),
    block(3, fewestOfObjectives(slo), slo.length + 1, (most) => objectiveLines(document, most)),
    block(1, 0, times.length, (most) => {
      if (most >= times.length) return times;
      return most < FEWEST_OF_LATENCIES ? [] : times.slice(0, FEWEST_OF_LATENCIES);
    }),
    block(2, 0, throughput.length, (most) => (most < throughput.length ? [] : throughput)),
    {
      ...fixed([
        ...(lacks === null ? [] : folded(`Goodput lacks ${lacks}`, '  ', 1)),
        ...loadLines(document),
        ...noteLines(document),
        reportLine(directory, program),
      ]),
      isJoined: throughput.length > 0,
    },
  ]);
}

/** Lines for the title, the violated objectives, and one line for the others. */
function fewestOfObjectives(slo: readonly ObjectiveLine[]): number {
  const violated = slo.filter(({ ok }) => ok === false).length;
  return Math.min(slo.length === 0 ? 0 : slo.length + 1, Math.max(1, violated) + 2);
}

/** Always one line, even for a long path, so that it can be copied. */
function reportLine(directory: string, program: string): string {
  const line = `Report: ${program} report ${shellWord(directory)}`;
  const page = `${line} --html report.html`;
  return page.length > SCREEN.columns ? line : page;
}

/**
 * Violated objectives come first, then undecided ones. Among them those on errors come first, because failed requests
 * count as infinitely slow in the others.
 */
function objectiveLines(document: ReplayDocument, most: number): ScreenLine[] {
  const { slo } = document;
  if (slo.length === 0) return [];
  const rank = (line: ObjectiveLine) => {
    const objective = objectiveOf(line.expression);
    return (
      RANKS.indexOf(stateOf(line, document)) -
      (objective !== null && factsOf(objective).explainsOthers ? 0.1 : 0)
    );
  };
  const sorted = slo.toSorted((a, b) => rank(a) - rank(b));
  const shown = sorted.length < most ? sorted : sorted.slice(0, Math.max(1, most - 2));
  const [title, ...rows] = tableLines(
    columnsOf(['objective', ''], ['observed', 'limit']),
    shown.map((line) => [
      shortened(line.expression),
      stateText(line, document),
      valueText(line, line.observed),
      valueText(line, line.limit),
    ]),
  );
  const more = sorted.slice(shown.length);
  const leftOut = (state: (typeof RANKS)[number], called: string) => {
    const count = more.filter((line) => stateOf(line, document) === state).length;
    return count === 0 ? '' : `, ${count} of them ${called}`;
  };
  const ofThem = `${leftOut('violated', 'VIOLATED')}${leftOut('undecided', 'undecided')}`;
  return [
    `  ${title}`,
    ...rows.map((row, at) => {
      const line = shown[at];
      if (line === undefined || stateOf(line, document) === 'kept') return `  ${row}`;
      return new TonedLine(`  ${row}`, stateOf(line, document) === 'violated' ? 'bad' : 'warn');
    }),
    ...(more.length === 0 ? [] : [`  and ${countOf(more.length, 'objective')} more${ofThem}: ${IN_REPORT}`]),
  ];
}

function shortened(text: string): string {
  return text.length <= LONGEST_OBJECTIVE ? text : `${text.slice(0, LONGEST_OBJECTIVE - 1)}…`;
}

/** Recorded and replayed latency. */
function latencyLines(document: ReplayDocument) {
  const { latencyMs, asRecorded, ttftMs, itlMs, closedLoop, streams } = document;
  const row = (name: string, times: LatencyMs, samples: number, errors: string) => [
    name,
    ...PERCENTS.map((percent) => {
      const ms = times[`p${percent}`];
      return `${msText(ms)}${ms != null && samples < sampleFloor(percent) ? TOO_FEW : ''}`;
    }),
    errors,
  ];
  const rows = [
    asRecorded === undefined || asRecorded.answers === 0
      ? ['recorded', ...PERCENTS.map(() => NONE), shareText(asRecorded?.failedShare)]
      : row('recorded', asRecorded.latencyMs, asRecorded.answers, shareText(asRecorded.failedShare)),
    // A closed loop has no planned instants, so it has no scheduled latency.
    row(
      'replayed',
      closedLoop === undefined ? latencyMs.scheduled : latencyMs.service,
      servedOf(document),
      shareText(judgedFailures(document, document.errors, document).share),
    ),
    ...(ttftMs.p50 === null
      ? []
      : [row('first token', ttftMs, streams.completed - streams.withoutContent - streams.unread, '')]),
    ...(itlMs.p50 === null ? [] : [row('between tokens', itlMs, streams.gaps, '')]),
  ];
  const isMarked = rows.flat().some((cell) => cell.endsWith(TOO_FEW));
  // In objectives, a failed request counts as infinitely slow, so their percentiles differ from these.
  const few = `${TOO_FEW}: too few`;
  const [plain, marked] =
    document.failed === 0
      ? ['latency', `latency (${few} requests)`]
      : ['latency (without failed requests)', `latency (without failed; ${few})`];
  const title = isMarked ? marked : plain;
  const note = unservedNote(document);
  return [
    ...tableLines(columnsOf([title], [...PERCENTILE_NAMES, 'errors']), rows).map((line) => `  ${line}`),
    ...(note === null ? [] : folded(note, '  ', 1)),
  ];
}

/** Number of answers with a latency: those with a 2xx status. */
function servedOf({ statuses }: ReplayDocument): number {
  return Object.entries(statuses).reduce(
    (sum, [status, answers]) => sum + (status.startsWith('2') ? answers : 0),
    0,
  );
}

/** Throughput until the last answer. The rate of the load ends earlier. */
function throughputLines({ throughput, tokens: { answers }, completed }: ReplayDocument): string[] {
  if (throughput === undefined) return [];
  const { outputTokensPerSecond: tokens, goodput, spanS = null } = throughput;
  const telling =
    answers < completed ? ` (in ${numberText(answers)} of ${numberText(completed)} answers)` : '';
  const parts = [
    ...(tokens === null ? [] : [`${numberText(tokens)} output tokens/s${telling}`]),
    ...(goodput === null ? [] : goodputParts(goodput)),
  ];
  if (parts.length === 0) return [];
  const over = spanS === null ? '' : `Over ${formatMs(spanS * 1e3)}: `;
  return folded(`${over}${parts.join('; ')}`, '  ', 2);
}

function goodputParts({ perSecond, good, of, limits, unknown }: Goodput): string[] {
  const rest = unknown === 0 ? [] : [`${numberText(unknown)} not known`];
  const parts = of === 0 ? rest : [`${shareText(good / of)} served within ${limits}`, ...rest];
  return parts.length === 0 ? [] : [`goodput ${numberText(perSecond)}/s: ${parts.join(', ')}`];
}

/** The accuracy of the load, in one line. */
function loadLines(document: ReplayDocument): string[] {
  const { sent, planned, planCounted, refused, lagUs, fidelity, notes, reasons, closedLoop } = document;
  const { ratePerSecond } = fidelity.sent;
  const isOff = [...reasons, ...notes].some(({ code }) => code === 'arrivals_off_plan');
  const { due } = arrivalStreams(fidelity);
  // A closed loop has no plan, and a short run has too few windows.
  const isJudged =
    closedLoop === undefined &&
    IDC_WINDOWS.some((each) => due.figures.idc[each] !== null && fidelity.sent.idc[each] !== null);
  const parts = [
    planCounted
      ? `${numberText(sent)} of ${numberText(planned)} sent`
      : `${numberText(sent)} sent of a plan that was cut short`,
    ...(ratePerSecond === null ? [] : [`${numberText(ratePerSecond)}/s`]),
    ...(lagUs.p99 === null ? [] : [`lag p99 ${formatMs(lagUs.p99 / 1e3)}`]),
    ...(refused === 0 ? [] : [`${numberText(refused)} refused by our caps`]),
    ...(isOff ? ['bursts NOT as planned'] : isJudged ? ['bursts as planned'] : []),
  ];
  return folded(sent === 0 ? 'Load: nothing was sent' : `Load: ${parts.join(', ')}`, '  ', 2);
}

/** Further findings. Those that could change the verdict come first. */
function noteLines({ notes }: ReplayDocument): ScreenLine[] {
  const namesOf = (isDoubt: boolean) => [
    ...new Set(notes.filter(({ severity }) => (severity === 'doubt') === isDoubt).map(shortTitle)),
  ];
  return [
    ...nameLine('Doubts, which would forbid a PASS', namesOf(true)).map(
      (each) => new TonedLine(each, 'warn'),
    ),
    ...nameLine('Notes', namesOf(false)),
  ];
}

/** As many names as fit on one line, and the number of the rest. */
function nameLine(title: string, names: readonly string[]): string[] {
  for (let shown = names.length; shown > 0; shown -= 1) {
    const more = shown === names.length ? [] : [`${names.length - shown} more`];
    const line = `  ${title}: ${[...names.slice(0, shown), ...more].join('; ')}`;
    if (line.length <= SCREEN.columns || shown === 1) return folded(line, '  ', 1);
  }
  return [];
}
