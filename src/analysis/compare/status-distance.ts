import { ANSWERED, type PairedAnswers } from './paired-answers.ts';

/**
 * Total variation between the statuses of pairs that both were answered (0 to 1): the share of answers that would
 * have to get another status. What failed or was turned away has metrics of its own.
 */
export function statusDistance({ count, aOutcome, bOutcome, aStatus, bStatus }: PairedAnswers): number {
  const differences = new Map<number, number>();
  let answered = 0;
  for (let at = 0; at < count; at++) {
    if (aOutcome[at] !== ANSWERED || bOutcome[at] !== ANSWERED) continue;
    answered += 1;
    differences.set(aStatus[at]!, (differences.get(aStatus[at]!) ?? 0) + 1);
    differences.set(bStatus[at]!, (differences.get(bStatus[at]!) ?? 0) - 1);
  }
  let sum = 0;
  for (const difference of differences.values()) sum += Math.abs(difference);
  return answered === 0 ? 0 : sum / 2 / answered;
}
