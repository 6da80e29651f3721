import { createHash } from 'node:crypto';
import { picked } from '../../core/picked.ts';
import type { CapacityDocument, CapacityGoal, LoadPoint } from '../../documents/capacity.ts';
import type { ComparedSide, ComparisonDocument } from '../../documents/comparison.ts';
import type { Figure, HistoryRun, Result } from '../../documents/history.ts';
import type { TestedDocument } from '../../documents/parts.ts';
import type { ObjectiveLine, ReplayDocument } from '../../documents/replay.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { runFigures } from '../../documents/run-values.ts';
import type { StatementDocument, StatementFacts } from '../../documents/statement.ts';
import { isFound } from '../capacity/view.ts';
import { metricLine } from '../compare/view.ts';
import { escaped } from '../render/html.ts';
import { type Finding, inert, numberText, type View, viewMarkdown } from '../render/table.ts';
import { stateOf, valueText } from '../report/requests.ts';
import { statementFigures } from '../statement/figures.ts';

/** One checked item: an objective, a metric, or a reason about the run itself. */
interface CiCase {
  readonly kind: 'objective' | 'metric' | 'reason' | 'run';
  readonly name: string;
  readonly result: Result;
  /** The finding, in one line. */
  readonly message: string;
  /** Advice to the user; may be empty. */
  readonly advice: string;
}

/** A verdict of any command, in a common form for pipelines and histories. */
export interface CiReport {
  readonly command: 'replay' | 'compare' | 'capacity' | 'statement';
  /** Name of the test, equal for all runs that belong together. */
  readonly test: string;
  readonly verdict: string | null;
  readonly result: Result;
  readonly cases: readonly CiCase[];
  readonly figures: readonly Figure[];
  /** Facts for readers. */
  readonly properties: readonly (readonly [name: string, value: string])[];
  /** Facts of the judged run; null if there is none or it was not sealed. */
  readonly facts: Pick<HistoryRun, 'run' | 'capture' | 'target' | 'version' | keyof TestedDocument> | null;
  /** ISO 8601; null if unknown. */
  readonly startedAt: string | null;
  readonly durationS: number;
  /** The document in its readable form. */
  readonly view: View;
}

/** The common fields of a run and its report. */
type Judged = Pick<ReplayDocument, 'verdict' | 'valid' | 'slo' | 'reasons' | 'notes'>;

/** The CI report of a run. */
export function ciReportOfRun(run: ReplayDocument, view: View): CiReport {
  return judgedReport(run, run, view);
}

/** The CI report of a run's report, which also knows whether the rows still match the run. */
export function ciReportOfReport(report: ReportDocument, view: View): CiReport {
  return judgedReport(report, report.summary, view);
}

/** @param summary null for an unsealed run */
function judgedReport(judged: Judged, summary: ReplayDocument | null, view: View): CiReport {
  const { verdict, valid } = judged;
  const result = runResult(verdict, valid);
  const cases = [
    ...judged.slo.map((line) => objectiveCase(line, judged)),
    ...[...view.reasons, ...view.notes].filter(isCase).map(judgedCase),
  ];
  return {
    command: 'replay',
    test: summary === null ? 'unsealed run' : testNameOf(summary),
    verdict,
    result,
    cases: cases.length > 0 ? cases : [validCase(view.headline)],
    figures: summary === null ? [] : runFigures(summary),
    properties: summary === null ? [] : runProperties(summary),
    facts: summary && factsOf(summary),
    startedAt: summary?.startedAt ?? null,
    durationS: summary?.durationS ?? 0,
    view,
  };
}

/** A note has no effect, and a violated objective has a case of its own. */
function isCase({ severity, code }: Finding): boolean {
  return severity !== 'note' && code !== 'slo_violated';
}

function judgedCase(each: Finding): CiCase {
  return reasonCase(each, each.severity === 'fail' ? 'failed' : 'undecided');
}

