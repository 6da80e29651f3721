import { describe, expect, it } from 'vitest';
import { Problems } from '../../src/core/problems.ts';
import { resolveSending } from '../../src/replay/sending-options.ts';

function coalesceMsOf(coalesce: string | undefined): number {
  const problems = new Problems();
  const { coalesceMs } = resolveSending({ coalesce }, problems);
  problems.throwIfAny();
  return coalesceMs;
}

describe('--coalesce', () => {
  it.each([
    [undefined, 0],
    ['0ms', 0],
    ['100us', 0.1],
    ['500us', 0.5],
    ['1ms', 1],
  ])('%s', (coalesce, ms) => {
    expect(coalesceMsOf(coalesce)).toBe(ms);
  });

  it.each([
    ['1us', 'is not from 0.100 ms to 1.0 ms'],
    ['1.1ms', 'is not from 0.100 ms to 1.0 ms'],
    ['1', 'is not a duration'],
  ])('%s is refused', (coalesce, why) => {
    expect(() => coalesceMsOf(coalesce)).toThrow(why);
  });
});
