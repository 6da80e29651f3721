import { addGaps } from '../../core/gap-counts.ts';
import { Histogram } from '../../core/histogram.ts';
import { hasFailed, type Send, type SendAnswer } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import type { TimedMetric } from '../../documents/metrics/metrics.ts';
import type { Objective } from '../../documents/metrics/objectives.ts';
import { isServed, isUnanswered, type SendCategory } from '../run/outcomes.ts';
import {
  fewest,
  leastOfFew,
  lowerBound,
  sampleFloor,
  samplesNeeded,
  type WindowPercentiles,
} from '../stats/percentiles.ts';
import { type AnswerTime, latencyOf, leftOffsetNs } from './answer-times.ts';
import {
  answersIn,
  EVERYTHING,
  type Margin,
  type Measure,
  marginOf,
  type Observable,
  OF_TARGET,
  type PartFigures,
  type Scope,
  type TimeCourse,
} from './measure.ts';
import { completedStream } from './streams.ts';

/** Times of answers, and the number of infinitely slow ones. */
interface Times {
  readonly histogram: Histogram;
  readonly infinite: number;
}

/** An upper bound of a percentile, ms, with the independent samples that it rests on. */
interface UpperBound {
  readonly upper: number;
  readonly samples: number;
}

/** What differs between metrics that are times of requests. */
interface TimeSource {
  times(figures: Observable, scope: Scope): Times;
  windows(figures: PartFigures): WindowPercentiles;
  /** Answers and failures. */
  count(figures: Observable): number;
  /** The time of one finished request. Infinity if no token ever came; null if the time could not be read. */
  ofSend(send: Send, from: Scope['from']): number | null;
  addTimes(course: TimeCourse, send: Send, outcome: SendCategory): void;
}

/** A time of requests. Failed and refused requests count as infinitely slow in every aggregation. */
interface TimeMeasure extends Measure {
  readonly ofSend: TimeSource['ofSend'];
  bound(percent: number, confidence: number, figures: Observable): UpperBound;
  /** Independent samples of a percentile among this number of requests. */
  worth(percent: number, confidence: number, figures: Observable, count: number): number;
}

type Extra = Pick<Measure, 'allowedShare' | 'isOfGaps' | 'recorded' | 'inRecording'> & {
  /** Replaces the bound by a lower one, if another figure gives it. */
  readonly tightened?: (
    bound: UpperBound,
    percent: number,
    confidence: number,
    figures: Observable,
  ) => UpperBound;
};

/** Lower percentiles are tried too. A stall leaves fast answers independent, so they have more samples. */
const LOWER_PERCENTS = [50, 5];

