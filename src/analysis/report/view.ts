import { zonedTime } from '../../core/calendar.ts';
import { linesOf, pathEnd } from '../../core/text.ts';
import { countOf, formatMultiplier } from '../../core/units.ts';
import { PREFIX_HITS } from '../../documents/monitors.ts';
import { PERCENTS } from '../../documents/percentiles.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { stagesText } from '../../documents/replay-plan.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { whyTables } from '../explain/view.ts';
import {
  calledHere,
  digestLines,
  labelsText,
  msText,
  numberText,
  type Section,
  sectionOf,
  shareText,
  testedLines,
  type View,
} from '../render/table.ts';
import { headlineOf } from './build-report.ts';
import {
  arrivalTable,
  autoscalingTable,
  calibrationTable,
  distanceTable,
  elasticityTable,
  faultTable,
  healthTable,
} from './conditions.ts';
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
  | 'why'
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

/**
 * A report in a readable form.
 * @param timeZone time zone of displayed times
 * @param program how the user calls this program
 */
export function reportView(
  document: ReportDocument,
  timeZone = 'UTC',
  program = 'reprise',
): View<SectionKey> {
  const { verdict, valid, headline, reasons, notes } = document;
  const paths = { RUN: document.run.directory };
  return {
    title: 'Load test report',
    verdict,
    headline,
    reasons: calledHere(reasons, paths, program),
    notes: calledHere(notes, paths, program),
    tone: toneOf(verdict, valid),
    lines: [changeText(document), ...reportLines(document, timeZone)],
    facts: factsOf(document, timeZone),
    tested: testedLines(document.summary ?? {}),
    sections: reportSections(document),
  };
}

/**
 * The result of a run in a readable form, from its summary alone.
 * @param directory the directory of the run, for commands to paste
 * @param program how the user calls this program
 */
export function runView(document: ReplayDocument, directory = 'RUN', program = 'reprise'): View {
  const { verdict, valid, reasons, notes } = document;
  const paths = { RUN: directory };
  return {
    title: 'Run',
    verdict,
    reasons: calledHere(reasons, paths, program),
    notes: calledHere(notes, paths, program),
    headline: headlineOf({ verdict, valid, summary: document, differs: false }),
    tone: toneOf(verdict, valid),
    lines: runLines(document),
    tested: testedLines(document),
    sections: runSections(document),
  };
}

function toneOf(verdict: ReplayDocument['verdict'], valid: boolean): View['tone'] {
  if (verdict === 'PASS' && valid) return 'good';
  if (verdict === null && valid) return 'plain';
  return verdict === 'FAIL' ? 'bad' : 'warn';
}

/** The sections of a report in reading order, without empty ones. */
function reportSections(document: ReportDocument): Section<SectionKey>[] {
  const { summary, recording } = document;
  return [
    sectionOf('objectives' as const, 'Objectives and counts', [
      objectivesTable(document, summary),
      countsTable(document),
    ]),
    sectionOf('why' as const, 'Why', document.explanation == null ? [] : whyTables(document.explanation)),
    sectionOf('latency' as const, 'Latency', [latencyTable(document)]),
    sectionOf('streams' as const, 'Streams', [streamTable(document)]),
    sectionOf('groups' as const, 'By route, model and input size', groupTables(document)),
    sectionOf('trouble' as const, 'What was not sent, and what went wrong', [
      skippedTable(document),
      errorTable(document),
      statusTable(document, recording.statuses),
      summary && answerTable(summary),
    ]),
    ...(summary === null ? [] : ownSections(summary)),
  ].filter(({ tables }) => tables.length > 0);
}

/** Sections with facts that only the run's summary has. */
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
      objectivesTable(document, document),
      countsTable({ counts: document, summary: document }),
    ]),
    sectionOf('latency', 'Latency', [runLatencyTable(document), runStreamTable(document)]),
    sectionOf('trouble', 'What was not sent, and what went wrong', [
      skippedTable({ skipped: skippedLines(document) }),
      errorTable({ errors: errorLines(document) }),
      statusTable(document, null),
      answerTable(document),
    ]),
    ...ownSections(document),
  ].filter(({ tables }) => tables.length > 0);
}

