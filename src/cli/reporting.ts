import type { ReplayDocument } from '../analysis/replay-document.ts';
import { buildReport } from '../analysis/report/build-report.ts';
import type { ReportDocument } from '../analysis/report/report-document.ts';
import { ReportStatistics } from '../analysis/report/report-statistics.ts';
import { AppError } from '../core/errors.ts';
import type { TimeRange } from '../core/ports.ts';
import { parseInstantUs } from '../core/units.ts';
import { resolveCaptureDirectory } from '../storage/capture-directory.ts';
import { CaptureReader } from '../storage/capture-reader.ts';
import { RunReader } from '../storage/run-reader.ts';
import { damagedRows } from './run-damage.ts';
import { readRunSummary } from './run-summary.ts';

/** What is reported; plain data, because it goes to a thread. */
export interface ReportRequest {
  /** As the user named it. */
  readonly directory: string;
  /** The capture that holds the recorded answers; null for the one the run names. */
  readonly capture: string | null;
}

interface Recording {
  readonly capture: string | null;
  readonly unavailable: string | null;
}

/**
 * Reads a run once, in the order of its schedule, then the part of its capture that was replayed, at bounded memory.
 * @throws AppError INPUT_INVALID for what is no run, or a damaged one; SCHEMA_TOO_NEW; and where a capture was named,
 *   what reading it throws
 */
export function reportRun({ directory, capture }: ReportRequest): ReportDocument {
  const reader = new RunReader(directory);
  try {
    const summary = reader.summary === null ? null : readRunSummary(directory, reader.summary);
    const statistics = readRows(directory, reader, summary);
    const recording = readRecording(statistics, { named: capture, summary, run: reader.run });
    return buildReport({ directory, run: reader.run, summary, statistics, recording });
  } finally {
    reader.close();
  }
}

function readRows(directory: string, reader: RunReader, summary: ReplayDocument | null): ReportStatistics {
  try {
    const statistics = new ReportStatistics((reader.lastSecond() ?? -1) + 1, summary?.health.stretches ?? []);
    for (const second of reader.seconds()) statistics.addSecond(second);
    for (const send of reader.sends()) statistics.addSend(send);
    return statistics;
  } catch (thrown) {
    throw damagedRows(directory, thrown);
  }
}

interface Sought {
  readonly named: string | null;
  readonly summary: ReplayDocument | null;
  readonly run: RunReader['run'];
}

/** What was recorded for the sends. A capture that the run names and that has moved is no error: it is said. */
function readRecording(statistics: ReportStatistics, { named, summary, run }: Sought): Recording {
  const directory = named ?? run?.capture ?? null;
  if (directory === null)
    return {
      capture: null,
      unavailable: 'the run does not say of which capture it is; name it with --capture',
    };
  try {
    const source = new CaptureReader(resolveCaptureDirectory(directory, 'read'));
    try {
      for (const range of rangesOf(summary)) {
        for (const row of source.rows(range)) statistics.addRecorded(row);
      }
    } finally {
      source.close();
    }
  } catch (thrown) {
    if (named !== null || !(thrown instanceof AppError)) throw thrown;
    statistics.forgetRecorded();
    return { capture: null, unavailable: `${thrown.message}; name it with --capture` };
  }
  const { found, sought } = statistics.recordedFigures();
  if (found > 0 || sought === 0) return { capture: directory, unavailable: null };
  const other = `${directory} holds none of the exchanges that were replayed`;
  if (named === null) return { capture: null, unavailable: `${other}; name the capture with --capture` };
  throw new AppError('INPUT_INVALID', other, {
    hint: 'Name the capture this run was made of; exchanges that retention took are gone.',
  });
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
