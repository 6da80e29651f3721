import fc from 'fast-check';
import { Unpackr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { PackBuffer } from '../../src/storage/pack-buffer.ts';

const unpackr = new Unpackr({ useRecords: false, moreTypes: false });

type Value = null | number | string | Uint8Array | Value[];

function pack(into: PackBuffer, value: Value): void {
  if (value === null) into.nil();
  else if (typeof value === 'number') into.number(value);
  else if (typeof value === 'string') into.text(value);
  else if (value instanceof Uint8Array) into.binary(value);
  else {
    into.array(value.length);
    for (const one of value) pack(into, one);
  }
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString('hex')}`;
  return Array.isArray(value) ? value.map(plain) : value;
}

const numbers = fc.oneof(
  fc.constantFrom(0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, 0.5),
  fc.double({ noNaN: true }).map((value) => value + 0),
  fc.nat(),
);
const { value: values } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constant(null),
    numbers,
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 40 }),
  ),
}));

describe('what is packed', () => {
  const packing = new PackBuffer();

  it('is MessagePack to whoever reads it', () => {
    fc.assert(
      fc.property(values, (value) => {
        packing.clear();
        pack(packing, value);
        expect(plain(unpackr.unpack(packing.copy()))).toEqual(plain(value));
      }),
      { numRuns: 500 },
    );
  });

  it('may be of any size', () => {
    for (const bytes of [31, 32, 255, 256, 65_535, 65_536, 5_000_000]) {
      const all = [Buffer.alloc(bytes, 7), 'x'.repeat(bytes), null, 5];
      packing.clear();
      pack(packing, all);
      expect(plain(unpackr.unpack(packing.copy()))).toEqual(plain(all));
    }
    for (const elements of [15, 16, 65_535, 65_536]) {
      const all = Array.from({ length: elements }, (_, index) => index);
      packing.clear();
      packing.numbers(all);
      expect(unpackr.unpack(packing.copy())).toEqual(all);
    }
  });
});
