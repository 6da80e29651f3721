import { replayText } from '../analysis/replay-text.ts';
import { systemClock } from '../core/clock.ts';
import type { StartEvent } from '../documents/events.ts';
import { scalingCountLines } from '../replay/scaling/description.ts';
import { timeShiftCountLines } from '../replay/time-shift.ts';
import { removeOlderRuns } from '../storage/run-retention.ts';
import { requestsLeft } from './lead-in.ts';
import { answerLines } from './replay-answers.ts';
import { connectionLines } from './replay-connections.ts';
import { planLines, planTitle } from './replay-plan.ts';
import type { ReplayRunParts, ReplayRunResult } from './replay-run.ts';
import { askedMultiplier } from './replay-scaling.ts';
import { sessionOrderCountLines } from './replay-session-order.ts';
import { playedShardLines } from './replay-shard.ts';
import { playedLines, unfilteredLines } from './replay-windows.ts';

/** What is known of a run before anything is sent. */
export function startFacts(
  run: string,
  directory: string,
  parts: ReplayRunParts,
): Omit<StartEvent, 'event' | 'schemaVersion' | 'at'> {
  const { plan, target, warmup } = parts;
  const { options, forecast, overview, window } = plan;
  return {
    run,
    directory,
    capture: overview.name,
    target: target.url,
    multiplier: askedMultiplier(plan),
    scaling: options.scaling,
    plannedRequests: Math.min(
      forecast.plannedExchanges,
      requestsLeft(plan, parts) ?? Number.POSITIVE_INFINITY,
    ),
    plannedS: window.plannedSpanNs / 1e9,
    warmupS: (warmup?.spanNs ?? 0) / 1e9,
    calibrates: options.calibrateMs !== null,
  };
}

/** What the reader should know before anything is sent. */
export function openingLines(run: string, directory: string, parts: ReplayRunParts): string[] {
  const { plan } = parts;
  return [planTitle(plan), ...planLines(plan, parts), `Run ${run}, kept in ${directory}`];
}

/** The document of a run that is over, for people. */
export function summaryLines(
  { document, run, directory, finished: { figures, outcome, shard } }: ReplayRunResult,
  { plan, source }: Pick<ReplayRunParts, 'plan' | 'source'>,
): string[] {
  return [
    ...replayText(document),
    ...unfilteredLines(figures.fidelity),
    ...playedLines(plan.window, source),
    ...scalingCountLines(outcome.scaling),
    ...sessionOrderCountLines(outcome),
    ...answerLines(outcome),
    ...playedShardLines(shard),
    ...connectionLines(plan.options, outcome),
    ...timeShiftCountLines(outcome.timeShift),
    '',
    `Run ${run}: ${directory}`,
  ];
}

/** Removes older runs beside the one that was just sealed, and says which. */
export function retainRuns(directory: string, { plan, reporter, logger }: ReplayRunParts): void {
  const kept = plan.options.retainRuns;
  if (kept === null) return;
  const { removed, failed } = removeOlderRuns(directory, kept, systemClock.epochUs());
  if (removed.length > 0) reporter.note(`Older runs removed: ${removed.length}`);
  for (const { directory: run, reason } of failed) {
    logger.warn({ run, reason }, 'an older run could not be removed');
  }
}
