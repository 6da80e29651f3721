import { JUDGEMENT_BOUNDS } from '../analysis/verdict/run-context.ts';
import type { SelftestStep } from '../analysis/verdict/selftest.ts';
import { formatMs } from '../core/units.ts';

/** Why no further rate was tried. */
export type SelftestEnd = 'found' | 'highest_tried' | 'budget' | 'interrupted';

/** What a selftest came to. */
export interface Tested {
  readonly steps: readonly SelftestStep[];
  readonly highestHonestRate: number | null;
  /** The lowest that was given up; null while none was. */
  readonly lowestMissedRate: number | null;
  readonly endedBy: SelftestEnd;
}

/** What is said of it in the end. */
export function conclusionLines({ highestHonestRate: rate, lowestMissedRate, endedBy }: Tested): string[] {
  const { lagNs, busyShare } = JUDGEMENT_BOUNDS;
  const why: Readonly<Record<SelftestEnd, string>> = {
    found: '',
    highest_tried: ' (the highest that is tried)',
    budget: ` (${leftOutText(rate, lowestMissedRate)}: --budget)`,
    interrupted: ' (interrupted)',
  };
  const found =
    rate === null
      ? `Highest honest rate: none${why[endedBy]}`
      : `Highest honest rate: ${rate} requests/s${why[endedBy]}`;
  return [
    found,
    `  honest: lag p99 up to ${formatMs(lagNs / 1e6)}, at least 99 % achieved, the sender busy up to ${(busyShare * 100).toFixed(0)} %, no stall over 250 ms; a rate`,
    '  is given up when it was missed twice. The server ran on the same machine and took a part of it: with a target',
    '  elsewhere the rate is no lower. TLS, larger bodies and slow answers in great numbers cost more than this.',
  ];
}

/** What no time was left for: what was missed already is no higher rate that might have been kept. */
function leftOutText(kept: number | null, missed: number | null): string {
  if (kept === null) return 'no time was left to try again';
  if (missed === null) return 'no time was left for higher ones';
  return `${missed} was missed; no time was left for rates between`;
}
