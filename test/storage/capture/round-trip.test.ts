import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import type { Exchange, Message } from '../../../src/core/exchange.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { CaptureReader } from '../../../src/storage/capture/reader.ts';
import { CaptureWriter } from '../../../src/storage/capture/writer.ts';
import { captureOf, newCapture, querySegment, writerOptions } from '../../support/captures.ts';
import {
  anyExchange,
  arrivalAlone,
  exchangeOf,
  partOfBody,
  requestMessage,
  TEST_EPOCH_US,
  wholeBody,
} from '../../support/exchanges.ts';
import { repeated } from '../../support/long-form.ts';
import { wholePayload } from '../../support/whole-payload.ts';

/** What a reader gives for an exchange: an empty body has nothing left out and no hash, whatever policy says. */
function asRead({ request, response, ...rest }: Exchange): Exchange {
  const message = (given: Message | null) =>
    given === null || given.body.bytes > 0
      ? given
      : { ...given, body: { ...given.body, kept: Buffer.alloc(0), hash: null } };
  return { ...rest, request: message(request), response: message(response) };
}

/** Exchanges of a capture, in the reader's order, as they were appended. */
function readAll(directory: string): Exchange[] {
  const reader = new CaptureReader(directory);
  try {
    return [...reader.rows()].map((row) => {
      const payload = reader.payload(row);
      const {
        id,
        segment,
        recorder,
        requestBytes,
        responseBytes,
        requestTruncated,
        requestStored,
        requestHash,
        responseBody,
        number,
        links,
        ...facts
      } = row;
      expect(requestBytes).toBe(payload?.request?.body.bytes ?? null);
      expect(responseBytes).toBe(payload?.response?.body.bytes ?? null);
      expect(requestTruncated).toBe(payload?.request?.body.truncated ?? false);
      expect(plain(requestHash)).toEqual(plain(payload?.request?.body.hash ?? null));
      expect(responseBody == null).toBe((payload?.response?.body.hash ?? null) === null);
      expect([number, links]).toEqual([
        payload?.linked?.number ?? null,
        payload?.linked?.links.length ?? null,
      ]);
      const body = payload?.request?.body;
      expect(requestStored).toBe(
        body !== undefined && !body.truncated && body.kept?.byteLength === body.bytes,
      );
      return { ...facts, ...wholePayload(payload) };
    });
  } finally {
    reader.close();
  }
}

/** Byte strings as hexadecimal, so that a view and a copy of equal bytes compare equal. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, part: unknown) =>
      part !== null && typeof part === 'object' && 'type' in part && part.type === 'Buffer' && 'data' in part
        ? Buffer.from(part.data as number[]).toString('hex')
        : part instanceof Uint8Array
          ? Buffer.from(part).toString('hex')
          : part,
    ),
  );
}

/** Stable, so that exchanges of one arrival stay in the order they were appended in. */
function inOrder(exchanges: readonly Exchange[]): Exchange[] {
  return exchanges.toSorted((a, b) => a.arrivalUs - b.arrivalUs);
}

/** Numbers given and not used, and slots nobody refers to. */
const LEFTOVERS = `SELECT
  (SELECT coalesce(max(id), 0) - count(*) FROM exchange) AS ids,
  (SELECT coalesce(max(id), 0) - count(*) FROM body) AS bodies,
  (SELECT coalesce(sum(slots), 0) FROM block)
    - (SELECT count(heads_slot) FROM exchange) - (SELECT count(slot) FROM body) AS slots,
  (SELECT coalesce(-min(first_slot), 0) - count(*) FROM block WHERE first_slot < 0) AS large`;

