import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { buildHistory, MOST_RUNS } from '../analysis/history/build-history.ts';
import { type CiReport, testNameOf } from '../analysis/verdict/ci-report.ts';
import { systemClock } from '../core/clock.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { type ResolvedOptions, text, value } from '../core/options.ts';
import { shellWord } from '../core/text.ts';
import { formatInstantUs, parseInstantUs, refused, US_PER_S } from '../core/units.ts';
import type { HistoryDocument } from '../documents/history.ts';
import type { ExceptionDocument, TestedDocument } from '../documents/parts.ts';
import { readReplayDocument } from '../documents/replay.ts';
import { k6Figures } from '../formats/k6.ts';
import { parseRetainRuns } from '../replay/options/parsers.ts';
import { History } from '../storage/history.ts';
import { RunReader } from '../storage/runs/reader.ts';
import { KEPT_RUNS, type VerdictRequest } from './verdict/options.ts';

/** Adds a run to the history if the options name one. @returns lines for the log */
export function keepInHistory(
  { facts, test, command, startedAt, durationS, verdict, result, figures }: CiReport,
  directory: string,
  { history }: Pick<VerdictRequest, 'history'>,
): string[] {
  if (history === null || facts === null || startedAt === null) return [];
  const kept = new History(history.file, 'write');
  try {
    const run = {
      ...facts,
      test,
      command,
      startedAt,
      durationS,
      verdict,
      result,
      figures,
      directory: resolve(directory),
    };
    const removed = kept.add(run, history.retain);
    const gone = removed === 0 ? '' : `; runs removed from it: ${removed}`;
    return [`kept in ${history.file} as ${JSON.stringify(test)}${gone}`];
  } finally {
    kept.close();
  }
}

export const ACCEPT_OPTIONS = {
  history: text('--history <file>', 'the history that has the run', { required: true }),
  reason: text('--reason <text>', 'why its result is accepted', { required: true }),
  until: value('--until <date>', 'when that ends (ISO 8601, UTC), at most a year ahead', parseInstantUs, {
    required: true,
  }),
};

const MOST_REASON = 500;
const LONGEST_US = 366 * 24 * 3600 * US_PER_S;

/**
 * Accepts the result of a run for a time. It is shown with the history, and with later runs of the same test.
 * @param named the directory of the run, or its id
 * @throws AppError OPTION_INVALID, INPUT_INVALID if the history does not have the run
 */
export function acceptRun(
  named: string,
  { history: file, reason, until }: ResolvedOptions<typeof ACCEPT_OPTIONS>,
  nowUs: number,
): ExceptionDocument {
  if (until <= nowUs || until > nowUs + LONGEST_US) {
    const why = until <= nowUs ? 'is over' : 'is more than a year ahead';
    throw refused('--until', formatInstantUs(until), why, 'Give a day such as 2027-01-15.');
  }
  if (reason.trim() === '' || reason.length > MOST_REASON || /\p{Cc}/u.test(reason)) {
    const hint = `Give 1 to ${MOST_REASON} characters without line breaks, such as a ticket.`;
    throw refused('--reason', reason.slice(0, 40), 'is no reason', hint);
  }
  if (!existsSync(file)) throw new AppError('INPUT_INVALID', `there is no history ${file}`);
  const run = existsSync(named) ? runIn(named) : named;
  const history = new History(file, 'write');
  try {
    const times = { acceptedAt: formatInstantUs(nowUs), until: formatInstantUs(until) };
    const accepted = history.accept({ run, reason: reason.trim(), ...times });
    if (accepted !== null) return accepted;
    throw new AppError('INPUT_INVALID', `${file} has no run ${run}`, {
      hint: `Its runs: reprise history ${shellWord(file)} --json.`,
    });
  } finally {
    history.close();
  }
}

function runIn(directory: string): string {
  const reader = new RunReader(directory);
  try {
    const id = reader.run?.id;
    if (id !== undefined) return id;
    throw new AppError('INPUT_INVALID', `the run ${directory} was never sealed: it has no result to accept`);
  } finally {
    reader.close();
  }
}

