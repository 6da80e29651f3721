import { FIRST_SERVER_ERROR } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import {
  type CheckedSend,
  type FaultWindow,
  faultsOf,
  hasFailed,
  isTurnedAway,
  type RunTotals,
  type Send,
} from '../../core/run.ts';
import { limitsText, objectiveLimits } from '../../documents/metrics/objectives.ts';
import type { ComparedHits } from '../../documents/parts.ts';
import type {
  CheckFigures,
  RepeatFigures,
  ReplayDocument,
  WaitsFor,
  WarmupFigures,
} from '../../documents/replay.ts';
import { limitsOf } from '../metrics/goodput.ts';
import type { GoodputFigures, PartFigures } from '../metrics/measure.ts';
import type { MonitoredByName } from '../metrics/monitored.ts';
import { ReplayedHits } from '../stats/cache-hits.ts';
import { type Fidelity, FidelityStatistics, type RecordedRequest } from './fidelity.ts';
import { AnswerLikeness, type RouteLikeness } from './likeness.ts';
import {
  CheckStatistics,
  isServed,
  type OutcomeFigures,
  type SendCategory,
  StatusMix,
  type StatusMixFigures,
  WarmupStatistics,
} from './outcomes.ts';
import { RepeatStatistics } from './repeats.ts';
import {
  type JudgedParts,
  NO_OBJECTIVES,
  PartStatistics,
  type SlicedFigures,
  SliceStatistics,
} from './slice-statistics.ts';

/** All figures of a finished run. Histograms contain nanoseconds. */
export interface RunFigures extends PartFigures {
  /** Exchanges in the window, replayable or not. */
  readonly recorded: number;
  readonly planned: number;
  /** False if the run was stopped before it read its complete plan. Then both numbers are lower bounds. */
  readonly planCounted: boolean;
  /** Figures by the slices of objectives. */
  readonly slices: ReadonlyMap<string, SlicedFigures>;
  readonly fidelity: Fidelity;
  readonly statusMix: StatusMixFigures;
  /** Recorded latency of the requests that were served both when recorded and now. */
  readonly recordedLatency: Histogram;
  /** How many requests kept the limits of all objectives on times; null without such objectives. */
  readonly allLimits: { readonly limits: string; readonly counts: GoodputFigures } | null;
  /** Comparison of answers with the recorded ones of the same requests, by route. */
  readonly likeness: readonly RouteLikeness[];
  /** Result of comparing the contents of answers with the recorded ones; absent if they were not compared. */
  readonly check?: CheckFigures | null;
  /** Comparison of second sends of an exchange with first ones; null or absent if none was sent twice. */
  readonly repeats?: RepeatFigures | null;
  /** Null or absent if no answer of either side reports cached tokens. */
  readonly cacheHits?: ComparedHits | null;
  /** Monitored series by name; absent without monitors. */
  readonly monitored?: MonitoredByName;
  /** Figures of the warm-up, which are not included anywhere else. */
  readonly warmup: WarmupFigures;
  /**
   * From the start of the judged part: to the last planned instant, to the last send, and to the last answer or error.
   */
  readonly plannedSpanNs: number;
  readonly sentSpanNs: number;
  readonly endOffsetNs: number;
}

/**
 * Collects the statistics of a running replay, with constant memory. Recorded and planned requests are added when the
 * schedule is generated, sends when they end.
 */
export class RunStatistics {
  /** Arrivals so far. */
  readonly fidelity: FidelityStatistics;
  readonly #all: PartStatistics;
  readonly #slices: SliceStatistics;
  readonly statusMix = new StatusMix();
  readonly #recordedLatency = new Histogram();
  readonly #allLimits: string;
  readonly #warmup: WarmupStatistics;
  readonly #originNs: number;
  readonly #checks = new CheckStatistics();
  readonly #repeats = new RepeatStatistics();
  readonly #cacheHits = new ReplayedHits();
  readonly #likeness = new AnswerLikeness();
  readonly #faults: readonly FaultWindow[];
  #recorded = 0;
  #planned = 0;
  #firstIntendedNs: number | null = null;
  #lastIntendedNs: number;

  /**
   * @param originNs start of the judged part, after the warm-up
   * @param waitsFor what may delay requests after their planned instants; null for nothing
   * @param judged the slices of its objectives are measured separately
   */
  constructor(originNs = 0, waitsFor: WaitsFor | null = null, judged: JudgedParts = NO_OBJECTIVES) {
    this.fidelity = new FidelityStatistics(waitsFor);
    this.#originNs = originNs;
    this.#faults = judged.faults ?? [];
    this.#lastIntendedNs = originNs;
    const ofRequest = objectiveLimits(judged.objectives);
    this.#allLimits = limitsText(ofRequest);
    const limits = limitsOf(judged.objectives, null);
    this.#all = new PartStatistics(originNs, ofRequest.length === 0 ? limits : [...limits, ofRequest]);
    this.#slices = new SliceStatistics(originNs, judged, this.#all);
    this.#warmup = new WarmupStatistics(originNs);
  }

  /** Adds an exchange of the window, replayable or not, in order of arrival. */
  addRecorded(row: RecordedRequest): void {
    this.#recorded += 1;
    this.fidelity.addRecorded(row);
  }

