import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Routes, routeOf } from '../../src/core/routes.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { repeated } from '../support/long-form.ts';

const redaction = new Redaction();

describe('a route', () => {
  it.each([
    ['POST', '/v2/models/bert/infer', 'POST /v2/models/{model}/infer', 'bert'],
    ['POST', '/v2/models/bert/versions/3/infer', 'POST /v2/models/{model}/versions/{version}/infer', 'bert'],
    ['GET', '/v2/models/bert/ready', 'GET /v2/models/{model}/ready', 'bert'],
    ['GET', '/v2/models/bert', 'GET /v2/models/{model}', 'bert'],
    [
      'POST',
      '/v2/models/llama%2F3/generate_stream?x=1',
      'POST /v2/models/{model}/generate_stream',
      'llama/3',
    ],
    ['POST', '/v2/repository/models/bert/load', 'POST /v2/repository/models/{model}/load', 'bert'],
    ['POST', '/seldon/ns/42/v2/models/m/infer', 'POST /seldon/ns/{id}/v2/models/{model}/infer', 'm'],
    ['GET', '/v2/health/live', 'GET /v2/health/live', null],
    ['GET', '/v2', 'GET /v2', null],
    ['POST', '/v1/models/half_plus_two:predict', 'POST /v1/models/{model}:predict', 'half_plus_two'],
    ['POST', '/v1/models/m/versions/7:predict', 'POST /v1/models/{model}/versions/{version}:predict', 'm'],
    ['POST', '/v1/models/m/labels/canary:classify', 'POST /v1/models/{model}/labels/{version}:classify', 'm'],
    ['GET', '/v1/models/m/metadata', 'GET /v1/models/{model}/metadata', 'm'],
    ['GET', '/v1/models/meta-llama/Llama-3', 'GET /v1/models/{model}', 'meta-llama/Llama-3'],
    ['GET', '/v1/models', 'GET /v1/models', null],
    ['POST', '/v1/chat/completions', 'POST /v1/chat/completions', null],
    ['POST', '/openai/v1/completions', 'POST /openai/v1/completions', null],
    ['POST', '/v1/embeddings', 'POST /v1/embeddings', null],
    ['POST', '/v1/responses', 'POST /v1/responses', null],
    ['GET', '/v1/responses/resp_67ccd/input_items', 'GET /v1/responses/{id}/input_items', null],
    ['GET', '/v1/files/file-abc123/content', 'GET /v1/files/{id}/content', null],
    [
      'POST',
      '/openai/deployments/gpt-4/chat/completions',
      'POST /openai/deployments/{model}/chat/completions',
      'gpt-4',
    ],
    ['POST', '/predictions/resnet', 'POST /predictions/{model}', 'resnet'],
    ['POST', '/predictions/resnet/2.0', 'POST /predictions/{model}/{version}', 'resnet'],
    ['POST', '/models/m/invoke', 'POST /models/{model}/invoke', 'm'],
    ['POST', '/v1/responses/compact', 'POST /v1/responses/compact', null],
    ['POST', '/v1/responses/input_tokens', 'POST /v1/responses/input_tokens', null],
    ['POST', '/invocations', 'POST /invocations', null],
    ['GET', '/ping', 'GET /ping', null],
    ['GET', '/users/123/items/9f8b0c1d2e3f4a5b?q=1', 'GET /users/{id}/items/{id}', null],
    ['GET', '/o/3FA85F64-5717-4562-B3FC-2C963F66AFA6', 'GET /o/{id}', null],
    ['GET', '/hook/sk-proj-aB3dE6gH9jK2mN5pQ8/send', 'GET /hook/{id}/send', null],
    ['GET', '/bot123456:AAEhBP0av28FrGvLGgpmVjR0/send', 'GET /{id}/send', null],
    ['GET', '/j/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig', 'GET /j/{id}', null],
    ['GET', '/c/cjld2cjxh0000qzrmn831i7rn', 'GET /c/{id}', null],
    ['GET', '/k/aB3dE6gH9jK2%6DN5pQ8', 'GET /k/{id}', null],
    ['GET', '/get/https%3A%2F%2Fh%2F%3Ftoken%3Dsecret/x', 'GET /get/*/x', null],
    ['GET', '/v1/models/https%3A%2F%2Fu%3Ap%40h', 'GET /v1/models/{model}', '*'],
    [
      'GET',
      '/engines/text-davinci-003/resnet50v2classifier',
      'GET /engines/text-davinci-003/resnet50v2classifier',
      null,
    ],
    ['GET', '/models/Meta-Llama-3-8B-Instruct', 'GET /models/Meta-Llama-3-8B-Instruct', null],
    ['GET', '/v3/abc/deadbeef', 'GET /v3/abc/deadbeef', null],
    ['GET', 'http://h:8000/predictions/m?x=/v2/models/n', 'GET /predictions/{model}', 'm'],
    ['GET', 'http://h', 'GET /', null],
    ['OPTIONS', '*', 'OPTIONS *', null],
    ['CONNECT', 'db:5432', 'CONNECT {authority}', null],
    ['GET', '/v2/models/%ff/infer', 'GET /v2/models/{model}/infer', '%ff'],
  ])('of %s %s', (method, target, route, model) => {
    expect(routeOf(method, target, redaction)).toEqual({ route, model });
  });

  const vertex = '/v1beta1/projects/p-1/locations/us-east5';
  const place = '/v1beta1/projects/{project}/locations/{location}';
  it.each([
    ['/v1/models/gemini-2.5-pro:generateContent', '/v1/models/{model}:generateContent', 'gemini-2.5-pro'],
    [
      '/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse',
      '/v1beta/models/{model}:streamGenerateContent',
      'gemini-2.5-flash',
    ],
    ['/v1alpha/models/gemini-2.5-pro', '/v1alpha/models/{model}', 'gemini-2.5-pro'],
    ['/v1beta/tunedModels/tutor-7:generateContent', '/v1beta/tunedModels/{model}:generateContent', 'tutor-7'],
    ['/v1beta/models/veo-3/operations/abc9x', '/v1beta/models/{model}/operations/{id}', 'veo-3'],
    ['/v1beta/models', '/v1beta/models', null],
    ['/v1beta/openai/chat/completions', '/v1beta/openai/chat/completions', null],
    ['/llm/v1beta/models/g:countTokens', '/llm/v1beta/models/{model}:countTokens', 'g'],
    [
      `${vertex}/publishers/google/models/gemini-2.5-pro:generateContent`,
      `${place}/publishers/google/models/{model}:generateContent`,
      'gemini-2.5-pro',
    ],
    [
      `${vertex}/publishers/anthropic/models/claude-3-5-sonnet%4020240620:streamRawPredict`,
      `${place}/publishers/anthropic/models/{model}:streamRawPredict`,
      'claude-3-5-sonnet@20240620',
    ],
    [
      '/v1/publishers/google/models/gemini-2.5-pro:generateContent?key=x',
      '/v1/publishers/google/models/{model}:generateContent',
      'gemini-2.5-pro',
    ],
    [
      `${vertex}/publishers/google/models/veo-2/operations/0f-1`,
      `${place}/publishers/google/models/{model}/operations/{id}`,
      'veo-2',
    ],
    [`${vertex}/endpoints/4711:rawPredict`, `${place}/endpoints/{model}:rawPredict`, '4711'],
    // Here the body names the model.
    [`${vertex}/endpoints/openapi/chat/completions`, `${place}/endpoints/{endpoint}/chat/completions`, null],
    ['/model/us.amazon.nova-micro-v1%3A0/converse', '/model/{model}/converse', 'us.amazon.nova-micro-v1:0'],
    ['/model/amazon.titan-embed-text-v2:0/invoke', '/model/{model}/invoke', 'amazon.titan-embed-text-v2:0'],
    [
      '/bedrock/model/arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Aprovisioned-model%2F8fxff74/converse-stream',
      '/bedrock/model/{model}/converse-stream',
      'arn:aws:bedrock:us-west-2:123456789012:provisioned-model/8fxff74',
    ],
    ['/model/m/invoke-with-response-stream', '/model/{model}/invoke-with-response-stream', 'm'],
    ['/model/m/count-tokens', '/model/{model}/count-tokens', 'm'],
    ['/model/m/weights', '/model/m/weights', null],
  ])('at hosted models of %s is one for all models', (target, route, model) => {
    expect(routeOf('POST', target, redaction)).toEqual({ route: `POST ${route}`, model });
  });

  it('is bounded and cut at a segment', () => {
    const { route } = routeOf('GET', `/${'segment/'.repeat(100)}`, redaction);
    expect(route.length).toBeLessThan(210);
    expect(route.endsWith('/segment/…')).toBe(true);
    expect(routeOf('GET', `/${'a'.repeat(500)}`, redaction).route.length).toBeLessThan(210);
  });

  it('is the same with a memory as without, whatever the target, and whatever was asked before', () => {
    const routes = new Routes(redaction);
    const segment = fc.constantFrom(
      'v1',
      'v2',
      'models',
      'versions',
      '12',
      'x',
      'predictions',
      '?a',
      '%',
      ':predict',
      '',
    );
    fc.assert(
      fc.property(
        fc.constantFrom('GET', 'POST', 'CONNECT'),
        fc.array(segment, { maxLength: 8 }),
        (method, parts) => {
          const target = `/${parts.join('/')}`;
          expect(routes.of(method, target)).toEqual(routeOf(method, target, redaction));
        },
      ),
      { numRuns: repeated(250, 1_000) },
    );
  });

  it('is remembered for so many targets and no more, and right for each', () => {
    const routes = new Routes(redaction);
    for (let id = 0; id < 10_000; id += 1) {
      expect(routes.of('GET', `/v2/models/m${id}/ready`)).toEqual({
        route: 'GET /v2/models/{model}/ready',
        model: `m${id}`,
      });
    }
    expect(routes.size).toBeLessThanOrEqual(4_096);
  });

  it('takes time linear in hostile targets', () => {
    for (const target of [
      `/${'v2/models/'.repeat(20_000)}`,
      `/${'/v1/models'.repeat(20_000)}`,
      `/${'1/'.repeat(100_000)}`,
      `/${'model/'.repeat(30_000)}`,
      '/v1/projects'.repeat(20_000),
      '/v1/publishers/x/models'.repeat(10_000),
      `/v1/projects/p/locations/${'/endpoints'.repeat(20_000)}`,
    ]) {
      expect(routeOf('GET', target, redaction).route.length).toBeLessThan(420);
    }
  });
});
