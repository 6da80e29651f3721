import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { openHar } from '../../src/formats/har.ts';
import { EXPORT_FORMATS } from '../../src/formats/index.ts';
import { jsonItems } from '../../src/formats/json-items.ts';
import { exchangeOf, requestMessage, responseMessage } from '../support/exchanges.ts';
import { exportOf, numberedExchanges, sendsOf } from '../support/export-scene.ts';
import { sharedData } from '../support/shared-data.ts';
import { BOM, latin1, readImport, traceFile } from './support.ts';

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
      content: { size: 3, text: 'aGkh', encoding: 'base64' },
    },
    timings: { blocked: -1, dns: 2, send: 1, wait: 20, receive: 7 },
    ...parts,
  };
}

const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));

function sized(bodySize: number, postData?: object): object {
  return { method: 'POST', url: 'http://h/x', headers: [], bodySize, ...(postData && { postData }) };
}

function answer(content: object): object {
  return { status: 200, headers: [], content };
}

/** What is read of one entry, and what it lacked. */
async function readOne(parts: Entry): Promise<{ exchange: Exchange; lacking: string[] }> {
  const { exchanges, source } = await readImport(openHar(traceFile(har(entry(parts)), 'a.har')));
  return { exchange: exchanges[0]!, lacking: Object.keys(source.lacking) };
}

describe('a body of a HAR', () => {
  test.each(['encoding', '_encoding'])('is unpacked where %s says base64', async (key) => {
    const post = { text: bytes.toString('base64'), [key]: 'base64' };
    const { exchange, lacking } = await readOne({ request: sized(256, post) });
    expect(exchange.request?.body.kept).toEqual(bytes);
    expect(lacking).toEqual([]);
  });

  test('is not kept where its base64 is damaged: a shorter one is not what was sent', async () => {
    const text = `QUJD***${bytes.toString('base64').slice(0, -90)}`;
    const sent = await readOne({ request: sized(256, { text, encoding: 'base64' }) });
    expect(sent.exchange.request?.body).toMatchObject({ bytes: 256, kept: null, hash: null });
    expect(sent.lacking).toEqual(['a request body whose base64 is damaged']);
    const received = await readOne({ response: answer({ size: 256, text, encoding: 'base64' }) });
    expect(received.exchange.response?.body).toMatchObject({ bytes: 256, kept: null, hash: null });
    expect(received.lacking).toEqual(['a response body whose base64 is damaged']);
  });

  test('is not kept where it has another size than was sent', async () => {
    const { exchange, lacking } = await readOne({ request: sized(300, { text: 'short' }) });
    expect(exchange.request?.body).toMatchObject({ bytes: 300, kept: null });
    expect(lacking).toEqual(['a request body of another size than the file states']);
  });

  test('of a response that was cut is cut, and one of which nothing is said is not an empty one', async () => {
    const cut = await readOne({ response: answer({ size: 1_000, text: 'short' }) });
    expect(cut.exchange.response?.body).toMatchObject({ bytes: 1_000, truncated: true, hash: null });
    expect(cut.lacking).toEqual(['a response body that is cut']);
    for (const content of [{}, { size: -1 }]) {
      const unknown = await readOne({ response: answer(content) });
      expect(unknown.exchange.response?.body).toMatchObject({ kept: null, truncated: true, hash: null });
      expect(latin1(unknown.exchange.response?.head ?? null)).not.toMatch(/content-length/i);
      expect(unknown.lacking).toContain('a response body that the file does not hold');
    }
    const empty = await readOne({ response: answer({ size: 0 }) });
    expect(empty.exchange.response?.body).toMatchObject({ bytes: 0, truncated: false });
    expect(empty.lacking).toEqual([]);
  });

  test('comes back from an export as it was, cut or whole, with the mark of what is no text, under a coding', async () => {
    const cut = responseMessage(200, 'first half');
    const coded = [['Content-Encoding', 'br']] as const;
    const given = [
      exchangeOf({ request: requestMessage({ body: '{"a":"\ufffd"}' }) }),
      exchangeOf({ request: requestMessage({ body: 'text, says nobody', headers: coded }) }),
      exchangeOf({ response: { ...cut, body: { ...cut.body, truncated: true } } }),
    ];
    const { exchanges, source } = await exportedAndRead(given);
    expect(exchanges.map(({ request }) => latin1(request?.body.kept ?? null))).toEqual(
      given.map(({ request }) => latin1(request?.body.kept ?? null)),
    );
    expect(exchanges.map(({ response }) => response?.body.truncated)).toEqual([false, false, true]);
    expect(source.lacking).toEqual({ 'a response body that is cut': 1 });
  });
});