function timeMeasure(source: TimeSource, { tightened, ...extra }: Extra = {}): TimeMeasure {
  const worth: TimeMeasure['worth'] = (percent, confidence, figures, count) =>
    Math.min(count, fewest(source.windows(figures).independentSamples(percent, confidence, count)));
  const bound: TimeMeasure['bound'] = (percent, confidence, figures) => {
    const { histogram, infinite } = source.times(figures, EVERYTHING);
    const count = source.count(figures);
    const all = histogram.count + infinite;
    const windows = source.windows(figures);
    const upper = windows.upper(percent, confidence, count, histogram, infinite) / NS_PER_MS;
    const samples = fewest(windows.independentSamples(percent, confidence, all));
    const bound = { upper, samples: Math.min(samples, count) };
    return tightened?.(bound, percent, confidence, figures) ?? bound;
  };
  return {
    ...extra,
    ofSend: (send, from) => source.ofSend(send, from),
    isBroken: ({ limit }, send, from) =>
      hasFailed(send) || (source.ofSend(send, from) ?? 0) > limit * NS_PER_MS,
    addTimes: (course, send, outcome) => source.addTimes(course, send, outcome),
    bound,
    worth,
    observe: (objective, figures, scope) => timeMs(objective, source.times(figures, scope)),
    samples: (_, figures) => source.count(figures),
    floor: ({ aggregation }) => (aggregation.kind === 'percentile' ? sampleFloor(aggregation.percent) : 1),
    provenPercent: ({ aggregation, operator }) => {
      const isBelow = aggregation.kind === 'percentile' && aggregation.percent < 100;
      return isBelow && operator.startsWith('<') ? aggregation.percent : null;
    },
    margin: (objective, figures, confidence): Margin | null => {
      const { aggregation, operator, limit } = objective;
      if (!operator.startsWith('<')) return null;
      const { histogram, infinite } = source.times(figures, EVERYTHING);
      if (aggregation.kind === 'avg') {
        const meanMs = (histogram.mean ?? 0) / NS_PER_MS;
        const boundMs = source.windows(figures).upperMean(confidence, histogram) / NS_PER_MS;
        const needed = ((boundMs - meanMs) / (limit - meanMs)) ** 2;
        return marginOf(objective, confidence, boundMs, { samples: needed, known: 1 });
      }
      if (aggregation.kind !== 'percentile') return null;
      const { percent } = aggregation;
      const { upper, samples } = bound(percent, confidence, figures);
      const slowest = (histogram.percentile(100, infinite) ?? 0) / NS_PER_MS;
      const over = (histogram.countOver(limit * NS_PER_MS) + infinite) / (histogram.count + infinite);
      const needed = samplesNeeded(percent, confidence, over);
      const margin = marginOf(objective, confidence, upper, { samples: needed, known: samples });
      return upper > slowest ? { ...margin, slowest } : margin;
    },
    best: ({ aggregation, operator }, figures, confidence) => {
      if (aggregation.kind !== 'percentile' || !operator.startsWith('<')) return null;
      const { percent } = aggregation;
      const { histogram, infinite } = source.times(figures, OF_TARGET);
      // A lower bound of a lower percentile also applies to a higher one.
      const percents = [percent, ...LOWER_PERCENTS.filter((each) => each < percent)];
      const each = 1 - (1 - confidence) / percents.length;
      const samplesAt = (at: number) => worth(at, each, figures, source.count(figures));
      const bounds = percents
        .map((at) => lowerBound(at, each, samplesAt(at), histogram, infinite))
        .filter((bound) => bound !== null);
      const best = bounds.length > 0 ? Math.max(...bounds) : leastOfFew(percent, histogram, infinite);
      return best / NS_PER_MS;
    },
  };
}

/** A time of whole answers. @param planned the time that counts from the planned instant, or replaces it */
function answerTime(planned: 'scheduled' | 'service', extra: Extra = {}): TimeMeasure {
  const at: Readonly<Record<Scope['from'], AnswerTime>> = { planned, sent: 'service', target: 'unpaused' };
  const source: TimeSource = {
    times: ({ latency, unanswered }, scope) => {
      const from = at[scope.from];
      const infinite = unanswered.failed + (scope.unsent ? unanswered.unsent : 0);
      return withCensored(latency[from], latency.censored[from], scope, infinite);
    },
    windows: ({ latency }) => latency.byWindow[planned],
    count: answersIn,
    ofSend: (send, from) => {
      const actualOffsetNs = send.actualOffsetNs ?? send.intendedOffsetNs;
      return latencyOf({ ...send, actualOffsetNs }, true)?.[at[from]] ?? null;
    },
    addTimes: (course, send, outcome) => {
      const { intendedOffsetNs, actualOffsetNs } = send;
      if (isUnanswered(outcome)) course.addUnanswered(intendedOffsetNs);
      else if (actualOffsetNs !== null) {
        const ended = isServed(send, outcome) || outcome === 'cancelled';
        const ns = latencyOf({ ...send, actualOffsetNs }, ended)?.[planned];
        if (ns !== undefined) course.record(intendedOffsetNs, ns);
      }
    },
  };
  return timeMeasure(source, {
    ...extra,
    allowedShare: ({ aggregation }) => {
      if (aggregation.kind === 'percentile') return 1 - aggregation.percent / 100;
      return aggregation.kind === 'max' ? 0 : null;
    },
  });
}

