import type { Send } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import type { StepWindow } from '../../documents/capacity.ts';
import { NO_CAPS } from '../../documents/parts.ts';
import type { HealthDocument, JudgementBounds, WaitsFor } from '../../documents/replay.ts';
import { type Threshold, withRejected } from '../objectives/slo.ts';
import type { RecordedRequest } from '../run/fidelity.ts';
import { latencyMs } from '../run/latency.ts';
import { RunStatistics } from '../run/run-statistics.ts';
import type { SloResult } from '../verdict/evaluate.ts';
import type { ReasonCode } from '../verdict/reasons.ts';
import { JUDGEMENT_BOUNDS } from '../verdict/run-context.ts';
import { judge } from '../verdict/verdict.ts';
import { type GoodLimits, GoodRequests, goodLimitsOf } from './good-requests.ts';
import type { Tier } from './tiers.ts';

/** Reasons that we did not send, or read, the planned load. Such a window says nothing about the target. */
const GENERATOR: ReadonlySet<string> = new Set<ReasonCode | 'starved'>([
  'achieved_below',
  'arrivals_off_plan',
  'connection_wait',
  'cpu_throttled',
  'in_flight_cap',
  'lag_over_bound',
  'sender_busy',
  'starved',
]);

/** Those that giving up a step causes in its current window, because the rest of the window is not sent. */
const OF_GIVING_UP: ReadonlySet<string> = new Set<ReasonCode>(['achieved_below', 'arrivals_off_plan']);

/** Reasons that the answers are not those of production. */
const ANSWERS: ReadonlySet<string> = new Set<ReasonCode>([
  'censored',
  'not_comparable',
  'answers_unchecked',
  'goodput_unknown',
  'streams_unread',
]);

/** Whether the generator, not the target, is what a reason is about. */
export function isOfGenerator(code: string): boolean {
  return GENERATOR.has(code);
}

/** A single window does not measure the host, and neither does a simulated one. The run around it does. */
export const HEALTH_UNKNOWN: HealthDocument = {
  busyShare: null,
  throttled: null,
  starved: null,
  refusedForBytes: 0,
  caps: NO_CAPS,
  stalls: 0,
  stalledMs: 0,
  longestStallMs: 0,
};

interface StepWindowsParts {
  /** Played before the first window, so that it meets a target at work; not judged. */
  readonly settlingNs: number;
  readonly windowNs: number;
  readonly multiplier: number;
  readonly thresholds: readonly Threshold[];
  /** A request is good by the limits of every tier; without tiers by those of all objectives. */
  readonly tiers: readonly Tier[];
  readonly waitsFor: WaitsFor | null;
  /** Those that were stated. */
  readonly bounds: Partial<JudgementBounds>;
}

interface OpenWindow {
  readonly statistics: RunStatistics;
  readonly good: GoodRequests;
  planned: number;
  ended: number;
  /** Not sent because the step was stopped, by when it was due. */
  readonly unreachedNs: number[];
}

/** Objectives on the times of requests. */
const TIMED = /^(latency|service|ttft|itl|tpot|goodput)\b/;

/** Where the settling time is kept among the windows. */
const SETTLING = -1;

/**
 * Cuts one step of a search into windows of equal length and judges each by all objectives from the same rows.
 * A window is what MLRsearch calls a trial (draft-ietf-bmwg-mlrsearch). It is over when everything planned in it
 * has ended. Memory grows with the windows that are open.
 */
export class StepWindows {
  readonly #parts: StepWindowsParts;
  readonly #bounds: JudgementBounds;
  readonly #goodLimits: readonly GoodLimits[];
  readonly #implied: string | undefined;
  readonly #open = new Map<number, OpenWindow>();
  readonly #over: StepWindow[] = [];
  /** The window that the plan is drawn in. */
  #drawing = 0;
  /** Intended instants that no progress was asked for yet, ascending. */
  readonly #waiting: number[] = [];
  #due = 0;

