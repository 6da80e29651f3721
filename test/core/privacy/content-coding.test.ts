import * as zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decodeContent } from '../../../src/core/privacy/content-coding.ts';
import { bodyRedaction, cover } from '../../support/body-redaction.ts';

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
    const { kept, names } = cover(redaction, Buffer.concat([withName, Buffer.from('\0secret')]), {
      contentEncoding: 'gzip',
    });
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
