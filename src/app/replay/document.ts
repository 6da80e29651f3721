import { uncheckedAdvice } from '../../analysis/verdict/validity.ts';
import { AppError } from '../../core/errors.ts';
import { CHECK_LEVELS, type CheckLevel, UNCHECKED_TEXTS } from '../../core/run.ts';
import type { ConnectionsDocument } from '../../documents/connections.ts';
import { needsComparison } from '../../documents/metrics/metrics.ts';
import { type Objective, parseObjectives } from '../../documents/metrics/objectives.ts';
import type { CheckDocument, CheckFigures, SessionOrderDocument, WaitsFor } from '../../documents/replay.ts';
import { CheckerThread, type CreateChecker } from '../../replay/check/answer-checks.ts';
import type { ComparerOptions } from '../../replay/check/checker.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import type { SentReplay } from '../../replay/run.ts';
import type { CaptureOverview } from '../../replay/window/capture.ts';
import type { Playback } from '../../replay/window/playback.ts';
import { whyNotComparable } from '../../replay/window/probe.ts';
import type { ReplayWindow } from '../../replay/window/window.ts';

/**
 * The parameters of the checker's thread. They have the key's file name, because the key itself is not sent between
 * threads.
 */
export interface CheckerSetup {
  readonly captureDirectory: string;
  readonly encryptionKeyFile: string | null;
  readonly comparing: ComparerOptions;
}

/** Whether an objective on mismatches implies comparing answers. Invalid objectives are reported elsewhere. */
export function isCheckImplied(slo: readonly string[], monitored: ReadonlySet<string>): boolean {
  try {
    return parseObjectives(slo, monitored).some(needsComparison);
  } catch (thrown) {
    if (thrown instanceof AppError) return false;
    throw thrown;
  }
}

/**
 * Checks that an objective on mismatches can be judged, before anything is sent.
 * @throws AppError INPUT_INVALID if no recorded answer can be compared
 */
export function requireComparableAnswers(
  {
    options,
    overview,
    window,
  }: {
    readonly options: Pick<ReplayOptions, 'check'>;
    readonly overview: Pick<CaptureOverview, 'name'>;
    readonly window: Pick<ReplayWindow, 'parts'>;
  },
  objectives: readonly Objective[],
  source: Playback,
): void {
  const asked = objectives.find(needsComparison);
  if (asked === undefined || options.check === null || options.check.level === 'status') return;
  const why = whyNotComparable(source, window.parts);
  if (why === null) return;
  throw new AppError(
    'INPUT_INVALID',
    `${overview.name} cannot decide ${asked.expression}: ${UNCHECKED_TEXTS[why]}`,
    { hint: `${uncheckedAdvice(why)} A scenario takes it by: --set check=status.` },
  );
}

/** Creates the thread that compares the answers of a run. @param entry the file of the thread */
export function checkerOf(
  entry: URL,
  options: ReplayOptions,
  captureDirectory: string,
  encryptionKeyFile: string | null,
): CreateChecker {
  return (listener) => {
    const { check, pinOutputLength } = options;
    if (check === null) throw new Error('nothing asks for answers to be compared');
    // A pinned answer ends at the pinned length, so its finish reason may differ from the recorded one.
    const comparing = { ...check, finishes: pinOutputLength === null };
    const setup: CheckerSetup = { captureDirectory, encryptionKeyFile, comparing };
    return new CheckerThread(entry, setup, listener);
  };
}

/** The comparison figures of a run with their settings; null if answers were not compared. */
export function checkDocument(
  options: { readonly level: CheckLevel; readonly tolerance: object } | null,
  figures: CheckFigures | null,
  ignored: CheckDocument['ignored'] | null,
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

/** The comparison of merged shards. If their levels differ, the weakest one counts. */
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

export function connectionsDocument(
  { connections }: Pick<ReplayOptions, 'connections'>,
  { health, recordedConnections }: SentReplay,
): ConnectionsDocument {
  return { policy: connections, ...health.connections, recorded: recordedConnections };
}

export function sessionOrderDocument(
  { sessionOrder }: Pick<ReplayOptions, 'sessionOrder'>,
  { health, sessionOrder: counts, links }: SentReplay,
): SessionOrderDocument {
  const values = links && health.live && { ...links, ...health.live };
  return { policy: sessionOrder, ...health.followUps, counts, values };
}

/**
 * What may delay requests after their planned instants. The two options cannot be combined.
 * @param waitsForValues whether requests need values of answers
 */
export function waitsForOf(
  { sessionOrder, connections }: Pick<ReplayOptions, 'sessionOrder' | 'connections'>,
  waitsForValues = false,
): WaitsFor | null {
  if (sessionOrder !== 'open') return 'sessions';
  if (connections === 'recorded') return 'connections';
  return waitsForValues ? 'values' : null;
}
