import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { bodyRedaction, cover } from '../support/body-redaction.ts';

describe('what cannot be read for certain', () => {
  const redaction = bodyRedaction(['/a=mask']);

  it('or what would hold the recorder for long is dropped whole, however small its coding makes it', () => {
    const room = LIMITS.maskedBodyBytes - '{"a":""}'.length;
    const within = `{"a":"${'x'.repeat(room)}"}`;
    expect(cover(redaction, within).dropped).toBeNull();
    const beyond = `{"a":"${'x'.repeat(room + 1)}"}`;
    const dropped = { kept: null, names: [], dropped: 'too_large', text: '' };
    expect(cover(redaction, beyond)).toEqual(dropped);
    expect(cover(redaction, zstdCompressSync(beyond), { contentEncoding: 'zstd' })).toEqual(dropped);
  });

  it.each([
    ['{"a":"secret"', 'not_json'],
    ['{"a":"secret"} x', 'not_json'],
    ['{"a":"secret"}{"a":"b"}', 'not_json'],
    ['{"a":"secret",}', 'not_json'],
    ["{'a':'secret'}", 'not_json'],
    ['{"a":01}', 'not_json'],
    ['{"a":1.}', 'not_json'],
    ['{"a":-}', 'not_json'],
    ['{"a":"\\x"}', 'not_json'],
    ['{"a":"\\u12"}', 'not_json'],
    ['{"a":"line\nend"}', 'not_json'],
    ['{"a":tru}', 'not_json'],
    ['{"a" "b"}', 'not_json'],
    ['{a:1}', 'not_json'],
    ['[1 2]', 'not_json'],
    ['   ', 'not_json'],
    ['data: {"a":"secret"}', 'not_json'],
    [Buffer.from('{"a":"secret"}', 'utf16le'), 'not_json'],
    ['['.repeat(200) + ']'.repeat(200), 'too_deep'],
    ['{"a":'.repeat(100_000), 'too_deep'],
  ])('%j is dropped: %s', (body, reason) => {
    expect(cover(redaction, body)).toEqual({ kept: null, names: [], dropped: reason, text: '' });
  });

  it('is dropped when only a prefix is there', () => {
    expect(cover(redaction, '{"b":1}', { truncated: true }).dropped).toBe('truncated');
  });

  it('is dropped when its type is not one we read, whatever is in it', () => {
    for (const contentType of [
      'text/plain',
      'application/octet-stream',
      'multipart/mixed; boundary=x',
      null,
    ]) {
      expect(cover(redaction, 'a=secret', { contentType }).dropped).toBe('unknown_type');
    }
  });

  it('is read as JSON where it looks like JSON, whatever its type says', () => {
    for (const contentType of [
      'text/plain',
      'application/x-www-form-urlencoded',
      null,
      'application/octet-stream',
    ]) {
      expect(cover(redaction, ' {"a":"secret"}', { contentType }).text).toMatch(/^ \{"a":"[a-z ]{6}"\}$/);
      expect(cover(redaction, '{"a":"secret"', { contentType }).dropped).toBe('not_json');
    }
  });

  it('is no body with a byte order mark, blanks around it, or a parameter of its type', () => {
    const body = '\ufeff \r\n{"a":"secret"}\n\n';
    const { text } = cover(redaction, body, { contentType: 'Application/Vnd.API+JSON; charset=utf-8' });
    expect(text).toMatch(/^\ufeff \r\n\{"a":"[a-z ]{6}"\}\n\n$/);
  });

  it('never throws, whatever the bytes', () => {
    const types = ['application/json', 'text/event-stream', 'application/x-www-form-urlencoded', null];
    const codings = [null, 'gzip', 'br', 'zstd', 'deflate', 'gzip, br'];
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom(...types),
        fc.constantFrom(...codings),
        fc.option(fc.nat(300)),
        (bytes, contentType, contentEncoding, inferenceHeaderLength) => {
          const about = { contentType, contentEncoding, inferenceHeaderLength };
          const { kept, dropped } = cover(redaction, Buffer.from(bytes), about);
          expect(kept === null).toBe(dropped !== null);
        },
      ),
    );
  });
});
