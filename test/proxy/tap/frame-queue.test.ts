import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { BLOCK_BYTES, FrameQueue, QueueShare } from '../../../src/proxy/tap/frame-queue.ts';
import { FRAME, FRAME_HEADER_BYTES, type FrameHead, FrameReader } from '../../../src/proxy/tap/frames.ts';
import { repeated } from '../../support/long-form.ts';
import { socketPair } from '../../support/socket-pair.ts';
import { RETHROWING } from '../../support/tap-side.ts';

const HEAD = { type: FRAME.clientBytes, turnStart: true, allAnswered: true, connection: 1, atNs: 0 } as const;
const LARGE_BYTES = 40_000;

/** A frame of a connection of its own, where none is named. */
function put(queue: FrameQueue, head: FrameHead, payload: Buffer, share = new QueueShare()): boolean {
  return queue.append(head, payload, share);
}

/** A pipe that has room for all of a test. */
function widePipe(): PassThrough {
  return new PassThrough({ highWaterMark: 1024 * BLOCK_BYTES });
}

/** Frames that come out of the pipe. */
function framesOf(bytes: Buffer | null): { connection: number; turnStart: boolean; payload: Buffer }[] {
  const frames: { connection: number; turnStart: boolean; payload: Buffer }[] = [];
  const reader = new FrameReader(({ connection, turnStart, payload }) => {
    frames.push({ connection, turnStart, payload: Buffer.from(payload) });
  });
  if (bytes !== null) reader.push(bytes);
  return frames;
}

describe('the queue into the pipe', () => {
  it('gives every frame whole and in order, copied or kept, wherever blocks end', () => {
    const edge = BLOCK_BYTES - FRAME_HEADER_BYTES;
    const sizes = fc.oneof(
      fc.constantFrom(0, 1, edge - 1, edge, edge + 1),
      fc.nat(3 * BLOCK_BYTES),
      fc.nat(200),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(sizes, fc.boolean()), { minLength: 1, maxLength: 12 }), (payloads) => {
        const queue = new FrameQueue(RETHROWING);
        const pipe = widePipe();
        queue.attach(pipe);
        const given = payloads.map(([bytes, isControl], connection) => {
          const payload = Buffer.alloc(bytes, `of ${connection}`);
          if (isControl) queue.appendControl({ ...HEAD, connection }, payload);
          else expect(put(queue, { ...HEAD, connection }, payload)).toBe(true);
          return { connection, turnStart: true, payload };
        });
        queue.flush();
        expect(framesOf(pipe.read() as Buffer)).toEqual(given);
      }),
      { numRuns: repeated(15, 50) },
    );
  });

  it('keeps a large payload by reference, and copies a small one', () => {
    const queue = new FrameQueue(RETHROWING);
    const pipe = widePipe();
    queue.attach(pipe);
    const [small, large] = [Buffer.from('small'), Buffer.alloc(LARGE_BYTES, 'x')];
    put(queue, HEAD, small);
    put(queue, { ...HEAD, connection: 2 }, large);
    small.fill('-');
    large.fill('-');
    queue.flush();
    const [copied, kept] = framesOf(pipe.read() as Buffer);
    expect(copied?.payload.toString()).toBe('small');
    expect(kept?.payload.equals(large)).toBe(true);
  });

  it('copies a piece of something larger, so that no more than its bytes is kept', () => {
    const queue = new FrameQueue(RETHROWING);
    queue.attach(widePipe());
    put(queue, HEAD, Buffer.alloc(20 * LARGE_BYTES).subarray(0, LARGE_BYTES));
    expect(queue.heldBytes).toBe(BLOCK_BYTES);
  });

  it('has nothing of a frame when there is no memory for it', () => {
    const queue = new FrameQueue(RETHROWING);
    const pipe = widePipe();
    queue.attach(pipe);
    put(queue, HEAD, Buffer.from('before'));
    const allocate = Buffer.allocUnsafeSlow;
    Buffer.allocUnsafeSlow = () => {
      throw new RangeError('Array buffer allocation failed');
    };
    try {
      expect(() => put(queue, { ...HEAD, connection: 2 }, bytesOfOther(2 * BLOCK_BYTES))).toThrow(RangeError);
    } finally {
      Buffer.allocUnsafeSlow = allocate;
    }
    put(queue, { ...HEAD, connection: 3 }, Buffer.from('after'));
    queue.flush();
    expect(framesOf(pipe.read() as Buffer).map(({ payload }) => payload.toString())).toEqual([
      'before',
      'after',
    ]);
  });
});

