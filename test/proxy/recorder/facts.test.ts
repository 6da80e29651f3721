import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { Redaction } from '../../../src/redaction/head-redaction.ts';
import { ExchangeKeys } from '../../../src/redaction/identities.ts';
import { Feed, HASH, latin1, makeContext, readRequest } from './harness.ts';

const JSON_TYPE = 'Content-Type: application/json\r\n';

function post(target: string, body: string | Buffer, lines = JSON_TYPE): Buffer {
  const head = `POST ${target} HTTP/1.1\r\nHost: m\r\n${lines}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

function answer(body: string | Buffer, lines = JSON_TYPE, status = 200): Buffer {
  const head = `HTTP/1.1 ${status} X\r\n${lines}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n';
const CHAT = JSON.stringify({
  model: 'llama',
  messages: [{ role: 'user', content: 'hi' }],
  stream: true,
  user: 'u1',
});
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const USAGE = { prompt_tokens: 7, completion_tokens: 2 };

/** The one exchange of this traffic, with responses kept only as metadata, as by default. */
function recorded(request: Buffer, ...responses: (string | Buffer)[]) {
  const { policy } = makeContext();
  const feed = new Feed({ policy: { ...policy, bodies: 'requests' } });
  feed.client(request);
  for (const response of responses) feed.server(response);
  feed.close();
  feed.assertSettled();
  const [exchange] = feed.exchanges;
  if (exchange === undefined) throw new Error(feed.fates.join());
  return exchange;
}

describe('the facts of an exchange', () => {
  it('hold why a stream ended, and a whole answer', () => {
    const delta = (finish_reason: string | null) => chunk(event({ choices: [{ delta: {}, finish_reason }] }));
    const stream = recorded(
      post('/v1/chat/completions', CHAT),
      STREAM_HEAD,
      delta(null),
      delta('length'),
      `${chunk('data: [DONE]\n\n')}0\r\n\r\n`,
    );
    expect(stream.finish).toBe('length');
    const whole = (choice: object) =>
      recorded(
        post('/v1/chat/completions', '{}'),
        answer(JSON.stringify({ choices: [{ message: { content: 'x' }, ...choice }] })),
      ).finish;
    expect(whole({ finish_reason: 'stop' })).toBe('stop');
    expect(whole({})).toBeNull();
  });

  it('hold a stream’s first token and counts, though none of its body is kept', () => {
    const exchange = recorded(
      post('/v1/chat/completions', CHAT),
      STREAM_HEAD,
      chunk(event({ choices: [{ delta: { role: 'assistant', content: '' } }] })),
      chunk(event({ choices: [{ delta: { content: 'Hi' } }] })),
      chunk(event({ choices: [{ delta: { content: '!' } }] })),
      `${chunk(`${event({ choices: [], usage: USAGE })}data: [DONE]\n\n`)}0\r\n\r\n`,
    );
    expect(exchange).toMatchObject({
      route: 'POST /v1/chat/completions',
      model: 'llama',
      streamed: true,
      firstByteOffsetUs: 1,
      firstTokenOffsetUs: 3,
      lastByteOffsetUs: 5,
      promptTokens: 7,
      outputTokens: 2,
      batch: 1,
    });
    expect(exchange.response?.body.kept).toBeNull();
    expect(readRequest(exchange).body).toBe(CHAT);
  });

  it.each([
    ['/v1/chat/completions', '{"error":{"message":"no GPU"}}', true],
    ['/v2/models/m/infer', '{"id":"7","error":"busy","outputs":[]}', true],
    ['/predict', '{"detail":"Not found"}', true],
    ['/predict', '{"errors":["a"]}', true],
    ['/v1/chat/completions', '{"choices":[{"message":{"content":"an \\"error\\": 1"}}]}', false],
    ['/v2/models/m/infer', '{"outputs":[1,2,3],"error":null}', false],
    ['/predict', '', false],
    ['/v2/models/m/infer', '{"outputs":[1,2', true],
    ['/v2/models/m/infer', '{"outputs":[NaN]}', true],
    ['/v1/chat/completions', '{"choices":[]}', true],
  ])('tell whether a 2xx at %s says error: %s', (target, body, tells) => {
    expect(recorded(post(target, '{}'), answer(body)).answerError).toBe(tells);
    const pieces = [...body].map(chunk).join('');
    const head = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${JSON_TYPE}\r\n`;
    expect(recorded(post(target, '{}'), head, ...pieces, '0\r\n\r\n').answerError).toBe(tells);
  });

  it('tell of an error in a compressed answer, of what does not unpack, and of a page in answer to JSON', () => {
    const at = post('/predict', '{}');
    const coded = `${JSON_TYPE}Content-Encoding: gzip\r\n`;
    expect(recorded(at, answer(gzipSync('{"error":"x"}'), coded)).answerError).toBe(true);
    expect(recorded(at, answer(gzipSync('{"outputs":[1]}'), coded)).answerError).toBe(false);
    expect(recorded(at, answer('{"outputs":[1]}', coded)).answerError).toBe(true);
    const page = answer(
      '<!doctype html><title>Sign in</title>',
      'Content-Type: text/html; charset=utf-8\r\n',
    );
    expect(recorded(at, page).answerError).toBe(true);
    const form = post('/login', 'user=a', 'Content-Type: application/x-www-form-urlencoded\r\n');
    expect(recorded(form, page).answerError).toBe(false);
  });

  it.each([
    [`traceparent: 00-${TRACE}-b7ad6b7169203331-01`, TRACE],
    [`TraceParent:  00-${TRACE}-b7ad6b7169203331-00 `, TRACE],
    [`traceparent: cc-${TRACE}-b7ad6b7169203331-01-later`, TRACE],
    [`traceparent: 00-${TRACE}-b7ad6b7169203331-01-later`, null],
    [`traceparent: 00-${'0'.repeat(32)}-b7ad6b7169203331-01`, null],
    [`traceparent: 00-${TRACE}-0000000000000000-01`, null],
    [`traceparent: ff-${TRACE}-b7ad6b7169203331-01`, null],
    [`traceparent: 00-${TRACE.toUpperCase()}-b7ad6b7169203331-01`, null],
    [`traceparent: 00-${TRACE}-b7ad6b7169203331-01\r\ntraceparent: 00-${TRACE}-b7ad6b7169203331-01`, null],
    [`x-trace: 00-${TRACE}-b7ad6b7169203331-01`, null],
  ])('have the trace of %j', (line, trace) => {
    const { traceId } = recorded(post('/predict', '{}', `${line}\r\n`), answer('{}'));
    expect(traceId && Buffer.from(traceId).toString('hex')).toBe(trace);
  });

  it('have no trace where the policy masks it, or takes it for the session', () => {
    const line = `traceparent: 00-${TRACE}-b7ad6b7169203331-01\r\n`;
    const masked = new Redaction({ headers: ['traceparent'] });
    const hashed = new Redaction({}, { names: { headers: ['traceparent'], queryKeys: [] }, hash: HASH });
    for (const redaction of [masked, hashed]) {
      const feed = new Feed({ redaction })
        .client(post('/predict', '{}', line))
        .server(answer('{}'))
        .close();
      expect(feed.exchanges[0]).toMatchObject({ traceId: null });
      expect(latin1(feed.exchanges[0]?.request?.head ?? null)).not.toContain(TRACE);
    }
  });

  it('tell of no error where another status, a coding or a broken answer leaves it unknown', () => {
    const said = '{"error":"x"}';
    const at = post('/predict', '{}');
    expect(recorded(at, answer(said, JSON_TYPE, 503)).answerError).toBeNull();
    const stream = 'Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n';
    expect(recorded(at, answer(gzipSync(said), stream)).answerError).toBeNull();
    expect(recorded(at, answer(said).subarray(0, -1)).answerError).toBeNull();
  });

  it.each([
    [[event({ choices: [{ delta: { content: 'Hi' } }] }), event({ error: { message: 'lost' } })], true],
    [[event({ choices: [{ delta: { content: 'Hi' } }] }), 'event: error\ndata: lost\n\n'], true],
    [['event: error\ndata: {"message":"full"}\n\n'], true],
    [[event({ choices: [{ delta: { content: 'an error' } }] }), 'data: [DONE]\n\n'], false],
    [[event({ choices: [{ delta: { content: 'Hi' } }], error: null }), 'data: [DONE]\n\n'], false],
  ])('tell of a stream whether an event says error: %j', (events, tells) => {
    const exchange = recorded(
      post('/v1/chat/completions', CHAT),
      STREAM_HEAD,
      ...events.map(chunk),
      '0\r\n\r\n',
    );
    expect(exchange).toMatchObject({ streamed: true, answerError: tells });
  });

  it('know a stream of JSON lines by its type, and where the request asked for one by its framing', () => {
    const lines = `${JSON.stringify({ message: { content: 'Hi' } })}\n${JSON.stringify({ done: true, prompt_eval_count: 4, eval_count: 5 })}\n`;
    const expected = { streamed: true, firstTokenOffsetUs: 1, promptTokens: 4, outputTokens: 5 };
    const head = (type: string) =>
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: ${type}\r\n\r\n`;
    const asked = post('/api/chat', CHAT);
    const whole = `${chunk(lines)}0\r\n\r\n`;
    expect(recorded(asked, head('application/x-ndjson') + whole)).toMatchObject({
      ...expected,
      firstTokenOffsetUs: 1,
    });
    expect(recorded(asked, head('application/json') + whole)).toMatchObject(expected);
    const plain = post('/api/chat', CHAT.replace('"stream":true', '"stream":false'));
    expect(recorded(plain, head('application/json') + whole)).toMatchObject({
      streamed: false,
      firstTokenOffsetUs: null,
      outputTokens: 5,
    });
  });

  it('hold the counts of a JSON answer', () => {
    const body = JSON.stringify({ choices: [{ message: { content: 'x'.repeat(10_000) } }], usage: USAGE });
    expect(recorded(post('/v1/chat/completions', CHAT), answer(body))).toMatchObject({
      streamed: false,
      firstTokenOffsetUs: null,
      promptTokens: 7,
      outputTokens: 2,
    });
  });

  it.each([
    ['of another route', '/anything', answer(JSON.stringify({ usage: USAGE }))],
    ['of an error', '/v1/completions', answer(JSON.stringify({ usage: USAGE }), JSON_TYPE, 500)],
    [
      'under a content coding',
      '/v1/completions',
      answer(gzipSync(JSON.stringify({ usage: USAGE })), `${JSON_TYPE}Content-Encoding: gzip\r\n`),
    ],
    [
      'of another type',
      '/v1/completions',
      answer(JSON.stringify({ usage: USAGE }), 'Content-Type: text/plain\r\n'),
    ],
  ])('know nothing of tokens from an answer %s', (_, target, response) => {
    expect(recorded(post(target, '{}'), response)).toMatchObject({ promptTokens: null, outputTokens: null });
  });

  it('hold a batch, of Triton’s binary form too', () => {
    const json = JSON.stringify({
      inputs: [{ name: 'x', shape: [4, 2], datatype: 'FP32', parameters: { binary_data_size: 32 } }],
    });
    const lines = `Content-Type: application/octet-stream\r\nInference-Header-Content-Length: ${json.length}\r\n`;
    const binary = Buffer.concat([Buffer.from(json), Buffer.alloc(32, 0xff)]);
    expect(recorded(post('/v2/models/m/infer', binary, lines), answer('{}'))).toMatchObject({
      model: 'm',
      batch: 4,
    });
    expect(recorded(post('/v1/models/m:predict', '{"instances":[1,2,3]}'), answer('{}')).batch).toBe(3);
    const coded = `${JSON_TYPE}Content-Encoding: gzip\r\n`;
    expect(
      recorded(post('/v1/models/m:predict', gzipSync('{"instances":[1]}'), coded), answer('{}')).batch,
    ).toBeNull();
  });

  it('hold the model of a form and of Ollama', () => {
    const form = '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n';
    const type = 'Content-Type: multipart/form-data; boundary=b\r\n';
    expect(recorded(post('/v1/audio/transcriptions', form, type), answer('{}')).model).toBe('whisper');
    expect(recorded(post('/api/generate', '{"model":"qwen","prompt":"x"}'), answer('{}'))).toMatchObject({
      model: 'qwen',
      batch: 1,
    });
  });

  it('hold nothing of what a form uploads, whatever it is called', () => {
    const part = (disposition: string, value: string) =>
      `--b\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${value}\r\n`;
    const type = 'Content-Type: multipart/form-data; boundary=b\r\n';
    for (const secret of [
      part('name="file"; filename="model"', 'SECRET'),
      part('name="prompt"', 'he wrote name="model"\r\n\r\nSECRET'),
    ]) {
      const form = `${secret}${part('name="model"', 'whisper')}--b--\r\n`;
      expect(recorded(post('/v1/audio/transcriptions', form, type), answer('{}')).model).toBe('whisper');
    }
  });

  it('are the same where no body is kept', () => {
    const { policy } = makeContext();
    const feed = new Feed({ policy: { ...policy, bodies: 'none' } });
    feed
      .client(post('/v1/chat/completions', CHAT))
      .server(answer(JSON.stringify({ usage: USAGE })))
      .close();
    feed.assertSettled();
    const [exchange] = feed.exchanges;
    expect(exchange).toMatchObject({ model: 'llama', batch: 1, outputTokens: 2 });
    expect(exchange?.request?.body).toEqual({
      bytes: CHAT.length,
      kept: null,
      truncated: false,
      hash: HASH.ofBody(Buffer.from(CHAT)),
    });
  });

  it.each(['requests', 'none'] as const)('are the same where little is kept of a body (%s)', (bodies) => {
    const body = JSON.stringify({
      messages: [{ role: 'user', content: 'w '.repeat(3_000) }],
      model: 'llama',
      n: 4,
      user: 'u1',
    });
    for (const requestBodyBytes of [0, 20, 4_096, body.length - 1, body.length]) {
      const policy = { bodies, requestBodyBytes, responseBodyBytes: 0 };
      const keys = new ExchangeKeys({ session: ['json:/user'], client: [] }, HASH);
      const feed = new Feed({ policy, keys });
      const request = post('/v1/chat/completions', body);
      // From the second time on it is known, and so in one piece; then it is not.
      for (let round = 0; round < 3; round += 1) feed.client(request).server(answer('{}'));
      feed.client(request.subarray(0, 5_000)).client(request.subarray(5_000)).server(answer('{}')).close();
      feed.assertSettled();
      expect(feed.exchanges).toHaveLength(4);
      for (const exchange of feed.exchanges) {
        expect(exchange).toMatchObject({ model: 'llama', batch: 4 });
        expect(exchange.session).toEqual(HASH.ofIdentity('session', 'u1'));
        const { kept, ...rest } = exchange.request?.body ?? { kept: null };
        const truncated = bodies !== 'none' && requestBodyBytes < body.length;
        expect(rest).toEqual({ bytes: body.length, truncated, hash: HASH.ofBody(Buffer.from(body)) });
        expect(latin1(kept)).toBe(bodies === 'none' ? '<none>' : body.slice(0, requestBodyBytes));
      }
    }
  });

  it('are read from what does not live on beside what is stored', () => {
    const policy = { bodies: 'requests', requestBodyBytes: 10, responseBodyBytes: 0 } as const;
    const feed = new Feed({ policy });
    feed
      .client(post('/v1/completions', JSON.stringify({ prompt: 'x'.repeat(300_000) })))
      .server(answer('{}'));
    feed.close();
    feed.assertSettled();
    const kept = feed.exchanges[0]?.request?.body.kept;
    expect(kept).toHaveLength(10);
    expect(kept?.buffer.byteLength).toBeLessThan(100_000);
  });

  it('hold a model that no body is kept of, of any route that may name one', () => {
    const { policy } = makeContext();
    const feed = new Feed({ policy: { ...policy, bodies: 'none' } });
    feed.client(post('/v1/moderations', '{"model":"m"}')).server(answer('{}')).close();
    expect(feed.exchanges[0]).toMatchObject({ model: 'm' });
  });

  it('of an upload that was cut do not take an n that may have been to come for 1', () => {
    const cut = (body: string) => {
      const feed = new Feed();
      feed.client(post('/v1/chat/completions', body).subarray(0, -1)).close('client_reset');
      return feed.exchanges[0]?.batch;
    };
    expect(cut('{"messages":[],"user":"u"}')).toBeNull();
    expect(cut('{"messages":[],"n":2,"user":"u"}')).toBe(2);
    expect(cut('{"messages":[]}\n')).toBe(1);
  });

  it('of a stream that broke off are what came of them', () => {
    const exchange = recorded(
      post('/v1/chat/completions', CHAT),
      STREAM_HEAD,
      chunk(event({ choices: [{ delta: { content: 'Hi' } }] })),
    );
    expect(exchange).toMatchObject({ outcome: 'client_aborted', firstTokenOffsetUs: 2, outputTokens: null });
  });
});

describe('the keys of an exchange', () => {
  const keyed = (session: readonly string[]) => {
    const keys = new ExchangeKeys({ session, client: ['forwarded-for', 'peer'] }, HASH);
    return new Feed({ keys, redaction: new Redaction({}, { names: keys.sessionNames, hash: HASH }) });
  };

  it('are the session that head or body names, and the client’s address', () => {
    const feed = keyed(['x-session-id', 'json:/user']);
    const named = `${JSON_TYPE}X-Session-Id: conversation\r\nX-Forwarded-For: 203.0.113.9\r\n`;
    feed.client(post('/v1/chat/completions', CHAT, named)).server(answer('{}'));
    feed.client(post('/v1/chat/completions', CHAT)).server(answer('{}'));
    feed.client(post('/v1/chat/completions', '{}')).server(answer('{}'));
    feed.close();
    feed.assertSettled();
    expect(feed.exchanges.map(({ session }) => session)).toEqual([
      HASH.ofIdentity('session', 'conversation'),
      HASH.ofIdentity('session', 'u1'),
      null,
    ]);
    const [forwarded, peer] = ['203.0.113.9', '192.0.2.1'].map((address) =>
      HASH.ofIdentity('client', address),
    );
    expect(feed.exchanges.map(({ client }) => client)).toEqual([forwarded, peer, peer]);
  });

  it('do not stand in the stored head, which says as much by a hash of equal length', () => {
    const feed = keyed(['x-session-id']);
    const named = `${JSON_TYPE}X-Session-Id: conversation\r\n`;
    for (let round = 0; round < 2; round += 1) feed.client(post('/v1/x', '{}', named)).server(answer('{}'));
    feed.close();
    const [first, second] = feed.exchanges.map((exchange) => latin1(exchange.request?.head ?? null));
    expect(first).not.toContain('conversation');
    expect(first).toMatch(/\r\nX-Session-Id: [\w-]{12}\r\n/);
    expect(second).toBe(first);
    expect(feed.exchanges[0]?.request?.redacted).toEqual([]);
  });
});
