import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import type { Exchange } from '../../../src/core/exchange.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { BlockCache, CaptureReader, mergeInOrder } from '../../../src/storage/capture/reader.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { captureOf, newCapture, writerOptions } from '../../support/captures.ts';
import {
  arrivalAlone,
  exchangeOf,
  requestMessage,
  responseMessage,
  TEST_EPOCH_US,
} from '../../support/exchanges.ts';

const HOUR_US = 3_600_000_000;

/** Three recorders whose arrivals interleave and tie, each with an exchange that arrived before its segment. */
function fleetCapture(): string {
  const directory = newCapture();
  const arrivals: Record<string, number[]> = {
    bbbbbbbb: [0, 5, 5, HOUR_US - 1, HOUR_US, HOUR_US + 7, HOUR_US - 3],
    aaaaaaaa: [5, 6, HOUR_US + 7],
    cccccccc: [5, 2 * HOUR_US, 2 * HOUR_US],
  };
  for (const [id, offsets] of Object.entries(arrivals)) {
    captureOf(
      offsets.map((offset, index) => arrivalAlone(TEST_EPOCH_US + offset, { connection: index })),
      { directory, recorder: { id, host: id, startedUs: TEST_EPOCH_US } },
    );
  }
  return directory;
}

function orderOf(directory: string, range?: { fromUs: number; toUs: number }): string[] {
  const reader = new CaptureReader(directory);
  try {
    return [...reader.rows(range)].map(
      ({ arrivalUs, recorder, connection }) => `${arrivalUs - TEST_EPOCH_US} ${recorder[0]}${connection}`,
    );
  } finally {
    reader.close();
  }
}

const FLEET_ORDER = [
  '0 b0',
  '5 a0',
  '5 b1',
  '5 b2',
  '5 c0',
  '6 a1',
  `${HOUR_US - 3} b6`,
  `${HOUR_US - 1} b3`,
  `${HOUR_US} b4`,
  `${HOUR_US + 7} a2`,
  `${HOUR_US + 7} b5`,
  `${2 * HOUR_US} c1`,
  `${2 * HOUR_US} c2`,
];

describe('reading a capture of several recorders', () => {
  it('merges their segments by arrival, recorder and id, late ones included', () => {
    expect(orderOf(fleetCapture())).toEqual(FLEET_ORDER);
  });

  it('begins and ends at any instant, the first within and the second without', () => {
    const directory = fleetCapture();
    const from = (fromUs: number, toUs: number) =>
      orderOf(directory, { fromUs: TEST_EPOCH_US + fromUs, toUs: TEST_EPOCH_US + toUs });
    expect(from(5, HOUR_US)).toEqual(FLEET_ORDER.slice(1, 8));
    expect(from(6, 6)).toEqual([]);
    expect(from(HOUR_US, 2 * HOUR_US)).toEqual(FLEET_ORDER.slice(8, 11));
    expect(from(3 * HOUR_US, 9 * HOUR_US)).toEqual([]);
  });

  it('sums seconds over all of them, in order, and touches the edges of a range whole', () => {
    const reader = new CaptureReader(fleetCapture());
    const seconds = (range?: { fromUs: number; toUs: number }) =>
      [...reader.rollUps(range)].map(({ second, exchanges }) => [second - TEST_EPOCH_US / 1e6, exchanges]);
    expect(seconds()).toEqual([
      [0, 6],
      [3_599, 2],
      [3_600, 3],
      [7_200, 2],
    ]);
    expect(seconds({ fromUs: TEST_EPOCH_US + HOUR_US - 1, toUs: TEST_EPOCH_US + HOUR_US + 1 })).toEqual([
      [3_599, 2],
      [3_600, 3],
    ]);
    reader.close();
  });

  it('orders equal arrivals of one recorder by its segments, the earlier first', () => {
    const offsets = [5, HOUR_US, 5, 2 * HOUR_US, 5];
    expect(
      orderOf(
        captureOf(offsets.map((offset, connection) => arrivalAlone(TEST_EPOCH_US + offset, { connection }))),
      ),
    ).toEqual(['5 70', '5 72', '5 74', `${HOUR_US} 71`, `${2 * HOUR_US} 73`]);
  });

  it('keeps every sum of a second over the commits that added to it', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    const add = (parts: Partial<Exchange>) => {
      writer.append(exchangeOf(parts));
      writer.commit();
    };
    add({ lastByteOffsetUs: 700, status: 500 });
    add({ lastByteOffsetUs: 900, response: null, outcome: 'upstream_failed', status: null });
    add({ lastByteOffsetUs: null, status: 499, request: null });
    add({ lastByteOffsetUs: 100 });
    const reader = new CaptureReader(directory);
    expect([...reader.rollUps()]).toEqual([
      {
        second: TEST_EPOCH_US / 1e6,
        exchanges: 4,
        failed: 2,
        requestBytes: 3 * 13,
        responseBytes: 3 * 14,
        latencyCount: 3,
        latencySumUs: 1_700,
        latencyMaxUs: 900,
      },
    ]);
    reader.close();
    writer.close();
  });

  it('pages through thousands of exchanges that share one instant', () => {
    const count = 3_500;
    const arrivals = Array.from({ length: count }, (_, index) =>
      arrivalAlone(TEST_EPOCH_US + (index === count - 1 ? 1 : 0), { connection: index }),
    );
    const reader = new CaptureReader(captureOf(arrivals));
    expect([...reader.rows()].map((row) => row.connection)).toEqual(arrivals.map((_, index) => index));
    reader.close();
  });

  it('finds payloads that were committed after their neighbours had been read', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    const reader = new CaptureReader(directory);
    const bodies: string[] = [];
    for (let step = 0; step < 5; step += 1) {
      for (let index = 0; index < 70; index += 1) {
        const body = `body ${bodies.length}`;
        bodies.push(body);
        const arrivalUs = TEST_EPOCH_US + bodies.length;
        writer.append(exchangeOf({ arrivalUs, request: requestMessage({ body }) }));
      }
      expect(writer.commit().lost).toEqual([]);
      expect([...reader.rows()].map((row) => String(reader.payload(row)?.request?.body.kept))).toEqual(
        bodies,
      );
    }
    reader.close();
    writer.close();
  });

  it('finds the payload of a row long after its segment was read to the end', () => {
    const exchanges = [0, 1, 2].map((hour) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + hour * HOUR_US,
        request: requestMessage({ body: `hour ${hour}` }),
      }),
    );
    const reader = new CaptureReader(captureOf(exchanges));
    const rows = [...reader.rows()].toReversed();
    expect(rows.map((row) => String(reader.payload(row)?.request?.body.kept))).toEqual([
      'hour 2',
      'hour 1',
      'hour 0',
    ]);
    expect(new Set(rows.map((row) => row.segment)).size).toBe(3);
    reader.close();
  });
});

