import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PreparedRequest } from '../../../src/replay/engine/messages.ts';
import {
  BatchReader,
  packBatch,
  type SendBatch,
  transferListOf,
} from '../../../src/replay/engine/messages.ts';
import { prepared } from '../../support/prepared.ts';

function readAll(batch: SendBatch): PreparedRequest[] {
  const reader = new BatchReader(batch);
  const requests: PreparedRequest[] = [];
  while (!reader.done) requests.push(reader.read());
  return requests;
}

/** Through the structured clone with transfer, as between two threads. */
function moved(batch: SendBatch): SendBatch {
  return structuredClone(batch, { transfer: transferListOf(batch) });
}

const latin1 = fc.string({
  unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)),
  maxLength: 20,
});
const body = fc.oneof(
  fc.constant(null),
  fc.uint8Array({ maxLength: 300 }),
  fc.integer({ min: 65_530, max: 65_545 }).map((bytes) => Buffer.alloc(bytes, 'x')),
);
const request = fc.record({
  index: fc.nat(),
  intendedOffsetNs: fc.nat(2 ** 52),
  method: fc.constantFrom('GET', 'POST', 'PURGE'),
  path: latin1.map((path) => `/${path}`),
  headers: fc
    .array(fc.tuple(fc.oneof(latin1, fc.constantFrom('Host', 'host')), latin1))
    .map((pairs) => pairs.flat()),
  body,
  chunked: fc.boolean(),
  answer: fc.record({
    counts: fc.boolean(),
    streams: fc.boolean(),
    ends: fc.boolean(),
    cancelAfterNs: fc.oneof(fc.constant(null), fc.nat(2 ** 52)),
  }),
  lane: fc.oneof(fc.constant(null), fc.nat(2 ** 53 - 1)),
  follows: fc.oneof(
    fc.constant(undefined),
    fc.constant(null),
    fc.record({ after: fc.nat(), from: fc.constantFrom('end', 'send'), delayNs: fc.nat(2 ** 52) }),
  ),
});

/** What a sender is given beside the body. */
function headOf(request: PreparedRequest): object {
  const { body: _, ...head } = request;
  return head;
}

describe('a batch on its way to the sender', () => {
  test('gives back every request as it was, empty values, high bytes and all sizes of body included', () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 8 }), (requests) => {
        const read = readAll(moved(packBatch(requests)));
        expect(read.map(({ body: _, ...head }) => head)).toEqual(requests.map(headOf));
        read.forEach((got, row) => {
          const want = requests[row]?.body ?? null;
          expect(got.body === null).toBe(want === null);
          if (got.body && want) expect(Buffer.compare(got.body, want) === 0).toBe(true);
        });
      }),
    );
  });

  test('leaves the bodies it was made from alone', () => {
    const large = Buffer.alloc(100_000, 7);
    const batch = packBatch([prepared(0, 0, { body: large })]);
    moved(batch);
    expect(large.every((byte) => byte === 7)).toBe(true);
    expect(batch.requests.byteLength).toBe(0);
  });

  test('does not keep a whole batch in memory for one small body', () => {
    const batch = moved(packBatch([prepared(0, 0), prepared(1, 0)]));
    expect(readAll(batch)[0]?.body?.buffer).not.toBe(batch.requests.buffer);
  });

  test('counts those that came after their time', () => {
    const reader = new BatchReader(packBatch([prepared(0, 10), prepared(1, 20), prepared(2, 30)]));
    expect([9, 10, 25, 99].map((offsetNs) => reader.countDueBy(offsetNs))).toEqual([0, 1, 2, 3]);
    expect([9, 10, 25, 99].map((offsetNs) => reader.countDueBy(offsetNs, 20))).toEqual([0, 0, 1, 2]);
  });

  test('refuses a line break that would shift every part behind it', () => {
    expect(() => packBatch([prepared(3, 0, { headers: ['X', 'a\nb'] })])).toThrow('request 3');
  });

  test('shows nothing of the head that it refuses, which may hold a key', () => {
    const headers = ['Authorization', 'Bearer secret\n'];
    expect(() => packBatch([prepared(3, 0, { headers })])).not.toThrow('secret');
  });
});
