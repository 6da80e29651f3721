import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { payloadApiOf } from '../../src/core/payload-api.ts';
import { FACT_BYTES, modelOfForm, requestFeatures } from '../../src/core/payload-features.ts';
import { Redaction } from '../../src/core/redaction.ts';
import { routeOf } from '../../src/core/routes.ts';
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

  it('is the model of a form, wherever the field stands', () => {
    const part = (name: string, value: string) =>
      `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
    const form = (...parts: string[]) => Buffer.from(`${parts.join('')}--b--\r\n`);
    expect(modelOfForm(form(part('file', 'x'.repeat(50_000)), part('model', 'whisper-1')))).toBe('whisper-1');
    expect(modelOfForm(form(part('language', 'model')))).toBeNull();
    expect(modelOfForm(form(part('model', '')))).toBeNull();
    expect(modelOfForm(Buffer.from('name="model"\r\n\r\ncut'))).toBeNull();
  });
});
