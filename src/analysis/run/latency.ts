import { Histogram } from '../../core/histogram.ts';
import { readyOffsetNs, type Send } from '../../core/run.ts';
import { NS_PER_MS, NS_PER_US } from '../../core/units.ts';
import type { LagUs, LatencyMs, TrustedLatencyMs } from '../../documents/replay.ts';
import { type Interval, WindowPercentiles } from '../stats/percentiles.ts';

/** A send that left. */
export type SentSend = Send & { readonly actualOffsetNs: number };

/** Distributions in nanoseconds, over everything that was sent. */
export interface LatencyFigures {
  /** Last byte minus intended send, of requests that were served: refusals are quick. */
  readonly scheduled: Histogram;
  /** Last byte minus actual send, of the same. */
  readonly service: Histogram;
  /** The same two by windows of the run, which say how far their percentiles can be trusted. */
  readonly byWindow: { readonly scheduled: WindowPercentiles; readonly service: WindowPercentiles };
  /** Of cancelled requests, the times until we left: an answer would have taken at least as long. */
  readonly censored: { readonly scheduled: Histogram; readonly service: Histogram };
  /** Actual minus intended send, less the wait for a recorded connection. */
  readonly lag: Histogram;
  /** From the actual send to the request's first byte going out: choosing or opening a connection. */
  readonly connect: Histogram;
  /** Waiting for the recorded connection, before the actual send; empty where none was waited for. */
  readonly connectionWait: Histogram;
}

/** Gathers lag and latencies of finished sends at constant memory. */
export class LatencyStatistics {
  readonly figures: LatencyFigures;

  readonly #ofRun: LatencyFigures | null;

  /**
   * @param originNs where the judged part of the run begins
   * @param ofRun figures of the whole run, for a part of it. Our own times and the queue are taken from there
   */
  constructor(originNs = 0, ofRun: LatencyFigures | null = null) {
    this.#ofRun = ofRun;
    this.figures = {
      scheduled: new Histogram(),
      service: new Histogram(),
      byWindow: {
        scheduled: new WindowPercentiles(originNs, true, ofRun?.byWindow.scheduled),
        service: new WindowPercentiles(originNs, true, ofRun?.byWindow.service),
      },
      censored: { scheduled: new Histogram(), service: new Histogram() },
      lag: ofRun?.lag ?? new Histogram(),
      connect: ofRun?.connect ?? new Histogram(),
      connectionWait: ofRun?.connectionWait ?? new Histogram(),
    };
  }

  /** Takes a send that left: completed, failed or cancelled. */
  add(send: SentSend, served: boolean): void {
    const { scheduled, service, byWindow, censored } = this.figures;
    if (this.#ofRun === null) this.#addOurs(send);
    const latency = latencyOf(send, served || send.cancelled);
    if (latency === null) return;
    if (send.cancelled) {
      censored.scheduled.record(latency.scheduledNs);
      censored.service.record(latency.serviceNs);
      return;
    }
    scheduled.record(latency.scheduledNs);
    service.record(latency.serviceNs);
    byWindow.scheduled.record(send.intendedOffsetNs, latency.scheduledNs);
    byWindow.service.record(send.intendedOffsetNs, latency.serviceNs);
  }

  /** Of everything that was sent, whatever became of it. */
  #addOurs(send: SentSend): void {
    const { lag, connect, connectionWait } = this.figures;
    lag.record(lagNsOf(send));
    if (send.startOffsetNs !== null) connect.record(Math.max(0, send.startOffsetNs - send.actualOffsetNs));
    if (send.connectionWaitNs !== null) connectionWait.record(send.connectionWaitNs);
  }
}

/** How late a send left, the wait for its recorded connection excluded. A stamp before the instant is not late. */
export function lagNsOf(send: SentSend): number {
  return Math.max(0, readyOffsetNs(send) - send.intendedOffsetNs);
}

/** How long a request took from the instant it was due, and from its send; null for one that did not end in order. */
export function latencyOf(
  { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs }: SentSend,
  ended: boolean,
): { readonly scheduledNs: number; readonly serviceNs: number } | null {
  if (!ended || lastByteOffsetNs === null) return null;
  return {
    scheduledNs: Math.max(0, lastByteOffsetNs - intendedOffsetNs),
    serviceNs: Math.max(0, lastByteOffsetNs - actualOffsetNs),
  };
}

/** Percentiles of a histogram of nanoseconds. It has only requests that completed. */
export function latencyMs(histogram: Histogram): LatencyMs {
  return {
    p50: scaled(histogram.percentile(50), NS_PER_MS),
    p95: scaled(histogram.percentile(95), NS_PER_MS),
    p99: scaled(histogram.percentile(99), NS_PER_MS),
    max: scaled(histogram.max, NS_PER_MS),
  };
}

/** The same with the intervals of a run's percentiles. */
export function trustedLatencyMs(histogram: Histogram, windows: WindowPercentiles): TrustedLatencyMs {
  const intervalOf = (percent: number): Interval | null => {
    const interval = windows.interval(percent, histogram);
    return interval && [interval[0] / NS_PER_MS, interval[1] / NS_PER_MS];
  };
  return {
    ...latencyMs(histogram),
    p50Interval: intervalOf(50),
    p95Interval: intervalOf(95),
    p99Interval: intervalOf(99),
  };
}

/** Percentiles of how late requests left, of everything that was sent. */
export function lagUs(histogram: Histogram): LagUs {
  return {
    p50: scaled(histogram.percentile(50), NS_PER_US),
    p90: scaled(histogram.percentile(90), NS_PER_US),
    p99: scaled(histogram.percentile(99), NS_PER_US),
    max: scaled(histogram.max, NS_PER_US),
  };
}

function scaled(ns: number | null, nsPerUnit: number): number | null {
  return ns === null ? null : ns / nsPerUnit;
}
