import { describe, expect, test } from 'vitest';
import type { FinishReason } from '../../../src/core/exchange.ts';
import { checkWord } from '../../../src/core/run.ts';
import type { StreamFacts } from '../../../src/replay/check/answer-copy.ts';
import { AnswerComparer } from '../../../src/replay/check/checker.ts';
import { streamFactsOf } from '../../../src/replay/check/compare-text.ts';
import { CHECK_TOLERANCE } from '../../../src/replay/options/parsers.ts';
import { requestMessage, wholeBody } from '../../support/exchanges.ts';

const CHAT = 'POST /v1/chat/completions';
const JSON_TYPE = 'application/json';
const EVENTS = 'text/event-stream';

interface Asked {
  readonly route?: string;
  readonly type?: string;
  readonly request?: string;
  readonly redacted?: readonly string[];
  readonly ignore?: readonly string[];
  readonly facts?: StreamFacts;
}

/** The result of comparing a body with the recorded one, as rows have it, and where they differ. */
function checked(recorded: string, answered: string, asked: Asked = {}): string {
  const { route = CHAT, type = JSON_TYPE, request = '{}', redacted = [], ignore = [], facts } = asked;
  const options = { level: 'values', tolerance: CHECK_TOLERANCE, ignore, finishes: true } as const;
  const head = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\n\r\n`, 'latin1');
  const response = { head, redacted, body: wholeBody(Buffer.from(recorded)), trailers: null };
  const kept = {
    bytes: Buffer.from(answered),
    contentType: type,
    contentEncoding: null,
    inferenceHeaderLength: null,
  };
  const check = new AnswerComparer(options).check(
    { request: requestMessage({ body: request }), response, requestChunks: [], responseChunks: [] },
    {
      index: 0,
      segment: 's',
      exchangeId: 1,
      route,
      streamed: facts !== undefined,
      ...(facts === undefined ? { facts: null, kept } : { facts, kept: null }),
    },
  );
  const pointer = check.result === 'mismatch' && check.pointer !== null ? ` ${check.pointer}` : '';
  return `${checkWord(check)}${pointer}`;
}

type Choice = Readonly<Record<string, unknown>>;

function chat(...choices: readonly Choice[]): string {
  const usage = { prompt_tokens: 1, completion_tokens: 20 };
  const whole = choices.map((choice, index) => ({ index, finish_reason: 'stop', ...choice }));
  return JSON.stringify({ id: 'x', object: 'chat.completion', choices: whole, usage });
}

const text = (content: string) => ({ message: { role: 'assistant', content } });
const CALL = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Bern"}' } };

describe('an answer of several choices', () => {
  test('differs where any of them ends for another reason, and not the last one alone', () => {
    const ended = (...reasons: readonly string[]) =>
      chat(...reasons.map((finish_reason) => ({ ...text('words'), finish_reason })));
    expect(checked(ended('stop', 'length', 'stop'), ended('stop', 'length', 'stop'))).toBe('same');
    expect(checked(ended('stop', 'stop', 'stop'), ended('length', 'stop', 'stop'))).toBe('mismatch:finish');
    expect(checked(ended('stop', 'length'), ended('length', 'stop'))).toBe('mismatch:finish');
    const likeliest = { request: '{"temperature":0}' };
    const other = chat({ ...text('other'), finish_reason: 'length' }, text('words'));
    expect(checked(ended('stop', 'stop'), other, likeliest)).toBe('mismatch:finish');
  });

  test('differs in the same way where it streams, in whatever order its choices end', () => {
    const stream = (...ends: readonly (readonly [index: number, reason: string])[]) =>
      [
        ...ends.map(([index]) => ({ choices: [{ index, delta: { content: 'word' } }] })),
        ...ends.map(([index, finish_reason]) => ({ choices: [{ index, delta: {}, finish_reason }] })),
      ]
        .map((event) => `data: ${JSON.stringify(event)}\n\n`)
        .join('');
    const factsOf = (body: string) => {
      const facts = streamFactsOf(Buffer.from(body), EVENTS);
      if (facts === null) throw new Error('it was not read as a stream');
      return facts;
    };
    const against = (recorded: string, answered: string) =>
      checked(recorded, '', { type: EVENTS, facts: factsOf(answered) });
    const recorded = stream([0, 'stop'], [1, 'length']);
    expect(factsOf(recorded).finishes).toEqual(['stop', 'length'] satisfies FinishReason[]);
    expect(against(recorded, stream([1, 'length'], [0, 'stop']))).toBe('same');
    expect(against(recorded, stream([0, 'length'], [1, 'length']))).toBe('mismatch:finish');
    expect(against(recorded, stream([0, 'length'], [1, 'stop']))).toBe('mismatch:finish');
    expect(against(recorded, stream([1, 'length']))).toBe('mismatch:finish');
    expect(against(stream([0, 'stop']), stream([0, 'stop']))).toBe('same');
    expect(factsOf(stream([0, 'stop'])).finishes).toBeNull();
    // Beyond what is told apart, the first ones are.
    const many = Array.from({ length: 40 }, (_, index) => [index, 'stop'] as const);
    expect(factsOf(stream(...many)).finishes).toHaveLength(16);
  });
});

describe('a sampled chat answer', () => {
  const calls = (parts: Choice = {}) => ({
    message: { role: 'assistant', content: null, tool_calls: [CALL] },
    finish_reason: 'tool_calls',
    ...parts,
  });

  test('whose content is null because it calls tools is the same with other calls, and with words beside them', () => {
    const other = { ...CALL, id: 'call_2', function: { name: 'clock', arguments: '{}' } };
    const spoken = { role: 'assistant', content: 'Let me look.', tool_calls: [other] };
    expect(checked(chat(calls()), chat(calls({ message: spoken })))).toBe('same');
    expect(checked(chat(calls({ message: spoken })), chat(calls()))).toBe('same');
  });

  test('differs where calls of tools, or all words, are gone though it ended for the same reason', () => {
    const nothing = { role: 'assistant', content: null };
    const at = '/choices/0/message';
    expect(checked(chat(calls()), chat(calls({ message: nothing })))).toBe(`mismatch:shape ${at}/tool_calls`);
    expect(checked(chat(text('words')), chat({ message: nothing }))).toBe(`mismatch:shape ${at}/content`);
    expect(checked(chat({ message: nothing }), chat(text('words')))).toBe(`mismatch:shape ${at}/content`);
    expect(checked(chat({ message: nothing }), chat(text('')))).toBe('same');
    expect(checked(chat(calls()), chat(text('words')))).toBe('mismatch:finish');
    const second = chat(text('words'), { message: nothing });
    expect(checked(chat(text('one'), text('two')), second)).toBe('mismatch:shape /choices/1/message/content');
    // What was masked, or is not to be looked at, is no difference.
    const dropped = { redacted: ['/choices/*/message/content'] };
    expect(checked(chat({ message: { role: 'assistant' } }), chat(text('words')), dropped)).toBe('same');
    const ignore = ['/choices/*/message'];
    expect(checked(chat(text('words')), chat({ message: nothing }), { ignore })).toBe('same');
  });

  test('differs where one says why it ended and the other does not', () => {
    const ended = (finish_reason: string | null) => chat({ ...text('words'), finish_reason });
    expect(checked(ended(null), ended('length'))).toMatch(/^mismatch:shape/);
    expect(checked(ended('stop'), ended(null))).toMatch(/^mismatch:shape/);
  });

  test('differs where a message says why it ended and the other does not', () => {
    const ended = (stop_reason: string | null) =>
      JSON.stringify({ type: 'message', role: 'assistant', content: [], stop_reason, stop_sequence: null });
    const route = 'POST /v1/messages';
    expect(checked(ended(null), ended('end_turn'), { route })).toMatch(/^mismatch:shape/);
    expect(checked(ended('end_turn'), ended('end_turn'), { route })).toBe('same');
  });

  test('is looked at only where nothing is ignored, and the member that differs is named', () => {
    const saying = (members: Choice) => chat({ message: { role: 'assistant', content: null, ...members } });
    const thinking = saying({ reasoning_content: 'hm' });
    const ignore = ['/choices/*/message/reasoning_content'];
    expect(checked(thinking, saying({ reasoning_content: '' }), { ignore })).toBe('same');
    expect(checked(thinking, saying({ reasoning_content: '' }))).toBe(
      'mismatch:shape /choices/0/message/reasoning_content',
    );
    const calling = saying({ function_call: { name: 'weather', arguments: '{}' } });
    expect(checked(calling, chat(text('words')))).toBe('mismatch:shape /choices/0/message/function_call');
  });

  test('is the same whichever stop word ended it', () => {
    const ended = (stop_reason: unknown) => chat({ ...text('words'), stop_reason });
    expect(checked(ended(null), ended('###'))).toBe('same');
    expect(checked(ended(128_009), ended(null))).toBe('same');
  });
});

describe('integers beyond 2^53', () => {
  const V1 = { route: 'POST /v1/models/{model}:predict' };

  test('differ when their last digits do, and are the same however they are written', () => {
    const ids = (...each: readonly string[]) => `{"predictions":[${each.join(', ')}]}`;
    const check = (recorded: string, answered: string) => checked(recorded, answered, V1);
    expect(check(ids('9007199254740993'), ids('9007199254740992'))).toBe('mismatch:values /predictions/0');
    expect(check(ids('1', '-12345678901234567890'), ids('1', '-12345678901234567891'))).toBe(
      'mismatch:values /predictions/1',
    );
    expect(check(ids('12345678901234567890', '1'), ids('12345678901234567890', '1.0'))).toBe('same');
    expect(check(ids('12345678901234567890'), ids('1.2345678901234567890e19'))).toBe('same');
    expect(check(ids('12345678901234567890'), ids('"12345678901234567890"'))).toBe(
      'mismatch:shape /predictions/0',
    );
    // Long fractions are no integers, and stay within the tolerance.
    expect(check(ids('0.1234567890123456789', '1'), ids('0.1234567890123456788', '1.0'))).toBe('same');
  });

  test('have the type of numbers in the outside of generated text', () => {
    const made = (seed: string) => `{"choices":[],"seed":${seed}}`;
    expect(checked(made('12345678901234567890'), made('7'))).toBe('same');
  });
});