  constructor(parts: StepWindowsParts) {
    this.#parts = parts;
    this.#goodLimits = goodLimitsOf(parts.thresholds, parts.tiers);
    this.#implied = impliedOf(parts.thresholds);
    // How sure one is comes from the number of windows, so each counts by what was observed.
    this.#bounds = { ...JUDGEMENT_BOUNDS, ...parts.bounds, confidence: null };
  }

  /** Windows that are over, by their position in the step. */
  get over(): readonly StepWindow[] {
    return this.#over.toSorted((a, b) => a.index - b.index);
  }

  /** Requests that became due by an instant of the step; instants ascend. */
  dueAt(elapsedNs: number): number {
    while ((this.#waiting[0] ?? Number.POSITIVE_INFINITY) <= elapsedNs) {
      this.#waiting.shift();
      this.#due += 1;
    }
    return this.#due;
  }

  /** Takes a scheduled send, in the order of the schedule. */
  addPlanned(row: RecordedRequest, intendedOffsetNs: number): void {
    const at = this.#indexOf(intendedOffsetNs);
    if (at > this.#drawing) {
      this.#drawing = at;
      this.#close();
    }
    const window = this.#windowAt(at);
    window.planned += 1;
    this.#waiting.push(intendedOffsetNs);
    window.statistics.addRecorded(row);
    window.statistics.addPlanned(row, intendedOffsetNs);
  }

  /** Takes finished sends, in any order, each once. */
  addSends(sends: readonly Send[]): void {
    for (const send of sends) {
      const window = this.#open.get(this.#indexOf(send.intendedOffsetNs));
      if (window === undefined) continue;
      window.ended += 1;
      if (send.error !== 'stopped') {
        window.statistics.addSends([send]);
        window.good.add(send);
      }
      // What we stopped ourselves took at least until then. It is no failure of the target, and was to be none.
      else if (send.actualOffsetNs !== null) {
        window.statistics.addSends([{ ...send, error: null, cancelled: true, status: send.status ?? 200 }]);
      } else window.unreachedNs.push(send.intendedOffsetNs);
    }
    this.#close();
  }

  /**
   * Ends the step. Windows that were cut say nothing, unless the step was ended because it was beyond hope or had
   * failed: then the first of them is bad, if the target had been sent what was due until then.
   * @param endedNs when a step that was not played to its end was ended
   */
  finish(how: 'complete' | 'cut' | 'hopeless', endedNs = Number.POSITIVE_INFINITY): void {
    this.#drawing = Number.POSITIVE_INFINITY;
    if (how === 'complete') this.#close();
    else if (how === 'hopeless') {
      const open = [...this.#open].sort(([a], [b]) => a - b);
      // One that drowned in its settling time came to no window.
      const first = open.find(([at]) => at !== SETTLING || (open.length === 1 && this.#over.length === 0));
      if (first !== undefined) this.#over.push(this.#beyondHope(...first, endedNs));
    }
    this.#open.clear();
  }

  #indexOf(offsetNs: number): number {
    const { settlingNs, windowNs } = this.#parts;
    return Math.max(SETTLING, Math.floor((offsetNs - settlingNs) / windowNs));
  }

  #windowAt(at: number): OpenWindow {
    const known = this.#open.get(at);
    if (known !== undefined) return known;
    const { settlingNs, windowNs, thresholds, waitsFor } = this.#parts;
    const beginNs = at === SETTLING ? 0 : settlingNs + at * windowNs;
    const statistics = new RunStatistics(beginNs, waitsFor, { thresholds, stageEndsNs: [] });
    const good = new GoodRequests(this.#goodLimits);
    const window = { statistics, good, planned: 0, ended: 0, unreachedNs: [] };
    this.#open.set(at, window);
    return window;
  }

  #close(): void {
    for (const [at, window] of [...this.#open].sort(([a], [b]) => a - b)) {
      if (at === SETTLING || at >= this.#drawing) continue;
      if (window.ended < window.planned || window.unreachedNs.length > 0) continue;
      this.#open.delete(at);
      this.#over.push(this.#judged(at, window));
    }
  }

  /**
   * What waits breaks the objectives of time, of slices only where nothing else is broken. What was kept until then
   * might not have been.
   */
  #beyondHope(at: number, open: OpenWindow, endedNs: number): StepWindow {
    const judged = this.#judged(Math.max(0, at), open);
    const unsent = open.unreachedNs.filter((dueNs) => dueNs <= endedNs).length;
    const isSent = judged.sent >= this.#bounds.achievedShare * (judged.sent + unsent);
    const doubts = judged.doubts.filter((code) => !isSent || !OF_GIVING_UP.has(code));
    const window = { ...judged, doubts };
    const isBroken = Object.values(window.goals).includes(false);
    const isOurs = doubts.some(isOfGenerator);
    // The backlog is ours, at least in part.
    if (isOurs && !isBroken) return { ...window, result: 'void' };
    const breaks = (name: string) => !isOurs && TIMED.test(name) && (!isBroken || !name.includes('{'));
    const goals = Object.entries(window.goals).map(([name, held]) => [
      name,
      breaks(name) ? false : held === true ? null : held,
    ]);
    return { ...window, result: 'bad', goals: Object.fromEntries(goals) };
  }

  /** The implied bound on refusals has one name in all windows: it is on those beyond the recorded ones of each. */
  #named(result: SloResult, recordedRefused: number): SloResult & { readonly name: string } {
    const { threshold, observed } = result;
    if (this.#implied === undefined || threshold.metric !== 'rejected')
      return { ...result, name: threshold.expression };
    return { ...result, name: this.#implied, observed: observed && Math.max(0, observed - recordedRefused) };
  }

  #judged(index: number, { statistics, good }: OpenWindow): StepWindow {
    const { multiplier, thresholds } = this.#parts;
    const figures = statistics.figures();
    const multipliers = { multiplier, playedMultiplier: multiplier, effectiveMultiplier: multiplier };
    const judgement = judge(
      {
        figures,
        ...multipliers,
        health: HEALTH_UNKNOWN,
        coverage: { share: null, unexplained: null },
        interrupted: null,
        plannedElsewhere: 0,
      },
      thresholds,
      this.#bounds,
    );
    const doubts = judgement.reasons
      .map(({ code }) => code)
      .filter((code) => GENERATOR.has(code) || ANSWERS.has(code));
    const slo = judgement.slo.map((result) => this.#named(result, figures.statusMix.recordedRefused ?? 0));
    const isFailed = judgement.verdict === 'FAIL';
    const isDoubted = !isFailed && doubts.length > 0;
    const unseen = isFailed ? [] : unseenIn(judgement.slo);
    const { outcomes, latency } = figures;
    return {
      index,
      result: isFailed ? 'bad' : isDoubted || unseen.length > 0 ? 'void' : 'good',
      doubts: [...new Set([...doubts, ...unseen])],
      goals: Object.fromEntries(slo.map((each) => [each.name, goalOf(each, isDoubted)])),
      observed: Object.fromEntries(
        slo.map(({ name, observed }) => [
          name,
          observed === Number.POSITIVE_INFINITY ? 'Infinity' : observed,
        ]),
      ),
      planned: figures.planned,
      sent: outcomes.sent,
      completed: outcomes.completed,
      failed: outcomes.failed,
      good: good.count,
      latencyMs: latencyMs(latency.scheduled),
      latencyMeanMs: latency.scheduled.mean === null ? null : latency.scheduled.mean / NS_PER_MS,
    };
  }
}

/** The bound on refusals that is implied beside any objectives; undefined where one is stated. */
function impliedOf(thresholds: readonly Threshold[]): string | undefined {
  return withRejected(thresholds, null)[thresholds.length]?.expression;
}

/** Why objectives are unknown. A window that did not see each of them is not good by all. */
function unseenIn(slo: readonly SloResult[]): ReasonCode[] {
  return slo
    .filter(({ ok }) => ok === null)
    .map(({ requests }) => (requests === 0 ? 'slice_empty' : 'too_few_samples'));
}

/** Whether one objective holds; null where it was not measured, or where we are what broke it. */
function goalOf({ ok, brokenBy }: SloResult, isDoubted: boolean): boolean | null {
  if (ok === false) return brokenBy === 'target' ? false : null;
  return isDoubted ? null : ok;
}
