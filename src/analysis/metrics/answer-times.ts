import { Histogram } from '../../core/histogram.ts';
import { lagNsOf, type Send } from '../../core/run.ts';
import { NS_PER_MS, NS_PER_US } from '../../core/units.ts';
import { LAG_PERCENTS, type LatencyMs } from '../../documents/parts.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import type { LagUs, TrustedLatencyMs } from '../../documents/replay.ts';
import { type Interval, WindowPercentiles } from '../stats/percentiles.ts';

/** A request that was sent. */
export type SentSend = Send & { readonly actualOffsetNs: number };

/**
 * The times of a whole answer: from the intended and from the actual send to the last byte. `unpaused` is the latter
 * without the time in which the sender could neither write nor read: the target took at least this long.
 */
const ANSWER_TIMES = ['scheduled', 'service', 'unpaused'] as const;
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
  /** How long an answer may have waited for a paused sender. It lacks sends for which that is unknown. */
  readonly paused: Histogram;
}

/** Collects lag and latencies of finished sends, with constant memory. */
export class LatencyStatistics {
  readonly figures: LatencyFigures;

  readonly #ofRun: LatencyFigures | null;

  /**
   * @param originNs start of the judged part of the run
   * @param ofRun figures of the complete run, if this is a part of it. Lag, connection times, pauses and the queue come
   *   from there
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
      paused: ofRun?.paused ?? new Histogram(),
    };
  }

  /** Adds a request that was sent: completed, failed or cancelled. */
  add(send: SentSend, served: boolean): void {
    const { figures } = this;
    if (this.#ofRun === null) this.#addOurs(send);
    const latency = latencyOf(send, served || send.cancelled);
    if (latency === null) return;
    const kind = this.#ofRun === null ? kindOf(send) : '';
    for (const time of ANSWER_TIMES) {
      if (send.cancelled) figures.censored[time].record(latency[time]);
      else {
        figures[time].record(latency[time]);
        figures.byWindow[time].record(send.intendedOffsetNs, latency[time], 1, kind);
      }
    }
  }

  /** Records times of the generator itself, for every send regardless of its outcome. */
  #addOurs(send: SentSend): void {
    const { lag, connect, connectionWait, paused } = this.figures;
    lag.record(lagNsOf(send));
    if (send.startOffsetNs !== null) connect.record(Math.max(0, send.startOffsetNs - send.actualOffsetNs));
    if (send.connectionWaitNs !== null) connectionWait.record(send.connectionWaitNs);
    if (send.pausedNs !== null) paused.record(send.pausedNs);
  }
}

/** What may decide how a target serves a request, and is the same in each replay of a plan */
export function kindOf({ route, model, streamed, status }: Send): string {
  return `${route} ${model} ${streamed} ${status}`;
}

/** The times of a request, nanoseconds; null if it did not end normally. */
export function latencyOf(
  send: Pick<SentSend, 'intendedOffsetNs' | 'actualOffsetNs' | 'lastByteOffsetNs' | 'writeNs' | 'pausedNs'>,
  ended: boolean,
): Readonly<Record<AnswerTime, number>> | null {
  const { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs, pausedNs } = send;
  if (!ended || lastByteOffsetNs === null) return null;
  return {
    scheduled: Math.max(0, lastByteOffsetNs - intendedOffsetNs),
    service: Math.max(0, lastByteOffsetNs - actualOffsetNs),
    // If the pauses are unknown, any time is possible.
    unpaused: pausedNs === null ? 0 : Math.max(0, lastByteOffsetNs - pausedNs - leftOffsetNs(send)),
  };
}

/** When the first write of a sent request had returned: it had certainly left. */
export function leftOffsetNs({
  actualOffsetNs,
  writeNs,
}: Pick<SentSend, 'actualOffsetNs' | 'writeNs'>): number {
  return actualOffsetNs + (writeNs ?? 0);
}

/** The share of requests whose answers may have waited for a paused sender; null if unknown. */
export function pausedShare({ paused, lag }: Pick<LatencyFigures, 'paused' | 'lag'>): number | null {
  return lag.count === 0 || paused.count < lag.count ? null : paused.countOver(0) / paused.count;
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
