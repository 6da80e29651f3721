import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BatchMemory } from '../../src/replay/batch-memory.ts';

describe('memory of batches', () => {
  test('is used again for whatever fits, and never by two at once', () => {
    const step = fc.record({ bytes: fc.integer({ min: 1, max: 9_000_000 }), gives: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const memory = new BatchMemory();
        const held: ArrayBuffer[] = [];
        for (const { bytes, gives } of steps) {
          const taken = memory.take(bytes);
          expect(taken.byteLength).toBeGreaterThanOrEqual(bytes);
          expect(held).not.toContain(taken);
          held.push(taken);
          const given = gives ? held.shift() : undefined;
          if (given !== undefined) memory.give(given);
        }
      }),
      { numRuns: 30 },
    );
  });

  test('comes back: the next of a like size is the one that was given', () => {
    const memory = new BatchMemory();
    const buffer = memory.take(5_000);
    memory.give(buffer);
    expect(memory.take(8_192)).toBe(buffer);
    expect(memory.take(5_000)).not.toBe(buffer);
  });

  test('that waits is bounded, and what is too large for use again is let go', () => {
    const memory = new BatchMemory();
    const large = Array.from({ length: 6 }, () => memory.take(4 * 1024 * 1024));
    for (const buffer of large) memory.give(buffer);
    const again = large.map(() => memory.take(4 * 1024 * 1024));
    expect(again.filter((buffer) => large.includes(buffer))).toHaveLength(1);
    const huge = memory.take(5_000_000);
    memory.give(huge);
    expect(memory.take(5_000_000)).not.toBe(huge);
  });
});
