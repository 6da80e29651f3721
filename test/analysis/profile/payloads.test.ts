import { readFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PayloadStatistics } from '../../../src/analysis/profile/payloads.ts';
import type { ExchangePayload, ExchangeRow } from '../../../src/core/exchange.ts';
import type { PayloadKindFigures } from '../../../src/documents/profile.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { requestMessage, responseMessage, wholeBody } from '../../support/exchanges.ts';
import { repeated } from '../../support/long-form.ts';
import { png, splitHttp } from '../../support/profiled-capture.ts';
import { fixtureData } from '../../support/shared-data.ts';

const CHAT = { route: 'POST /v1/chat/completions' };

function payloadOf(parts: Partial<ExchangePayload>): ExchangePayload {
  return { request: null, response: null, requestChunks: [], responseChunks: [], ...parts };
}

function looked(facts: Partial<ExchangeRow>, payload: ExchangePayload | null) {
  const statistics = new PayloadStatistics();
  statistics.add(exchangeRow(facts), payload);
  return statistics.figures(true);
}

function kindOf(facts: Partial<ExchangeRow>, payload: ExchangePayload): PayloadKindFigures {
  const [kind] = looked(facts, payload).protocols;
  if (kind === undefined) throw new Error('nothing was read');
  return kind;
}

function jsonKind(facts: Partial<ExchangeRow>, body: object, response?: object): PayloadKindFigures {
  return kindOf(
    facts,
    payloadOf({
      request: requestMessage({ body: JSON.stringify(body) }),
      response: response === undefined ? null : responseMessage(200, JSON.stringify(response)),
    }),
  );
}

function fixture(file: string, facts: Partial<ExchangeRow> = {}): PayloadKindFigures {
  const [head, body] = splitHttp(readFileSync(fixtureData(`made-here-binary-bodies/${file}`)));
  return kindOf(facts, payloadOf({ request: { head, redacted: [], body: wholeBody(body), trailers: null } }));
}

describe('the kind of a payload', () => {
  test.each([
    ['POST /classify', { text: 'what is it' }, 'other JSON'],
    ['POST /api/v1/classify', { text: 'what is it' }, 'other JSON'],
    ['POST /score', { features: [1, 2, 3] }, 'other JSON'],
    ['POST /images/upload', { name: 'x' }, 'other JSON'],
    ['POST /responses', { survey: 7 }, 'other JSON'],
    ['POST /classify', { model: 'm', input: ['a'] }, 'openai other'],
    ['POST /v1/rerank', { model: 'm', query: 'a', documents: ['b'] }, 'openai other'],
    ['POST /v1/chat/completions', { messages: [] }, 'openai chat'],
    ['POST /openai/deployments/{model}/embeddings', { input: 'a' }, 'openai embeddings'],
    ['POST /v1/completions', { prompt: 'a' }, 'openai completions'],
    ['POST /completions', { model: 'm', prompt: 'a' }, 'openai completions'],
  ])(
    'of %s with %j is that of an API only where more than one word of the path says so',
    (route, body, kind) => {
      expect(jsonKind({ route, model: null }, body).protocol).toBe(kind);
    },
  );
});

describe('tensors', () => {
  const route = 'POST /v2/models/{model}/infer';

  test('of the Open Inference Protocol have type, dimensions and batch, and no name', () => {
    const body = JSON.parse(
      readFileSync(fixtureData('kserve-payloads/iris_input_v2.json'), 'utf8'),
    ) as object;
    const kind = jsonKind({ route }, body);
    expect(kind).toMatchObject({
      protocol: 'v2 JSON',
      batch: { p50: 2 },
      tensors: { shapes: [{ shape: 'FP32[2,4]', share: 1 }] },
    });
    expect(JSON.stringify(kind)).not.toContain('input-0');
  });

  test('behind the JSON of the binary form are found, and pictures within them', () => {
    expect(fixture('v2-two-tensors.http', { route })).toMatchObject({
      protocol: 'v2 binary',
      tensors: { perRequest: { p50: 2 } },
    });
    const kind = fixture('v2-jpeg-bytes.http', { route });
    expect(kind).toMatchObject({ images: { total: 1, formats: { jpeg: 1 }, bytes: { max: 118_925 } } });
    expect(kind.images.width.max).toBeGreaterThan(100);
  });

  test('of TensorFlow Serving have the dimensions of nested lists, compressed as well', () => {
    const v1 = { route: 'POST /v1/models/{model}:predict' };
    expect(
      jsonKind(v1, {
        instances: [
          [1, 2],
          [3, 4],
          [5, 6],
        ],
      }),
    ).toMatchObject({
      protocol: 'v1 predict',
      batch: { p50: 3 },
      tensors: { shapes: [{ shape: 'number[3,2]' }] },
    });
    expect(fixture('tfserving-gzip.http', v1).tensors.shapes).toHaveLength(1);
  });
});