/** A piece of a larger memory. */
function bytesOfOther(length: number): Buffer {
  return Buffer.alloc(3 * length).subarray(0, length);
}

describe('the budget', () => {
  it('is never gone over, and all of it is free again when nothing is held', () => {
    const sizes = fc.oneof(
      fc.nat(80),
      fc.integer({ min: BLOCK_BYTES - 80, max: BLOCK_BYTES }),
      fc.nat(4 * BLOCK_BYTES),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(sizes, { maxLength: 20 }), (blocks, payloads) => {
        const queue = new FrameQueue(RETHROWING, blocks * BLOCK_BYTES);
        queue.attach(widePipe());
        for (const bytes of payloads) {
          put(queue, HEAD, Buffer.alloc(bytes));
          expect(queue.heldBytes).toBeLessThanOrEqual(blocks * BLOCK_BYTES);
        }
        queue.attach(null);
        expect(queue.heldBytes).toBe(0);
      }),
    );
  });

  it('counts what a kept chunk costs beside its bytes', () => {
    const queue = new FrameQueue(RETHROWING);
    queue.attach(widePipe());
    put(queue, HEAD, Buffer.alloc(LARGE_BYTES));
    expect(queue.heldBytes).toBe(BLOCK_BYTES + LARGE_BYTES + 1024);
  });

  it('takes nothing where nobody listens', () => {
    const queue = new FrameQueue(RETHROWING);
    expect(put(queue, HEAD, Buffer.alloc(1))).toBe(false);
    queue.appendControl(HEAD, Buffer.alloc(1));
    expect([queue.heldBytes, queue.hasRoomFor(new QueueShare())]).toEqual([0, false]);
  });

  it('that is spent lets frames through that close accounts', () => {
    const queue = new FrameQueue(RETHROWING, BLOCK_BYTES);
    const pipe = widePipe();
    queue.attach(pipe);
    while (put(queue, HEAD, Buffer.alloc(1_000)));
    queue.appendControl({ ...HEAD, type: FRAME.message, connection: 2 }, Buffer.alloc(2_000));
    queue.flush();
    expect(framesOf(pipe.read() as Buffer).at(-1)?.payload.length).toBe(2_000);
  });
});

describe('a connection that fills the queue', () => {
  const BUDGET_BLOCKS = 64;
  const BUDGET = BUDGET_BLOCKS * BLOCK_BYTES;

  /** A queue into a pipe that takes nothing, until it is told to. */
  function stuckQueue() {
    const queue = new FrameQueue(RETHROWING, BUDGET);
    const held: (() => void)[] = [];
    const write = (_: Buffer, __: string, taken: () => void) => void held.push(taken);
    queue.attach(new Writable({ write, highWaterMark: 1 }));
    const release = async () => {
      while (queue.heldBytes > 0) {
        held.shift()?.();
        await sleep(1);
      }
    };
    return { queue, release };
  }

  const fill = (queue: FrameQueue, share: QueueShare) => {
    while (put(queue, HEAD, Buffer.alloc(LARGE_BYTES), share));
  };

  it('is shed first: half of the budget is left to its neighbours, each of whom is taken', () => {
    const { queue } = stuckQueue();
    const bulk = new QueueShare();
    fill(queue, bulk);
    expect(queue.heldBytes / BUDGET).toBeCloseTo(0.5, 1);
    const neighbours = Array.from({ length: 100 }, () => new QueueShare());
    for (let round = 0; round < 10; round += 1) {
      for (const share of neighbours) expect(put(queue, HEAD, Buffer.alloc(1_000), share)).toBe(true);
      expect(put(queue, HEAD, Buffer.alloc(LARGE_BYTES), bulk)).toBe(false);
    }
    expect(neighbours.every((share) => queue.hasRoomFor(share))).toBe(true);
    expect(queue.hasRoomFor(bulk)).toBe(false);
  });

  it('leaves as much to each other one: a third of the budget for two, and for a third that comes later', () => {
    const { queue } = stuckQueue();
    const [first, second, third] = [new QueueShare(), new QueueShare(), new QueueShare()];
    for (let frames = 0; frames < 200; frames += 1) {
      for (const share of [first, second]) put(queue, HEAD, Buffer.alloc(LARGE_BYTES), share);
    }
    expect(first.heldBytes / BUDGET).toBeCloseTo(1 / 3, 1);
    expect(second.heldBytes / BUDGET).toBeCloseTo(1 / 3, 1);
    expect(put(queue, HEAD, Buffer.alloc(LARGE_BYTES), third)).toBe(true);
  });

  it('holds nothing when all of it is written, and is taken again', async () => {
    const { queue, release } = stuckQueue();
    const bulk = new QueueShare();
    fill(queue, bulk);
    queue.flush();
    await release();
    expect([bulk.heldBytes, queue.heldBytes, queue.hasRoomFor(bulk)]).toEqual([0, 0, true]);
    put(queue, HEAD, Buffer.alloc(LARGE_BYTES), bulk);
    queue.attach(null);
    expect(bulk.heldBytes).toBe(0);
  });
});

