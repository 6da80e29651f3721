import { Histogram } from '../../core/histogram.ts';
import { readyOffsetNs, type Send } from '../../core/run.ts';
import type { LagUs, LatencyMs, TrustedLatencyMs } from '../../documents/replay.ts';
import { type Interval, type PercentileIntervals, WindowPercentiles } from '../stats/percentiles.ts';

/** A send that left. */
export type SentSend = Send & { readonly actualOffsetNs: number };

/** Distributions in nanoseconds, over everything that was sent. */
export interface LatencyFigures {
  /** Last byte minus intended send, of requests that completed. */
  readonly scheduled: Histogram;
  /** Last byte minus actual send, of requests that completed. */
  readonly service: Histogram;
  /** The same two by windows of the run, which say how far their percentiles can be trusted. */
  readonly byWindow: { readonly scheduled: WindowPercentiles; readonly service: WindowPercentiles };
  /** Actual minus intended send, less the wait for a recorded connection. */
  readonly lag: Histogram;
  /** From the actual send to the request's first byte going out: choosing or opening a connection. */
  readonly connect: Histogram;
  /** Waiting for the recorded connection, before the actual send; empty where none was waited for. */
  readonly connectionWait: Histogram;
}

/** Gathers lag and latencies of finished sends at constant memory. */
export class LatencyStatistics {
  readonly #scheduled = new Histogram();
  readonly #service = new Histogram();
  readonly #lag = new Histogram();
  readonly #connect = new Histogram();
  readonly #connectionWait = new Histogram();
  readonly #scheduledByWindow: WindowPercentiles;
  readonly #serviceByWindow: WindowPercentiles;

  /** @param originNs where what is judged of the run begins */
  constructor(originNs = 0) {
    this.#scheduledByWindow = new WindowPercentiles(originNs);
    this.#serviceByWindow = new WindowPercentiles(originNs);
  }

  /** Takes a send that left: completed, failed or cancelled. */
  add(send: SentSend, completed: boolean): void {
    this.#lag.record(lagNsOf(send));
    if (send.startOffsetNs !== null) {
      this.#connect.record(Math.max(0, send.startOffsetNs - send.actualOffsetNs));
    }
    if (send.connectionWaitNs !== null) this.#connectionWait.record(send.connectionWaitNs);
    const latency = latencyOf(send, completed);
    if (latency === null) return;
    this.#scheduled.record(latency.scheduledNs);
    this.#service.record(latency.serviceNs);
    this.#scheduledByWindow.record(send.intendedOffsetNs, latency.scheduledNs);
    this.#serviceByWindow.record(send.intendedOffsetNs, latency.serviceNs);
  }

  figures(): LatencyFigures {
    return {
      scheduled: this.#scheduled,
      service: this.#service,
      byWindow: { scheduled: this.#scheduledByWindow, service: this.#serviceByWindow },
      lag: this.#lag,
      connect: this.#connect,
      connectionWait: this.#connectionWait,
    };
  }
}

/** How late a send left, the wait for its recorded connection excluded. A stamp before the instant is not late. */
function lagNsOf(send: SentSend): number {
  return Math.max(0, readyOffsetNs(send) - send.intendedOffsetNs);
}

/** How long an answer took from the instant it was due, and from its send; null for one that did not complete. */
export function latencyOf(
  { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs }: SentSend,
  completed: boolean,
): { readonly scheduledNs: number; readonly serviceNs: number } | null {
  if (!completed || lastByteOffsetNs === null) return null;
  return {
    scheduledNs: Math.max(0, lastByteOffsetNs - intendedOffsetNs),
    serviceNs: Math.max(0, lastByteOffsetNs - actualOffsetNs),
  };
}

const NS_PER_US = 1e3;
const NS_PER_MS = 1e6;

/** Percentiles of what was recorded in nanoseconds: requests that completed, and no others. */
export function latencyMs(histogram: Histogram): LatencyMs {
  const inMs = (ns: number | null) => (ns === null ? null : ns / NS_PER_MS);
  return {
    p50: inMs(histogram.percentile(50)),
    p95: inMs(histogram.percentile(95)),
    p99: inMs(histogram.percentile(99)),
    max: inMs(histogram.max),
  };
}

/** The same with the intervals of a run's percentiles. */
export function trustedLatencyMs(histogram: Histogram, intervals: PercentileIntervals): TrustedLatencyMs {
  const inMs = (interval: Interval | null): Interval | null =>
    interval === null ? null : [interval[0] / NS_PER_MS, interval[1] / NS_PER_MS];
  return {
    ...latencyMs(histogram),
    p50Interval: inMs(intervals.p50),
    p95Interval: inMs(intervals.p95),
    p99Interval: inMs(intervals.p99),
  };
}

/** Percentiles of how late requests left, of everything that was sent. */
export function lagUs(histogram: Histogram): LagUs {
  const inUs = (ns: number | null) => (ns === null ? null : ns / NS_PER_US);
  return {
    p50: inUs(histogram.percentile(50)),
    p90: inUs(histogram.percentile(90)),
    p99: inUs(histogram.percentile(99)),
    max: inUs(histogram.max),
  };
}
