import { addGaps } from '../../core/gap-counts.ts';
import type { Send } from '../../core/run.ts';
import { isOfStreams, isTimed } from '../../documents/metrics/metrics.ts';
import { type Threshold, thresholdOf } from '../../documents/metrics/objectives.ts';
import { isInSlice } from '../../documents/metrics/slices.ts';
import type { SloLine } from '../../documents/replay.ts';
import type { ObjectiveSteps } from '../../documents/report.ts';
import { latencyOf } from '../run/latency.ts';
import { isRefusal, isServed, type SendOutcome } from '../run/outcomes.ts';
import { GoodputCounts } from '../run/slice-statistics.ts';
import { completedStream } from '../run/streams.ts';
import { SteppedTimes, stepAt, together, widthFor } from './stepped.ts';

/** The percentile to show if no objective names one. */
export const USUAL_PERCENT = 95;

/** An objective with its result. */
export interface JudgedObjective {
  readonly line: SloLine;
  readonly threshold: Threshold;
}

/**
 * The objective for the first screen: the first violated one, or else the first one. If several are on the same metric
 * and requests, the one with the highest percentile. Null if it cannot be shown over time.
 */
export function shownObjective(slo: readonly SloLine[]): JudgedObjective | null {
  const violated = slo.filter(({ ok }) => ok === false);
  const known = (violated.length > 0 ? violated : slo).flatMap((line): JudgedObjective[] => {
    const threshold = thresholdOf(line.expression);
    return threshold !== null && hasCourse(threshold) ? [{ line, threshold }] : [];
  });
  const [first] = known;
  if (first === undefined || (violated.length === 0 && first.line !== slo[0])) return null;
  const subjectOf = ({ line }: JudgedObjective) =>
    line.expression.slice(0, line.expression.lastIndexOf(': '));
  return known
    .filter((each) => subjectOf(each) === subjectOf(first))
    .toSorted((a, b) => (percentOf(b.threshold) ?? 0) - (percentOf(a.threshold) ?? 0))[0]!;
}

/** The objective on the latency of all requests, chosen in the same way. */
export function shownLatency(slo: readonly SloLine[]): JudgedObjective | null {
  return shownObjective(
    slo.filter(({ expression }) => {
      const threshold = thresholdOf(expression);
      return threshold !== null && isPlainLatency(threshold);
    }),
  );
}

/** The percentile of an objective on times, such as 99 of `latency: p(99)<200`; null for others. */
export function percentOf({ aggregation }: Threshold): number | null {
  return aggregation.kind === 'percentile' ? aggregation.percent : null;
}

/** Whether the objective is on the latency of all requests, which every report shows. */
export function isPlainLatency({ metric, slice }: Threshold): boolean {
  return metric === 'latency' && slice === null;
}

/** Whether higher is better. Then the least of several values is the worst. */
export function asksForMore({ operator }: Pick<Threshold, 'operator'>): boolean {
  return operator.startsWith('>');
}

/** Whether an objective can be shown over time. Rows of a run do not contain stages and faults. */
function hasCourse(threshold: Threshold): boolean {
  const { metric, slice, aggregation } = threshold;
  if (metric === 'monitored') return true;
  if (slice?.tags.some(({ key }) => key === 'stage' || key === 'fault')) return false;
  return isShare(threshold) ? aggregation.kind === 'rate' : isTimed(metric) && percentOf(threshold) !== null;
}

/** Whether a request counts as infinitely slow in objectives on latency. */
export function isUnanswered(outcome: SendOutcome): boolean {
  return outcome === 'failed' || outcome === 'refused' || outcome === 'unreached';
}

function isShare({ metric }: Threshold): boolean {
  return metric === 'errors' || metric === 'rejected' || metric === 'goodput';
}

/** Numbers of samples in a step to calculate its share, tried in this order. */
const SHARE_SAMPLES = [100, 20, 1] as const;

/** One objective over the steps of a run. The memory is proportional to the number of steps. */
export class ObjectiveCourse {
  readonly #threshold: Threshold;
  readonly #expression: string;
  readonly #stepS: number;
  readonly #times: SteppedTimes;
  readonly #all: number[];
  readonly #counted: number[];
  /** Number of streams with a token, and of their gaps. */
  #streams = 0;
  #gaps = 0;

  constructor({ line, threshold }: JudgedObjective, stepS: number, steps: number) {
    this.#threshold = threshold;
    this.#expression = line.expression;
    this.#stepS = stepS;
    this.#times = new SteppedTimes(stepS, steps);
    this.#all = new Array<number>(steps).fill(0);
    this.#counted = new Array<number>(steps).fill(0);
  }

