import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';
import { missing, sharedData } from '../support/shared-data.ts';

const SECRET = 'secret words';
const redaction = bodyRedaction([], ['chat']);
const words = expect.stringMatching(/^[a-z ]+$/);

function covered(document: unknown): unknown {
  const body = JSON.stringify(document);
  const { text, dropped } = cover(redaction, body);
  expect(dropped).toBeNull();
  expect(text).not.toContain('secret');
  expect(Buffer.byteLength(text)).toBe(Buffer.byteLength(body));
  return JSON.parse(text);
}

const asking = (message: object) => ({ model: 'm', messages: [{ role: 'assistant', ...message }] });
const saying = (message: object) => ({ choices: [{ index: 0, message: { role: 'assistant', ...message } }] });
const piece = (delta: object) => ({ choices: [{ index: 0, delta }] });
const customCall = { id: 'call_1', type: 'custom', custom: { name: 'sql', input: SECRET } };
const citation = { type: 'url_citation', url_citation: { title: SECRET, url: `https://h/${SECRET}` } };
const thought = { type: 'reasoning.text', id: 'r1', format: 'anthropic', index: 0, text: SECRET };
const tool = { type: 'search', index: 0, arguments: SECRET, output: SECRET };

describe('preset chat leaves nothing of', () => {
  it.each([
    ['a predicted output', { prediction: { type: 'content', content: SECRET } }],
    ['a call of a custom tool', asking({ tool_calls: [customCall] })],
    ['a thought in a message', asking({ thinking: SECRET, reasoning_details: [thought] })],
    ['citations in a message', asking({ annotations: [citation] })],
    ['a member of a message that nobody knows yet', asking({ news: { of: [SECRET] } })],
    ['pictures beside a message', { messages: [{ role: 'user', content: SECRET, images: [SECRET] }] }],
    ['pictures and thoughts beside a prompt', { prompt: SECRET, images: [SECRET], system: SECRET }],
    [
      'texts to embed or to compare',
      { texts: [SECRET], text_1: SECRET, text_2: [SECRET], queries: [SECRET] },
    ],
    ['items of a conversation', { items: [{ type: 'message', role: 'user', content: SECRET }] }],
    ['headers for a tool', { tools: [{ type: 'mcp', headers: { a: SECRET }, authorization: SECRET }] }],
    ['a token for a tool', { mcp_servers: [{ type: 'url', authorization_token: SECRET }] }],
  ])('%s in a request', (_, request) => {
    covered(request);
  });

  it.each([
    ['a call of a custom tool', saying({ tool_calls: [customCall] })],
    ['a piece of one', piece({ tool_calls: [{ index: 0, custom: { input: SECRET } }] })],
    ['a thought', saying({ thinking: SECRET, reasoning_details: [thought] })],
    ['a piece of one', piece({ thinking: SECRET, reasoning_details: [thought] })],
    ['citations', saying({ annotations: [citation] })],
    ['a piece of them', piece({ annotations: [citation] })],
    ["the server's own tools", saying({ executed_tools: [tool] })],
    ['a piece of them', piece({ executed_tools: [tool] })],
    ['pictures', saying({ images: [{ type: 'image_url', image_url: { url: SECRET } }] })],
    ['a plan and its sources', saying({ tool_plan: SECRET, citations: [{ text: SECRET }] })],
    ['a transcription', { text: SECRET, segments: [{ id: 0, text: SECRET }], words: [{ word: SECRET }] }],
    ['who speaks in one', { segments: [{ speaker: SECRET, text: SECRET }] }],
    ['a piece of one', { type: 'transcript.text.segment', text: SECRET, speaker: SECRET }],
    ['the end of one', { type: 'transcript.text.done', text: SECRET, segments: [{ text: SECRET }] }],
    ['a picture', { data: [{ revised_prompt: SECRET, b64_json: SECRET }, { url: SECRET }] }],
    ['a piece of one', { type: 'image_generation.partial_image', b64_json: SECRET }],
    ['a piece of one', { type: 'response.image_generation_call.partial_image', partial_image_b64: SECRET }],
    ['a piece of speech', { type: 'speech.audio.delta', audio: SECRET }],
    ['what was spoken', { type: 'response.output_audio_transcript.done', transcript: SECRET }],
    ['a refusal', { type: 'response.refusal.done', refusal: SECRET }],
    ['code', { type: 'response.code_interpreter_call_code.done', code: SECRET }],
    ['a citation', { type: 'response.output_text.annotation.added', annotation: { title: SECRET } }],
    ['likely tokens', { type: 'response.output_text.delta', delta: SECRET, logprobs: [{ token: SECRET }] }],
    ['stored messages', { data: [{ id: 'm', role: 'user', content: SECRET }] }],
    ['a message of Ollama', { message: { role: 'assistant', content: SECRET, thinking: SECRET } }],
    ['an answer of Ollama', { response: SECRET, thinking: SECRET, done: true }],
    ['a piece of arguments', { delta: { type: 'input_json_delta', partial_json: SECRET }, index: 1 }],
    ['tokens as texts', { token_strings: [SECRET], token_strs: [SECRET], count: 1 }],
  ])('%s in a response', (_, response) => {
    covered(response);
  });

  it('where a user is, which a server need not know', () => {
    const place = { type: 'approximate', approximate: { city: SECRET, country: 'NL' } };
    expect(
      covered({
        web_search_options: { search_context_size: 'low', user_location: place },
        tools: [{ type: 'web_search', user_location: { type: 'approximate', city: SECRET } }],
      }),
    ).toEqual({
      web_search_options: { search_context_size: 'low', user_location: null },
      tools: [{ type: 'web_search', user_location: null }],
    });
  });

  it('ids of tokens, which say as much as the text, and which stay as many', () => {
    const ids = [151_644, 8_948, 7, 12.5];
    const masked = expect.toSatisfy((id: number) => id >= 100_000 && id < 101_000);
    const choice = { index: 0, token_ids: ids, prompt_token_ids: ids, delta: { token_id: 151_644 } };
    const body = { choices: [choice], prompt_token_ids: ids, token_ids: ids, tokens: ids, context: ids };
    const result = covered({ ...body, segments: [{ id: 3, tokens: ids }] }) as typeof body & {
      segments: { tokens: number[] }[];
    };
    const { choices, prompt_token_ids, token_ids, tokens, context, segments } = result;
    expect(choices[0]?.delta.token_id).toEqual(masked);
    const all = [choices[0]?.token_ids, choices[0]?.prompt_token_ids, prompt_token_ids, token_ids, tokens];
    for (const list of [...all, context, segments[0]?.tokens]) {
      expect(list).toEqual([masked, expect.any(Number), 1, expect.any(Number)]);
      expect(String(list?.[1])).toMatch(/^100\d$/);
    }
  });

  it('embeddings of any server', () => {
    expect(
      covered({ embedding: [0.25, 1], embeddings: { float: [[0.5]] }, data: [{ data: [0.1] }] }),
    ).toEqual({
      embedding: null,
      embeddings: null,
      data: [{ data: null }],
    });
  });
});

