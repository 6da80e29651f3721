import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { Redaction } from '../../src/core/redaction.ts';
import { openGor } from '../../src/formats/gor.ts';
import { openHar } from '../../src/formats/har.ts';
import type { ImportSource, OpenImport } from '../../src/formats/import-source.ts';
import { EXPORT_FORMATS } from '../../src/formats/index.ts';
import { jsonItems } from '../../src/formats/json-items.ts';
import { openMooncake } from '../../src/formats/mooncake.ts';
import { parseMooncakeReading } from '../../src/formats/mooncake-options.ts';
import { exportOf, numberedExchanges, sendsOf } from '../support/export-scene.ts';
import { sharedData } from '../support/shared-data.ts';
import { hash, latin1, never, traceFile } from './support.ts';

const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
const MONKEYS = '\n\u{1f435}\u{1f648}\u{1f649}\n';

async function read(open: OpenImport): Promise<{ exchanges: Exchange[]; source: ImportSource }> {
  const source = await open({ hash, redaction: new Redaction(), bodies: 'all' }, never);
  const exchanges: Exchange[] = [];
  for await (const batch of source.batches(never)) exchanges.push(...batch);
  return { exchanges, source };
}

interface Entry {
  startedDateTime?: string;
  time?: number;
  request?: object;
  response?: object;
  timings?: object;
}

function har(...entries: readonly Entry[]): string {
  return JSON.stringify({
    log: { version: '1.2', creator: { entries: [1] }, entries },
    more: { entries: [{}] },
  });
}

function entry(parts: Entry = {}): Entry {
  return {
    startedDateTime: '2026-11-24T15:00:00.250+01:00',
    time: 30,
    request: {
      method: 'POST',
      url: 'https://user:secret@api.example/v1/chat/completions?api_key=sk-12345&n=1#top',
      headers: [
        { name: ':authority', value: 'api.example' },
        { name: 'Authorization', value: 'Bearer sk-secret' },
        { name: 'Content-Length', value: '99' },
      ],
      bodySize: 13,
      postData: { mimeType: 'application/json', text: '{"model":"m"}' },
    },
    response: {
      status: 200,
      statusText: 'OK',
      headers: [
        { name: 'Set-Cookie', value: 'sid=secret' },
        { name: 'content-encoding', value: 'br' },
        { name: 'Content-Type', value: 'application/json' },
      ],
      content: { size: 4, text: 'aGkh', encoding: 'base64' },
    },
    timings: { blocked: -1, dns: 2, send: 1, wait: 20, receive: 7 },
    ...parts,
  };
}

function gor(...records: readonly (readonly [head: string, message: string | Buffer])[]): Buffer {
  return Buffer.concat(
    records.flatMap(([head, message]) => [
      Buffer.from(`${head}\n`),
      Buffer.from(message),
      Buffer.from(MONKEYS),
    ]),
  );
}

const POST = 'POST /v1/models/m:predict HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}';