  /** Adds a scheduled send of the judged part, in the order of the schedule. */
  addPlanned(row: RecordedRequest, intendedOffsetNs: number): void {
    this.#planned += 1;
    this.#firstIntendedNs ??= intendedOffsetNs;
    this.#lastIntendedNs = intendedOffsetNs;
    this.fidelity.addPlanned(row, intendedOffsetNs);
    if (this.#isOutside({ intendedOffsetNs, lastByteOffsetNs: null })) this.statusMix.addPlanned(row);
  }

  /** Adds a planned send from its row in a finished run, in the order of the schedule. */
  addPlannedSend(send: Send): void {
    this.#planned += 1;
    this.#firstIntendedNs ??= send.intendedOffsetNs;
    this.#lastIntendedNs = send.intendedOffsetNs;
    this.fidelity.addPlannedSend(send);
  }

  /** Adds finished sends, in any order, each once. */
  addSends(sends: readonly Send[]): void {
    for (const send of sends) this.#addSend(send);
  }

  /** Adds comparison results for sends added earlier. */
  addChecks(sends: readonly CheckedSend[]): void {
    for (const send of sends) this.#checks.add(send);
  }

  /** Figures of the judged part so far. The histograms are no copies and change later. */
  soFar(): PartFigures & Pick<RunFigures, 'check' | 'statusMix' | 'slices'> {
    return {
      ...this.#all.figures(),
      slices: this.#slices.figures(),
      check: this.#checks.figures(),
      statusMix: this.statusMix.figures(),
    };
  }

  /**
   * The figures of a finished run. Call it once.
   * @param planCounted whether the run had read its complete plan
   */
  figures(planCounted = true): RunFigures {
    this.fidelity.finish();
    return { ...this.figuresSoFar(), planCounted };
  }

  /** The figures of all sends that have ended so far. The histograms are no copies and change later. */
  figuresSoFar(): RunFigures {
    const first = this.#firstIntendedNs;
    const all = this.#all.figures();
    const counts = all.goodput.get(this.#allLimits);
    return {
      ...all,
      slices: this.#slices.figures(),
      recorded: this.#recorded,
      planned: this.#planned,
      planCounted: true,
      fidelity: this.fidelity.figures(),
      statusMix: this.statusMix.figures(),
      recordedLatency: this.#recordedLatency,
      allLimits: counts === undefined ? null : { limits: this.#allLimits, counts },
      likeness: this.#likeness.figures(),
      check: this.#checks.figures(),
      repeats: this.#repeats.figures(),
      cacheHits: this.#cacheHits.figures(),
      warmup: this.#warmup.figures(),
      plannedSpanNs: this.#lastIntendedNs - this.#originNs,
      sentSpanNs: this.#all.lastSentNs - this.#originNs,
      endOffsetNs: this.#all.endOffsetNs - this.#originNs,
      // From the first planned request, even if it was refused.
      makespanNs: first === null || all.outcomes.sent === 0 ? null : this.#all.endOffsetNs - first,
    };
  }

  #addSend(send: Send): void {
    if (send.warmup) {
      this.#warmup.add(send);
      return;
    }
    const outcome = this.#all.add(send);
    this.#slices.add(send);
    this.fidelity.addSend(send);
    this.#repeats.add(send);
    if (send.check != null) this.#checks.add({ ...send, check: send.check });
    // Answers during a planned fault have their own objectives, and may differ from the recording.
    if (!this.#isOutside(send)) return;
    if (send.actualOffsetNs !== null && send.error === null) this.statusMix.addSent(send.status);
    this.#addLikeness(send);
    if (outcome === 'completed') this.#cacheHits.add(send.model, send.answer, send.recorded ?? null);
    this.#addRecordedLatency(send, outcome);
  }

  /**
   * Only for requests that were served both times, like the run's latency. A request that fails now may have been a
   * slow one.
   */
  #addRecordedLatency(send: Send, outcome: SendCategory): void {
    const { recorded } = send;
    if (recorded?.tookNs == null || !isServed(send, outcome)) return;
    const wasServed = recorded.status < FIRST_SERVER_ERROR && !isTurnedAway(recorded.status);
    if (wasServed) this.#recordedLatency.record(recorded.tookNs);
  }

  #isOutside(send: Pick<Send, 'intendedOffsetNs' | 'lastByteOffsetNs'>): boolean {
    return this.#faults.length === 0 || faultsOf(this.#faults, send).isOutside;
  }

  #addLikeness(send: Send): void {
    const { route, model, segment, status, responseBytes: bytes, recorded = null } = send;
    if (recorded === null || recorded.status >= FIRST_SERVER_ERROR || status === null) return;
    const { actualOffsetNs, lastByteOffsetNs } = send;
    if (actualOffsetNs === null || lastByteOffsetNs === null || send.cancelled || hasFailed(send)) return;
    const tookNs = lastByteOffsetNs - actualOffsetNs;
    const { streamed, tellsError = null, bodyCrc: body = null, answer } = send;
    const outputTokens = answer?.outputTokens ?? null;
    const finish = answer === null ? null : (answer.finish ?? ('none' as const));
    const now = { status, bytes, streamed, tellsError, tookNs, body, outputTokens, finish };
    this.#likeness.add({ route, model, streamed: recorded.streamed }, recorded, now, segment);
  }
}

/** The counts that a run store keeps in addition to its rows. */
export function totalsOf({ planned, outcomes }: RunFigures): RunTotals {
  const { sent, completed, failed, cancelled, refused } = outcomes;
  return { planned, sent, completed, failed, cancelled, refused };
}

const COUNTS = ['sent', 'completed', 'failed', 'cancelled', 'refused', 'unreached'] as const;

/**
 * Differences between the rows of a run and its summary, in words; empty if they agree.
 * @param run the id kept with the rows; null if there is none
 */
export function rowDifferences(
  run: string | null,
  outcomes: OutcomeFigures,
  summary: ReplayDocument,
): string[] {
  const own = run === null || run === summary.run ? [] : [`rows of run ${run}, a summary of ${summary.run}`];
  const counts = COUNTS.filter((name) => outcomes[name] !== summary[name]).map(
    (name) => `${name} ${outcomes[name]} in the rows, ${summary[name]} in the summary`,
  );
  return [...own, ...counts];
}
