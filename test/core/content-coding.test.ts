import * as zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decodeContent } from '../../src/core/content-coding.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { bodyRedaction, cover } from '../support/body-redaction.ts';

const BODY = '{"keep":"this","a":"a secret of some length"}';
const redaction = bodyRedaction(['/a=mask']);

const CODINGS: [string, (body: Buffer) => Buffer, (coded: Buffer) => Buffer][] = [
  ['gzip', zlib.gzipSync, zlib.gunzipSync],
  ['X-GZIP', zlib.gzipSync, zlib.gunzipSync],
  ['deflate', zlib.deflateSync, zlib.inflateSync],
  ['deflate', zlib.deflateRawSync, zlib.inflateRawSync],
  ['br', zlib.brotliCompressSync, zlib.brotliDecompressSync],
  ['zstd', zlib.zstdCompressSync, zlib.zstdDecompressSync],
  ['identity', (body) => body, (body) => body],
  [
    'gzip, br',
    (body) => zlib.brotliCompressSync(zlib.gzipSync(body)),
    (coded) => zlib.gunzipSync(zlib.brotliDecompressSync(coded)),
  ],
];

describe('a coded body', () => {
  it.each(CODINGS)(
    'under %s is covered inside, and stays in its coding',
    (contentEncoding, encode, decode) => {
      const { kept, names } = cover(redaction, encode(Buffer.from(BODY)), { contentEncoding });
      expect(names).toEqual(['/a']);
      expect(decode(Buffer.from(kept ?? [])).toString()).toMatch(/^\{"keep":"this","a":"[a-z ]{23}"\}$/);
    },
  );

  it('keeps nothing of what lies around the data, even where nothing is named', () => {
    const named = zlib.gzipSync('{"b":1}');
    named[3] = 0x08;
    const withName = Buffer.concat([named.subarray(0, 10), Buffer.from('secret.json\0'), named.subarray(10)]);
    expect(zlib.gunzipSync(withName).toString()).toBe('{"b":1}');
    const { kept, names } = cover(redaction, withName, { contentEncoding: 'gzip' });
    expect(names).toEqual([]);
    expect(zlib.gunzipSync(kept ?? Buffer.alloc(0)).toString()).toBe('{"b":1}');
    expect(Buffer.from(kept ?? []).includes('secret')).toBe(false);
  });

  it.each([
    ['gzip', Buffer.from(BODY), 'bad_coding'],
    ['gzip', zlib.gzipSync(BODY).subarray(0, -9), 'bad_coding'],
    ['deflate', zlib.deflateSync(BODY).subarray(0, -9), 'bad_coding'],
    ['br', zlib.brotliCompressSync(BODY).subarray(0, -2), 'bad_coding'],
    ['zstd', zlib.zstdCompressSync(BODY).subarray(0, -2), 'bad_coding'],
    ['gzip, gzip', zlib.gzipSync(BODY), 'bad_coding'],
    ['compress', Buffer.from(BODY), 'unknown_coding'],
    ['aes128gcm', Buffer.from(BODY), 'unknown_coding'],
    ['gzip,gzip,gzip,gzip', zlib.gzipSync(BODY), 'unknown_coding'],
    [null, zlib.gzipSync(BODY), 'not_json'],
    ['gzip', zlib.gzipSync('no json'), 'not_json'],
  ])('under %s that cannot be read is dropped: %#', (contentEncoding, body, reason) => {
    expect(cover(redaction, body, { contentEncoding })).toMatchObject({ kept: null, dropped: reason });
  });
});

