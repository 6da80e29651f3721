import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { routeOf } from '../../src/core/routes.ts';
import { FACT_BYTES, modelOfForm, payloadApiOf, requestFeatures } from '../../src/inference/features.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { missing, sharedData } from '../support/shared-data.ts';

const redaction = new Redaction();

const api = (target: string) => payloadApiOf(routeOf('POST', target, redaction));
const features = (target: string, body: unknown) =>
  requestFeatures(api(target), Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));

describe('how a model is asked', () => {
  it.each([
    ['/v1/chat/completions', 'openai'],
    ['/openai/v1/embeddings?x=1', 'openai'],
    ['/openai/deployments/gpt/chat/completions?api-version=1', 'openai'],
    ['/v1/audio/transcriptions', 'openai'],
    ['/v1/messages', 'anthropic'],
    ['/api/chat', 'ollama'],
    ['/generate_stream', 'generate'],
    ['/v2/models/llm/generate_stream', 'generate'],
    ['/v2/models/m/versions/1/infer', 'v2'],
    ['/gateway/v2/models/m/infer', 'v2'],
    ['/v1/models/m:predict', 'v1'],
    ['/v1/models/m/versions/3:predict', 'v1'],
    ['/v1/models/m', null],
    ['/v2/models/m/ready', null],
    ['/predictions/m', null],
    ['/', null],
  ])('at %s: %s', (target, expected) => {
    expect(api(target)).toBe(expected);
  });
});

describe('the batch of a request', () => {
  it.each<[string, unknown, number | null]>([
    [
      '/v1/models/m:predict',
      {
        signature_name: 's',
        instances: [
          [1, 2],
          [3, 4],
          [5, 6],
        ],
      },
      3,
    ],
    ['/v1/models/m:predict', { inputs: { x: [1, 2] } }, null],
    [
      '/v2/models/m/infer',
      { id: '1', inputs: [{ name: 'x', shape: [16, 3, 224], datatype: 'FP32', data: [] }] },
      16,
    ],
    ['/v2/models/m/infer', { inputs: [{ name: 'x', shape: ['a'], data: [] }] }, null],
    ['/v2/models/m/infer', { inputs: [] }, null],
    ['/v1/completions', { prompt: 'a', n: 4 }, 4],
    ['/v1/completions', { prompt: ['a', 'b'], n: 2 }, 4],
    ['/v1/completions', { prompt: [1, 2, 3] }, 1],
    ['/v1/completions', { prompt: [[1, 2], [3]] }, 2],
    ['/v1/embeddings', { model: 'm', input: ['a', 'b', 'c'] }, 3],
    ['/v1/embeddings', { input: 'n' }, 1],
    [
      '/v1/responses',
      {
        input: [
          { role: 'user', content: 'a' },
          { role: 'user', content: 'b' },
        ],
      },
      1,
    ],
    ['/v1/chat/completions', { messages: [{ role: 'user', content: '"n":9' }] }, 1],
    ['/v1/chat/completions', { messages: [{ n: 7 }], n: 3 }, 3],
    ['/v1/messages', { messages: [{ role: 'user', content: 'a' }], n: 5 }, 1],
    ['/generate', { inputs: 'a' }, 1],
    ['/v1/rerank', { query: 'a', documents: ['b', 'c'] }, 2],
    ['/v1/chat/completions', [], null],
    ['/v1/chat/completions', 'messages', null],
    ['/other', { instances: [1] }, null],
  ])('at %s of %j is %s', (target, body, batch) => {
    expect(features(target, body).batch).toBe(batch);
  });

  it('is not guessed where the list is longer than is read', () => {
    const body = Buffer.from(JSON.stringify({ instances: Array.from({ length: FACT_BYTES / 2 }, () => 1) }));
    expect(body.length).toBeGreaterThan(FACT_BYTES);
    expect(requestFeatures('v1', body).batch).toBeNull();
    const tensor = `{"inputs":[{"shape":[8,1],"data":[${'0.5,'.repeat(FACT_BYTES)}1]}]}`;
    expect(requestFeatures('v2', Buffer.from(tensor)).batch).toBe(8);
  });

  it('is not guessed where an n may stand behind what is read', () => {
    const chat = JSON.stringify({ messages: [{ content: 'x'.repeat(50), n: 9 }], user: '}', n: 4 });
    for (let end = 0; end < chat.length; end += 1)
      expect([null, 4]).toContain(requestFeatures('openai', Buffer.from(chat.slice(0, end)), false).batch);
    // Of a body that is there whole, what it does not say is not asked for.
    expect(requestFeatures('openai', Buffer.from('{"messages":[]}'), false).batch).toBe(1);
    expect(features('/v1/chat/completions', '{"messages":[]} ').batch).toBe(1);
    const long = JSON.stringify({ messages: [], user: 'x'.repeat(FACT_BYTES), n: 4 });
    expect(features('/v1/chat/completions', long).batch).toBeNull();
    // Of others there is none.
    expect(features('/v1/messages', long).batch).toBe(1);
  });

  it('is found in the payloads of real samples', (context) => {
    const data = sharedData('kserve-payloads');
    if (data === null) return context.skip(missing('kserve-payloads'));
    const read = (name: string) => {
      const bytes = readFileSync(join(data, name));
      return name.endsWith('.gz') ? gunzipSync(bytes) : bytes;
    };
    expect(requestFeatures('v1', read('autogluon_timeseries_input.json')).batch).toBe(3);
    expect(requestFeatures('v1', read('bert_fill_mask_v1.json')).batch).toBe(2);
    expect(requestFeatures('v2', read('iris_input_v2.json')).batch).toBe(2);
    expect(requestFeatures('v2', read('cifar10_input_v2.json.gz')).batch).toBe(1);
    expect(requestFeatures('openai', read('qwen_input_chat.json')).batch).toBe(1);
    expect(requestFeatures('openai', read('bge-reranker-base.json')).batch).toBeGreaterThan(1);
  });
});

