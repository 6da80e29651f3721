import { existsSync } from 'node:fs';
import { buildReport } from '../analysis/report/build-report.ts';
import { asksForMore, shownObjective } from '../analysis/report/objective-steps.ts';
import { monitoredSteps } from '../analysis/report/over-time.ts';
import { ReportStatistics } from '../analysis/report/statistics.ts';
import { pointsOf } from '../analysis/run/monitored.ts';
import { AppError } from '../core/errors.ts';
import { text } from '../core/options.ts';
import type { TimeRange } from '../core/ports.ts';
import { parseInstantUs } from '../core/units.ts';
import { type ReplayDocument, readReplayDocument } from '../documents/replay.ts';
import type { MonitoredLine, RecordingSource, ReportDocument } from '../documents/report.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import { CaptureReader } from '../storage/capture/reader.ts';
import { RunReader } from '../storage/runs/reader.ts';
import { capturePlaces } from './open-capture.ts';
import { documentFromThread } from './package.ts';
import { damagedRows } from './run-files.ts';

export const REPORT_OPTIONS = {
  capture: text(
    '--capture <directory>',
    'replayed capture, read for its latency (default: the path stored in the run)',
  ),
};

/** What is reported; plain data, because it goes to a thread. */
export interface ReportRequest {
  /** As the user named it. */
  readonly directory: string;
  /** The capture that holds the recorded answers; null for the one the run names. */
  readonly capture: string | null;
}

/** Reports a run in a thread with a small heap. @throws AppError as `reportRun` */
export function reportInThread(request: ReportRequest): Promise<ReportDocument> {
  return documentFromThread<ReportDocument>('reporter', request);
}

type Recording = Pick<RecordingSource, 'capture' | 'unavailable'>;

/**
 * Reads a run once, in the order of its schedule, then the part of its capture that was replayed, at bounded memory.
 * @throws AppError INPUT_INVALID for what is no run, or a damaged one; SCHEMA_TOO_NEW; and where a capture was named,
 *   what reading it throws
 */
export function reportRun({ directory, capture }: ReportRequest): ReportDocument {
  const reader = new RunReader(directory);
  try {
    const summary = reader.summary === null ? null : readReplayDocument(directory, reader.summary);
    const statistics = readRows(directory, reader, summary);
    const recording = readRecording(statistics, { directory, capture }, reader.run, summary);
    const monitored = monitoredLines(reader, summary, statistics);
    return buildReport({ directory, run: reader.run, summary, statistics, recording, monitored });
  } finally {
    reader.close();
  }
}

function readRows(directory: string, reader: RunReader, summary: ReplayDocument | null): ReportStatistics {
  try {
    const isInterrupted = summary === null || summary.interrupted !== null;
    const statistics = new ReportStatistics((reader.lastSecond() ?? -1) + 1, summary?.slo, isInterrupted);
    for (const second of reader.seconds()) statistics.time.addSecond(second);
    for (const send of reader.sends()) statistics.addSend(send);
    return statistics;
  } catch (thrown) {
    throw damagedRows(directory, thrown);
  }
}

/** More would be no picture any more. */
const MOST_LINES = 64;

function monitoredLines(
  reader: RunReader,
  summary: ReplayDocument | null,
  { time }: ReportStatistics,
): MonitoredLine[] {
  const intervals = new Map(summary?.monitors?.sources.map(({ name, intervalS }) => [name, intervalS]));
  const shown = shownObjective(summary?.slo ?? [])?.threshold;
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

/** What was recorded for the sends. A capture that the run names and that has moved is no error: it is said. */
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
    // What is there, and is of no help, says more than that nothing is at the other places.
    if (existsSync(place)) reason ??= why;
  }
  const gone =
    places.length === 1
      ? `the capture ${capture} is gone`
      : `the capture ${capture} is gone: it lies neither beside the run, nor in a folder above it, nor in the working directory`;
  return { capture: null, unavailable: `${reason ?? gone}; name it with --capture` };
}

/** @throws AppError where the capture is not there, is damaged, or is another one */
function readNamed(statistics: ReportStatistics, named: string, summary: ReplayDocument | null): Recording {
  const why = addRecorded(statistics, named, summary);
  if (why === null) return { capture: named, unavailable: null };
  throw new AppError('INPUT_INVALID', why, {
    hint: 'Give the capture that this run replayed; exchanges deleted by retention are missing.',
  });
}

/** Why nothing could be had from there, and then nothing was; null where it could. */
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

/** @returns why what is there is of no help; null where it is */
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

/** Where the replayed exchanges lie. Stretches that were laid over the window lie anywhere. */
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
  // Windows that overlap would have an exchange count twice.
  const joined: TimeRange[] = [];
  for (const range of ranges.sort((a, b) => a.fromUs - b.fromUs)) {
    const last = joined.at(-1);
    if (last === undefined || range.fromUs > last.toUs) joined.push(range);
    else joined[joined.length - 1] = { fromUs: last.fromUs, toUs: Math.max(last.toUs, range.toUs) };
  }
  return joined;
}
