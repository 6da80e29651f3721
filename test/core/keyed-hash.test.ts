import { createHash, createHmac, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { KeyedHash } from '../../src/core/keyed-hash.ts';

/** As the format describes it. */
function described(key: Buffer, body: Buffer): Buffer {
  const block = Buffer.alloc(64);
  block.set(key.length > 64 ? createHash('sha256').update(key).digest() : key);
  return createHash('sha256').update(block).update(body).digest().subarray(0, 16);
}

describe('a keyed hash', () => {
  it.each([16, 32, 64, 65, 100])(
    'of a body under a key of %i bytes is the one that the format describes',
    (bytes) => {
      const key = randomBytes(bytes);
      const hash = new KeyedHash(key);
      for (const length of [0, 1, 63, 64, 2_048, 65_536, 65_537, 200_000]) {
        const body = randomBytes(length);
        expect(hash.ofBody(body)).toEqual(described(key, body));
        const running = hash.start();
        running.update(body.subarray(0, length >> 1));
        running.update(body.subarray(length >> 1));
        expect(running.digest()).toEqual(described(key, body));
      }
    },
  );

  it('differs by key, and an identity and a value are no body with the same bytes', () => {
    const [key, other] = [randomBytes(32), randomBytes(32)];
    const hash = new KeyedHash(key);
    const text = Buffer.from('client\0ann');
    expect(hash.ofBody(text)).not.toEqual(new KeyedHash(other).ofBody(text));
    const identity = createHmac('sha256', key).update(text).digest();
    expect(hash.ofIdentity('client', 'ann')).toEqual(identity.subarray(0, 8));
    expect(hash.ofBody(text).subarray(0, 8)).not.toEqual(hash.ofIdentity('client', 'ann'));
    expect(hash.ofValue(text)).not.toEqual(hash.ofBody(text));
  });
});
