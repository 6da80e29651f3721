import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { openHar } from '../../src/formats/har.ts';
import { EXPORT_FORMATS } from '../../src/formats/index.ts';
import { exchangeOf, requestMessage, responseMessage } from '../support/exchanges.ts';
import { exportOf, sendsOf } from '../support/export-scene.ts';
import { answer, type Entry, entry, har, sized } from './har-entries.ts';
import { latin1, readImport, traceFile } from './support.ts';

const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));

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
    expect(cut.lacking).toEqual(['a truncated response body']);
    for (const content of [{}, { size: -1 }]) {
      const unknown = await readOne({ response: answer(content) });
      expect(unknown.exchange.response?.body).toMatchObject({ kept: null, truncated: true, hash: null });
      expect(latin1(unknown.exchange.response?.head ?? null)).not.toMatch(/content-length/i);
      expect(unknown.lacking).toContain('a response body missing from the file');
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
    expect(source.lacking).toEqual({ 'a truncated response body': 1 });
  });
});

describe('an exchange of a HAR', () => {
  test('without a status failed only where the archive says so', async () => {
    const none = { status: 0, content: { size: 0 } };
    const outcomeOf = async (parts: Entry) => (await readOne(parts)).exchange.outcome;
    expect(await outcomeOf({ response: none })).toBeNull();
    expect(await outcomeOf({ response: { ...none, _error: null } as object })).toBeNull();
    expect(await outcomeOf({ response: { ...none, _error: 'net::ERR_FAILED' } })).toBe('upstream_failed');
    expect(await outcomeOf({ response: { ...none, _failureText: 'refused' } })).toBe('upstream_failed');
  });

  test('comes back from an export with its outcome, known or not', async () => {
    const request = requestMessage({ body: '{}' });
    const given = [
      exchangeOf({ request, response: null, status: null, outcome: null }),
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
    expect(source.lacking).toEqual({ 'an entry that is not an object: left out': 4 });
    const broken = traceFile(text.replace('2026-11-24T15', 'x'), 'a.har');
    await expect(readImport(openHar(broken))).rejects.toThrow(/entry 5: startedDateTime/);
  });
});

/** What an export and an import make of exchanges. */
function exportedAndRead(exchanges: readonly Exchange[]): ReturnType<typeof readImport> {
  const { path } = exportOf(EXPORT_FORMATS.find(({ name }) => name === 'har')!, sendsOf(exchanges));
  return readImport(openHar(path));
}
