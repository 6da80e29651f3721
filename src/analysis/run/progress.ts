import { Histogram } from '../../core/histogram.ts';
import { hasFailed, isTurnedAway, lagNsOf, type RunPosition, type Send } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import type { RecentMs, SecondEvent } from '../../documents/events.ts';
import { byPercent, PERCENTS } from '../../documents/percentiles.ts';
import { latencyMs, latencyOf } from '../metrics/answer-times.ts';
import { sampleFloor } from '../stats/percentiles.ts';

/** Counts since the last call; they are no rates. The warm-up is included. */
export interface Pulse
  extends Omit<SecondEvent, 'event' | 'phase' | 'elapsedS' | 'spanS' | 'etaS' | 'slo'>,
    Pick<RunPosition, 'elapsedNs'> {
  readonly spanNs: number;
}

/** The most recent spans used for a percentile. */
const MOST_SPANS = 30;

/** Figures of a run since the last call of `take`. */
export class RunPulse {
  #lag = new Histogram();
  #latency = new Histogram();
  #ttft = new Histogram();
  #ended = 0;
  #failed = 0;
  #refused = 0;
  #statuses: Record<string, number> = {};
  /** Newest first. */
  #recent: readonly { readonly latency: Histogram; readonly ttft: Histogram }[] = [];
  #last = { elapsedNs: 0, due: 0, ended: 0, failed: 0, refused: 0 };

  /** Adds finished sends, in any order, each once. */
  add(sends: readonly Send[]): void {
    for (const send of sends) {
      if (send.refused) this.#refused += 1;
      const { actualOffsetNs } = send;
      if (actualOffsetNs === null) continue;
      this.#ended += 1;
      const status = String(send.status ?? 'none');
      this.#statuses[status] = (this.#statuses[status] ?? 0) + 1;
      if (hasFailed(send)) this.#failed += 1;
      this.#lag.record(lagNsOf({ ...send, actualOffsetNs }));
      this.#addLatency({ ...send, actualOffsetNs });
    }
  }

  #addLatency(send: Send & { readonly actualOffsetNs: number }): void {
    const { status, cancelled, answer, intendedOffsetNs } = send;
    const isServed = !cancelled && !hasFailed(send) && status !== null && !isTurnedAway(status);
    const latency = latencyOf(send, isServed);
    if (latency === null) return;
    this.#latency.record(latency.scheduled);
    const firstTokenNs = answer?.firstTokenOffsetNs ?? null;
    if (firstTokenNs !== null) this.#ttft.record(Math.max(0, firstTokenNs - intendedOffsetNs));
  }

  take({ elapsedNs, outstanding, inFlight, waiting }: RunPosition): Pulse {
    const last = this.#last;
    // `outstanding` is from the last report, so the sum may decrease for a moment.
    const due = Math.max(last.due, this.#ended + this.#refused + outstanding);
    const lagNs = this.#lag.percentile(99);
    this.#recent = [{ latency: this.#latency, ttft: this.#ttft }, ...this.#recent].slice(0, MOST_SPANS);
    const pulse = {
      elapsedNs,
      spanNs: elapsedNs - last.elapsedNs,
      offered: due - last.due,
      achieved: this.#ended - last.ended,
      inFlight,
      waiting,
      lagP99Us: lagNs === null ? null : lagNs / 1e3,
      errors: this.#failed - last.failed,
      refused: this.#refused - last.refused,
      statuses: this.#statuses,
      latencyMs: latencyMs(this.#latency),
      ttftMs: latencyMs(this.#ttft),
      recentLatencyMs: recentMs(this.#recent.map(({ latency }) => latency)),
      recentTtftMs: recentMs(this.#recent.map(({ ttft }) => ttft)),
    };
    this.#last = { elapsedNs, due, ended: this.#ended, failed: this.#failed, refused: this.#refused };
    [this.#lag, this.#latency, this.#ttft] = [new Histogram(), new Histogram(), new Histogram()];
    this.#statuses = {};
    return pulse;
  }
}

/** Each percentile uses as few of the latest spans as contain enough samples; null if all together have too few. */
function recentMs(newestFirst: readonly Histogram[]): RecentMs {
  const whole = new Histogram();
  let spans = 0;
  return byPercent(PERCENTS, (percent) => {
    const samples = sampleFloor(percent);
    while (whole.count < samples && newestFirst.length > spans) whole.merge(newestFirst[spans++]!);
    return whole.count < samples ? null : (whole.percentile(percent) ?? 0) / NS_PER_MS;
  });
}
