import { describe, expect, test } from 'vitest';
import type { BatchKind, PreparedRequest } from '../../../src/replay/engine/messages.ts';
import { BatchReader, type SendBatch } from '../../../src/replay/engine/messages.ts';
import { ReadAhead } from '../../../src/replay/engine/read-ahead.ts';
import { DueRing, InFlight, type InFlightLimits } from '../../../src/replay/engine/shared-memory.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { prepared } from '../../support/prepared.ts';

const SECOND_NS = 1_000_000_000;
const MIB = 1024 * 1024;

class Harness {
  readonly ring = DueRing.create(64);
  readonly batches: SendBatch[] = [];
  readonly followUps: SendBatch[] = [];
  readonly refused: number[] = [];
  pulled = 0;
  readonly readAhead: ReadAhead;
  readonly clock = new ManualClock();

  readonly budget: InFlight | null;

  constructor(
    requests: Iterable<PreparedRequest>,
    bounds: { maxBytes?: number; maxRequests?: number; held?: InFlightLimits } = {},
  ) {
    this.budget = bounds.held === undefined ? null : InFlight.create(bounds.held);
    const counted = function* (this: Harness): Generator<PreparedRequest> {
      for (const request of requests) {
        this.pulled++;
        yield request;
      }
    }.call(this);
    this.readAhead = new ReadAhead(
      counted,
      this.ring,
      {
        maxBytes: bounds.maxBytes ?? 64 * MIB,
        maxRequests: bounds.maxRequests ?? 64,
        held: this.budget,
      },
      this.clock,
      {
        hand: (kind, batch) => this.#handed(kind).push(batch),
        refuse: ({ index }) => this.refused.push(index),
      },
    );
  }

  #handed(kind: BatchKind): SendBatch[] {
    return kind === 'batch' ? this.batches : this.followUps;
  }

  get handed(): number[] {
    return indexesOf(this.batches);
  }

  get held(): number[] {
    return indexesOf(this.followUps);
  }
}

function indexesOf(batches: readonly SendBatch[]): number[] {
  return batches.flatMap((batch) => {
    const reader = new BatchReader(batch);
    const indexes: number[] = [];
    while (!reader.done) indexes.push(reader.read().index);
    return indexes;
  });
}

function* every(gapNs: number, bodyBytes = 10): Generator<PreparedRequest> {
  for (let index = 0; ; index++) yield prepared(index, index * gapNs, { body: Buffer.alloc(bodyBytes) });
}

