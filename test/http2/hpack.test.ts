import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { SeededRandom } from '../../src/core/random.ts';
import { HpackDecoder } from '../../src/http2/hpack.ts';
import { decodeHuffman } from '../../src/http2/huffman.ts';
import { type Field, HpackEncoder } from '../support/hpack-encoder.ts';
import { listsThroughNode } from '../support/http2-lists.ts';
import { repeated } from '../support/long-form.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const pairs = (list: readonly string[] | null) =>
  list === null ? null : Array.from({ length: list.length / 2 }, (_, at) => list.slice(2 * at, 2 * at + 2));

const FIRST = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':path', '/'],
  [':authority', 'www.example.com'],
];
const SECOND = [...FIRST, ['cache-control', 'no-cache']];
const THIRD = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':path', '/index.html'],
  [':authority', 'www.example.com'],
  ['custom-key', 'custom-value'],
];
const ANSWERED = [
  [':status', '302'],
  ['cache-control', 'private'],
  ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
  ['location', 'https://www.example.com'],
];
const STORED = [
  [':status', '200'],
  ['cache-control', 'private'],
  ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
  ['location', 'https://www.example.com'],
  ['content-encoding', 'gzip'],
  ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
];

/** All 256 bytes in order, as python-hpack codes them. */
const ALL_BYTES =
  'ffc7fffd8fffffe2fffffe3fffffe4fffffe5fffffe6fffffe7fffffe8ffffeafffffff3fffffa7fffffabffffffdfffffeb' +
  'fffffecfffffedfffffeefffffefffffff0ffffff1ffffff2fffffffbfffffcffffffd3fffffd7fffffdbfffffdffffffe3f' +
  'ffffe7fffffebfffffed4fe3f9ffaffcabf1febfafefe7fdfd2cbb00089969b71d79fb9f7fff20ffbff3ff50ddbd7f061c58' +
  'f265cd9f469d5af66dddbf871e5f9cff7ff7fffc3ff9ffe45fff4719242cb34e6e9d68a6a3d7dac426defe3cfaf7fffbfe7f' +
  'fbffdffffffcfffe6ffff4bfff9ffffa3fffd3ffff53fffd5ffffb3fffeb7fffdaffffb7ffff73fffeeffffdeffffebffffb' +
  'fffffd9ffffdbfffebffffe0ffffeeffffc3ffff8bffff1ffffe4fffee7fffb1ffff97fffd9ffffcdffff9fffffbffffdaff' +
  'feeffff4ffffb7fffee7fffe8ffffd3fffdeffffd5fffeeffffbdffffe1fffdfffff7fffff5ffffecffff07fff87fffe0fff' +
  'f17fffedffff87ffff77fffeffffeaffff8bfffe3ffff93ffff87fffcbffff37ffff1fffff83ffffe1fffebfffe3ffff3fff' +
  'ff2ffffa3ffffd9fffff17ffffc7fffff27ffffdefffffbffffff2fffff8fffffb7fff97fff8fffffe6fffffc1fffff87fff' +
  'fe7fffffc5ffffe5fffe4ffff2fffffd1fffff4ffffffefffffe3fffffc9fffff97fffb3ffffcffffb7fffcdffff4ffff9ff' +
  'ffd1ffffcffffeaffffafffffddffffeffffff4fffff5fffffabffffa7ffffd7fffff9bffffecfffffb7fffff3fffffe8fff' +
  'ffd3fffffabfffff5fffffff7ffffecfffffdbfffffbbfffff7ffffff0fffffbbf';

describe('RFC 7541 appendix C', () => {
  it.each([
    [
      'literals (C.2)',
      [
        [
          '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
          [['custom-key', 'custom-header']],
        ],
        ['040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']]],
        ['1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']]],
        ['82', [[':method', 'GET']]],
        ['be', [['custom-key', 'custom-header']]],
      ],
    ],
    [
      'requests (C.3)',
      [
        ['8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d', FIRST],
        ['8286 84be 5808 6e6f 2d63 6163 6865', SECOND],
        ['8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65', THIRD],
      ],
    ],
    [
      'requests with Huffman codes (C.4)',
      [
        ['8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff', FIRST],
        ['8286 84be 5886 a8eb 1064 9cbf', SECOND],
        ['8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf', THIRD],
      ],
    ],
    [
      'answers with Huffman codes and evictions (C.6)',
      [
        // The example uses a table of 256 bytes.
        [
          '3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
          ANSWERED,
        ],
        ['4883 640e ffc1 c0bf', [[':status', '307'], ...ANSWERED.slice(1)]],
        [
          '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
          STORED,
        ],
      ],
    ],
  ] as const)('%s', (_, blocks) => {
    const decoder = new HpackDecoder();
    for (const [block, fields] of blocks) expect(pairs(decoder.decode(hex(block)))).toEqual(fields);
  });
});

