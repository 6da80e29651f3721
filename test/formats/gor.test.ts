import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gorRecords, openGor } from '../../src/formats/gor.ts';
import { sharedData } from '../support/shared-data.ts';
import { BOM, latin1, readImport, traceFile } from './support.ts';

const MONKEYS = '\n\u{1f435}\u{1f648}\u{1f649}\n';

function gor(...records: readonly (readonly [head: string, message: string | Buffer])[]): Buffer {
  return Buffer.concat(
    records.flatMap(([head, message]) => [
      Buffer.from(`${head}\n`),
      Buffer.from(message),
      Buffer.from(MONKEYS),
    ]),
  );
}

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
const POST = 'POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}';

describe('a GoReplay file', () => {
  test('gives requests with the responses of their ids', async (context) => {
    const path = sharedData('made-here-gor/sample.gor');
    if (path === null) return context.skip('data/made-here-gor is not here');
    const { exchanges, source } = await readImport(openGor(path));
    const byTime = exchanges.sort((a, b) => a.arrivalUs - b.arrivalUs);
    expect(byTime.map(({ request }) => request?.body.bytes)).toEqual([9167, 411, 3046, 362, 630, 399, 279]);
    expect(byTime.map(({ status }) => status)).toEqual([200, null, 200, null, 200, null, null]);
    expect(byTime[0]).toMatchObject({ arrivalUs: 1_700_000_000_000_000, lastByteOffsetUs: 35_000 });
    expect(byTime[6]).toMatchObject({ model: 'mymodel', arrivalUs: 1_700_000_003_789_100 });
    expect(source.lacking).toEqual({ 'no response, hence no status and no latency': 4 });
  });

  test('keeps a separator within a body, marks what was cut, masks secrets', async () => {
    const body = `a${MONKEYS}2 but no record`;
    const file = gor(
      [
        '1 a1 1700000000000000000 0',
        `POST /p?token=sk-9 HTTP/1.1\r\nCookie: s=1\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      ],
      [
        '2 a1 1700000000010000000 25000000',
        'HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
      ],
      ['1 a2 1700000001000000000', 'POST /q HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc'],
      ['3 a2 1700000001000000001 5', 'HTTP/1.1 200 OK\r\n\r\n'],
      ['2 zz 1700000001000000001 5', 'HTTP/1.1 200 OK\r\n\r\n'],
    );
    const { exchanges, source } = await readImport(openGor(traceFile(file, 'a.gor')));
    expect(exchanges).toHaveLength(2);
    expect(Buffer.from(exchanges[0]?.request?.body.kept ?? []).toString()).toBe(body);
    expect(latin1(exchanges[0]?.request?.head ?? null)).not.toMatch(/sk-9|s=1/);
    expect(exchanges[0]).toMatchObject({ status: 503, firstByteOffsetUs: 10_000, lastByteOffsetUs: 25_000 });
    expect(latin1(exchanges[0]?.response?.body.kept ?? null)).toBe('hi');
    expect(exchanges[1]?.request?.body).toMatchObject({ truncated: true, bytes: 10 });
    expect(source.lacking).toMatchObject({
      'a truncated request body: it cannot be replayed': 1,
      'a response of a replay: left out': 1,
    });
  });

  test.each([
    ['its length', (body: string) => `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`],
    [
      'its chunks',
      (body: string) =>
        `Transfer-Encoding: chunked\r\n\r\n${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n0\r\n\r\n`,
    ],
  ])('keeps a record that a client wrote into its body there, by %s', async (_, framed) => {
    const planted = `{"a":"${MONKEYS}1 b 1700000000000000001\nDELETE /admin HTTP/1.1\r\nHost: h\r\n\r\n`;
    const cut = 'POST /cut HTTP/1.1\r\nContent-Length: 200\r\n\r\nabc';
    const file = gor(
      ['1 a 1700000000000000000', `POST /p HTTP/1.1\r\n${framed(planted)}`],
      ['1 c 1700000000000000002', cut],
      ['1 d 1700000000000000003', POST],
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 200 }), async (chunkBytes) => {
        const found: string[] = [];
        async function* chunks() {
          for (let at = 0; at < file.length; at += chunkBytes) yield file.subarray(at, at + chunkBytes);
        }
        for await (const records of gorRecords(chunks())) found.push(...records.map(({ id }) => id));
        expect(found).toEqual(['a', 'c', 'd']);
      }),
      { numRuns: 20 },
    );
    const { exchanges } = await readImport(openGor(traceFile(file, 'a.gor')));
    expect(exchanges.map(({ route }) => route)).toEqual([
      'POST /p',
      'POST /cut',
      'POST /v1/models/{model}:predict',
    ]);
    expect(Buffer.from(exchanges[0]?.request?.body.kept ?? []).toString()).toBe(planted);
  });

  test('counts what stands behind the end of a message', async () => {
    const file = gor(['1 a 1700000000000000000', `${POST} and more`]);
    const { exchanges, source } = await readImport(openGor(traceFile(file, 'a.gor')));
    expect(latin1(exchanges[0]?.request?.body.kept ?? null)).toBe('{}');
    expect(source.lacking).toMatchObject({ 'bytes after the end of a request: left out': 1 });
  });

  test.each([
    ['one record', ['2 a 1700000000010000000', `${CONTINUE}HTTP/1.1 201 Created\r\n\r\n`] as const, []],
    [
      'records of their own',
      ['2 a 1700000000005000000', CONTINUE] as const,
      [['2 a 1700000000010000000', 'HTTP/1.1 201 Created\r\n\r\n'] as const],
    ],
  ])('takes the answer behind 100 Continue for the answer, in %s', async (_, first, more) => {
    const file = gor(['1 a 1700000000000000000', POST], first, ...more);
    const { exchanges } = await readImport(openGor(traceFile(file, 'a.gor')));
    expect(exchanges).toMatchObject([{ status: 201, firstByteOffsetUs: 10_000 }]);
  });

  test.each([
    ['an empty file', '', /the file is empty/],
    [
      'a file that lacks a separator',
      gor(['1 a 1', `${POST}\n1 b 2\n${POST}`]),
      /record 1: another record begins within it/,
    ],
    [
      'one that lacks a separator behind a head alone',
      gor(['1 a 1', `GET / HTTP/1.1\r\n\r\n1 b 2\n${POST}`]),
      /record 1: another record begins within it/,
    ],
    ['an instant beyond all', gor(['1 a 9999999999999999999', POST]), /record 1: .*past the year 2255/],
    [
      'a latency beyond all',
      gor(['1 a 1', POST], ['2 a 2 9999999999999999999', 'HTTP/1.1 200 OK\r\n\r\n']),
      /record 1: its response, record 2, came more than a year/,
    ],
    ['no such file', 'POST / HTTP/1.1\r\n\r\n', /record 1: .* is not a record line of a GoReplay file/],
    ['a file cut short', gor(['1 a 1', POST], ['1 b 2', POST]).subarray(0, -20), /ends within record 2/],
    [
      'a message that is none',
      gor(['1 a 1', 'hello\r\n\r\n']),
      /record 1: "hello" is not an HTTP.1\.1 request line/,
    ],
    ['a head without an end', gor(['1 a 1', 'GET / HTTP/1.1\r\nA: b']), /record 1: no blank line/],
    ['a gzip cut short', gzipSync(gor(['1 a 1', POST])).subarray(0, -9), /gzip/],
  ])('refuses %s with the place', async (_, content, reason) => {
    await expect(readImport(openGor(traceFile(content, 'a.gor')))).rejects.toThrow(reason);
  });

  test.each([
    ['a byte order mark', Buffer.concat([BOM, gor(['1 a 1', POST])])],
    ['gzip', gzipSync(gor(['1 a 1', POST]))],
  ])('is read under %s', async (_, content) => {
    expect((await readImport(openGor(traceFile(content, 'a.bin')))).exchanges).toHaveLength(1);
  });
});