describe('reading ahead', () => {
  test('hands over everything within two seconds of now, in order, and its due times beside it', () => {
    const harness = new Harness(every(SECOND_NS / 2));
    expect(harness.readAhead.fill(0)).toBe('full');
    expect(harness.handed).toEqual([0, 1, 2, 3, 4]);
    expect(harness.ring.peekNs()).toBe(0);
    expect(harness.readAhead.fill(SECOND_NS)).toBe('full');
    expect(harness.handed).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test('pulls one request beyond what it may hand over, and no more', () => {
    const harness = new Harness(every(10 * SECOND_NS));
    harness.readAhead.fill(0);
    harness.readAhead.fill(0);
    expect(harness.pulled).toBe(2);
  });

  test('stops at its number of requests until the sender has got on', () => {
    const harness = new Harness(every(0), { maxRequests: 4 });
    expect(harness.readAhead.fill(0)).toBe('full');
    expect(harness.handed).toHaveLength(4);
    harness.ring.signalsOf(0).setDispatched(3);
    harness.readAhead.fill(0);
    expect(harness.handed).toHaveLength(7);
  });

  test('stops at its bytes', () => {
    const harness = new Harness(every(0, MIB), { maxBytes: 3.5 * MIB });
    harness.readAhead.fill(0);
    expect(harness.handed).toHaveLength(3);
    harness.ring.signalsOf(0).setDispatched(1);
    harness.readAhead.fill(0);
    expect(harness.handed).toHaveLength(4);
  });

  test('lets a request larger than the whole budget pass, alone', () => {
    const harness = new Harness(every(0, 2 * MIB), { maxBytes: MIB });
    harness.readAhead.fill(0);
    expect(harness.handed).toEqual([0]);
    harness.ring.signalsOf(0).setDispatched(1);
    harness.readAhead.fill(0);
    expect(harness.handed).toEqual([0, 1]);
  });

  test('waits for a pacer that is a whole ring behind', () => {
    const harness = new Harness(every(0), { maxRequests: 1_000 });
    harness.ring.signalsOf(0).setDispatched(0);
    expect(harness.readAhead.fill(0)).toBe('full');
    expect(harness.handed).toHaveLength(64);
    harness.ring.signalsOf(0).setDispatched(64);
    harness.readAhead.fill(0);
    expect(harness.handed).toHaveLength(64);
    for (let i = 0; i < 10; i++) harness.ring.shift();
    harness.readAhead.fill(0);
    expect(harness.handed).toHaveLength(74);
  });

  test('kept a thread that sends from the processor for five milliseconds', () => {
    const slow = function* (gapNs: number): Generator<PreparedRequest> {
      for (let index = 0; ; index++) {
        harness.clock.advance(100_000);
        yield prepared(index, index * gapNs);
      }
    };
    let harness: Harness = new Harness(slow(SECOND_NS / 1_000));
    expect(harness.readAhead.fill(0)).toBe('more');
    expect(harness.pulled).toBeLessThanOrEqual(6);
    // A second ahead there is time to sleep before the next piece.
    harness = new Harness(slow(SECOND_NS / 4));
    expect(harness.readAhead.fill(0)).toBe('ample');
  });

  test('says when the schedule has ended', () => {
    const harness = new Harness([prepared(0, 0), prepared(1, 1)]);
    expect(['more', 'done']).toContain(harness.readAhead.fill(0));
    expect(harness.readAhead.fill(0)).toBe('done');
    expect(harness.readAhead.handed).toBe(2);
  });

  test('passes on what the schedule throws', () => {
    const broken: IterableIterator<PreparedRequest> = {
      next: () => {
        throw new Error('segment damaged');
      },
      [Symbol.iterator]: () => broken,
    };
    expect(() => new Harness(broken).readAhead.fill(0)).toThrow('segment damaged');
  });
});

describe('reading follow-ups ahead', () => {
  /** One first, and follow-ups of each other, a second apart. */
  function* session(bodyBytes = 10): Generator<PreparedRequest> {
    const body = Buffer.alloc(bodyBytes);
    yield prepared(0, 0, { body, follows: null });
    for (let index = 1; ; index++) {
      const follows = { after: index - 1, from: 'end', delayNs: 0 } as const;
      yield prepared(index, index * SECOND_NS, { body, follows });
    }
  }

  test('goes a minute ahead, past the pacer', () => {
    const harness = new Harness(session(), { held: { maxRequests: 1_000, maxBodyBytes: MIB } });
    expect(harness.readAhead.fill(0)).toBe('full');
    expect(harness.handed).toEqual([0]);
    expect(harness.held).toEqual(Array.from({ length: 60 }, (_, at) => at + 1));
    expect(harness.readAhead.handed).toBe(61);
    expect(harness.ring.free).toBe(63);
  });

  test('ends where there is no room, until one was sent', () => {
    const harness = new Harness(session(100_000), {
      held: { maxRequests: 1_000, maxBodyBytes: 3 * 100 * 1_024 },
    });
    harness.readAhead.fill(0);
    expect(harness.held).toEqual([1, 2, 3]);
    harness.budget?.leaveBody(100_000);
    harness.budget?.leave();
    harness.readAhead.fill(0);
    expect([harness.held, harness.refused]).toEqual([[1, 2, 3, 4], []]);
  });

  test('refuses what finds no room by the time it was planned for, and begins the session anew', () => {
    const harness = new Harness(session(), { held: { maxRequests: 2, maxBodyBytes: MIB } });
    harness.readAhead.fill(0);
    expect([harness.held, harness.refused]).toEqual([[1, 2], []]);
    harness.readAhead.fill(SECOND_NS);
    expect([harness.held, harness.refused]).toEqual([[1, 2], [3]]);
    harness.readAhead.fill(2 * SECOND_NS);
    // Nothing is to come that it could wait for: its instant is the planned one.
    expect(harness.handed).toEqual([0, 4]);
  });
});