describe('the merge', () => {
  it('equals sorting everything by (key, rank of the source, place in it)', () => {
    const sequences = fc.array(fc.array(fc.nat({ max: 12 }), { maxLength: 12 }), { maxLength: 9 });
    fc.assert(
      fc.property(sequences, fc.nat({ max: 3 }), (given, early) => {
        const sorted = given.map((keys) => keys.toSorted((a, b) => a - b));
        const merged = mergeInOrder(
          sorted.map((keys, rank) => ({
            firstKey: (keys[0] ?? 0) - early,
            open: () => keys.map((key) => ({ key, rank }))[Symbol.iterator](),
          })),
          ({ key }) => key,
        );
        const expected = sorted.flatMap((keys, rank) => keys.map((key) => ({ key, rank })));
        expect([...merged]).toEqual(expected.toSorted((a, b) => a.key - b.key || a.rank - b.rank));
      }),
    );
  });

  it('opens a source only when it has come to its first key', () => {
    const opened: number[] = [];
    const source = (firstKey: number, keys: number[]) => ({
      firstKey,
      open: () => {
        opened.push(firstKey);
        return keys[Symbol.iterator]();
      },
    });
    const merged = mergeInOrder([source(10, [10, 11]), source(0, [0, 9, 12])], (key) => key);
    merged.next();
    expect(opened).toEqual([0]);
    merged.next();
    expect(opened).toEqual([0]);
    expect(merged.next().value).toBe(10);
    expect(opened).toEqual([0, 10]);
  });
});

/** How many descriptors of this process lead below a directory. */
function openBelow(directory: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory);
    } catch {
      // The descriptor of the listing itself is gone by now.
      return false;
    }
  }).length;
}

it.skipIf(!existsSync('/proc/self/fd'))(
  'an answer that is asked for after its reader was closed is read, and leaves no file open (needs /proc)',
  () => {
    // In a block of its own, which is not unpacked with that of the request.
    const answer = randomBytes(2 * LIMITS.blockBytes);
    const directory = captureOf([
      exchangeOf({ request: requestMessage(), response: responseMessage(200, answer) }),
    ]);
    const reader = new CaptureReader(directory);
    const [row] = [...reader.rows()];
    const payload = row ? reader.payload(row) : null;
    expect(openBelow(directory)).toBeGreaterThan(0);
    reader.close();
    expect(openBelow(directory)).toBe(0);
    expect(Buffer.compare(payload?.response?.body.kept ?? Buffer.alloc(0), answer)).toBe(0);
    expect(openBelow(directory)).toBe(0);
  },
);

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
