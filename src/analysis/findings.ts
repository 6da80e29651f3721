import { formatMs } from '../core/units.ts';
import { IDC_WINDOWS } from './arrival-statistics.ts';
import { nothingPlanned } from './empty-plan.ts';
import type { Fidelity } from './fidelity.ts';
import type { JudgementBounds } from './judgement-bounds.ts';
import { lagBoundNs } from './lag-bound.ts';
import { connectionWait, multiplier } from './offered-load.ts';
import type { OutcomeFigures } from './outcome-counts.ts';
import { isStoppedByFailures, type RunContext } from './run-context.ts';
import { percent } from './share-text.ts';
import { stalled } from './standstills.ts';
import type { StatusMixFigures } from './status-mix.ts';

/** Every reason a judgement can give. */
export const REASON_CODES = [
  'slo_violated',
  'interrupted',
  'nothing_planned',
  'achieved_below',
  'lag_over_bound',
  'sender_busy',
  'cpu_throttled',
  'stalled',
  'arrivals_off_plan',
  'in_flight_cap',
  'shards_missing',
  'shards_apart',
  'too_few_samples',
  'streams_unread',
  'answers_unchecked',
  'coverage_unexplained',
  'multiplier_not_reached',
  'connection_wait',
  'not_comparable',
  'staging_not_representative',
  'violated_by_our_lag',
  'uncalibrated',
  'partly_open',
  'turned_away',
  'unknown',
  'left_out',
  'warmup_short',
] as const;
export type ReasonCode = (typeof REASON_CODES)[number];

/** One reason in words, and what to change. */
export interface Reason {
  readonly code: ReasonCode;
  readonly text: string;
  readonly advice: string;
}

type Check = (context: RunContext, bounds: JudgementBounds) => Reason | null;

const CHECKS: readonly Check[] = [
  interrupted,
  nothingPlanned,
  achieved,
  lag,
  senderBusy,
  throttled,
  stalled,
  arrivals,
  inFlightCap,
  shardsMissing,
  shardsApart,
  coverage,
  multiplier,
  connectionWait,
  comparable,
  representative,
];

/** Every cause on our side, or in the comparison, why a run cannot be judged. Empty for a valid run. */
export function findings(context: RunContext, bounds: JudgementBounds): Reason[] {
  return CHECKS.map((check) => check(context, bounds)).filter((reason) => reason !== null);
}

/** Whether latencies counted from the planned instant may be our own doing. */
export function isOurSideLate(context: RunContext, bounds: JudgementBounds): boolean {
  return (
    lag(context, bounds) !== null || senderBusy(context, bounds) !== null || context.health.throttled === true
  );
}

function interrupted({ interrupted: cause, figures }: RunContext): Reason | null {
  if (cause === null) return null;
  const text = `the schedule was not played to its end (${cause})`;
  if (!isStoppedByFailures(cause)) {
    return { code: 'interrupted', text, advice: 'Let the run finish, or replay a shorter window.' };
  }
  const { sent, failed, stopped } = figures.outcomes;
  return {
    code: 'interrupted',
    text: `${text}: ${failed - stopped} of ${sent} sent requests had failed, most often with ${commonestFailure(figures.outcomes)}`,
    advice: 'Mend what the target answers (see the errors by kind), or replay a smaller multiplier.',
  };
}

/** Of 5xx and errors. What was open at the end of the run is told of only where nothing else failed. */
export function commonestFailure({ statuses, errors }: OutcomeFigures): string {
  const failures = [
    ...Object.entries(statuses).filter(([status]) => Number(status) >= 500),
    ...Object.entries(errors).filter(([error]) => error !== 'stopped'),
  ];
  return failures.sort(([, a], [, b]) => b - a)[0]?.[0] ?? 'no answer by the end of the run';
}

function achieved({ figures, interrupted: cause }: RunContext, bounds: JudgementBounds): Reason | null {
  const { planned, outcomes } = figures;
  const atLeast = cause !== null && !figures.unread.toTheEnd ? 'at least ' : '';
  if (planned === 0 || outcomes.sent / planned >= bounds.achievedShare) return null;
  const wasCutShort = cause !== null && planned - outcomes.sent - outcomes.refused > outcomes.refused;
  return {
    code: 'achieved_below',
    text: `${outcomes.sent} of ${atLeast}${planned} planned requests were sent, under ${percent(bounds.achievedShare)}`,
    advice: wasCutShort
      ? 'The rest was not due yet when the run ended: see what ended it.'
      : figures.fidelity.waitsFor === 'connections' && outcomes.unreached > outcomes.refused
        ? 'The rest waited for its recorded connection until the run was over: see which requests never ended. Give --connections pooled, a longer --drain-deadline, or replay a smaller multiplier.'
        : 'Raise the caps on requests in flight, rate and total, or replay a smaller multiplier.',
  };
}

function lag(context: RunContext, bounds: JudgementBounds): Reason | null {
  const p99 = context.figures.latency.lag.percentile(99);
  const bound = lagBoundNs(context.figures, bounds);
  if (p99 === null || p99 <= bound) return null;
  return {
    code: 'lag_over_bound',
    text: `requests left late: lag p99 ${formatMs(p99 / 1e6)}, over ${formatMs(bound / 1e6)}`,
    advice: LATENESS_ADVICE,
  };
}

