import { describe, expect, test } from 'vitest';
import { type Bounded, JUDGED_ROUNDS, withinBounds } from '../../bench/support/judgement.ts';

function judged(values: readonly (number | null)[], rounds = JUDGED_ROUNDS) {
  const said: string[] = [];
  const figures: Bounded[] = values.map((value, index) => ({ figure: `figure ${index}`, bound: 1.4, value }));
  return { within: withinBounds(rounds, figures, (line) => said.push(line)), said };
}

describe('the figures of a bench', () => {
  test('may be as much as their bounds', () => {
    expect(judged([1.4, 0])).toEqual({
      within: true,
      said: ['within its bound, 1.4 ≤ 1.4: figure 0', 'within its bound, 0 ≤ 1.4: figure 1'],
    });
  });

  test('fail it where one is beyond, which is named', () => {
    const { within, said } = judged([1, 1.41]);
    expect(within).toBe(false);
    expect(said[1]).toBe('BEYOND ITS BOUND, 1.41 > 1.4: figure 1');
  });

  test('fail it where one is no number', () => {
    expect(judged([Number.NaN]).within).toBe(false);
  });

  test('fail it where none was measured, as where all of them lost something', () => {
    expect(judged([null, null]).within).toBe(false);
  });

  test('are not judged where they were not measured, nor of few rounds', () => {
    const { within, said } = judged([null, 1]);
    expect([within, said[0]]).toEqual([true, 'not judged, because not measured: figure 0']);
    expect(judged([9], JUDGED_ROUNDS - 1)).toEqual({
      within: true,
      said: ['not judged: 4 rounds are too few, 5 would do'],
    });
  });
});
