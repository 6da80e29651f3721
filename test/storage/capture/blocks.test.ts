import fc from 'fast-check';
import { unpack } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import {
  decodeBlock,
  decodeHeads,
  decodeSlots,
  encodeBlock,
  encodeHeads,
  encodeSlots,
} from '../../../src/storage/capture/blocks.ts';
import { exchangeOf } from '../../support/exchanges.ts';

it('a block that cannot be compressed is stored as it is, and costs no exchange', () => {
  const slots = [Buffer.from('a'.repeat(1_000)), Buffer.from('b')];
  const failing = () => {
    throw new RangeError('Array buffer allocation failed');
  };
  const row = encodeBlock(7, slots, null, failing);
  expect(row.payload.byteLength).toBe(row.rawBytes);
  expect(decodeBlock(row, 'a segment', null)).toEqual(slots);
  expect(encodeBlock(7, slots, null).payload.byteLength).toBeLessThan(row.rawBytes);
});

const slots = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 40 });

const damaged = expect.objectContaining({
  code: 'CAPTURE_DAMAGED',
  message: expect.stringContaining('a segment'),
});

function failureOf(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

it('a block that is stored as it is stays so when others are packed', () => {
  const [first, second] = [Buffer.alloc(300_000, 1), Buffer.alloc(300_000, 2)];
  const row = encodeBlock(0, [first], null, () => null);
  encodeBlock(1, [second], null, () => null);
  encodeHeads(exchangeOf());
  expect(decodeBlock(row, 'a segment', null)).toEqual([first]);
});

describe('the slots of a block', () => {
  it('are what was put there', () => {
    fc.assert(
      fc.property(slots, (all) => {
        const read = decodeSlots(encodeSlots(all), all.length, 'a segment');
        expect(read.map((slot) => [...slot])).toEqual(all.map((slot) => [...slot]));
      }),
    );
  });

  it('are plain MessagePack, one byte string a slot', () => {
    expect(encodeSlots([Uint8Array.of(1, 2), new Uint8Array(0)]).toString('hex')).toBe('92c4020102c400');
  });

  it('are refused, naming the segment, where the block is cut off, longer, or of another number of slots', () => {
    const failure = (raw: Uint8Array, count: number) => failureOf(() => decodeSlots(raw, count, 'a segment'));
    fc.assert(
      fc.property(slots, fc.nat(), (all, at) => {
        const whole = encodeSlots(all);
        expect(failure(whole, all.length + 1)).toEqual(damaged);
        expect(failure(Buffer.concat([whole, Buffer.from([0])]), all.length)).toEqual(damaged);
        expect(failure(whole.subarray(0, at % whole.length), all.length)).toEqual(damaged);
      }),
    );
    expect(failure(Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]), 2 ** 32 - 1)).toEqual(damaged);
    expect(failure(Buffer.from([0x91, 0xc0]), 1)).toEqual(damaged);
  });
});

describe('the heads of an exchange', () => {
  const exchange = exchangeOf({ requestChunks: [0, 300, 70_000], responseChunks: [5_000_000_000] });

  it('are what was put there, in any program that reads MessagePack', () => {
    const slot = encodeHeads(exchange) ?? new Uint8Array(0);
    const { request, response } = exchange;
    const heads = {
      request: request && { head: request.head, redacted: request.redacted, trailers: request.trailers },
      response: response && { head: response.head, redacted: response.redacted, trailers: response.trailers },
      requestChunks: exchange.requestChunks,
      responseChunks: exchange.responseChunks,
      linked: null,
    };
    expect(decodeHeads(slot, 'a segment')).toEqual(heads);
    expect(unpack(slot)).toEqual([
      Object.values(heads.request ?? {}),
      Object.values(heads.response ?? {}),
      heads.requestChunks,
      heads.responseChunks,
    ]);
  });

  it('have what is linked behind them, with and without heads that come again', () => {
    const linked = {
      number: 7,
      links: [{ from: 3, place: { in: 'json', pointer: '/id' }, to: { in: 'path', segment: 2 } }],
    } as const;
    const known = { packed: null };
    const again = { ...exchange.request!, known };
    for (const parts of [
      {},
      { request: again, response: { ...exchange.response!, known: { packed: null } } },
    ]) {
      const slot = encodeHeads(exchangeOf({ ...parts, linked })) ?? new Uint8Array(0);
      expect(decodeHeads(slot, 'a segment').linked).toEqual(linked);
      expect((unpack(slot) as unknown[])[4]).toEqual(linked);
    }
  });

  it('are nothing where there is nothing to keep', () => {
    expect(
      encodeHeads(exchangeOf({ request: null, response: null, requestChunks: [], responseChunks: [] })),
    ).toBeNull();
  });

  it('are refused, naming the segment, wherever they are cut off or go on', () => {
    const slot = encodeHeads(exchange) ?? new Uint8Array(0);
    for (let end = 0; end < slot.byteLength; end += 1) {
      expect(failureOf(() => decodeHeads(slot.subarray(0, end), 'a segment'))).toEqual(damaged);
    }
    expect(failureOf(() => decodeHeads(Buffer.concat([slot, Buffer.of(0xc0)]), 'a segment'))).toEqual(
      damaged,
    );
  });

  it.each([
    ['no array', [0x01]],
    ['a head that is a text', [0x94, 0x93, 0xa1, 0x61, 0x90, 0xc0, 0xc0, 0x90, 0x90]],
    ['masked names that are numbers', [0x94, 0x93, 0xc4, 0x00, 0x91, 0x01, 0xc0, 0xc0, 0x90, 0x90]],
    ['nil for chunk times', [0x94, 0xc0, 0xc0, 0x90, 0xc0]],
    ['a number for what is linked', [0x95, 0xc0, 0xc0, 0x90, 0x90, 0x01]],
    ['texts for chunk times', [0x94, 0xc0, 0xc0, 0x91, 0xa1, 0x61, 0x90]],
  ])('are refused where they hold %s', (_, bytes) => {
    expect(failureOf(() => decodeHeads(Uint8Array.from(bytes), 'a segment'))).toEqual(damaged);
  });
});