describe('an exchange of a HAR', () => {
  test('without a status failed only where the archive says so', async () => {
    const none = { status: 0, content: { size: 0 } };
    const outcomeOf = async (parts: Entry) => (await readOne(parts)).exchange.outcome;
    expect(await outcomeOf({ response: none })).toBe('completed');
    expect(await outcomeOf({ response: { ...none, _error: null } as object })).toBe('completed');
    expect(await outcomeOf({ response: { ...none, _error: 'net::ERR_FAILED' } })).toBe('upstream_failed');
    expect(await outcomeOf({ response: { ...none, _failureText: 'refused' } })).toBe('upstream_failed');
  });

  test('comes back from an export with its outcome, known or not', async () => {
    const request = requestMessage({ body: '{}' });
    const given = [
      exchangeOf({ request, response: null, status: null }),
      exchangeOf({ request, response: null, status: null, outcome: 'timed_out' }),
      exchangeOf({ request, outcome: 'client_aborted' }),
    ];
    const { exchanges } = await exportedAndRead(given);
    expect(exchanges.map(({ outcome, status }) => [outcome, status])).toEqual(
      given.map(({ outcome, status }) => [outcome, status]),
    );
  });

  test('that is no object is counted, and the others keep their numbers', async () => {
    const text = har(entry()).replace('"entries":[{"started', '"entries":[null,"x",[{"a":1},2],7,{"started');
    const { exchanges, source } = await readImport(openHar(traceFile(text, 'a.har')));
    expect(exchanges).toHaveLength(1);
    expect(source.lacking).toEqual({ 'an entry that is no object: left out': 4 });
    const broken = traceFile(text.replace('2026-11-24T15', 'x'), 'a.har');
    await expect(readImport(openHar(broken))).rejects.toThrow(/entry 5: startedDateTime/);
  });
});

/** What an export and an import make of exchanges. */
function exportedAndRead(exchanges: readonly Exchange[]): ReturnType<typeof readImport> {
  const { path } = exportOf(EXPORT_FORMATS.find(({ name }) => name === 'har')!, sendsOf(exchanges));
  return readImport(openHar(path));
}

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
    expect(exchanges[1]).toMatchObject({ status: null, outcome: 'completed', lastByteOffsetUs: null });
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
    ['a time that no exchange takes', har(entry({ time: 1e300 })), /entry 1: time 1e\+300 is more milli/],
    ['a part of a byte', har(entry({ request: sized(10.5) })), /entry 1: bodySize 10.5 is no size/],
    [
      'a size beyond all',
      har(entry({ response: answer({ size: 1e300 }) })),
      /entry 1: size 1e\+300 is no size/,
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
    ['brackets that do not match', '{"log": {"entries": []]}', /brackets/],
    ['UTF-16', Buffer.from(`\ufeff${har(entry())}`, 'utf16le'), /UTF-16/],
    ['a gzip cut short', gzipSync(har(entry())).subarray(0, -9), /gzip/],
  ])('refuses %s with the place', async (_, content, reason) => {
    await expect(readImport(openHar(traceFile(content, 'a.har')))).rejects.toThrow(reason);
  });

  test.each([
    ['a byte order mark', Buffer.concat([BOM, Buffer.from(har(entry()))])],
    ['gzip', gzipSync(har(entry()))],
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
