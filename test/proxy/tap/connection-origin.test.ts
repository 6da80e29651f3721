import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeOrigin, encodeOrigin, UNKNOWN_ORIGIN } from '../../../src/proxy/tap/frames.ts';

describe('where a connection came from', () => {
  it('is read back as it was written, wherever it lies', () => {
    const origins = fc.record({
      peer: fc.option(fc.oneof(fc.ipV4(), fc.ipV6())),
      pair: fc.nat(65_535),
      clientConnection: fc.option(
        fc.oneof(fc.constantFrom(1, 0xffff_ffff), fc.integer({ min: 1, max: 1e9 })),
      ),
    });
    fc.assert(
      fc.property(origins, fc.nat(20), (origin, before) => {
        const around = Buffer.concat([Buffer.alloc(before, 'x'), encodeOrigin(origin), Buffer.alloc(3, 'y')]);
        expect(decodeOrigin(around.subarray(before, -3))).toEqual(origin);
      }),
    );
  });

  it('is unknown where nothing is said of it', () => {
    expect(decodeOrigin(new Uint8Array(0))).toEqual(UNKNOWN_ORIGIN);
    expect(decodeOrigin(encodeOrigin(UNKNOWN_ORIGIN))).toEqual(UNKNOWN_ORIGIN);
  });
});