describe('a capture', () => {
  it('gives back exchanges that are alike in all but a few, which differ in one thing each', () => {
    const changes: readonly Partial<Exchange>[] = [
      { outcome: 'client_aborted' },
      { method: 'PUT' },
      { route: 'POST /other' },
      { status: 500 },
      { status: null },
      { model: 'other' },
      { streamed: true },
      { firstTokenOffsetUs: 7 },
      { clientLeftOffsetUs: 6 },
      { promptTokens: 8 },
      { cachedTokens: 7 },
      { outputTokens: 9 },
      { session: Buffer.alloc(8, 1) },
      { connection: 99 },
    ];
    const given = fc.array(fc.tuple(fc.nat(63), fc.constantFrom(...changes)), { maxLength: 3 });
    fc.assert(
      fc.property(given, (few) => {
        const directory = newCapture();
        const writer = new CaptureWriter(writerOptions(directory, { durability: 'seal' }), systemClock);
        const exchanges = Array.from({ length: 64 }, (_, at) => ({
          ...exchangeOf({ arrivalUs: TEST_EPOCH_US + at }),
          ...few.find(([place]) => place === at)?.[1],
        }));
        for (const exchange of exchanges) writer.append(exchange);
        expect(writer.commit()).toMatchObject({ committed: 64, lost: [] });
        writer.close();
        expect(plain(readAll(directory))).toEqual(plain(exchanges));
      }),
      { numRuns: repeated(10, 30) },
    );
  });

  it('gives back every exchange as it was appended, whatever the commits between', () => {
    const steps = fc.array(fc.record({ exchange: anyExchange, commit: fc.boolean() }), { maxLength: 40 });
    fc.assert(
      fc.property(steps, (given) => {
        const directory = newCapture();
        const writer = new CaptureWriter(
          writerOptions(directory, { segmentBy: 'clock', durability: 'seal' }),
          systemClock,
        );
        for (const { exchange, commit } of given) {
          writer.append(exchange);
          if (commit) expect(writer.commit().lost).toEqual([]);
        }
        expect(writer.pendingExchanges).toBe(given.length - (given.findLastIndex((step) => step.commit) + 1));
        // Once while the segment grows and has tails, once when it is sealed.
        writer.commit();
        const expected = plain(inOrder(given.map(({ exchange }) => asRead(exchange))));
        expect(plain(readAll(directory))).toEqual(expected);
        writer.close();
        expect(plain(readAll(directory))).toEqual(expected);
      }),
      { numRuns: repeated(15, 50) },
    );
  });

  it('gives back the neighbours of what cannot be written as if that had never been there', () => {
    const steps = fc.array(
      fc.record({ exchange: anyExchange, commit: fc.boolean(), spoilt: fc.nat({ max: 4 }) }),
      {
        maxLength: 25,
      },
    );
    fc.assert(
      fc.property(steps, (given) => {
        const directory = newCapture();
        const writer = new CaptureWriter(
          writerOptions(directory, { segmentBy: 'clock', durability: 'seal' }),
          systemClock,
        );
        for (const { exchange, commit, spoilt } of given) {
          // SQLite takes no object for a hash: the transaction fails after bodies, names and ids were given out.
          writer.append(spoilt === 0 ? { ...exchange, session: {} as Uint8Array } : exchange);
          if (commit) writer.commit();
        }
        writer.close();
        const kept = given.filter(({ spoilt }) => spoilt > 0).map(({ exchange }) => asRead(exchange));
        expect(plain(readAll(directory))).toEqual(plain(inOrder(kept)));
        expect(inspectCapture(directory).exchanges).toBe(kept.length);
        if (given.length > 0)
          expect(querySegment(directory, LEFTOVERS)).toEqual([{ ids: 0, bodies: 0, slots: 0, large: 0 }]);
      }),
      { numRuns: repeated(15, 50) },
    );
  });

  it('rewrites tails into full blocks without moving a slot', () => {
    const directory = newCapture();
    const writer = new CaptureWriter(writerOptions(directory), systemClock);
    const exchanges = Array.from({ length: 700 }, (_, index) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + index,
        request: requestMessage({ body: `request ${index}` }),
        response: null,
      }),
    );
    for (const [index, exchange] of exchanges.entries()) {
      writer.append(exchange);
      if (index % 3 === 0) writer.commit();
    }
    writer.commit();
    const blocks = () =>
      querySegment<{ first_slot: number; slots: number }>(
        directory,
        'SELECT first_slot, slots FROM block ORDER BY first_slot',
      );
    const open = blocks();
    expect(open.slice(0, 2)).toEqual([
      { first_slot: 0, slots: 512 },
      { first_slot: 512, slots: 512 },
    ]);
    expect(open.length).toBeGreaterThan(40);
    expect(open.reduce((sum, block) => sum + block.slots, 0)).toBe(1_400);
    expect(plain(readAll(directory))).toEqual(plain(exchanges));
    writer.close();
    expect(blocks()).toEqual([
      { first_slot: 0, slots: 512 },
      { first_slot: 512, slots: 512 },
      { first_slot: 1024, slots: 376 },
    ]);
    expect(plain(readAll(directory))).toEqual(plain(exchanges));
  });

  it('stores equal bodies of a segment once, and never takes a stump for the whole', () => {
    const content = Buffer.alloc(5_000, 'prompt ');
    const bodies = [
      wholeBody(content),
      partOfBody(content, 100),
      wholeBody(Buffer.from(content)),
      partOfBody(content, null),
      partOfBody(content, 100),
    ];
    const exchanges = bodies.map((body, index) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + index,
        request: { ...requestMessage(), body },
        response: null,
      }),
    );
    const directory = captureOf(exchanges);
    expect(plain(readAll(directory))).toEqual(plain(exchanges));
    const rows = querySegment(directory, 'SELECT kept_bytes FROM body ORDER BY id');
    expect(rows).toEqual([{ kept_bytes: 5_000 }, { kept_bytes: 100 }, { kept_bytes: null }]);
  });

  it('proves a body that is found against its whole hash', () => {
    const alike = (last: number) => Buffer.concat([Buffer.alloc(15, 1), Buffer.from([last])]);
    const exchanges = [1, 2].map((index) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + index,
        request: { ...requestMessage(), body: { ...wholeBody(`body ${index}`), hash: alike(index) } },
        response: null,
      }),
    );
    expect(plain(readAll(captureOf(exchanges)))).toEqual(plain(exchanges));
  });

  it('gives a body past the bound a row of its own, and keeps the blocks around it whole', () => {
    const large = (fill: number) => Buffer.alloc(400_000, fill);
    const exchanges = [1, 2, 3].map((fill) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + fill,
        request: requestMessage({ body: large(fill) }),
        response: { ...requestMessage({ body: `small ${fill}` }) },
      }),
    );
    const directory = captureOf(exchanges);
    expect(plain(readAll(directory))).toEqual(plain(exchanges));
    expect(querySegment(directory, 'SELECT first_slot FROM block ORDER BY first_slot')).toEqual(
      [-3, -2, -1, 0].map((first_slot) => ({ first_slot })),
    );
  });

  it('keeps arrivals of which nothing else is known, without a payload', () => {
    const exchanges = [0, 0, 1].map((offset) => arrivalAlone(TEST_EPOCH_US + offset));
    const directory = captureOf(exchanges);
    const reader = new CaptureReader(directory);
    const rows = [...reader.rows()];
    expect(rows.map((row) => reader.payload(row))).toEqual([null, null, null]);
    expect(rows).toMatchObject(
      [0, 0, 1].map((offset) => ({
        arrivalUs: TEST_EPOCH_US + offset,
        requestStored: false,
        requestBytes: null,
        responseBytes: null,
      })),
    );
    reader.close();
  });
});
