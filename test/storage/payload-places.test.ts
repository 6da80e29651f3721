import { describe, expect, it } from 'vitest';
import { PayloadPlaces, type RawPlace } from '../../src/storage/payload-places.ts';

const HASH = 'AD3A030662BF4B4AB9980960060CBB30';
const HASH_BYTES = Uint8Array.from(Buffer.from(HASH, 'hex'));

/** Nothing kept of a response that was cut off; a request whose hash is shorter than another's. */
const ROWS: RawPlace[] = [
  [257, 12, 10, 0, 10, 3, HASH, 0, 0, null, null, null],
  [259, null, null, 0, null, null, null, null, 0, null, null, null],
  [260, 0, 7, 1, 5, -4, 'FF00', 2 ** 40, 1, 0, null, HASH],
];

describe('places of payloads', () => {
  const places = new PayloadPlaces(257, ROWS, 'a segment');

  it('are those of their rows, with what is missing in them', () => {
    expect(places.of(257)).toMatchObject({
      headsSlot: 12,
      request: { bytes: 10, truncated: false, keptBytes: 10, slot: 3, hash: HASH_BYTES },
      response: { bytes: 0, truncated: false, keptBytes: null, slot: null, hash: null },
    });
    expect(places.of(259)).toMatchObject({
      headsSlot: null,
      request: { bytes: 0, truncated: false, keptBytes: null, slot: null, hash: null },
    });
    expect(places.of(260)).toMatchObject({
      headsSlot: 0,
      request: { bytes: 7, truncated: true, keptBytes: 5, slot: -4, hash: Uint8Array.of(0xff, 0) },
      response: { bytes: 2 ** 40, truncated: true, keptBytes: 0, slot: null, hash: HASH_BYTES },
    });
  });

  it('are none for an exchange that is not there: before, between, and after', () => {
    for (const id of [256, 258, 261, 10_000]) expect(places.of(id)).toBeNull();
    expect(new PayloadPlaces(1, [], 'a segment').of(1)).toBeNull();
  });

  it('are refused, naming the segment, with a hash so long that room for it would be made for each of them', () => {
    const long: RawPlace = [1, 0, 7, 0, 5, 0, 'FF'.repeat(65), 0, 0, null, null, null];
    expect(() => new PayloadPlaces(1, [long], 'a segment')).toThrow(/a segment.*hash/s);
  });
});
