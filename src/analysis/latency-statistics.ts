import { Histogram } from '../core/histogram.ts';
import { readyOffsetNs, type Send } from '../core/run.ts';
import { WindowPercentiles } from './window-percentiles.ts';

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
export function lagNsOf(send: SentSend): number {
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
