import { parseSlo } from '../../analysis/slo.ts';
import { AppError } from '../../core/errors.ts';
import { CHECK_LEVELS, type CheckLevel } from '../../core/run.ts';
import type { CheckDocument, CheckFigures } from '../../documents/replay.ts';
import type { ArenaSetup } from '../../replay/check/answer-arena.ts';
import type { IgnoredPlaces } from '../../replay/check/answer-checks.ts';
import { CheckerThread, type CreateChecker } from '../../replay/check/checker-thread.ts';
import type { ComparerOptions } from '../../replay/check/comparer.ts';
import type { ReplayOptions } from '../../replay/options.ts';

/** What the checker's thread is born with. The key is named, not read: it does not travel between threads. */
export interface CheckerSetup {
  readonly captureDirectory: string;
  readonly encryptionKeyFile: string | null;
  readonly comparing: ComparerOptions;
  /** Where senders keep answers. */
  readonly arena: ArenaSetup;
}

/** An objective on mismatches asks for the comparing. What is wrong with objectives is said by who resolves them. */
export function isCheckImplied(slo: readonly string[]): boolean {
  try {
    return parseSlo(slo).some(({ metric }) => metric === 'mismatch');
  } catch (thrown) {
    if (thrown instanceof AppError) return false;
    throw thrown;
  }
}

/** Begins the thread that compares the answers of a run. @param entry its file */
export function checkerOf(
  entry: URL,
  options: ReplayOptions,
  captureDirectory: string,
  encryptionKeyFile: string | null,
): CreateChecker {
  return (listener, arena) => {
    const { check, pinOutputLength } = options;
    if (check === null) throw new Error('nothing asks for answers to be compared');
    // A pinned answer ends where it was told to, whatever ended the recorded one.
    const comparing = { ...check, finishes: pinOutputLength === null };
    const setup: CheckerSetup = { captureDirectory, encryptionKeyFile, comparing, arena };
    return new CheckerThread(entry, setup, listener);
  };
}

/** The figures of a run with how they were come by; null where answers were not compared. */
export function checkDocument(
  options: { readonly level: CheckLevel; readonly tolerance: object } | null,
  figures: CheckFigures | null,
  ignored: IgnoredPlaces | null,
): CheckDocument | null {
  if (options === null || figures === null || ignored === null) return null;
  return {
    level: options.level,
    ...figures,
    rate: figures.checked === 0 ? null : figures.mismatched / figures.checked,
    tolerance: { ...options.tolerance },
    ignored,
  };
}

/** Of shards: the least that all of them did. */
export function mergedCheck(
  documents: readonly { readonly check?: CheckDocument | null }[],
  figures: CheckFigures | null,
): CheckDocument | null {
  const checks = documents.flatMap(({ check }) => (check == null ? [] : [check]));
  const [first] = checks;
  if (first === undefined || figures === null) return null;
  const level = CHECK_LEVELS.find((each) => checks.some((check) => check.level === each)) ?? first.level;
  const byProtocol = Object.assign({}, ...checks.map(({ ignored }) => ignored.byProtocol));
  const ignored = { asked: [...new Set(checks.flatMap(({ ignored }) => ignored.asked))], byProtocol };
  return checkDocument({ level, tolerance: first.tolerance }, figures, ignored);
}
