import { Histogram } from '../../core/histogram.ts';
import { readyOffsetNs, type Send } from '../../core/run.ts';
import { NS_PER_MS, NS_PER_US } from '../../core/units.ts';
import { LAG_PERCENTS, type LatencyMs } from '../../documents/parts.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import type { LagUs, TrustedLatencyMs } from '../../documents/replay.ts';
import { type Interval, WindowPercentiles } from '../stats/percentiles.ts';

/** A request that was sent. */
export type SentSend = Send & { readonly actualOffsetNs: number };

/** The times of a whole answer: from the intended and from the actual send to the last byte. */
const ANSWER_TIMES = ['scheduled', 'service'] as const;
export type AnswerTime = (typeof ANSWER_TIMES)[number];

function ofEach<Value>(make: (time: AnswerTime) => Value): Record<AnswerTime, Value> {
  return Object.fromEntries(ANSWER_TIMES.map((time) => [time, make(time)])) as Record<AnswerTime, Value>;
}

/** Distributions in nanoseconds over all sent requests. Times are of served requests only, because refusals are fast. */
export interface LatencyFigures extends Readonly<Record<AnswerTime, Histogram>> {
  /** The times by windows of the run, for the confidence of their percentiles. */
  readonly byWindow: Readonly<Record<AnswerTime, WindowPercentiles>>;
  /** Cancelled requests: the time until the replay left. An answer would have taken at least this long. */
  readonly censored: Readonly<Record<AnswerTime, Histogram>>;
  /** Actual minus intended send, without the wait for a recorded connection. */
  readonly lag: Histogram;
  /** From the actual send to the first byte on the wire: choosing or opening a connection. */
  readonly connect: Histogram;
  /** The wait for the recorded connection, before the actual send. Empty if no request waited. */
  readonly connectionWait: Histogram;
}

/** Collects lag and latencies of finished sends, with constant memory. */
export class LatencyStatistics {
  readonly figures: LatencyFigures;

  readonly #ofRun: LatencyFigures | null;

  /**
   * @param originNs start of the judged part of the run
   * @param ofRun figures of the complete run, if this is a part of it. Lag, connection times and the queue come from
   *   there
   */
  constructor(originNs = 0, ofRun: LatencyFigures | null = null) {
    this.#ofRun = ofRun;
    this.figures = {
      ...ofEach(() => new Histogram()),
      byWindow: ofEach((time) => new WindowPercentiles(originNs, true, ofRun?.byWindow[time])),
      censored: ofEach(() => new Histogram()),
      lag: ofRun?.lag ?? new Histogram(),
      connect: ofRun?.connect ?? new Histogram(),
      connectionWait: ofRun?.connectionWait ?? new Histogram(),
    };
  }

  /** Adds a request that was sent: completed, failed or cancelled. */
  add(send: SentSend, served: boolean): void {
    const { figures } = this;
    if (this.#ofRun === null) this.#addOurs(send);
    const latency = latencyOf(send, served || send.cancelled);
    if (latency === null) return;
    for (const time of ANSWER_TIMES) {
      if (send.cancelled) figures.censored[time].record(latency[time]);
      else {
        figures[time].record(latency[time]);
        figures.byWindow[time].record(send.intendedOffsetNs, latency[time]);
      }
    }
  }

  /** Records times of the generator itself, for every send regardless of its outcome. */
  #addOurs(send: SentSend): void {
    const { lag, connect, connectionWait } = this.figures;
    lag.record(lagNsOf(send));
    if (send.startOffsetNs !== null) connect.record(Math.max(0, send.startOffsetNs - send.actualOffsetNs));
    if (send.connectionWaitNs !== null) connectionWait.record(send.connectionWaitNs);
  }
}

/**
 * The lag of a send, without the wait for its recorded connection. A timestamp before the intended instant counts as no
 * lag.
 */
export function lagNsOf(send: SentSend): number {
  return Math.max(0, readyOffsetNs(send) - send.intendedOffsetNs);
}

/** The times of a request, nanoseconds; null if it did not end normally. */
export function latencyOf(
  {
    intendedOffsetNs,
    actualOffsetNs,
    lastByteOffsetNs,
  }: Pick<SentSend, 'intendedOffsetNs' | 'actualOffsetNs' | 'lastByteOffsetNs'>,
  ended: boolean,
): Readonly<Record<AnswerTime, number>> | null {
  if (!ended || lastByteOffsetNs === null) return null;
  return {
    scheduled: Math.max(0, lastByteOffsetNs - intendedOffsetNs),
    service: Math.max(0, lastByteOffsetNs - actualOffsetNs),
  };
}

/** Percentiles of a histogram of nanoseconds. It contains only completed requests. */
export function latencyMs(histogram: Histogram): LatencyMs {
  return {
    ...byPercent(PERCENTS, (percent) => scaled(histogram.percentile(percent), NS_PER_MS)),
    max: scaled(histogram.max, NS_PER_MS),
  };
}

/** The same with confidence intervals of the percentiles. */
export function trustedLatencyMs(histogram: Histogram, windows: WindowPercentiles): TrustedLatencyMs {
  const intervalOf = (percent: number): Interval | null => {
    const interval = windows.interval(percent, histogram);
    return interval && [interval[0] / NS_PER_MS, interval[1] / NS_PER_MS];
  };
  return { ...latencyMs(histogram), ...byPercent(PERCENTS, intervalOf, 'Interval') };
}

/** Percentiles of the lag, over all sent requests. */
export function lagUs(histogram: Histogram): LagUs {
  return {
    ...byPercent(LAG_PERCENTS, (percent) => scaled(histogram.percentile(percent), NS_PER_US)),
    max: scaled(histogram.max, NS_PER_US),
  };
}

function scaled(ns: number | null, nsPerUnit: number): number | null {
  return ns === null ? null : ns / nsPerUnit;
}