describe('preset chat keeps', () => {
  it('what makes a message one', () => {
    const call = { id: 'call_1', type: 'function', function: { name: 'f', arguments: `{"a":"${SECRET}"}` } };
    const result = covered({
      messages: [
        { role: 'assistant', channel: 'final', audio: { id: 'audio_1' }, tool_calls: [call, customCall] },
        { role: 'assistant', content: '', function_call: { name: 'g', arguments: `{"a":"${SECRET}"}` } },
        { role: 'assistant', annotations: [citation], reasoning_details: [thought] },
        { role: 'tool', tool_call_id: 'call_1', content: SECRET },
        {
          role: 'user',
          content: [
            {
              type: 'tool_result',
              tool_use_id: 't',
              content: [{ type: 'text', text: SECRET }],
              is_error: true,
            },
            { type: 'tool_use', id: 't', name: 'n', input: { a: SECRET, b: [SECRET] } },
            { type: 'thinking', thinking: SECRET, signature: SECRET },
          ],
        },
      ],
    });
    expect(result).toMatchObject({
      messages: [
        {
          role: 'assistant',
          channel: 'final',
          audio: { id: 'audio_1' },
          tool_calls: [
            { id: 'call_1', type: 'function', function: { name: 'f' } },
            { id: 'call_1', type: 'custom', custom: { name: 'sql', input: words } },
          ],
        },
        { content: '', function_call: { name: 'g' } },
        {
          annotations: [{ type: 'url_citation', url_citation: { title: words } }],
          reasoning_details: [{ ...thought, text: words }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: words },
        {
          content: [
            {
              type: 'tool_result',
              tool_use_id: 't',
              content: [{ type: 'text', text: words }],
              is_error: true,
            },
            { type: 'tool_use', id: 't', name: 'n', input: { a: words, b: [words] } },
            { type: 'thinking', thinking: words, signature: words },
          ],
        },
      ],
    });
  });

  it('parameters that bear the name of what is covered elsewhere', () => {
    const parameters = {
      logprobs: 5,
      audio: { voice: 'alloy', format: 'wav' },
      thinking: { type: 'enabled', budget_tokens: 1024 },
      text: { verbosity: 'low', format: { type: 'json_object' } },
    };
    expect(covered({ ...parameters, prediction: { type: 'content', content: SECRET } })).toEqual({
      ...parameters,
      prediction: { type: 'content', content: words },
    });
  });

  it('arguments of calls JSON where they stand among inputs', () => {
    const call = { type: 'function_call', call_id: 'c', name: 'f', arguments: `{"city":"${SECRET}"}` };
    const { input } = covered({ input: [call] }) as { input: { arguments: string }[] };
    expect(JSON.parse(input[0]?.arguments ?? '')).toEqual({ text: words });
  });

  it('arguments that are no text the object they are, and masks what it says as words', () => {
    const call = (of: string) => ({ name: 'f', arguments: { city: of, days: [of, 41], now: true } });
    const masked = { name: 'f', arguments: { city: words, days: [words, 10], now: true } };
    expect(covered({ messages: [{ tool_calls: [{ function: call(SECRET) }] }] })).toEqual({
      messages: [{ tool_calls: [{ function: masked }] }],
    });
  });
});

const CASSETTES = 'pydantic-ai-cassettes/exchanges.jsonl.gz';

interface CassetteMessage {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body_json?: unknown;
  readonly body_text?: string;
}

/** What the preset leaves by its own account: definitions, and what servers say of themselves. */
const LEFT =
  /^(?:\/response)?\/(?:tools|functions|response_format|output_config|output_format|text\/format)\//;

describe.each([
  ['chat', LEFT],
  ['llm', null],
])('preset %s over recorded exchanges with OpenAI, Anthropic, Groq and others', (preset, left) => {
  const redaction = bodyRedaction([], [preset]);
  const path = sharedData(CASSETTES);

  it('leaves no phrase of what was asked or answered', { timeout: 120_000 }, (context) => {
    if (path === null) return context.skip(missing(CASSETTES));
    let phrases = 0;
    const stays = new Set<string>();
    for (const line of gunzipSync(readFileSync(path)).toString('utf8').trim().split('\n')) {
      const exchange = JSON.parse(line) as Record<'request' | 'response', CassetteMessage>;
      for (const { headers, body_json, body_text } of [exchange.request, exchange.response]) {
        const body = body_text ?? (body_json === undefined ? '' : JSON.stringify(body_json));
        const streamed = JSON.stringify(headers).includes('text/event-stream');
        const about = { contentType: streamed ? 'text/event-stream' : 'application/json' };
        const { text } = cover(redaction, body, about);
        const stored = documentsOf(text, streamed).map((document) => new Map(textsOf(document)));
        documentsOf(body, streamed).forEach((document, index) => {
          for (const [pointer, said] of textsOf(document)) {
            if (!/\S \S+ \S/.test(said) || left?.test(pointer) === true) continue;
            phrases += 1;
            if (stored[index]?.get(pointer) === said) stays.add(pointer.replace(/\/\d+/g, '/*'));
          }
        });
      }
    }
    expect(phrases).toBeGreaterThan(1_000);
    expect([...stays]).toEqual([]);
  });
});

function documentsOf(body: string, streamed: boolean): unknown[] {
  if (body === '') return [];
  if (!streamed) return [JSON.parse(body)];
  const data = body.split('\n').filter((line) => /^data: *\{/.test(line));
  return data.map((line) => JSON.parse(line.slice('data:'.length)) as unknown);
}

function textsOf(value: unknown, pointer = ''): [string, string][] {
  if (typeof value === 'string') return [[pointer, value]];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => textsOf(inner, `${pointer}/${name}`));
}
