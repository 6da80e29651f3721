import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  AGREES,
  CANCELLED,
  FAILED,
  LATE,
  LEFT_OUT,
  OPEN,
  PairTable,
  STREAMED,
  sideRowOfExchange,
  sideRowOfSend,
  TURNED_AWAY,
  WHOLE,
} from '../../../src/analysis/compare/pairs.ts';
import { sideRow as row } from '../../support/compared-pairs.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { repeated } from '../../support/long-form.ts';
import { failed, refused, send } from '../../support/sends.ts';

describe('pairing', () => {
  test('is by segment, id and which copy, whatever the order', () => {
    const table = new PairTable();
    for (const each of [row(1, 10), row(2, 20), row(1, 11), row(1, 12, { segment: 't' })]) table.addA(each);
    for (const each of [row(1, 100), row(2, 200), row(1, 101), row(1, 102), row(9, 1)]) table.addB(each);
    expect(table.counts()).toEqual({
      pairs: 3,
      onlyA: { all: 1, within: 1 },
      onlyB: { all: 2, within: 1 },
      leftOut: 0,
      leftOutOfA: { all: 0, late: 0 },
      leftOutOfB: { all: 0, late: 0 },
    });
    const { a, b, count } = table.pairs();
    expect({ count, a: [...a.latencyNs], b: [...b.latencyNs] }).toEqual({
      count: 3,
      a: [10, 20, 11],
      b: [100, 200, 101],
    });
  });

  test.each([
    ['the other side needed as long as it had, and failed', 50, [FAILED, 0]],
    ['the other side needed longer, and nobody knows', 51, null],
    ['the other side failed, as it did', Number.POSITIVE_INFINITY, [FAILED, FAILED]],
  ])('of a request that was open when its run ended: %s', (_, needed, expected) => {
    const open = row(1, 50, { outcome: OPEN });
    const other = row(1, needed, { outcome: needed === Number.POSITIVE_INFINITY ? FAILED : 0 });
    for (const [first, second] of [
      [open, other],
      [other, open],
    ] as const) {
      const table = new PairTable();
      table.addA(first);
      table.addB(second);
      expect(table.counts()).toMatchObject({
        pairs: expected === null ? 0 : 1,
        leftOut: expected === null ? 1 : 0,
      });
      const { a, b } = table.pairs();
      const both = first === open ? [a.outcome[0], b.outcome[0]] : [b.outcome[0], a.outcome[0]];
      expect(both).toEqual(expected ?? [undefined, undefined]);
    }
  });

  test.each([
    ['answered in as long as it had', 50, 0, [FAILED, 0]],
    ['turned it away sooner', 5, TURNED_AWAY, [FAILED, TURNED_AWAY]],
    ['answered later', 51, 0, null],
    ['failed', Number.POSITIVE_INFINITY, FAILED, null],
    ['was left as well', 20, CANCELLED, null],
    ['was not reached', 0, LEFT_OUT, null],
  ])('of a request whose client left, where the other side %s', (_, needed, outcome, expected) => {
    const left = row(1, 50, { outcome: CANCELLED });
    const other = row(1, needed, { outcome });
    for (const [first, second] of [
      [left, other],
      [other, left],
    ] as const) {
      const table = new PairTable();
      table.addA(first);
      table.addB(second);
      expect(table.counts()).toMatchObject({ pairs: expected === null ? 0 : 1 });
      const { a, b } = table.pairs();
      const both = first === left ? [a.outcome[0], b.outcome[0]] : [b.outcome[0], a.outcome[0]];
      expect(both).toEqual(expected ?? [undefined, undefined]);
    }
  });

  test('of requests that were open on both sides finds neither served', () => {
    const table = new PairTable();
    table.addA(row(1, 50, { outcome: OPEN }));
    table.addB(row(1, 40, { outcome: OPEN }));
    const { a, b } = table.pairs();
    expect([a.outcome[0], b.outcome[0], a.latencyNs[0]]).toEqual([FAILED, FAILED, Number.POSITIVE_INFINITY]);
  });

  test('finds what any order of both sides has in common, copy by copy', () => {
    const ids = fc.array(
      fc.tuple(
        fc.constantFrom('s', 't'),
        fc.integer({ min: 1, max: 2 ** 40 + 3 }).map((id) => id % 7),
      ),
      {
        maxLength: 60,
      },
    );
    fc.assert(
      fc.property(ids, ids, (a, b) => {
        const table = new PairTable();
        for (const [segment, id] of a) table.addA(row(id, 1, { segment }));
        for (const [segment, id] of b) table.addB(row(id, 2, { segment }));
        const tally = (side: typeof a) => {
          const counts = new Map<string, number>();
          for (const key of side) counts.set(String(key), (counts.get(String(key)) ?? 0) + 1);
          return counts;
        };
        const [inA, inB] = [tally(a), tally(b)];
        let common = 0;
        for (const [key, count] of inA) common += Math.min(count, inB.get(key) ?? 0);
        expect(table.counts()).toMatchObject({
          pairs: common,
          onlyA: { all: a.length - common },
          onlyB: { all: b.length - common },
        });
      }),
      { numRuns: repeated(25, 100) },
    );
  });

  test('leaves out what either side was kept from by us', () => {
    const table = new PairTable();
    table.addA(row(1, 10));
    table.addA(row(2, 10, { outcome: LEFT_OUT }));
    table.addB(row(1, 10, { outcome: LEFT_OUT }));
    table.addB(row(2, 10));
    expect(table.counts()).toEqual({
      pairs: 0,
      onlyA: { all: 0, within: 0 },
      onlyB: { all: 0, within: 0 },
      leftOut: 2,
      leftOutOfA: { all: 1, late: 0 },
      leftOutOfB: { all: 1, late: 0 },
    });
    expect(table.pairs().count).toBe(0);
  });

  test('holds more rows than it began with', () => {
    const table = new PairTable();
    for (let id = 0; id < 5_000; id++) table.addA(row(id, id));
    for (let id = 4_999; id >= 0; id--) table.addB(row(id, id * 2, { ttftNs: id * 3, lagNs: id }));
    const { a, b } = table.pairs();
    expect(a.latencyNs.every((each, at) => b.latencyNs[at] === each * 2)).toBe(true);
    expect(b.ttftNs.every((each, at) => each === at * 3)).toBe(true);
    expect(b.lagNs.every((each, at) => each === at)).toBe(true);
    expect(a.latencyNs.length).toBe(5_000);
  });
});