describe('what else a request says', () => {
  it('is whether it wants a stream', () => {
    expect(features('/api/chat', { stream: true, messages: [] }).stream).toBe(true);
    expect(features('/api/chat', { stream: false }).stream).toBe(false);
    expect(features('/api/chat', { options: { stream: true } }).stream).toBe(false);
  });

  describe('is the model of a form', () => {
    const TYPE = 'multipart/form-data; boundary=b';
    const part = (disposition: string, value: string) =>
      `--b\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${value}\r\n`;
    const form = (...parts: string[]) => Buffer.from(`${parts.join('')}--b--\r\n`);
    const MODEL = part('name="model"', 'whisper-1');

    it('wherever the field stands, of a form that is cut behind it too', () => {
      const file = part('name="file"; filename="a.wav"', 'x'.repeat(50_000));
      expect(modelOfForm(form(file, MODEL), TYPE)).toBe('whisper-1');
      expect(modelOfForm(form(file, MODEL), 'multipart/form-data; charset=utf-8; boundary="b"')).toBe(
        'whisper-1',
      );
      const mailed = form(MODEL).toString().replaceAll('--b', '------=_Part_1');
      expect(modelOfForm(Buffer.from(mailed), 'multipart/form-data; boundary=----=_Part_1')).toBe(
        'whisper-1',
      );
      expect(modelOfForm(form(MODEL, file).subarray(0, 1_000), TYPE)).toBe('whisper-1');
    });

    it.each<[string, string[], string | null]>([
      ['a file that is called so', [part('name="file"; filename="model"', 'SECRET')], null],
      ['and the field behind it', [part('name="file"; filename="model"', 'SECRET'), MODEL], 'whisper-1'],
      ['a file in its field', [part('name="model"; filename="a"', 'SECRET')], null],
      ['words that look like it', [part('name="prompt"', 'name="model"\r\n\r\nSECRET'), MODEL], 'whisper-1'],
      [
        'a part within a part',
        [part('name="prompt"', `--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nSECRET`)],
        null,
      ],
      ['a header of somebody’s own', [part('name="x"\r\nX-Said: name="model"', 'SECRET')], null],
      ['a name within another', [part('name="x; name=\\"model\\""', 'SECRET')], null],
      ['two names', [part('name="model"; name="secret"', 'SECRET')], null],
      ['another field', [part('name="language"', 'model')], null],
      ['a longer text', [part('name="model"', 'SECRET '.repeat(50))], null],
      ['nothing', [part('name="model"', '')], null],
    ])('and never %s', (_, parts, expected) => {
      expect(modelOfForm(form(...parts), TYPE)).toBe(expected);
    });

    it('only where its parts can be told apart, and where the field is whole', () => {
      expect(modelOfForm(form(MODEL), 'multipart/form-data')).toBeNull();
      expect(modelOfForm(form(MODEL), 'multipart/form-data; boundary=other')).toBeNull();
      expect(modelOfForm(Buffer.from(`--b\r\n${MODEL.slice(5, -2)}`), TYPE)).toBeNull();
      expect(modelOfForm(Buffer.from('name="model"\r\n\r\ncut'), TYPE)).toBeNull();
      expect(modelOfForm(Buffer.from('--b'), TYPE)).toBeNull();
    });

    it('only from its beginning', () => {
      const file = part('name="file"; filename="a.wav"', 'x'.repeat(FACT_BYTES));
      expect(modelOfForm(form(file, MODEL), TYPE)).toBeNull();
    });
  });
});