describe('a HAR', () => {
  test('becomes an exchange with times, masked secrets and framing of its own', async () => {
    const { exchanges } = await read(openHar(traceFile(har(entry()), 'a.har')));
    const [exchange] = exchanges;
    expect(exchange).toMatchObject({
      arrivalUs: Date.UTC(2026, 10, 24, 14, 0, 0, 250) * 1000,
      route: 'POST /v1/chat/completions',
      model: 'm',
      status: 200,
      requestEndOffsetUs: 3_000,
      firstByteOffsetUs: 23_000,
      lastByteOffsetUs: 30_000,
    });
    const head = latin1(exchange?.request?.head ?? null);
    expect(head).toMatch(
      /^POST \/v1\/chat\/completions\?api_key=\*+&n=1 HTTP\/1\.1\r\nHost: api\.example\r\n/,
    );
    expect(head).toMatch(/Content-Length: 13\r\n\r\n$/);
    const answer = latin1(exchange?.response?.head ?? null);
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).not.toMatch(/content-encoding/i);
    expect(head + answer).not.toMatch(/secret|sk-1|authority/);
    expect(latin1(exchange?.response?.body.kept ?? null)).toBe('hi!');
  });

  test('says what it lacks, and nothing is made up for it', async () => {
    const bare = { method: 'POST', url: 'http://h/x', headers: [], bodySize: 7 };
    const { exchanges, source } = await read(
      openHar(
        traceFile(
          har(
            entry({ request: bare }),
            entry({ request: { ...bare, postData: { text: 'a\ufffdb' } }, response: { status: 0 } }),
            entry({ request: { ...bare, url: 'data:text/plain,hi' } }),
            entry({
              time: -1,
              request: {
                ...bare,
                postData: {
                  mimeType: 'application/x-www-form-urlencoded',
                  params: [{ name: 'a', value: 'b c' }],
                },
              },
            }),
          ),
          'a.har',
        ),
      ),
    );
    expect(exchanges.map(({ request }) => request?.body.kept && latin1(request.body.kept))).toEqual([
      null,
      null,
      'a=b+c',
    ]);
    expect(exchanges.map(({ request }) => request?.body.bytes)).toEqual([7, 7, 5]);
    expect(exchanges[1]).toMatchObject({ status: null, outcome: 'upstream_failed', lastByteOffsetUs: null });
    expect(source.lacking).toEqual({
      'a request body that the file does not hold': 1,
      'a request body that the file has as text, which it was not': 1,
      'no status: nothing answered, or the file does not say what': 1,
      'no HTTP exchange (data:, blob:, ws: …): left out': 1,
      'a request body that was put together from its parameters': 1,
      'no latency': 1,
    });
  });

  test('comes back from an export as it was: targets, bodies, statuses and times', async () => {
    const exchanges = numberedExchanges(30);
    const { path } = exportOf(EXPORT_FORMATS.find(({ name }) => name === 'har')!, sendsOf(exchanges));
    const again = (await read(openHar(path))).exchanges;
    const facts = (each: readonly Exchange[]) =>
      each.map(({ arrivalUs, status, lastByteOffsetUs, route, request, response }) => ({
        arrivalUs,
        status,
        lastByteOffsetUs,
        route,
        line: latin1(request?.head ?? null).split('\r\n')[0],
        body: latin1(request?.body.kept ?? null),
        answer: latin1(response?.body.kept ?? null),
      }));
    const without = (text: string) => text.replace('http://127.0.0.1:1', '');
    expect(facts(again).map((each) => ({ ...each, line: without(each.line ?? '') }))).toEqual(
      facts(exchanges),
    );
  });

  test.each([
    ['an empty file', '', /the file is empty/],
    ['no JSON', 'nonsense', /not JSON/],
    ['a HAR cut short', har(entry(), entry()).slice(0, 900), /ends within entry|ends too early/],
    ['one cut after an entry', har(entry()).slice(0, -60), /ends (?:too early|within)/],
    ['another JSON', '{"entries": []}', /no array "log.entries"/],
    ['no entries', har(), /holds no exchange/],
    ['an entry without a time', har(entry({ startedDateTime: 'soon' })), /entry 1: startedDateTime "soon"/],
    ['an entry without a request', har(entry(), { time: 1 }), /entry 2: no request/],
    ['a method that is none', har(entry({ request: { method: 'A B', url: 'http://h/' } })), /entry 1: "A B"/],
    ['brackets that do not match', '{"log": {"entries": []]}', /brackets/],
    ['UTF-16', Buffer.from(`\ufeff${har(entry())}`, 'utf16le'), /UTF-16/],
    ['a gzip cut short', gzipSync(har(entry())).subarray(0, -9), /gzip/],
  ])('refuses %s with the place', async (_, content, reason) => {
    await expect(read(openHar(traceFile(content, 'a.har')))).rejects.toThrow(reason);
  });

  test.each([
    ['a byte order mark', Buffer.concat([BOM, Buffer.from(har(entry()))])],
    ['gzip', gzipSync(har(entry()))],
    ['a mark within gzip', gzipSync(Buffer.concat([BOM, Buffer.from(har(entry()))]))],
  ])('is read under %s', async (_, content) => {
    expect((await read(openHar(traceFile(content, 'a.bin')))).exchanges).toHaveLength(1);
  });

  test('of others is read: Chrome, Firefox, Insomnia, mitmproxy', async (context) => {
    const folder = sharedData('mitmproxy-har');
    if (folder === null) return context.skip('data/mitmproxy-har is not here');
    const counts: number[] = [];
    for (const file of ['chrome.har.gz', 'firefox.har.gz', 'insomnia.har', 'postdata.har']) {
      counts.push((await read(openHar(`${folder}/har_files/${file}`))).exchanges.length);
    }
    expect(counts).toEqual([3, 14, 1, 1]);
    const { exchanges } = await read(openHar(`${folder}/flows/successful_log.har`));
    expect(exchanges.map(({ status }) => status)).toEqual([200, 200]);
    expect(exchanges[1]?.request?.body.bytes).toBe(23);
  });
});