/** The recorded and the replayed load, and the percentiles for which both have enough samples. */
function changeText(document: ReportDocument): string {
  const { latencyMs, summary, recording } = document;
  const before = summary?.fidelity.recorded.ratePerSecond;
  const sent = `${numberText(sentPerSecond(document))} requests/s`;
  const load = before == null ? `sent ${sent}` : `${numberText(before)} → ${sent}`;
  const { recorded } = latencyMs;
  const replayed = summary?.closedLoop === undefined ? latencyMs.scheduled : latencyMs.service;
  if (recorded === null) return `Replayed: ${load}; ${recordingLine(recording)}`;
  const changes = PERCENTS.flatMap((percent) => {
    const [before, after] = [recorded, replayed].map(({ steps }) =>
      steps.find((step) => step.percent === percent && step.enough),
    );
    if (before === undefined || after === undefined) return [];
    return [`p${percent} ${msText(before.ms)} → ${msText(after.ms)}`];
  });
  const failed = document.counts.failed === 0 || changes.length === 0 ? '' : ' (without failed requests)';
  return `Recorded → replayed: ${[load, ...changes].join('; ')}${failed}`;
}

/** From the first send to the last. For an unsealed run, to its last answer. */
export function sentPerSecond({ summary, counts, run }: ReportDocument): number | null {
  if (summary !== null) return summary.fidelity.sent.ratePerSecond;
  return run.durationS === 0 ? null : counts.sent / run.durationS;
}

/** Which run it was, of what (a capture by its digest), at which load and when. */
function factsOf({ run, summary }: ReportDocument, timeZone: string): string[] {
  const { directory, capture, target, multiplier, startedAt } = run;
  const digest = summary?.captureDigest;
  const tested = capture !== null && `${pathEnd(capture)}${digest === undefined ? '' : ` (${digest})`}`;
  return linesOf(
    pathEnd(directory),
    Object.keys(summary?.labels ?? {}).length > 0 && labelsText(summary?.labels ?? {}),
    linesOf(tested, target).join(' → ') || null,
    multiplier !== null && summary?.closedLoop === undefined && `${formatMultiplier(multiplier)}x`,
    startedAt !== null && zonedTime(Date.parse(startedAt), timeZone),
  );
}

/** Sentences about the run: what was replayed, against which target, and when. */
function reportLines({ run, summary, counts, recording }: ReportDocument, timeZone: string): string[] {
  const who = run.id === null ? 'a run that was not sealed' : `run ${run.id}`;
  const time = (instant: string) => zonedTime(Date.parse(instant), timeZone);
  const when =
    run.startedAt === null || run.endedAt === null
      ? ''
      : `, from ${time(run.startedAt)} to ${time(run.endedAt)} ${timeZone}`;
  const warmup =
    run.warmupS === 0 ? '' : `; the warm-up of ${msText(run.warmupS * 1e3)} before it is not measured`;
  return [
    run.target === null
      ? `${who} in ${run.directory}`
      : `${who}: ${linesOf(run.capture, `against ${run.target}`).join(' ')}${summary?.closedLoop === undefined ? loadText(run, summary?.scalingPlan) : ''}`,
    `${numberText(counts.sent)} requests in ${msText(run.durationS * 1e3)}${when}${warmup}`,
    ...(summary === null ? [] : [...coverageLines(summary), ...cacheLines(summary)]),
    recordingLine(recording),
    ...(summary === null ? [] : mergedLines(summary)),
    ...monitorLines(summary?.monitors),
    ...digestLines(summary ?? {}),
    ...telemetryLines(summary),
    ...(run.version === null ? [] : [`made by version ${run.version}`]),
  ];
}

function runLines(document: ReplayDocument): string[] {
  const { capture, target, warmup, calibration, tokens, closedLoop } = document;
  const ends = Object.entries(tokens.finishReasons).map(([name, answers]) => `${name} ${answers}`);
  const states = { true: 'as recorded', false: 'NOT as recorded', null: 'not known' };
  return [
    `Replayed ${capture} against ${target}${closedLoop === undefined ? loadText(document, document.scalingPlan) : ''}`,
    ...coverageLines(document),
    ...mergedLines(document),
    ...monitorLines(document.monitors),
    ...digestLines(document),
    ...telemetryLines(document),
    warmup &&
      `warm-up before it: ${countOf(warmup.planned, 'request')} in ${msText(warmup.playedS * 1e3)}; sent ${warmup.sent}, failed ${warmup.failed}, refused ${warmup.refused}; not measured`,
    calibration &&
      `compared with the recording at 1x first, by ${countOf(calibration.pairs, 'request')}: ${states[`${calibration.representative}`]}`,
    tokens.answers === 0
      ? null
      : `tokens, as ${countOf(tokens.answers, 'answer')} counted them: ${tokens.prompt} prompt, ${tokens.output} output${ends.length === 0 ? '' : `; ended for ${ends.join(', ')}`}`,
    ...cacheLines(document),
  ].filter((line) => line !== null);
}