describe('when it writes', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  /** What the pipe was given, on a clock that only a test moves. */
  function written(): { readonly queue: FrameQueue; readonly sizes: number[] } {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const queue = new FrameQueue(RETHROWING);
    const sizes: number[] = [];
    const write = (chunk: Buffer, _: string, taken: () => void) => {
      sizes.push(chunk.length);
      taken();
    };
    queue.attach(new Writable({ write }));
    return { queue, sizes };
  }

  it('few frames wait for more, so that a host without processor time to spare is woken seldom', () => {
    const { queue, sizes } = written();
    for (let count = 0; count < 5; count += 1) {
      put(queue, HEAD, Buffer.alloc(200));
      vi.advanceTimersByTime(LIMITS.flushDelayMs / 5 - 1);
    }
    expect(sizes).toEqual([]);
    vi.advanceTimersByTime(5);
    expect(sizes).toEqual([5 * (200 + FRAME_HEADER_BYTES)]);
  });

  it('a full block does not wait for as long', () => {
    const { queue, sizes } = written();
    put(queue, HEAD, Buffer.alloc(200));
    vi.advanceTimersByTime(1);
    put(queue, HEAD, Buffer.alloc(BLOCK_BYTES));
    vi.advanceTimersByTime(LIMITS.fullFlushDelayMs - 1);
    expect(sizes).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(sizes.reduce((sum, bytes) => sum + bytes, 0)).toBe(200 + BLOCK_BYTES + 2 * FRAME_HEADER_BYTES);
  });
});

describe('a pipe that takes nothing', () => {
  it('costs no block for each few bytes: they are collected until it takes what it has', async () => {
    const queue = new FrameQueue(RETHROWING);
    let done: () => void = () => undefined;
    const written: number[] = [];
    const pipe = new Writable({
      write(chunk: Buffer, _encoding, taken) {
        written.push(chunk.length);
        done = taken;
      },
    });
    queue.attach(pipe);
    for (let count = 0; count < 20; count += 1) {
      expect(put(queue, HEAD, Buffer.alloc(200))).toBe(true);
      await sleep(LIMITS.flushDelayMs + 2);
    }
    // One that is stuck in the pipe, and one for all that came since.
    expect([queue.heldBytes / BLOCK_BYTES, written.length]).toEqual([2, 1]);
    done();
    await expect.poll(() => written.length, { timeout: 10_000 }).toBe(2);
    done();
    await expect.poll(() => queue.heldBytes, { timeout: 10_000 }).toBe(0);
    expect(written.reduce((sum, bytes) => sum + bytes)).toBe(20 * (200 + FRAME_HEADER_BYTES));
  });

  it('gives its memory back when it is destroyed', async () => {
    const queue = new FrameQueue(RETHROWING);
    const [pipe, peer] = await socketPair();
    queue.attach(pipe.on('error', () => undefined));
    while (put(queue, HEAD, Buffer.alloc(LARGE_BYTES))) queue.flush();
    peer.destroy();
    pipe.destroy();
    queue.attach(null);
    await expect.poll(() => queue.heldBytes, { timeout: 10_000 }).toBe(0);
  });
});
