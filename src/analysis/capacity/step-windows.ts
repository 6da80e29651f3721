import type { Send } from '../../core/run.ts';
import type { StepWindow } from '../../documents/capacity.ts';
import { NO_CAPS } from '../../documents/caps.ts';
import type { HealthDocument, JudgementBounds, WaitsFor } from '../../documents/replay.ts';
import type { RecordedRequest } from '../run/fidelity.ts';
import { latencyMs } from '../run/latency.ts';
import { RunStatistics } from '../run/run-statistics.ts';
import type { SloResult } from '../verdict/evaluate.ts';
import type { ReasonCode } from '../verdict/reasons.ts';
import { JUDGEMENT_BOUNDS } from '../verdict/run-context.ts';
import type { Threshold } from '../verdict/slo.ts';
import { judge } from '../verdict/verdict.ts';

const NS_PER_MS = 1e6;

/** What says that we did not send the load that was planned. Such a window says nothing of the target. */
const GENERATOR: ReadonlySet<ReasonCode> = new Set([
  'achieved_below',
  'arrivals_off_plan',
  'connection_wait',
  'cpu_throttled',
  'in_flight_cap',
  'lag_over_bound',
]);

/** What says that the answers were none of production's. */
const ANSWERS: ReadonlySet<ReasonCode> = new Set([
  'censored',
  'not_comparable',
  'answers_unchecked',
  'goodput_unknown',
  'streams_unread',
]);

/** Whether the generator, not the target, is what a reason is about. */
export function isOfGenerator(code: string): boolean {
  return (GENERATOR as ReadonlySet<string>).has(code);
}

/** A single window measures nothing of the host; the run that it is part of does. */
const HEALTH_UNKNOWN: HealthDocument = {
  busyShare: null,
  throttled: null,
  starved: null,
  refusedForBytes: 0,
  caps: NO_CAPS,
  stalls: 0,
  stalledMs: 0,
  longestStallMs: 0,
};

export interface StepWindowsParts {
  readonly windowNs: number;
  readonly multiplier: number;
  readonly thresholds: readonly Threshold[];
  readonly waitsFor: WaitsFor | null;
  /** Those that were stated. */
  readonly bounds: Partial<JudgementBounds>;
}

interface OpenWindow {
  readonly statistics: RunStatistics;
  planned: number;
  ended: number;
  /** Not sent, or not awaited, because the step was stopped. */
  unreached: number;
  cut: number;
}

/**
 * Cuts one step of a search into windows of equal length and judges each by all objectives from the same rows.
 * A window is what MLRsearch calls a trial (draft-ietf-bmwg-mlrsearch). It is over when everything planned in it
 * has ended. Memory grows with the windows that are open.
 */
export class StepWindows {
  readonly #parts: StepWindowsParts;
  readonly #bounds: JudgementBounds;
  readonly #open = new Map<number, OpenWindow>();
  readonly #over: StepWindow[] = [];
  /** The window that the plan is drawn in. */
  #drawing = 0;
  /** Intended instants that no progress was asked for yet, ascending. */
  readonly #waiting: number[] = [];
  #due = 0;
  #ended = 0;

  constructor(parts: StepWindowsParts) {
    this.#parts = parts;
    // How sure one is comes from the number of windows, so each counts by what was observed.
    this.#bounds = { ...JUDGEMENT_BOUNDS, ...parts.bounds, confidence: null };
  }

  /** Windows that are over, by their position in the step. */
  get over(): readonly StepWindow[] {
    return this.#over.toSorted((a, b) => a.index - b.index);
  }

