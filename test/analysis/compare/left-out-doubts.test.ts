import { describe, expect, test } from 'vitest';
import { leftOutDoubts } from '../../../src/analysis/compare/judge.ts';
import { PairTable, sideRowOfSend } from '../../../src/analysis/compare/pairs.ts';
import type { Send } from '../../../src/core/run.ts';
import { send } from '../../support/sends.ts';

const MS = 1e6;
const LATE: Partial<Send> = { actualOffsetNs: 50 * MS };
/** Sooner than the other side answered. */
const CANCELLED: Partial<Send> = { cancelled: true, lastByteOffsetNs: 5 * MS };

/** Forty requests, on time in A; the first of them fared so in B. */
function doubtsOf(...fates: readonly Partial<Send>[]) {
  const table = new PairTable();
  const rowOf = (facts: Partial<Send>, index: number) =>
    sideRowOfSend(send({ index, intendedOffsetNs: 0, ...facts }), { lagBoundNs: 2 * MS, endedOpen: false });
  for (let index = 0; index < 40; index++) table.addA(rowOf({}, index));
  for (let index = 0; index < 40; index++) table.addB(rowOf(fates[index] ?? {}, index));
  return leftOutDoubts(table.counts());
}

describe('requests that were left out of one side', () => {
  test('because it sent them late ask for a faster sender, not for other cancels', () => {
    expect(doubtsOf(LATE, LATE, CANCELLED)).toEqual([
      {
        code: 'left_out',
        text: '7.5 % of the requests were left out of B alone (5 % sent late, 2.5 % cancelled, not reached or open at the end): the rest may not represent them',
        about: [],
        figures: { side: 'B', all: 0.075, late: 0.05 },
        advice:
          'Run the replay of B on cores or a host that nothing else uses. reprise selftest shows the highest rate that a host can send.',
      },
    ]);
  });

  test('because their clients would have left ask for other cancels', () => {
    expect(doubtsOf(LATE, CANCELLED, CANCELLED)[0]?.advice).toBe(
      'Replay both with --cancels wait, to their ends, and with a --timeout drain as long as answers take.',
    );
  });

  test('are no doubt up to half of what lies beyond the 95th percentile', () => {
    expect(doubtsOf(LATE)).toEqual([]);
    expect(doubtsOf(LATE, LATE)).toHaveLength(1);
  });
});
