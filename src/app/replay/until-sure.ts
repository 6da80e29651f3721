import type { RunFigures, RunStatistics } from '../../analysis/run/run-statistics.ts';
import { type Reason, reason } from '../../analysis/verdict/reasons.ts';
import { boundsOfLooks, Looks, needsOf } from '../../analysis/verdict/until-sure.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import type { UntilSureDocument } from '../../documents/parts.ts';
import type { JudgementBounds } from '../../documents/replay.ts';
import type { Replay, ReplayListener, SentReplay } from '../../replay/run.ts';
import { expectedRequests, type Prelude, type ReplayPlan, statedBounds } from './plan.ts';

function expectedOf(plan: ReplayPlan, prelude: Prelude) {
  const requests = expectedRequests(plan, prelude);
  const share = requests / Math.max(1, plan.forecast.plannedExchanges);
  return { requests, durationNs: plan.window.plannedSpanNs * share };
}

/** The looks at a run; null if it is only judged at its end. */
export function looksOf(plan: ReplayPlan, prelude: Prelude, objectives: readonly Objective[]): Looks | null {
  const { untilSure, confidence } = plan.options;
  if (!untilSure || confidence === null) return null;
  return new Looks(objectives, expectedOf(plan, prelude), confidence);
}

/** The bounds of the judgement: the stated ones, and those that result from the looks. */
export function boundsOfRun(
  { options }: Pick<ReplayPlan, 'options'>,
  looks: Looks | null,
): Partial<JudgementBounds> {
  return { ...statedBounds(options), ...(looks !== null && boundsOfLooks(looks.plan)) };
}

/** The answers that the objectives need. */
export function needsOfRun(
  plan: ReplayPlan,
  prelude: Prelude,
  objectives: readonly Objective[],
  looks: Looks | null,
): UntilSureDocument['needs'] {
  return looks?.plan.needs ?? needsOf(objectives, expectedOf(plan, prelude), null);
}

/** The parts of a run that looks need. */
interface LookedAt {
  readonly statistics: Pick<RunStatistics, 'figuresSoFar'>;
  readonly replay: Pick<Replay, 'position' | 'endPlan'>;
  readonly warmupNs: number;
}

/** An observer that takes a look when one is due, and ends the plan when every objective is decided. */
export function lookingOn(
  looks: Looks | null,
  { statistics, replay, warmupNs }: LookedAt,
): Pick<ReplayListener, 'planned' | 'ended'> | null {
  if (looks === null) return null;
  return {
    planned: () => undefined,
    ended: () => {
      const { elapsedNs, outstanding } = replay.position();
      if (looks.take(elapsedNs - warmupNs, outstanding, () => statistics.figuresSoFar())) replay.endPlan();
    },
  };
}

/** The planned length of the judged part, known at the end of the run. */
export function spanNsOf(
  { window }: Pick<ReplayPlan, 'window'>,
  { endedEarly }: Pick<SentReplay, 'endedEarly'>,
  { plannedSpanNs }: Pick<RunFigures, 'plannedSpanNs'>,
): number {
  return endedEarly ? plannedSpanNs : window.plannedSpanNs;
}

/** The note about looks, for the reader of a verdict. */
export function looksNotes(document: UntilSureDocument | null): Reason[] {
  if (document === null) return [];
  const { looks, looksAtS, endedEarly, confidenceEach } = document;
  // The judgement at the end counts as a look.
  const taken = looks.length + (endedEarly === true ? 0 : 1);
  const ended = endedEarly === true ? looks.at(-1) : undefined;
  return [
    reason('until_sure', {
      looks: taken,
      planned: looksAtS.length,
      confidence: confidenceEach,
      endedAtMs: ended === undefined ? null : ended.atS * 1e3,
      plannedMs: (looksAtS.at(-1) ?? 0) * 1e3,
    }),
  ];
}