  /** Requests that became due by an instant of the step, and those of all planned that have ended. */
  progressAt(elapsedNs: number): { readonly due: number; readonly ended: number } {
    while ((this.#waiting[0] ?? Number.POSITIVE_INFINITY) <= elapsedNs) {
      this.#waiting.shift();
      this.#due += 1;
    }
    return { due: Math.max(this.#due, this.#ended), ended: this.#ended };
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
      this.#ended += 1;
      if (send.error !== 'stopped') window.statistics.addSends([send]);
      // What we stopped ourselves took at least until then: it is no failure of the target.
      else if (send.actualOffsetNs !== null) {
        window.cut += 1;
        window.statistics.addSends([{ ...send, error: null, cancelled: true }]);
      } else window.unreached += 1;
    }
    this.#close();
  }

  /**
   * Ends the step. Windows that were cut say nothing, unless the step was ended because it was beyond hope or had
   * failed: then the first of them is bad.
   */
  finish(how: 'complete' | 'cut' | 'hopeless'): void {
    this.#drawing = Number.POSITIVE_INFINITY;
    const [first] = [...this.#open].sort(([a], [b]) => a - b);
    if (how === 'complete') this.#close();
    else if (how === 'hopeless' && first !== undefined) this.#over.push(this.#beyondHope(...first));
    this.#open.clear();
  }

  #indexOf(offsetNs: number): number {
    return Math.floor(offsetNs / this.#parts.windowNs);
  }

  #windowAt(at: number): OpenWindow {
    const known = this.#open.get(at);
    if (known !== undefined) return known;
    const { windowNs, thresholds, waitsFor } = this.#parts;
    const statistics = new RunStatistics(at * windowNs, waitsFor, { thresholds, stageEndsNs: [] });
    const window = { statistics, planned: 0, ended: 0, unreached: 0, cut: 0 };
    this.#open.set(at, window);
    return window;
  }

  #close(): void {
    for (const [at, window] of [...this.#open].sort(([a], [b]) => a - b)) {
      if (at >= this.#drawing || window.ended < window.planned || window.unreached > 0) continue;
      this.#open.delete(at);
      const judged = this.#judged(at, window.statistics);
      // A window that we cut says nothing where what we cut could change the answer.
      if (window.cut === 0 || judged.result !== 'void') this.#over.push(judged);
    }
  }

  /** Where what was seen breaks no objective yet, what waits would: those of time are broken. */
  #beyondHope(at: number, { statistics }: OpenWindow): StepWindow {
    const window = this.#judged(at, statistics);
    if (Object.values(window.goals).includes(false)) return { ...window, result: 'bad' };
    const isOfTime = (name: string) => /^(latency|service|ttft|itl|tpot|goodput)\b/.test(name);
    const goals = Object.entries(window.goals).map(([name, held]) => [name, isOfTime(name) ? false : held]);
    return { ...window, result: 'bad', goals: Object.fromEntries(goals) };
  }

  #judged(index: number, statistics: RunStatistics): StepWindow {
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
    const isDoubted = judgement.verdict !== 'FAIL' && doubts.length > 0;
    const { outcomes, latency } = figures;
    return {
      index,
      result: isDoubted ? 'void' : judgement.verdict === 'FAIL' ? 'bad' : emptyOr(judgement.slo),
      doubts: [...new Set(doubts)],
      goals: Object.fromEntries(
        judgement.slo.map((result) => [result.threshold.expression, goalOf(result, isDoubted)]),
      ),
      observed: Object.fromEntries(
        judgement.slo.map(({ threshold, observed }) => [
          threshold.expression,
          observed === Number.POSITIVE_INFINITY ? 'Infinity' : observed,
        ]),
      ),
      planned: figures.planned,
      sent: outcomes.sent,
      completed: outcomes.completed,
      failed: outcomes.failed,
      latencyMs: latencyMs(latency.scheduled),
      latencyMeanMs: latency.scheduled.mean === null ? null : latency.scheduled.mean / NS_PER_MS,
    };
  }
}

/** Without an answer to any objective a window says nothing. */
function emptyOr(slo: readonly SloResult[]): 'good' | 'void' {
  return slo.every(({ ok }) => ok === null) ? 'void' : 'good';
}

/** Whether one objective holds; null where it was not measured, or where we are what broke it. */
function goalOf({ ok, brokenBy }: SloResult, isDoubted: boolean): boolean | null {
  if (ok === false) return brokenBy === 'target' ? false : null;
  return isDoubted ? null : ok;
}