/** Options that name and keep a run. They do not change what is tested. */
const NOT_OF_A_TEST: ReadonlySet<string> = new Set(['name', 'retainRuns', 'shard', 'startAtUs']);

/**
 * The name from `--name`, or else one from target and options. So tests that cannot be compared have different names.
 */
export function testNameOf({ options, capture, target, multiplier, scaling }: ReplayDocument): string {
  const name = options['name'];
  if (typeof name === 'string') return name;
  const own = Object.entries(options).filter(([key]) => !NOT_OF_A_TEST.has(key));
  const pace = `${Number(multiplier.toPrecision(6))}x by ${scaling}`;
  return `${lastPartOf(capture)} at ${pace} against ${target} with ${digestOf(JSON.stringify(Object.fromEntries(own)))}`;
}

/** Short enough to read, and long enough to distinguish the tests of one history. */
function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}

function runResult(verdict: ReplayDocument['verdict'], valid: boolean): Result {
  if (verdict === 'FAIL') return 'failed';
  return verdict !== 'INCONCLUSIVE' && valid ? 'passed' : 'undecided';
}

/** A violated objective counts as failed only with the verdict FAIL. Otherwise its figures are doubtful. */
function objectiveCase(line: ObjectiveLine, judged: Judged): CiCase {
  const { expression, observed, upperBound, limit } = line;
  const state = stateOf(line, judged);
  const isFailed = state === 'violated' && judged.verdict === 'FAIL';
  const bound = upperBound === null ? '' : `, surely below ${valueText(line, upperBound)}`;
  return {
    kind: 'objective',
    name: expression,
    result: state === 'kept' ? 'passed' : isFailed ? 'failed' : 'undecided',
    message: `observed ${valueText(line, observed)}${bound}; the limit is ${valueText(line, limit)}`,
    advice: '',
  };
}

function reasonCase({ code, text, advice }: Finding, result: Result): CiCase {
  return { kind: 'reason', name: code, result, message: text, advice };
}

/** A case for a file without any other: JUnit readers treat an empty file as broken. */
function validCase(headline: string): CiCase {
  return { kind: 'run', name: 'the run is valid', result: 'passed', message: headline, advice: '' };
}

function factsOf(document: ReplayDocument): NonNullable<CiReport['facts']> {
  return picked(document, 'run', 'capture', 'target', 'version', 'labels', 'captureDigest', 'serverDetails');
}

function runProperties(run: ReplayDocument): [string, string][] {
  const { multiplier, scaling, planned, sent, failed } = run;
  return [
    ['verdict', run.verdict ?? 'none'],
    ...testedProperties(run),
    ...Object.entries({
      run: run.run,
      capture: run.capture,
      target: run.target,
      version: run.version,
      multiplier,
      scaling,
      planned,
      sent,
      failed,
    }).map(([name, value]): [string, string] => [name, String(value)]),
  ];
}

function testedProperties({ labels = {}, captureDigest }: TestedDocument): [string, string][] {
  return [
    ...Object.entries(labels).map(([name, value]): [string, string] => [`label.${name}`, value]),
    ...(captureDigest === undefined ? [] : [['capture_digest', captureDigest] as [string, string]]),
  ];
}

