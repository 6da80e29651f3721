import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtobufCursor, packedEnd, scalarAt, WIRE } from '../../src/core/protobuf.ts';
import { repeated } from '../support/long-form.ts';
import { bytesField, double, float, int, joined, varint } from '../support/protobuf-writer.ts';

function fieldsOf(bytes: Uint8Array, from = 0, to = bytes.length) {
  const cursor = new ProtobufCursor(bytes, from, to);
  const fields: { number: number; wire: number; value: string }[] = [];
  while (cursor.next())
    fields.push({
      number: cursor.number,
      wire: cursor.wire,
      value: Buffer.from(bytes.subarray(cursor.from, cursor.to)).toString('hex'),
    });
  return { fields, stoppedAt: cursor.stoppedAt };
}

const anyField = fc.oneof(
  fc
    .tuple(fc.integer({ min: 1, max: 2 ** 29 - 1 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
    .map(([number, value]) => ({
      bytes: int(number, value),
      expected: { number, wire: 0, value: Buffer.from(varint(value)).toString('hex') },
    })),
  fc.tuple(fc.integer({ min: 1, max: 5_000 }), fc.uint8Array({ maxLength: 300 })).map(([number, value]) => ({
    bytes: bytesField(number, value),
    expected: { number, wire: 2, value: Buffer.from(value).toString('hex') },
  })),
  fc.tuple(fc.integer({ min: 1, max: 100 }), fc.float({ noNaN: true })).map(([number, value]) => ({
    bytes: float(number, value),
    expected: { number, wire: 5, value: float(number, value).subarray(-4).toString('hex') },
  })),
  fc.tuple(fc.integer({ min: 1, max: 100 }), fc.double({ noNaN: true })).map(([number, value]) => ({
    bytes: double(number, value),
    expected: { number, wire: 1, value: double(number, value).subarray(-8).toString('hex') },
  })),
);

describe('ProtobufCursor', () => {
  test('finds every field that another encoder wrote', () => {
    fc.assert(
      fc.property(fc.array(anyField, { maxLength: 30 }), fc.nat(20), (fields, before) => {
        const bytes = joined(Buffer.alloc(before), ...fields.map((field) => field.bytes), [1, 2, 3]);
        expect(fieldsOf(bytes, before, bytes.length - 3)).toEqual({
          fields: fields.map(({ expected }) => expected),
          stoppedAt: null,
        });
      }),
    );
  });

  test('stops at the field that a cut goes through', () => {
    fc.assert(
      fc.property(fc.array(anyField, { minLength: 1, maxLength: 8 }), fc.nat(), (fields, seed) => {
        const ends = fields.map(
          (_, index) => joined(...fields.slice(0, index + 1).map((field) => field.bytes)).length,
        );
        const cut = seed % (ends.at(-1) as number);
        const whole = ends.filter((end) => end <= cut);
        const bytes = joined(...fields.map((field) => field.bytes)).subarray(0, cut);
        const { fields: found, stoppedAt } = fieldsOf(bytes);
        expect(found).toHaveLength(whole.length);
        expect(stoppedAt).toBe(cut === (whole.at(-1) ?? 0) ? null : (whole.at(-1) ?? 0));
      }),
    );
  });

  test('ends on any bytes, and never leaves them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const cursor = new ProtobufCursor(bytes);
        let at = 0;
        while (cursor.next()) {
          expect(cursor.from).toBeGreaterThan(at);
          expect(cursor.to).toBeGreaterThanOrEqual(cursor.from);
          expect(cursor.to).toBeLessThanOrEqual(bytes.length);
          at = Math.max(at, cursor.from - 1);
        }
        expect(cursor.next()).toBe(false);
      }),
      { numRuns: repeated(400, 2_000) },
    );
  });

  test.each([
    ['a group', [0x0b]],
    ['the end of a group', [0x0c]],
    ['wire type 6', [0x0e, 1]],
    ['field 0', [0x00, 1]],
    ['a field number above the largest', joined(varint(2n ** 32n), [1])],
    ['a varint of eleven bytes', [0x08, ...Array<number>(10).fill(0x80), 1]],
    ['a length beyond any memory', [0x0a, ...varint(2n ** 63n)]],
  ])('refuses %s', (_, bytes) => {
    expect(fieldsOf(joined([0x08, 1], bytes))).toEqual({
      fields: [{ number: 1, wire: 0, value: '01' }],
      stoppedAt: 2,
    });
  });

  test('reads numbers of every type as protobuf defines them', () => {
    const at = (type: Parameters<typeof scalarAt>[0], bytes: readonly number[] | Uint8Array) =>
      scalarAt(type, Uint8Array.from(bytes), 0, bytes.length);
    expect(at('int32', varint(-5n))).toBe(-5);
    expect(at('int64', varint(-5n))).toBe(-5);
    expect(at('uint32', varint(2n ** 32n - 1n))).toBe(2 ** 32 - 1);
    expect(at('uint64', varint(2n ** 64n - 1n))).toBe('18446744073709551615');
    expect(at('sint32', varint(3))).toBe(-2);
    expect(at('sint64', varint(2n ** 64n - 1n))).toBe('-9223372036854775808');
    expect(at('bool', varint(1))).toBe(true);
    expect(at('enum', varint(7))).toBe(7);
    expect(at('float', float(1, 1.5).subarray(1))).toBe(1.5);
    expect(at('double', double(1, -2.25).subarray(1))).toBe(-2.25);
    expect(at('fixed64', [255, 255, 255, 255, 255, 255, 255, 255])).toBe('18446744073709551615');
    expect(at('sfixed64', [255, 255, 255, 255, 255, 255, 255, 255])).toBe(-1);
    expect(at('sfixed32', [254, 255, 255, 255])).toBe(-2);
    expect(at('fixed32', [254, 255, 255, 255])).toBe(2 ** 32 - 2);
  });

  test('bounds the elements of a packed list', () => {
    expect(packedEnd(Uint8Array.of(0x80, 1), WIRE.varint, 0, 2)).toBe(2);
    expect(packedEnd(Uint8Array.of(0x80), WIRE.varint, 0, 1)).toBe(-1);
    expect(packedEnd(Uint8Array.of(1, 2, 3, 4, 5), WIRE.fixed32, 1, 5)).toBe(5);
    expect(packedEnd(Uint8Array.of(1, 2, 3, 4, 5), WIRE.fixed64, 0, 5)).toBe(-1);
  });
});