test('items of a JSON are found however it is cut into chunks', async () => {
  const text = har(entry(), entry({ startedDateTime: 'x"\\\\{[' }));
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 40 }), async (bytes) => {
      async function* chunks() {
        for (let at = 0; at < text.length; at += bytes) yield Buffer.from(text.slice(at, at + bytes));
      }
      const items: unknown[] = [];
      for await (const batch of jsonItems(chunks(), ['log', 'entries'])) {
        items.push(...batch.map((item) => JSON.parse(item.bytes.toString()) as unknown));
      }
      expect(items).toEqual((JSON.parse(text) as { log: { entries: unknown[] } }).log.entries);
    }),
    { numRuns: 15 },
  );
});

describe('a GoReplay file', () => {
  test('gives requests with the responses of their ids', async (context) => {
    const path = sharedData('made-here-gor/sample.gor');
    if (path === null) return context.skip('data/made-here-gor is not here');
    const { exchanges, source } = await read(openGor(path));
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
    const { exchanges, source } = await read(openGor(traceFile(file, 'a.gor')));
    expect(exchanges).toHaveLength(2);
    expect(Buffer.from(exchanges[0]?.request?.body.kept ?? []).toString()).toBe(body);
    expect(latin1(exchanges[0]?.request?.head ?? null)).not.toMatch(/sk-9|s=1/);
    expect(exchanges[0]).toMatchObject({ status: 503, firstByteOffsetUs: 10_000, lastByteOffsetUs: 25_000 });
    expect(latin1(exchanges[0]?.response?.body.kept ?? null)).toBe('hi');
    expect(exchanges[1]?.request?.body).toMatchObject({ truncated: true, bytes: 10 });
    expect(source.lacking).toMatchObject({
      'a request body that is cut: not to be replayed': 1,
      'a response of a replay: left out': 1,
    });
  });

  test.each([
    ['an empty file', '', /the file is empty/],
    ['no such file', 'POST / HTTP/1.1\r\n\r\n', /record 1: .* is no line of a GoReplay file/],
    ['a file cut short', gor(['1 a 1', POST], ['1 b 2', POST]).subarray(0, -20), /ends within record 2/],
    ['a message that is none', gor(['1 a 1', 'hello\r\n\r\n']), /record 1: "hello" is no request line/],
    ['a head without an end', gor(['1 a 1', 'GET / HTTP/1.1\r\nA: b']), /record 1: no blank line/],
    ['a gzip cut short', gzipSync(gor(['1 a 1', POST])).subarray(0, -9), /gzip/],
  ])('refuses %s with the place', async (_, content, reason) => {
    await expect(read(openGor(traceFile(content, 'a.gor')))).rejects.toThrow(reason);
  });

  test.each([
    ['a byte order mark', Buffer.concat([BOM, gor(['1 a 1', POST])])],
    ['gzip', gzipSync(gor(['1 a 1', POST]))],
  ])('is read under %s', async (_, content) => {
    expect((await read(openGor(traceFile(content, 'a.bin')))).exchanges).toHaveLength(1);
  });
});

