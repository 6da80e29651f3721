import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  failedRun,
  isPointless,
  SEARCH_DIRECTORY,
  statementDocument,
} from '../../analysis/statement/build-document.ts';
import { partName } from '../../analysis/statement/limits.ts';
import { statementView } from '../../analysis/statement/view.ts';
import { ciReportOfStatement, statementTestOf } from '../../analysis/verdict/ci-report.ts';
import { systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { picked } from '../../core/picked.ts';
import type { Logger } from '../../core/ports.ts';
import { formatInstantUs, formatMs } from '../../core/units.ts';
import { explanation } from '../../documents/explanation.ts';
import type { HistoryRun } from '../../documents/history.ts';
import type { StatementDocument, StatementPlan } from '../../documents/statement.ts';
import type { ReplayEnd } from '../../replay/run.ts';
import { STATEMENT_FILE } from '../../storage/capture/directory.ts';
import { History } from '../../storage/history.ts';
import { RUN_DATABASE } from '../../storage/runs/schema.ts';
import { findCapacity } from '../capacity/capacity.ts';
import { encryptionKeyOf, openForReplay } from '../open-capture.ts';
import { VERSION } from '../package.ts';
import type { ReplayReporter } from '../replay/progress.ts';
import { replayCapture, sharedStop } from '../replay/replay.ts';
import type { StopSource } from '../replay/run.ts';
import { explainRun } from '../report.ts';
import { newRunId } from '../run-files.ts';
import { deliverVerdict } from '../verdict/delivery.ts';
import { makeReady, type VerdictRequest } from '../verdict/options.ts';
import { keepDemand } from './demand.ts';
import {
  changedIn,
  digestsOf,
  isOver,
  keptPlan,
  nextDirectory,
  playedIn,
  readDocument,
  readPlan,
  searchedIn,
  signaturesIn,
  writePlan,
  writeStatement,
} from './files.ts';
import type { ExpectedDemand, StatementOptions } from './options.ts';
import { goingOn, planStatement, runOf, searchOf } from './plan.ts';

export interface StatementDeps {
  /** Called before anything is sent. */
  readonly onPlan: (plan: StatementPlan, directory: string | null) => void;
  /** Starts listening for stops, when the statement is planned. */
  readonly listen: () => StopSource;
  readonly reporter: ReplayReporter;
  readonly logger: Logger;
}

/** A plan of a dry run; or a statement, with the error that ended it early. */
export type StatementMade =
  | { readonly kind: 'planned'; readonly plan: StatementPlan }
  | { readonly kind: 'made'; readonly document: StatementDocument; readonly error: AppError | null };

/**
 * Replays what a statement needs, part by part, each as an ordinary run in one directory. A part that has ended there is
 * not repeated. A guard, a stop or a target that is away ends the statement, which then goes on with the same call.
 * @throws AppError before anything is sent, as `planStatement`, `replayCapture` and `findCapacity`
 */
export async function makeStatement(
  capture: string,
  asked: StatementOptions,
  deps: StatementDeps,
): Promise<StatementMade> {
  const { run } = asked.search;
  const opened = openForReplay(capture, encryptionKeyOf(run), run.options.window.recorders);
  const { plan: planned, options } = await planStatement(opened, asked).finally(() => opened.source.close());
  if (run.options.dryRun) {
    deps.onPlan(planned, null);
    return { kind: 'planned', plan: planned };
  }
  makeReady(options.verdict);
  const directory = options.out ?? join('runs', newRunId());
  const kept = keptPlan(directory, planned.settings);
  // What is expected of demand changes nothing that is replayed.
  const plan = withExpected(kept === null ? planned : goingOn(kept, planned), options.expected);
  deps.onPlan(plan, directory);
  writePlan(directory, plan);
  const stop = deps.listen();
  try {
    const error = await new Parts(capture, options, plan, directory, { ...deps, stop }).play();
    const { expected, verdict } = options;
    return {
      kind: 'made',
      document: statementFrom(directory, { expected, verdict, signer: null }, deps.reporter.note),
      error,
    };
  } finally {
    stop.end();
  }
}

function withExpected(plan: StatementPlan, expected: ExpectedDemand): StatementPlan {
  return { ...plan, demand: { ...plan.demand, ...expected } };
}

class Parts {
  readonly #capture: string;
  readonly #options: StatementOptions;
  readonly #plan: StatementPlan;
  readonly #directory: string;
  readonly #deps: StatementDeps & { readonly stop: StopSource };

  constructor(
    capture: string,
    options: StatementOptions,
    plan: StatementPlan,
    directory: string,
    deps: StatementDeps & { readonly stop: StopSource },
  ) {
    this.#capture = capture;
    this.#options = options;
    this.#plan = plan;
    this.#directory = directory;
    this.#deps = deps;
  }

  /** @returns the error that ended the parts early; null if they came to their end or were stopped */
  async play(): Promise<AppError | null> {
    for (const each of this.#plan.parts) {
      if (this.#deps.stop.signal.aborted) return null;
      const ended = await this.#unlessDone(each);
      if (ended.kind !== 'complete') return ended.kind === 'aborted' ? ended.error : null;
    }
    const { searchS } = this.#plan;
    const before = searchedIn(this.#directory);
    if (searchS === null || this.#deps.stop.signal.aborted || (before !== null && isOver(before, searchS)))
      return null;
    const ended = await unlessAborted(async () => {
      await this.#search(searchS);
      return { kind: 'complete' };
    });
    return ended.kind === 'aborted' ? ended.error : null;
  }

  async #unlessDone(each: StatementPlan['parts'][number]): Promise<ReplayEnd> {
    const { reporter } = this.#deps;
    const name = partName(each.part, this.#plan.multiplier);
    const played = playedIn(this.#directory);
    const done = played.some(({ part }) => part === each.part);
    if (done || isPointless(each.part, played)) {
      reporter.note(`${name}: ${done ? 'done before' : 'not replayed, because a lower load has failed'}`);
      return { kind: 'complete' };
    }
    reporter.note(`${name}: ${formatMs(each.lengthS * 1e3)}`);
    // Before anything was replayed, an error is no end of a statement.
    return played.length === 0 ? await this.#replay(each) : await unlessAborted(() => this.#replay(each));
  }

  async #replay(part: StatementPlan['parts'][number]): Promise<ReplayEnd> {
    const out = nextDirectory(this.#directory, part.part);
    const asked = { ...runOf(this.#options, part, this.#plan.ranges), out, ciReport: [], history: null };
    const replayed = await replayCapture(
      this.#capture,
      asked,
      this.#watch(partName(part.part, this.#plan.multiplier)),
    );
    if (replayed.kind === 'planned') throw new Error('a statement is no dry run');
    return replayed.end;
  }

  async #search(budgetS: number): Promise<void> {
    const { reporter } = this.#deps;
    reporter.note(`breaking point: at most ${formatMs(budgetS * 1e3)}`);
    const options = searchOf(this.#options, this.#plan.ranges, budgetS);
    const out = join(this.#directory, SEARCH_DIRECTORY);
    await findCapacity(this.#capture, { ...options, out }, { ...this.#watch('search'), reporter });
  }

  #watch(name: string) {
    const { stop, reporter, logger } = this.#deps;
    const listen = () => sharedStop(stop);
    const progress = (texts: readonly string[]) => reporter.progress([name, ...texts]);
    return { listen, logger, reporter: { ...reporter, note: () => undefined, progress } };
  }
}

/** A target that is gone before a part begins ends it. Of what was replayed there is a statement all the same. */
async function unlessAborted(play: () => Promise<ReplayEnd>): Promise<ReplayEnd> {
  try {
    return await play();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { kind: 'aborted', error };
  }
}

/** How a statement is read that was replayed before. */
export interface StatementReading {
  /** Replaces what was expected before, if it expects anything. */
  readonly expected: ExpectedDemand;
  readonly verdict: VerdictRequest;
  /** Who signs it; null for nobody. */
  readonly signer: string | null;
}

/**
 * Makes the statement of what was replayed in a directory, writes it there and delivers its verdict.
 * @throws AppError INPUT_INVALID for a directory without a statement
 */
export function statementFrom(
  directory: string,
  { expected, verdict, signer }: StatementReading,
  note: ReplayReporter['note'],
): StatementDocument {
  const isExpected = expected.growth !== null || expected.events.length > 0;
  if (isExpected) writePlan(directory, withExpected(readPlan(directory), expected));
  const history = verdict.history?.file ?? null;
  const document = statementOf(directory, history, signer);
  writeStatement(directory, document);
  note(...deliverVerdict(ciReportOfStatement(document, statementView(document)), directory, verdict));
  if (history !== null) keepDemand(history, readPlan(directory));
  return document;
}

function statementOf(directory: string, history: string | null, signer: string | null): StatementDocument {
  const plan = readPlan(directory);
  const played = playedIn(directory);
  const capacity = searchedIn(directory);
  const now = formatInstantUs(systemClock.epochUs());
  const ends = [...played.map(({ document }) => document.endedAt), ...(capacity ? [capacity.endedAt] : [])];
  return statementDocument({
    plan,
    played,
    capacity,
    explanation: explanationOf(directory, failedRun(played, capacity)),
    previous: history === null ? null : lastStatement(history, plan),
    digests: digestsOf(directory, played, capacity),
    signedBy: signer === null ? null : { name: signer, at: now },
    endedAt: ends.sort().at(-1) ?? plan.startedAt,
    directory,
  });
}

/** Why a run below the directory of a statement failed; null if none did. */
function explanationOf(directory: string, run: string | null): StatementDocument['explanation'] {
  if (run === null || !existsSync(join(directory, run, RUN_DATABASE))) return null;
  return { ...explanation.parse(explainRun(join(directory, run))), directory: run };
}

/** Statements of a test among which the last one is searched: those of some years. */
const MOST_STATEMENTS = 100;

/** The last statement of the same test before this one. */
function lastStatement(file: string, plan: StatementPlan): HistoryRun | null {
  const history = new History(file, 'write');
  try {
    const runs = history.runs(statementTestOf(plan), MOST_STATEMENTS);
    return runs.findLast(({ startedAt }) => startedAt < plan.startedAt) ?? null;
  } finally {
    history.close();
  }
}

/** The result of checking a statement. */
export interface StatementCheck {
  readonly document: StatementDocument;
  readonly changed: readonly { readonly file: string; readonly why: string }[];
  /** Signatures of its digests, by file. Reprise does not check them. */
  readonly signatures: readonly string[];
}

/**
 * Reads the files of a statement again: whether each is as it was, and whether the runs still have this result.
 * @throws AppError INPUT_INVALID for a directory without a statement
 */
export function verifyStatement(directory: string): StatementCheck {
  const changed = changedIn(directory);
  const document = readDocument(directory);
  const now = changed.length > 0 ? document : statementOf(directory, null, null);
  // Another version may write the same result in other words.
  const compared = (of: StatementDocument) => [
    picked(of, 'verdict', 'runs', 'breakingPoint', 'production'),
    document.version === VERSION && of.sentence,
  ];
  const isSame = isDeepStrictEqual(compared(now), compared(document));
  const differs = { file: STATEMENT_FILE, why: 'its runs have another result' };
  return {
    document,
    changed: isSame ? changed : [...changed, differs],
    signatures: signaturesIn(directory),
  };
}
