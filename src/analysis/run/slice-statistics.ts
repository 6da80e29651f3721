import { type FaultWindow, faultsOf } from '../../core/fault-windows.ts';
import { LIMITS } from '../../core/limits.ts';
import { isTurnedAway, type Send } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import { isOfStreams } from '../../documents/metrics/metrics.ts';
import { limitsText, type RequestLimit, type Threshold } from '../../documents/metrics/objectives.ts';
import { isInSlice, type Slice, sliceOf, sliceText, sliceValueOf } from '../../documents/metrics/slices.ts';
import { NamedGroups } from '../stats/tally.ts';
import { type LatencyFigures, LatencyStatistics, type SentSend } from './latency.ts';
import { isServed, OutcomeCounts, type OutcomeFigures, type SendOutcome } from './outcomes.ts';
import { type StreamFigures, StreamStatistics } from './streams.ts';

/** The figures of finished requests: all requests of a run, or a part. */
export interface PartFigures {
  readonly outcomes: OutcomeFigures;
  readonly latency: LatencyFigures;
  readonly streams: StreamFigures;
  /** By the text of their limits. */
  readonly goodput: ReadonlyMap<string, GoodputFigures>;
  /** From the first intended send to the end of the last answer or error; null if nothing was sent. */
  readonly makespanNs: number | null;
}

/** The requests of one slice, by the text of the requested slice. */
export interface SlicedFigures {
  readonly parts: readonly PartOfRun[];
  /** Requests without a value of the `*` key, and requests whose value is beyond the limit of values. */
  readonly unnamed: number;
  readonly beyond: number;
  readonly mostParts: number;
}

interface PartOfRun {
  readonly slice: Slice;
  readonly requests: number;
  readonly figures: PartFigures;
}

/**
 * How many requests kept their limits. Requests without the limited time are left out, for example with a limit of
 * `ttft` but without streaming.
 */
export interface GoodputFigures {
  /** Served requests with known times. Of these, the good ones, counted from the planned and from the actual send. */
  readonly served: number;
  readonly good: number;
  readonly goodFromSent: number;
  /** Turned away, or answered without streaming although a stream was requested. They kept no limit. */
  readonly unserved: number;
  /** Served requests for which a limited time could not be read. */
  readonly unknown: number;
  /** Requests cancelled as recorded: within all limits until then, or beyond one already. */
  readonly left: number;
  readonly leftOver: number;
  readonly failed: number;
  /** Failed requests that the replay ended itself when the run was stopped. */
  readonly stopped: number;
  readonly refused: number;
  readonly unreached: number;
}

/** The objectives of a run, and the boundaries of the parts that they refer to. */
export interface Objectives {
  readonly thresholds: readonly Threshold[];
  /** Ends of the stages, nanoseconds after the start of the judged part. The last stage has no end. */
  readonly stageEndsNs: readonly number[];
  /** Planned faults of dependencies; absent means none. */
  readonly faults?: readonly FaultWindow[];
}

export const NO_OBJECTIVES: Objectives = { thresholds: [], stageEndsNs: [] };

/** Collects the figures of finished requests, with constant memory. */
export class PartStatistics {
  readonly #outcomes = new OutcomeCounts();
  readonly #latency: LatencyStatistics;
  readonly #streams: StreamStatistics;
  readonly #goodput: ReadonlyMap<string, GoodputCounts>;
  #firstIntendedNs: number | null = null;
  requests = 0;
  endOffsetNs: number;
  lastSentNs: number;

  /** @param ofRun statistics of the complete run, if this is a part of it */
  constructor(
    originNs: number,
    limits: readonly (readonly RequestLimit[])[],
    ofRun: PartStatistics | null = null,
  ) {
    this.#latency = new LatencyStatistics(originNs, ofRun === null ? null : ofRun.#latency.figures);
    this.#streams = new StreamStatistics(originNs, ofRun === null ? null : ofRun.#streams.figures());
    this.#goodput = new Map(limits.map((each) => [limitsText(each), new GoodputCounts(each)]));
    this.endOffsetNs = originNs;
    this.lastSentNs = originNs;
  }

