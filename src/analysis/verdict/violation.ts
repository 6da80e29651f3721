import { countOf, formatMs, percent } from '../../core/units.ts';
import { type Objective, unitOf } from '../../documents/metrics/objectives.ts';
import { shownBy } from '../../documents/metrics/slices.ts';
import { measureOf } from '../metrics/index.ts';
import {
  capText,
  type Failures,
  failureAdvice,
  failuresText,
  type RefusingCap,
  raiseAdvice,
  timeAdvice,
} from './advice.ts';

/** An objective and its observed value. */
export interface Observed {
  readonly objective: Objective;
  readonly observed: number | null;
}

/** An objective that the target violates. */
export interface Violation extends Observed {
  /** Null or absent if failures are not the cause. */
  readonly failures?: Failures | null;
  /** The value that a violated time was judged by: from the actual sends, without pauses of the generator. */
  readonly fromSends?: number | null;
  /** Requests that the replay never sent. They count as unanswered. */
  readonly unsent?: number;
  /** Those that our own limits refused. */
  readonly refusals?: Refusals | null;
}

/** Requests that our own limits refused, and that an objective counts as unanswered. */
interface Refusals {
  readonly refused: number;
  readonly caps: readonly RefusingCap[];
  readonly scaling?: string | undefined;
  /** Whether the requests that were sent violate the objective too. */
  readonly isOfSentToo: boolean;
}

/** The observed value in the unit of its limit. */
export function observedText({ objective, observed }: Observed): string {
  if (observed === null) return 'nothing';
  const unit = unitOf(objective);
  if (unit === 'number') return String(Number(observed.toPrecision(4)));
  if (unit !== 'ms') return unit === 'share' ? percent(observed) : String(observed);
  return observed === Number.POSITIVE_INFINITY ? 'an answer that never came' : formatMs(observed);
}

/** `observed 240.0 ms, 1.2 times the limit`, or the failures instead. */
export function violationText(violation: Violation): string {
  const { objective, observed, fromSends, failures = null, unsent = 0, refusals = null } = violation;
  const isUnanswered = observed === Number.POSITIVE_INFINITY;
  const others = unsent - (refusals?.refused ?? 0);
  const causes = [
    ...(refusals === null ? [] : [refusalsText(refusals)]),
    ...(failures === null ? [] : [failuresText(failures)]),
    ...(others === 0 ? [] : [`${countOf(others, 'request')} never sent by us`]),
  ].join('; ');
  if (isUnanswered && causes !== '') return causes;
  const judged = isLateIn(observed, fromSends) && unitOf(objective) === 'ms' ? fromSends : observed;
  const times = judged === null || objective.limit === 0 ? 0 : judged / objective.limit;
  const isFar = objective.operator.startsWith('<') && Number.isFinite(times) && times >= 1.1;
  const far = isFar ? `, ${Number(times.toPrecision(2))} times the limit` : '';
  const own =
    judged === observed
      ? ''
      : `, at least ${observedText({ objective, observed: judged })} from when requests left`;
  return `observed ${observedText({ objective, observed })}${own}${far}${causes === '' ? '' : `: ${causes}`}`;
}

/** Objectives that only pauses of the generator violate. */
export interface Pauses {
  readonly violated: readonly (Observed & { readonly least: number | null })[];
  /** The share of requests whose answers may have waited; null if unknown. */
  readonly share: number | null;
  readonly longestMs: number | null;
}

export function pausesText({ violated, share, longestMs }: Pauses): string {
  const leastText = ({ objective, least }: Pauses['violated'][number]) =>
    share === null ? '' : `, at least ${observedText({ objective, observed: least })}`;
  const each = violated.map(
    (result) => `${result.objective.expression}: observed ${observedText(result)}${leastText(result)}`,
  );
  const pauses =
    share === null
      ? 'this run did not measure how long its answers waited'
      : `${percent(share)} of the answers may have waited, for up to ${formatMs(longestMs ?? 0)}`;
  return `${each.join('; ')} (${pauses})`;
}

function refusalsText({ refused, caps, isOfSentToo }: Refusals): string {
  const also = isOfSentToo ? ', and those that were sent violate it too' : '';
  return `${caps.map(capText).join(' and ')} refused ${countOf(refused, 'request')}, which count as unanswered${also}`;
}

/** With a smaller ratio, both values look the same to a reader. */
const LATE_BY = 1.02;

/** Whether lag and pauses of the generator are a visible part of the observed value. */
function isLateIn(observed: number | null, fromSends?: number | null): fromSends is number {
  if (observed === null || fromSends == null || !Number.isFinite(observed)) return false;
  return observed > fromSends * LATE_BY;
}

export function violationAdvice({ objective, failures = null, refusals = null }: Violation): string {
  const shown = shownBy(objective.slice);
  if (refusals !== null)
    return `${raiseAdvice(refusals.caps, refusals.scaling)}. ${timeAdvice(false, shown)}`;
  if (failures !== null) return failureAdvice(failures, shown);
  const isTooFast = unitOf(objective) === 'ms' && objective.operator.startsWith('>');
  return measureOf(objective).advice ?? timeAdvice(isTooFast, shown);
}
