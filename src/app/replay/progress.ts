import { type Pulse, RunPulse } from '../../analysis/run/progress.ts';
import type { RunPosition, Send } from '../../core/run.ts';
import type { LogCommand } from '../../core/text.ts';
import { formatMs } from '../../core/units.ts';
import {
  type EndEvent,
  endEventSchema,
  type ReplayEvent,
  type ReplayPhase,
  type SecondEvent,
} from '../../documents/events.ts';
import type { ReplayDocument } from '../../documents/replay.ts';

const SECOND_MS = 1_000;
/** Interval between progress lines when the output is not a terminal. */
const LINE_MS = 10_000;

interface ReplayProgressParts {
  readonly position: () => RunPosition;
  /** From the start, nanoseconds: the part before the judged part, and the complete run. */
  readonly warmupNs: number;
  readonly plannedNs: number;
  readonly calibrates: boolean;
  /** The current state of objectives; absent if none is judged. */
  readonly slo?: () => SecondEvent['slo'];
  readonly reporter: ReplayReporter;
}

/**
 * Shows the progress of a run: one line that is redrawn on a terminal, or otherwise a line at intervals. Also emits an
 * event each second if a program reads them.
 */
export class ReplayProgress {
  readonly #parts: ReplayProgressParts;
  readonly #shown = new RunPulse();
  readonly #told = new RunPulse();
  readonly #timers: NodeJS.Timeout[];
  #failed = 0;
  #refused = 0;

  constructor(parts: ReplayProgressParts) {
    this.#parts = parts;
    const redrawMs = parts.reporter.interactive ? SECOND_MS : LINE_MS;
    this.#timers = [
      setInterval(() => this.#show(), redrawMs),
      setInterval(() => this.#tellOfSecond(), SECOND_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  add(sends: readonly Send[]): void {
    this.#shown.add(sends);
    if (this.#parts.reporter.event !== undefined) this.#told.add(sends);
  }

  /** Emits the last event, so that the events add up to the run. */
  end(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#tell();
    this.#parts.reporter.endProgress();
  }

  /** Nothing is emitted while threads and the plan are being prepared. */
  #tellOfSecond(): void {
    if (this.#parts.position().elapsedNs > 0) this.#tell();
  }

  #tell(): void {
    const { reporter, position } = this.#parts;
    if (reporter.event === undefined) return;
    const pulse = this.#told.take(position());
    const slo = this.#parts.slo?.() ?? [];
    reporter.event(secondEvent(this.#phase(pulse), pulse, slo, this.#leftNs(pulse.elapsedNs)));
  }

  #show(): void {
    const { reporter, position } = this.#parts;
    const parts = this.#line(this.#shown.take(position()));
    if (reporter.interactive) reporter.progress(parts);
    else reporter.note(parts.join('  '));
  }

  /** The parts of the progress line, the most important first, because a narrow terminal shows only those that fit. */
  #line(pulse: Pulse): string[] {
    this.#failed += pulse.errors;
    this.#refused += pulse.refused;
    const { elapsedNs, spanNs, latencyMs, waiting, inFlight, lagP99Us } = pulse;
    const rate = (count: number) => (spanNs > 0 ? `${((count / spanNs) * 1e9).toFixed(1)}/s` : '–');
    const ms = (value: number | null) => (value === null ? '–' : formatMs(value));
    const phase = this.#phase(pulse);
    return [
      ...this.#outlook(phase, elapsedNs),
      ...(phase === 'calibration' || phase === 'warmup' ? [phase] : []),
      formatMs(elapsedNs / 1e6),
      rate(pulse.achieved),
      `p50 ${ms(latencyMs.p50)} p95 ${ms(latencyMs.p95)}`,
      `errors ${this.#failed}`,
      ...(this.#refused > 0 ? [`refused ${this.#refused}`] : []),
      ...(waiting > 0 ? [`waiting ${waiting}`] : []),
      `in flight ${inFlight}`,
      `due ${rate(pulse.offered)}`,
      `lag p99 ${ms(lagP99Us === null ? null : lagP99Us / 1e3)}`,
    ];
  }

  #outlook(phase: ReplayPhase, elapsedNs: number): string[] {
    const { within } = this.#parts.reporter;
    const leftS = Math.ceil(within?.leftS() ?? this.#leftNs(elapsedNs) / 1e9);
    const left = `${formatMs(leftS * 1e3)} left`;
    const drain = phase === 'drain' ? ['waiting for answers'] : [];
    if (within !== undefined) return [`up to ${left}`, within.name, ...drain];
    return drain.length > 0 ? drain : [leftS > 0 ? left : 'not all sent yet'];
  }

  #phase({ elapsedNs, waiting }: Pick<Pulse, 'elapsedNs' | 'waiting'>): ReplayPhase {
    const { calibrates, warmupNs, plannedNs } = this.#parts;
    if (calibrates) return 'calibration';
    if (elapsedNs < warmupNs) return 'warmup';
    return elapsedNs < plannedNs || waiting > 0 ? 'run' : 'drain';
  }

  #leftNs(elapsedNs: number): number {
    return Math.max(0, this.#parts.plannedNs - elapsedNs);
  }
}

/** Receives the messages of a replay while it runs. */
export interface ReplayReporter {
  /** Whether a line is redrawn in place for a user. Otherwise a line is printed at intervals. */
  readonly interactive: boolean;
  /** Permanent lines. */
  note(...lines: readonly (string | LogCommand)[]): void;
  /** The progress line as its parts, the most important first, and the end of showing it. */
  progress(parts: readonly string[]): void;
  endProgress(): void;
  /** The search that the run is a step of: the step's name, and the longest time until the search is over. */
  readonly within?: { readonly name: string; readonly leftS: () => number } | undefined;
  /** Events for a program; absent if no program reads them. */
  readonly event?: ((event: ReplayEvent) => void) | undefined;
}

function secondEvent(phase: ReplayPhase, pulse: Pulse, slo: SecondEvent['slo'], leftNs: number): SecondEvent {
  const { elapsedNs, spanNs, ...counts } = pulse;
  return {
    event: 'second',
    phase,
    elapsedS: seconds(elapsedNs),
    spanS: seconds(spanNs),
    ...counts,
    slo,
    etaS: seconds(leftNs),
  };
}

/** The `end` event of a run. */
export function endEvent(document: ReplayDocument, exitCode: number, summary: string): EndEvent {
  return endEventSchema.parse({ ...document, event: 'end', exitCode, summary });
}

/** Rounded to milliseconds, because smaller parts are noise. */
function seconds(ns: number): number {
  return Math.round(ns / 1e6) / 1e3;
}