describe('prompts and answers', () => {
  test('have the tokens that the server reported', () => {
    const kind = jsonKind(
      { ...CHAT, promptTokens: 11, outputTokens: 7 },
      { messages: [{ role: 'user', content: 'hello' }] },
    );
    expect(kind).toMatchObject({
      promptTokens: { reported: { p50: 11 }, estimated: { count: 0 } },
      outputTokens: { reported: { p50: 7 } },
    });
  });

  test('else an estimate, marked as one, and what the request allows and asks', () => {
    const kind = jsonKind(
      CHAT,
      {
        max_tokens: 128,
        stream: true,
        messages: [{ role: 'user', content: 'What is the weather like in Paris today?' }],
      },
      { choices: [{ message: { content: 'It is raining, as it often does.' } }] },
    );
    expect(kind).toMatchObject({
      protocol: 'openai chat',
      maxTokens: { p50: 128 },
      stream: { asked: 1 },
      batch: { p50: 1 },
    });
    expect(kind.promptTokens.estimated.p50).toBeGreaterThan(6);
    expect(kind.promptTokens.estimated.p50).toBeLessThan(14);
    expect(kind.outputTokens.estimated.p50).toBeGreaterThan(5);
  });

  test('sent as token ids are counted', () => {
    const kind = jsonKind(
      { route: 'POST /v1/embeddings' },
      {
        input: [
          [1, 2, 3],
          [4, 5],
        ],
      },
    );
    expect(kind).toMatchObject({
      protocol: 'openai embeddings',
      batch: { p50: 2 },
      promptTokens: { counted: { p50: 5 } },
    });
  });

  test('of a stream are put together before they are estimated', () => {
    const events = ['Rain', 'ing', ' in', ' Par', 'is'].map(
      (text) => `data: {"choices":[{"delta":{"content":"${text}"}}]}\n\n`,
    );
    const response = {
      head: Buffer.from('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n'),
      redacted: [],
      body: wholeBody(`${events.join('')}data: [DONE]\n\n`),
      trailers: null,
    };
    const kind = kindOf(CHAT, payloadOf({ request: requestMessage({ body: '{"messages":[]}' }), response }));
    expect(kind.outputTokens.estimated.p50).toBe(3);
  });

  test('of real requests are read, all of them', () => {
    const file = gunzipSync(readFileSync(fixtureData('arena-hard-prompts/chat_completions.jsonl.gz')));
    const statistics = new PayloadStatistics();
    for (const line of file.toString('utf8').trimEnd().split('\n').slice(0, 100)) {
      const { body } = JSON.parse(line) as { body?: object };
      const text = JSON.stringify(body ?? JSON.parse(line));
      statistics.add(exchangeRow(CHAT), payloadOf({ request: requestMessage({ body: text }) }));
    }
    const [kind] = statistics.figures(true).protocols;
    expect(kind).toMatchObject({
      requests: 100,
      promptTokens: { estimated: { count: 100 } },
      maxTokens: { count: 100 },
    });
  });
});

describe('pictures and forms', () => {
  test('in messages are counted with size and dimensions, addresses without', () => {
    const image = `data:image/png;base64,${png().toString('base64')}`;
    const content = [
      { type: 'text', text: 'what is this' },
      { type: 'image_url', image_url: { url: image } },
      { type: 'image_url', image_url: { url: 'https://example.test/secret.png' } },
    ];
    const kind = jsonKind(CHAT, { messages: [{ role: 'user', content }] });
    expect(kind.images).toMatchObject({
      requests: 1,
      total: 2,
      byAddress: 1,
      perRequest: { p50: 2 },
      bytes: { p50: 64 },
      width: { p50: 3 },
      height: { p50: 2 },
      formats: { png: 1 },
    });
    expect(JSON.stringify(kind)).not.toContain('secret');
  });

  test('as a form, or as the body, are found', () => {
    expect(fixture('multipart-jpeg.http', { route: 'POST /pictures' })).toMatchObject({
      protocol: 'multipart form',
      images: { total: 1, formats: { jpeg: 1 } },
    });
    expect(fixture('torchserve-jpeg.http', { route: 'POST /predictions/{model}' }).images).toMatchObject({
      total: 1,
    });
    expect(fixture('sagemaker-csv.http', { route: 'POST /invocations' }).images).toMatchObject({ total: 0 });
  });
});

describe('what cannot be read', () => {
  test('is counted by its reason', () => {
    expect(looked({}, null)).toMatchObject({ sampled: 1, read: 0, unread: { not_stored: 1 }, protocols: [] });
    const request = requestMessage({ body: 'abc' });
    const unkept = { ...request, body: { ...request.body, kept: null } };
    expect(looked({}, payloadOf({ request: unkept })).unread.no_body_kept).toBe(1);
    const cut = { ...request, body: { ...request.body, truncated: true } };
    expect(looked({}, payloadOf({ request: cut })).unread.truncated).toBe(1);
    const coded = requestMessage({
      headers: [['Content-Encoding', 'gzip']],
      body: gzipSync('{}').subarray(0, 12),
    });
    expect(looked({}, payloadOf({ request: coded })).unread.unreadable_coding).toBe(1);
  });

  test('never stops the reading, whatever the bytes', () => {
    const routes = [
      'POST /v2/models/{model}/infer',
      'POST /v1/chat/completions',
      'POST /v1/models/{model}:predict',
      'POST /x',
      null,
    ];
    const types = ['application/json', 'multipart/form-data; boundary=b', 'image/png', ''];
    const json = fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value) ?? ''));
    const bytes = fc.uint8Array({ maxLength: 80 }).map((array) => Buffer.from(array));
    const pictures = bytes.map((rest) => Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), rest]));
    fc.assert(
      fc.property(
        fc.constantFrom(...routes),
        fc.constantFrom(...types),
        fc.oneof(json, bytes, pictures),
        (route, type, body) => {
          const request = requestMessage({
            headers: [
              ['Content-Type', type],
              ['Inference-Header-Content-Length', '5'],
            ],
            body,
          });
          expect(looked({ route }, payloadOf({ request })).sampled).toBe(1);
        },
      ),
      { numRuns: repeated(75, 300) },
    );
  });
});
