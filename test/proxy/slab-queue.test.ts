import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { FRAME, FRAME_HEADER_BYTES, type Frame, FrameReader } from '../../src/proxy/frames.ts';
import { SlabQueue } from '../../src/proxy/slab-queue.ts';

/** Frames that come out of the pipe; payloads are copied, because they are views. */
function framesOf(pipe: PassThrough): Frame[] {
  const frames: Frame[] = [];
  const reader = new FrameReader((frame) => frames.push({ ...frame, payload: Buffer.from(frame.payload) }));
  for (let chunk = pipe.read() as Buffer | null; chunk; chunk = pipe.read() as Buffer | null)
    reader.push(chunk);
  return frames;
}

describe('the queue into the pipe', () => {
  it('never cuts a control frame, wherever the slab before it ends', () => {
    const control = Buffer.alloc(96, 'origin');
    const head = { type: FRAME.open, flags: 0, connection: 7, atNs: 1 };
    for (let left = 0; left <= FRAME_HEADER_BYTES + control.length + 1; left += 1) {
      const queue = new SlabQueue();
      const pipe = new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes });
      queue.attach(pipe);
      const filling = Buffer.alloc(LIMITS.slabBytes - FRAME_HEADER_BYTES - left);
      queue.append({ type: FRAME.clientBytes, flags: 0, connection: 1, atNs: 0 }, filling);
      queue.appendControl(head, control);
      queue.flush();
      const opened = framesOf(pipe).filter(({ connection }) => connection === 7);
      expect([left, opened.map(({ payload }) => payload.length)]).toEqual([left, [control.length]]);
    }
  });

  it('cuts a long payload at the ends of slabs, and gives all of it', () => {
    const queue = new SlabQueue();
    const pipe = new PassThrough({ highWaterMark: 100 * LIMITS.slabBytes });
    queue.attach(pipe);
    const payload = Buffer.alloc(30 * LIMITS.slabBytes, 'abcdefg');
    expect(queue.append({ type: FRAME.serverBytes, flags: 0, connection: 1, atNs: 0 }, payload)).toBe(true);
    queue.flush();
    expect(Buffer.concat(framesOf(pipe).map((frame) => frame.payload)).equals(payload)).toBe(true);
  });
});

describe('a large chunk', () => {
  const head = { type: FRAME.clientBytes, flags: 3, connection: 5, atNs: 9 };

  it('goes into the pipe as it is, between the frames before and behind it', () => {
    const queue = new SlabQueue();
    const pipe = new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes });
    queue.attach(pipe);
    const large = Buffer.alloc(LIMITS.slabBytes, 'large');
    const payloads = [Buffer.from('before'), large, large, Buffer.from('behind')];
    for (const payload of payloads) expect(queue.append(head, payload)).toBe(true);
    queue.flush();
    const frames = framesOf(pipe);
    expect(frames.map(({ payload }) => payload)).toEqual(payloads);
    expect(frames.every(({ flags, connection, atNs }) => flags === 3 && connection === 5 && atNs === 9)).toBe(
      true,
    );
  });

  it('counts as a slab, is refused when the budget is spent, and is given back when it is written', async () => {
    const queue = new SlabQueue(2 * LIMITS.slabBytes);
    const pipe = new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes });
    queue.attach(pipe);
    const large = Buffer.alloc(LIMITS.slabBytes / 2);
    expect([1, 2, 3].map(() => queue.append(head, large))).toEqual([true, true, false]);
    expect(queue.heldBytes).toBe(2 * LIMITS.slabBytes);
    queue.flush();
    pipe.resume();
    await expect.poll(() => queue.heldBytes).toBe(0);
  });

  it('that shares a larger buffer is copied: keeping it would keep all of that', () => {
    const queue = new SlabQueue();
    const pipe = new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes });
    queue.attach(pipe);
    const shared = Buffer.alloc(4 * LIMITS.slabBytes, 'a');
    queue.append(head, shared.subarray(0, LIMITS.slabBytes / 2));
    shared.fill('b');
    queue.flush();
    expect(framesOf(pipe)[0]?.payload.includes(0x62)).toBe(false);
  });
});

describe('frames', () => {
  it('come out whole, however the pipe cuts them', () => {
    const queue = new SlabQueue();
    const pipe = new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes });
    queue.attach(pipe);
    const payloads = [3, 0, 60, 1].map((bytes, index) => Buffer.alloc(bytes, `${index}`));
    for (const [index, payload] of payloads.entries())
      queue.append({ type: FRAME.clientBytes, flags: index, connection: 9, atNs: index }, payload);
    queue.flush();
    const stream = pipe.read() as Buffer;
    for (let size = 1; size <= stream.length; size += 1) {
      const seen: string[] = [];
      const reader = new FrameReader(({ flags, payload }) => seen.push(`${flags} ${Buffer.from(payload)}`));
      for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size));
      expect([size, seen]).toEqual([size, payloads.map((payload, index) => `${index} ${payload}`)]);
    }
  });
});
