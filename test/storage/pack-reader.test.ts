import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { PackBuffer } from '../../src/storage/pack-buffer.ts';
import { PackError, PackReader } from '../../src/storage/pack-reader.ts';

const packr = new Packr({ useRecords: false, moreTypes: false, useFloat32: 0 });

/** What a capture holds of one kind, and how it is written and read. */
type Item =
  | { readonly is: 'nil' }
  | { readonly is: 'binary'; readonly value: Uint8Array }
  | { readonly is: 'text'; readonly value: string }
  | { readonly is: 'number'; readonly value: number }
  | { readonly is: 'numbers'; readonly value: readonly number[] }
  | { readonly is: 'texts'; readonly value: readonly string[] };

const text = fc.string({ unit: 'binary', maxLength: 300 });
const number = fc.oneof(
  fc.constantFrom(0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, 0.5),
  fc.integer(),
  fc.double({ noNaN: true }).map((value) => value + 0),
);
const items: fc.Arbitrary<Item[]> = fc.array(
  fc.oneof(
    fc.constant<Item>({ is: 'nil' }),
    fc.record({ is: fc.constant('binary' as const), value: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ is: fc.constant('text' as const), value: text }),
    fc.record({ is: fc.constant('number' as const), value: number }),
    fc.record({ is: fc.constant('numbers' as const), value: fc.array(number, { maxLength: 40 }) }),
    fc.record({ is: fc.constant('texts' as const), value: fc.array(text, { maxLength: 20 }) }),
  ),
  { maxLength: 40 },
);

function readAs(reader: PackReader, { is }: Item): unknown {
  return is === 'binary' ? new Uint8Array(reader.binary()) : reader[is]();
}

function wanted(item: Item): unknown {
  return item.is === 'nil' ? true : item.value;
}

function expectRead(bytes: Uint8Array, all: readonly Item[]): void {
  const reader = new PackReader(bytes);
  expect(reader.array()).toBe(all.length);
  for (const item of all) {
    expect(item.is === 'nil' || !reader.nil()).toBe(true);
    expect(readAs(reader, item)).toEqual(wanted(item));
  }
  reader.end();
}

describe('what was packed', () => {
  it('is read back, whether we or another program packed it', () => {
    const packing = new PackBuffer();
    fc.assert(
      fc.property(items, (all) => {
        packing.clear();
        packing.array(all.length);
        for (const item of all) {
          if (item.is === 'nil') packing.nil();
          else if (item.is === 'binary') packing.binary(item.value);
          else if (item.is === 'text') packing.text(item.value);
          else if (item.is === 'number') packing.number(item.value);
          else if (item.is === 'numbers') packing.numbers(item.value);
          else {
            packing.array(item.value.length);
            for (const one of item.value) packing.text(one);
          }
        }
        expectRead(packing.copy(), all);
        const foreign = all.map((item) => (item.is === 'nil' ? null : item.value));
        expectRead(packr.pack(foreign), all);
      }),
      { numRuns: 300 },
    );
  });

  it('may be of any size', () => {
    const packing = new PackBuffer();
    for (const size of [15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
      packing.clear();
      packing.array(3);
      packing.binary(Buffer.alloc(size, 7));
      packing.text('x'.repeat(size));
      packing.numbers(Array.from({ length: size }, (_, at) => at));
      const reader = new PackReader(packing.copy());
      expect(reader.array()).toBe(3);
      expect(reader.binary().equals(Buffer.alloc(size, 7))).toBe(true);
      expect(reader.text()).toBe('x'.repeat(size));
      expect(reader.numbers()).toEqual(Array.from({ length: size }, (_, at) => at));
      reader.end();
    }
  });

  it('ends in an error of its own where bytes are cut off or are something else, and makes no room for a lie', () => {
    const reads = ['array', 'binary', 'passBinary', 'text', 'number', 'texts', 'numbers', 'end'] as const;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(...reads), (bytes, read) => {
        const reader = new PackReader(bytes);
        try {
          reader[read]();
          expect(reader.at).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(PackError);
        }
      }),
      { numRuns: 2_000 },
    );
    for (const read of ['texts', 'numbers', 'array'] as const) {
      const lying = new PackReader(Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]));
      expect(() => lying[read]()).toThrow(PackError);
    }
  });
});
