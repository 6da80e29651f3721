import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';

/** A text that a mask must not leave, of the given nature. */
const secret = (name: string) => `secret ${name} text`;

function covered(preset: string, document: unknown): Record<string, unknown> {
  const body = JSON.stringify(document);
  const { text, dropped } = cover(bodyRedaction([], [preset]), body);
  expect(dropped).toBeNull();
  expect(text).not.toContain('secret');
  expect(Buffer.byteLength(text)).toBe(Buffer.byteLength(body));
  return JSON.parse(text) as Record<string, unknown>;
}

const words = expect.stringMatching(/^[a-z ]+$/);

describe('preset chat', () => {
  it('covers a chat request and leaves what makes it one', () => {
    const parts = [
      { type: 'text', text: secret('part'), cache_control: { type: 'ephemeral' } },
      { type: 'image_url', image_url: { url: `https://h/${secret('url')}`, detail: 'low' } },
      { type: 'input_audio', input_audio: { data: secret('audio'), format: 'wav' } },
    ];
    const call = {
      id: 'call_1',
      type: 'function',
      function: { name: 'weather', arguments: `{"city":"${secret('city')}"}` },
    };
    const request = covered('chat', {
      model: 'llama-3',
      messages: [
        { role: 'system', content: secret('system') },
        { role: 'user', content: parts, name: 'secret' },
        { role: 'assistant', content: null, tool_calls: [call], reasoning_content: secret('thought') },
        { role: 'tool', tool_call_id: 'call_1', content: secret('result') },
      ],
      tools: [{ type: 'function', function: { name: 'weather', description: 'the weather' } }],
      stream: true,
      max_tokens: 64,
      temperature: 0.7,
      user: 'secret@example.com',
      metadata: { ticket: secret('ticket') },
    });
    expect(request).toMatchObject({
      model: 'llama-3',
      messages: [
        { role: 'system', content: words },
        {
          role: 'user',
          content: [
            { type: 'text', text: words, cache_control: { type: 'ephemeral' } },
            { type: 'image_url', image_url: { url: words, detail: 'low' } },
            { type: 'input_audio', input_audio: { data: words, format: 'wav' } },
          ],
        },
        { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', function: { name: 'weather' } }] },
        { role: 'tool', tool_call_id: 'call_1', content: words },
      ],
      tools: [{ type: 'function', function: { name: 'weather', description: 'the weather' } }],
      stream: true,
      max_tokens: 64,
      temperature: 0.7,
      user: expect.stringMatching(/^[0-9a-f]{16} /),
    });
    const messages = request['messages'] as { tool_calls?: { function: { arguments: string } }[] }[];
    // Servers read the arguments as JSON, and refuse a request where they are none.
    expect(JSON.parse(messages[2]?.tool_calls?.[0]?.function.arguments ?? '')).toEqual({ text: words });
  });

  it.each([
    ['completions', { model: 'm', prompt: secret('a'), suffix: secret('b'), n: 1 }],
    ['a batch of completions', { model: 'm', prompt: [secret('a'), secret('b')] }],
    [
      'responses',
      {
        model: 'm',
        instructions: secret('a'),
        input: [{ role: 'user', content: [{ type: 'input_text', text: secret('b') }] }],
      },
    ],
    ['embeddings', { model: 'm', input: [secret('a')], encoding_format: 'float' }],
    ['reranking', { model: 'm', query: secret('a'), documents: [secret('b'), { text: secret('c') }] }],
    [
      'messages',
      {
        model: 'm',
        system: [{ type: 'text', text: secret('a') }],
        messages: [
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't1', content: secret('b') }] },
        ],
      },
    ],
    [
      'a completion',
      {
        id: 'c',
        choices: [{ index: 0, text: secret('a'), logprobs: { tokens: [secret('b')] } }],
        usage: { prompt_tokens: 5 },
      },
    ],
    [
      'a chat completion',
      {
        choices: [
          {
            message: {
              role: 'assistant',
              content: secret('a'),
              tool_calls: [{ function: { arguments: secret('b') } }],
            },
            finish_reason: 'stop',
          },
        ],
      },
    ],
    [
      'a piece of a chat completion',
      {
        choices: [
          {
            delta: { content: secret('a'), tool_calls: [{ index: 0, function: { arguments: secret('b') } }] },
          },
        ],
      },
    ],
    [
      'a response',
      { id: 'r', output: [{ type: 'message', content: [{ type: 'output_text', text: secret('a') }] }] },
    ],
    ['a piece of a response', { type: 'response.output_text.delta', delta: secret('a'), item_id: 'i' }],
    [
      'the end of a response',
      {
        type: 'response.completed',
        response: { id: 'r', output: [{ content: [{ text: secret('a') }] }], instructions: secret('b') },
      },
    ],
    [
      'a message',
      { type: 'message', content: [{ type: 'text', text: secret('a') }], usage: { output_tokens: 3 } },
    ],
    ['an error', { error: { type: 'invalid_request_error', message: secret('a'), code: 400 } }],
    ['a validation error', { detail: [{ loc: ['body'], input: secret('a') }] }],
  ])('covers %s', (_, document) => {
    const result = covered('chat', document);
    for (const name of ['model', 'id', 'type', 'usage', 'n', 'encoding_format', 'item_id']) {
      expect(result[name]).toEqual((document as Record<string, unknown>)[name]);
    }
  });

  it('keeps the kind of a part only where it is a word', () => {
    const result = covered('chat', {
      messages: [{ content: [{ type: 'secret kind of part' }, { type: { a: ['secret'] } }] }],
    });
    expect(result).toMatchObject({ messages: [{ content: [{ type: words }, { type: { a: [words] } }] }] });
  });

  it('gives way to what a user asks for', () => {
    const redaction = bodyRedaction(['/messages=drop', '/prompt=hash', '/input=mask'], ['chat']);
    const { text } = cover(
      redaction,
      '{"messages":[{"content":"x"}],"prompt":"0123456789abcdefgh","input":[{"type":"message"}]}',
    );
    expect(JSON.parse(text)).toEqual({
      messages: null,
      prompt: expect.stringMatching(/^[0-9a-f]{16} [a-z]$/),
      input: [{ type: words }],
    });
    expect(text).not.toContain('"message"');
  });

  it('drops embeddings', () => {
    expect(covered('chat', { data: [{ index: 0, embedding: [0.1, -0.2] }] })).toEqual({
      data: [{ index: 0, embedding: null }],
    });
  });
});

describe('presets v1 and v2', () => {
  it('cover instances and predictions', () => {
    expect(covered('v1', { signature_name: 's', instances: [{ text: secret('a'), age: 41 }] })).toEqual({
      signature_name: 's',
      instances: [{ text: words, age: 10 }],
    });
    expect(covered('v1', { predictions: [[0.25, 0.75]] })['predictions']).not.toEqual([[0.25, 0.75]]);
  });

  it('cover the data of tensors and leave their shape', () => {
    const tensor = { name: 'x', datatype: 'BYTES', shape: [2], data: [secret('a'), secret('b')] };
    expect(covered('v2', { id: '7', inputs: [tensor], outputs: [{ name: 'y' }] })).toEqual({
      id: '7',
      inputs: [{ ...tensor, data: [words, words] }],
      outputs: [{ name: 'y' }],
    });
  });
});