  add(send: Send): SendOutcome {
    const outcome = this.#outcomes.add(send);
    this.requests += 1;
    this.#streams.add(send, outcome);
    for (const goodput of this.#goodput.values()) goodput.add(send, outcome);
    const { intendedOffsetNs } = send;
    this.#firstIntendedNs = Math.min(this.#firstIntendedNs ?? intendedOffsetNs, intendedOffsetNs);
    if (!hasLeft(send)) return outcome;
    this.lastSentNs = Math.max(this.lastSentNs, send.actualOffsetNs);
    this.endOffsetNs = Math.max(this.endOffsetNs, send.lastByteOffsetNs ?? send.actualOffsetNs);
    this.#latency.add(send, isServed(send, outcome));
    return outcome;
  }

  figures(): PartFigures {
    const outcomes = this.#outcomes.figures();
    const first = this.#firstIntendedNs;
    return {
      outcomes,
      latency: this.#latency.figures,
      streams: this.#streams.figures(),
      goodput: new Map([...this.#goodput].map(([limits, counts]) => [limits, counts.figures])),
      makespanNs: first === null || outcomes.sent === 0 ? null : this.endOffsetNs - first,
    };
  }
}

function hasLeft(send: Send): send is SentSend {
  return send.actualOffsetNs !== null;
}

/** Collects the parts of a run that objectives refer to. Nothing is kept if all objectives are on the complete run. */
export class SliceStatistics {
  readonly #slices: { readonly slice: Slice; readonly parts: NamedGroups<PartStatistics>; unnamed: number }[];
  readonly #originNs: number;
  readonly #stageEndsNs: readonly number[];
  readonly #faults: readonly FaultWindow[];

  /** @param ofRun all requests of the run */
  constructor(originNs: number, { thresholds, stageEndsNs, faults = [] }: Objectives, ofRun: PartStatistics) {
    this.#faults = faults;
    const slices = new Map(thresholds.flatMap(({ slice }) => (slice ? [[sliceText(slice), slice]] : [])));
    this.#slices = [...slices].map(([text, slice]) => {
      const limits = limitsOf(thresholds, text);
      const parts = new NamedGroups(() => new PartStatistics(originNs, limits, ofRun), LIMITS.slices);
      return { slice, parts, unnamed: 0 };
    });
    this.#originNs = originNs;
    this.#stageEndsNs = stageEndsNs;
  }

  add(send: Send): void {
    if (this.#slices.length === 0) return;
    const stage = this.#stageAt(send.intendedOffsetNs - this.#originNs);
    const facts = { ...send, stage, ...faultsOf(this.#faults, send) };
    for (const sliced of this.#slices) {
      const { slice, parts } = sliced;
      if (!isInSlice(slice, facts)) continue;
      const name = slice.each === null ? '' : sliceValueOf(slice.each, facts);
      if (name === null) sliced.unnamed += 1;
      else parts.groupOf(name)?.add(send);
    }
  }

  figures(): ReadonlyMap<string, SlicedFigures> {
    return new Map(
      this.#slices.map(({ slice, parts, unnamed }) => [
        sliceText(slice),
        {
          parts: parts.ordered().map(([name, part]) => ({
            slice: sliceOf(slice, name),
            requests: part.requests,
            figures: part.figures(),
          })),
          unnamed,
          beyond: parts.ungrouped,
          mostParts: LIMITS.slices,
        },
      ]),
    );
  }

  /** The number of the stage, from 1. */
  #stageAt(offsetNs: number): number {
    const at = this.#stageEndsNs.findIndex((endNs) => offsetNs < endNs);
    return at < 0 ? Math.max(1, this.#stageEndsNs.length) : at + 1;
  }
}

/** The limits of the goodput objectives of a slice; null means all requests. */
export function limitsOf(
  thresholds: readonly Threshold[],
  slice: string | null,
): readonly (readonly RequestLimit[])[] {
  return thresholds
    .filter(({ metric }) => metric === 'goodput')
    .filter((each) => (each.slice === null ? null : sliceText(each.slice)) === slice)
    .map(({ limits }) => limits);
}

/** Counts requests by whether they keep all limits. */
export class GoodputCounts {
  readonly figures: { -readonly [Name in keyof GoodputFigures]: GoodputFigures[Name] } = {
    served: 0,
    good: 0,
    goodFromSent: 0,
    unserved: 0,
    unknown: 0,
    left: 0,
    leftOver: 0,
    failed: 0,
    stopped: 0,
    refused: 0,
    unreached: 0,
  };
  readonly #limits: readonly RequestLimit[];
  readonly #isOfStreams: boolean;

  constructor(limits: readonly RequestLimit[]) {
    this.#limits = limits;
    this.#isOfStreams = limits.every(isOfStreams);
  }

  add(send: Send, outcome: SendOutcome): void {
    const wantsStream = send.streamed || send.unstreamed;
    if (this.#isOfStreams && !wantsStream) return;
    const { figures } = this;
    if (outcome === 'cancelled') {
      if (keepsLimits(send, this.#limits, 'sent') === false) figures.leftOver += 1;
      else figures.left += 1;
      return;
    }
    if (outcome !== 'completed') {
      figures[outcome] += 1;
      if (send.error === 'stopped' && outcome === 'failed') figures.stopped += 1;
      return;
    }
    const isWhole = send.unstreamed && this.#limits.some(isOfStreams);
    if (isWhole || (send.status !== null && isTurnedAway(send.status))) {
      figures.unserved += 1;
      return;
    }
    const good = keepsLimits(send, this.#limits, 'planned');
    const goodFromSent = keepsLimits(send, this.#limits, 'sent');
    if (good === null || goodFromSent === null) {
      figures.unknown += 1;
      return;
    }
    figures.served += 1;
    if (good) figures.good += 1;
    if (goodFromSent) figures.goodFromSent += 1;
  }
}

/** Whether a request keeps all limits. Null if a time is unknown and no known time is over its limit. */
export function keepsLimits(
  send: Send,
  limits: readonly RequestLimit[],
  from: 'planned' | 'sent',
): boolean | null {
  let isKnown = true;
  for (const each of limits) {
    const { metric, operator, limit } = each;
    if (isOfStreams(each) && !send.streamed) continue;
    const ns = timeNs(send, metric, from);
    if (ns === null) isKnown = false;
    else if (operator === '<' ? ns >= limit * NS_PER_MS : ns > limit * NS_PER_MS) return false;
  }
  return isKnown ? true : null;
}

/** One time of a finished request. Infinity if no token ever came; null if the time could not be read. */
function timeNs(send: Send, metric: RequestLimit['metric'], from: 'planned' | 'sent'): number | null {
  const { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs, answer } = send;
  const sentNs = actualOffsetNs ?? intendedOffsetNs;
  const startNs = from === 'planned' && metric !== 'service' ? intendedOffsetNs : sentNs;
  if (metric === 'latency' || metric === 'service') {
    return lastByteOffsetNs === null ? null : lastByteOffsetNs - startNs;
  }
  // The first token would have taken at least the time until the cancellation.
  if (send.cancelled && answer?.firstTokenOffsetNs == null) {
    return metric === 'ttft' && lastByteOffsetNs !== null ? lastByteOffsetNs - startNs : null;
  }
  if (answer === null) return null;
  const { firstTokenOffsetNs, lastTokenOffsetNs, outputTokens, contentEvents } = answer;
  if (firstTokenOffsetNs === null || lastTokenOffsetNs === null) {
    return contentEvents === 0 ? Number.POSITIVE_INFINITY : null;
  }
  if (metric === 'ttft') return firstTokenOffsetNs - startNs;
  if (metric === 'itl') return (lastTokenOffsetNs - firstTokenOffsetNs) / Math.max(1, contentEvents - 1);
  // An answer in one piece has no time between tokens, however many tokens it contains.
  if (contentEvents === 1) return 0;
  if (outputTokens === null) return null;
  return outputTokens < 2 ? 0 : (lastTokenOffsetNs - firstTokenOffsetNs) / (outputTokens - 1);
}

/** The figures of a part without requests. */
export function emptyPart(limits: readonly RequestLimit[]): PartFigures {
  return new PartStatistics(0, [limits]).figures();
}
