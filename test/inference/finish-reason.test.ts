import { describe, expect, test } from 'vitest';
import type { FinishReason } from '../../src/core/exchange.ts';
import { finishReasonIn } from '../../src/inference/finish-reason.ts';
import { AnswerScan } from '../../src/inference/stream-timing.ts';

const found = (text: string): FinishReason | null => finishReasonIn(Buffer.from(text));
const chunk = (finish: string | null, content = 'x'): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] })}\n\n`;

describe('the finish reason', () => {
  test.each<[string, object, FinishReason | null]>([
    ['OpenAI', { choices: [{ message: { content: 'a' }, finish_reason: 'length' }], usage: {} }, 'length'],
    ['Anthropic', { content: [], stop_reason: 'end_turn', stop_sequence: null, usage: {} }, 'stop'],
    ['Ollama', { message: {}, done_reason: 'stop', done: true }, 'stop'],
    ['Gemini', { candidates: [{ content: {}, finishReason: 'MAX_TOKENS' }] }, 'length'],
    ['Gemini', { candidates: [{ finishReason: 'PROHIBITED_CONTENT' }] }, 'content_filter'],
    ['Bedrock', { stopReason: 'x', stop_reason: 'guardrail_intervened' }, 'content_filter'],
    ['TGI', { generated_text: '', details: { finish_reason: 'eos_token' } }, 'stop'],
    ['a server with its own reasons', { choices: [{ finish_reason: 'weather' }] }, 'other'],
    ['none', { choices: [{ finish_reason: null }] }, null],
    ['a number', { finish_reason: 7 }, null],
  ])('of %s is read from a whole answer', (_, document, reason) => {
    expect(found(JSON.stringify(document))).toBe(reason);
    expect(found(JSON.stringify(document, null, 2))).toBe(reason);
  });

  test('is not what a text says', () => {
    expect(found(JSON.stringify({ text: '{"finish_reason":"stop"}' }))).toBeNull();
    expect(found(JSON.stringify({ text: '"finish_reason"', finish_reason: 'length' }))).toBe('length');
  });

  test('is the last of a stream, and of any answer that is longer than what is kept of it', () => {
    const stream = new AnswerScan('events');
    for (let nth = 0; nth < 500; nth += 1) stream.write(Buffer.from(chunk(null)));
    stream.write(Buffer.from(`${chunk('length', '')}data: [DONE]\n\n`));
    stream.finish();
    expect(stream.finishReason).toBe('length');
    const whole = new AnswerScan('document');
    const document = { choices: [{ message: { content: 'y'.repeat(20_000) }, finish_reason: 'tool_calls' }] };
    const bytes = Buffer.from(JSON.stringify(document));
    for (let at = 0; at < bytes.length; at += 1_000) whole.write(bytes.subarray(at, at + 1_000));
    whole.finish();
    expect(whole.finishReason).toBe('tool_calls');
  });

  test('is unknown where the last bytes have none, or end within it', () => {
    expect(found('')).toBeNull();
    expect(found('{"finish_reason"')).toBeNull();
    expect(found('{"finish_reason":"sto')).toBeNull();
    expect(found(`{"finish_reason":"${'a'.repeat(100)}"}`)).toBeNull();
  });
});
