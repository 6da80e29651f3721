import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { Message } from '../../../src/core/exchange.ts';
import type { AnswerToCheck, KeptAnswer } from '../../../src/replay/check/answer-copy.ts';
import { AnswerComparer, type ComparerOptions } from '../../../src/replay/check/checker.ts';
import { CHECK_TOLERANCE } from '../../../src/replay/options/parsers.ts';
import { partOfBody, requestMessage, wholeBody } from '../../support/exchanges.ts';

const V2 = 'POST /v2/models/{model}/infer';
const CHAT = 'POST /v1/chat/completions';

interface Answer {
  readonly type?: string;
  readonly coding?: string;
  readonly jsonBytes?: number;
  readonly redacted?: readonly string[];
  readonly body: string | Uint8Array | object;
}

function bytesOf(body: Answer['body']): Uint8Array {
  if (body instanceof Uint8Array) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

function message({ type = 'application/json', coding, jsonBytes, redacted = [], body }: Answer): Message {
  const lines = [
    'HTTP/1.1 200 OK',
    `content-type: ${type}`,
    ...(coding === undefined ? [] : [`Content-Encoding: ${coding}`]),
    ...(jsonBytes === undefined ? [] : [`Inference-Header-Content-Length: ${jsonBytes}`]),
  ];
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  return { head, redacted, body: wholeBody(bytesOf(body)), trailers: null };
}

function keptOf({ type = 'application/json', coding, jsonBytes, body }: Answer): KeptAnswer {
  return {
    bytes: bytesOf(body),
    contentType: type,
    contentEncoding: coding ?? null,
    inferenceHeaderLength: jsonBytes === undefined ? null : String(jsonBytes),
  };
}

function answerOf(route: string, parts: Partial<AnswerToCheck>): AnswerToCheck {
  return { index: 0, segment: 's', exchangeId: 1, route, streamed: false, facts: null, kept: null, ...parts };
}

function check(
  recorded: Answer | Message | null,
  answered: Answer | Partial<AnswerToCheck>,
  route = V2,
  options: Partial<ComparerOptions> = {},
  request = '{}',
) {
  const comparer = new AnswerComparer({
    level: 'values',
    tolerance: CHECK_TOLERANCE,
    ignore: [],
    finishes: true,
    ...options,
  });
  const response = recorded === null || 'head' in recorded ? recorded : message(recorded);
  const payload = {
    request: requestMessage({ body: request }),
    response,
    requestChunks: [],
    responseChunks: [],
  };
  const parts = 'body' in answered ? { kept: keptOf(answered) } : answered;
  const result = comparer.check(payload, answerOf(route, parts));
  if (result.result === 'same') return 'same';
  return result.result === 'mismatch'
    ? `${result.kind}${result.pointer === null ? '' : ` ${result.pointer}`}`
    : `unchecked ${result.reason}`;
}

describe('answers that came whole', () => {
  test('are compared under their codings', () => {
    const one = { outputs: [1.5], id: 'a' };
    const coded = { coding: 'gzip', body: gzipSync(JSON.stringify(one)) };
    expect(check(coded, { body: { ...one, id: 'b' } })).toBe('same');
    expect(check({ body: one }, coded)).toBe('same');
    expect(check(coded, { body: { outputs: [1.6] } })).toBe('values /outputs/0');
    expect(check({ body: one }, { coding: 'gzip', body: 'no gzip' })).toBe('shape');
    expect(check({ body: one }, { coding: 'own', body: one })).toBe('unchecked unreadable');
    const bomb = { coding: 'gzip', body: gzipSync(Buffer.alloc(4 * 1024 * 1024)) };
    expect(check({ body: one }, bomb)).toBe('unchecked answer_too_large');
  });

  test('of no known form are compared byte by byte', () => {
    const text = (body: string, type = 'text/plain') => ({ type, body });
    expect(check(text('abc'), text('abc'))).toBe('same');
    expect(check(text('abc'), text('abd'))).toBe('values');
    expect(check(text('abc'), text('abcd'))).toBe('length');
    expect(check(text('abc'), text('abd'), V2, { level: 'shape' })).toBe('same');
    expect(check(text('abc'), text('abc', 'text/html'))).toBe('shape');
    // JSON under any type is JSON.
    expect(check(text('{"a":1.0}'), text('{"a": 1}'))).toBe('same');
    expect(check({ body: '{"a":1}' }, { body: '{"a":' })).toBe('shape');
    expect(check({ body: '{"a":NaN}' }, { body: '{"a":NaN }' })).toBe('unchecked unreadable');
    expect(check({ body: '' }, { body: '' })).toBe('same');
  });

  test('are unchecked where the recorded one is not there, and say why', () => {
    const content = Buffer.from('{"a":1}');
    const whole = message({ body: content });
    const answered = { body: '{"a":2}' };
    expect(check(null, answered)).toBe('unchecked no_recorded_answer');
    expect(check({ ...whole, body: partOfBody(content, null) }, answered)).toBe('unchecked no_recorded_body');
    expect(check({ ...whole, body: partOfBody(content, 3) }, answered)).toBe('unchecked recorded_truncated');
    const dropped = { ...whole, redacted: ['!unknown_type'], body: partOfBody(content, null) };
    expect(check(dropped, answered)).toBe('unchecked redacted');
  });

  test('differ for certain where something else than what was masked does', () => {
    const recorded = { redacted: ['/note', 'set-cookie'], body: { note: 'words', score: 0.5 } };
    expect(check(recorded, { body: { note: 'secret', score: 0.5 } })).toBe('unchecked redacted');
    expect(check(recorded, { body: { note: 'secret', score: 0.6 } })).toBe('values /score');
    expect(check(recorded, { body: { note: 'secret', score: 0.6 } }, V2, { level: 'shape' })).toBe('same');
    expect(check(recorded, { body: { note: 'secret', score: 0.5 } }, V2, { ignore: ['/note'] })).toBe('same');
  });
});

describe('binary tensors', () => {
  const tensor = (values: readonly number[], datatype = 'FP32', id = 'a'): Answer => {
    const floats = Buffer.concat(
      values.map((value) => {
        const bytes = Buffer.alloc(4);
        if (datatype === 'FP32') bytes.writeFloatLE(value);
        else bytes.writeInt32LE(value);
        return bytes;
      }),
    );
    const json = Buffer.from(
      JSON.stringify({
        id,
        outputs: [
          { name: 'y', datatype, shape: [values.length], parameters: { binary_data_size: floats.length } },
        ],
      }),
    );
    return { type: 'application/octet-stream', jsonBytes: json.length, body: Buffer.concat([json, floats]) };
  };

  test('are compared element by element, floats within the tolerance', () => {
    expect(check(tensor([1, 2.5, 3]), tensor([1, 2.500001, 3], 'FP32', 'b'))).toBe('same');
    expect(check(tensor([1, 2.5, 3]), tensor([1, 2.6, 3]))).toBe('values /outputs/0/data/1');
    // Neighbours among floats of that size, both whole.
    expect(check(tensor([16_777_216]), tensor([16_777_218]))).toBe('same');
    expect(check(tensor([1, 2], 'INT32'), tensor([1, 3], 'INT32'))).toBe('values /outputs/0/data');
    expect(check(tensor([1, 2]), tensor([1, 3]), V2, { level: 'shape' })).toBe('same');
  });

  test('of another size or none at all are another shape, or length', () => {
    expect(check(tensor([1, 2]), tensor([1, 2], 'INT32'))).toBe('shape /outputs/0/datatype');
    expect(check(tensor([1, 2]), tensor([1, 2, 3]))).toBe('length /outputs/0/data');
    const { jsonBytes: _none, ...plain } = tensor([1, 2]);
    expect(check(tensor([1, 2]), plain)).toBe('shape');
  });

  test('of another type or size differ in shape where shapes are all that is compared', () => {
    const shape = { level: 'shape' } as const;
    expect(check(tensor([1, 2]), tensor([1, 2], 'INT32'), V2, shape)).toBe('shape /outputs/0/datatype');
    expect(check(tensor([1, 2]), tensor([1, 2, 3]), V2, shape)).toBe('length /outputs/0/data');
  });

  test('that were masked are unchecked', () => {
    const recorded = { ...tensor([0, 0]), redacted: ['/outputs/*/data'] };
    expect(check(recorded, tensor([1, 2]))).toBe('unchecked redacted');
  });
});

describe('generated text', () => {
  const chat = (content: string, finish = 'stop', tokens = 20, extra: object = {}) => ({
    body: {
      id: content,
      object: 'chat.completion',
      created: content.length,
      choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: finish }],
      usage: { prompt_tokens: 1, completion_tokens: tokens },
      ...extra,
    },
  });

  test('of another sample is the same by its outside, its end and a like length', () => {
    expect(check(chat('one'), chat('another'), CHAT)).toBe('same');
    expect(check(chat('one'), chat('another', 'length'), CHAT)).toBe('finish');
    expect(check(chat('one'), chat('another', 'length'), CHAT, { finishes: false })).toBe('same');
    expect(check(chat('one'), chat('another', 'stop', 9), CHAT)).toBe('length');
    const by = (model: string) => chat(model, 'stop', 20, { model });
    expect(check(by('m-70b'), by('m-8b'), CHAT)).toBe('values /model');
    expect(check(by('m-70b'), by('m-8b'), CHAT, { level: 'shape' })).toBe('same');
    expect(check(by('m-70b'), by('m-8b'), CHAT, { ignore: ['/model'] })).toBe('same');
    expect(check(chat('one'), chat('another', 'stop', 10), CHAT)).toBe('same');
    expect(check(chat('one'), { body: { error: { message: 'no' } } }, CHAT)).toBe('shape /object');
    expect(check(chat('one'), chat('one', 'stop', 20, { choices: [] }), CHAT)).toBe('shape /choices');
  });

  test('is only what says that it is, on a route that serves models of any kind', () => {
    const any = 'POST /invocations';
    expect(check({ body: { predictions: [0.1, 0.9] } }, { body: { predictions: [0.9, 0.1] } }, any)).toBe(
      'values /predictions/0',
    );
    expect(check({ body: [{ label: 'cat' }] }, { body: [{ label: 'dog' }] }, any)).toBe('values /0/label');
    expect(check(chat('one'), chat('two'), any)).toBe('same');
    const text = (words: string) => ({ body: [{ generated_text: words }] });
    expect(check(text('one'), text('two'), any)).toBe('same');
  });

  test('asked for without any chance in it is to be the same text', () => {
    const asked = '{"messages":[],"temperature":0 }';
    expect(check(chat('one'), chat('one'), CHAT, {}, asked)).toBe('same');
    expect(check(chat('one'), chat('two'), CHAT, {}, asked)).toBe('values /choices/0/message/content');
    expect(check(chat('one'), chat('two', 'length'), CHAT, {}, asked)).toBe('finish');
  });

  const events = (words: number, finish: string | null): Answer => ({
    type: 'text/event-stream',
    body: [
      ...Array.from({ length: words }, (_, at) => ({ choices: [{ delta: { content: `w${at}` } }] })),
      ...(finish === null ? [] : [{ choices: [{ delta: {}, finish_reason: finish }] }]),
    ]
      .map((event) => `data: ${JSON.stringify(event)}\n\n`)
      .join(''),
  });
  const facts = (contentEvents: number, finish: 'stop' | 'length' | null) => ({
    streamed: true,
    facts: { contentEvents, outputTokens: null, finish },
  });

  test('that streams and says neither why it ended nor how much it was is unchecked', () => {
    const typed = (score: number) => ({
      type: 'text/event-stream',
      body: `data: {"type":"result","score":${score}}\n\n`,
    });
    const empty = { facts: { contentEvents: 0, outputTokens: null, finish: null } };
    expect(check(typed(0.1), empty, 'POST /predict')).toBe('unchecked unreadable');
    expect(check(typed(0.1), empty, 'POST /predict', { level: 'shape' })).toBe('same');
    expect(check(typed(0.1), { facts: { ...empty.facts, contentEvents: 2 } }, 'POST /predict')).toBe(
      'length',
    );
  });

  test('that streams is compared by its end and its length', () => {
    expect(check(events(20, 'stop'), facts(12, 'stop'), CHAT)).toBe('same');
    expect(check(events(20, 'stop'), facts(9, 'stop'), CHAT)).toBe('length');
    expect(check(events(20, 'stop'), facts(20, 'length'), CHAT)).toBe('finish');
    expect(check(events(20, 'stop'), facts(20, null), CHAT)).toBe('finish');
    expect(check(events(20, 'stop'), facts(1, null), CHAT, { level: 'shape' })).toBe('same');
    // One that was kept, because it came under a coding.
    const coded = {
      ...events(20, 'length'),
      coding: 'gzip',
      body: gzipSync(bytesOf(events(20, 'length').body)),
    };
    expect(check(events(20, 'stop'), coded, CHAT)).toBe('finish');
    expect(check(events(20, 'stop'), chat('whole'), CHAT)).toBe('shape');
    expect(check(chat('whole'), { ...facts(20, 'stop'), streamed: false }, CHAT)).toBe('shape');
  });

  test('that was masked in the recording is compared by what is left', () => {
    const masked = { ...events(20, 'stop'), redacted: ['/choices/*/delta/content'] };
    expect(check(masked, facts(20, 'length'), CHAT)).toBe('finish');
    expect(check(masked, facts(20, 'stop'), CHAT)).toBe('same');
    const dropped = { ...events(0, 'stop'), redacted: ['/choices/*/delta'] };
    expect(check(dropped, facts(20, 'stop'), CHAT)).toBe('unchecked redacted');
    const hidden = { ...events(20, 'stop'), redacted: ['/choices'] };
    expect(check(hidden, facts(20, 'length'), CHAT)).toBe('same');
  });
});
