import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { buildHistory, MOST_RUNS } from '../analysis/history/build-history.ts';
import { type Outcome, testNameOf } from '../analysis/outcome/outcome.ts';
import { AppError } from '../core/errors.ts';
import { type ResolvedOptions, text, value } from '../core/options.ts';
import type { HistoryDocument } from '../documents/history.ts';
import { readReplayDocument } from '../documents/replay.ts';
import { parseRetainRuns } from '../replay/options/parsers.ts';
import { History } from '../storage/history.ts';
import { RunReader } from '../storage/runs/reader.ts';

/** A few years of a nightly test. */
const KEPT_RUNS = '1000';

/** Where the figures of a run are kept beyond its directory. */
export const KEEP_OPTIONS = {
  history: text('--history <file>', 'also keep the figures of the run in this SQLite file'),
  retainHistory: value(
    '--retain-history <which>',
    'runs of the same test to keep in the history: the last 1000, or those of 180d',
    parseRetainRuns,
    { default: KEPT_RUNS },
  ),
};

/** Opens a history as a run will, and makes the file. @throws AppError INPUT_INVALID, SCHEMA_TOO_NEW, OUTPUT_UNWRITABLE */
export function assertHistory(file: string): void {
  new History(file, 'write').close();
}

/** Adds a run to the history that was asked for. @returns lines for the log */
export function keepInHistory(
  { facts, test, command, startedAt, durationS, verdict, result, figures }: Outcome,
  directory: string,
  { history, retainHistory }: ResolvedOptions<typeof KEEP_OPTIONS>,
): string[] {
  if (history === null || facts === null || startedAt === null) return [];
  const kept = new History(history, 'write');
  try {
    const run = { ...facts, ...{ test, command, startedAt, durationS, verdict, result, figures } };
    const removed = kept.add({ ...run, directory: resolve(directory) }, retainHistory);
    const gone = removed === 0 ? '' : `; runs removed from it: ${removed}`;
    return [`kept in ${history} as ${JSON.stringify(test)}${gone}`];
  } finally {
    kept.close();
  }
}

export const HISTORY_OPTIONS = {
  test: text('--test <name>', 'only the runs of this test'),
};

/**
 * The runs of a history by test, and the runs where a metric changed.
 * @throws AppError INPUT_INVALID for what is no history, and for a test that it has not
 */
export function readHistory(
  file: string,
  { test }: ResolvedOptions<typeof HISTORY_OPTIONS>,
): HistoryDocument {
  const history = new History(file, 'read');
  try {
    const document = buildHistory(file, history.runs(test, MOST_RUNS));
    if (test === null || document.tests.length > 0) return document;
    const known = [...new Set(history.runs(null, 1).map((run) => run.test))];
    throw new AppError('INPUT_INVALID', `${file} has no test ${JSON.stringify(test)}`, {
      hint: `Tests: ${known.slice(0, 20).join(', ') || 'none'}.`,
    });
  } finally {
    history.close();
  }
}

/**
 * The directory of the last run of the same test before this one with the verdict PASS.
 * @throws AppError INPUT_INVALID where there is none, or its directory is gone
 */
export function lastPassOf(run: string, file: string): string {
  const reader = new RunReader(run);
  let summary: object | null;
  try {
    summary = reader.summary;
  } finally {
    reader.close();
  }
  if (summary === null) throw noBaseline(`the run ${run} was never sealed`);
  const document = readReplayDocument(run, summary);
  const test = testNameOf(document);
  const history = new History(file, 'read');
  try {
    const passed = history.latestPass(test, document.startedAt);
    if (passed === null)
      throw noBaseline(`${file} has no earlier run of ${JSON.stringify(test)} with the verdict PASS`);
    if (existsSync(passed.directory)) return passed.directory;
    throw noBaseline(`the last run that passed, ${passed.run}, is gone from ${passed.directory}`);
  } finally {
    history.close();
  }
}

function noBaseline(why: string): AppError {
  return new AppError('INPUT_INVALID', `there is no baseline: ${why}`, {
    hint: 'Keep the directories of runs that passed, or name one: reprise compare RUN RUN.',
  });
}
