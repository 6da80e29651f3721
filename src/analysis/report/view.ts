import { countOf, formatMultiplier } from '../../core/units.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { msText, numberText, type Section, sectionOf, shareText, type View } from '../render/table.ts';
import { autoscalingTable, elasticityTable } from './autoscaling.ts';
import { headlineOf } from './build-report.ts';
import { arrivalTable, calibrationTable, distanceTable, faultTable, healthTable } from './conditions.ts';
import { groupTables } from './groups.ts';
import { latencyTable, runLatencyTable, runStreamTable, streamTable } from './latency.ts';
import { monitorLines, monitorTable } from './monitors.ts';
import {
  answerTable,
  countsTable,
  errorLines,
  errorTable,
  objectivesTable,
  skippedLines,
  skippedTable,
  statusTable,
} from './requests.ts';

export type SectionKey =
  | 'objectives'
  | 'latency'
  | 'streams'
  | 'groups'
  | 'fidelity'
  | 'trouble'
  | 'faults'
  | 'generator'
  | 'monitors'
  | 'autoscaling'
  | 'calibration';

/** A report as people read it. */
export function reportView(document: ReportDocument): View<SectionKey> {
  const { verdict, valid, headline, reasons, notes } = document;
  return {
    title: 'Load test report',
    ...{ verdict, headline, reasons, notes },
    tone: toneOf(verdict, valid),
    lines: reportLines(document),
    sections: reportSections(document),
  };
}

/** A run as people read it when it is over: what it says of itself. */
export function runView(document: ReplayDocument): View {
  const { verdict, valid, reasons, notes } = document;
  return {
    title: 'Run',
    ...{ verdict, reasons, notes },
    headline: headlineOf({ verdict, valid, summary: document, differs: false }),
    tone: toneOf(verdict, valid),
    lines: runLines(document),
    sections: runSections(document),
  };
}

function toneOf(verdict: ReplayDocument['verdict'], valid: boolean): View['tone'] {
  if (verdict === 'PASS' && valid) return 'good';
  return verdict === 'FAIL' ? 'bad' : 'warn';
}

/** The body of a report in the order it is read; what has nothing to say is left out. */
function reportSections(document: ReportDocument): Section<SectionKey>[] {
  const { summary, statuses, recording } = document;
  return [
    sectionOf('objectives' as const, 'Objectives and counts', [
      objectivesTable(document),
      countsTable(document),
    ]),
    sectionOf('latency' as const, 'Latency', [latencyTable(document)]),
    sectionOf('streams' as const, 'Streams', [streamTable(document)]),
    sectionOf('groups' as const, 'By route, model and input size', groupTables(document)),
    sectionOf('trouble' as const, 'What was not sent, and what went wrong', [
      skippedTable(document),
      errorTable(document),
      statusTable(statuses, recording.statuses),
      summary && answerTable(summary),
    ]),
    ...(summary === null ? [] : ownSections(summary)),
  ].filter(({ tables }) => tables.length > 0);
}

/** What only the run itself knows. */
function ownSections(document: ReplayDocument): Section<SectionKey>[] {
  return [
    sectionOf('faults', 'Failures of dependencies', [faultTable(document)]),
    sectionOf('fidelity', 'Fidelity: recorded, planned, sent', [
      arrivalTable(document),
      distanceTable(document),
    ]),
    sectionOf('autoscaling', 'Autoscaling', [autoscalingTable(document), elasticityTable(document)]),
    sectionOf('monitors', 'Monitors', [monitorTable(document)]),
    sectionOf('generator', 'The sending side', [healthTable(document)]),
    sectionOf('calibration', 'Calibration', [calibrationTable(document)]),
  ];
}

function runSections(document: ReplayDocument): Section[] {
  return [
    sectionOf('objectives', 'Objectives and counts', [
      objectivesTable(document),
      countsTable({ counts: document, summary: document }),
    ]),
    sectionOf('latency', 'Latency', [runLatencyTable(document), runStreamTable(document)]),
    sectionOf('trouble', 'What was not sent, and what went wrong', [
      skippedTable({ skipped: skippedLines(document) }),
      errorTable({ errors: errorLines(document) }),
      statusTable(document.statuses, null),
      answerTable(document),
    ]),
    ...ownSections(document),
  ].filter(({ tables }) => tables.length > 0);
}

