import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { type Slab, SlabPool } from '../../../src/proxy/slab.ts';
import { PassingSide } from '../../../src/proxy/wire/passing-side.ts';
import { socketPair } from '../../support/socket-pair.ts';

/** More than the kernel takes for a peer that does not read. */
const PLENTY_BYTES = 64 * 1024 * 1024;

async function stage() {
  const pool = new SlabPool();
  const [own, peer] = await socketPair({ allowHalfOpen: true });
  for (const socket of [own, peer]) socket.on('error', () => undefined);
  return { pool, own, peer, side: new PassingSide(own, own, true, null) };
}

/** Passes so many bytes of a slab, filled with one byte over and over. */
function pass(side: PassingSide, slab: Slab, length: number, filling: number): boolean {
  return side.pass([{ bytes: slab.body.subarray(0, length).fill(filling), slab }]);
}

/** Passes until something waits; what all of it was, and the slab that waits. */
function passUntilItWaits(side: PassingSide, pool: SlabPool, length: number) {
  const passed: number[] = [];
  for (let bytes = 0; bytes < PLENTY_BYTES; bytes += length) {
    const slab = pool.take();
    const goesOn = pass(side, slab, length, passed.length);
    passed.push(passed.length % 256);
    if (slab.holders === 2) return { passed, slab, goesOn };
    slab.release();
  }
  throw new Error('the kernel took all of it');
}

async function allOf(peer: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  peer.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(peer, 'end');
  return Buffer.concat(chunks);
}

describe('a side that is written to', () => {
  it('holds one slab for a peer that stopped reading, copies what comes behind, and loses nothing', async () => {
    const { pool, own, peer, side } = await stage();
    const length = pool.take().body.length;
    const { passed, slab, goesOn } = passUntilItWaits(side, pool, length);
    const behind = pool.take();
    expect([goesOn, pass(side, behind, length, 255), behind.holders]).toEqual([false, false, 1]);
    behind.body.fill(0);
    own.end();
    const got = await allOf(peer);
    expect(got.length).toBe((passed.length + 1) * length);
    const lastOfEach = Array.from({ length: passed.length + 1 }, (_, at) => got[(at + 1) * length - 1]);
    expect(lastOfEach).toEqual([...passed, 255]);
    while (pool.waiting.count > 0) await sleep(5);
    expect(slab.holders).toBe(1);
    peer.destroy();
  });

  it('lets it go when it is reset', async () => {
    const { pool, own, peer, side } = await stage();
    const { slab } = passUntilItWaits(side, pool, LIMITS.readBytes);
    side.reset();
    await once(own, 'close');
    while (pool.waiting.count > 0) await sleep(5);
    expect(slab.holders).toBe(1);
    peer.destroy();
  });

  it('lets go, before long, of what waited where no drain is told of', async () => {
    const { pool, own, peer, side } = await stage();
    let drains = 0;
    own.on('drain', () => {
      drains += 1;
    });
    const { slab, goesOn } = passUntilItWaits(side, pool, 20_000);
    expect(goesOn).toBe(true);
    peer.resume();
    while (pool.waiting.count > 0) await sleep(5);
    expect([slab.holders, drains, own.listenerCount('drain')]).toEqual([1, 0, 1]);
    peer.destroy();
    own.destroy();
  });

  it('holds none for little where as many wait as may, and goes on holding those that were lent', async () => {
    const { pool, own, peer, side } = await stage();
    const stuck = new Writable({ write: () => undefined });
    stuck.write('something');
    for (let count = 0; count < LIMITS.waitingSlabs; count += 1) pool.waiting.add(stuck, pool.take());
    const little = pool.take();
    let passedBytes = 0;
    for (; own.writableLength === 0 && passedBytes < PLENTY_BYTES; passedBytes += LIMITS.readBytes)
      pass(side, little, LIMITS.readBytes, 7);
    expect([own.writableLength, little.holders]).toEqual([LIMITS.readBytes, 1]);
    expect(pool.shortages).toBeGreaterThan(0);
    peer.resume();
    while (own.writableLength > 0) await sleep(5);
    peer.pause();
    const { slab } = passUntilItWaits(side, pool, little.body.length);
    expect([slab.holders, pool.waiting.count]).toEqual([2, LIMITS.waitingSlabs + 1]);
    stuck.destroy();
    own.destroy();
    while (pool.waiting.count > 0) await sleep(5);
    peer.destroy();
  });
});

function closed(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once('close', resolve));
}

/** A side with something to read and a reset behind it, not read yet. */
async function answeredAndGone(gone: (peer: Socket) => void) {
  const { own, peer, side, pool } = await stage();
  own.pause();
  const told: string[] = [];
  side.onBytes = (bytes) => {
    told.push(bytes.toString());
    return true;
  };
  own.on('end', () => side.believeEnd(() => void told.push('end')));
  own.on('error', ({ code }: NodeJS.ErrnoException) => void told.push(code ?? ''));
  peer.pause();
  await new Promise((resolve) => own.write('unread', resolve));
  await new Promise((resolve) => peer.write('ANSWER', resolve));
  gone(peer);
  await closed(peer);
  return { own, side, pool, told };
}

describe('a side whose peer reset the connection behind what it said', () => {
  it('hands over what was said before it tells of the write that failed', async () => {
    const { own, side, pool, told } = await answeredAndGone((peer) => peer.resetAndDestroy());
    pass(side, pool.take(), 10, 0);
    own.resume();
    await closed(own);
    expect(told).toEqual(['ANSWER', 'ECONNRESET']);
  });

  it('takes an end before the reset for the end that it was', async () => {
    const { own, side, pool, told } = await answeredAndGone((peer) => peer.end(() => peer.destroy()));
    pass(side, pool.take(), 10, 0);
    own.resume();
    await closed(own);
    expect(told).toEqual(['ANSWER', 'end', 'EPIPE']);
  });

  it('tells of the failure in the end although nobody reads', async () => {
    const { own, side, pool, told } = await answeredAndGone((peer) => peer.resetAndDestroy());
    pass(side, pool.take(), 10, 0);
    await closed(own);
    expect(told).toEqual(['ECONNRESET']);
  });

  it('can be given up meanwhile, and then tells of nothing', async () => {
    const { own, side, pool, told } = await answeredAndGone((peer) => peer.resetAndDestroy());
    pass(side, pool.take(), 10, 0);
    own.on('close', () => side.readNoMore());
    side.reset();
    await sleep(300);
    expect([own.destroyed, told]).toEqual([true, []]);
  });
});
