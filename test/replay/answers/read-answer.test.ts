import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addGaps } from '../../../src/core/gap-counts.ts';
import { Histogram } from '../../../src/core/histogram.ts';
import { type ExpectedAnswer, NOTHING_EXPECTED } from '../../../src/replay/answers/expected-answer.ts';
import { type AnswerFacts, type AnswerHead, AnswerReader } from '../../../src/replay/answers/read-answer.ts';
import { missing, sharedData } from '../../support/shared-data.ts';

const EVENTS: AnswerHead = { contentType: 'text/event-stream', contentEncoding: null, hasLength: false };
const LINES: AnswerHead = { ...EVENTS, contentType: 'application/x-ndjson' };
const JSON_HEAD: AnswerHead = { contentType: 'application/json', contentEncoding: null, hasLength: true };
const CHAT: ExpectedAnswer = { counts: true, streams: true, ends: true, cancelAfterNs: null };

const event = (value: unknown): string =>
  `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const word = (content: string, finish: string | null = null): string =>
  event({ choices: [{ index: 0, delta: content === '' ? {} : { content }, finish_reason: finish }] });
const DONE = event('[DONE]');

interface Read extends AnswerFacts {
  readonly broken: boolean;
}

/** Each piece comes a millisecond after the one before it, the first at 1 ms. */
function read(pieces: readonly (string | Buffer)[], head = EVENTS, expected = CHAT): Read {
  const reader = AnswerReader.of(200, head, expected);
  if (reader === null) throw new Error('the answer is not read');
  for (const [index, piece] of pieces.entries()) {
    const bytes = Buffer.from(piece);
    reader.write(bytes, (index + 1) * 1e6);
    // What it was given belongs to the transport, which uses it again.
    bytes.fill(0xee);
  }
  return { ...reader.finish(), broken: reader.broken };
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [0, ...[...new Set(at.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)];
  return places.map((from, index) => bytes.subarray(from, places[index + 1] ?? bytes.length));
}

describe('a stream', () => {
  it('is timed by its events with content, and says what it counted', () => {
    const usage = event({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 3 } });
    const opening = event({ choices: [{ delta: { role: 'assistant', content: '' } }] });
    const facts = read([
      opening,
      word('a'),
      ': ping\n\n',
      word('b'),
      word('c'),
      word('', 'length'),
      usage,
      DONE,
    ]);
    expect(facts).toMatchObject({
      streamed: true,
      firstTokenNs: 2e6,
      lastTokenNs: 5e6,
      contentEvents: 3,
      gapMaxNs: 2e6,
      promptTokens: 7,
      outputTokens: 3,
      finish: 'length',
      broken: false,
    });
    const gaps = new Histogram();
    expect(addGaps(facts.gaps ?? new Uint8Array(0), gaps)).toBe(2);
    expect(gaps.min).toBeCloseTo(1e6, -4);
    expect(gaps.max).toBeCloseTo(2e6, -4);
  });

  it('has its first token with a tool’s name, and no count where it broke off, as when it is recorded', () => {
    const pieces = [
      { type: 'message_start', message: { usage: { input_tokens: 25, output_tokens: 1 } } },
      { type: 'content_block_start', content_block: { type: 'tool_use', name: 'f', input: {} } },
      { type: 'content_block_delta', delta: { type: 'input_json_delta', partial_json: '{' } },
    ].map(event);
    expect(read(pieces)).toMatchObject({
      firstTokenNs: 2e6,
      contentEvents: 2,
      promptTokens: 25,
      outputTokens: null,
    });
  });

  const part = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).map((text) => word(text)),
    fc.constantFrom(
      ': ping\n\n',
      'event: x\ndata: {"choices":[]}\n\n',
      word('', 'stop'),
      DONE,
      event({ error: 'e' }),
    ),
    fc.string({ maxLength: 20 }).map((text) => event(text.replace(/[\r\n]/g, ' '))),
    fc.string({ maxLength: 20 }),
  );

  it('says the same however it is cut, and its times never run backwards', () => {
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 12 }).map((parts) => Buffer.from(parts.join(''))),
        fc.array(fc.nat(), { maxLength: 20 }),
        fc.boolean(),
        (bytes, at, crlf) => {
          const sent = crlf ? Buffer.from(bytes.toString('utf8').replace(/\r?\n/g, '\r\n')) : bytes;
          const untimed = ({ firstTokenNs, lastTokenNs, gapMaxNs, gaps, ...said }: Read) => said;
          const whole = read([sent]);
          const pieces = read(cut(sent, at));
          expect(untimed(pieces)).toEqual(untimed(whole));
          const { firstTokenNs, lastTokenNs, gapMaxNs, gaps, contentEvents } = pieces;
          expect(firstTokenNs === null).toBe(contentEvents === 0);
          expect(lastTokenNs ?? 0).toBeGreaterThanOrEqual(firstTokenNs ?? 0);
          expect(gapMaxNs ?? 0).toBeLessThanOrEqual((lastTokenNs ?? 0) - (firstTokenNs ?? 0));
          expect(gaps === null ? 0 : addGaps(gaps, new Histogram())).toBe(Math.max(0, contentEvents - 1));
        },
      ),
    );
  });

  it.each<[string, string[]]>([
    ['a stream that ends before its end', [word('a'), word('b')]],
    ['one that never said a word', ['']],
    ['one that tells of an error', [word('a'), event({ error: { message: 'out of memory' } }), DONE]],
    ['one that names an event so', [word('a'), 'event: error\ndata: {"message":"x","code":500}\n\n', DONE]],
    ['one whose error has no words', [word('a'), 'event: error\n\n', DONE]],
    ['one that sends an error as an object', [word('a'), event({ object: 'error', message: 'x' }), DONE]],
  ])('%s is broken, although its message was complete', (_, pieces) => {
    expect(read(pieces).broken).toBe(true);
  });

  it.each([
    ['in words', 'event: error\ndata: CUDA out of memory\n\n'],
    ['in JSON', 'event: error\ndata: {"message":"engine is dead","code":500}\n\n'],
    ['as an object', event({ object: 'error', message: 'engine is dead', code: 500 }) + DONE],
  ])('that is nothing but an error %s is broken, and has no first token', (_, stream) => {
    expect(read([stream], EVENTS, { ...CHAT, ends: false })).toMatchObject({
      firstTokenNs: null,
      contentEvents: 0,
      broken: true,
    });
  });

  it.each([[''], [false], [null], [0]])('whose events all have an error that is %j is whole', (error) => {
    const words = ['a', 'b'].map((text) => event({ text, error }));
    expect(read(words, EVENTS, { ...CHAT, ends: false })).toMatchObject({ contentEvents: 2, broken: false });
    const last = event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], error });
    expect(read([word('a'), last, DONE]).broken).toBe(false);
  });

  it('is not broken where its protocol has no end, or where the end may have been in an event too long', () => {
    const triton = event({ model_name: 'm', text_output: 'word' });
    expect(read([triton, triton], EVENTS, { ...CHAT, ends: false })).toMatchObject({
      contentEvents: 2,
      finish: null,
      broken: false,
    });
    const long = event({ type: 'response.completed', response: { text: 'x'.repeat(300_000) } });
    const delta = event({ type: 'response.output_text.delta', delta: 'a' });
    expect(read([delta, long]).broken).toBe(false);
    expect(read([delta]).broken).toBe(true);
  });

  it('of JSON lines is read as well, also where it is called JSON', () => {
    const lines = [
      '{"response":"a","done":false}\n{"respo',
      'nse":"b","done":false}\n',
      '{"response":"","done":true,"done_reason":"stop","prompt_eval_count":4,"eval_count":2}',
    ];
    const said = { contentEvents: 2, finish: 'stop', promptTokens: 4, outputTokens: 2, broken: false };
    expect(read(lines, LINES)).toMatchObject({ ...said, firstTokenNs: 1e6, lastTokenNs: 2e6 });
    expect(read(lines, { ...LINES, contentType: 'application/json' })).toMatchObject({
      streamed: true,
      ...said,
    });
    expect(read(lines.slice(0, 2), LINES).broken).toBe(true);
    const long = `${JSON.stringify({ response: 'x'.repeat(200_000) })}\n`;
    const [word = '', rest = ''] = ['{"response":"a"}\n', '{"response":"b"}\n'];
    for (const pieces of [
      [word, long],
      [long, word],
      [word, rest],
    ])
      expect(read(pieces, { ...LINES, contentType: 'application/json' }).streamed).toBe(true);
  });

  it('under a content coding is a stream whose times are not known', () => {
    const facts = read([word('a')], { ...EVENTS, contentEncoding: 'gzip' });
    expect(facts).toMatchObject({ streamed: true, read: false, firstTokenNs: null, broken: false });
  });
});

describe('another answer', () => {
  it('of one document says what it counted', () => {
    const document = JSON.stringify({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 4 } });
    expect(read([document], JSON_HEAD, { ...CHAT, streams: false })).toMatchObject({
      streamed: false,
      promptTokens: 9,
      outputTokens: 4,
      firstTokenNs: null,
      broken: false,
    });
  });

  const CALLED_JSON = { ...JSON_HEAD, hasLength: false };
  const WHOLE = {
    choices: [{ index: 0, message: { content: 'Hi' }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 9, completion_tokens: 4 },
  };

  it.each([
    ['on one line', JSON.stringify(WHOLE)],
    ['on one line that ends', `${JSON.stringify(WHOLE)}\n`],
    ['on many lines', JSON.stringify(WHOLE, null, 2)],
    ['on many lines that end as on another system', JSON.stringify(WHOLE, null, 2).replaceAll('\n', '\r\n')],
    [
      'on more lines than are put together',
      JSON.stringify({ filler: Array(9_000).fill(1), ...WHOLE }, null, 2),
    ],
    [
      'on lines of which one is too long to be read',
      JSON.stringify({ text: 'x'.repeat(99_000), ...WHOLE }, null, 2),
    ],
    ['on a line too long to be read', JSON.stringify({ text: 'x'.repeat(200_000), ...WHOLE })],
  ])('that is whole %s, where a stream was asked for, is none, and not a broken one', (_, text) => {
    const bytes = Buffer.from(text);
    for (const at of [[], [1], [Math.floor(bytes.length / 2)], [2, 3, bytes.length - 1]]) {
      expect(read(cut(bytes, at), CALLED_JSON)).toMatchObject({
        streamed: false,
        read: true,
        firstTokenNs: null,
        lastTokenNs: null,
        contentEvents: 0,
        gaps: null,
        promptTokens: 9,
        outputTokens: 4,
        broken: false,
      });
    }
  });

  it.each([
    ['nothing', ''],
    ['an error', JSON.stringify({ error: { message: 'out of memory' } })],
    ['a piece that says more was to come', `${JSON.stringify({ response: 'a', done: false })}\n`],
    [
      'a choice that has not ended',
      JSON.stringify({ choices: [{ delta: { content: 'a' }, finish_reason: null }] }),
    ],
    ['an error on many lines', JSON.stringify({ error: { message: 'out of memory' } }, null, 2)],
    ['a document that was cut short', JSON.stringify(WHOLE).slice(0, 40)],
    ['a document of many lines that was cut short', JSON.stringify(WHOLE, null, 2).slice(0, 60)],
  ])('of which only %s came, where a stream was asked for, is a broken stream', (_, text) => {
    expect(read([text], CALLED_JSON)).toMatchObject({ streamed: true, broken: true });
  });

  it('that is an error, or says nothing of tokens, is not read', () => {
    expect(AnswerReader.of(500, EVENTS, CHAT)).toBeNull();
    expect(AnswerReader.of(200, JSON_HEAD, NOTHING_EXPECTED)).toBeNull();
    expect(AnswerReader.of(200, { ...JSON_HEAD, contentType: 'application/octet-stream' }, CHAT)).toBeNull();
  });
});

const CASSETTES = 'pydantic-ai-cassettes/exchanges.jsonl.gz';

describe('recorded streams of OpenAI, Anthropic, Google and others', () => {
  const path = sharedData(CASSETTES);

  it('are whole as recorded, but for those that told of an error; and broken where they are cut', (context) => {
    if (path === null) return context.skip(missing(CASSETTES));
    let streams = 0;
    for (const line of gunzipSync(readFileSync(path)).toString('utf8').split('\n')) {
      if (line === '') continue;
      const { host, response } = JSON.parse(line) as Cassette;
      const text = response.body_text ?? '';
      if (response.status !== 200 || !/^(?:event|data): /.test(text)) continue;
      const facts = read([text], EVENTS, { ...CHAT, ends: false });
      const firstEvents = text.slice(0, text.indexOf('\n\n', text.length / 2) + 2);
      streams += 1;
      const failed = text.includes('event: error');
      expect([host, facts.broken, facts.finish === null]).toEqual([host, failed, failed]);
      if (!/finish_?reason": ?"/i.test(firstEvents)) {
        expect([host, read([firstEvents], EVENTS, { ...CHAT, ends: false }).broken]).toEqual([host, true]);
      }
    }
    expect(streams).toBeGreaterThan(10);
  });
});

interface Cassette {
  readonly host: string;
  readonly response: { readonly status: number; readonly body_text?: string };
}
