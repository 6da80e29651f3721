import { uncheckedAdvice } from '../../analysis/verdict/validity.ts';
import { AppError } from '../../core/errors.ts';
import { CHECK_LEVELS, type CheckLevel, UNCHECKED_TEXTS } from '../../core/run.ts';
import { countLines, linesOf } from '../../core/text.ts';
import { countOf, formatMs } from '../../core/units.ts';
import { needsComparison } from '../../documents/metrics/metrics.ts';
import { parseSlo, type Threshold } from '../../documents/metrics/objectives.ts';
import type { CheckDocument, CheckFigures, ConnectionsDocument, WaitsFor } from '../../documents/replay.ts';
import { CheckerThread, type CreateChecker } from '../../replay/check/answer-checks.ts';
import type { ComparerOptions } from '../../replay/check/checker.ts';
import type { ConnectionUse } from '../../replay/engine/health.ts';
import type { ReplayOptions } from '../../replay/options/replay-options.ts';
import type { ReplayOutcome } from '../../replay/run.ts';
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
    return parseSlo(slo, monitored).some(needsComparison);
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
  thresholds: readonly Threshold[],
  source: Playback,
): void {
  const asked = thresholds.find(needsComparison);
  if (asked === undefined || options.check === null || options.check.level === 'status') return;
  const why = whyNotComparable(source, window.parts);
  if (why === null) return;
  throw new AppError(
    'INPUT_INVALID',
    `${overview.name} cannot decide ${asked.expression}: ${UNCHECKED_TEXTS[why]}`,
    { hint: `${uncheckedAdvice(why)} A scenario takes it by: --set compare-responses=status.` },
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

/** Lines about changed requests and recorded cancels; empty if nothing was requested. */
export function answerLines({ changes, untimedCancels }: ReplayOutcome): string[] {
  const { pinOutputLength, pinned, unpinned, requestUsage, usageRequested } = changes;
  return linesOf(
    untimedCancels > 0 &&
      `  ${untimedCancels} recorded clients left no sign of when: their answers were waited for`,
    pinOutputLength !== null &&
      `  output length pinned (${pinOutputLength}): ${pinned}; not pinned: ${unpinned}`,
    requestUsage && `  streams asked for their counts of tokens by us: ${usageRequested}`,
  );
}

export function connectionsDocument(
  { connections }: Pick<ReplayOptions, 'connections'>,
  { health, recordedConnections }: ReplayOutcome,
): ConnectionsDocument {
  return { policy: connections, ...health.connections, recorded: recordedConnections };
}

/** What may delay requests after their planned instants. The two options cannot be combined. */
export function waitsForOf({
  sessionOrder,
  connections,
}: Pick<ReplayOptions, 'sessionOrder' | 'connections'>): WaitsFor | null {
  if (sessionOrder !== 'open') return 'sessions';
  return connections === 'recorded' ? 'connections' : null;
}

export function connectionLines(
  options: Pick<ReplayOptions, 'connections'>,
  outcome: ReplayOutcome,
): string[] {
  const { policy, recorded, ...sent } = connectionsDocument(options, outcome);
  const each = ({ mean, max }: ConnectionUse['requestsPerConnection']) =>
    `${mean.toFixed(1)} requests each, at most ${max}`;
  const addresses = sent.byAddress.map(
    ({ address, connections, requests }) =>
      `  ${address}: ${countOf(requests, 'request')} on ${countOf(connections, 'connection')}`,
  );
  const connect = `set up in ${formatMs(sent.connect.p50Ns / 1e6)} (p99 ${formatMs(sent.connect.p99Ns / 1e6)})`;
  return linesOf(
    '',
    `Connections (${policy}): ${sent.opened} opened, ${sent.failed} failed, ${sent.used} used, ${each(sent.requestsPerConnection)}, ${connect}`,
    recorded.connections > 0 &&
      `  recorded: ${recorded.connections}, ${each(recorded.requestsPerConnection)}`,
    addresses.length > 1 && addresses,
  );
}

/** Lines before the start about the session order: what it keeps and what it changes. */
export function sessionOrderLines(
  { sessionOrder, scaling }: Pick<ReplayOptions, 'sessionOrder' | 'scaling'>,
  { sessionKeys }: Pick<CaptureOverview, 'sessionKeys'>,
): string[] {
  if (sessionOrder === 'open') return [];
  const think =
    scaling === 'compress' ? 'the recorded think time over the multiplier' : 'the recorded think time';
  return linesOf(
    `  sessions partly open: a follow-up is due when the one before it is over, plus ${think};`,
    '    keeps think times and that a session waits for its answers',
    '    changes arrivals, which follow the target: a slower one is offered less, so this is no capacity for an open load',
    sessionKeys.length === 0 &&
      '    no recorder of this capture had a session key: without sessions it is the same as open',
  );
}

/** Lines about the results of the session order. */
export function sessionOrderCountLines(outcome: Pick<ReplayOutcome, 'health' | 'sessionOrder'>): string[] {
  const { sessionOrder: counts, health } = outcome;
  if (counts === null) return [];
  const { heldBack, notHeld } = health.followUps;
  return [
    '',
    `Sessions, partly open: ${countOf(counts.sessions, 'session')}, ${countOf(counts.followUps, 'follow-up')}`,
    ...countLines([
      [counts.overlapped, 'as far behind the one before as recorded: they overlapped'],
      [counts.unknownEnds, 'likewise: the recording does not say when the one before was over'],
      [counts.forgotten, 'sessions forgotten: more spoke at once than are remembered'],
      [heldBack, 'sent later than their session had earned: beyond what is read ahead'],
      [notHeld, 'refused: too many waited already'],
    ]),
  ];
}
