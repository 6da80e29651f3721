import { describe, expect, it } from 'vitest';
import { BlockCache } from '../../src/storage/block-cache.ts';

describe('the cache of blocks', () => {
  const block = (file: string, firstSlot: number, slots: number, bytes: number) => ({
    file,
    firstSlot,
    slots: Array.from({ length: slots }, () => Buffer.alloc(1)),
    bytes,
  });

  it('keeps within its bytes and lets go of what was used least recently', () => {
    const cache = new BlockCache(100_000);
    cache.add(block('a', 0, 10, 22_000));
    for (const first of [10, 20, 30]) cache.add(block('a', first, 10, 22_000));
    expect(cache.find('a', 3)?.firstSlot).toBe(0);
    cache.add(block('a', 40, 10, 22_000));
    expect(cache.bytes).toBeLessThanOrEqual(100_000);
    expect(cache.find('a', 10)).toBeNull();
    expect(cache.find('a', 9)?.firstSlot).toBe(0);
    expect(cache.find('b', 9)).toBeNull();
    expect(cache.find('a', 50)).toBeNull();
  });

  it('counts what small slots take beside their bytes, which can be most of it', () => {
    const cache = new BlockCache(100_000);
    for (let first = 0; first < 10_000; first += 100) cache.add(block('a', first, 100, 100));
    expect(cache.bytes).toBeGreaterThan(80_000);
    const kept = Array.from({ length: 100 }, (_, at) => cache.find('a', at * 100)).filter((found) => found);
    expect(kept.length).toBeLessThan(25);
    expect(cache.find('a', 9_999)).not.toBeNull();
  });

  it('does not let one large block push everything out, nor thousands of tails pile up', () => {
    const cache = new BlockCache(1_000_000);
    cache.add(block('a', 0, 1, 250_000));
    expect(cache.find('a', 0)).toBeNull();
    for (let slot = 0; slot < 300; slot += 1) cache.add(block('a', slot, 1, 1));
    expect(cache.find('a', 43)).toBeNull();
    expect(cache.find('a', 44)).not.toBeNull();
  });
});
