import { describe, expect, it } from 'vitest';
import { type AnswerHead, AnswerReader } from '../../../src/replay/answers/read-answer.ts';

const EVENTS: AnswerHead = { contentType: 'text/event-stream', contentEncoding: null, hasLength: false };
const CALLED_JSON: AnswerHead = { ...EVENTS, contentType: 'application/json' };

/** Each piece comes a millisecond after the one before it, the first at 1 ms. */
function read(pieces: readonly string[], head: AnswerHead, ends: boolean) {
  const reader = AnswerReader.of(200, head, { counts: true, streams: true, ends, cancelAfterNs: null })!;
  for (const [at, piece] of pieces.entries()) reader.write(Buffer.from(piece), (at + 1) * 1e6);
  return { ...reader.finish(), broken: reader.broken };
}

describe('what comes in a stream and is no token', () => {
  it('is a sign of life, whatever words it has as its data', () => {
    const beats = ['ping', 'heartbeat', 'keepalive'].map(
      (name) => `event: ${name}\ndata: 2024-01-01 00:00\n\n`,
    );
    const word = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n';
    const facts = read([...beats, word, 'data: [DONE]\n\n'], EVENTS, true);
    expect(facts).toMatchObject({
      contentEvents: 1,
      firstTokenNs: 4e6,
      lastTokenNs: 4e6,
      gaps: null,
      broken: false,
    });
    for (const name of ['message', 'delta', 'data'])
      expect(read([`event: ${name}\ndata: Hi\n\n`], EVENTS, false)).toMatchObject({ contentEvents: 1 });
  });

  it('is an error on many lines that is called JSON: the stream has failed', () => {
    const error = { error: { message: 'out of memory', code: 500 } };
    const none = { firstTokenNs: null, lastTokenNs: null, contentEvents: 0, gapMaxNs: null, gaps: null };
    for (const text of [JSON.stringify(error, null, 2), JSON.stringify(error)]) {
      for (const ends of [false, true])
        expect(read(text.split(/(?<=\n)/), CALLED_JSON, ends)).toMatchObject({
          streamed: true,
          broken: true,
          ...none,
        });
    }
  });
});
