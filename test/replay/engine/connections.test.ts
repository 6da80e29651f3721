import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ExchangeRow } from '../../../src/core/exchange.ts';
import {
  ConnectionForecast,
  ConnectionNeeds,
  laneOf,
  placeOf,
} from '../../../src/replay/engine/connections.ts';
import type { PreparedRequest } from '../../../src/replay/engine/messages.ts';
import { BatchReader } from '../../../src/replay/engine/messages.ts';
import { ReadAhead } from '../../../src/replay/engine/read-ahead.ts';
import { DueRing } from '../../../src/replay/engine/shared-memory.ts';
import { Concurrency } from '../../../src/replay/plan/concurrency.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { prepared } from '../../support/prepared.ts';

const sessionOf = (number: number | null): ExchangeRow['session'] =>
  number === null ? null : Buffer.from(number.toString(16).padStart(16, '0'), 'hex');

/** Who an exchange is of: a session or none, as recorded or as one of its copies. */
const who = fc.record({
  session: fc.option(fc.nat({ max: 9 }), { nil: null }),
  connection: fc.option(fc.nat({ max: 5 }), { nil: null }),
  copy: fc.nat({ max: 2 }),
});
type Who = { session: number | null; connection: number | null; copy: number };

/** What each sender was handed, in order, when everything was due at once. */
function striped(requests: readonly PreparedRequest[], senders: number): number[][] {
  // With a place to spare: a full ring is not asked whether more would come.
  const ring = DueRing.create(requests.length + 1, senders);
  const handed: number[][] = Array.from({ length: senders }, () => []);
  const readAhead = new ReadAhead(
    requests[Symbol.iterator](),
    ring,
    { maxBytes: 2 ** 30, maxRequests: requests.length + 1, held: null },
    new ManualClock(),
    {
      hand: (_kind, batch, sender) => {
        for (const reader = new BatchReader(batch); !reader.done; ) handed[sender]?.push(reader.read().index);
      },
      refuse: () => undefined,
    },
  );
  for (let calls = 0; readAhead.fill(0) !== 'done'; calls++) expect(calls).toBeLessThan(100);
  return handed;
}

describe('stripes', () => {
  test.each(['pooled', 'recorded'] as const)(
    'partition a schedule, each session (%s: or connection) whole and in order on one sender',
    (connections) => {
      fc.assert(
        fc.property(
          fc.array(who, { minLength: 1, maxLength: 80 }),
          fc.integer({ min: 1, max: 8 }),
          (all: Who[], senders) => {
            const requests = all.map(({ session, connection, copy }, index) =>
              prepared(index, index, {
                ...placeOf(
                  { row: exchangeRow({ session: sessionOf(session), connection }), copy, layer: 0 },
                  connections,
                ),
              }),
            );
            const handed = striped(requests, senders);
            expect(handed.flat().toSorted((a, b) => a - b)).toEqual(all.map((_, index) => index));
            for (const part of handed) expect(part).toEqual(part.toSorted((a, b) => a - b));
            const keyOf = (each: Who | undefined, index: number) => {
              if (connections === 'recorded' && each?.connection != null) {
                return `c${each.connection}/${each.copy}`;
              }
              return each?.session == null ? `e${index}` : `s${each.session}/${each.copy}`;
            };
            const senderOf = new Map<string, number>();
            for (const [sender, part] of handed.entries()) {
              for (const index of part) {
                const key = keyOf(all[index], index);
                expect(senderOf.get(key) ?? sender).toBe(sender);
                senderOf.set(key, sender);
              }
            }
          },
        ),
      );
    },
  );

  test('are even for what stands alone, and nearly so for many sessions', () => {
    const alone = Array.from({ length: 400 }, (_, index) => prepared(index, 0));
    expect(striped(alone, 4).map(({ length }) => length)).toEqual([100, 100, 100, 100]);
    const sessions = Array.from({ length: 4_000 }, (_, index) =>
      prepared(index, 0, {
        ...placeOf({ row: exchangeRow({ session: sessionOf(index) }), copy: 0, layer: 0 }, 'pooled'),
      }),
    );
    for (const { length } of striped(sessions, 4)) expect(Math.abs(length - 1_000)).toBeLessThan(120);
  });

  test('tell the pacer whose each due time is', () => {
    const requests = [3, 1, 1, 0].map((stripe, index) => prepared(index, index, { stripe }));
    const ring = DueRing.create(8, 4);
    const readAhead = new ReadAhead(
      requests[Symbol.iterator](),
      ring,
      { maxBytes: 2 ** 20, maxRequests: 8, held: null },
      new ManualClock(),
      { hand: () => undefined, refuse: () => undefined },
    );
    readAhead.fill(0);
    const pacer = new DueRing(ring.memory);
    expect(pacer.senders).toBe(4);
    for (const sender of [3, 1, 1, 0]) {
      expect(pacer.peekSender()).toBe(sender);
      pacer.shift();
    }
    ring.signalsOf(2).setSenderAwake(true);
    expect([0, 1, 2, 3].map((sender) => pacer.isAwake(sender))).toEqual([false, false, true, false]);
  });
});

