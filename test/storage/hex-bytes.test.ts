import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bytesOfHex } from '../../src/storage/hex-bytes.ts';

test('the bytes are those whose hex a statement gives', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 32 }), (bytes) => {
      expect(bytesOfHex(Buffer.from(bytes).toString('hex').toUpperCase())).toEqual(bytes);
    }),
  );
});

test('of NULL they are null', () => {
  expect(bytesOfHex(null)).toBeNull();
});
