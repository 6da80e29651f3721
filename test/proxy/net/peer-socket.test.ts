import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { PeerSocket } from '../../../src/proxy/net/peer-socket.ts';
import { socketPair } from '../../support/socket-pair.ts';

/** More than the kernel takes for a peer that does not read. */
const PLENTY_BYTES = 64 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

async function stage() {
  const [own, peer] = await socketPair({ allowHalfOpen: true });
  for (const socket of [own, peer]) socket.on('error', () => undefined);
  return { own, peer, side: new PeerSocket(own, own, true) };
}

describe('a side that is written to', () => {
  it('says when its peer does not keep up, and loses nothing', async () => {
    const { own, peer, side } = await stage();
    let passed = 0;
    while (side.write(Buffer.alloc(CHUNK_BYTES, passed % 251)) && passed * CHUNK_BYTES < PLENTY_BYTES)
      passed += 1;
    expect(own.writableLength).toBeGreaterThan(0);
    own.end();
    const chunks: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(peer, 'end');
    const got = Buffer.concat(chunks);
    expect(got.length).toBe((passed + 1) * CHUNK_BYTES);
    const last = Array.from({ length: passed + 1 }, (_, at) => got[(at + 1) * CHUNK_BYTES - 1]);
    expect(last).toEqual(last.map((_, at) => at % 251));
    peer.destroy();
  });

  it('takes nothing once it is gone', async () => {
    const { own, peer, side } = await stage();
    side.reset();
    await once(own, 'close');
    expect(side.write(Buffer.alloc(10))).toBe(true);
    peer.destroy();
  });
});

function closed(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once('close', resolve));
}

/** A side with something to read and a reset behind it, not read yet. */
async function answeredAndGone(gone: (peer: Socket) => void) {
  const { own, peer, side } = await stage();
  const told: string[] = [];
  own.on('data', (bytes: Buffer) => void told.push(bytes.toString()));
  own.pause();
  own.on('end', () => side.confirmEnd(() => void told.push('end')));
  own.on('error', ({ code }: NodeJS.ErrnoException) => void told.push(code ?? ''));
  peer.pause();
  await new Promise((resolve) => own.write('unread', resolve));
  await new Promise((resolve) => peer.write('ANSWER', resolve));
  gone(peer);
  await closed(peer);
  return { own, side, told };
}

describe('a side whose peer reset the connection behind what it said', () => {
  it('hands over what was said before it tells of the write that failed', async () => {
    const { own, side, told } = await answeredAndGone((peer) => peer.resetAndDestroy());
    side.write(Buffer.alloc(10));
    own.resume();
    await closed(own);
    expect(told).toEqual(['ANSWER', 'ECONNRESET']);
  });

  it('takes an end before the reset for the end that it was', async () => {
    const { own, side, told } = await answeredAndGone((peer) => peer.end(() => peer.destroy()));
    side.write(Buffer.alloc(10));
    own.resume();
    await closed(own);
    expect(told).toEqual(['ANSWER', 'end', 'EPIPE']);
  });

  it('tells of the failure in the end although nobody reads', async () => {
    const { own, side, told } = await answeredAndGone((peer) => peer.resetAndDestroy());
    side.write(Buffer.alloc(10));
    await closed(own);
    expect(told).toEqual(['ECONNRESET']);
  });

  it('can be given up meanwhile, and then tells of nothing', async () => {
    const { own, side, told } = await answeredAndGone((peer) => peer.resetAndDestroy());
    side.write(Buffer.alloc(10));
    own.on('close', () => side.readNoMore());
    side.reset();
    await sleep(300);
    expect([own.destroyed, told]).toEqual([true, []]);
  });
});
