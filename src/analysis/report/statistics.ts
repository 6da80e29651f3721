import { type ExchangeRow, hasExchangeFailed } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import type { Send } from '../../core/run.ts';
import { latencyOf, type SentSend } from '../run/latency.ts';
import { isServed, OutcomeCounts, type OutcomeFigures, type SendOutcome } from '../run/outcomes.ts';
import { type StreamFigures, StreamStatistics } from '../run/streams.ts';
import { sizeClassOf } from '../stats/distance.ts';
import { ExchangeNumbers } from '../stats/exchange-numbers.ts';
import { NamedGroups, Tally } from '../stats/tally.ts';
import { Group, sizeName } from './groups.ts';
import { LatencyMapCounts, TimeSteps } from './over-time.ts';

const NS_PER_US = 1e3;

/** What a report needs of a recorded exchange. */
export type RecordedAnswer = Pick<
  ExchangeRow,
  | ('segment' | 'id' | 'route' | 'model' | 'outcome' | 'status' | 'streamed')
  | ('lastByteOffsetUs' | 'firstTokenOffsetUs')
>;

/** What is known of the recording of the requests that were sent; histograms hold nanoseconds. */
export interface RecordedFigures {
  readonly sought: number;
  readonly found: number;
  readonly latency: Histogram;
  readonly ttft: Histogram;
  readonly statuses: Readonly<Record<string, number>>;
}

export interface RowFigures {
  readonly outcomes: OutcomeFigures;
  readonly scheduled: Histogram;
  readonly service: Histogram;
  readonly streams: StreamFigures;
  /** From the start of the run to the end of the last answer or error. */
  readonly endOffsetNs: number;
}

/** Takes the rows of a run in the order of the plan, then what was recorded for them, at bounded memory. */
export class ReportStatistics {
  readonly time: TimeSteps;
  readonly map: LatencyMapCounts;
  readonly routes = new NamedGroups(() => new Group());
  readonly models = new NamedGroups(() => new Group());
  readonly inputSizes = new NamedGroups(() => new Group());
  readonly #outcomes = new OutcomeCounts();
  readonly #streams = new StreamStatistics();
  readonly #scheduled = new Histogram();
  readonly #service = new Histogram();
  readonly #uses = new UseCounts();
  #recorded = new Histogram();
  #recordedTtft = new Histogram();
  readonly #recordedStatuses = new Tally<string>();
  #recordedFound = 0;
  #endNs = 0;

  /** @param seconds from the start of the run to the end of the last in which anything happened */
  constructor(seconds: number) {
    this.time = new TimeSteps(seconds);
    this.map = new LatencyMapCounts(seconds);
  }

  addSend(send: Send): void {
    if (send.warmup) return;
    const outcome = this.#outcomes.add(send);
    this.#streams.add(send, outcome);
    const { actualOffsetNs } = send;
    if (actualOffsetNs === null) return;
    this.#endNs = Math.max(this.#endNs, send.lastByteOffsetNs ?? actualOffsetNs);
    const sizeClass = sizeClassOf(send.requestBytes);
    this.#uses.add(send.segment, send.exchangeId, sizeClass);
    const scheduledNs = this.#measure({ ...send, actualOffsetNs }, outcome);
    const failed = outcome === 'failed';
    this.routes.groupOf(send.route)?.add(failed, scheduledNs);
    this.models.groupOf(send.model)?.add(failed, scheduledNs);
    this.inputSizes.groupOf(sizeName(sizeClass))?.add(failed, scheduledNs);
  }

  /** Takes an exchange of the capture, in any order, each once; those that were not sent count nowhere. */
  addRecorded(answer: RecordedAnswer): void {
    const use = this.#uses.of(answer.segment, answer.id);
    if (use === null) return;
    const { times, sizeClass } = use;
    this.#recordedFound += times;
    this.#recordedStatuses.count(answer.status === null ? 'none' : String(answer.status), times);
    // Beside the latency of the run, which leaves failures out: a quick 503 would make the recording look faster.
    if (hasExchangeFailed(answer)) return;
    const ttftUs = answer.streamed === true ? answer.firstTokenOffsetUs : null;
    if (ttftUs !== null) this.#recordedTtft.record(Math.max(0, ttftUs) * NS_PER_US, times);
    if (answer.lastByteOffsetUs === null) return;
    const us = Math.max(0, answer.lastByteOffsetUs);
    this.#recorded.record(us * NS_PER_US, times);
    // A latency recorded under a name that was not sent is ignored.
    this.routes.get(answer.route)?.recordedUs.record(us, times);
    this.models.get(answer.model)?.recordedUs.record(us, times);
    this.inputSizes.get(sizeName(sizeClass))?.recordedUs.record(us, times);
  }

  /** As if nothing recorded had been taken: a capture that cannot be read to its end says nothing. */
  forgetRecorded(): void {
    this.#recorded = new Histogram();
    this.#recordedTtft = new Histogram();
    this.#recordedStatuses.clear();
    this.#recordedFound = 0;
    for (const groups of [this.routes, this.models, this.inputSizes])
      for (const [, group] of groups.ordered()) group.recordedUs = new Histogram();
  }

  rowFigures(): RowFigures {
    return {
      outcomes: this.#outcomes.figures(),
      scheduled: this.#scheduled,
      service: this.#service,
      streams: this.#streams.figures(),
      endOffsetNs: this.#endNs,
    };
  }

  recordedFigures(): RecordedFigures {
    return {
      sought: this.#uses.total,
      found: this.#recordedFound,
      latency: this.#recorded,
      ttft: this.#recordedTtft,
      statuses: Object.fromEntries(this.#recordedStatuses),
    };
  }

  /** Counts the latency of a send; null where it has none. */
  #measure(send: SentSend, outcome: SendOutcome): number | null {
    const latency = latencyOf(send, isServed(send, outcome));
    if (latency === null) return null;
    const { scheduledNs, serviceNs } = latency;
    this.#scheduled.record(scheduledNs);
    this.#service.record(serviceNs);
    this.time.addLatency(send.intendedOffsetNs, scheduledNs, serviceNs);
    this.map.add(send.intendedOffsetNs, scheduledNs);
    return scheduledNs;
  }
}

/** How often each recorded exchange was sent, at five bytes each; ids beyond the bound are counted as unknown. */
export class UseCounts {
  readonly #times = new ExchangeNumbers(Uint32Array);
  readonly #sizeClasses = new ExchangeNumbers(Uint8Array);
  #total = 0;

  /** Everything that was counted, those beyond the bound too. */
  get total(): number {
    return this.#total;
  }

  /** @param sizeClass of the request as it was sent, which may be another than that of the recorded one */
  add(segment: string, id: number, sizeClass: number): void {
    this.#total += 1;
    this.#times.set(segment, id, this.#times.get(segment, id) + 1);
    this.#sizeClasses.set(segment, id, sizeClass);
  }

  /** Null for what was not sent. */
  of(segment: string, id: number): { readonly times: number; readonly sizeClass: number } | null {
    const times = this.#times.get(segment, id);
    return times === 0 ? null : { times, sizeClass: this.#sizeClasses.get(segment, id) };
  }
}
