import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { headerPairsOf } from '../../src/core/headers.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { repeated } from '../support/long-form.ts';
import { maskedHeader as header, maskedRequest as request } from './masked-heads.ts';

const redaction = new Redaction();

describe('masking', () => {
  it('keeps line ends, order, case, duplicates, white space and every other byte', () => {
    const { text } = request('/', 'cookie:a=1', 'X: \xe9', 'COOKIE: \tb=2 ', 'Cookie:', 'Y:1');
    expect(text).toBe('GET / HTTP/1.1\r\ncookie:***\r\nX: \xe9\r\nCOOKIE: \t*** \r\nCookie:\r\nY:1\r\n\r\n');
  });

  it.each([
    ['x-user-pass-bin', 'plain'],
    ['authorization-bin', 'plain'],
    ['trace-bin', 'Bearer s3cr3tTok3n'],
    ['trace-bin', 'https://h/a?token=secret'],
    ['trace-bin', '{"api_key":"secret"}'],
  ])('hides binary metadata by its name or by what it holds: %s: %s', (name, content) => {
    const value = Buffer.from(content).toString('base64');
    for (const values of [value, `AAEC,${value}`, value.replace(/=+$/, '')]) {
      const { text, names } = header(`${name}: ${values}`);
      expect(text).toContain(`${name}: ${'*'.repeat(values.length)}\r\n`);
      expect(names).toEqual([name]);
    }
  });

  it('keeps other binary metadata', () => {
    const value = Buffer.from([0, 0, 1, 254, 9, 8, 7]).toString('base64');
    expect(header(`grpc-trace-bin: ${value}`)).toMatchObject({ names: [] });
  });

  it('reaches folded values, malformed names and heads of bare LFs', () => {
    const fold = redaction.requestHead(
      Buffer.from('GET / HTTP/1.1\r\nCookie: a\r\n  secret\r\nX: y\r\n\r\n'),
    );
    expect(Buffer.from(fold.bytes).toString()).toBe(
      'GET / HTTP/1.1\r\nCookie: *\r\n********\r\nX: y\r\n\r\n',
    );
    expect(header('Cookie : secret').text).toContain('Cookie : ******\r\n');
    const bare = redaction.requestHead(Buffer.from('GET /?key=secret HTTP/1.1\nCookie: secret\n\n'));
    expect(Buffer.from(bare.bytes).toString()).toBe('GET /?key=****** HTTP/1.1\nCookie: ******\n\n');
  });

  it('masks redirects, cookies and links of responses, and trailers', () => {
    const head = Buffer.from(
      'HTTP/1.1 302 Found\r\nLocation: /cb?code=1&access_token=abc\r\nSet-Cookie: s=abc; Path=/\r\n' +
        'Link: <https://h/a?sig=abc>; rel=next, <https://u@h/b?x=1&token=d>; rel=last\r\n\r\n',
    );
    const { bytes, names } = redaction.responseHead(head);
    expect(Buffer.from(bytes).toString()).toBe(
      'HTTP/1.1 302 Found\r\nLocation: /cb?code=1&access_token=***\r\nSet-Cookie: *************\r\n' +
        'Link: <https://h/a?sig=***>; rel=next, <https://*@h/b?x=1&token=*>; rel=last\r\n\r\n',
    );
    expect(names).toEqual(['location', 'set-cookie', 'link']);
    const trailers = redaction.trailers(Buffer.from('X-Signature: abc\r\nX-Sum: 1\r\n'));
    expect(Buffer.from(trailers.bytes).toString()).toBe('X-Signature: ***\r\nX-Sum: 1\r\n');
    expect(trailers.names).toEqual(['x-signature']);
  });

  it('leaves the given bytes as they were and answers a copy', () => {
    const head = Buffer.from('GET / HTTP/1.1\r\nCookie: abc\r\n\r\n');
    const before = Buffer.from(head);
    const { bytes } = redaction.requestHead(head);
    expect(head.equals(before)).toBe(true);
    head.fill(0);
    expect(Buffer.from(bytes).toString()).toContain('Cookie: ***');
  });

  it('keeps length and line ends of any bytes whatever, and never throws', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .array(
          fc.constantFrom(
            'GET ',
            '/',
            '?',
            '&',
            ';',
            '#',
            '=',
            'key',
            '%',
            '//',
            '@',
            ':',
            'Cookie',
            '\r\n',
            '\n',
            ' ',
            'x',
            'Link',
          ),
          { maxLength: 60 },
        )
        .map((parts) => Buffer.from(parts.join(''))),
    );
    fc.assert(
      fc.property(bytes, (input) => {
        for (const read of [
          redaction.requestHead(input),
          redaction.responseHead(input),
          redaction.trailers(input),
        ]) {
          expect(read.bytes).toHaveLength(input.length);
          input.forEach((byte, at) => {
            const shown = read.bytes[at];
            if (shown !== byte) expect([0x0a, 0x0d, 0x2a]).not.toContain(byte);
            if (shown !== byte) expect(shown).toBe(0x2a);
          });
        }
      }),
      { numRuns: repeated(250, 1_000) },
    );
  });

  it('never changes how many header lines there are or what they are called', () => {
    const name = fc.constantFrom('Cookie', 'X-Key', 'Location', 'Host', 'X');
    const value = fc.string({ maxLength: 20 }).map((text) => text.replace(/[\r\n]/g, ''));
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), (lines) => {
        const head = Buffer.from(
          `GET / HTTP/1.1\r\n${lines.map(([key, text]) => `${key}: ${text}\r\n`).join('')}\r\n`,
        );
        const masked = redaction.requestHead(head).bytes;
        expect(headerPairsOf(masked).map(([key]) => key)).toEqual(headerPairsOf(head).map(([key]) => key));
      }),
    );
  });

  it('takes time linear in hostile heads', () => {
    // A scan that is quadratic in any of these would take longer than a test may.
    const size = 200_000;
    for (const text of [
      `GET /?${'&'.repeat(size)} HTTP/1.1\r\n\r\n`,
      `GET /?a=${'%25'.repeat(size / 3)} HTTP/1.1\r\n\r\n`,
      `GET http:${'//'.repeat(size / 2)}@ HTTP/1.1\r\n\r\n`,
      `GET /?${'//a@'.repeat(size / 4)} HTTP/1.1\r\n\r\n`,
      `GET /?${'u=//a@h;'.repeat(size / 8)} HTTP/1.1\r\n\r\n`,
      `GET ${'/%40'.repeat(size / 4)} HTTP/1.1\r\n\r\n`,
      `GET /?${'%2F%2F%40&'.repeat(size / 10)} HTTP/1.1\r\n\r\n`,
      `GET / HTTP/1.1\r\n${'a\r\n'.repeat(size / 3)}\r\n`,
      `GET / HTTP/1.1\r\nCookie: ${' '.repeat(size)}x\r\n\r\n`,
      `GET / HTTP/1.1\r\nLink: ${'<//'.repeat(size / 3)}\r\n\r\n`,
      `GET / HTTP/1.1\r\n${'-'.repeat(size)}: x\r\n\r\n`,
    ]) {
      expect(redaction.requestHead(Buffer.from(text)).bytes).toHaveLength(text.length);
    }
  });
});
