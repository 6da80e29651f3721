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

export interface ReplayProgressParts {
  readonly position: () => RunPosition;
  /** From the start, nanoseconds: what is played before the judged part, and everything. */
  readonly warmupNs: number;
  readonly plannedNs: number;
  readonly calibrates: boolean;
  readonly reporter: ReplayReporter;
}

/**
 * Shows where a run is: one line redrawn on a terminal, else a line now and then; and an event each second where
 * they are read.
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

  /** Tells of the rest, so that the events add up to the run. */
  end(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#tell();
    this.#parts.reporter.endProgress();
  }

  /** While threads and plan are made ready there is nothing to tell. */
  #tellOfSecond(): void {
    if (this.#parts.position().elapsedNs > 0) this.#tell();
  }

  #tell(): void {
    const { reporter, position } = this.#parts;
    if (reporter.event === undefined) return;
    const pulse = this.#told.take(position());
    reporter.event(secondEvent(this.#phase(pulse), pulse, this.#leftNs(pulse.elapsedNs)));
  }

  #show(): void {
    const { reporter, position } = this.#parts;
    const line = this.#line(this.#shown.take(position()));
    if (reporter.interactive) reporter.progress(line);
    else reporter.note(line);
  }

  #line(pulse: Pulse): string {
    this.#failed += pulse.errors;
    this.#refused += pulse.refused;
    const rate = (count: number) =>
      pulse.spanNs > 0 ? `${((count / pulse.spanNs) * 1e9).toFixed(1)}/s` : '–';
    const phase = this.#phase(pulse);
    return [
      ...(phase === 'calibration' || phase === 'warmup' ? [phase] : []),
      formatMs(pulse.elapsedNs / 1e6),
      `offered ${rate(pulse.offered)}`,
      `achieved ${rate(pulse.achieved)}`,
      `in flight ${pulse.inFlight}`,
      ...(pulse.waiting > 0 ? [`waiting for their connection ${pulse.waiting}`] : []),
      `lag p99 ${pulse.lagP99Us === null ? '–' : formatMs(pulse.lagP99Us / 1e3)}`,
      `errors ${this.#failed}`,
      ...(this.#refused > 0 ? [`refused ${this.#refused}`] : []),
      this.#outlook(phase, pulse.elapsedNs),
    ].join('  ');
  }

  #outlook(phase: ReplayPhase, elapsedNs: number): string {
    if (phase === 'drain') return 'waiting for the last answers';
    const leftNs = this.#leftNs(elapsedNs);
    return leftNs > 0 ? `ETA ${formatMs(leftNs / 1e6)}` : 'over the plan, and not everything is sent';
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

/** Told what a replay does while it lasts. It shows that, or keeps it, or does nothing. */
export interface ReplayReporter {
  /** Whether somebody watches a line that is redrawn in place; else one comes now and then. */
  readonly interactive: boolean;
  /** Lines that stay. */
  note(...lines: readonly (string | LogCommand)[]): void;
  /** The line that says where the run is, and that it is not shown any more. */
  progress(line: string): void;
  endProgress(): void;
  /** What happens, for a program. Left out where no program reads along. */
  readonly event?: ((event: ReplayEvent) => void) | undefined;
}

export function secondEvent(phase: ReplayPhase, pulse: Pulse, leftNs: number): SecondEvent {
  const { elapsedNs, spanNs, ...counts } = pulse;
  return {
    event: 'second',
    phase,
    elapsedS: seconds(elapsedNs),
    spanS: seconds(spanNs),
    ...counts,
    etaS: seconds(leftNs),
  };
}

/** What of a document the end of a run tells. */
export function endEvent(document: ReplayDocument, exitCode: number, summary: string): EndEvent {
  return endEventSchema.parse({ ...document, event: 'end', exitCode, summary });
}

/** To the millisecond: finer is noise. */
function seconds(ns: number): number {
  return Math.round(ns / 1e6) / 1e3;
}