/** The CI report of a comparison: a case for each metric, and for each reason that no metric covers. */
export function ciReportOfComparison(document: ComparisonDocument, view: View): CiReport {
  const { verdict, metrics, a, b } = document;
  const isOpen = verdict === 'INCONCLUSIVE';
  const findings = [...view.reasons, ...view.notes];
  const abouts = [...document.reasons, ...document.notes].map(({ about = [] }) => about);
  const findingOf = (name: string) => findings[abouts.findIndex((about) => about.includes(name))];
  const cases: CiCase[] = metrics.map((metric) => {
    const { text, advice } = findingOf(metric.name) ?? { text: metricLine(metric), advice: '' };
    const result = metricResult(metric.verdict, isOpen);
    return { kind: 'metric', name: metric.name, result, message: text, advice };
  });
  const named = new Set(metrics.map(({ name }) => name));
  const ofReasons = view.reasons
    .filter((_, at) => !abouts[at]?.some((name) => named.has(name)))
    .map((each) => reasonCase(each, isOpen ? 'undecided' : 'failed'));
  return {
    command: 'compare',
    test: comparisonName(document),
    verdict,
    result: isOpen ? 'undecided' : verdict === 'WORSE' ? 'failed' : 'passed',
    cases: [...cases, ...ofReasons],
    figures: metrics.flatMap(({ name, ratio }): Figure[] =>
      ratio === null ? [] : [{ name: `${name}_b_to_a`, unit: 'ratio', value: ratio }],
    ),
    properties: [
      ['verdict', verdict],
      ['a', a.name],
      ['b', b.name],
    ],
    facts: null,
    startedAt: b.startedAt,
    durationS: 0,
    view,
  };
}

/** One name for all comparisons of these servers. It has no directory of a run, because each run has another one. */
function comparisonName({ a, b }: Pick<ComparisonDocument, 'a' | 'b'>): string {
  const nameOf = ({ kind, name, target }: ComparedSide) =>
    kind === 'run' && target !== null ? `run against ${target}` : `${kind} ${lastPartOf(name)}`;
  return `${nameOf(b)} compared with ${nameOf(a)}`;
}

function metricResult(verdict: string, isOpen: boolean): Result {
  if (verdict === 'worse') return isOpen ? 'undecided' : 'failed';
  return verdict === 'undecided' ? 'undecided' : 'passed';
}

/** The CI report of a search: a case for each objective, which passes if its boundary is known. */
export function ciReportOfCapacity(document: CapacityDocument, view: View, name: string | null): CiReport {
  const { capture, target, version, directory, startedAt, spentS, goals, tiers = [] } = document;
  // A resumed search keeps its start. Directories with the same name may be in many places, so the start is part of the
  // id.
  const run = `${lastPartOf(directory)}-${startedAt}`;
  return {
    command: 'capacity',
    test: name ?? `breaking point of ${lastPartOf(capture)} by ${document.scaling} against ${target}`,
    verdict: null,
    result: isFound(document) ? 'passed' : 'undecided',
    cases: [
      ...[...goals, ...tiers.map((tier) => ({ ...tier, name: `tier ${tier.name}` }))].map(goalCase),
      ...(isFound(document) ? [] : view.reasons.map((each) => reasonCase(each, 'undecided'))),
    ],
    figures: capacityFigures(document),
    facts: {
      ...{ run, capture, target, version },
      ...picked(document, 'labels', 'captureDigest', 'serverDetails'),
    },
    properties: [
      ...testedProperties(document),
      ...Object.entries({ run, capture, target, version, limitedBy: document.limitedBy, directory }),
    ],
    startedAt,
    durationS: spentS,
    view,
  };
}

/** What all statements of one service have in common: their name, or what they are about. */
export function statementTestOf({ name, capture, multiplier, target }: StatementFacts): string {
  return name ?? `statement of ${lastPartOf(capture)} at ${numberText(multiplier)}x against ${target}`;
}

