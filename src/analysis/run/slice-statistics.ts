import { LIMITS } from '../../core/limits.ts';
import { type FaultWindow, faultsOf, type Send } from '../../core/run.ts';
import { limitsText, type Objective, type RequestLimit } from '../../documents/metrics/objectives.ts';
import { isInSlice, type Slice, sliceOf, sliceText, sliceValueOf } from '../../documents/metrics/slices.ts';
import { LatencyStatistics, type SentSend } from '../metrics/answer-times.ts';
import { GoodputCounts, limitsOf } from '../metrics/goodput.ts';
import type { PartFigures } from '../metrics/measure.ts';
import { ShareWindows } from '../metrics/share-windows.ts';
import { StreamStatistics } from '../metrics/streams.ts';
import { NamedGroups } from '../stats/tally.ts';
import { isServed, OutcomeCounts, type SendCategory } from './outcomes.ts';

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

/** The objectives of a run, and the boundaries of the parts that they refer to. */
export interface JudgedParts {
  readonly objectives: readonly Objective[];
  /** Ends of the stages, nanoseconds after the start of the judged part. The last stage has no end. */
  readonly stageEndsNs: readonly number[];
  /** Planned faults of dependencies; absent means none. */
  readonly faults?: readonly FaultWindow[];
}

export const NO_OBJECTIVES: JudgedParts = { objectives: [], stageEndsNs: [] };

/** Collects the figures of finished requests, with constant memory. */
export class PartStatistics {
  readonly #outcomes = new OutcomeCounts();
  readonly #latency: LatencyStatistics;
  readonly #streams: StreamStatistics;
  readonly #shares: ShareWindows;
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
    this.#shares = new ShareWindows(originNs);
    this.#goodput = new Map(limits.map((each) => [limitsText(each), new GoodputCounts(each)]));
    this.endOffsetNs = originNs;
    this.lastSentNs = originNs;
  }

  add(send: Send): SendCategory {
    const outcome = this.#outcomes.add(send);
    this.requests += 1;
    this.#streams.add(send, outcome);
    this.#shares.add(send, outcome);
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
      shares: this.#shares,
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
  constructor(
    originNs: number,
    { objectives, stageEndsNs, faults = [] }: JudgedParts,
    ofRun: PartStatistics,
  ) {
    this.#faults = faults;
    const slices = new Map(objectives.flatMap(({ slice }) => (slice ? [[sliceText(slice), slice]] : [])));
    this.#slices = [...slices].map(([text, slice]) => {
      const limits = limitsOf(objectives, text);
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

/** The figures of a part without requests. */
export function emptyPart(limits: readonly RequestLimit[]): PartFigures {
  return new PartStatistics(0, [limits]).figures();
}
