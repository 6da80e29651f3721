import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { DistinctEstimate, DuplicateRatio } from '../../../src/analysis/stats/distinct.ts';
import { SeededRandom } from '../../../src/core/random.ts';

const ROUNDS = 12;

test.each([30_000, 70_000, 200_000])('of %d different things is off by what is said of it', (distinct) => {
  const random = new SeededRandom(distinct);
  const errors = Array.from({ length: ROUNDS }, () => {
    const estimate = new DistinctEstimate();
    for (let at = 0; at < distinct; at += 1) estimate.add(random.nextUint32(), random.nextUint32());
    return estimate.estimate() / distinct - 1;
  });
  expect(Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / ROUNDS)).toBeLessThan(0.006);
  expect(Math.abs(errors.reduce((sum, error) => sum + error, 0) / ROUNDS)).toBeLessThan(0.003);
});

test('of nothing, and of one thing, are what they are', () => {
  const estimate = new DistinctEstimate();
  expect(estimate.estimate()).toBe(0);
  for (let times = 0; times < 3; times += 1) estimate.add(7, 9);
  expect(estimate.estimate()).toBeCloseTo(1, 3);
});

const hashOf = (text: string) => createHmac('sha256', 'key').update(text).digest().subarray(0, 16);

describe('DuplicateRatio', () => {
  test('is the share of requests that repeat an earlier one, exactly', () => {
    const duplicates = new DuplicateRatio();
    for (const body of ['a', 'b', 'a', 'c', 'a', 'b', 'd', 'a']) duplicates.add('POST /x', hashOf(body));
    expect(duplicates.figures()).toEqual({ count: 8, ratio: 0.5, exact: true });
  });

  test('takes the same body on another route for another request', () => {
    const duplicates = new DuplicateRatio();
    duplicates.add('POST /x', hashOf('a'));
    duplicates.add('POST /y', hashOf('a'));
    duplicates.add(null, hashOf('a'));
    expect(duplicates.figures().ratio).toBe(0);
  });

  test('takes requests without a body on one route for repeats', () => {
    const duplicates = new DuplicateRatio();
    for (let at = 0; at < 4; at++) duplicates.add('GET /health', null);
    expect(duplicates.figures().ratio).toBe(0.75);
  });

  test('has no ratio of nothing', () => {
    expect(new DuplicateRatio().figures()).toEqual({ count: 0, ratio: null, exact: true });
  });

  test('estimates to 0.01 where there are too many to remember, and says so', { timeout: 20_000 }, () => {
    const duplicates = new DuplicateRatio();
    const distinct = 300_000;
    const hash = Buffer.alloc(16);
    for (let round = 0; round < 2; round++) {
      for (let at = 0; at < distinct; at++) {
        // A counter spread over the hash's words stands in for a keyed hash, which would cost seconds here.
        hash.writeUInt32LE(Math.imul(at + 1, 0x9e3779b1) >>> 0, 0);
        hash.writeUInt32LE(Math.imul(at + 7, 0x85ebca6b) >>> 0, 4);
        duplicates.add('POST /x', hash);
      }
    }
    const figures = duplicates.figures();
    expect(figures.exact).toBe(false);
    expect(figures.count).toBe(2 * distinct);
    expect(Math.abs((figures.ratio as number) - 0.5)).toBeLessThan(0.01);
  });
});