/** What was played, against what, and when, as sentences. */
function reportLines({ run, summary, counts, recording }: ReportDocument): string[] {
  const who = run.id === null ? 'a run that was not sealed' : `run ${run.id}`;
  const when = run.startedAt === null ? '' : `, from ${run.startedAt} to ${run.endedAt}`;
  const warmup =
    run.warmupS === 0 ? '' : `; the warm-up of ${msText(run.warmupS * 1e3)} before it is not measured`;
  return [
    run.target === null
      ? `${who} in ${run.directory}`
      : `${who}: ${run.capture} against ${run.target}${loadText(run)}`,
    `${numberText(counts.sent)} requests in ${msText(run.durationS * 1e3)}${when}${warmup}`,
    ...(summary === null ? [] : coverageLines(summary)),
    recordingLine(recording),
    ...(summary === null ? [] : mergedLines(summary)),
    ...monitorLines(summary?.monitors),
  ];
}

function runLines(document: ReplayDocument): string[] {
  const { capture, target, warmup, calibration, tokens } = document;
  const ends = Object.entries(tokens.finishReasons).map(([name, answers]) => `${name} ${answers}`);
  const states = { true: 'as recorded', false: 'NOT as recorded', null: 'not known' };
  return [
    `Replayed ${capture} against ${target}${loadText(document)}`,
    ...coverageLines(document),
    ...mergedLines(document),
    ...monitorLines(document.monitors),
    warmup &&
      `before it ${countOf(warmup.planned, 'request')} of warm-up in ${msText(warmup.playedS * 1e3)}: sent ${warmup.sent}, failed ${warmup.failed}, refused ${warmup.refused}; in no figure here`,
    calibration &&
      `calibrated at 1x by ${countOf(calibration.pairs, 'request')}: ${states[`${calibration.representative}`]}`,
    tokens.answers === 0
      ? null
      : `tokens, as ${countOf(tokens.answers, 'answer')} counted them: ${tokens.prompt} prompt, ${tokens.output} output${ends.length === 0 ? '' : `; ended for ${ends.join(', ')}`}`,
  ].filter((line) => line !== null);
}

function loadText({
  multiplier,
  scaling,
  effectiveMultiplier,
}: Pick<ReportDocument['run'], 'multiplier' | 'scaling' | 'effectiveMultiplier'>): string {
  if (multiplier === null) return '';
  const effective = effectiveMultiplier === null ? 'not known' : numberText(effectiveMultiplier);
  return ` at ${formatMultiplier(multiplier)}x by ${scaling} (effective ${effective})`;
}

function coverageLines({ coverage }: ReplayDocument): string[] {
  if (coverage === null) return [];
  return [`the capture holds ${shareText(coverage)} of the traffic that was seen while recording`];
}

function recordingLine({ unavailable, found, sought, timed }: ReportDocument['recording']): string {
  if (unavailable !== null) return `recorded latency is not available: ${unavailable}`;
  if (found < sought) {
    return `the recording beside it: ${numberText(found)} of the ${numberText(sought)} requests are in the capture, ${numberText(timed)} with a latency`;
  }
  if (sought === 0) return 'no request was sent that could be compared with the recording';
  return timed === 0
    ? 'recorded latency is not available: the capture holds no times of answers'
    : `the recording beside it: ${numberText(timed)} of the ${numberText(sought)} requests have a recorded latency`;
}

/** For a run that was put together from shards. */
function mergedLines({ merged = null }: ReplayDocument): string[] {
  if (merged === null) return [];
  const { count, missing } = merged;
  return [
    `put together from ${count - missing.length} of ${count} shards${missing.length === 0 ? '' : `; missing: ${missing.join(', ')}`}`,
  ];
}