/** The CI report of a statement: a case for each run, and for each limit that decides its verdict. */
export function ciReportOfStatement(document: StatementDocument, view: View): CiReport {
  const { verdict, runs, limits, startedAt, endedAt, directory } = document;
  const run = `${lastPartOf(directory)}-${startedAt}`;
  const results: Readonly<Record<string, Result>> = { PASS: 'passed', FAIL: 'failed' };
  const resultOf = (each: string | null): Result => results[each ?? ''] ?? 'undecided';
  return {
    command: 'statement',
    test: statementTestOf(document),
    verdict,
    result: resultOf(verdict),
    cases: [
      ...runs.map((each): CiCase => {
        const message = each.skipped ?? (each.violated.join('; ') || (each.verdict ?? 'no verdict'));
        return { kind: 'run', name: each.part, result: resultOf(each.verdict), message, advice: '' };
      }),
      ...limits
        .filter(({ decides }) => decides)
        .map((each) => reasonCase(each, verdict === 'FAIL' ? 'failed' : 'undecided')),
    ],
    figures: statementFigures(document),
    facts: { run, ...picked(document, 'capture', 'target', 'version', 'labels', 'captureDigest') },
    properties: [
      ...testedProperties(document),
      ...Object.entries({ run, ...picked(document, 'capture', 'target', 'version', 'directory') }),
    ],
    startedAt,
    durationS: (Date.parse(endedAt) - Date.parse(startedAt)) / 1e3,
    view,
  };
}

function goalCase({ name, interval, passes, fails }: CapacityGoal): CiCase {
  const at = (point: LoadPoint | null) => (point === null ? 'not known' : `${numberText(point.multiplier)}x`);
  const between =
    interval === null ? 'not known' : interval.map((each) => `${numberText(each)}x`).join(' to ');
  return {
    kind: 'objective',
    name,
    result: interval === null ? 'undecided' : 'passed',
    message: `breaks at ${between}; the largest load that passes: ${at(passes)}, the smallest that fails: ${at(fails)}`,
    advice: '',
  };
}

function capacityFigures({ breakingPoint, knee }: CapacityDocument): Figure[] {
  const { passes, fails, boundary } = breakingPoint;
  return Object.entries({ passes, fails, boundary, knee }).flatMap(([name, point]): Figure[] =>
    point === null
      ? []
      : [
          { name: `${name}_multiplier`, unit: 'ratio', value: point.multiplier },
          { name: `${name}_rate`, unit: 'per_second', value: point.ratePerSecond },
        ],
  );
}

/** The name of a capture or a run, without its parent folders, which differ between machines. */
function lastPartOf(path: string): string {
  return path.split(/[/\\]+/).findLast((part) => part !== '' && part !== '.') ?? path;
}

/** The most annotations of a type that GitHub shows for one step. */
const MOST_ANNOTATIONS = 10;
/** The maximum size of a step's summary. GitHub drops larger ones completely. */
const MOST_SUMMARY_BYTES = 1024 * 1024;

/** A CI report in the formats of GitHub Actions. */
interface GithubReport {
  /** Workflow commands, for the log of the step. */
  readonly annotations: readonly string[];
  /** Markdown, for the file in `GITHUB_STEP_SUMMARY`. */
  readonly summary: string;
  /** `name=value` lines, for the file in `GITHUB_OUTPUT`. */
  readonly outputs: string;
}

/** A CI report for GitHub Actions: an error for each failed or undecided case, and everything as a summary. */
export function githubReport(report: CiReport): GithubReport {
  const { test, result, verdict, cases, view } = report;
  const open = result === 'passed' ? [] : cases.filter((each) => each.result !== 'passed');
  // Failures come before undecided cases, because GitHub may not show the last ones.
  const told = open.toSorted((a, b) => Number(b.result === 'failed') - Number(a.result === 'failed'));
  return {
    annotations: told.slice(0, MOST_ANNOTATIONS).map((each) => annotation(report, each)),
    summary: withinBytes(`${viewMarkdown({ ...view, title: `${view.title}: ${test}` })}\n`, told.length),
    outputs: `verdict=${verdict ?? 'none'}\nresult=${result}\nreasons=${told.map(({ name }) => oneLine(name)).join(';')}\n`,
  };
}

function annotation({ test, verdict }: CiReport, { name, message, advice }: CiCase): string {
  const title = `${verdict ?? 'not valid'}: ${test}`;
  const text = [`${name}: ${message}`, advice].filter((each) => each !== '').join('\n');
  return `::error title=${property(title)}::${data(text)}`;
}

