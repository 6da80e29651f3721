import { describe, expect, it } from 'vitest';
import { parseContentLength, requestFraming, responseFraming } from '../../src/http1/framing.ts';
import { scanRequest, scanResponse } from '../../src/http1/heads.ts';

function request(start: string, ...lines: string[]) {
  const scanned = scanRequest([start, ...lines, '', ''].join('\r\n'));
  if (scanned === null) throw new Error('head refused');
  return requestFraming(scanned);
}

function response(status: number, method: string, ...lines: string[]) {
  const scanned = scanResponse([`HTTP/1.1 ${status} X`, ...lines, '', ''].join('\r\n'));
  if (scanned === null) throw new Error('head refused');
  return responseFraming(scanned, method);
}

const POST = 'POST / HTTP/1.1';

describe('framing of requests', () => {
  it.each([
    ['no header at all', [], { kind: 'none' }],
    ['a length', ['Content-Length: 12'], { kind: 'length', bytes: 12 }],
    ['a length of zero', ['content-length: 0'], { kind: 'length', bytes: 0 }],
    ['one length said twice', ['Content-Length: 5', 'Content-Length: 5'], { kind: 'length', bytes: 5 }],
    ['one length listed twice', ['Content-Length: 5, 5'], { kind: 'length', bytes: 5 }],
    ['chunked, in any case', ['Transfer-Encoding: Chunked'], { kind: 'chunked' }],
    ['chunked after another coding', ['Transfer-Encoding: gzip, chunked'], { kind: 'chunked' }],
    ['codings in two lines', ['Transfer-Encoding: gzip', 'Transfer-Encoding: chunked'], { kind: 'chunked' }],
  ])('reads %s', (_, lines, framing) => {
    expect(request(POST, ...lines)).toEqual(framing);
  });

  it.each([
    ['length and chunked together', ['Content-Length: 5', 'Transfer-Encoding: chunked']],
    ['two different lengths', ['Content-Length: 5', 'Content-Length: 6']],
    ['two different lengths in a list', ['Content-Length: 5, 6']],
    ['a signed length', ['Content-Length: +5']],
    ['a negative length', ['Content-Length: -5']],
    ['a hexadecimal length', ['Content-Length: 0x5']],
    ['an empty length', ['Content-Length: ']],
    ['a length a double cannot count', ['Content-Length: 9007199254740993']],
    ['a length of many digits', ['Content-Length: 00000000000000000000000005']],
    ['a list that ends in a comma', ['Content-Length: 5,']],
    ['chunked that is not last', ['Transfer-Encoding: chunked, gzip']],
    ['chunked twice', ['Transfer-Encoding: chunked, chunked']],
    ['chunked twice in two lines', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked']],
    ['no chunked at all', ['Transfer-Encoding: gzip']],
    ['identity', ['Transfer-Encoding: identity']],
    ['a name that only begins like it', ['Transfer-Encoding: chunkedchunked']],
    ['parameters of chunked', ['Transfer-Encoding: chunked;q=1']],
    ['a control character in the coding', ['Transfer-Encoding: \u000bchunked']],
    ['a no-break space before the coding', ['Transfer-Encoding: \u00a0chunked']],
    ['a no-break space before a length', ['Content-Length: \u00a05,\u00a05']],
    ['an empty coding', ['Transfer-Encoding: ']],
    ['an empty element', ['Transfer-Encoding: ,chunked']],
  ])('never guesses at %s', (_, lines) => {
    expect(request(POST, ...lines)).toBeNull();
  });

  it('refuses chunked in HTTP/1.0, where it does not exist', () => {
    expect(request('POST / HTTP/1.0', 'Transfer-Encoding: chunked')).toBeNull();
  });

  it('refuses content of CONNECT, which may as well be the first bytes of the tunnel', () => {
    expect(request('CONNECT a:1 HTTP/1.1', 'Content-Length: 5')).toBeNull();
    expect(request('CONNECT a:1 HTTP/1.1', 'Transfer-Encoding: chunked')).toBeNull();
    expect(request('CONNECT a:1 HTTP/1.1')).toEqual({ kind: 'none' });
  });
});

describe('framing of responses', () => {
  it.each([
    [204, 'GET', ['Content-Length: 5'], { kind: 'none' }],
    [304, 'GET', ['Content-Length: 5'], { kind: 'none' }],
    [304, 'GET', ['Transfer-Encoding: chunked'], { kind: 'none' }],
    [200, 'HEAD', ['Content-Length: 5'], { kind: 'none' }],
    [200, 'HEAD', ['Transfer-Encoding: chunked'], { kind: 'none' }],
    [100, 'GET', [], { kind: 'none' }],
    [103, 'GET', ['Content-Length: 5'], { kind: 'none' }],
    [101, 'GET', ['Upgrade: websocket'], { kind: 'tunnel' }],
    [200, 'CONNECT', ['Content-Length: 5'], { kind: 'tunnel' }],
    [407, 'CONNECT', ['Content-Length: 5'], { kind: 'length', bytes: 5 }],
    [200, 'GET', [], { kind: 'until_close' }],
    [200, 'GET', ['Content-Length: 7'], { kind: 'length', bytes: 7 }],
    [200, 'GET', ['Transfer-Encoding: gzip, chunked'], { kind: 'chunked' }],
    [200, 'GET', ['Transfer-Encoding: gzip'], { kind: 'until_close' }],
    [200, 'GET', ['Transfer-Encoding: chunked, gzip'], { kind: 'until_close' }],
    [200, 'GET', ['Content-Length: 5', 'Transfer-Encoding: chunked'], null],
    [200, 'GET', ['Content-Length: 5', 'Content-Length: 6'], null],
    [200, 'GET', ['Transfer-Encoding: chunked, chunked'], null],
  ])('of %i to %s with %j', (status, method, lines, framing) => {
    expect(response(status, method, ...lines)).toEqual(framing);
  });
});

describe('content length', () => {
  it('takes time linear in a list of a hundred thousand', () => {
    expect(parseContentLength(Array(100_000).fill('7').join(','))).toBe(7);
  });
});

describe('heads', () => {
  it.each([
    ['a line without a colon', 'GET / HTTP/1.1\r\nHost\r\n\r\n'],
    ['white space before the colon', 'GET / HTTP/1.1\r\nHost : x\r\n\r\n'],
    ['a folded line', 'GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n'],
    ['an empty name', 'GET / HTTP/1.1\r\n: a\r\n\r\n'],
    ['a NUL', 'GET / HTTP/1.1\r\nX: a\0b\r\n\r\n'],
    ['a CR inside a line', 'GET / HTTP/1.1\r\nX: a\rContent-Length: 5\r\n\r\n'],
    ['line ends of both kinds', 'GET / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n\r\n'],
    ['a method that is no token', 'GE(T / HTTP/1.1\r\n\r\n'],
    ['a space inside the target', 'GET /a b HTTP/1.1\r\n\r\n'],
    ['another version', 'GET / HTTP/1.2\r\n\r\n'],
    ['no version', 'GET /\r\n\r\n'],
  ])('with %s are refused', (_, head) => {
    expect(scanRequest(head)).toBeNull();
  });

  it('of any target form and with high bytes are read as they are', () => {
    for (const target of ['/a?b=c', 'http://h:1/p', '*', '/\xe9\xff', 'h:443']) {
      expect(scanRequest(`M-SEARCH ${target} HTTP/1.1\r\nX: \xff\x80\r\n\r\n`)?.target).toBe(target);
    }
  });

  it('of bare LFs throughout are read', () => {
    const scanned = scanRequest('POST / HTTP/1.1\nContent-Length: 5\n\n');
    expect(scanned?.fields.contentLength).toBe('5');
  });

  it('with a status below 100, or not of three digits, are refused', () => {
    for (const status of ['099', '000', '20', '2000', 'abc']) {
      expect(scanResponse(`HTTP/1.1 ${status} OK\r\n\r\n`)).toBeNull();
    }
    expect(scanResponse('HTTP/1.1 200\r\n\r\n')?.status).toBe(200);
  });
});
