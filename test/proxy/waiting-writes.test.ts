import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { SlabPool } from '../../src/proxy/slab.ts';

/** A peer that reads when it is told to. */
class SlowPeer extends Writable {
  #read: (() => void) | null = null;

  constructor() {
    super({ highWaterMark: 1 });
  }

  override _write(_chunk: Buffer, _encoding: string, written: () => void): void {
    this.#read = written;
  }

  read(): void {
    const read = this.#read;
    this.#read = null;
    read?.();
  }
}

describe('writes that wait', () => {
  it('are looked after once for each stream, however many wait in it, and are let go of together', async () => {
    const pool = new SlabPool();
    const [one, other] = [new SlowPeer(), new SlowPeer()];
    const slabs = Array.from({ length: 3 }, () => pool.take());
    for (const [at, slab] of slabs.entries()) {
      const stream = at < 2 ? one : other;
      stream.write(slab.body.subarray(0, 1));
      pool.waiting.add(stream, slab);
    }
    expect([one, other].map((stream) => stream.listenerCount('drain'))).toEqual([1, 1]);
    expect(pool.waiting.count).toBe(3);
    one.read();
    await expect.poll(() => one.writableLength).toBe(1);
    one.read();
    await expect.poll(() => pool.waiting.count).toBe(1);
    expect(slabs.map(({ holders }) => holders)).toEqual([1, 1, 2]);
    expect([one, other].map((stream) => stream.listenerCount('drain'))).toEqual([0, 1]);
    other.destroy();
    await expect.poll(() => pool.waiting.count).toBe(0);
  });
});
