import { formatMs, percent } from '../../core/units.ts';
import type { LagUs } from '../../documents/replay.ts';
import { JUDGEMENT_BOUNDS } from './run-context.ts';

/** A rate at which the generator stands still for longer is not kept. */
export const MOST_STALL_MS = 250;

/** What one rate came to, against a server that costs nothing. */
export interface SelftestStep {
  readonly ratePerSecond: number;
  readonly planned: number;
  readonly sent: number;
  readonly failed: number;
  /** Rate of what was sent over the planned rate: less than 1 where sending took longer than planned. */
  readonly achievedShare: number;
  readonly lagUs: LagUs;
  readonly senderBusyShare: number;
  readonly throttled: boolean | null;
  readonly longestStallMs: number;
  readonly starved: number;
}

/** Why a run at this rate could not be trusted, by the bounds that runs are judged by; empty where it could. */
export function selftestDoubts(step: SelftestStep): string[] {
  const { lagNs, achievedShare, busyShare } = JUDGEMENT_BOUNDS;
  const lagMs = (step.lagUs.p99 ?? 0) / 1e3;
  const doubts = [
    [step.achievedShare < achievedShare, `achieved ${percent(step.achievedShare)}`],
    [step.failed > 0, `failed ${step.failed}`],
    [lagMs > lagNs / 1e6, `lag p99 ${formatMs(lagMs)}`],
    [step.senderBusyShare > busyShare, `sender busy ${percent(step.senderBusyShare)}`],
    [step.throttled === true, 'held back by a CPU quota'],
    [step.longestStallMs > MOST_STALL_MS, `stood still for ${formatMs(step.longestStallMs)}`],
  ] as const;
  return doubts.filter(([holds]) => holds).map(([, text]) => text);
}
