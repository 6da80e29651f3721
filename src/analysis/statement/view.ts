import { zonedTime } from '../../core/calendar.ts';
import { linesOf, shellWord, type Tone, TonedLine } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier } from '../../core/units.ts';
import { PERCENTILE_NAMES } from '../../documents/percentiles.ts';
import { serverDifferences } from '../../documents/server-details.ts';
import type { StatementDocument, StatementPlan, StatementRun } from '../../documents/statement.ts';
import { loadName } from '../capacity/view.ts';
import { whyTables } from '../explain/view.ts';
import { headroomChart, headroomTable } from '../headroom/view.ts';
import {
  banner,
  escaped,
  figure,
  findings,
  type PageAssets,
  page,
  section,
  tableHtml,
} from '../render/html.ts';
import { block, findingLines, fitted, fixed, folded, SCREEN, type ScreenLine } from '../render/screen.ts';
import {
  columnsOf,
  msText,
  NONE,
  numberText,
  type Section,
  sectionOf,
  shareText,
  type Table,
  tableLines,
  testedLines,
  type View,
} from '../render/table.ts';
import { valueText } from '../report/monitors.ts';
import { nistSection } from '../report/nist.ts';
import { calendarFigure, isShorterThanWindow } from '../windows/view.ts';
import { partName } from './limits.ts';

const TONES: Readonly<Record<StatementDocument['verdict'], Tone>> = {
  PASS: 'good',
  FAIL: 'bad',
  INCONCLUSIVE: 'warn',
};

/** Lines of the sentence on a screen: all of it, unless many objectives fail. */
const MOST_OF_SENTENCE = 8;

type SectionKey = 'runs' | 'breaking' | 'why' | 'headroom' | 'changed' | 'claims' | 'nist' | 'digests';

/** A statement in a readable form. */
export function statementView(document: StatementDocument): View<SectionKey> {
  const { verdict, sentence, limits, nist, explanation } = document;
  return {
    title: document.name === null ? 'Statement' : `Statement: ${document.name}`,
    verdict,
    tone: TONES[verdict],
    headline: sentence,
    reasons: limits.filter(({ decides }) => decides),
    notes: limits.filter(({ decides }) => !decides),
    lines: linesOf(sureText(document), aboutLines(document)),
    tested: [`objectives: ${document.objectives.join('; ')}`, ...testedLines(document)],
    sections: [
      sectionOf('runs', 'What was replayed', [
        runTable(document),
        sendingTable(document),
        resourceTable(document),
      ]),
      sectionOf('breaking', 'Where it breaks', [breakingTable(document)]),
      sectionOf('why', 'Why', explanation === null ? [] : whyTables(explanation)),
      sectionOf('headroom', 'Headroom', [headroomTable(document.headroom)]),
      sectionOf('changed', 'Since the last statement', [changeTable(document)]),
      sectionOf('claims', 'Not claimed', [claimTable(document), serverTable(document)]),
      ...(nist === null ? [] : [nistSection(nist)]),
      sectionOf('digests', 'To check this statement', [digestTable(document)]),
    ].filter(({ tables }) => tables.length > 0),
  };
}

/** How sure the statement is. */
function sureText({ verdict, confidence, breakingPoint }: StatementDocument): string {
  const interval = breakingPoint?.breakingPoint.interval ?? null;
  const ofVerdict = {
    PASS: confidence === null ? 'the observed values met' : `${shareText(confidence)} for`,
    FAIL: 'an objective was violated, even without the delays of the generator',
    INCONCLUSIVE: 'not decided',
  }[verdict];
  const claim = verdict === 'PASS' ? `${ofVerdict} each objective` : ofVerdict;
  return `How sure: ${claim}; ${interval === null ? 'the breaking point is not known' : '95 % for the interval of the breaking point'}`;
}

function aboutLines(document: StatementDocument): string[] {
  const { recorded, capture, target, version, startedAt, endedAt, signedBy } = document;
  const at = (instant: string) => `${zonedTime(Date.parse(instant), recorded.timeZone)} ${recorded.timeZone}`;
  return linesOf(
    `recorded: ${at(recorded.from)} to ${at(recorded.to)}, ${recorded.requests.toLocaleString('en')} requests, coverage ${recorded.coverage === null ? 'not known' : shareText(recorded.coverage)}`,
    `${capture} against ${target}`,
    `made from ${at(startedAt)} to ${at(endedAt)} by Reprise ${version}`,
    signedBy !== null && `signed by ${signedBy.name}, ${at(signedBy.at)}`,
  );
}

