import { countOf } from '../core/units.ts';
import type { Reason } from './findings.ts';
import type { RunContext } from './run-context.ts';

/** Of a shard that is a note: where others play the whole plan, its part was played. */
export function nothingPlanned(context: RunContext): Reason | null {
  if (context.figures.planned > 0 || context.interrupted !== null || context.plannedElsewhere > 0)
    return null;
  return {
    code: 'nothing_planned',
    text: 'no request was planned, so none was sent',
    advice:
      'See what was left out (skipped, unreplayable, and thinned in scalingPlan.counts): ask for a larger --target-share or multiplier, a longer window, or another --seed.',
  };
}

/** It has nothing to judge, and nothing that speaks against the runs of the others. */
export function emptyShard({ figures, plannedElsewhere }: RunContext): Reason[] {
  if (figures.planned > 0 || plannedElsewhere === 0) return [];
  return [
    {
      code: 'nothing_planned',
      text: `this shard had nothing to send: others play all of the plan, ${countOf(plannedElsewhere, 'request')}`,
      advice: 'Merge it with them: reprise merge judges the whole.',
    },
  ];
}