describe('a Mooncake trace', () => {
  const reading = (raw = {}) => parseMooncakeReading({ path: '/v1/chat/completions', ...raw });

  test('with payloads becomes requests, byte for byte', async () => {
    const payload = '{"model": "m", "n": 12345678901234567890, "x": 1.10}';
    const lines = `{"timestamp": 0.5, "payload": ${payload}, "session_id": "s"}\n{"payload": ${payload}}\n`;
    const { exchanges, source } = await read(
      openMooncake(traceFile(lines, 'a.jsonl'), reading({ gap: '100ms' })),
    );
    expect(exchanges.map(({ arrivalUs }) => arrivalUs)).toEqual([500, 100_500]);
    expect(latin1(exchanges[0]?.request?.body.kept ?? null)).toBe(payload);
    expect(exchanges[0]).toMatchObject({ model: 'm', route: 'POST /v1/chat/completions' });
    expect(exchanges[0]?.session).not.toBeNull();
    expect(source.requests).toBe(true);
    expect(source.lacking).toEqual({ 'no time: 100 ms after the row before': 1 });
  });

  test('of lengths becomes arrivals with tokens', async (context) => {
    const path = sharedData('mooncake-synthetic/synthetic_trace.jsonl.gz');
    if (path === null) return context.skip('data/mooncake-synthetic is not here');
    const { exchanges, source } = await read(openMooncake(path, reading({ origin: '2026-01-01' })));
    expect(exchanges).toHaveLength(3_993);
    expect(exchanges[0]).toMatchObject({ promptTokens: 40_160, outputTokens: 6, request: null });
    expect(source.requests).toBe(false);
    expect(source.missing).toContain('requests');
  });

  test('of messages becomes a body made of them, which is counted', async () => {
    const row = '{"timestamp": 1, "messages": [{"role": "user", "content": "hi"}], "output_length": 3}';
    const { exchanges, source } = await read(openMooncake(traceFile(row, 'a.jsonl'), reading()));
    expect(JSON.parse(latin1(exchanges[0]?.request?.body.kept ?? null))).toEqual({
      messages: [{ role: 'user', content: 'hi' }],
      max_tokens: 3,
    });
    expect(Object.values(source.lacking)).toEqual([1]);
  });

  test.each([
    ['an empty file', '', /the file is empty/],
    ['blank lines alone', '\n\n', /holds no row/],
    ['no JSON', '{"timestamp": 1', /line 1: not JSON/],
    ['a row without a request', '{"timestamp": 1}', /no request/],
    ['a row with two', '{"payload": {}, "text_input": "x"}', /both payload and text_input/],
    [
      'rows of two kinds',
      '{"timestamp": 1, "input_length": 1}\n{"timestamp": 1, "payload": {"a": 1}}',
      /line 2: rows with a request/,
    ],
    ['a row without a time', '{"payload": {"a": 1}}', /line 1: no timestamp/],
    ['a time below zero', '{"timestamp": -1, "input_length": 1}', /line 1: .*below zero/],
    ['a file cut in a line', '{"timestamp": 1, "input_length": 1}\n{"timesta', /line 2: not JSON/],
    ['a gzip cut short', gzipSync('{"timestamp": 1, "input_length": 1}').subarray(0, -5), /gzip/],
  ])('refuses %s with the line', async (_, content, reason) => {
    await expect(read(openMooncake(traceFile(content, 'a.jsonl'), reading()))).rejects.toThrow(reason);
  });

  test('wants a path for payloads, and is read under a mark and gzip', async () => {
    const row = '{"timestamp": 1, "payload": {"a": 1}}';
    await expect(read(openMooncake(traceFile(row, 'a.jsonl'), parseMooncakeReading({})))).rejects.toThrow(
      /no path/,
    );
    for (const content of [Buffer.concat([BOM, Buffer.from(row)]), gzipSync(row)]) {
      expect((await read(openMooncake(traceFile(content, 'a.bin'), reading()))).exchanges).toHaveLength(1);
    }
  });
});
