import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from 'vitest';
import { MOCK_OPTIONS, resolveMockOptions, startMock } from '../../../src/app/mock/mock.ts';
import type { Exchange } from '../../../src/core/exchange.ts';
import { byProgram, type StatedOptions } from '../../../src/core/options.ts';
import { captureOf } from '../../support/captures.ts';
import { CERTIFICATE_KEY_PEM, CERTIFICATE_NAME, CERTIFICATE_PEM } from '../../support/certificate.ts';
import {
  exchangeOf,
  partOfBody,
  requestMessage,
  responseMessage,
  TEST_EPOCH_US,
  wholeBody,
} from '../../support/exchanges.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };
const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0)) await end();
});

async function mock(exchanges: readonly Exchange[], stated: StatedOptions<typeof MOCK_OPTIONS> = {}) {
  const directory = captureOf(
    exchanges.map((each, index) => ({ ...each, arrivalUs: TEST_EPOCH_US + index })),
  );
  const asked = byProgram(MOCK_OPTIONS, { listen: '127.0.0.1:0', speed: 'inf', ...stated });
  const running = await startMock(directory, resolveMockOptions(asked), SILENT);
  endings.push(() => running.stop());
  const base = `http://${running.address}`;
  const post = async (body: string, path = '/v2/models/resnet/infer') => {
    const answer = await fetch(`${base}${path}`, { method: 'POST', body });
    return { status: answer.status, how: answer.headers.get('x-reprise-mock'), text: await answer.text() };
  };
  return { ...running, base, post };
}

function answered(request: string, answer: string, parts: Partial<Exchange> = {}): Exchange {
  return exchangeOf({
    request: requestMessage({ body: request }),
    response: responseMessage(200, answer),
    ...parts,
  });
}

