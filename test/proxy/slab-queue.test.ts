import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import {
  FRAME,
  FRAME_HEADER_BYTES,
  type Frame,
  FrameReader,
  WHOLE_FRAME_BYTES,
} from '../../src/proxy/frames.ts';
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
    const pieces = queue.append({ type: FRAME.serverBytes, flags: 0, connection: 1, atNs: 0 }, payload) ?? [];
    expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).equals(payload)).toBe(true);
    queue.flush();
    expect(Buffer.concat(framesOf(pipe).map((frame) => frame.payload)).equals(payload)).toBe(true);
  });

  it('says where each payload lies, of whatever length, and flags the first of its frames alone', () => {
    const most = LIMITS.slabBytes - FRAME_HEADER_BYTES;
    const sizes = fc.oneof(fc.constantFrom(0, 1, WHOLE_FRAME_BYTES + 1, most, most + 1), fc.nat(3 * most));
    fc.assert(
      fc.property(fc.array(sizes, { minLength: 1, maxLength: 8 }), (lengths) => {
        const queue = new SlabQueue();
        const pipe = new PassThrough({ highWaterMark: 100 * LIMITS.slabBytes });
        queue.attach(pipe);
        const pieces = lengths.flatMap((bytes, connection) => {
          const payload = Buffer.alloc(bytes, `of ${connection}`);
          const own = queue.append({ type: FRAME.serverBytes, flags: 1, connection, atNs: 0 }, payload) ?? [];
          expect(Buffer.concat(own.map(({ bytes: piece }) => piece)).equals(payload)).toBe(true);
          return own.map((piece, nth) => ({ piece, connection, flags: nth === 0 ? 1 : 0 }));
        });
        for (const { piece } of pieces) expect(piece.bytes.buffer).toBe(piece.slab?.bytes.buffer);
        queue.flush();
        const shown = framesOf(pipe).map(({ connection, flags, payload }) => [
          connection,
          flags,
          payload.length,
        ]);
        expect(shown).toEqual(
          pieces.map(({ piece, connection, flags }) => [connection, flags, piece.bytes.length]),
        );
      }),
      { numRuns: 30 },
    );
  });
});

describe('the budget', () => {
  it('is never gone over, wherever the current slab ends', () => {
    const head = { type: FRAME.clientBytes, flags: 0, connection: 1, atNs: 0 } as const;
    const most = LIMITS.slabBytes - FRAME_HEADER_BYTES;
    // Many that leave a few bytes at the end of a slab, and as many that nearly fit there.
    const sizes = fc.oneof(
      fc.integer({ min: 0, max: 80 }),
      fc.integer({ min: most - 80, max: most + 10 }),
      fc.integer({ min: 1, max: 2 * LIMITS.slabBytes }),
    );
    const budgets = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(budgets, fc.array(sizes, { maxLength: 12 }), (budgetSlabs, payloads) => {
        const queue = new SlabQueue(budgetSlabs * LIMITS.slabBytes);
        queue.attach(new PassThrough({ highWaterMark: 100 * LIMITS.slabBytes }));
        for (const bytes of payloads) {
          queue.append(head, Buffer.alloc(bytes));
          expect(queue.heldBytes).toBeLessThanOrEqual(budgetSlabs * LIMITS.slabBytes);
        }
        queue.attach(null);
        expect(queue.heldBytes).toBe(0);
      }),
    );
  });

  it('is gone over by no frame that leaves less than a header at the end of a slab', () => {
    const head = { type: FRAME.clientBytes, flags: 0, connection: 1, atNs: 0 } as const;
    const queue = new SlabQueue(LIMITS.slabBytes);
    queue.attach(new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes }));
    const most = LIMITS.slabBytes - FRAME_HEADER_BYTES;
    expect(queue.append(head, Buffer.alloc(most - 40))).not.toBeNull();
    expect(queue.append(head, Buffer.alloc(10))).toBeNull();
    expect(queue.append(head, Buffer.alloc(0))).toBeNull();
    expect(queue.heldBytes).toBe(LIMITS.slabBytes);
    queue.attach(null);
  });

  it('that is spent leaves what was read into a slab the room that is left', () => {
    const head = { type: FRAME.clientBytes, flags: 0, connection: 1, atNs: 0 } as const;
    const queue = new SlabQueue(LIMITS.slabBytes);
    const pipe = new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes });
    queue.attach(pipe);
    queue.append(head, Buffer.from('before'));
    const slab = queue.pool.take();
    const payload = slab.body.subarray(0, LIMITS.readBytes).fill('read');
    const [piece] = queue.adopt(head, slab, payload) ?? [];
    expect(piece?.slab === slab).toBe(false);
    expect(queue.adopt(head, slab, slab.body)).toBeNull();
    expect(queue.heldBytes).toBe(LIMITS.slabBytes);
    queue.flush();
    expect(framesOf(pipe).map((frame) => frame.payload.length)).toEqual([6, payload.length]);
  });
});

