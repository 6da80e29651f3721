import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bringsContent } from '../../src/inference/stream-events.ts';
import { type AnswerForm, AnswerScan } from '../../src/inference/stream-timing.ts';

const event = (value: unknown): string =>
  `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const chat = (delta: unknown): string => event({ choices: [{ index: 0, delta, finish_reason: null }] });

/** Each piece comes a millisecond after the one before it, the first at 1 ms. */
function scanned(form: AnswerForm, pieces: readonly (string | Buffer)[]) {
  const scan = new AnswerScan(form);
  for (const [index, piece] of pieces.entries()) {
    const bytes = Buffer.from(piece);
    scan.write(bytes);
    bytes.fill(0xee);
    scan.arrived((index + 1) * 1e6);
  }
  const { cachedTokens: _, ...usage } = scan.finish();
  return { firstMs: scan.firstTokenNs === null ? null : scan.firstTokenNs / 1e6, ...usage };
}

describe('an event that brings content', () => {
  it.each<[string, unknown, boolean]>([
    ['a role', { choices: [{ delta: { role: 'assistant', content: '' } }] }, false],
    ['a word', { choices: [{ delta: { content: 'Hi' } }] }, true],
    ['a space', { choices: [{ delta: { content: ' ' } }] }, true],
    ['reasoning', { choices: [{ delta: { reasoning_content: 'Hm' } }] }, true],
    [
      'the name of a tool',
      {
        choices: [
          {
            delta: {
              tool_calls: [{ index: 0, id: 'c', type: 'function', function: { name: 'f', arguments: '' } }],
            },
          },
        ],
      },
      true,
    ],
    [
      'a tool without a name yet',
      { choices: [{ delta: { tool_calls: [{ index: 0, id: 'c', type: 'function' }] } }] },
      false,
    ],
    ['the end', { choices: [{ delta: {}, finish_reason: 'stop' }] }, false],
    ['counts', { choices: [], usage: { prompt_tokens: 1 } }, false],
    ['a completion', { choices: [{ text: 'a', index: 0 }] }, true],
    ['responses’ start', { type: 'response.created', response: { id: 'r', output: [] } }, false],
    ['responses’ delta', { type: 'response.output_text.delta', delta: 'Hi' }, true],
    ['responses’ arguments', { type: 'response.function_call_arguments.delta', delta: '{' }, true],
    ['Anthropic’s start', { type: 'message_start', message: { content: [], usage: {} } }, false],
    ['Anthropic’s ping', { type: 'ping' }, false],
    ['Anthropic’s block', { type: 'content_block_start', content_block: { type: 'text', text: '' } }, false],
    [
      'Anthropic’s tool',
      { type: 'content_block_start', content_block: { type: 'tool_use', id: 't', name: 'f', input: {} } },
      true,
    ],
    [
      'responses’ tool',
      { type: 'response.output_item.added', item: { type: 'function_call', name: 'f', arguments: '' } },
      true,
    ],
    [
      'responses’ message',
      { type: 'response.output_item.added', item: { type: 'message', role: 'assistant', content: [] } },
      false,
    ],
    [
      'responses’ tool once more, when it is whole',
      { type: 'response.output_item.done', item: { type: 'function_call', name: 'f', arguments: '{}' } },
      false,
    ],
    ['Anthropic’s delta', { type: 'content_block_delta', delta: { type: 'text_delta', text: 'Hi' } }, true],
    [
      'Anthropic’s thought',
      { type: 'content_block_delta', delta: { type: 'thinking_delta', thinking: 'Hm' } },
      true,
    ],
    [
      'Anthropic’s signature',
      { type: 'content_block_delta', delta: { type: 'signature_delta', signature: 'x' } },
      false,
    ],
    ['Anthropic’s end', { type: 'message_delta', delta: { stop_reason: 'end_turn' } }, false],
    ['Ollama’s chat', { message: { role: 'assistant', content: 'Hi' }, done: false }, true],
    ['Ollama’s start', { message: { role: 'assistant', content: '' }, done: false }, false],
    ['Ollama’s generate', { response: 'Hi', done: false }, true],
    ['Ollama’s end', { response: '', done: true }, false],
    ['TGI', { token: { id: 1, text: 'Hi', special: false }, generated_text: null }, true],
    ['Triton', { model_name: 'm', text_output: 'Hi' }, true],
    ['Gemini', { candidates: [{ content: { parts: [{ text: 'Hi' }], role: 'model' } }] }, true],
    ['an error', { error: { message: 'no' } }, false],
    ['an error by what it is', { object: 'error', message: 'engine is dead', code: 500 }, false],
    ['a word beside an error that is empty', { text: 'Hi', error: '' }, true],
    ['a word beside an error that is false', { response: 'Hi', done: false, error: false }, true],
    ['somebody’s own form', { word: 'Hi' }, true],
    ['nothing', {}, false],
  ])('is told from one that does not: %s', (_, value, expected) => {
    expect(bringsContent(JSON.stringify(value), '')).toBe(expected);
  });

  it('may be no JSON at all', () => {
    expect(bringsContent('Hi', '')).toBe(true);
    expect(bringsContent('"Hi"', '')).toBe(true);
    expect(bringsContent('', '')).toBe(false);
    expect(bringsContent('[DONE]', '')).toBe(false);
    expect(bringsContent('null', '')).toBe(false);
  });

  it('is none that is named an error, whatever it says', () => {
    for (const data of ['CUDA out of memory', '{"message":"engine is dead","code":500}', '{"text":"Hi"}'])
      expect(bringsContent(data, 'error')).toBe(false);
    expect(bringsContent('Hi', 'token')).toBe(true);
  });

  it('is no sign of life, whatever words that brings', () => {
    for (const name of ['ping', 'heartbeat', 'keepalive'])
      expect(bringsContent('2024-01-01 00:00:00.000000', name)).toBe(false);
    for (const name of ['message', 'delta', 'data', 'pings']) expect(bringsContent('Hi', name)).toBe(true);
  });

  it('is judged without failing, whatever it is', () => {
    fc.assert(fc.property(fc.json({ maxDepth: 6 }), (text) => typeof bringsContent(text, '') === 'boolean'));
    expect(bringsContent(`{"choices":[{"delta":${'['.repeat(5_000)}${']'.repeat(5_000)}}]}`, '')).toBe(false);
  });
});

describe('an answer that is watched', () => {
  it('has its first token when the first content came, not the role, a comment or an empty word', () => {
    const pieces = [
      ': hello\n\n',
      chat({ role: 'assistant' }),
      chat({ content: '' }),
      chat({ content: 'Hi' }),
      chat({ content: '!' }),
    ];
    expect(scanned('events', pieces).firstMs).toBe(4);
    expect(scanned('events', pieces.slice(0, 3)).firstMs).toBeNull();
  });

  it('has it when its event was complete, however the stream is cut', () => {
    const stream = Buffer.from(
      `${chat({ role: 'assistant' })}event: x\r\nid: 7\r\n${chat({ content: 'Zoë' })}${chat({ content: 'b' })}`,
    );
    const complete = stream.indexOf('data: ', stream.indexOf('Zoë'));
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length), { maxLength: 12 }), (cuts) => {
        const at = [...new Set([0, ...cuts, stream.length])].sort((a, b) => a - b);
        const pieces = at.slice(1).map((end, index) => stream.subarray(at[index], end));
        const expected = at.slice(1).findIndex((end) => end >= complete) + 1;
        expect(scanned('events', pieces).firstMs).toBe(expected);
      }),
    );
  });

  it('has none where all that came was an error', () => {
    for (const error of [
      'event: error\ndata: CUDA out of memory\n\n',
      event({ object: 'error', message: 'engine is dead', code: 500 }),
    ])
      expect(scanned('events', [error, event('[DONE]')]).firstMs).toBeNull();
  });

  it('has it also after a byte order mark, wherever that is cut', () => {
    const marked = Buffer.from(`\ufeff${chat({ content: 'Hi' })}`);
    for (const at of [0, 1, 2, 3, 4])
      expect(scanned('events', [marked.subarray(0, at), marked.subarray(at)]).firstMs).toBe(2);
    expect(scanned('lines', [`\ufeff{"response":"","done":false}\n`, '{"response":"Hi"}\n']).firstMs).toBe(2);
  });

  it('counts what the end of a stream says, and what its beginning said of the prompt', () => {
    const start = event({
      type: 'message_start',
      message: { usage: { input_tokens: 25, output_tokens: 1 } },
    });
    const words = Array.from({ length: 300 }, () =>
      event({ type: 'content_block_delta', delta: { text: 'word ' } }),
    );
    const end = event({ type: 'message_delta', delta: {}, usage: { output_tokens: 300 } });
    expect(scanned('events', [start, ...words, end])).toEqual({
      firstMs: 2,
      promptTokens: 25,
      outputTokens: 300,
    });
  });

  it('takes no placeholder for a count: a stream that broke off said 1 token', () => {
    const message = { id: 'm'.repeat(40), usage: { input_tokens: 25, output_tokens: 1 }, model: 'm' };
    const word = event({ type: 'content_block_delta', delta: { text: 'word ' } });
    // Serialised by somebody who sorts keys, too.
    for (const start of [
      event({ type: 'message_start', message }),
      event({ message, type: 'message_start' }),
      `event: message_start\r\n${event({ type: 'message_start', message })}`,
    ]) {
      // However much of the start is still there when it breaks off.
      for (let filler = 0; filler < 2 * start.length; filler += 7) {
        const pieces = [start, word, `: ${'x'.repeat(4_200 - start.length + filler)}\n`, word.repeat(60)];
        const broken = { firstMs: 2, promptTokens: 25, outputTokens: null };
        expect(scanned('events', pieces)).toEqual(broken);
        expect(scanned('events', [pieces.join('')])).toEqual({ ...broken, firstMs: 1 });
        expect(scanned('events', pieces.slice(0, 2))).toEqual(broken);
      }
      const end = event({ type: 'message_delta', usage: { output_tokens: 1 } });
      expect(scanned('events', [start + word + end]).outputTokens).toBe(1);
    }
  });

  it('finds the counts at the end of a last event that is longer than what is kept', () => {
    const completed = {
      type: 'response.completed',
      response: { text: 'x'.repeat(20_000), usage: { input_tokens: 3, output_tokens: 4 } },
    };
    const whole = Buffer.from(event(completed));
    const pieces = Array.from({ length: Math.ceil(whole.length / 1_400) }, (_, index) =>
      whole.subarray(index * 1_400, (index + 1) * 1_400),
    );
    expect(scanned('events', pieces)).toMatchObject({ promptTokens: 3, outputTokens: 4 });
  });

  it('may be lines, the last without its end', () => {
    const line = (content: string): string => JSON.stringify({ message: { role: 'assistant', content } });
    expect(scanned('lines', [`${line('')}\n`, `${line('Hi')}\n`]).firstMs).toBe(2);
    expect(scanned('lines', [`${line('')}\n`, line('Hi')]).firstMs).toBe(2);
    const done = JSON.stringify({ done: true, prompt_eval_count: 3, eval_count: 9 });
    expect(scanned('lines', [`${line('Hi')}\n`, `${done}\n`])).toEqual({
      firstMs: 1,
      promptTokens: 3,
      outputTokens: 9,
    });
  });

  it('may be a document, which has counts and no first token', () => {
    const body = Buffer.from(
      JSON.stringify({
        choices: [{ message: { content: 'x'.repeat(9_000) } }],
        usage: { prompt_tokens: 2, completion_tokens: 1 },
      }),
    );
    for (const size of [1, 100, 5_000, body.length]) {
      const pieces = Array.from({ length: Math.ceil(body.length / size) }, (_, index) =>
        body.subarray(index * size, (index + 1) * size),
      );
      expect(scanned('document', pieces)).toEqual({ firstMs: null, promptTokens: 2, outputTokens: 1 });
    }
  });

  it('may be a document that counts before its long answer, as after it', () => {
    const usage = { prompt_tokens: 2, completion_tokens: 1 };
    const choices = [{ message: { content: 'x'.repeat(9_000) } }];
    const body = Buffer.from(JSON.stringify({ id: 'i'.repeat(300), usage, choices }));
    for (const size of [1, 100, 4_096, 5_000, body.length]) {
      const pieces = Array.from({ length: Math.ceil(body.length / size) }, (_, index) =>
        body.subarray(index * size, (index + 1) * size),
      );
      expect(scanned('document', pieces)).toEqual({ firstMs: null, promptTokens: 2, outputTokens: 1 });
    }
    const both = JSON.stringify({
      usage: { completion_tokens: 5 },
      choices,
      details: {},
      eval_count: 7,
    });
    expect(scanned('document', [both]).outputTokens).toBe(7);
  });

  it('is given up without content after so much, and costs no more', () => {
    const noise = Buffer.from(`${': '.repeat(500)}\n`);
    const pieces = [...Array.from({ length: 400 }, () => noise), Buffer.from(chat({ content: 'late' }))];
    expect(scanned('events', pieces).firstMs).toBeNull();
  });
});
