import type { ExchangeRow } from '../../core/exchange.ts';
import { hasFailed, isTurnedAway, readyOffsetNs, type Send } from '../../core/run.ts';
import { AGREES, ANSWERED, DIFFERS, FAILED, STREAMED, TURNED_AWAY, WHOLE } from './paired-answers.ts';
import { CANCELLED, LATE, LEFT_OUT, OPEN, type SideRow } from './side-columns.ts';

/** What a comparison takes for our own doing in the sends of a run. */
export interface OwnDoing {
  /** What left later than this. */
  readonly lagBoundNs: number;
  /**
   * Whether somebody stopped the run, and so ended what was open. Where nobody did, and where the target's failures
   * did, what was open had at least the time that a drain may take.
   */
  readonly endedOpen: boolean;
}

/** A send as a comparison takes it: what is our own doing is left out. */
export function sideRowOfSend(send: Send, { lagBoundNs, endedOpen }: OwnDoing): SideRow {
  const { segment, exchangeId, intendedOffsetNs: offsetNs, lastByteOffsetNs, status } = send;
  const { actualOffsetNs, connectionWaitNs } = send;
  const readyNs = actualOffsetNs === null ? offsetNs : readyOffsetNs({ actualOffsetNs, connectionWaitNs });
  const lagNs = Math.max(0, readyNs - offsetNs);
  const base = {
    segment,
    exchangeId,
    offsetNs,
    status,
    lagNs,
    ...tokenTimesOf(send),
    traits: traitsOf(send),
  };
  if (send.refused) return { ...base, latencyNs: Number.POSITIVE_INFINITY, outcome: FAILED };
  if (actualOffsetNs === null || (endedOpen && send.error === 'stopped')) {
    return { ...base, latencyNs: 0, outcome: LEFT_OUT };
  }
  if (lagNs > lagBoundNs) {
    return { ...base, latencyNs: 0, outcome: LATE };
  }
  if (send.cancelled) {
    return { ...base, latencyNs: Math.max(0, (lastByteOffsetNs ?? offsetNs) - offsetNs), outcome: CANCELLED };
  }
  if (send.error === 'stopped' && lastByteOffsetNs !== null) {
    return { ...base, latencyNs: lastByteOffsetNs - offsetNs, outcome: OPEN };
  }
  if (hasFailed(send) || lastByteOffsetNs === null) {
    return { ...base, latencyNs: Number.POSITIVE_INFINITY, outcome: FAILED };
  }
  return { ...base, latencyNs: Math.max(0, lastByteOffsetNs - offsetNs), outcome: answerKind(status) };
}

/**
 * A recorded exchange as a comparison takes it. One without an answer because its client left is left out, and so
 * is one of which nobody recorded when it was answered.
 */
export function sideRowOfExchange(row: ExchangeRow): SideRow {
  const { segment, id: exchangeId, arrivalUs, outcome, status, lastByteOffsetUs } = row;
  // Between tokens nothing was recorded; and a recording is not held against itself.
  const tokens = { ttftNs: (row.firstTokenOffsetUs ?? Number.NaN) * 1e3, itlNs: Number.NaN };
  const traits = row.streamed === null ? 0 : row.streamed ? STREAMED : WHOLE;
  // When it came is when its client sent it.
  const base = { segment, exchangeId, offsetNs: arrivalUs * 1e3, status, lagNs: 0, ...tokens, traits };
  const isServerError = status !== null && status >= 500;
  if (outcome === 'upstream_failed' || outcome === 'timed_out' || isServerError) {
    return { ...base, latencyNs: Number.POSITIVE_INFINITY, outcome: FAILED };
  }
  if (outcome !== 'completed' || status === null || lastByteOffsetUs === null) {
    return { ...base, latencyNs: 0, outcome: LEFT_OUT };
  }
  return { ...base, latencyNs: Math.max(0, lastByteOffsetUs) * 1e3, outcome: answerKind(status) };
}

function answerKind(status: number | null): number {
  return status !== null && isTurnedAway(status) ? TURNED_AWAY : ANSWERED;
}

/** A stream that was read and had no content never came to a first token; of one that cannot be read nobody knows. */
function tokenTimesOf({ streamed, answer, intendedOffsetNs }: Send): Pick<SideRow, 'ttftNs' | 'itlNs'> {
  if (!streamed || answer === null) return { ttftNs: Number.NaN, itlNs: Number.NaN };
  const { firstTokenOffsetNs: first, lastTokenOffsetNs: last, contentEvents } = answer;
  const ttftNs = first === null ? Number.POSITIVE_INFINITY : Math.max(0, first - intendedOffsetNs);
  const hasGaps = first !== null && last !== null && contentEvents > 1;
  return { ttftNs, itlNs: hasGaps ? (last - first) / (contentEvents - 1) : Number.NaN };
}

function traitsOf({ streamed, check = null }: Send): number {
  const result = check?.result;
  return (streamed ? STREAMED : WHOLE) | (result === 'same' ? AGREES : result === 'mismatch' ? DIFFERS : 0);
}