const SERVICE = answerTime('service');

/** How much of the share beyond a percentile is left to late requests. */
const LATE_SHARES = [0, 0.02, 0.1, 0.5] as const;

/**
 * Bounds scheduled latency by service latency S and the lag L of this run, which is known exactly: P(S + L > a + b) is
 * at most P(S > a) + P(L > b), however the two depend on each other (Boole's inequality). One late request then costs
 * a percentile its own share, and not its lag.
 */
function latencyByLag(percent: number, confidence: number, figures: Observable): number {
  const { lag, connectionWait, service } = figures.latency;
  const late = [lag, connectionWait].filter(({ count }) => count > 0);
  const beyond = 1 - percent / 100;
  // Lag is that of all requests of the run. In the worst case all late ones belong to these requests.
  const exceededBy = (each: Histogram, count: number) =>
    count >= each.count ? 0 : (each.percentile(100 * (1 - count / each.count)) ?? 0);
  const bounds = LATE_SHARES.map((share) => {
    const allowed = (share * beyond * service.count) / Math.max(1, late.length);
    const lateNs = late.reduce((sum, each) => sum + exceededBy(each, allowed), 0);
    const rest = 100 * (1 - beyond * (1 - share));
    return SERVICE.bound(rest, confidence, figures).upper + lateNs / NS_PER_MS;
  });
  return Math.min(...bounds);
}

const LATENCY = answerTime('scheduled', {
  recorded: ({ latencyMs }) => latencyMs.recorded,
  inRecording: (objective, { recordedTook, recordedFailed }) =>
    objective.aggregation.kind === 'percentile' && recordedTook.count > 0
      ? timeMs(objective, { histogram: recordedTook, infinite: recordedFailed })
      : null,
  tightened: (bound, percent, confidence, figures) => ({
    ...bound,
    upper: Math.min(bound.upper, latencyByLag(percent, confidence, figures)),
  }),
});

/** An answer with a token. */
interface Tokens extends SendAnswer {
  readonly firstTokenOffsetNs: number;
  readonly lastTokenOffsetNs: number;
}

interface PausedTokens {
  readonly firstNs: number;
  readonly lastNs: number;
}

const NOT_PAUSED: PausedTokens = { firstNs: 0, lastNs: 0 };

/** A time of streamed answers, by their tokens. */
interface TokenTime extends Pick<TimeSource, 'times' | 'count'> {
  readonly name: 'ttft' | 'itl' | 'tpot';
  /** @param paused how long the tokens may have waited for a paused sender */
  ofTokens(tokens: Tokens, startNs: number, paused: PausedTokens): number | null;
  /** The time of a request that was cancelled before its first token. */
  ofLeft(waitedNs: number): number | null;
  record(tokens: Tokens, send: Send, record: (ns: number, times?: number) => void, course: TimeCourse): void;
}

