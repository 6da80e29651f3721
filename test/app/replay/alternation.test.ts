import { expect, test } from 'vitest';
import { looksOf, resolveReplayed } from '../../../src/app/replay/alternation.ts';

const looks = (runs: number, budgetMs: number, runS = 60) =>
  looksOf({ order: Array.from({ length: runs }, () => 'A' as const), budgetMs }, runS);

test('two targets are compared after the first runs, and then after each doubling that the budget allows', () => {
  expect(looks(2, 0)).toEqual([2]);
  expect(looks(8, 0)).toEqual([8]);
  expect(looks(2, 359_000)).toEqual([2]);
  expect(looks(2, 360_000)).toEqual([2, 8]);
  expect(looks(4, 30 * 60_000)).toEqual([4, 8, 16, 32]);
  expect(looks(8, 30 * 60_000)).toEqual([8, 16, 32]);
  // Eight runs more do not fit, but four do.
  expect(looks(4, 179_000, 22)).toEqual([4, 8, 12]);
  expect(looks(4, 180_000, 23)).toEqual([4, 8]);
  expect(looks(4, 180_000, 8.5)).toEqual([4, 8, 16]);
  // However long the budget, and however short the window.
  expect(looks(4, 1e12, 0)).toEqual([4, 8, 16, 32, 64, 128, 256, 512]);
});

const resolved = (repeat: unknown, target = ['http://a:1', 'http://b:1']) =>
  resolveReplayed({ stated: { repeat, target }, originOf: () => null } as never);

test('--repeat has a number, a budget, or both', () => {
  expect(resolved(3)).toMatchObject({ order: [...'ABBAABBAABBA'], budgetMs: 0 });
  expect(resolved('2,budget=5m')).toMatchObject({ order: [...'ABBAABBA'], budgetMs: 300_000 });
  expect(resolved('budget=5m')).toMatchObject({ order: ['A', 'B'], budgetMs: 300_000 });
  expect(resolved(undefined)).toMatchObject({ order: ['A', 'B'], budgetMs: 0 });
  for (const [repeat, target] of [
    ['budget=5m', ['http://a:1']],
    ['0', undefined],
    ['budget=5', undefined],
    ['2,budget=5m,budget=6m', undefined],
    ['251', undefined],
  ] as const)
    expect(() => resolved(repeat, target as never)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    );
});
