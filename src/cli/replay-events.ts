import type { Calibration } from '../analysis/calibration.ts';
import type { ReplayDocument } from '../analysis/replay-document.ts';
import type { Pulse } from '../analysis/run-pulse.ts';
import { formatInstantUs } from '../core/units.ts';
import type { ReplayPhase } from './replay-progress.ts';
import type { Terminal } from './terminal.ts';

/** Raised when a field changes its meaning; fields and events are added without. */
export const EVENTS_SCHEMA_VERSION = 1;

/** Before anything is sent. Times are run time; `plannedRequests` is foreseen from roll-ups. */
export interface StartEvent {
  readonly event: 'start';
  readonly schemaVersion: typeof EVENTS_SCHEMA_VERSION;
  readonly at: string;
  readonly run: string;
  readonly directory: string;
  readonly capture: string;
  readonly target: string;
  readonly multiplier: number;
  readonly scaling: string;
  readonly plannedRequests: number;
  readonly plannedS: number;
  readonly warmupS: number;
  readonly calibrates: boolean;
}

/**
 * What happened since the event before; counts add up to the run. `phase` is the one at the event: a span may begin in
 * the one before. `elapsedS` is counted from its phase's start.
 */
export interface SecondEvent {
  readonly event: 'second';
  readonly phase: ReplayPhase;
  readonly elapsedS: number;
  readonly spanS: number;
  readonly offered: number;
  readonly achieved: number;
  /** At the target; what waits at our end for its recorded connection is `waiting`. */
  readonly inFlight: number;
  readonly waiting: number;
  readonly lagP99Us: number | null;
  readonly errors: number;
  readonly refused: number;
  readonly etaS: number;
}

/** How the target compared with the recording. */
export interface CalibrationEvent extends Calibration {
  readonly event: 'calibration';
}

/** The verdict; the whole document is the file `summary`. */
export interface EndEvent
  extends Pick<
    ReplayDocument,
    | 'run'
    | 'verdict'
    | 'valid'
    | 'reasons'
    | 'interrupted'
    | 'planned'
    | 'sent'
    | 'completed'
    | 'failed'
    | 'cancelled'
    | 'refused'
    | 'unreached'
    | 'latencyMs'
    | 'slo'
  > {
  readonly event: 'end';
  readonly exitCode: number;
  readonly summary: string;
}

export type ReplayEvent = StartEvent | SecondEvent | CalibrationEvent | EndEvent;

/** Writes what happens to stdout, one JSON document a line. */
export class ReplayEvents {
  readonly #terminal: Pick<Terminal, 'jsonLine'>;

  constructor(terminal: Pick<Terminal, 'jsonLine'>) {
    this.#terminal = terminal;
  }

  tell(event: ReplayEvent): void {
    this.#terminal.jsonLine(event);
  }
}

export function startEvent(
  atUs: number,
  facts: Omit<StartEvent, 'event' | 'schemaVersion' | 'at'>,
): StartEvent {
  return { event: 'start', schemaVersion: EVENTS_SCHEMA_VERSION, at: formatInstantUs(atUs), ...facts };
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

export function endEvent(document: ReplayDocument, exitCode: number, summary: string): EndEvent {
  const { run, verdict, valid, reasons, interrupted, latencyMs, slo } = document;
  const { planned, sent, completed, failed, cancelled, refused, unreached } = document;
  const counts = { planned, sent, completed, failed, cancelled, refused, unreached };
  return {
    event: 'end',
    run,
    verdict,
    valid,
    reasons,
    interrupted,
    ...counts,
    latencyMs,
    slo,
    exitCode,
    summary,
  };
}

/** To the millisecond: finer is noise. */
function seconds(ns: number): number {
  return Math.round(ns / 1e6) / 1e3;
}
