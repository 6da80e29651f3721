import type { Logger } from '../../core/ports.ts';
import type { Send } from '../../core/run.ts';
import type { PlanFacts, ReplayPlanDocument } from '../../documents/replay-plan.ts';
import { encryptionKeyOf, type OpenedCapture, openForReplay } from '../open-capture.ts';
import { makeReady } from '../verdict/options.ts';
import type { RunOptions } from './options.ts';
import { beyondSenders, choiceFacts, chooseReplay, requireSelected } from './plan.ts';
import type { PlannedReplay } from './planned-replay.ts';
import type { ReplayRunParts, ReplayRunResult, StopSource } from './run.ts';

/** Who watches a replay, and what stops it. */
export interface ReplayWatch extends Omit<ReplayRunParts, keyof PlannedReplay> {
  /** Called before the roll-ups of a long capture are summed, so that the user sees progress immediately. */
  readonly onChoice?: (facts: Pick<PlanFacts, 'capture' | 'target' | 'window' | 'load'>) => Promise<void>;
  /** Called before any exchange is read or sent. */
  readonly onPlan?: (planned: PlannedReplay) => Promise<void>;
}

/** A stop that several runs have in common: it ends after the last of them. */
export function sharedStop(stop: StopSource): StopSource {
  return {
    signal: stop.signal,
    get received() {
      return stop.received;
    },
    end: () => undefined,
  };
}

/** A plan that was counted; or a run that was kept, even if a guard or a signal ended it. */
export type Replayed =
  | { readonly kind: 'planned'; readonly document: ReplayPlanDocument }
  | ({ readonly kind: 'sent' } & ReplayRunResult);

/**
 * Replays a window of the capture in a directory and keeps the run; a dry run counts the plan and sends nothing.
 * @throws AppError the errors of opening a capture, of `planOpened` and of `carryOut`
 */
export async function replayCapture(
  directory: string,
  asked: RunOptions,
  watch: ReplayWatch,
): Promise<Replayed> {
  // If this run fails from here on, the verdict of an earlier run must not remain.
  if (!asked.options.dryRun) makeReady(asked);
  const opened = openForReplay(directory, encryptionKeyOf(asked), asked.options.window.recorders);
  try {
    const planned = await planOpened(opened, asked, watch.onChoice);
    const tooFast = planned.target === null ? null : beyondSenders(planned.plan, planned.source);
    if (tooFast !== null) throw tooFast;
    await watch.onPlan?.(planned);
    return await carryOut(planned, watch);
  } finally {
    opened.source.close();
  }
}

/**
 * Chooses a window of an opened capture and plans its replay. Sends nothing.
 * @throws AppError CAPTURE_EMPTY, OPTION_INVALID; INPUT_INVALID for an objective that nothing recorded can decide
 */
export async function planOpened(
  opened: OpenedCapture,
  asked: RunOptions,
  onChoice?: ReplayWatch['onChoice'],
): Promise<PlannedReplay> {
  const choice = chooseReplay(opened, asked.options);
  requireSelected(opened, choice);
  await onChoice?.(choiceFacts(choice));
  // What plans and judges is a quarter of the program; the user sees what was chosen before it is loaded.
  const { planReplay } = await import('./planned-replay.ts');
  const { requireComparableAnswers } = await import('./document.ts');
  const planned = planReplay(opened, choice, asked);
  requireComparableAnswers(planned.plan, planned.objectives, planned.source);
  return planned;
}

/**
 * Counts the plan of a dry run, or sends it.
 * @throws AppError before anything is written, or if a guard ended the calibration
 */
export async function carryOut(
  planned: PlannedReplay,
  watch: Omit<ReplayRunParts, keyof PlannedReplay>,
): Promise<Replayed> {
  if (planned.target === null) {
    const { countPlan } = await import('./planned-replay.ts');
    return { kind: 'planned', document: await countPlan(planned) };
  }
  // The modules that send are half of the program, and a plan needs none of them.
  const { runReplay } = await import('./run.ts');
  return { kind: 'sent', ...(await runReplay({ ...planned, ...watch, target: planned.target })) };
}

/** @returns the requests of a plan that were sent and ended; nothing of them is kept */
export async function sendSome(planned: PlannedReplay, logger: Logger, signal: AbortSignal): Promise<Send[]> {
  const { target, plan, source } = planned;
  if (target === null) return [];
  const { replayMaker } = await import('./run.ts');
  const replay = replayMaker('probe', { ...planned, target, logger })(plan, source);
  await replay.check();
  const sends: Send[] = [];
  await replay.run(
    {
      recorded: () => undefined,
      planned: () => undefined,
      ended: (ended) => {
        sends.push(...ended);
      },
    },
    signal,
  );
  return sends.filter(({ actualOffsetNs, error }) => actualOffsetNs !== null && error !== 'stopped');
}