describe('the lane of a request', () => {
  test('is its connection within the life of its recorder, and another one for each copy', () => {
    const lanes = [
      laneOf({ row: exchangeRow({ connection: 1 }), copy: 0, layer: 0 }),
      laneOf({ row: exchangeRow({ connection: 2 }), copy: 0, layer: 0 }),
      laneOf({ row: exchangeRow({ connection: 1, recorder: 'other' }), copy: 0, layer: 0 }),
      laneOf({ row: exchangeRow({ connection: 1 }), copy: 1, layer: 0 }),
      laneOf({ row: exchangeRow({ connection: 1 }), copy: 0, layer: 1 }),
    ];
    expect(new Set(lanes).size).toBe(lanes.length);
    for (const lane of lanes) expect(Number.isSafeInteger(lane)).toBe(true);
    expect(laneOf({ row: exchangeRow({ connection: 1, id: 99 }), copy: 0, layer: 0 })).toBe(lanes[0]);
    expect(laneOf({ row: exchangeRow({ connection: null }), copy: 0, layer: 0 })).toBeNull();
  });
});

describe('the connections that are needed', () => {
  const SECOND_NS = 1e9;
  const requests = fc.array(
    fc.record({ gapMs: fc.nat({ max: 800 }), tookMs: fc.option(fc.nat({ max: 3_000 }), { nil: null }) }),
    { minLength: 1, maxLength: 60 },
  );

  test('are never more than the plan says, where all times are known', () => {
    fc.assert(
      fc.property(requests, fc.integer({ min: 1, max: 5 }), (parts, atOnce) => {
        const plan = new Concurrency();
        const forecast = new ConnectionForecast();
        const needs = new ConnectionNeeds();
        let atNs = 0;
        const open = parts.map(({ gapMs, tookMs }, index) => {
          atNs += gapMs * 1e6;
          const recordedNs = (tookMs ?? 0) * 1e6;
          plan.add(atNs, recordedNs);
          return { atNs, count: forecast.add(prepared(index, atNs, { recordedNs })) };
        });
        expect(Math.max(...open.map(({ count }) => count))).toBe(plan.max);
        for (let at = 0; at < open.length; at += atOnce) {
          const part = open.slice(at, at + atOnce);
          needs.add({
            count: Math.max(...part.map(({ count }) => count)),
            fromOffsetNs: part[0]?.atNs ?? 0,
            toOffsetNs: part.at(-1)?.atNs ?? 0,
          });
        }
        for (let ns = 0; ns <= atNs; ns += SECOND_NS / 10) {
          const soon = open.filter((each) => each.atNs >= ns && each.atNs <= ns + SECOND_NS);
          expect(needs.at(ns)).toBeLessThanOrEqual(plan.max ?? 0);
          expect(needs.at(ns)).toBeGreaterThanOrEqual(Math.max(0, ...soon.map(({ count }) => count)));
        }
        expect(needs.at(atNs + 1)).toBe(0);
      }),
    );
  });

  test('are at most 32 for requests of unknown length, and none for those with a connection of their own', () => {
    const forecast = new ConnectionForecast();
    const counts = Array.from({ length: 100 }, (_, index) => forecast.add(prepared(index, index * 1e6)));
    expect(counts.slice(0, 3)).toEqual([1, 2, 3]);
    expect(counts.at(-1)).toBe(32);
    expect(forecast.add(prepared(100, 5 * SECOND_NS, { recordedNs: 1 }))).toBeLessThanOrEqual(33);
    expect(forecast.add(prepared(101, 9 * SECOND_NS, { lane: 4, recordedNs: 1 }))).toBe(0);
  });
});
