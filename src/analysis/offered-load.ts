import { formatMs, formatMultiplier } from '../core/units.ts';
import { connectionWaitsOf } from './connection-waits.ts';
import { nothingPlanned } from './empty-plan.ts';
import type { Reason } from './findings.ts';
import type { JudgementBounds } from './judgement-bounds.ts';
import { planShort, reachedText } from './plan-multiplier.ts';
import type { RunContext } from './run-context.ts';
import { percent } from './share-text.ts';
import { stalled } from './standstills.ts';

/** What came due of what was asked for. */
export function multiplier(context: RunContext, bounds: JudgementBounds): Reason | null {
  if (nothingPlanned(context) !== null) return null;
  const short = planShort(context, bounds);
  const { waitsFor } = context.figures.fidelity;
  if (short === null || waitsFor === null) return short;
  // What had not come due when the run was stopped says nothing of how its sessions went.
  if (context.interrupted !== null) return null;
  // What comes due follows the answers, and those follow our sends.
  const ours = stalled(context, bounds) === null ? '' : STOOD_STILL;
  return {
    code: short.code,
    text: `what came due in time is ${reachedText(context)}, not ${formatMultiplier(context.multiplier)}`,
    advice: `${ours}${DUE_SHORT[waitsFor]}`,
  };
}

const STOOD_STILL =
  'We stood still ourselves, which put off what was to follow: mend that first (see stalled). If it stays as it is: ';

/** Why too little came due, and the way out. */
const DUE_SHORT = {
  sessions:
    'The target slowed its sessions down, or requests are missing: see sessionOrder, skipped and coverage. Replay a smaller multiplier, or a window that is long beside its sessions.',
  connections:
    'The target kept recorded connections busy beyond the plan, or requests are missing: see connectionWaits, skipped and coverage. Give --connections pooled, which sends on time whatever the target does, or replay a smaller multiplier.',
} as const;

/** Whether too many requests left too late for want of their recorded connection, or never. */
export function connectionWait({ figures, interrupted }: RunContext, bounds: JudgementBounds): Reason | null {
  const waits = connectionWaitsOf(figures, bounds);
  if (waits === null) return null;
  const { connectionWait: waited, lag } = figures.latency;
  // What a run that was stopped had not come to waited for nothing.
  const unsent = interrupted === null ? figures.outcomes.unreached : 0;
  const [late, all] = [waits.late + unsent, lag.count + unsent];
  if (late <= bounds.connectionWaitShare * all) return null;
  const [p50, p99] = [50, 99].map((each) => formatMs((waited.percentile(each) ?? 0) / 1e6));
  const never = unsent === 0 ? '' : `, ${unsent} of them never,`;
  return {
    code: 'connection_wait',
    text: `${late} of ${all} requests (${percent(late / all)}) left over ${formatMs(waits.boundMs)} late${never} because their recorded connection was not free (wait p50 ${p50}, p99 ${p99}, max ${formatMs((waited.max ?? 0) / 1e6)}): the target was not given the planned load`,
    advice:
      'The target answers more slowly than was recorded, or the multiplier leaves connections too little time. Give --connections pooled, which sends on time whatever the target does, or replay a smaller multiplier.',
  };
}
