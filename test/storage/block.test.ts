import { expect, it } from 'vitest';
import { decodeBlock, encodeBlock } from '../../src/storage/block.ts';

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
