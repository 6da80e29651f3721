import type { Send } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import type { StepWindow } from '../../documents/capacity.ts';
import { isOfTimes } from '../../documents/metrics/metrics.ts';
import { type Objective, withRejected } from '../../documents/metrics/objectives.ts';
import { NO_CAPS } from '../../documents/parts.ts';
import type { HealthDocument, JudgementBounds, WaitsFor } from '../../documents/replay.ts';
import { latencyMs } from '../metrics/answer-times.ts';
import type { RecordedRequest } from '../run/fidelity.ts';
import { RunStatistics } from '../run/run-statistics.ts';
import type { ObjectiveResult } from '../verdict/evaluate.ts';
import type { ReasonCode } from '../verdict/reasons.ts';
import { JUDGEMENT_BOUNDS } from '../verdict/run-context.ts';
import { judge } from '../verdict/verdict.ts';
import { type GoodLimits, GoodRequests, goodLimitsOf } from './good-requests.ts';
import type { Tier } from './tiers.ts';

/** Reasons why we did not send or read the planned load. Such a window tells nothing about the target. */
const GENERATOR: ReadonlySet<string> = new Set<ReasonCode | 'starved'>([
  'achieved_below',
  'arrivals_off_plan',
  'connection_wait',
  'cpu_throttled',
  'generator_paused',
  'in_flight_cap',
  'lag_over_bound',
  'sender_busy',
  'starved',
]);

/** Reasons that come from giving up a step, because the rest of its current window is not sent. */
const OF_GIVING_UP: ReadonlySet<string> = new Set<ReasonCode>(['achieved_below', 'arrivals_off_plan']);

/** Reasons why the answers are not comparable with those of production. */
const ANSWERS: ReadonlySet<string> = new Set<ReasonCode>([
  'censored',
  'not_comparable',
  'answers_unchecked',
  'goodput_unknown',
  'streams_unread',
]);

/** Whether a reason is about the generator, not the target. */
export function isOfGenerator(code: string): boolean {
  return GENERATOR.has(code);
}

/** The health of a single window is unknown: the host is measured only for the whole run. */
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
  /** Load before the first window, so that the target is already busy. It is not judged. */
  readonly settlingNs: number;
  readonly windowNs: number;
  readonly multiplier: number;
  readonly objectives: readonly Objective[];
  /** A good request keeps the limits of every tier; without tiers, those of all objectives. */
  readonly tiers: readonly Tier[];
  readonly waitsFor: WaitsFor | null;
  /** The bounds that the user set. */
  readonly bounds: Partial<JudgementBounds>;
}

interface OpenWindow {
  readonly statistics: RunStatistics;
  readonly good: GoodRequests;
  planned: number;
  ended: number;
  /** When requests were due that were not sent because the step was stopped. */
  readonly unreachedNs: number[];
}

/** The result of an objective, under its name among the goals of a search. */
type NamedResult = ObjectiveResult & { readonly name: string };

interface JudgedWindow {
  readonly window: StepWindow;
  readonly results: readonly NamedResult[];
}

/** Index of the settling time among the windows. */
const SETTLING = -1;

/**
 * Divides one step of a search into windows of equal length and judges each by all objectives. A window is a trial in
 * the terms of MLRsearch (draft-ietf-bmwg-mlrsearch). It is over when all its planned requests have ended. Memory grows
 * with the number of open windows.
 */
export class StepWindows {
  readonly #parts: StepWindowsParts;
  readonly #bounds: JudgementBounds;
  readonly #goodLimits: readonly GoodLimits[];
  readonly #implied: string | undefined;
  readonly #open = new Map<number, OpenWindow>();
  readonly #over: StepWindow[] = [];
  /** The window of the latest planned send. */
  #drawing = 0;
  /** Intended instants that `dueAt` has not passed yet, ascending. */
  readonly #waiting: number[] = [];
  #due = 0;

  constructor(parts: StepWindowsParts) {
    this.#parts = parts;
    this.#goodLimits = goodLimitsOf(parts.objectives, parts.tiers);
    this.#implied = impliedOf(parts.objectives);
    // Confidence comes from the number of windows, so each window counts as observed, without a margin.
    this.#bounds = { ...JUDGEMENT_BOUNDS, ...parts.bounds, confidence: null };
  }

  /** Finished windows, in the order of the step. */
  get over(): readonly StepWindow[] {
    return this.#over.toSorted((a, b) => a.index - b.index);
  }

