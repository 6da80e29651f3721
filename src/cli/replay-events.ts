import type { Pulse } from '../analysis/run-pulse.ts';
import { formatInstantUs } from '../core/units.ts';
import {
  type EndEvent,
  EVENTS_SCHEMA_VERSION,
  type ReplayEvent,
  type ReplayPhase,
  type SecondEvent,
  type StartEvent,
} from '../documents/events.ts';
import type { ReplayDocument } from '../documents/replay.ts';

/** Told what a replay does while it lasts. It shows that, or keeps it, or does nothing. */
export interface ReplayReporter {
  /** Whether somebody watches a line that is redrawn in place; else one comes now and then. */
  readonly interactive: boolean;
  /** Lines that stay. */
  note(...lines: readonly string[]): void;
  /** The line that says where the run is, and that it is not shown any more. */
  progress(line: string): void;
  endProgress(): void;
  /** What happens, for a program. Left out where no program reads along. */
  readonly event?: ((event: ReplayEvent) => void) | undefined;
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