describe('a block that cannot be decoded', () => {
  it.each([
    ['an index of zero', '80'],
    ['an index past both tables', 'be'],
    ['a name past both tables', '7e 01 61'],
    ['a cut integer', 'ff'],
    ['an integer of five continuations', '1f 80 80 80 80 00'],
    ['an integer beyond 2^28', 'ff ff ff ff ff ff 7f'],
    ['a cut string', '00 03 61'],
    ['a missing value', '00 01 61'],
    ['Huffman padding of zeros', '00 01 61 81 18'],
    ['Huffman padding of eight ones', '00 01 61 82 1f ff'],
    ['the end of a string within it', '00 01 61 84 ff ff ff ff'],
    ['a table size after a field', '82 20'],
    ['a table larger than allowed', '3f e2 1f'],
  ])('%s', (_, block) => {
    const decoder = new HpackDecoder();
    expect(decoder.decode(hex(block))).toBeNull();
    // The tables of both sides may differ from now on.
    expect(decoder.decode(hex('82'))).toBeNull();
  });

  it('has a list over the limit, made of few bytes', () => {
    const decoder = new HpackDecoder();
    const stored = Buffer.concat([hex('40 01 61 7f a1 1e'), Buffer.alloc(4_000, 'x')]);
    expect(decoder.decode(stored)).toHaveLength(2);
    const most = Math.floor(LIMITS.headerListBytes / 4_033);
    expect(decoder.decode(Buffer.alloc(most, 0xbe))).toHaveLength(2 * most);
    expect(decoder.decode(Buffer.alloc(most + 1, 0xbe))).toBeNull();
  });
});

it('a table may grow to what its receiver announced, and not beyond the limit', () => {
  const growTo = (bytes: number) => new HpackEncoder({ tableBytes: bytes }).encode([]);
  for (const [announced, used, decodes] of [
    [8_192, 8_192, true],
    [8_192, 8_193, false],
    [1 << 20, LIMITS.headerTableBytes, true],
    [1 << 20, LIMITS.headerTableBytes + 1, false],
    // A smaller announcement may be on its way while the earlier one is still used.
    [100, 4_096, true],
  ] as const) {
    const decoder = new HpackDecoder();
    decoder.allowTable(announced);
    expect(decoder.decode(growTo(used)) !== null).toBe(decodes);
  }
});

const name = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
const value = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)),
  maxLength: 60,
});
const field: fc.Arbitrary<Field> = fc.tuple(
  fc.oneof(name, fc.constantFrom('te', 'content-type', 'a')),
  value,
);
const block = fc.record({
  fields: fc.array(field, { maxLength: 12 }),
  tableBytes: fc.option(fc.constantFrom(0, 40, 100, 1_000, 4_096), { freq: 4 }),
});

it('gives every list of a connection, whatever its encoder chose', () => {
  fc.assert(
    fc.property(fc.array(block, { maxLength: 12 }), fc.infiniteStream(fc.nat(2)), (blocks, forms) => {
      const decoder = new HpackDecoder();
      const encoder = new HpackEncoder({ form: () => forms.next().value ?? 0 });
      for (const { fields, tableBytes } of blocks) {
        if (tableBytes !== null) encoder.resize(tableBytes);
        expect(pairs(decoder.decode(encoder.encode(fields)))).toEqual(fields);
      }
    }),
    { numRuns: repeated(60, 300) },
  );
});

it('equal blocks mean what the table makes of them, even just after one was decoded', () => {
  const decoder = new HpackDecoder();
  /** A literal that is stored, and a reference to the newest field. */
  const stored = (value: string) => Buffer.concat([hex('40 01 61 01'), Buffer.from(value)]);
  const newest = hex('be');
  const seen = ['x', 'y', 'y'].flatMap((value) => {
    decoder.decode(stored(value));
    return [newest, newest].map((block) => pairs(decoder.decode(block))?.[0]?.[1]);
  });
  expect(seen).toEqual(['x', 'x', 'y', 'y', 'y', 'y']);
  // An emptied table names nothing, so the block is refused as it would have been before.
  expect(decoder.decode(hex('20'))).toEqual([]);
  expect(decoder.decode(newest)).toBeNull();
});

it('has the size of a list also where its block is known', () => {
  const decoder = new HpackDecoder();
  const sizes = ['82', '82', '86 84', '82', '86 84'].map((block) => {
    decoder.decode(hex(block));
    return decoder.listBytes;
  });
  expect(sizes).toEqual([42, 42, 81, 42, 81]);
});

it('never throws on random bytes, and stays ended once it has ended', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 }), (blocks) => {
      const decoder = new HpackDecoder();
      let ended = false;
      for (const bytes of blocks) {
        const failed = decoder.decode(Buffer.from(bytes)) === null;
        expect(failed || !ended).toBe(true);
        ended = failed;
      }
    }),
    { numRuns: repeated(400, 2_000) },
  );
});

it('every byte has its Huffman code', () => {
  const coded = hex(ALL_BYTES);
  const room = new Uint8Array(coded.length * 2);
  expect(decodeHuffman(coded, 0, coded.length, room)).toBe(256);
  expect([...room.subarray(0, 256)]).toEqual([...Array(256).keys()]);
});

it('a Huffman string decodes to at most 8/5 of its length', () => {
  const room = new Uint8Array(16);
  // The letter a has five bits: 16 of them fill ten bytes.
  expect(decodeHuffman(Buffer.alloc(10, hex('18c6318c63')), 0, 10, room)).toBe(16);
  expect(Buffer.from(room).toString()).toBe('a'.repeat(16));
});

it('gives the lists that node:http2 sends and receives', async () => {
  for (const seed of [101, 102]) {
    const { received, decoded } = await listsThroughNode(new SeededRandom(seed), 50);
    expect(received).toHaveLength(100);
    expect(decoded).toEqual(received);
  }
});