function figureOf({ figures }: Pick<StatementRun, 'figures'>, name: string): number | null {
  return figures.find((each) => each.name === name)?.value ?? null;
}

/** The rate of production while it sent the requests of the run at 1x: what that run planned. */
function recordedRate(run: StatementRun): number | null {
  const [rate, achieved] = [figureOf(run, 'rate'), figureOf(run, 'achieved')];
  return rate === null || achieved === null || achieved === 0 ? null : rate / achieved;
}

/** The runs, with production above them. */
function runTable(document: StatementDocument): Table {
  const { production, runs, multiplier } = document;
  const recorded = runs.find(({ part, run }) => part === 'recorded' && run !== null);
  return {
    title: 'Production and the runs',
    unit: 'requests/s, ms and s as written; failed as a share of what was sent',
    source:
      'production: the requests of the run at 1x, as recorded; and each run from intended send to last byte',
    lookFor: 'a run at 1x that differs from production: then staging is another server',
    columns: columnsOf(
      ['load', 'result'],
      ['lasted', 'of the window', 'requests/s', ...PERCENTILE_NAMES, 'failed'],
    ),
    rows: [
      ...(production === null
        ? []
        : [
            [
              ...['production', NONE, NONE],
              shareText(recorded?.windowShare),
              numberText(recorded === undefined ? null : recordedRate(recorded)),
              ...PERCENTILE_NAMES.map((name) => msText(production.latencyMs[name] ?? null)),
              shareText(production.failedShare),
            ],
          ]),
      ...runs.map((run) => [
        partName(run.part, multiplier),
        run.run === null ? 'not replayed' : (run.verdict ?? 'none'),
        run.run === null ? NONE : formatMs(run.lengthS * 1e3),
        run.run === null ? NONE : shareText(run.windowShare),
        numberText(figureOf(run, 'rate')),
        ...PERCENTILE_NAMES.map((name) => msText(figureOf(run, `latency_${name}`))),
        shareText(figureOf(run, 'failed')),
      ]),
    ],
    toneOf: (cell) => (cell === 'PASS' ? 'good' : cell === 'FAIL' ? 'bad' : null),
  };
}

/** Whether each run can be trusted, and what failed in it. */
function sendingTable({ runs, multiplier }: StatementDocument): Table | null {
  const played = runs.filter(({ run }) => run !== null);
  if (played.length === 0) return null;
  return {
    title: 'Whether the runs count, and what failed',
    unit: 'ms as written; shares of what was planned',
    source: 'what was sent, and when; and the answers',
    lookFor:
      'a run that is not valid: no verdict can rest on it, because of its generator, its load or too few requests',
    columns: columnsOf(['load', 'valid', 'failures'], ['sent of planned', 'sent late, p99']),
    rows: played.map((run) => {
      const { part, valid, failures = [] } = run;
      return [
        partName(part, multiplier),
        valid === undefined ? 'not known' : valid ? 'yes' : 'no',
        failures.map(({ kind, requests }) => `${kind} ${numberText(requests)}`).join(', ') || 'none',
        shareText(figureOf(run, 'achieved')),
        msText(figureOf(run, 'lag_p99')),
      ];
    }),
    toneOf: (cell) => (cell === 'no' ? 'bad' : null),
  };
}

function resourceTable({ runs, multiplier }: StatementDocument): Table | null {
  const rows = runs.flatMap(({ part, resources }) =>
    resources.map((each) => [
      partName(part, multiplier),
      each.name,
      each.source,
      valueText(each, each.mean),
      valueText(each, each.max),
    ]),
  );
  if (rows.length === 0) return null;
  return {
    title: 'Resources of the target',
    unit: 'as written',
    source: 'monitors, during each run',
    lookFor: 'what comes near its limit at the multiplier',
    columns: columnsOf(['load', 'series', 'from'], ['mean', 'max']),
    rows,
  };
}

