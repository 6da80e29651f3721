import { deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { openHar } from '../../src/formats/har.ts';
import { EXPORT_FORMATS } from '../../src/formats/index.ts';
import { jsonItems } from '../../src/formats/input.ts';
import { exportOf, numberedExchanges, sendsOf } from '../support/export-scene.ts';
import { sharedData } from '../support/shared-data.ts';
import { answer, entry, har, sized } from './har-entries.ts';
import { BOM, latin1, readImport, traceFile } from './support.ts';

describe('a HAR', () => {
  test('becomes an exchange with times, masked secrets and framing of its own', async () => {
    const { exchanges } = await readImport(openHar(traceFile(har(entry()), 'a.har')));
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
    const { exchanges, source } = await readImport(
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
    expect(exchanges[1]).toMatchObject({ status: null, outcome: null, lastByteOffsetUs: null });
    expect(source.lacking).toEqual({
      'a request body missing from the file': 1,
      'a binary request body that the file stores as text': 1,
      'no status: nothing answered, or the file does not say what': 1,
      'no HTTP exchange (data:, blob:, ws: …): left out': 1,
      'a request body rebuilt from its parameters': 1,
      'no latency': 1,
    });
  });

  test('comes back from an export as it was: targets, bodies, statuses and times', async () => {
    const exchanges = numberedExchanges(30);
    const { path } = exportOf(EXPORT_FORMATS.find(({ name }) => name === 'har')!, sendsOf(exchanges));
    const again = (await readImport(openHar(path))).exchanges;
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
    ['an instant beyond all', har(entry({ startedDateTime: '9999-01-01' })), /entry 1: .*past the year 2255/],
    ['a time that no exchange takes', har(entry({ time: 1e300 })), /entry 1: time 1e\+300 is too long/],
    [
      'a part of a byte',
      har(entry({ request: sized(10.5) })),
      /entry 1: bodySize 10.5 is not a valid body size/,
    ],
    [
      'a size beyond all',
      har(entry({ response: answer({ size: 1e300 }) })),
      /entry 1: size 1e\+300 is not a valid body size/,
    ],
  ])('with %s is refused where it is read', async (_, content, reason) => {
    await expect(readImport(openHar(traceFile(content, 'a.har')))).rejects.toThrow(reason);
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
    ['brackets that do not match', '{"log": {"entries": [}]}', /ends within entry 1/],
    ['UTF-16', Buffer.from(`\ufeff${har(entry())}`, 'utf16le'), /UTF-16/],
    ['a gzip cut short', gzipSync(har(entry())).subarray(0, -9), /gzip/],
    ['a zhar cut short', deflateSync(har(entry())).subarray(0, -9), /zlib/],
  ])('refuses %s with the place', async (_, content, reason) => {
    await expect(readImport(openHar(traceFile(content, 'a.har')))).rejects.toThrow(reason);
  });

  test.each([
    ['a byte order mark', Buffer.concat([BOM, Buffer.from(har(entry()))])],
    ['gzip', gzipSync(har(entry()))],
    ['zlib, as a .zhar of mitmproxy is', deflateSync(har(entry()), { level: 9 })],
    ['a mark within gzip', gzipSync(Buffer.concat([BOM, Buffer.from(har(entry()))]))],
  ])('is read under %s', async (_, content) => {
    expect((await readImport(openHar(traceFile(content, 'a.bin')))).exchanges).toHaveLength(1);
  });

  test('of others is read: Chrome, Firefox, Insomnia, mitmproxy', async (context) => {
    const folder = sharedData('mitmproxy-har');
    if (folder === null) return context.skip('data/mitmproxy-har is not here');
    const counts: number[] = [];
    for (const file of ['chrome.har.gz', 'firefox.har.gz', 'insomnia.har', 'postdata.har']) {
      counts.push((await readImport(openHar(`${folder}/har_files/${file}`))).exchanges.length);
    }
    expect(counts).toEqual([3, 14, 1, 1]);
    const { exchanges } = await readImport(openHar(`${folder}/flows/successful_log.har`));
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
