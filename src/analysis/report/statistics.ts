import { type ExchangeRow, hasWholeAnswer } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import { isTurnedAway, type Send } from '../../core/run.ts';
import { NS_PER_US } from '../../core/units.ts';
import type { ObjectiveLine } from '../../documents/replay.ts';
import type { LatencySteps, ObjectiveSteps } from '../../documents/report.ts';
import { latencyOf, type SentSend } from '../metrics/answer-times.ts';
import { type StreamFigures, StreamStatistics } from '../metrics/streams.ts';
import {
  isServed,
  isUnanswered,
  OutcomeCounts,
  type OutcomeFigures,
  type SendCategory,
} from '../run/outcomes.ts';
import { sizeClassOf } from '../stats/distance.ts';
import { ExchangeNumbers } from '../stats/exchange-numbers.ts';
import { NamedGroups, Tally } from '../stats/tally.ts';
import { Group, sizeName } from './groups.ts';
import {
  isPlainLatency,
  ObjectiveCourse,
  percentOf,
  shownLatency,
  shownObjective,
  USUAL_PERCENT,
} from './objective-steps.ts';
import { LatencyMapCounts, TimeSteps } from './over-time.ts';

/** The facts of a recorded exchange that a report needs. */
export type RecordedAnswer = Pick<
  ExchangeRow,
  | ('segment' | 'id' | 'route' | 'model' | 'outcome' | 'status' | 'streamed')
  | ('lastByteOffsetUs' | 'firstTokenOffsetUs')
>;

/** The recorded figures of the sent requests. Histograms contain nanoseconds. */
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