function breakingTable({ breakingPoint: searched }: StatementDocument): Table | null {
  if (searched === null) return null;
  const { breakingPoint, gaveFirst, sizing, noise, load } = searched;
  const point = (each: typeof breakingPoint.passes) =>
    each === null
      ? 'not found'
      : `${formatMultiplier(each.multiplier)}x (${numberText(each.ratePerSecond)} requests/s)`;
  const { interval } = breakingPoint;
  return {
    title: `Multiples of ${loadName(load)} of the window (${numberText(load.ratePerSecond)} requests/s)`,
    unit: 'as written',
    source: 'runs at several multiples of that load, judged by the same objectives',
    lookFor: 'the lower end of the interval, which is the load to plan with',
    columns: columnsOf(['', 'value'], []),
    rows: [
      ['largest load that passes', point(breakingPoint.passes)],
      ['smallest load that fails', point(breakingPoint.fails)],
      [
        'breaks between (95 %)',
        interval === null ? 'not known' : interval.map((each) => `${numberText(each)}x`).join(' and '),
      ],
      ['first objective to fail', gaveFirst?.objective ?? 'none failed'],
      ...(sizing?.replicasNeeded ?? []).map(({ timesPeak, replicas }) => [
        `replicas for ${timesPeak}x the recorded peak`,
        `${replicas} (${countOf(sizing?.replicas ?? 0, 'replica')} tested)`,
      ]),
      ...(sizing?.costPerThousandGood == null
        ? []
        : [['cost of a thousand good requests', numberText(sizing.costPerThousandGood)]]),
      [
        'how far the target differs from itself at 1x, as a share of its service time',
        noise.source === 'none' ? 'not measured' : shareText(noise.share),
      ],
    ],
  };
}

function changeTable({ changed, recorded }: StatementDocument): Table | null {
  if (changed === null) return null;
  const text = (unit: string, value: number) =>
    unit === 'ms' ? msText(value) : unit === 'share' ? shareText(value) : numberText(value);
  return {
    title: `Compared with the statement of ${zonedTime(Date.parse(changed.startedAt), recorded.timeZone)} (${changed.verdict ?? 'no verdict'})`,
    unit: 'as written',
    source: 'the history',
    lookFor: 'a breaking point that came nearer',
    columns: columnsOf(['value'], ['then', 'now']),
    rows: changed.figures.map(({ name, unit, before, after }) => [
      name.replaceAll('_', ' '),
      text(unit, before),
      text(unit, after),
    ]),
  };
}

function claimTable({ notClaimed }: StatementDocument): Table {
  return {
    title: 'This statement does not claim',
    unit: 'none',
    source: 'what was not measured',
    lookFor: 'what applies to your service',
    columns: columnsOf(['about', 'not claimed'], []),
    rows: notClaimed.map(({ code, text }) => [code.replaceAll('_', ' '), text]),
  };
}

/** What the tested server does not share with the recorded one; null if nothing is known to differ. */
function serverTable({ recordedServer = {}, ...tested }: StatementDocument): Table | null {
  const differences = serverDifferences(recordedServer, tested);
  if (differences.length === 0) return null;
  return {
    title: 'Where the tested server differs from the recorded one',
    unit: 'none',
    source: 'labels, and what both servers say of themselves',
    lookFor: 'a version, a size or a number of replicas that changes what the server holds',
    columns: columnsOf(['fact', 'recorded', 'tested'], []),
    rows: differences.map(({ fact, a, b }) => [fact, a, b]),
  };
}

function digestTable({ digests, captureDigest }: StatementDocument): Table {
  return {
    title: 'Digests',
    unit: 'SHA-256, hexadecimal',
    source: 'the files below the directory of the statement, which reprise statement --verify reads again',
    lookFor: 'nothing, unless a file was changed',
    columns: columnsOf(['file', 'digest'], []),
    rows: [
      ...(captureDigest === undefined ? [] : [['the capture', captureDigest]]),
      ...digests.map(({ file, sha256 }) => [file, sha256]),
    ],
  };
}

