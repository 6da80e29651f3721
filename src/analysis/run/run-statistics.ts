import { FIRST_SERVER_ERROR } from '../../core/exchange.ts';
import { type FaultWindow, faultsOf } from '../../core/fault-windows.ts';
import { Histogram } from '../../core/histogram.ts';
import { type CheckedSend, hasFailed, isTurnedAway, type RunTotals, type Send } from '../../core/run.ts';
import type {
  CheckFigures,
  RepeatFigures,
  ReplayDocument,
  WaitsFor,
  WarmupFigures,
} from '../../documents/replay.ts';
import { limitsText, objectiveLimits } from '../objectives/slo.ts';
import { type Fidelity, FidelityStatistics, type RecordedRequest } from './fidelity.ts';
import { AnswerLikeness, type RouteLikeness } from './likeness.ts';
import type { MonitoredByName } from './monitored.ts';
import {
  CheckStatistics,
  isServed,
  type OutcomeFigures,
  type SendOutcome,
  StatusMix,
  type StatusMixFigures,
  WarmupStatistics,
} from './outcomes.ts';
import { RepeatStatistics } from './repeats.ts';
import {
  type GoodputFigures,
  limitsOf,
  NO_OBJECTIVES,
  type Objectives,
  type PartFigures,
  PartStatistics,
  type SlicedFigures,
  SliceStatistics,
} from './slice-statistics.ts';

/** Everything that is known of a run when it is over; the histograms hold nanoseconds. */
export interface RunFigures extends PartFigures {
  /** Exchanges of the window, replayable or not. */
  readonly recorded: number;
  readonly planned: number;
  /** False if the run was stopped before it had read its whole plan: both are lower bounds. */
  readonly planCounted: boolean;
  /** By what objectives ask for. */
  readonly slices: ReadonlyMap<string, SlicedFigures>;
  readonly fidelity: Fidelity;
  readonly statusMix: StatusMixFigures;
  /** Latency of the recorded answers to what was served, of those that were served when recorded too. */
  readonly recordedLatency: Histogram;
  /** How many requests kept the limits of all objectives on times; null without such an objective. */
  readonly allLimits: { readonly limits: string; readonly counts: GoodputFigures } | null;
  /** Answers beside the recorded ones to the same requests. */
  readonly likeness: readonly RouteLikeness[];
  /** How answers compare with the recorded ones; without it they were not compared. */
  readonly check?: CheckFigures | null;
  /** How second sends of an exchange compare with first ones; null or left out where none was sent twice. */
  readonly repeats?: RepeatFigures | null;
  /** What monitors saw, by the name of the series; left out where nothing was monitored. */
  readonly monitored?: MonitoredByName;
  /** What was sent before the judged part, and counts nowhere else. */
  readonly warmup: WarmupFigures;
  /** From the start of the judged part: to the last planned instant, to the last send, to the last answer or error. */
  readonly plannedSpanNs: number;
  readonly sentSpanNs: number;
  readonly endOffsetNs: number;
}