describe('a body in several pieces of its coding', () => {
  const LINES = ['{"id":1,"a":"the first secret"}\n', '{"id":2,"a":"the second secret"}\n'];
  const COVERED = /^\{"id":1,"a":"[a-z ]{16}"\}\n\{"id":2,"a":"[a-z ]{17}"\}\n$/;
  const skippable = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 6, 0, 0, 0, ...Buffer.from('secret')]);
  const frames = (...texts: string[]) => texts.map((text) => zlib.zstdCompressSync(text));

  it.each([
    ['zstd', frames(...LINES), zlib.zstdDecompressSync],
    ['zstd', [skippable, ...frames(...LINES)], zlib.zstdDecompressSync],
    ['zstd', [...frames(LINES[0] ?? '', '', LINES[1] ?? ''), skippable], zlib.zstdDecompressSync],
    ['gzip', LINES.map((line) => zlib.gzipSync(line)), zlib.gunzipSync],
  ])('under %s does not lose what follows the first: %#', (contentEncoding, pieces, decode) => {
    const { kept, names } = cover(redaction, Buffer.concat(pieces), {
      contentType: 'application/x-ndjson',
      contentEncoding,
    });
    expect(names).toEqual(['/a']);
    const text = decode(Buffer.from(kept ?? [])).toString();
    expect(text).toMatch(COVERED);
    expect(text).not.toContain('secret');
    expect(Buffer.from(kept ?? []).includes('secret')).toBe(false);
  });

  it('under zstd is one document where its frames are', () => {
    const body = Buffer.concat([skippable, ...frames(BODY.slice(0, 20), BODY.slice(20))]);
    const { kept, names } = cover(redaction, body, { contentEncoding: 'zstd' });
    expect(names).toEqual(['/a']);
    expect(zlib.zstdDecompressSync(Buffer.from(kept ?? [])).toString()).toHaveLength(BODY.length);
  });

  it.each([
    ['zstd', 'what is no frame', Buffer.concat([...frames(BODY), Buffer.from('secret')])],
    ['zstd', 'less than a magic number', Buffer.concat([...frames(BODY), Buffer.alloc(2)])],
    ['zstd', 'half a frame', Buffer.concat([...frames(BODY), zlib.zstdCompressSync(' ').subarray(0, 7)])],
    ['gzip', 'what is no member', Buffer.concat([zlib.gzipSync(BODY), Buffer.from('secret')])],
    ['gzip', 'a zero', Buffer.concat([zlib.gzipSync(BODY), Buffer.from('\0secret')])],
    ['deflate', 'anything', Buffer.concat([zlib.deflateSync(BODY), Buffer.from('secret')])],
    ['deflate', 'anything', Buffer.concat([zlib.deflateRawSync(BODY), Buffer.from('secret')])],
    ['br', 'anything', Buffer.concat([zlib.brotliCompressSync(BODY), Buffer.from('secret')])],
  ])('under %s is dropped where %s follows the last', (contentEncoding, _, body) => {
    expect(cover(redaction, body, { contentEncoding })).toMatchObject({ kept: null, dropped: 'bad_coding' });
  });
});

describe('a bomb', () => {
  const blanks = Buffer.alloc(2 * 1024 * 1024, ' ');

  it.each([
    ['gzip', zlib.gzipSync(blanks)],
    ['deflate', zlib.deflateSync(blanks)],
    ['br', zlib.brotliCompressSync(blanks)],
    ['zstd', zlib.zstdCompressSync(blanks)],
    ['gzip, gzip', zlib.gzipSync(zlib.gzipSync(blanks))],
  ])('under %s is dropped', (contentEncoding, body) => {
    expect(cover(redaction, body, { contentEncoding })).toMatchObject({ kept: null, dropped: 'too_large' });
  });

  it('under zstd is dropped where only all its frames together are one', () => {
    const half = zlib.zstdCompressSync(Buffer.alloc(700 * 1024, ' '));
    const decode = (frames: number) => decodeContent(Buffer.concat(Array(frames).fill(half)), 'zstd');
    expect(decode(1).bytes).toHaveLength(700 * 1024);
    expect(() => decode(2)).toThrow('too_large');
  });

  it('is what holds its decoder up with frames of nothing', () => {
    const empty = zlib.zstdCompressSync('');
    const frames = Buffer.concat(Array(LIMITS.zstdFrames).fill(empty));
    expect(decodeContent(frames, 'zstd').bytes).toHaveLength(0);
    expect(() => decodeContent(Buffer.concat([frames, empty]), 'zstd')).toThrow('too_large');
  });

  it('is no body that unfolds a hundredfold and stays small', () => {
    const { dropped } = cover(redaction, zlib.gzipSync(`{"a":"${' '.repeat(100_000)}"}`), {
      contentEncoding: 'gzip',
    });
    expect(dropped).toBeNull();
  });

  it('unfolds to 32 MiB at most, however large it is itself', () => {
    const large = Buffer.alloc(33 * 1024 * 1024, 'abcdefghijklmnop');
    expect(() => decodeContent(zlib.deflateSync(large, { level: 0 }), 'deflate')).toThrow('too_large');
    expect(decodeContent(large, null).bytes).toBe(large);
  });
});
