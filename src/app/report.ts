import { existsSync } from 'node:fs';
import { type ExplainInput, explained } from '../analysis/explain/explain.ts';
import { type ExplainedRequests, RequestCollector } from '../analysis/explain/requests.ts';
import { kindOf } from '../analysis/explain/resources.ts';
import { pointsOf } from '../analysis/metrics/monitored.ts';
import { buildReport } from '../analysis/report/build-report.ts';
import { asksForMore, shownObjective } from '../analysis/report/objective-steps.ts';
import { monitoredSteps } from '../analysis/report/over-time.ts';
import { ReportStatistics } from '../analysis/report/statistics.ts';
import { AppError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { text } from '../core/options.ts';
import type { TimeRange } from '../core/ports.ts';
import { NS_PER_MS, parseInstantUs } from '../core/units.ts';
import { EXPLANATION_SCHEMA_VERSION, type ExplanationDocument } from '../documents/explanation.ts';
import { type ReplayDocument, readReplayDocument } from '../documents/replay.ts';
import type { MonitoredLine, RecordingSource, ReportDocument } from '../documents/report.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { CaptureReader } from '../storage/capture/reader.ts';
import { RunReader } from '../storage/runs/reader.ts';
import { capturePlaces } from './open-capture.ts';
import { documentFromThread } from './package.ts';
import { damagedRows, sendsOf } from './run-files.ts';

export const REPORT_OPTIONS = {
  capture: text(
    '--capture <directory>',
    'replayed capture, read for its latency (default: the path stored in the run)',
  ),
};

/** A request for a report. Plain data, because it is sent to a thread. */
export interface ReportRequest {
  /** As the user named it. */
  readonly directory: string;
  /** The capture with the recorded answers; null for the one that the run names. */
  readonly capture: string | null;
}

/** Reports a run in a thread with a small heap. @throws AppError as `reportRun` */
export function reportInThread(request: ReportRequest): Promise<ReportDocument> {
  return documentFromThread<ReportDocument>('reporter', request);
}

type Recording = Pick<RecordingSource, 'capture' | 'unavailable'>;

/**
 * Reads the run once, in the order of its schedule, then the replayed part of its capture. Memory is bounded.
 * @throws AppError INPUT_INVALID if it is no run or a damaged one; SCHEMA_TOO_NEW; for a named capture also the errors
 *   of reading it
 */
export function reportRun({ directory, capture }: ReportRequest): ReportDocument {
  const reader = new RunReader(directory);
  try {
    const summary = reader.summary === null ? null : readReplayDocument(directory, reader.summary);
    const isViolated = summary?.slo.some(({ ok }) => ok === false) === true;
    const collector = isViolated ? new RequestCollector(summary) : null;
    const statistics = readRows(directory, reader, summary, collector);
    const recording = readRecording(statistics, { directory, capture }, reader.run, summary);
    const monitored = monitoredLines(reader, summary, statistics);
    const found = collector?.found() ?? null;
    const explanation = summary && found && explained(found, explainInput(reader, summary, found));
    return buildReport({
      directory,
      run: reader.run,
      summary,
      statistics,
      recording,
      monitored,
      explanation,
    });
  } finally {
    reader.close();
  }
}

/**
 * Explains why the objectives of a run were violated. Reads its rows once, with bounded memory.
 * @throws AppError INPUT_INVALID if it is no run, a damaged one, or one that did not come to its end; SCHEMA_TOO_NEW
 */
export function explainRun(directory: string): ExplanationDocument {
  const reader = new RunReader(directory);
  try {
    if (reader.summary === null) {
      throw new AppError(
        'INPUT_INVALID',
        `the run ${directory} did not come to its end: it has no objectives`,
        {
          hint: `Use reprise report ${directory}, which shows what its rows contain.`,
        },
      );
    }
    const document = readReplayDocument(directory, reader.summary);
    const collector = new RequestCollector(document);
    for (const send of sendsOf(directory, reader)) collector.add(send);
    const found = collector.found();
    const { run, capture, target, verdict } = document;
    return {
      schemaVersion: EXPLANATION_SCHEMA_VERSION,
      kind: 'explanation',
      ...{ directory, run, capture, target, verdict },
      ...explained(found, explainInput(reader, document, found)),
    };
  } finally {
    reader.close();
  }
}

/**
 * A run beside its requests: what monitors saw while they were in flight, as far as it can explain them. A value holds
 * until the next one.
 */
function explainInput(reader: RunReader, document: ReplayDocument, found: ExplainedRequests): ExplainInput {
  const fromMs = found.requests[0]?.plannedMs ?? 0;
  const untilMs = found.requests.reduce((last, { endMs }) => Math.max(last, endMs ?? 0), 0);
  const series = reader.monitorSeries().flatMap(({ series, ...facts }) => {
    if (found.against === null || kindOf(facts) === null) return [];
    const known = [...pointsOf(facts.kind, reader.monitorSamples(series))].flatMap((point) =>
      point.value === null ? [] : [{ fromMs: point.fromNs / NS_PER_MS, value: point.value }],
    );
    const step = Math.ceil(known.length / LIMITS.explainedValues);
    const kept = known.filter((_, at) => at % step === 0);
    const values = kept.map((each, at) => ({ ...each, toMs: kept[at + 1]?.fromMs ?? untilMs }));
    return [{ ...facts, values: values.filter((each) => each.toMs >= fromMs && each.fromMs <= untilMs) }];
  });
  return { document, series };
}

function readRows(
  directory: string,
  reader: RunReader,
  summary: ReplayDocument | null,
  collector: RequestCollector | null,
): ReportStatistics {
  try {
    const isInterrupted = summary === null || summary.interrupted !== null;
    const statistics = new ReportStatistics((reader.lastSecond() ?? -1) + 1, summary?.slo, isInterrupted);
    for (const second of reader.seconds()) statistics.time.addSecond(second);
    for (const send of reader.sends()) {
      statistics.addSend(send);
      collector?.add(send);
    }
    return statistics;
  } catch (thrown) {
    throw damagedRows(directory, thrown);
  }
}

/** With more lines the chart would be unreadable. */
const MOST_LINES = 64;

function monitoredLines(
  reader: RunReader,
  summary: ReplayDocument | null,
  { time }: ReportStatistics,
): MonitoredLine[] {
  const intervals = new Map(summary?.monitors?.sources.map(({ name, intervalS }) => [name, intervalS]));
  const shown = shownObjective(summary?.slo ?? [])?.objective;
  const isShown = ({ name }: { readonly name: string }) => name === shown?.series;
  return reader
    .monitorSeries()
    .toSorted((a, b) => Number(isShown(b)) - Number(isShown(a)))
    .slice(0, MOST_LINES)
    .map(({ series, ...facts }) => {
      const points = pointsOf(facts.kind, reader.monitorSamples(series));
      const lastingNs = (intervals.get(facts.source) ?? 1) * 1e9;
      const worse = shown !== undefined && isShown(facts) && asksForMore(shown) ? Math.min : Math.max;
      return { ...facts, values: monitoredSteps(points, lastingNs, time.stepS, time.steps, worse) };
    });
}

/**
 * Reads the recorded answers of the sends. If the capture that the run names has moved, the report says so without an
 * error.
 */
function readRecording(
  statistics: ReportStatistics,
  { directory, capture: named }: ReportRequest,
  run: RunReader['run'],
  summary: ReplayDocument | null,
): Recording {
  if (named !== null) return readNamed(statistics, named, summary);
  if (run === null)
    return {
      capture: null,
      unavailable: 'the run does not name its capture; give it with --capture',
    };
  const { capture } = run;
  const places = capturePlaces(capture, directory);
  let reason: string | null = null;
  for (const place of places) {
    const why = readFrom(statistics, place, summary);
    if (why === null) return { capture, unavailable: null };
    // If a capture exists but does not match, this reason helps more than that the other places are empty.
    if (existsSync(place)) reason ??= why;
  }
  const gone =
    places.length === 1
      ? `the capture ${capture} is gone`
      : `the capture ${capture} is gone: it lies neither beside the run, nor in a folder above it, nor in the working directory`;
  return { capture: null, unavailable: `${reason ?? gone}; name it with --capture` };
}

/** @throws AppError if the capture is missing, damaged or a different one */
function readNamed(statistics: ReportStatistics, named: string, summary: ReplayDocument | null): Recording {
  const why = addRecorded(statistics, named, summary);
  if (why === null) return { capture: named, unavailable: null };
  throw new AppError('INPUT_INVALID', why, {
    hint: 'Give the capture that this run replayed; exchanges deleted by retention are missing.',
  });
}

/** Adds recorded answers from this place. Null on success; otherwise the reason, and nothing was added. */
function readFrom(
  statistics: ReportStatistics,
  place: string,
  summary: ReplayDocument | null,
): string | null {
  try {
    return addRecorded(statistics, place, summary);
  } catch (thrown) {
    if (!(thrown instanceof AppError)) throw thrown;
    statistics.forgetRecorded();
    return thrown.message;
  }
}

/** @returns why the capture does not match; null if it does */
function addRecorded(
  statistics: ReportStatistics,
  directory: string,
  summary: ReplayDocument | null,
): string | null {
  const source = new CaptureReader(resolveCaptureDirectory(directory, 'read'));
  try {
    for (const range of rangesOf(summary)) {
      for (const row of source.rows(range)) statistics.addRecorded(row);
    }
  } finally {
    source.close();
  }
  const { found, sought } = statistics.recordedFigures();
  const isHelpful = found > 0 || sought === 0;
  return isHelpful ? null : `${directory} holds none of the exchanges that were replayed`;
}

/** Where the replayed exchanges are. With superposed parts, they may be anywhere in the capture. */
function rangesOf(summary: ReplayDocument | null): (TimeRange | undefined)[] {
  const { windows, scaling } = (summary ?? {}) as {
    readonly windows?: readonly { readonly from: string; readonly to: string }[];
    readonly scaling?: string;
  };
  if (windows === undefined || windows.length === 0 || scaling === 'superpose') return [undefined];
  const ranges = windows.map(({ from, to }) => ({
    fromUs: parseInstantUs(from, 'a window of the run'),
    toUs: parseInstantUs(to, 'a window of the run') + 1,
  }));
  // Joins overlapping windows, so that no exchange counts twice.
  const joined: TimeRange[] = [];
  for (const range of ranges.sort((a, b) => a.fromUs - b.fromUs)) {
    const last = joined.at(-1);
    if (last === undefined || range.fromUs > last.toUs) joined.push(range);
    else joined[joined.length - 1] = { fromUs: last.fromUs, toUs: Math.max(last.toUs, range.toUs) };
  }
  return joined;
}
