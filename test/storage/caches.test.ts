import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { BlockCache } from '../../src/storage/block-cache.ts';
import { BodyIndex } from '../../src/storage/body-index.ts';
import { Outage } from '../../src/storage/outage.ts';

const hashOf = (index: number) => createHash('sha256').update(`${index}`).digest().subarray(0, 16);

describe('the index of bodies', () => {
  it('finds everything it was given while it grows, and at least half a million after', () => {
    const index = new BodyIndex();
    const count = 1_200_000;
    const hash = Buffer.alloc(16);
    const of = (id: number) => {
      // Spread over both words as a real hash is, and quick to make.
      hash.writeUInt32LE(Math.imul(id, 0x9e3779b1) >>> 0, 0);
      hash.writeUInt32LE(Math.imul(id, 0x85ebca6b) >>> 0, 4);
      return hash;
    };
    for (let id = 1; id <= 400_000; id += 1) index.add(of(id), 5, id);
    for (let id = 1; id <= 400_000; id += 1) if (index.find(of(id), 5) !== id) expect.fail(`${id} is lost`);
    for (let id = 400_001; id <= count; id += 1) index.add(of(id), 5, id);
    for (let id = count - 500_000; id <= count; id += 1)
      if (index.find(of(id), 5) !== id) expect.fail(`${id} is lost`);
    // What is old gives way: memory is bounded.
    expect(index.find(of(1), 5)).toBeNull();
  });

  it('tells bodies apart by their hash and by how much was kept of them', () => {
    const index = new BodyIndex();
    index.add(hashOf(7), 100, 1);
    index.add(hashOf(7), null, 2);
    index.add(hashOf(7), 99, 3);
    index.add(hashOf(7), 100, 4);
    expect([100, null, 99, 98].map((kept) => index.find(hashOf(7), kept))).toEqual([4, 2, 3, null]);
    expect(index.find(hashOf(8), 100)).toBeNull();
  });

  it('forgets what was rolled back, and gives its ids to others', () => {
    const index = new BodyIndex();
    for (let id = 1; id <= 3_000; id += 1) index.add(hashOf(id), 5, id);
    index.forgetAbove(1_000);
    for (let id = 1; id <= 3_000; id += 1) {
      expect(index.find(hashOf(id), 5)).toBe(id <= 1_000 ? id : null);
    }
    for (let id = 1_001; id <= 5_000; id += 1) index.add(hashOf(-id), 5, id);
    index.add(hashOf(2_000), 5, 5_001);
    expect([500, -4_000, 2_000].map((of) => index.find(hashOf(of), 5))).toEqual([500, 4_000, 5_001]);
  });

  it('takes hashes of any length', () => {
    const index = new BodyIndex();
    index.add(Buffer.from([1, 2]), 0, 9);
    expect(index.find(Buffer.from([1, 2]), 0)).toBe(9);
    expect(index.find(Buffer.from([1, 2, 3]), 0)).toBeNull();
  });
});

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

describe('an outage', () => {
  it('leaves the disk alone for a second, then for twice as long each time, up to four seconds', () => {
    const outage = new Outage();
    const cause = { reason: 'io_error', error: 'disk I/O error' } as const;
    expect(outage.causeAt(0)).toBeNull();
    const waits: number[] = [];
    let nowNs = 0;
    for (let failure = 0; failure < 7; failure += 1) {
      outage.failed(cause, nowNs);
      expect(outage.causeAt(nowNs)).toEqual(cause);
      let waited = 0;
      while (outage.causeAt(nowNs) !== null) {
        nowNs += 5e8;
        waited += 0.5;
      }
      waits.push(waited);
    }
    expect(waits).toEqual([1, 2, 4, 4, 4, 4, 4]);
    outage.over();
    outage.failed(cause, nowNs);
    expect(outage.causeAt(nowNs + 1e9)).toBeNull();
  });
});
