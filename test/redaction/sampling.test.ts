import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeyedHash } from '../../src/core/keyed-hash.ts';
import { Sampling } from '../../src/redaction/recording-policy.ts';

const hash = new KeyedHash(Buffer.alloc(32, 7));
const sessions = Array.from({ length: 20_000 }, (_, index) => hash.ofIdentity('session', `session ${index}`));

/** Four standard deviations of a share among so many. */
const tolerance = (share: number, count: number): number => 4 * Math.sqrt((share * (1 - share)) / count);

describe('a sample of sessions', () => {
  it.each([0.01, 0.1, 0.5, 0.9])('is near its share: %d', (share) => {
    const sampling = new Sampling(share);
    const kept = sessions.filter((session) => sampling.keepsSession(session)).length / sessions.length;
    expect(Math.abs(kept - share)).toBeLessThan(tolerance(share, sessions.length));
  });

  it('is the same for every recorder that shares the key, and grows with its share', () => {
    const session = fc.uint8Array({ minLength: 8, maxLength: 8 });
    const share = fc.double({ min: 0.001, max: 1, noNaN: true });
    fc.assert(
      fc.property(session, share, share, fc.integer(), fc.integer(), (key, some, other, seed, otherSeed) => {
        const [small, large] = [Math.min(some, other), Math.max(some, other)];
        expect(new Sampling(small, seed).keepsSession(key)).toBe(
          new Sampling(small, otherSeed).keepsSession(key),
        );
        if (new Sampling(small).keepsSession(key)) expect(new Sampling(large).keepsSession(key)).toBe(true);
        expect(new Sampling(1).keepsSession(key)).toBe(true);
      }),
    );
  });

  it('leaves the hashes of what it keeps even, for whoever chooses among them again', () => {
    const sampling = new Sampling(0.1);
    const kept = sessions.filter((session) => sampling.keepsSession(session));
    const low = kept.filter((session) => (session[0] ?? 0) < 128).length / kept.length;
    expect(Math.abs(low - 0.5)).toBeLessThan(tolerance(0.5, kept.length));
  });
});

describe('a sample of exchanges', () => {
  const stride = 997_321;

  it.each([0.02, 0.1, 0.5])('is near its share, within a connection and over many: %d', (share) => {
    const sampling = new Sampling(share, 4_711);
    let within = 0;
    let over = 0;
    for (let index = 0; index < 20_000; index += 1) {
      if (sampling.keepsExchange(5, 1e12 + index * stride)) within += 1;
      if (sampling.keepsExchange(index * 2 ** 32 + 3, 1e15 + index)) over += 1;
    }
    expect(Math.abs(within / 20_000 - share)).toBeLessThan(tolerance(share, 20_000));
    expect(Math.abs(over / 20_000 - share)).toBeLessThan(tolerance(share, 20_000));
  });

  it('differs between recorders, and is the same when asked twice', () => {
    const choice = (seed: number): string =>
      Array.from({ length: 200 }, (_, index) =>
        Number(new Sampling(0.5, seed).keepsExchange(1, index * stride)),
      ).join('');
    expect(choice(1)).toBe(choice(1));
    expect(choice(1)).not.toBe(choice(2));
  });
});
