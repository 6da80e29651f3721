import { describe, expect, test } from 'vitest';
import { AnswerCopy, KeepingBudget } from '../../../src/replay/check/keeping.ts';

const KIB = 1_024;
const HEAD = { contentType: 'application/json', contentEncoding: null, hasLength: true };

function budget(maxAnswerKib = 64, maxKib = 1_024): KeepingBudget {
  return KeepingBudget.create({ maxAnswerBytes: maxAnswerKib * KIB, maxBytes: maxKib * KIB });
}

describe('a copy of an answer', () => {
  test('has every byte, in memory of its own, however it came', () => {
    const held = budget();
    const copy = new AnswerCopy(held, HEAD);
    const piece = Buffer.from('0123456789abcdef');
    for (let at = 0; at < 600; at += 1) copy.write(piece);
    piece.fill(0);
    const kept = copy.finish(7);
    expect(Buffer.from(kept.bytes ?? []).toString()).toBe('0123456789abcdef'.repeat(600));
    expect(kept).toMatchObject({ index: 7, dropped: null, contentType: 'application/json' });
    expect(kept.heldBytes).toBe(held.heldBytes);
    held.give(kept.heldBytes);
    expect(held.heldBytes).toBe(0);
  });

  test('takes the room it needs at once where its length was said, and is given up at once where that is too much', () => {
    const held = budget();
    const copy = new AnswerCopy(held, { ...HEAD, contentLength: '30000' });
    copy.write(new Uint8Array(10_000).fill(1));
    expect(held.heldBytes).toBe(30 * KIB);
    copy.write(new Uint8Array(20_000).fill(2));
    expect(held.heldBytes).toBe(30 * KIB);
    const { bytes } = copy.finish(0);
    expect([bytes?.length, bytes?.[9_999], bytes?.[10_000], bytes?.[29_999]]).toEqual([30_000, 1, 2, 2]);
    const large = new AnswerCopy(held, { ...HEAD, contentLength: '70000' });
    large.write(new Uint8Array(1));
    expect(large.finish(1).dropped).toBe('answer_too_large');
    expect(held.heldBytes).toBe(30 * KIB);
  });

  test('of nothing is nothing, and takes nothing', () => {
    const held = budget();
    expect(new AnswerCopy(held, HEAD).finish(0)).toMatchObject({ bytes: new Uint8Array(0), heldBytes: 0 });
    expect(held.heldBytes).toBe(0);
  });

  test('is given up, and its memory with it, once it is larger than one may be', () => {
    const held = budget(8);
    const copy = new AnswerCopy(held, HEAD);
    copy.write(new Uint8Array(8 * KIB));
    expect(held.heldBytes).toBe(8 * KIB);
    copy.write(new Uint8Array(1));
    copy.write(new Uint8Array(1));
    expect(held.heldBytes).toBe(0);
    expect(copy.finish(0)).toMatchObject({ bytes: null, dropped: 'answer_too_large', heldBytes: 0 });
  });

  test('is given up where all of them together are more than may be held, by whoever counts', () => {
    const held = budget(64, 16);
    const other = new KeepingBudget(held.setup);
    const first = new AnswerCopy(held, HEAD);
    first.write(new Uint8Array(10 * KIB));
    const second = new AnswerCopy(other, HEAD);
    second.write(new Uint8Array(10 * KIB));
    expect(second.finish(1)).toMatchObject({ bytes: null, dropped: 'backlog' });
    first.drop();
    expect(other.heldBytes).toBe(0);
    const third = new AnswerCopy(other, HEAD);
    third.write(new Uint8Array(10 * KIB));
    expect(third.finish(2).bytes).toHaveLength(10 * KIB);
  });
});