/** The exceptions of a test that have not ended; none without a history. */
export function exceptionsOf(
  { history }: Pick<VerdictRequest, 'history'>,
  test: string,
  nowUs: number,
): Pick<TestedDocument, 'exceptions'> {
  if (history === null || !existsSync(history.file)) return {};
  const kept = new History(history.file, 'read');
  try {
    const exceptions = kept.exceptions(test, formatInstantUs(nowUs));
    return exceptions.length === 0 ? {} : { exceptions };
  } finally {
    kept.close();
  }
}

export const HISTORY_OPTIONS = {
  name: text('--name <name>', 'only the runs of this test'),
  addK6: text('--add-k6 <file>', 'first add the summary of a k6 test, as a run of the test --name'),
};

/**
 * The runs of a history by test, and the runs where a metric changed. With `addK6`, a k6 test is added first.
 * @throws AppError INPUT_INVALID if the file is no history or does not have the test
 */
export function readHistory(
  file: string,
  {
    name: test,
    addK6 = null,
  }: Partial<ResolvedOptions<typeof HISTORY_OPTIONS>> & { readonly name: string | null },
  nowUs: number = systemClock.epochUs(),
): HistoryDocument {
  if (addK6 !== null) addK6Summary(file, addK6, test);
  const history = new History(file, 'read');
  try {
    const exceptions = history.exceptions(test, formatInstantUs(nowUs));
    const document = buildHistory(file, history.runs(test, MOST_RUNS), exceptions);
    if (test === null || document.tests.length > 0) return document;
    const known = [...new Set(history.runs(null, 1).map((run) => run.test))];
    throw new AppError('INPUT_INVALID', `${file} has no test ${JSON.stringify(test)}`, {
      hint: `Tests: ${known.slice(0, 20).join(', ') || 'none'}.`,
    });
  } finally {
    history.close();
  }
}

const K6_HINT = 'Pass a file of k6 run --summary-export, or the data of handleSummary as JSON.';
const MOST_K6_BYTES = 16 * 1024 * 1024;

/** Adds a k6 test with the figures of its summary. The same file is added to a test only once. */
function addK6Summary(file: string, path: string, test: string | null): void {
  if (test === null) {
    throw new AppError('OPTION_INVALID', '--add-k6 needs --name: a k6 summary does not name its test');
  }
  const refuse = (reason: string, cause?: unknown) =>
    new AppError('INPUT_INVALID', `${path}: ${reason}`, { hint: K6_HINT, cause });
  let [bytes, writtenMs] = [Buffer.alloc(0), 0];
  let read: ReturnType<typeof k6Figures>;
  try {
    const { size, mtimeMs } = statSync(path);
    if (size > MOST_K6_BYTES) throw new Error(`more than ${MOST_K6_BYTES} bytes`);
    bytes = readFileSync(path);
    writtenMs = mtimeMs;
    read = k6Figures(JSON.parse(bytes.toString()));
  } catch (thrown) {
    throw refuse(reasonOf(thrown), thrown);
  }
  if (read === null) throw refuse('no summary of k6');
  const { durationS, passed, version, figures } = read;
  if (durationS === null) throw refuse('neither a duration nor a rate of requests or iterations');
  const startedMs = (read.writtenMs ?? writtenMs) - durationS * 1e3;
  if (!(durationS >= 0 && startedMs >= 0)) throw refuse(`a duration of ${durationS} s`);
  const history = new History(file, 'write');
  try {
    const run = {
      run: `k6-${createHash('sha256').update(`${test}\0`).update(bytes).digest('hex').slice(0, 12)}`,
      test,
      command: 'k6',
      durationS,
      verdict: null,
      figures,
      startedAt: new Date(startedMs).toISOString(),
      result: passed === null ? ('undecided' as const) : passed ? ('passed' as const) : ('failed' as const),
      ...{
        capture: '',
        target: '',
        version: `k6 ${version ?? ''}`.trim(),
        directory: dirname(resolve(path)),
      },
    };
    history.add(run, parseRetainRuns(KEPT_RUNS, 'runs'));
  } finally {
    history.close();
  }
}

/**
 * The directory of the last earlier run of the same test with the verdict PASS.
 * @throws AppError INPUT_INVALID if there is none or its directory is gone
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
