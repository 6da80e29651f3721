import { FIRST_SERVER_ERROR } from '../../core/exchange.ts';
import { hasFailed, isTurnedAway, type Send } from '../../core/run.ts';
import { holds, type Objective } from '../../documents/metrics/objectives.ts';
import { isRefusal, refusalsIn, type SendCategory, type StatusMixFigures } from '../run/outcomes.ts';
import { lowerShare, samplesNeeded, type WindowShare } from '../stats/percentiles.ts';
import { statusAdvice } from '../verdict/advice.ts';
import {
  answersIn,
  EVERYTHING,
  type Measure,
  marginOf,
  type Observable,
  ratio,
  type Scope,
} from './measure.ts';
import { isOfSent, isRejected } from './share-windows.ts';

/** What differs between metrics that are shares of requests or answers. */
interface ShareSource {
  /** Null if nothing is known. */
  count(figures: Observable, scope: Scope): number | null;
  whole(figures: Observable, scope: Scope): number;
  /** Absent if its requests count as independent. */
  windows?(figures: Observable): WindowShare;
}

/** Whether an objective is an upper limit of a share. A limit of 0 can never be proved. */
function isUpperLimit({ aggregation, limit, operator }: Objective): boolean {
  return aggregation.kind === 'rate' && operator.startsWith('<') && limit > 0;
}

/**
 * Before the end of a run, too few failures were seen to know whether they come together: a run without one may only
 * have missed the next restart. So an early PASS assumes that they come in this number.
 */
const CLUMP = 15;

/**
 * Bounds are those of Clopper and Pearson for the independent samples of the requests: their number, divided by the
 * design effect of windows. A run without a failure shows no effect; only early looks assume one.
 */
function shareMeasure<Extra extends Partial<Measure>>(source: ShareSource, extra: Extra): Measure & Extra {
  const observe: Measure['observe'] = ({ aggregation }, figures, scope) => {
    const count = source.count(figures, scope);
    if (count === null || aggregation.kind === 'count') return count;
    return ratio(count, source.whole(figures, scope));
  };
  const worth = (figures: Observable, confidence: number) => {
    const all = source.whole(figures, EVERYTHING);
    return source.windows?.(figures).independentSamples(confidence, all) ?? all;
  };
  return {
    observe,
    samples: (_, figures) => answersIn(figures),
    floor: () => 1,
    floorOfWindow: ({ aggregation, limit }) =>
      aggregation.kind === 'rate' && limit > 0 ? Math.ceil(1 / limit) : 1,
    provenPercent: (objective) => (isUpperLimit(objective) ? 100 * (1 - objective.limit) : null),
    // A limit that nobody set is only compared with the observed share. So are mismatches: inputs do not change.
    margin: (objective, figures, confidence, look) => {
      const isObserved = look === 'only' && (objective.isImplied === true || source.windows === undefined);
      if (isObserved || !isUpperLimit(objective)) return null;
      const share = observe(objective, figures, EVERYTHING) ?? 0;
      const all = source.whole(figures, EVERYTHING);
      const assumed = look === 'early' && objective.isImplied !== true ? Math.floor(all / CLUMP) : all;
      const known = Math.min(assumed, worth(figures, confidence));
      const samples = samplesNeeded(100 * (1 - objective.limit), confidence, share);
      const upper = 1 - lowerShare(1 - share, confidence, known);
      return marginOf(objective, confidence, upper, { samples, known });
    },
    best: (objective, figures, confidence) => {
      if (!isUpperLimit(objective)) return null;
      const share = observe(objective, figures, EVERYTHING) ?? 0;
      return lowerShare(share, confidence, worth(figures, confidence));
    },
    ...extra,
  };
}

/** Cancelled requests without a status may have failed. */
function unknownIn({ outcomes }: Observable, { cancelled }: Scope): number {
  return cancelled === 'worst' ? outcomes.leftUnanswered : 0;
}

function allowedShare({ aggregation, limit }: Objective): number | null {
  return aggregation.kind === 'rate' ? limit : null;
}

export const ERRORS = shareMeasure(
  {
    count: (figures, scope) => figures.unanswered.failed + unknownIn(figures, scope),
    whole: (figures, scope) => figures.unanswered.sent + unknownIn(figures, scope),
    windows: ({ shares }) => shares.errors,
  },
  {
    allowedShare,
    isBroken: (_: Objective, send: Send) => hasFailed(send),
    isCounted: (_: Objective, __: Send, outcome: SendCategory) =>
      isOfSent(outcome) ? outcome === 'failed' : null,
    isRecordedIn: (status: number) => status >= FIRST_SERVER_ERROR,
    inRecording: ({ aggregation }: Objective, { recordedFailed, recordedKnown }: StatusMixFigures) =>
      aggregation.kind === 'rate' ? ratio(recordedFailed, recordedKnown) : null,
  },
);

export const REJECTED = shareMeasure(
  {
    count: ({ outcomes }) => refusalsIn(outcomes.statuses),
    whole: ({ unanswered }) => unanswered.sent,
    windows: ({ shares }) => shares.rejected,
  },
  {
    allowedShare,
    isBroken: (_: Objective, { status }: Send) => status !== null && isTurnedAway(status),
    isCounted: (_: Objective, send: Send, outcome: SendCategory) =>
      isOfSent(outcome) ? isRejected(send) : null,
    isRecordedIn: isRefusal,
    advice: statusAdvice('429'),
  },
);

/** Null without answers, because then nothing is known. `answers_unchecked` reports too few of them. */
export const MISMATCH = shareMeasure(
  {
    count: ({ check }) => (check == null || check.checked === 0 ? null : check.mismatched),
    whole: ({ check }) => check?.checked ?? 0,
  },
  {
    samples: () => null,
    advice: 'Look both answers up by their ids: their rows in table send of run.sqlite have a check_result.',
  },
);

/**
 * Whether an objective on mismatches is violated even if all answers that could not be compared are counted as equal.
 */
export function isBrokenByChecked(
  objective: Objective,
  { check = null }: Pick<Observable, 'check'>,
): boolean {
  if (check === null || check.answers === 0) return false;
  const { mismatched, answers } = check;
  return !holds(objective.aggregation.kind === 'count' ? mismatched : mismatched / answers, objective);
}
