import type { ReplayDocument } from '../../documents/replay.ts';
import { columnsOf, NONE, numberText, type Table } from '../render/table.ts';

const OBJECTIVE = {
  kept: 'kept',
  met_again: 'met again',
  not_met: 'NOT MET',
  unknown: NONE,
} as const;

/** What the autoscaler did after each load step; null where no replicas were seen. */
export function autoscalingTable({ autoscaling }: ReplayDocument): Table | null {
  if (autoscaling == null || autoscaling.steps.length === 0) return null;
  const seconds = (value: number | null) => (value === null ? NONE : `${numberText(value)} s`);
  return {
    title: 'After each load step',
    unit: 'seconds after the step; load in requests/s, counted when they were due',
    source: `ready: ${autoscaling.ready}; desired: ${autoscaling.desired ?? 'not watched'}; no instant is known better than ${numberText(autoscaling.intervalS)} s, the time between two looks`,
    lookFor:
      'the longest of the times: from load to desired it is the autoscaler, from desired to ready the start of a replica, from ready to the objective the queue that has grown meanwhile',
    columns: columnsOf(
      ['step'],
      ['at', 'load', 'desired', 'first ready', 'all ready', 'new address', 'objective', 'after', 'violated'],
    ),
    rows: autoscaling.steps.map((step) => [
      step.direction,
      seconds(step.atS),
      `${numberText(step.offeredBefore)} → ${numberText(step.offeredAfter)}`,
      ...[step.desiredS, step.readyFirstS, step.readyS, step.newAddressS].map(seconds),
      OBJECTIVE[step.objective],
      seconds(step.objectiveMetS),
      step.objective === 'unknown' ? NONE : `${step.violatedS} s`,
    ]),
  };
}

/** Elasticity against the demand curve; null without one. */
export function elasticityTable({ autoscaling }: ReplayDocument): Table | null {
  const figures = autoscaling?.elasticity;
  if (figures == null) return null;
  const percent = (value: number) => `${numberText(value)} %`;
  const { under, over, replicaSeconds } = figures;
  return {
    title: 'Elasticity against the capacity that was measured',
    unit: 'percent, and replica-seconds',
    source: `one replica carries ${numberText(figures.ratePerReplica)} requests/s; windows of ${numberText(figures.windowS)} s, ${numberText(figures.knownS)} s in all (metrics of the SPEC Research Group)`,
    lookFor: 'too few replicas beside violated seconds, too many beside the cost: no single score holds both',
    columns: columnsOf(['figure'], ['too few', 'too many', 'both']),
    rows: [
      [
        'accuracy: replicas off, of those needed',
        percent(under.accuracyPercent),
        percent(over.accuracyPercent),
        NONE,
      ],
      ['timeshare', percent(under.timesharePercent), percent(over.timesharePercent), NONE],
      ['instability: moved otherwise than the load', NONE, NONE, percent(figures.instabilityPercent)],
      ['replica-seconds over a perfect scaler', NONE, numberText(replicaSeconds.overPerfect), NONE],
      [
        'replica-seconds supplied, and needed',
        NONE,
        NONE,
        `${numberText(replicaSeconds.supplied)}, ${numberText(replicaSeconds.needed)}`,
      ],
    ],
  };
}