/** What answers report of the caches of their servers, now and when recorded, and what the target itself counted. */
function cacheLines({ cacheHits, monitors }: ReplayDocument): string[] {
  const counted = (monitors?.series ?? [])
    .filter(({ name, kind, change }) => name === PREFIX_HITS && kind === 'mean' && change !== null)
    .map(({ source, change }) => `${source} counted ${shareText(change)} from its cache over the run`);
  if (cacheHits == null) return counted;
  const { sent, recorded } = cacheHits.both ?? cacheHits;
  return [
    `prompt tokens from a cache: ${shareText(sent?.share ?? null)}; when recorded, of the same requests, ${shareText(recorded?.share ?? null)}`,
    ...counted,
  ];
}

function loadText(
  {
    multiplier,
    scaling,
    effectiveMultiplier,
  }: Pick<ReportDocument['run'], 'multiplier' | 'scaling' | 'effectiveMultiplier'>,
  scalingPlan: ReplayDocument['scalingPlan'],
): string {
  if (multiplier === null) return '';
  const stages = stagesText(multiplier, scalingPlan);
  const load = ` ${stages ?? `at ${formatMultiplier(multiplier)}x`} by ${scaling}`;
  // If the capture lacks requests, the load is smaller than the multiplier says.
  if (effectiveMultiplier === null)
    return `${load}; what share of all traffic the capture holds is not known`;
  const effective = numberText(effectiveMultiplier);
  return effective === numberText(multiplier) ? load : `${load}, which is ${effective}x of all traffic`;
}

function coverageLines({ coverage }: ReplayDocument): string[] {
  if (coverage === null) return [];
  return [`the capture holds ${shareText(coverage)} of the traffic that was seen while recording`];
}

function recordingLine({ unavailable, found, sought, timed }: ReportDocument['recording']): string {
  if (unavailable !== null) return `recorded latency is not available: ${unavailable}`;
  if (found < sought) {
    return `the recording beside it: ${numberText(found)} of the ${numberText(sought)} requests are in the capture, ${numberText(timed)} served in both with a latency`;
  }
  if (sought === 0) return 'no request was sent that could be compared with the recording';
  return timed === 0
    ? 'recorded latency is not available: no request that was served in both has one'
    : `the recording beside it: ${numberText(timed)} of the ${numberText(sought)} requests were served in both and have a recorded latency`;
}

/** Failed deliveries to receivers of metrics and traces. */
function telemetryLines(summary: ReplayDocument | null): string[] {
  const { receivers, spans } = summary?.telemetry ?? { receivers: [], spans: { traced: 0, dropped: 0 } };
  return [
    ...receivers.flatMap(({ url, pushes, failed, rejected, complete, lastError }) => [
      ...(failed === 0
        ? []
        : [
            `telemetry to ${url}: ${failed} of ${countOf(pushes, 'push')} failed, the last: ${lastError}${complete ? '' : '; its last values are missing there'}`,
          ]),
      ...(rejected === 0 ? [] : [`telemetry to ${url}: it left out ${countOf(rejected, 'point')}`]),
    ]),
    ...(spans.dropped === 0
      ? []
      : [`traces: ${spans.dropped} of ${countOf(spans.traced, 'span')} were dropped`]),
  ];
}

/** The number of shards of a merged run, and the missing ones. */
function mergedLines({ merged = null }: ReplayDocument): string[] {
  if (merged === null) return [];
  const { count, missing } = merged;
  return [
    `put together from ${count - missing.length} of ${count} shards${missing.length === 0 ? '' : `; missing: ${missing.join(', ')}`}`,
  ];
}
