import type { LatencyFigures } from './latency-statistics.ts';
import { type MeasuredTimes, OurLateness } from './our-lateness.ts';
import type { RunFigures } from './run-statistics.ts';
import type { SloOperator, Threshold } from './slo.ts';

const NS_PER_MS = 1e6;

/** Requests that count as infinitely slow, and those that do not count because we stopped them ourselves. */
export interface Unanswered {
  readonly infinite: number;
  /** Of them, those that never left: refused by our own cap or ceiling, or not reached. */
  readonly unsent: number;
  readonly failed: number;
  /** Of them, those that neither left late nor ended while we stood still. */
  readonly failedApart: number;
  readonly sent: number;
}

/** Streams that count as infinitely slow; and as many gaps as they would have had at the mean of the others. */
export interface UnansweredStreams {
  readonly streams: number;
  readonly gaps: number;
  /** Streams that never reached a first token: those, and such as ended in good order without any content. */
  readonly withoutToken: number;
}

/** Whether an objective is broken without all that our own lateness and our standstills may have added. */
export function isBrokenWithoutUs(
  threshold: Threshold,
  figures: RunFigures,
  unanswered: Unanswered,
  streams: UnansweredStreams,
): boolean | null {
  const { metric, aggregation } = threshold;
  if (metric === 'achieved' || metric === 'mismatch') return null;
  if (metric === 'errors') {
    const failed = unanswered.failedApart;
    return isBroken(threshold, aggregation.kind === 'count' ? failed : ratio(failed, unanswered.sent));
  }
  // What is too short is no longer for being late.
  if (threshold.operator === '>' || threshold.operator === '>=') return true;
  const ours = new OurLateness(figures.latency);
  const limitNs = threshold.limit * NS_PER_MS;
  if (metric === 'makespan') return ours.provesSpan(figures.makespanNs ?? 0, limitNs);
  const { latency, streams: timed } = figures;
  const proves = (times: MeasuredTimes): boolean => ours.proves(aggregation, limitNs, times);
  const { infinite } = unanswered;
  const { withoutToken } = streams;
  switch (metric) {
    case 'service':
      return proves({ ...serviceOf(latency), infinite });
    case 'latency':
      return proves({ ...serviceOf(latency), infinite }) || proves({ ...scheduledOf(latency), infinite });
    case 'ttft':
      return (
        proves({ all: timed.ttftService, infinite: withoutToken, ends: 1 }) ||
        proves({ all: timed.ttft, infinite: withoutToken, ends: 2 })
      );
    case 'itl':
      return proves({ all: timed.itl, infinite: streams.gaps, ends: 1 });
    case 'tpot':
      return proves({ all: timed.tpot, infinite: streams.streams, ends: 1 });
  }
}

function serviceOf({ service, beforeStalls }: LatencyFigures): Omit<MeasuredTimes, 'infinite'> {
  return { all: service, beforeStalls: beforeStalls.service, ends: 1 };
}

function scheduledOf({ scheduled, beforeStalls }: LatencyFigures): Omit<MeasuredTimes, 'infinite'> {
  return { all: scheduled, beforeStalls: beforeStalls.scheduled, ends: 2 };
}

/** Whether an objective of a time is broken by what was sent, from its send on; null for any other. */
export function isBrokenBySent(
  { metric, aggregation, operator, limit }: Threshold,
  figures: RunFigures,
  { infinite, unsent }: Unanswered,
  streams: UnansweredStreams,
): boolean | null {
  if (metric === 'achieved' || metric === 'mismatch' || metric === 'errors' || metric === 'makespan')
    return null;
  // A wait that is no part of a time does not make it short.
  if (operator === '>' || operator === '>=') return true;
  const { latency, streams: timed } = figures;
  const ours = new OurLateness(latency);
  const proves = (times: MeasuredTimes): boolean => ours.proves(aggregation, limit * NS_PER_MS, times);
  switch (metric) {
    case 'latency':
    case 'service':
      return proves({ ...serviceOf(latency), infinite: infinite - unsent });
    case 'ttft':
      return proves({ all: timed.ttftService, infinite: streams.withoutToken, ends: 1 });
    case 'itl':
      return proves({ all: timed.itl, infinite: streams.gaps, ends: 1 });
    case 'tpot':
      return proves({ all: timed.tpot, infinite: streams.streams, ends: 1 });
  }
}

export function isBroken({ operator, limit }: Threshold, observed: number | null): boolean {
  return observed !== null && !holds(observed, operator, limit);
}

export function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

export function holds(observed: number, operator: SloOperator, limit: number): boolean {
  switch (operator) {
    case '<':
      return observed < limit;
    case '<=':
      return observed <= limit;
    case '>':
      return observed > limit;
    case '>=':
      return observed >= limit;
  }
}