describe('a row of a side', () => {
  const late = { lagBoundNs: 2e6, endedOpen: false };

  test('of a send has its latency from the planned instant, without end where it failed or was refused', () => {
    expect(sideRowOfSend(send({ index: 3 }), late)).toMatchObject({
      latencyNs: 10e6,
      outcome: 0,
      status: 200,
    });
    expect(sideRowOfSend(failed(1), late)).toMatchObject({ latencyNs: Number.POSITIVE_INFINITY, outcome: 1 });
    expect(sideRowOfSend(send({ index: 1, status: 503 }), late)).toMatchObject({ outcome: 1 });
    expect(sideRowOfSend(refused(1), late)).toMatchObject({
      latencyNs: Number.POSITIVE_INFINITY,
      outcome: 1,
    });
    expect(sideRowOfSend(send({ index: 1, status: 302 }), late)).toMatchObject({ outcome: TURNED_AWAY });
    expect(sideRowOfSend(send({ index: 1, status: 429 }), late)).toMatchObject({
      outcome: 2,
      latencyNs: 10e6,
    });
  });

  test('of a send has how late we were by ourselves, and what waited for its recorded connection is no part of that', () => {
    const facts = { index: 0, intendedOffsetNs: 0, actualOffsetNs: 1.5e6 };
    expect(sideRowOfSend(send(facts), late).lagNs).toBe(1.5e6);
    expect(sideRowOfSend(send({ ...facts, connectionWaitNs: 1e6 }), late).lagNs).toBe(0.5e6);
    expect(sideRowOfSend(send({ index: 0, actualOffsetNs: null }), late).lagNs).toBe(0);
    const recorded = exchangeRow({ outcome: 'completed', status: 200, lastByteOffsetUs: 1_500 });
    expect(sideRowOfExchange(recorded).lagNs).toBe(0);
  });

  test('of a stream has its first token from the planned instant, and the mean time between tokens', () => {
    const answer = {
      firstTokenOffsetNs: 30e6,
      lastTokenOffsetNs: 70e6,
      contentEvents: 5,
      gapMaxNs: 20e6,
      gaps: null,
      promptTokens: null,
      outputTokens: null,
      finish: null,
    };
    const stream = send({ index: 0, streamed: true, answer, check: { result: 'same' } });
    expect(sideRowOfSend(stream, late)).toMatchObject({
      ttftNs: 30e6,
      itlNs: 10e6,
      traits: STREAMED | AGREES,
    });
    const empty = { ...answer, firstTokenOffsetNs: null, lastTokenOffsetNs: null, contentEvents: 0 };
    expect(sideRowOfSend({ ...stream, answer: empty }, late)).toMatchObject({
      ttftNs: Number.POSITIVE_INFINITY,
      itlNs: Number.NaN,
    });
    // Under a content coding nobody can see tokens.
    expect(sideRowOfSend({ ...stream, answer: null }, late)).toMatchObject({ ttftNs: Number.NaN });
    expect(sideRowOfSend(send({ index: 0 }), late)).toMatchObject({ ttftNs: Number.NaN, traits: WHOLE });
    const recorded = exchangeRow({ status: 200, streamed: true, firstTokenOffsetUs: 1_200 });
    expect(sideRowOfExchange(recorded)).toMatchObject({ ttftNs: 1.2e6, traits: STREAMED });
    expect(sideRowOfExchange({ ...recorded, streamed: null }).traits).toBe(0);
  });

  test('of a send that was late, stopped or never reached by us is left out, and of one that was cancelled has its time', () => {
    const lateSend = send({ index: 0, intendedOffsetNs: 0, actualOffsetNs: 3e6 });
    const ours = [
      lateSend,
      send({ index: 1, cancelled: true }),
      failed(2, { error: 'stopped' }),
      send({ index: 3, actualOffsetNs: null }),
    ];
    const outcomes = (endedOpen: boolean) =>
      ours.map((each) => sideRowOfSend(each, { ...late, endedOpen }).outcome);
    expect(outcomes(true)).toEqual([LATE, CANCELLED, LEFT_OUT, LEFT_OUT]);
    // In a run that nobody stopped, what was still open says by how long it was.
    expect(outcomes(false)).toEqual([LATE, CANCELLED, OPEN, LEFT_OUT]);
    expect(sideRowOfSend(send({ index: 1, cancelled: true }), late).latencyNs).toBe(10e6);
    expect(sideRowOfSend(failed(2, { error: 'stopped' }), late).latencyNs).toBe(50e6);
  });

  test('of a recording has its recorded latency; where the client left there is none', () => {
    const recorded = exchangeRow({ outcome: 'completed', status: 200, lastByteOffsetUs: 1_500 });
    expect(sideRowOfExchange(recorded)).toMatchObject({ latencyNs: 1_500_000, outcome: 0 });
    expect(sideRowOfExchange({ ...recorded, outcome: 'client_aborted' }).outcome).toBe(LEFT_OUT);
    expect(sideRowOfExchange({ ...recorded, lastByteOffsetUs: null }).outcome).toBe(LEFT_OUT);
    expect(sideRowOfExchange({ ...recorded, outcome: 'timed_out' })).toMatchObject({ outcome: 1 });
    expect(sideRowOfExchange({ ...recorded, status: 500 })).toMatchObject({ outcome: 1 });
  });
});
