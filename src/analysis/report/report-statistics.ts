import { hasExchangeFailed, type Outcome } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import type { Send } from '../../core/run.ts';
import type { ErrorExamples } from '../../documents/replay.ts';
import { LazyHistogram } from '../profile/lazy-histogram.ts';
import { latencyOf, type SentSend } from '../run/latency.ts';
import { ErrorExampleKeeper, OutcomeCounts, type OutcomeFigures, type SendOutcome } from '../run/outcomes.ts';
import { type StreamFigures, StreamStatistics } from '../run/streams.ts';
import { sizeClassOf } from '../stats/distance.ts';
import { LatencyMapCounts } from './latency-map.ts';
import { GroupCounts, sizeName } from './report-groups.ts';
import { type SecondOfRun, TimeSteps } from './time-steps.ts';
import { UseCounts } from './use-counts.ts';

const NS_PER_US = 1e3;

/** What a report needs of a recorded exchange. */
export interface RecordedAnswer {
  readonly segment: string;
  readonly id: number;
  readonly route: string | null;
  readonly model: string | null;
  readonly outcome: Outcome;
  readonly status: number | null;
  readonly streamed: boolean | null;
  readonly lastByteOffsetUs: number | null;
  readonly firstTokenOffsetUs: number | null;
}

/** What is known of the recording of the requests that were sent; histograms hold nanoseconds. */
export interface RecordedFigures {
  readonly sought: number;
  readonly found: number;
  readonly latency: Histogram | null;
  readonly ttft: Histogram | null;
  readonly statuses: Readonly<Record<string, number>>;
}

export interface RowFigures {
  readonly outcomes: OutcomeFigures;
  readonly errorExamples: ErrorExamples;
  readonly scheduled: Histogram;
  readonly service: Histogram;
  readonly streams: StreamFigures;
  /** From the start of the run to the first judged send, and to the end of the last answer or error. */
  readonly firstOffsetNs: number;
  readonly endOffsetNs: number;
  readonly warmupSent: number;
}

/** Takes the rows of a run in the order of the plan, then what was recorded for them, at bounded memory. */
export class ReportStatistics {
  readonly time: TimeSteps;
  readonly map: LatencyMapCounts;
  readonly routes = new GroupCounts();
  readonly models = new GroupCounts();
  readonly inputSizes = new GroupCounts();
  readonly #outcomes = new OutcomeCounts();
  readonly #examples = new ErrorExampleKeeper();
  readonly #streams = new StreamStatistics();
  readonly #scheduled = new Histogram();
  readonly #service = new Histogram();
  readonly #uses = new UseCounts();
  #recorded = new LazyHistogram();
  #recordedTtft = new LazyHistogram();
  readonly #recordedStatuses = new Map<string, number>();
  #recordedFound = 0;
  #firstNs: number | null = null;
  #endNs = 0;
  #warmupSent = 0;

  /** @param seconds from the start of the run to the end of the last in which anything happened */
  constructor(seconds: number) {
    this.time = new TimeSteps(seconds);
    this.map = new LatencyMapCounts(seconds);
  }

  addSecond(second: SecondOfRun): void {
    this.time.addSecond(second);
  }

  addSend(send: Send): void {
    if (send.warmup) {
      if (send.actualOffsetNs !== null) this.#warmupSent += 1;
      return;
    }
    this.#firstNs ??= send.intendedOffsetNs;
    const outcome = this.#outcomes.add(send);
    this.#streams.add(send, outcome);
    if (outcome === 'failed') this.#examples.add(send);
    const { actualOffsetNs } = send;
    if (actualOffsetNs === null) return;
    this.#endNs = Math.max(this.#endNs, send.lastByteOffsetNs ?? actualOffsetNs);
    const sizeClass = sizeClassOf(send.requestBytes);
    this.#uses.add(send.segment, send.exchangeId, sizeClass);
    const scheduledNs = this.#measure({ ...send, actualOffsetNs }, outcome);
    const failed = outcome === 'failed';
    this.routes.addSent(send.route, failed, scheduledNs);
    this.models.addSent(send.model, failed, scheduledNs);
    this.inputSizes.addSent(sizeName(sizeClass), failed, scheduledNs);
  }

  /** Takes an exchange of the capture, in any order, each once; those that were not sent count nowhere. */
  addRecorded(answer: RecordedAnswer): void {
    const use = this.#uses.of(answer.segment, answer.id);
    if (use === null) return;
    const { times, sizeClass } = use;
    this.#recordedFound += times;
    const status = answer.status === null ? 'none' : String(answer.status);
    this.#recordedStatuses.set(status, (this.#recordedStatuses.get(status) ?? 0) + times);
    // Beside the latency of the run, which leaves failures out: a quick 503 would make the recording look faster.
    if (hasExchangeFailed(answer)) return;
    const ttftUs = answer.streamed === true ? answer.firstTokenOffsetUs : null;
    for (let copy = 0; ttftUs !== null && copy < times; copy += 1)
      this.#recordedTtft.record(ttftUs * NS_PER_US);
    const us = answer.lastByteOffsetUs;
    if (us === null) return;
    for (let copy = 0; copy < times; copy += 1) this.#recorded.record(us * NS_PER_US);
    this.routes.addRecorded(answer.route, us, times);
    this.models.addRecorded(answer.model, us, times);
    this.inputSizes.addRecorded(sizeName(sizeClass), us, times);
  }

  /** As if nothing recorded had been taken: a capture that cannot be read to its end says nothing. */
  forgetRecorded(): void {
    this.#recorded = new LazyHistogram();
    this.#recordedTtft = new LazyHistogram();
    this.#recordedStatuses.clear();
    this.#recordedFound = 0;
    for (const groups of [this.routes, this.models, this.inputSizes]) groups.forgetRecorded();
  }

  rowFigures(): RowFigures {
    return {
      outcomes: this.#outcomes.figures(),
      errorExamples: this.#examples.examples(),
      scheduled: this.#scheduled,
      service: this.#service,
      streams: this.#streams.figures(),
      firstOffsetNs: this.#firstNs ?? 0,
      endOffsetNs: this.#endNs,
      warmupSent: this.#warmupSent,
    };
  }

  recordedFigures(): RecordedFigures {
    return {
      sought: this.#uses.total,
      found: this.#recordedFound,
      latency: this.#recorded.histogram,
      ttft: this.#recordedTtft.histogram,
      statuses: Object.fromEntries(
        [...this.#recordedStatuses].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })),
      ),
    };
  }

  /** Counts the latency of a send; null where it has none. */
  #measure(send: SentSend, outcome: SendOutcome): number | null {
    const latency = latencyOf(send, outcome === 'completed');
    if (latency === null) return null;
    const { scheduledNs, serviceNs } = latency;
    this.#scheduled.record(scheduledNs);
    this.#service.record(serviceNs);
    this.time.addLatency(send.intendedOffsetNs, scheduledNs, serviceNs);
    this.map.add(send.intendedOffsetNs, scheduledNs);
    return scheduledNs;
  }
}