/** The sentence in its colour. */
export function statementVerdict({ verdict, sentence }: StatementDocument): TonedLine[] {
  return folded(`${verdict}: ${sentence}`, '', MOST_OF_SENTENCE).map(
    (line) => new TonedLine(line, TONES[verdict]),
  );
}

/** A statement on one screen: at most 20 lines of 80 columns. @param program null if its page was written */
export function statementScreen(
  document: StatementDocument,
  program: string | null = 'reprise',
): ScreenLine[] {
  const { notClaimed, directory } = document;
  const { reasons, notes } = statementView(document);
  const { columns, rows } = runTable(document);
  const shown = [0, 1, 4, 5, 6, 7, 8];
  const table = tableLines(
    shown.map((at) => columns[at]!),
    rows.map((row) => shown.map((at) => row[at]!)),
  ).map((line) => `  ${line}`);
  // The sentence already has what decides a verdict first.
  const limits = [...reasons.slice(1), ...notes];
  return fitted([
    fixed(statementVerdict(document)),
    fixed(folded(sureText(document), '  ', 2)),
    fixed(table),
    block(1, 0, SCREEN.lines, (most) => findingLines(limits, most)),
    fixed(
      folded(`Not claimed: ${notClaimed.map(({ code }) => code.replaceAll('_', ' ')).join(', ')}`, '', 2),
    ),
    fixed(
      program === null
        ? []
        : [`The page: ${program} statement --from ${shellWord(directory)} --html statement.html`],
    ),
  ]);
}

/** A statement as a page to sign: nothing is collapsed, so that paper has all of it. */
export function statementPage(document: StatementDocument, assets: PageAssets): string {
  const view = statementView(document);
  const { timeZone } = document.recorded;
  const isOf = (each: SectionKey) => (one: Section<SectionKey>) => one.key === each;
  const chart = headroomChart(document.headroom);
  const tablesOf = (...keys: SectionKey[]) =>
    keys.map((key) => {
      const found = view.sections.find(isOf(key));
      const html = found?.tables.map((table) => figure(table, tableHtml(table))).join('') ?? '';
      return section(found?.title ?? '', html);
    });
  const texts = (list: View['reasons']) =>
    list.length === 0
      ? ''
      : findings(list.map(({ text, advice }) => `${text}${advice === '' ? '' : `. To do: ${advice}`}`));
  const about = view.lines.slice(1).map((line) => `<li>${escaped(line)}</li>`);
  const body = [
    banner(view, timeZone),
    section('What decides it', texts(view.reasons)),
    ...tablesOf('runs', 'breaking', 'why', 'headroom'),
    chart?.html ?? '',
    ...tablesOf('changed'),
    section('What limits it', texts(view.notes)),
    ...tablesOf('claims'),
    section('What was recorded', calendarFigure(document.recorded)),
    section('About this statement', `<ul>${about.join('')}</ul>`),
    ...tablesOf('nist', 'digests'),
  ];
  return page({ title: view.title, body, charts: chart === null ? [] : [chart.data], timeZone }, assets);
}

/** What a statement is going to replay. */
export function planLines(plan: StatementPlan): string[] {
  const { capture, target, window, parts, searchS, multiplier, recorded } = plan;
  const at = `${zonedTime(Date.parse(window.from), recorded.timeZone)} ${recorded.timeZone}`;
  const allS = parts.reduce((sum, { lengthS }) => sum + lengthS, searchS ?? 0);
  return linesOf(
    `Statement on ${capture} against ${target}`,
    `  window: ${formatMs(window.lengthS * 1e3)} from ${at} (${window.chosenBy}${window.harderThan === null || recorded.compared < 2 || isShorterThanWindow(recorded) ? '' : `, harder than ${shareText(window.harderThan)} of ${recorded.compared}`})`,
    parts.map(({ part, lengthS, windowShare }) => {
      const of = windowShare < 1 ? `, the busiest ${shareText(windowShare)} of the window` : '';
      return `  ${partName(part, multiplier)}: ${formatMs(lengthS * 1e3)}${of}`;
    }),
    searchS !== null && `  breaking point: at most ${formatMs(searchS * 1e3)}`,
    searchS === null
      ? '  nothing can be replayed: the capture has no requests'
      : `  about ${formatMs(allS * 1e3)} in all`,
  );
}
