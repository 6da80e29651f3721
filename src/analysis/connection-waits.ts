import type { JudgementBounds } from './judgement-bounds.ts';
import { lagBoundNs } from './lag-bound.ts';
import type { RunFigures } from './run-statistics.ts';

/** Requests that were sent, outside our own standstills, and whose recorded connection was not free at their turn. */
export interface ConnectionWaits {
  readonly waited: number;
  /** Of them, those that waited for longer than `boundMs`, the bound of lag. */
  readonly late: number;
  readonly boundMs: number;
}

/**
 * How many waited for their recorded connection; null where none could. A wait within the bound of lag puts a request
 * off by no more than we may ourselves; beyond it the target was not given what was planned. No request counts twice:
 * lag ends where this wait begins.
 */
export function connectionWaitsOf(figures: RunFigures, bounds: JudgementBounds): ConnectionWaits | null {
  const { fidelity, latency } = figures;
  if (fidelity.waitsFor !== 'connections') return null;
  const boundNs = lagBoundNs(figures, bounds);
  const { connectionWait } = latency;
  return {
    waited: connectionWait.countOver(0),
    late: connectionWait.countOver(boundNs),
    boundMs: boundNs / 1e6,
  };
}

/** Whether our own queue for recorded connections may be what broke an objective: it made requests late, or kept some back. */
export function mayOweToWaits(figures: RunFigures, bounds: JudgementBounds): boolean {
  const waits = connectionWaitsOf(figures, bounds);
  return waits !== null && (waits.late > 0 || figures.outcomes.unreached > 0);
}