const LATENESS_ADVICE = 'Give the generator idle cores of its own, or replay a smaller multiplier.';

function senderBusy({ health }: RunContext, bounds: JudgementBounds): Reason | null {
  if (health.busyShare === null || health.busyShare <= bounds.busyShare) return null;
  return {
    code: 'sender_busy',
    text: `a sender thread was at work ${percent(health.busyShare)} of the time, over ${percent(bounds.busyShare)}`,
    advice: 'Replay from a faster or less loaded machine, or split the load.',
  };
}

function throttled({ health }: RunContext): Reason | null {
  if (health.throttled !== true) return null;
  return {
    code: 'cpu_throttled',
    text: 'the CPU quota of our own container, unit or slice held the generator back',
    advice: 'Raise or remove the CPU limit of what the replay runs in.',
  };
}

function arrivals({ figures }: RunContext, bounds: JudgementBounds): Reason | null {
  const off = offPlan(figures.fidelity, bounds);
  if (off.length === 0) return null;
  return {
    code: 'arrivals_off_plan',
    text: `what was sent does not have the planned burstiness: ${off.join(', ')}`,
    advice: LATENESS_ADVICE,
  };
}

function offPlan(fidelity: Fidelity, bounds: JudgementBounds): string[] {
  const { sent } = fidelity;
  const planned = fidelity.resolved ?? fidelity.planned;
  const pairs: [string, number | null, number | null][] = [
    ['CV', planned.cv, sent.cv],
    ...IDC_WINDOWS.map((s): [string, number | null, number | null] => [
      `IDC ${s} s`,
      planned.idc[s],
      sent.idc[s],
    ]),
  ];
  return pairs.flatMap(([name, plan, real]) => {
    if (plan === null || real === null) return [];
    const difference = Math.abs(real - plan);
    const isOff = difference > bounds.arrivalShare * plan && difference > bounds.arrivalDifference;
    return isOff ? [`${name} ${real.toFixed(2)} for ${plan.toFixed(2)}`] : [];
  });
}

function inFlightCap({ figures }: RunContext): Reason | null {
  const { refused } = figures.outcomes;
  if (refused === 0) return null;
  return {
    code: 'in_flight_cap',
    text: `requests that were due and that our own cap or ceiling refused: ${refused}`,
    advice: 'Raise the cap on requests in flight or the ceiling, or replay a smaller multiplier.',
  };
}

function shardsMissing({ shards }: RunContext): Reason | null {
  if (shards === undefined || shards.missing.length === 0) return null;
  const { missing, count } = shards;
  return {
    code: 'shards_missing',
    text: `${missing.length} of ${count} shards are not among the runs: ${missing.slice(0, 20).join(', ')}${missing.length > 20 ? ' …' : ''}`,
    advice: 'Merge the runs of all shards; where one never came to its end, replay all of them again.',
  };
}

function shardsApart(context: RunContext, bounds: JudgementBounds): Reason | null {
  const spreadUs = context.shards?.startSpreadUs ?? 0;
  if (spreadUs * 1e3 <= lagBoundNs(context.figures, bounds)) return null;
  return {
    code: 'shards_apart',
    text: `the shards began up to ${formatMs(spreadUs / 1e3)} apart, so that together they were not the planned arrivals`,
    advice: 'Give all of them the same --start-at.',
  };
}

function coverage({ coverage: { unexplained } }: RunContext, bounds: JudgementBounds): Reason | null {
  if (unexplained === null || unexplained <= bounds.unexplainedShare) return null;
  return {
    code: 'coverage_unexplained',
    text: `${percent(unexplained)} of the traffic seen while recording is missing from the capture`,
    advice: 'See what was lost with inspect; replay a window without losses, or record again.',
  };
}

function comparable({ figures }: RunContext, bounds: JudgementBounds): Reason | null {
  const { turnedAwayExcess, distance } = figures.statusMix;
  if (turnedAwayExcess > bounds.statusShare) {
    return {
      code: 'not_comparable',
      text: turnedAwayText(figures.statusMix),
      advice:
        'See by which statuses: give the replay credentials, the path and the models that the target serves, and lift rate limits meant for clients.',
    };
  }
  if (distance === null || distance <= bounds.statusShare) return null;
  return {
    code: 'not_comparable',
    text: `${percent(distance)} of the answers have another status than the recorded ones`,
    advice: 'Compare statuses with inspect: the target must serve what production served.',
  };
}

/** What the target did not serve, beside what production did not. */
export function turnedAwayText({ sentTurnedAway, recordedTurnedAway }: StatusMixFigures): string {
  const production = recordedTurnedAway === null ? 'unknown' : percent(recordedTurnedAway);
  return `the target turned away ${percent(sentTurnedAway ?? 0)} of the requests (answers that are no 2xx, below 500), production ${production}`;
}

function representative({ calibration }: RunContext): Reason | null {
  if (calibration?.representative !== false) return null;
  return {
    code: 'staging_not_representative',
    text: `at 1x the target does not answer as was recorded: ${calibration.differences.join('; ')}`,
    advice:
      'Serve the same model from the same kind of machine, without a cache; or widen --calibrate-bounds if that is meant.',
  };
}
