import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AnswerCopy, KeepingBudget } from '../../../src/replay/check/answer-copy.ts';

const HEAD = { contentType: 'application/json', contentEncoding: null, hasLength: true };

describe('a copy of an answer', () => {
  test('has every byte of it, however it came, beside those of others', () => {
    const pieces = fc.array(fc.nat(1_000), { maxLength: 4 });
    fc.assert(
      fc.property(pieces, pieces, (one, other) => {
        const budget = KeepingBudget.create(10_000, 5_000);
        const answers = [one, other].map((lengths, at) =>
          lengths.map((length, piece) => Buffer.alloc(length, 16 * (at + 1) + piece)),
        );
        const copies = answers.map(() => new AnswerCopy(budget, HEAD));
        for (let piece = 0; piece < 4; piece += 1) {
          for (const [at, copy] of copies.entries()) copy.write(answers[at]?.[piece] ?? Buffer.alloc(0));
        }
        for (const [at, copy] of copies.entries()) {
          const { bytes, dropped } = copy.finish();
          expect(dropped).toBeNull();
          expect(Buffer.compare(bytes, Buffer.concat(answers[at] ?? []))).toBe(0);
          budget.free(bytes.length);
        }
        expect(budget.held).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test('does not change with the memory it was copied from', () => {
    const copy = new AnswerCopy(KeepingBudget.create(100, 100), HEAD);
    const bytes = Buffer.from('as it was');
    copy.write(bytes);
    bytes.fill(0);
    expect(String(copy.finish().bytes)).toBe('as it was');
  });

  test('is given up, and its bytes with it, once it is larger than one may be, or says so', () => {
    const budget = KeepingBudget.create(1_000, 20);
    const copy = new AnswerCopy(budget, HEAD);
    copy.write(new Uint8Array(20));
    expect(budget.held).toBe(20);
    copy.write(new Uint8Array(1));
    copy.write(new Uint8Array(1));
    expect(copy.finish()).toMatchObject({ bytes: Buffer.alloc(0), dropped: 'answer_too_large' });
    const stated = new AnswerCopy(budget, { ...HEAD, contentLength: '21' });
    stated.write(new Uint8Array(1));
    expect(stated.finish().dropped).toBe('answer_too_large');
    expect(budget.held).toBe(0);
  });

  test('is given up where all of them together are more than may be held, by whoever looks', () => {
    const budget = KeepingBudget.create(40, 40);
    const other = new KeepingBudget(budget.setup);
    const first = new AnswerCopy(budget, HEAD);
    first.write(new Uint8Array(30));
    const second = new AnswerCopy(other, HEAD);
    second.write(new Uint8Array(20));
    expect(second.finish()).toMatchObject({ bytes: Buffer.alloc(0), dropped: 'backlog' });
    first.drop();
    expect(other.held).toBe(0);
    const third = new AnswerCopy(other, HEAD);
    third.write(new Uint8Array(40));
    expect(third.finish()).toMatchObject({ bytes: Buffer.alloc(40), dropped: null });
  });
});