describe('a mock', () => {
  test('answers an equal request with its recorded answers in turn, and again from the first', async () => {
    const { post, stop } = await mock([answered('a', 'one'), answered('a', 'two'), answered('b', 'other')]);
    const texts = [await post('a'), await post('a'), await post('a'), await post('b')].map(
      ({ text }) => text,
    );
    expect(texts).toEqual(['one', 'two', 'one', 'other']);
    expect(await stop()).toMatchObject({ requests: 4, exact: 4, nearest: 0, unknown: 0, answers: 3 });
  });

  test('sends the recorded head, with its framing, and says which exchange it is from', async () => {
    const head =
      'HTTP/1.1 203 Odd\r\nX-One: 1\r\nx-one: 2\r\nTransfer-Encoding: chunked\r\nDate: then\r\n\r\n';
    const response = { ...responseMessage(), head: Buffer.from(head), body: wholeBody('chunks') };
    const { base } = await mock([exchangeOf({ status: 203, response })]);
    const { port } = new URL(base);
    const socket = connect(Number(port), '127.0.0.1');
    const body = '{"inputs":[]}';
    const lines = ['POST /v2/models/resnet/infer HTTP/1.1', 'Host: x', `Content-Length: ${body.length}`];
    socket.end(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n${body}`);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    await once(socket, 'close');
    expect(text).toMatch(
      /^HTTP\/1\.1 203 Odd\r\nX-One: 1\r\nx-one: 2\r\nDate: then\r\nx-reprise-mock: exact\r\n/,
    );
    expect(text).toMatch(/x-reprise-exchange: \S+\.sqlite:1\r\n/);
    expect(text).toMatch(/Transfer-Encoding: chunked\r\n\r\n6\r\nchunks\r\n0\r\n\r\n$/);
  });

  test('takes the nearest by route, then by model, then by size, of successes alone', async () => {
    const sized = (bytes: number, answer: string, model: string, status = 200) =>
      exchangeOf({
        model,
        status,
        request: requestMessage({ body: 'x'.repeat(bytes), target: `/v2/models/${model}/infer` }),
        response: responseMessage(status, answer),
      });
    const { post, stop } = await mock([
      sized(10, 'a10', 'a'),
      sized(100, 'a100', 'a'),
      sized(100, 'a100 again', 'a'),
      sized(40, 'a error', 'a', 500),
      sized(41, 'b41', 'b'),
    ]);
    const asked = (bytes: number, model: string) => post('y'.repeat(bytes), `/v2/models/${model}/infer`);
    expect(await asked(41, 'a')).toEqual({ status: 200, how: 'nearest', text: 'a10' });
    // Equal sizes take turns.
    const texts = [(await asked(70, 'a')).text, (await asked(5_000, 'a')).text];
    expect(texts.sort()).toEqual(['a100', 'a100 again']);
    expect((await asked(10, 'b')).text).toBe('b41');
    expect((await asked(42, 'unheard')).text).toBe('b41');
    expect(await post('y', '/other')).toMatchObject({ status: 404, how: 'unknown' });
    expect(await stop()).toMatchObject({ exact: 0, nearest: 5, unknown: 1 });
  });

  test('gives a client that asks for a stream a stream, or 404', async () => {
    const chat = (body: string, streamed: boolean, answer: string) =>
      exchangeOf({
        route: 'POST /v1/chat/completions',
        model: 'm',
        streamed,
        request: requestMessage({ body, target: '/v1/chat/completions' }),
        response: responseMessage(200, answer),
      });
    const plain = chat('{"model":"m","messages":[]}', false, 'document');
    const ask = '{"model":"m","messages":["long enough"],"stream":true}';
    const without = await mock([plain]);
    expect((await without.post(ask, '/v1/chat/completions')).status).toBe(404);
    const stream = chat('{"model":"m","messages":[],"stream":true}', true, 'events');
    const both = await mock([plain, stream]);
    expect((await both.post(ask, '/v1/chat/completions')).text).toBe('events');
    const other = '{"model":"m","messages":["long enough"],"stream":false}';
    expect((await both.post(other, '/v1/chat/completions')).text).toBe('document');
  });

  test('answers 404 where only equal requests are wanted', async () => {
    const { post, stop } = await mock([answered('a', 'one')], { unknown: '404' });
    expect((await post('b')).status).toBe(404);
    expect((await post('a')).text).toBe('one');
    expect(await stop()).toMatchObject({ exact: 1, nearest: 0, unknown: 1 });
  });

  test('never invents the rest of an answer, and counts why exchanges cannot be answers', async () => {
    const cut = { ...responseMessage(), body: partOfBody(Buffer.alloc(100, 'x'), 10) };
    const unstored = { ...responseMessage(), body: partOfBody(Buffer.alloc(100, 'x'), null) };
    const dropped = { ...responseMessage(), redacted: ['!too_large'] };
    const { post, leftOut, answers } = await mock(
      [
        answered('whole', 'whole'),
        exchangeOf({ request: requestMessage({ body: 'cut' }), response: cut }),
        exchangeOf({ request: requestMessage({ body: 'unstored' }), response: unstored }),
        exchangeOf({ request: requestMessage({ body: 'dropped' }), response: dropped }),
        answered('left', 'le', { outcome: 'client_aborted' }),
        answered('late', 'la', { outcome: 'timed_out' }),
        exchangeOf({ outcome: 'upstream_failed', status: null, response: null }),
      ],
      { unknown: '404' },
    );
    expect(answers).toBe(1);
    expect(leftOut).toEqual({
      client_left: 2,
      no_answer: 1,
      body_not_stored: 1,
      body_cut: 1,
      body_dropped: 1,
      over_limit: 0,
    });
    for (const body of ['cut', 'unstored', 'dropped', 'left', 'late'])
      expect((await post(body)).status).toBe(404);
  });

  test('breaks off where the recorded server did', async () => {
    const head = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n');
    const body = { ...wholeBody('half'), truncated: true };
    const broken = { ...responseMessage(), head, body };
    const { base, stop } = await mock([exchangeOf({ outcome: 'upstream_failed', response: broken })]);
    const answer = await fetch(`${base}/v2/models/resnet/infer`, { method: 'POST', body: '{"inputs":[]}' });
    expect(answer.status).toBe(200);
    await expect(answer.text()).rejects.toThrow();
    expect(await stop()).toMatchObject({ exact: 1, broken: 1, clientsLeft: 0 });
  });

  describe('answers 502 and goes on, or leaves the trailers out, where Node refuses the recorded head:', () => {
    const BODY = '{"inputs":[]}';
    async function answerTo(head: string, version: '1.0' | '1.1' = '1.1') {
      const trailers = head.includes('Trailer') ? Buffer.from('X-End: 1\r\n') : null;
      const response = { ...responseMessage(), head: Buffer.from(head, 'latin1'), trailers };
      const { base, stop } = await mock([exchangeOf({ response })]);
      const socket = connect(Number(new URL(base).port), '127.0.0.1');
      const lines = [`POST /v2/models/resnet/infer HTTP/${version}`, 'Host: x', 'Connection: close'];
      socket.write(`${lines.join('\r\n')}\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`);
      const received = await text(socket);
      return { received, counts: await stop() };
    }
    const sound = { exact: 1, unreadable: 0 };
    const refused = { exact: 0, nearest: 0, estimatedCuts: 0, unreadable: 1, clientsLeft: 0 };

    test('trailers of a body with a length', async () => {
      const head = 'HTTP/1.1 200 OK\r\nTrailer: X-End\r\nContent-Length: 14\r\n\r\n';
      const { received, counts } = await answerTo(head);
      expect(received).toMatch(
        /^HTTP\/1\.1 200 OK\r\nContent-Length: 14\r\n[\s\S]*\r\n\r\n\{"outputs":\[\]\}$/,
      );
      expect(counts).toMatchObject(sound);
    });

    test('trailers to a client of HTTP/1.0', async () => {
      const head = 'HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n';
      const { received, counts } = await answerTo(head, '1.0');
      expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\nx-reprise-[\s\S]*\r\n\r\n\{"outputs":\[\]\}$/);
      expect(counts).toMatchObject(sound);
      expect((await answerTo(head)).received).toMatch(/Trailer: X-End\r\n[\s\S]*\r\n0\r\nX-End: 1\r\n\r\n$/);
    });

    test.each([
      ['a control byte in a value', 'HTTP/1.1 204 OK\r\nX-Odd: a\x01b\r\n\r\n'],
      ['a name that is no token', 'HTTP/1.1 200 OK\r\nX Odd: a\r\nContent-Length: 14\r\n\r\n'],
      ['a control byte in the reason', 'HTTP/1.1 200 O\x01K\r\nContent-Length: 14\r\n\r\n'],
      ['a status that is none', 'HTTP/1.1 099 OK\r\nContent-Length: 14\r\n\r\n'],
    ])('%s', async (_, head) => {
      const { received, counts } = await answerTo(head);
      expect(received).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n[\s\S]*"reprise_mock_unreadable"/);
      expect(counts).toMatchObject(refused);
    });
  });

  test('knows a request whose secrets are not stored: masked queries, and bodies by the key of the capture', async () => {
    const query = requestMessage({ body: 'q', target: '/score?api_key=*****&n=1' });
    const masked = { ...wholeBody('{"prompt":"*****"}'), hash: wholeBody('{"prompt":"secret"}').hash };
    const covered = { ...requestMessage(), body: masked, redacted: ['/prompt'] };
    const key = join(temporaryDirectory(), 'hash.key');
    writeFileSync(key, Buffer.alloc(32, 7));
    const exchanges = [
      exchangeOf({ request: query, response: responseMessage(200, 'by query') }),
      exchangeOf({ request: covered, response: responseMessage(200, 'by hash') }),
    ];
    const keyed = await mock(exchanges, { unknown: '404', hashKeyFile: key });
    expect((await keyed.post('q', '/score?api_key=another-one&n=1')).text).toBe('by query');
    expect((await keyed.post('q', '/score?api_key=another-one&n=2')).status).toBe(404);
    expect((await keyed.post('{"prompt":"secret"}')).text).toBe('by hash');
    const keyless = await mock(exchanges, { unknown: '404' });
    expect(keyless.hashKeyKnown).toBe(false);
    // What is stored is not what was asked.
    for (const body of ['{"prompt":"secret"}', '{"prompt":"*****"}'])
      expect((await keyless.post(body)).status).toBe(404);
  });

  test('counts a client that leaves, and holds nothing of its answer', async () => {
    const slow = answered('a', 'late', { firstByteOffsetUs: 3_600e6, lastByteOffsetUs: 3_600e6 });
    const { base, stop } = await mock([slow], { speed: '1' });
    const leaving = new AbortController();
    const asked = fetch(`${base}/v2/models/resnet/infer`, {
      method: 'POST',
      body: 'a',
      signal: leaving.signal,
    });
    const { port } = new URL(base);
    // An answer on another connection says that the first request was taken.
    await fetch(`http://127.0.0.1:${port}/none`);
    leaving.abort();
    await expect(asked).rejects.toThrow();
    await fetch(`http://127.0.0.1:${port}/none`);
    expect(await stop()).toMatchObject({ clientsLeft: 1, unknown: 2 });
  });

  test('answers by TLS', async () => {
    const folder = temporaryDirectory();
    const [tlsCert, tlsKey] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    writeFileSync(tlsCert, CERTIFICATE_PEM);
    writeFileSync(tlsKey, CERTIFICATE_KEY_PEM);
    const { address } = await mock([answered('a', 'one')], { listenTls: `cert=${tlsCert},key=${tlsKey}` });
    const asked = request(`${address}/v2/models/resnet/infer`, {
      method: 'POST',
      ca: CERTIFICATE_PEM,
      servername: CERTIFICATE_NAME,
    });
    asked.end('a');
    const [answer] = await once(asked, 'response');
    expect(await text(answer)).toBe('one');
  });

  test('refuses a capture without answers', async () => {
    const alone = [exchangeOf({ response: null, status: null })];
    await expect(mock(alone)).rejects.toMatchObject({ code: 'CAPTURE_EMPTY' });
  });

  test('refuses options that do not belong together', () => {
    const resolve = (stated: StatedOptions<typeof MOCK_OPTIONS>) => () =>
      resolveMockOptions(byProgram(MOCK_OPTIONS, stated));
    expect(resolve({ listenTls: 'cert=a.pem' })).toThrow('--listen-tls: key is missing');
    expect(resolve({ listen: 'https://127.0.0.1:0' })).toThrow('--listen');
    expect(resolve({ speed: '0' })).toThrow('--speed');
    expect(resolve({ unknown: 'any' as 'nearest' })).toThrow('--unknown');
  });
});