/** Escapes data of a workflow command like actions/toolkit. */
function data(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}

function withinBytes(markdown: string, open: number): string {
  const bytes = Buffer.from(markdown);
  if (bytes.length <= MOST_SUMMARY_BYTES) return markdown;
  const note = `\n\n${inert(`The rest does not fit into a step summary; ${open} checks did not pass.`)}\n`;
  const kept = bytes.subarray(0, MOST_SUMMARY_BYTES - Buffer.byteLength(note) - 3).toString();
  return `${kept.slice(0, kept.lastIndexOf('\n'))}${note}`;
}

/**
 * A CI report as JUnit XML for Jenkins, GitLab and Azure. The test is a suite; each objective and each reason is a case.
 * Undecided cases are `skipped`, because JUnit has no third result. The exit status distinguishes them.
 */
export function junitXml(report: CiReport): string {
  const { test, cases, properties, startedAt, durationS, command } = report;
  const count = (result: Result) => cases.filter((each) => each.result === result).length;
  const counts = attributes({
    tests: cases.length,
    failures: count('failed'),
    errors: 0,
    skipped: count('undecided'),
    time: durationS.toFixed(3),
  });
  const named = attributes({ name: test, ...(startedAt !== null && { timestamp: startedAt }) });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites${attributes({ name: `reprise ${command}` })}${counts}>`,
    `  <testsuite${named}${counts}>`,
    '    <properties>',
    ...properties.map(([name, value]) => `      <property${attributes({ name, value })}/>`),
    '    </properties>',
    ...cases.flatMap((each) => caseLines(each, `${command}.${each.kind}`)),
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}

function caseLines({ name, kind, result, message, advice }: CiCase, classname: string): string[] {
  const begin = `    <testcase${attributes({ name, classname, time: '0' })}`;
  if (result === 'passed') return [`${begin}/>`];
  const said = attributes({ message });
  const told = advice === '' ? message : `${message}\nTo do: ${advice}`;
  return [
    `${begin}>`,
    result === 'failed'
      ? `      <failure${said}${attributes({ type: kind })}>${xmlText(`${name}: ${told}`)}</failure>`
      : `      <skipped${said}>${xmlText(told)}</skipped>`,
    '    </testcase>',
  ];
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => ` ${name}="${xmlText(String(value))}"`)
    .join('');
}

/** XML 1.0 does not allow lone surrogates, U+FFFE and U+FFFF, not even escaped. */
function xmlText(text: string): string {
  return escaped(text.toWellFormed().replace(/[\ufffe\uffff]/g, '\ufffd'));
}

const SUFFIXES: Readonly<Record<Figure['unit'], string>> = {
  ms: '_seconds',
  share: '_share',
  per_second: '_per_second',
  ratio: '_ratio',
  count: '_count',
};

/** A CI report as OpenMetrics text: gauges in base units. GitLab shows them as a metrics report of a merge request. */
export function openMetrics({ test, command, figures, cases }: CiReport): string {
  const labels = `{test="${labelValue(test)}"}`;
  const gauge = (name: string, value: number) => [`# TYPE ${name} gauge`, `${name}${labels} ${value}`];
  const count = (result: string) => cases.filter((each) => each.result === result).length;
  return [
    ...figures.flatMap(({ name, unit, value }) =>
      gauge(metricName(command, name, unit), unit === 'ms' ? value / 1e3 : value),
    ),
    ...gauge(`reprise_${command}_failed_checks`, count('failed')),
    ...gauge(`reprise_${command}_undecided_checks`, count('undecided')),
    '# EOF',
    '',
  ].join('\n');
}

function metricName(command: string, name: string, unit: Figure['unit']): string {
  return `reprise_${command}_${name.replace(/\W/g, '_')}${SUFFIXES[unit]}`;
}

/** Escapes a label value. OpenMetrics has three escapes. */
function labelValue(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