  add(send: Send, outcome: SendOutcome): void {
    const { slice } = this.#threshold;
    // The stage does not matter: objectives on stages and faults are not shown over time.
    if (slice !== null && !isInSlice(slice, { ...send, stage: 1 })) return;
    if (isTimed(this.#threshold.metric)) this.#addTime(send, outcome);
    else this.#addShare(send, outcome);
  }

  steps(): ObjectiveSteps {
    const { metric } = this.#threshold;
    const named = { expression: this.#expression, metric };
    if (isTimed(metric)) {
      // A stream without an answer counts as often as the mean number of gaps of other streams.
      const gapsOfStream = this.#streams === 0 ? 1 : Math.max(1, this.#gaps / this.#streams);
      const { p50Ms, tailMs, ...course } = this.#times.course(
        percentOf(this.#threshold) ?? USUAL_PERCENT,
        gapsOfStream,
      );
      return { ...named, unit: 'ms', ...course, median: p50Ms, values: tailMs };
    }
    const widths = SHARE_SAMPLES.map((samples) => widthFor(this.#all, samples));
    const width = widths.find((each) => each !== undefined) ?? 1;
    const sum = (part: readonly number[]) => part.reduce((total, count) => total + count, 0);
    const samples = together(this.#all, width).map(sum);
    const counted = together(this.#counted, width).map(sum);
    return {
      ...named,
      unit: 'share',
      stepS: this.#stepS * width,
      percent: null,
      at: samples.map((_, at) => at * this.#stepS * width),
      samples,
      median: null,
      values: samples.map((count, at) => (count === 0 ? null : counted[at]! / count)),
    };
  }

  /** Adds the time as the verdict counts it. Failed requests count as infinitely slow. */
  #addTime(send: Send, outcome: SendOutcome): void {
    const { metric } = this.#threshold;
    const { intendedOffsetNs, actualOffsetNs } = send;
    if (isOfStreams(this.#threshold)) {
      if (send.streamed || send.unstreamed) this.#addStream(send, outcome);
    } else if (isUnanswered(outcome)) this.#times.addUnanswered(intendedOffsetNs);
    else if (actualOffsetNs !== null) {
      const ended = isServed(send, outcome) || outcome === 'cancelled';
      const latency = latencyOf({ ...send, actualOffsetNs }, ended);
      const ns = metric === 'latency' ? latency?.scheduledNs : latency?.serviceNs;
      if (ns !== undefined) this.#times.record(intendedOffsetNs, ns);
    }
  }

  #addStream(send: Send, outcome: SendOutcome): void {
    // A request that was never sent is a failure of the generator, not of a stream.
    if (outcome === 'unreached') return;
    const completed = outcome === 'completed' ? completedStream(send) : null;
    if (completed === 'refusedAsRecorded') return;
    if (isUnanswered(outcome) || completed === 'whole' || completed === 'turnedAway')
      this.#times.addUnanswered(send.intendedOffsetNs);
    else this.#addTokens(send);
  }

  /** Adds the times of a completed stream, or of a cancelled one as far as it was received. */
  #addTokens({ intendedOffsetNs, lastByteOffsetNs, cancelled, answer }: Send): void {
    if (cancelled && lastByteOffsetNs === null) return;
    const { metric } = this.#threshold;
    const record = (ns: number, times = 1) =>
      this.#times.record(intendedOffsetNs, Math.max(0, Math.round(ns)), times);
    const { firstTokenOffsetNs: firstNs = null, lastTokenOffsetNs: lastNs = null } = answer ?? {};
    if (firstNs === null || lastNs === null) {
      if (metric !== 'ttft') return;
      if (cancelled) record(lastByteOffsetNs! - intendedOffsetNs);
      else if (answer?.contentEvents === 0) this.#times.addUnanswered(intendedOffsetNs);
      return;
    }
    const { gaps = null, outputTokens = null } = answer ?? {};
    if (metric === 'ttft') record(firstNs - intendedOffsetNs);
    else if (metric === 'itl') {
      this.#streams += 1;
      if (gaps !== null) this.#gaps += addGaps(gaps, { record });
      if (cancelled) record(lastByteOffsetNs! - lastNs);
    } else if (!cancelled && outputTokens !== null && outputTokens > 1)
      record((lastNs - firstNs) / (outputTokens - 1));
  }

  #addShare(send: Send, outcome: SendOutcome): void {
    const at = stepAt(send.intendedOffsetNs, this.#stepS, this.#all.length);
    if (at === null) return;
    const counted = this.#isCounted(send, outcome);
    if (counted === null) return;
    this.#all[at]! += 1;
    if (counted) this.#counted[at]! += 1;
  }

  /** Whether a request counts for the share; null if it does not belong to the whole either. */
  #isCounted(send: Send, outcome: SendOutcome): boolean | null {
    if (this.#threshold.metric === 'goodput') {
      const { limits } = this.#threshold;
      const goodput = new GoodputCounts(limits);
      goodput.add(send, outcome);
      const { good, left, served, leftOver, failed, refused, unreached, unserved } = goodput.figures;
      const all = served + left + leftOver + failed + refused + unreached + unserved;
      return all === 0 ? null : good + left > 0;
    }
    if (outcome !== 'completed' && outcome !== 'failed') return null;
    if (this.#threshold.metric === 'errors') return outcome === 'failed';
    return send.error === null && send.status !== null && isRefusal(send.status);
  }
}