function tokenTime(of: TokenTime, extra: Extra = {}): TimeMeasure {
  return timeMeasure(
    {
      ...of,
      windows: ({ streams }) => streams.byWindow[of.name],
      ofSend: (send, from) => {
        const { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs, answer, cancelled, pausedNs } = send;
        const startNs = from === 'planned' ? intendedOffsetNs : (actualOffsetNs ?? intendedOffsetNs);
        // The first token would have taken at least the time until the cancellation.
        if (cancelled && answer?.firstTokenOffsetNs == null)
          return lastByteOffsetNs === null ? null : of.ofLeft(lastByteOffsetNs - startNs);
        if (answer === null) return null;
        if (hasTokens(answer)) {
          if (from !== 'target') return of.ofTokens(answer, startNs, NOT_PAUSED);
          // If the pauses are unknown, any time is possible.
          if (pausedNs === null) return 0;
          const { firstTokenPausedNs: firstNs, lastTokenPausedNs: lastNs } = answer;
          const leftNs = leftOffsetNs({ ...send, actualOffsetNs: startNs });
          return of.ofTokens(answer, leftNs, { firstNs: firstNs ?? 0, lastNs: lastNs ?? 0 });
        }
        return answer.contentEvents === 0 ? Number.POSITIVE_INFINITY : null;
      },
      addTimes: (course, send, outcome) => {
        // A request that was never sent is a failure of the generator, not of a stream.
        if ((!send.streamed && !send.unstreamed) || outcome === 'unreached') return;
        const completed = outcome === 'completed' ? completedStream(send) : null;
        if (completed === 'refusedAsRecorded') return;
        if (isUnanswered(outcome) || completed === 'whole' || completed === 'turnedAway')
          course.addUnanswered(send.intendedOffsetNs);
        else addTokens(of, course, send);
      },
    },
    extra,
  );
}

/** The time from the first to the last token. */
function spanOf({ firstTokenOffsetNs, lastTokenOffsetNs }: Tokens, paused: PausedTokens): number {
  return Math.max(0, lastTokenOffsetNs - paused.lastNs - firstTokenOffsetNs);
}

function hasTokens(answer: SendAnswer): answer is Tokens {
  return answer.firstTokenOffsetNs !== null && answer.lastTokenOffsetNs !== null;
}

/** Adds the times of a completed stream, or of a cancelled one as far as it was received. */
function addTokens(of: TokenTime, course: TimeCourse, send: Send): void {
  const { intendedOffsetNs, lastByteOffsetNs, cancelled, answer } = send;
  if (cancelled && lastByteOffsetNs === null) return;
  const record = (ns: number, times = 1) =>
    course.record(intendedOffsetNs, Math.max(0, Math.round(ns)), times);
  if (answer !== null && hasTokens(answer)) {
    of.record(answer, send, record, course);
    return;
  }
  const leftNs = of.ofLeft((lastByteOffsetNs ?? intendedOffsetNs) - intendedOffsetNs);
  if (leftNs === null) return;
  if (cancelled) record(leftNs);
  else if (answer?.contentEvents === 0) course.addUnanswered(intendedOffsetNs);
}

const TTFT = tokenTime(
  {
    name: 'ttft',
    times: (figures, scope) => {
      const { ttft, ttftService, unpaused, censored } = figures.streams;
      const infinite = slowStreams(figures, scope) + figures.streams.withoutContent;
      if (scope.from === 'planned') return withCensored(ttft, censored.ttft, scope, infinite);
      const times = scope.from === 'sent' ? ttftService : unpaused.ttft;
      return withCensored(times, censored.ttftService, scope, infinite);
    },
    count: (figures) => figures.streams.ttft.count + figures.streams.withoutContent + failedStreams(figures),
    ofTokens: ({ firstTokenOffsetNs }, startNs, paused) =>
      Math.max(0, firstTokenOffsetNs - paused.firstNs - startNs),
    ofLeft: (waitedNs) => waitedNs,
    record: ({ firstTokenOffsetNs }, { intendedOffsetNs }, record) =>
      record(firstTokenOffsetNs - intendedOffsetNs),
  },
  { recorded: ({ streams }) => streams.recordedTtft },
);

const ITL = tokenTime(
  {
    name: 'itl',
    times: (figures, scope) => {
      const { itl, unpaused, censored } = figures.streams;
      const each = gapsOfStream(figures);
      const unbegun = scope.cancelled === 'worst' ? Math.round(censored.ttft.count * each) : 0;
      const slow = Math.round(slowStreams(figures, scope) * each);
      return withCensored(scope.from === 'target' ? unpaused.itl : itl, censored.itl, scope, slow + unbegun);
    },
    // A stream is one sample, not one for each gap: a slow moment of a server affects all gaps of that moment.
    count: (figures) => figures.streams.ttft.count + failedStreams(figures),
    ofTokens: (tokens, _, paused) => spanOf(tokens, paused) / Math.max(1, tokens.contentEvents - 1),
    ofLeft: () => null,
    record: ({ gaps, lastTokenOffsetNs }, { cancelled, lastByteOffsetNs }, record, course) => {
      course.addStream(gaps === null ? 0 : addGaps(gaps, { record }));
      if (cancelled) record((lastByteOffsetNs ?? lastTokenOffsetNs) - lastTokenOffsetNs);
    },
  },
  { isOfGaps: true },
);

