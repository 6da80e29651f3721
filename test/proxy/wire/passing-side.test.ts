import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { SlabPool } from '../../../src/proxy/slab.ts';
import { PassingSide } from '../../../src/proxy/wire/passing-side.ts';
import { socketPair } from '../../support/socket-pair.ts';

/** Passes a whole slab, filled with one byte over and over. */
function passSlab(side: PassingSide, pool: SlabPool, filling: number) {
  const slab = pool.take();
  slab.body.fill(filling);
  const goesOn = side.pass([{ bytes: slab.body, slab }]);
  return { slab, goesOn };
}

async function stage() {
  const pool = new SlabPool();
  const [own, peer] = await socketPair({ allowHalfOpen: true });
  for (const socket of [own, peer]) socket.on('error', () => undefined);
  return { pool, own, peer, side: new PassingSide(own, own, true, null) };
}

describe('a side that is written to', () => {
  it('holds slabs that wait for its peer, some, and lets them go when they went', async () => {
    const { pool, own, peer, side } = await stage();
    const passed = [];
    while (pool.waiting.hasRoom) passed.push(passSlab(side, pool, passed.length));
    const held = passed.filter(({ slab }) => slab.holders === 2);
    expect([held.length, passed.at(-1)?.goesOn]).toEqual([LIMITS.waitingSlabs, false]);
    // One more is copied out of its slab, which nobody holds then.
    const beyond = passSlab(side, pool, passed.length);
    expect(beyond.slab.holders).toBe(1);
    beyond.slab.body.fill(255);
    const chunks: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => chunks.push(chunk));
    own.end();
    await once(peer, 'end');
    const got = Buffer.concat(chunks);
    const body = passed[0]?.slab.body.length ?? 0;
    expect(got.length).toBe((passed.length + 1) * body);
    expect(Array.from({ length: passed.length + 1 }, (_, at) => got[(at + 1) * body - 1])).toEqual(
      Array.from({ length: passed.length + 1 }, (_, at) => at % 256),
    );
    while (pool.waiting.count > 0) await sleep(5);
    expect(new Set(passed.map(({ slab }) => slab.holders))).toEqual(new Set([1]));
    peer.destroy();
  });

  it('lets them go when it is reset', async () => {
    const { pool, own, peer, side } = await stage();
    const passed = [];
    while (pool.waiting.hasRoom) passed.push(passSlab(side, pool, 0));
    side.reset();
    await once(own, 'close');
    while (pool.waiting.count > 0) await sleep(5);
    expect(new Set(passed.map(({ slab }) => slab.holders))).toEqual(new Set([1]));
    peer.destroy();
  });

  it('lets go, before long, of what waited where no drain is told of', async () => {
    const { pool, own, peer, side } = await stage();
    let drains = 0;
    own.on('drain', () => {
      drains += 1;
    });
    const slab = pool.take();
    const bytes = slab.body.subarray(0, 20_000);
    while (pool.waiting.count === 0) expect(side.pass([{ bytes, slab }])).toBe(true);
    expect(slab.holders).toBe(2);
    peer.resume();
    while (pool.waiting.count > 0) await sleep(5);
    expect([slab.holders, drains, own.listenerCount('drain')]).toEqual([1, 0, 1]);
    peer.destroy();
    own.destroy();
  });

  it('copies a few bytes that must wait, so that they keep no slab', async () => {
    const { pool, own, peer, side } = await stage();
    while (own.writableLength === 0) passSlab(side, pool, 1);
    const slab = pool.take();
    const bytes = slab.body.subarray(0, slab.body.write('a few'));
    expect(side.pass([{ bytes, slab }])).toBe(false);
    expect(slab.holders).toBe(1);
    slab.body.fill(0);
    const chunks: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => chunks.push(chunk));
    own.end();
    await once(peer, 'end');
    expect(Buffer.concat(chunks).subarray(-5).toString()).toBe('a few');
    peer.destroy();
  });
});