/** Adds the rows of a run in the order of the plan, then the recorded exchanges, with bounded memory. */
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

  readonly #course: ObjectiveCourse | null;
  readonly #latencyPercent: number;
  readonly #isInterrupted: boolean;

  /**
   * @param seconds from the start of the run to the end of the last second with an event
   * @param slo the objectives with their results, as documents have them
   * @param isInterrupted whether the run was stopped: requests that the stop ended or left unsent are not judged
   */
  constructor(seconds: number, slo: readonly ObjectiveLine[] = [], isInterrupted = false) {
    this.#isInterrupted = isInterrupted;
    this.time = new TimeSteps(seconds);
    this.map = new LatencyMapCounts(seconds);
    const shown = shownObjective(slo);
    const isOther =
      shown !== null && shown.objective.series === undefined && !isPlainLatency(shown.objective);
    this.#course = isOther ? new ObjectiveCourse(shown, this.time.stepS, this.time.steps) : null;
    const latency = shownLatency(slo);
    this.#latencyPercent = latency === null ? USUAL_PERCENT : (percentOf(latency.objective) ?? USUAL_PERCENT);
  }

  addSend(send: Send): void {
    if (send.warmup) return;
    const outcome = this.#outcomes.add(send);
    this.#streams.add(send, outcome);
    const isJudged = !(this.#isInterrupted && isOfStop(send, outcome));
    if (isJudged) this.#course?.add(send, outcome);
    const { actualOffsetNs } = send;
    if (isJudged && isUnanswered(outcome)) this.time.addUnanswered(send.intendedOffsetNs);
    if (actualOffsetNs === null) return;
    this.#endNs = Math.max(this.#endNs, send.lastByteOffsetNs ?? actualOffsetNs);
    const sizeClass = sizeClassOf(send.requestBytes);
    this.#uses.add(send.segment, send.exchangeId, { sizeClass, served: isServed(send, outcome) });
    const scheduledNs = this.#measure({ ...send, actualOffsetNs }, outcome);
    const failed = outcome === 'failed';
    this.routes.groupOf(send.route)?.add(failed, scheduledNs);
    this.models.groupOf(send.model)?.add(failed, scheduledNs);
    this.inputSizes.groupOf(sizeName(sizeClass))?.add(failed, scheduledNs);
  }

  /** Adds an exchange of the capture, in any order, each once. Exchanges that were not sent are ignored. */
  addRecorded(answer: RecordedAnswer): void {
    const use = this.#uses.of(answer.segment, answer.id);
    if (use === null) return;
    const { times, served, sizeClass } = use;
    this.#recordedFound += times;
    this.#recordedStatuses.count(answer.status === null ? 'none' : String(answer.status), times);
    // The run's latency has only served requests. A quick 503 or 429 would make the recording look faster in
    // comparison.
    if (served === 0 || !hasWholeAnswer(answer)) return;
    if (answer.status !== null && isTurnedAway(answer.status)) return;
    const ttftUs = answer.streamed === true ? answer.firstTokenOffsetUs : null;
    if (ttftUs !== null) this.#recordedTtft.record(Math.max(0, ttftUs) * NS_PER_US, served);
    if (answer.lastByteOffsetUs === null) return;
    const us = Math.max(0, answer.lastByteOffsetUs);
    this.#recorded.record(us * NS_PER_US, served);
    // Ignored if no request with this name was sent.
    this.routes.get(answer.route)?.recordedUs.record(us, served);
    this.models.get(answer.model)?.recordedUs.record(us, served);
    this.inputSizes.get(sizeName(sizeClass))?.recordedUs.record(us, served);
  }

  /** Discards all recorded figures, after a capture could not be read completely. */
  forgetRecorded(): void {
    this.#recorded = new Histogram();
    this.#recordedTtft = new Histogram();
    this.#recordedStatuses.clear();
    this.#recordedFound = 0;
    for (const groups of [this.routes, this.models, this.inputSizes])
      for (const [, group] of groups.ordered()) group.recordedUs = new Histogram();
  }

  latencySteps(): LatencySteps {
    return this.time.latencySteps(this.#latencyPercent);
  }

  /** Null if no objective is shown, or if the one shown is on the latency of all requests. */
  objectiveSteps(): ObjectiveSteps | null {
    return this.#course?.steps() ?? null;
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

  /** Adds the latency of a send; null if it has none. */
  #measure(send: SentSend, outcome: SendCategory): number | null {
    const latency = latencyOf(send, isServed(send, outcome) || outcome === 'cancelled');
    if (latency === null) return null;
    const { scheduled: scheduledNs, service: serviceNs } = latency;
    if (outcome === 'cancelled') {
      this.time.addLeft(send.intendedOffsetNs, scheduledNs);
      return null;
    }
    this.#scheduled.record(scheduledNs);
    this.#service.record(serviceNs);
    this.time.addLatency(send.intendedOffsetNs, scheduledNs, serviceNs);
    this.map.add(send.intendedOffsetNs, scheduledNs);
    return scheduledNs;
  }
}

/** Whether the stop of the run ended the request or left it unsent. */
function isOfStop({ error }: Send, outcome: SendCategory): boolean {
  return outcome === 'unreached' || (outcome === 'failed' && error === 'stopped');
}

/** How often each recorded exchange was sent, with nine bytes for each. Ids beyond the limit count as unknown. */
export class UseCounts {
  readonly #times = new ExchangeNumbers(Uint32Array);
  readonly #served = new ExchangeNumbers(Uint32Array);
  readonly #sizeClasses = new ExchangeNumbers(Uint8Array);
  #total = 0;

  /** The number of all sends, including those beyond the limit. */
  get total(): number {
    return this.#total;
  }

  /** @param use has the size class of the sent request, which may differ from the recorded one */
  add(segment: string, id: number, { sizeClass, served }: { sizeClass: number; served: boolean }): void {
    this.#total += 1;
    this.#times.set(segment, id, this.#times.get(segment, id) + 1);
    if (served) this.#served.set(segment, id, this.#served.get(segment, id) + 1);
    this.#sizeClasses.set(segment, id, sizeClass);
  }

  /** Null if the exchange was not sent. */
  of(segment: string, id: number): Readonly<Record<'times' | 'served' | 'sizeClass', number>> | null {
    const times = this.#times.get(segment, id);
    if (times === 0) return null;
    return { times, served: this.#served.get(segment, id), sizeClass: this.#sizeClasses.get(segment, id) };
  }
}
