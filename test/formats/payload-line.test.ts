import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/core/exchange.ts';
import { headerPairsOf, parseRequestHead } from '../../src/core/headers.ts';
import type { BodyRequest } from '../../src/formats/payloads.ts';
import { hash, latin1, load, traceFile } from './support.ts';

/** The one request of a payload file of one line. */
async function only(line: object | string, fallback?: BodyRequest): Promise<Message> {
  const content = typeof line === 'string' ? line : JSON.stringify(line);
  const pool = await load(traceFile(content, 'payloads.jsonl'), fallback);
  expect(pool.size).toBe(1);
  return pool.draw().request;
}

describe('a line of a payload file', () => {
  test('becomes a request with Host first and Content-Length last where they are missing', async () => {
    const message = await only({ method: 'POST', path: '/v1/x?a=1', headers: { 'X-A': '1' }, body: 'grüß' });
    expect(latin1(message.head)).toBe(
      'POST /v1/x?a=1 HTTP/1.1\r\nHost: imported.invalid\r\nX-A: 1\r\nContent-Length: 6\r\n\r\n',
    );
    expect(message.body).toEqual({
      bytes: 6,
      kept: Buffer.from('grüß'),
      truncated: false,
      hash: hash.ofBody(Buffer.from('grüß')),
    });
  });

  test('keeps the order, case and duplicates of headers given as pairs, and its own Host and length', async () => {
    const headers = [
      ['x-b', '2'],
      ['HOST', 'model:8000'],
      ['X-B', '1'],
      ['Content-Length', '2'],
    ] as const;
    const message = await only({ path: '/', headers, body: 'hi' });
    expect(headerPairsOf(message.head)).toEqual(headers);
  });

  test('is sent with the digits, the keys and the order that its body is written with', async () => {
    const body = '{"seed":12345678901234567890, "t":1.0,"b":1,"2":2,"1":1,"e":1e400,"d":1,"d":2}';
    expect(latin1((await only(`{"path":"/p","body":${body} }`)).body.kept)).toBe(body);
    expect(latin1((await only(`{"path":"/p","body": [1e400]}`)).body.kept)).toBe('[1e400]');
  });

  test.each([
    ['two bodies', '{"path":"/p","body":{"a":1},"body":{"a":2}}', /line 1: two keys are called body/],
    [
      'two bodies, of which one is written with an escape',
      '{"path":"/p","body":{"a":1},"b\\u006fdy":{"a":2}}',
      /line 1: two keys are called body/,
    ],
    [
      'a key in disguise',
      '{"path":"/p","\\u0062ody":{"a":1}}',
      /line 1: the key body is not written plainly/,
    ],
  ])('is refused with %s: which bytes are meant is not known', async (_, line, reason) => {
    await expect(only(line)).rejects.toThrow(reason);
  });

  test('may give several values to a header', async () => {
    const message = await only({ path: '/', method: 'GET', headers: { Host: 'h', A: ['1', '2'] } });
    expect(latin1(message.head)).toBe('GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 2\r\n\r\n');
    expect(message.body).toEqual({ bytes: 0, kept: Buffer.alloc(0), truncated: false, hash: null });
  });

  test('may carry any bytes as base64, padded or not', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 100 }),
        fc.boolean(),
        async (bytes, padded) => {
          const base64 = Buffer.from(bytes).toString('base64');
          const bodyBase64 = padded ? base64 : base64.replace(/=+$/, '');
          expect((await only({ path: '/', bodyBase64 })).body.kept).toEqual(Buffer.from(bytes));
        },
      ),
      { numRuns: 40 },
    );
  });

  test('may have its body as JSON, which then says so', async () => {
    const message = await only({ path: '/', body: { a: [1] } });
    expect(latin1(message.body.kept)).toBe('{"a":[1]}');
    expect(headerPairsOf(message.head)).toContainEqual(['Content-Type', 'application/json']);
  });

  test('without any key of a request is itself the body, byte for byte', async () => {
    const line = '{"model": "m",  "messages": [] }';
    const message = await only(`${line}\r\n`, { method: 'POST', path: '/v1/chat/completions' });
    expect(latin1(message.body.kept)).toBe(line);
    expect(parseRequestHead(message.head)).toMatchObject({ method: 'POST', target: '/v1/chat/completions' });
  });

  test('has its secrets masked before anything is stored', async () => {
    const headers = { Authorization: 'Bearer s3cret', Host: 'h' };
    const message = await only({ path: '/x?api_key=s3cret', headers, body: '' });
    expect(latin1(message.head)).not.toContain('s3cret');
    expect(message.redacted).toEqual(expect.arrayContaining(['authorization', '?api_key']));
    expect(headerPairsOf(message.head).map(([name]) => name)).toEqual([
      'Authorization',
      'Host',
      'Content-Length',
    ]);
  });

  test.each([
    ['no JSON', '{', 'not JSON'],
    ['no path', '{"body":"x"}', 'no path'],
    ['a bare body without --request-path', '{"model":"m"}', 'no path'],
    ['a path that is relative', '{"path":"v1"}', '"v1" is no request path'],
    ['a path with a space', '{"path":"/a b"}', '"/a b" is no request path'],
    ['a path that smuggles a line', '{"path":"/a\\r\\nX: 1"}', 'is no request path'],
    ['a path that is no text', '{"path":1}', 'path is not text'],
    ['a method that is none', '{"method":"PO ST","path":"/"}', '"PO ST" is no HTTP method'],
    ['two bodies', '{"path":"/","body":"","bodyBase64":""}', 'both body and bodyBase64'],
    ['base64 that is none', '{"path":"/","bodyBase64":"a*b="}', 'bodyBase64 is not base64'],
    ['base64 that is cut', '{"path":"/","bodyBase64":"abcde"}', 'bodyBase64 is not base64'],
    ['headers that are none', '{"path":"/","headers":"x"}', 'headers are neither'],
    ['a header value that is none', '{"path":"/","headers":{"a":null}}', 'headers are neither'],
    [
      'a header value with a line end',
      '{"path":"/","headers":{"a":"1\\r\\nb: 2"}}',
      'the value of a is not allowed',
    ],
    ['a header name with a space', '{"path":"/","headers":{"a b":"1"}}', '"a b" is not a header name'],
    [
      'a length that is wrong',
      '{"path":"/","headers":{"Content-Length":"3"},"body":"hi"}',
      'Content-Length is "3"',
    ],
    ['two lengths', '{"path":"/","headers":{"Content-Length":["2","2"]},"body":"hi"}', 'more than once'],
    [
      'a length beside chunked',
      '{"path":"/","headers":{"Content-Length":"2","Transfer-Encoding":"chunked"},"body":"hi"}',
      'more than once',
    ],
    ['another coding', '{"path":"/","headers":{"Transfer-Encoding":"gzip"}}', 'Transfer-Encoding "gzip"'],
  ])('with %s is refused with its number', async (_title, line, reason) => {
    const path = traceFile(`{"path":"/"}\n\n${line}\n`, 'payloads.jsonl');
    await expect(load(path)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringContaining(`${path}, line 3: `),
    });
    await expect(load(path)).rejects.toThrow(reason);
  });
});