/**
 * Follows a run while it goes on, at constant memory: what is recorded and planned as the schedule is drawn,
 * what is sent as it ends.
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
  readonly #likeness = new AnswerLikeness();
  readonly #faults: readonly FaultWindow[];
  #recorded = 0;
  #planned = 0;
  #firstIntendedNs: number | null = null;
  #lastIntendedNs: number;

  /**
   * @param originNs where the judged part begins: behind the warm-up
   * @param waitsFor what may delay requests beyond their planned instants; null for nothing
   * @param objectives their slices are measured separately
   */
  constructor(originNs = 0, waitsFor: WaitsFor | null = null, objectives: Objectives = NO_OBJECTIVES) {
    this.fidelity = new FidelityStatistics(waitsFor);
    this.#originNs = originNs;
    this.#faults = objectives.faults ?? [];
    this.#lastIntendedNs = originNs;
    const ofRequest = objectiveLimits(objectives.thresholds);
    this.#allLimits = limitsText(ofRequest);
    const limits = limitsOf(objectives.thresholds, null);
    this.#all = new PartStatistics(originNs, ofRequest.length === 0 ? limits : [...limits, ofRequest]);
    this.#slices = new SliceStatistics(originNs, objectives, this.#all);
    this.#warmup = new WarmupStatistics(originNs);
  }

  /** Takes an exchange of the window, whether it will be replayed or not, in order of arrival. */
  addRecorded(row: RecordedRequest): void {
    this.#recorded += 1;
    this.fidelity.addRecorded(row);
  }

  /** Takes a scheduled send that is judged, in the order of the schedule. */
  addPlanned(row: RecordedRequest, intendedOffsetNs: number): void {
    this.#planned += 1;
    this.#firstIntendedNs ??= intendedOffsetNs;
    this.#lastIntendedNs = intendedOffsetNs;
    this.fidelity.addPlanned(row, intendedOffsetNs);
    if (this.#isOutside({ intendedOffsetNs, lastByteOffsetNs: null })) this.statusMix.addPlanned(row);
  }

  /** Takes a planned send of which only the row of its run is left, in the order of the schedule. */
  addPlannedSend(send: Send): void {
    this.#planned += 1;
    this.#firstIntendedNs ??= send.intendedOffsetNs;
    this.#lastIntendedNs = send.intendedOffsetNs;
    this.fidelity.addPlannedSend(send);
  }

  /** Takes finished sends, in any order, each once. */
  addSends(sends: readonly Send[]): void {
    for (const send of sends) this.#addSend(send);
  }

  /** Adds comparison results for sends added earlier. */
  addChecks(sends: readonly CheckedSend[]): void {
    for (const send of sends) this.#checks.add(send);
  }

  /** What has ended of the judged part so far; its histograms go on. */
  soFar(): PartFigures {
    return this.#all.figures();
  }

  /**
   * The figures of a run that is over. To be called once.
   * @param planCounted whether the run had read its whole plan
   */
  figures(planCounted = true): RunFigures {
    this.fidelity.finish();
    return { ...this.figuresSoFar(), planCounted };
  }

  /** The same of what has ended so far; its histograms go on. */
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
      warmup: this.#warmup.figures(),
      plannedSpanNs: this.#lastIntendedNs - this.#originNs,
      sentSpanNs: this.#all.lastSentNs - this.#originNs,
      endOffsetNs: this.#all.endOffsetNs - this.#originNs,
      // From the first of the plan, which may have been refused before any other.
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
    // Answers under a planned fault have objectives of their own, and need not be those of the recording.
    if (!this.#isOutside(send)) return;
    if (send.actualOffsetNs !== null && send.error === null) this.statusMix.addSent(send.status);
    this.#addLikeness(send);
    this.#addRecordedLatency(send, outcome);
  }

  /** Beside the latency of the run, which is of the served: a request that fails now may be one that was slow then. */
  #addRecordedLatency(send: Send, outcome: SendOutcome): void {
    const { recorded } = send;
    if (recorded?.tookNs == null || !isServed(send, outcome)) return;
    const wasServed = recorded.status < FIRST_SERVER_ERROR && !isTurnedAway(recorded.status);
    if (wasServed) this.#recordedLatency.record(recorded.tookNs);
  }

  #isOutside(send: Pick<Send, 'intendedOffsetNs' | 'lastByteOffsetNs'>): boolean {
    return this.#faults.length === 0 || faultsOf(this.#faults, send).isOutside;
  }

  #addLikeness(send: Send): void {
    const { route, status, responseBytes: bytes, tellsError = null, recorded = null } = send;
    if (recorded === null || recorded.status >= FIRST_SERVER_ERROR || status === null) return;
    const { actualOffsetNs, lastByteOffsetNs } = send;
    if (actualOffsetNs === null || lastByteOffsetNs === null || send.cancelled || hasFailed(send)) return;
    const tookNs = lastByteOffsetNs - actualOffsetNs;
    this.#likeness.add(route, recorded, { status, bytes, streamed: send.streamed, tellsError, tookNs });
  }
}

/** The counts a run store keeps beside its rows. */
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
