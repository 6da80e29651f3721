import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AnswerCopy } from '../../../src/replay/check/answer-copy.ts';
import { AnswerArena, SLAB_BYTES } from '../../../src/replay/check/messages.ts';

const HEAD = { contentType: 'application/json', contentEncoding: null, hasLength: true };

function arena(slabs = 16, answerSlabs = 8): AnswerArena {
  return AnswerArena.create(slabs * SLAB_BYTES, answerSlabs * SLAB_BYTES);
}

describe('a copy of an answer', () => {
  test('has every byte of it, however it came, beside those of others', () => {
    const pieces = fc.array(fc.nat(2 * SLAB_BYTES), { maxLength: 4 });
    fc.assert(
      fc.property(pieces, pieces, (one, other) => {
        const held = arena(40, 16);
        const answers = [one, other].map((lengths, at) =>
          lengths.map((length, piece) => Buffer.alloc(length, 16 * (at + 1) + piece)),
        );
        const copies = answers.map(() => new AnswerCopy(held, HEAD));
        for (let piece = 0; piece < 4; piece += 1) {
          for (const [at, copy] of copies.entries()) {
            const bytes = answers[at]?.[piece];
            if (bytes !== undefined) copy.write(bytes);
          }
        }
        for (const [at, copy] of copies.entries()) {
          const { slabs, length, dropped } = copy.finish(at);
          const whole = Buffer.concat(answers[at] ?? []);
          expect(dropped).toBeNull();
          expect(Buffer.compare(held.read(slabs, length), whole)).toBe(0);
          expect(slabs).toHaveLength(Math.ceil(whole.length / SLAB_BYTES));
          held.free(slabs);
        }
        expect(held.held).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test('does not change with the memory it was copied from', () => {
    const held = arena();
    const copy = new AnswerCopy(held, HEAD);
    const bytes = Buffer.from('as it was');
    copy.write(bytes);
    bytes.fill(0);
    const { slabs, length } = copy.finish(7);
    expect(held.read(slabs, length).toString()).toBe('as it was');
  });

  test('is given up, and its slabs with it, once it is larger than one may be, or says so', () => {
    const held = arena(16, 2);
    const copy = new AnswerCopy(held, HEAD);
    copy.write(new Uint8Array(2 * SLAB_BYTES));
    expect(held.held).toBe(2);
    copy.write(new Uint8Array(1));
    copy.write(new Uint8Array(1));
    expect(copy.finish(0)).toMatchObject({ slabs: [], length: 0, dropped: 'answer_too_large' });
    const stated = new AnswerCopy(held, { ...HEAD, contentLength: String(2 * SLAB_BYTES + 1) });
    stated.write(new Uint8Array(1));
    expect(stated.finish(1).dropped).toBe('answer_too_large');
    expect(held.held).toBe(0);
  });

  test('is given up where all of them together are more than may be held, by whoever looks', () => {
    const held = arena(4, 4);
    const other = new AnswerArena(held.setup);
    const first = new AnswerCopy(held, HEAD);
    first.write(new Uint8Array(3 * SLAB_BYTES));
    const second = new AnswerCopy(other, HEAD);
    second.write(new Uint8Array(2 * SLAB_BYTES));
    expect(second.finish(1)).toMatchObject({ slabs: [], dropped: 'backlog' });
    first.drop();
    expect(other.held).toBe(0);
    const third = new AnswerCopy(other, HEAD);
    third.write(new Uint8Array(4 * SLAB_BYTES));
    expect(third.finish(2)).toMatchObject({ slabs: [0, 1, 2, 3], dropped: null });
  });

  test('takes what became free in front of it', () => {
    const held = arena(3, 3);
    const first = [held.take(), held.take()];
    const copy = new AnswerCopy(held, HEAD);
    copy.write(new Uint8Array(SLAB_BYTES));
    held.free(first);
    copy.write(new Uint8Array(SLAB_BYTES));
    expect(copy.finish(0).slabs).toEqual([2, 0]);
  });
});