  /** Requests that became due until an instant of the step. Call it with ascending instants. */
  dueAt(elapsedNs: number): number {
    while ((this.#waiting[0] ?? Number.POSITIVE_INFINITY) <= elapsedNs) {
      this.#waiting.shift();
      this.#due += 1;
    }
    return this.#due;
  }

  /** Adds a scheduled send. Call it in the order of the schedule. */
  addPlanned(row: RecordedRequest, intendedOffsetNs: number): void {
    const at = this.#indexOf(intendedOffsetNs);
    if (at > this.#drawing) {
      this.#drawing = at;
      this.#close();
    }
    const window = this.#windowAt(at);
    window.planned += 1;
    this.#waiting.push(intendedOffsetNs);
    // Copies come later than their originals: rows of a schedule are not in the order in which they were recorded.
    window.statistics.addRecorded({ ...row, arrivalUs: Math.round(intendedOffsetNs / 1e3) });
    window.statistics.addPlanned(row, intendedOffsetNs);
  }

  /** Adds finished sends, in any order, each once. */
  addSends(sends: readonly Send[]): void {
    for (const send of sends) {
      const window = this.#open.get(this.#indexOf(send.intendedOffsetNs));
      if (window === undefined) continue;
      window.ended += 1;
      if (send.error !== 'stopped') {
        window.statistics.addSends([send]);
        window.good.add(send);
      }
      // A request that we stopped took at least until then. It counts as cancelled, because the target did not fail.
      else if (send.actualOffsetNs !== null) {
        window.statistics.addSends([{ ...send, error: null, cancelled: true, status: send.status ?? 200 }]);
      } else window.unreachedNs.push(send.intendedOffsetNs);
    }
    this.#close();
  }

  /**
   * Ends the step. Incomplete windows are dropped. But if the step was hopeless or had failed, the first of them is
   * bad, provided that the requests due until then were sent.
   * @param endedNs when the step ended, if it was not complete
   */
  finish(how: 'complete' | 'cut' | 'hopeless', endedNs = Number.POSITIVE_INFINITY): void {
    this.#drawing = Number.POSITIVE_INFINITY;
    if (how === 'complete') this.#close();
    else if (how === 'hopeless') {
      const open = [...this.#open].sort(([a], [b]) => a - b);
      // A step that was overloaded in its settling time has no window, so the settling time is judged.
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
    const { settlingNs, windowNs, objectives, waitsFor } = this.#parts;
    const beginNs = at === SETTLING ? 0 : settlingNs + at * windowNs;
    const statistics = new RunStatistics(beginNs, waitsFor, { objectives, stageEndsNs: [] });
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
      this.#over.push(this.#judged(at, window).window);
    }
  }

  /**
   * Judges the open window of a hopeless step. Its waiting requests break the objectives on time; those of slices only
   * if no other objective is broken. Objectives kept so far become unknown, because they might have been broken later.
   */
  #beyondHope(at: number, open: OpenWindow, endedNs: number): StepWindow {
    const { window: judged, results } = this.#judged(Math.max(0, at), open);
    const unsent = open.unreachedNs.filter((dueNs) => dueNs <= endedNs).length;
    const isSent = judged.sent >= this.#bounds.achievedShare * (judged.sent + unsent);
    const doubts = judged.doubts.filter((code) => !isSent || !OF_GIVING_UP.has(code));
    const window = { ...judged, doubts };
    const isBroken = Object.values(window.goals).includes(false);
    const isOurs = doubts.some(isOfGenerator);
    // The backlog is at least partly our own.
    if (isOurs && !isBroken) return { ...window, result: 'void' };
    const breaks = ({ objective }: NamedResult) =>
      !isOurs && isOfTimes(objective) && (!isBroken || objective.slice === null);
    const goals = results.map((each) => {
      const held = window.goals[each.name] ?? null;
      return [each.name, breaks(each) ? false : held === true ? null : held];
    });
    return { ...window, result: 'bad', goals: Object.fromEntries(goals) };
  }

  /** Gives the implied limit of refusals one name in all windows. Its value differs, because recorded refusals do. */
  #named(result: ObjectiveResult, recordedRefused: number): NamedResult {
    const { objective, observed } = result;
    // The implied limit of errors is the same in all windows.
    const isOfWindow = objective.isImplied === true && !this.#parts.objectives.includes(objective);
    if (this.#implied === undefined || !isOfWindow) return { ...result, name: objective.expression };
    return { ...result, name: this.#implied, observed: observed && Math.max(0, observed - recordedRefused) };
  }

  #judged(index: number, { statistics, good }: OpenWindow): JudgedWindow {
    const { multiplier, objectives } = this.#parts;
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
      objectives,
      this.#bounds,
    );
    const doubts = judgement.reasons
      .map(({ code }) => code)
      .filter((code) => GENERATOR.has(code) || ANSWERS.has(code));
    const results = judgement.results.map((result) =>
      this.#named(result, figures.statusMix.recordedRefused ?? 0),
    );
    const isFailed = judgement.verdict === 'FAIL';
    const isDoubted = !isFailed && doubts.length > 0;
    const unseen = isFailed ? [] : unseenIn(judgement.results);
    const { outcomes, latency } = figures;
    const window: StepWindow = {
      index,
      result: isFailed ? 'bad' : isDoubted || unseen.length > 0 ? 'void' : 'good',
      doubts: [...new Set([...doubts, ...unseen])],
      goals: Object.fromEntries(results.map((each) => [each.name, goalOf(each, isDoubted)])),
      observed: Object.fromEntries(
        results.map(({ name, observed }) => [
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
    return { window, results };
  }
}

/** The limit of refusals that is implied by default; undefined if the user stated one. */
function impliedOf(objectives: readonly Objective[]): string | undefined {
  return withRejected(objectives, null)[objectives.length]?.expression;
}

/** Why objectives are unknown. A window with an unknown objective is not good by all. */
function unseenIn(results: readonly ObjectiveResult[]): ReasonCode[] {
  return results
    .filter(({ ok }) => ok === null)
    .map(({ requests }) => (requests === 0 ? 'slice_empty' : 'too_few_samples'));
}

/** Whether one objective holds; null if it was not measured, or if our own side broke it. */
function goalOf({ ok, brokenBy }: ObjectiveResult, isDoubted: boolean): boolean | null {
  if (ok === false) return brokenBy === 'target' ? false : null;
  return isDoubted ? null : ok;
}