const TPOT = tokenTime({
  name: 'tpot',
  times: (figures, scope) => {
    const { tpot, unpaused, censored } = figures.streams;
    const infinite = slowStreams(figures, scope) + (scope.cancelled === 'worst' ? censored.streams : 0);
    return { histogram: scope.from === 'target' ? unpaused.tpot : tpot, infinite };
  },
  count: (figures) => figures.streams.tpot.count + failedStreams(figures),
  ofTokens: (tokens, _, paused) => {
    const { outputTokens, contentEvents } = tokens;
    // An answer in one piece has no time between tokens, however many tokens it contains.
    if (contentEvents === 1) return 0;
    if (outputTokens === null) return null;
    return outputTokens < 2 ? 0 : spanOf(tokens, paused) / (outputTokens - 1);
  },
  ofLeft: () => null,
  record: ({ firstTokenOffsetNs, lastTokenOffsetNs, outputTokens }, { cancelled }, record) => {
    if (!cancelled && outputTokens !== null && outputTokens > 1)
      record((lastTokenOffsetNs - firstTokenOffsetNs) / (outputTokens - 1));
  },
});

/** The times of requests. Limits of goodput are on these. */
export const TIMES: Readonly<Record<TimedMetric, TimeMeasure>> = {
  latency: LATENCY,
  service: SERVICE,
  ttft: TTFT,
  itl: ITL,
  tpot: TPOT,
};

/** @param censored times until the replay cancelled a request */
function withCensored(
  histogram: Histogram,
  censored: Histogram,
  { cancelled }: Scope,
  infinite: number,
): Times {
  if (censored.count === 0) return { histogram, infinite };
  if (cancelled === 'worst') return { histogram, infinite: infinite + censored.count };
  const least = new Histogram();
  least.merge(histogram);
  least.merge(censored);
  return { histogram: least, infinite };
}

function failedStreams({ unanswered }: Observable): number {
  return unanswered.failedStreams + unanswered.refusedStreams;
}

/**
 * Requests that were turned away, or answered without streaming, count as infinitely slow streams, so that they do not
 * hide a tail. Alone they do not violate an objective, because a fast refusal is not slow.
 */
function slowStreams({ streams, unanswered }: Observable, scope: Scope): number {
  return (
    unanswered.failedStreams +
    (scope.unsent ? unanswered.refusedStreams : 0) +
    (scope.streamless ? streams.turnedAway + streams.whole : 0)
  );
}

/** The mean over streams with a token. At least 1, for runs in which every stream failed. */
function gapsOfStream({ streams }: PartFigures): number {
  return streams.ttft.count === 0 ? 1 : Math.max(1, streams.itl.count / streams.ttft.count);
}

function timeMs({ aggregation }: Objective, { histogram, infinite }: Times): number | null {
  const ns = timeNs(aggregation, histogram, infinite);
  return ns === null ? null : ns / NS_PER_MS;
}

function timeNs(
  aggregation: Objective['aggregation'],
  histogram: Histogram,
  infinite: number,
): number | null {
  if (aggregation.kind === 'percentile') return histogram.percentile(aggregation.percent, infinite);
  const slowest = infinite > 0 ? Number.POSITIVE_INFINITY : null;
  if (aggregation.kind === 'min') return histogram.min ?? slowest;
  return slowest ?? (aggregation.kind === 'avg' ? histogram.mean : histogram.max);
}