describe('a slab that was read into', () => {
  const head = { type: FRAME.clientBytes, flags: 0, connection: 1, atNs: 0 } as const;

  it('lies between what was appended before it and after it, and is written on in', async () => {
    const queue = new SlabQueue();
    const pipe = new PassThrough({ highWaterMark: 10 * LIMITS.slabBytes });
    queue.attach(pipe);
    queue.append(head, Buffer.from('before'));
    const slab = queue.pool.take();
    const payload = slab.body.subarray(0, WHOLE_FRAME_BYTES + 1).fill('read');
    const adopted = queue.adopt(head, slab, payload) ?? [];
    expect([adopted.length, adopted[0]?.bytes === payload, adopted[0]?.slab === slab]).toEqual([
      1,
      true,
      true,
    ]);
    const after = queue.append(head, Buffer.from('after')) ?? [];
    expect([after.length, after[0]?.slab === slab]).toEqual([1, true]);
    queue.flush();
    expect(framesOf(pipe).map((frame) => Buffer.from(frame.payload).toString())).toEqual([
      'before',
      payload.toString(),
      'after',
    ]);
    await new Promise((resolve) => setImmediate(resolve));
    // Whoever read into it holds it still.
    expect([queue.heldBytes, slab.holders]).toEqual([0, 1]);
  });

  it('is not spent on little: that is copied behind what is there', () => {
    const queue = new SlabQueue();
    queue.attach(new PassThrough());
    queue.append(head, Buffer.from('before'));
    const slab = queue.pool.take();
    const adopted = queue.adopt(head, slab, slab.body.subarray(0, WHOLE_FRAME_BYTES)) ?? [];
    expect([adopted.length, adopted[0]?.slab === slab, slab.holders]).toEqual([1, false, 1]);
    expect(queue.heldBytes).toBe(LIMITS.slabBytes);
  });

  it('is not taken over the budget, nor where nobody listens', () => {
    const queue = new SlabQueue(2 * LIMITS.slabBytes);
    const adopt = () => {
      const slab = queue.pool.take();
      return queue.adopt(head, slab, slab.body) !== null;
    };
    expect(adopt()).toBe(false);
    queue.attach(new PassThrough());
    expect([adopt(), adopt(), adopt()]).toEqual([true, true, false]);
  });
});

describe('a pipe that takes nothing', () => {
  it('costs no slab for each few bytes: they are collected until it takes what it has', async () => {
    const queue = new SlabQueue();
    let done: () => void = () => undefined;
    const written: number[] = [];
    const pipe = new Writable({
      write(chunk: Buffer, _encoding, taken) {
        written.push(chunk.length);
        done = taken;
      },
    });
    queue.attach(pipe);
    const head = { type: FRAME.clientBytes, flags: 0, connection: 1, atNs: 0 } as const;
    const framed = 200 + FRAME_HEADER_BYTES;
    for (let count = 0; count < 20; count += 1) {
      expect(queue.append(head, Buffer.alloc(200))).not.toBe(null);
      await sleep(LIMITS.flushDelayMs + 2);
    }
    // One that is stuck in the pipe, and one for all that came since.
    expect([queue.heldBytes / LIMITS.slabBytes, written.length]).toEqual([2, 1]);
    done();
    while (written.length < 2) await sleep(1);
    done();
    while (queue.heldBytes > 0) await sleep(1);
    expect(written.reduce((sum, bytes) => sum + bytes)).toBe(20 * framed);
  });
});

describe('slabs that were written', () => {
  it('are kept for the next ones up to a number, and given back beyond it', () => {
    const written: Buffer[] = [];
    const queue = new SlabQueue();
    queue.attach(
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          written.push(chunk);
          done();
        },
      }),
    );
    const payload = Buffer.alloc(40 * LIMITS.slabBytes);
    queue.append({ type: FRAME.serverBytes, flags: 0, connection: 1, atNs: 0 }, payload);
    queue.flush();
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      expect(queue.heldBytes).toBe(0);
      const kept = new Set(written.filter(({ length }) => length > 0).map(({ buffer }) => buffer));
      expect(kept.size).toBe(LIMITS.spareSlabs);
    });
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
