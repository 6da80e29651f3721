import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExchangePayload } from '../../../src/core/exchange.ts';
import { parseRequestHead } from '../../../src/core/headers.ts';
import {
  HeaderLines,
  RequestBuilder,
  type RequestRules,
  unreplayableReason,
} from '../../../src/replay/request/build.ts';

const anyByte = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
const name = fc.constantFrom(
  ...['Host', 'host', 'X-One', 'x-one', 'X-Two', 'Connection', 'Transfer-Encoding', 'Content-Length'],
  ...['Expect', 'Upgrade', 'Keep-Alive', 'Authorization', 'authorization', 'traceparent', 'Bad Name', ''],
);
const value = fc.oneof(
  fc.constantFrom('', '1', 'chunked', ' gzip, chunked ', 'close, X-Two', 'x-one', 'a', 'a\t', '\u00e9'),
  fc.string({ unit: anyByte, maxLength: 6 }),
  fc.constantFrom('v'.repeat(511), 'w'.repeat(600)),
);
/** Few different ones, so that many come again, and some that are no headers. */
const line = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(name, fc.constantFrom(':', ': ', ' :\t'), value).map((parts) => parts.join('')),
  },
  { weight: 1, arbitrary: fc.string({ unit: anyByte, maxLength: 8 }) },
);
const head = fc
  .tuple(
    fc.constantFrom('POST /v1/x HTTP/1.1', 'GET / HTTP/1.1', 'POST /y', ''),
    fc.array(line, { maxLength: 6 }),
    fc.constantFrom('\r\n', '\n'),
    fc.boolean(),
  )
  .map(([start, lines, lineEnd, ends]) => [start, ...lines, ...(ends ? ['', ''] : [])].join(lineEnd));
const heads = fc.array(head, { minLength: 1, maxLength: 12 });

describe('HeaderLines', () => {
  it('reads of every head what a reader without a memory reads, however often its lines came before', () => {
    fc.assert(
      fc.property(heads, (texts) => {
        const lines = new HeaderLines();
        for (const text of [...texts, ...texts, ...texts]) {
          const { headers } = parseRequestHead(Buffer.from(text, 'latin1'));
          const read = lines.of(text);
          expect(read.map(({ pair }) => pair)).toEqual(headers);
          expect(read.map(({ lower }) => lower)).toEqual(headers.map(([each]) => each.toLowerCase()));
          for (const { pair, sendable } of read) {
            const alone = { method: 'GET', target: '/', headers: pair, hasTrailers: false };
            expect(sendable).toBe(unreplayableReason(alone) === null);
          }
        }
      }),
    );
  });

  it('remembers a line that comes again, and takes it to be new for none that differs', () => {
    const lines = new HeaderLines();
    const of = (text: string) => lines.of(`GET / HTTP/1.1\r\n${text}\r\n\r\n`)[0];
    of('X-One: 1');
    const again = of('X-One: 1');
    expect(of('X-One: 1')).toBe(again);
    expect(of('X-One:  1')).not.toBe(again);
    expect(of('x-One: 1')).not.toBe(again);
  });

  it('remembers no more than so many lines, and none that is long or of a long head', () => {
    const lines = new HeaderLines();
    const of = (text: string) => lines.of(`GET / HTTP/1.1\r\n${text}\r\n\r\n`)[0];
    const twice = (text: string) => [of(text), of(text)][1];
    const first = twice('X-First: 1');
    for (let at = 0; at < 4_095; at += 1) twice(`X-Line: ${at}`);
    expect(of('X-First: 1')).toBe(first);
    twice('X-Line: one more');
    expect(of('X-First: 1')).not.toBe(first);
    const long = `X-Long: ${'x'.repeat(600)}`;
    expect(twice(long)).not.toBe(of(long));
    const manyLines = ['X-Second: 1', ...Array.from({ length: 1_700 }, (_, at) => `a: ${at}`)].join('\r\n');
    expect(twice(manyLines)).not.toBe(of(manyLines));
  });

  it('forgets lines that came once', () => {
    const lines = new HeaderLines();
    const of = (text: string) => lines.of(`GET / HTTP/1.1\r\n${text}\r\n\r\n`)[0];
    const once = of('X-First: 1');
    for (let at = 0; at < 256; at += 1) of(`traceparent: ${at}`);
    expect(of('X-First: 1')).not.toBe(once);
  });
});

describe('a builder that has built many requests', () => {
  const rules = fc.record<RequestRules>({
    basePath: fc.constantFrom('', '/base'),
    host: fc.constantFrom('target', 'recorded', 'models.staging'),
    addedHeaders: fc.array(
      fc.constantFrom<[string, string]>(
        ['Authorization', 'Bearer a'],
        ['X-One', 'b'],
        ['X-New', 'c'],
        ['x-one', 'd'],
      ),
      { maxLength: 3 },
    ),
    removedHeaders: fc.subarray(['x-one', 'x-two', 'host']),
    pathMappings: fc.constantFrom([], [{ from: '/v1', to: '/v2' }]),
    runId: fc.constant('run-1'),
  });
  const redacted = fc.subarray(['authorization', 'x-two', '?key', '/a/b', '']);

  it('builds each as one that has built none before', () => {
    fc.assert(
      fc.property(
        rules,
        fc.array(fc.tuple(head, redacted), { minLength: 1, maxLength: 10 }),
        (rule, each) => {
          const builder = new RequestBuilder(rule);
          for (const [text, masked] of [...each, ...each, ...each]) {
            const payload = payloadOf(text, masked);
            expect(builder.build(payload)).toEqual(new RequestBuilder(rule).build(payload));
          }
        },
      ),
    );
  });
});

function payloadOf(head: string, redacted: readonly string[]): ExchangePayload {
  const body = { bytes: 1, kept: Buffer.from('x'), truncated: false, hash: null };
  const request = { head: Buffer.from(head, 'latin1'), redacted, body, trailers: null };
  return { request, response: null, requestChunks: [], responseChunks: [] };
}
