import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import { AssemblyBudget } from '../../src/http1/budget.ts';
import { ChunkedReader } from '../../src/http1/chunked.ts';

function decode(pieces: readonly (string | Uint8Array)[], budgetBytes = 1 << 20) {
  const budget = new AssemblyBudget(budgetBytes);
  const reader = new ChunkedReader(budget);
  const decoded: Buffer[] = [];
  let consumed = 0;
  for (const piece of pieces) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from(piece);
    const at = reader.read(bytes, 0, { write: (part) => decoded.push(Buffer.from(part)) });
    if (at < 0) break;
    consumed += at;
  }
  const trailers = reader.trailers()?.toString('latin1') ?? null;
  const { done, refusal } = reader;
  reader.clear();
  return {
    body: Buffer.concat(decoded).toString('latin1'),
    trailers,
    done,
    refusal,
    consumed,
    held: budget.usedBytes,
  };
}

describe('a chunked body', () => {
  it('is joined, its extensions passed over and its trailers kept raw', () => {
    const message = '5;a=b;c="d;e"\r\nhello\r\n00006 ; x\r\n world\r\n0\r\nX-Sum: 1\r\ny:2\r\n\r\n';
    expect(decode([`${message}NEXT`])).toEqual({
      body: 'hello world',
      trailers: 'X-Sum: 1\r\ny:2\r\n',
      done: true,
      refusal: null,
      consumed: message.length,
      held: 0,
    });
  });

  it('ends at the byte after its blank line, however it is cut', () => {
    const whole = Buffer.from('3\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n');
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: whole.length }), { maxLength: 12 }), (lengths) => {
        const pieces: Buffer[] = [];
        let at = 0;
        for (const length of lengths) {
          pieces.push(whole.subarray(at, at + length));
          at = Math.min(whole.length, at + length);
        }
        pieces.push(whole.subarray(at));
        const read = decode(pieces);
        expect(read).toMatchObject({ body: 'abc0123456789', trailers: 'T: v\r\n', done: true });
        expect(read.consumed).toBe(whole.length);
      }),
    );
  });

  it.each([
    ['a size of -5, on which http-parser-js loops for ever', '-5\r\nhello\r\n0\r\n\r\n'],
    ['a signed size', '+5\r\nhello\r\n0\r\n\r\n'],
    ['a prefixed size', '0x5\r\nhello\r\n0\r\n\r\n'],
    ['no size', '\r\nhello\r\n0\r\n\r\n'],
    ['no size of a later chunk', '1\r\na\r\n\r\n\r\n'],
    ['no size before an extension', ';a=b\r\nhello\r\n0\r\n\r\n'],
    ['white space before the size', ' 5\r\nhello\r\n0\r\n\r\n'],
    ['something other than an extension after the size', '5 5\r\nhello\r\n0\r\n\r\n'],
    ['a bare LF after the size', '5\nhello\r\n0\r\n\r\n'],
    ['a bare CR after the size', '5\rhello\r\n0\r\n\r\n'],
    ['a control character in an extension', '5;a\0b\r\nhello\r\n0\r\n\r\n'],
    ['a chunk longer than its size', '5\r\nhelloo\r\n0\r\n\r\n'],
    ['a chunk that ends in a bare LF', '5\r\nhello\n0\r\n\r\n'],
    ['a size of seventeen digits', '10000000000000005\r\nhello\r\n0\r\n\r\n'],
    ['a size a double cannot count', 'fffffffffffffff\r\nhello'],
    ['a trailer that is no header', '0\r\nno colon\r\n\r\n'],
    ['a folded trailer', '0\r\na: b\r\n c\r\n\r\n'],
    ['a trailer that ends in a bare LF', '0\r\na: b\n\r\n'],
  ])('with %s is refused', (_, bytes) => {
    expect(decode([bytes])).toMatchObject({ done: false, refusal: 'chunk', held: 0 });
    expect(decode([...bytes])).toMatchObject({ done: false, refusal: 'chunk', held: 0 });
  });

  it('passes over an extension up to its limit and not an endless one, holding none of it', () => {
    const room = LIMITS.chunkLineBytes - '1;\r'.length;
    expect(decode([`1;${'e'.repeat(room)}\r\nx\r\n0\r\n\r\n`])).toMatchObject({ body: 'x', done: true });
    expect(decode([`1;${'e'.repeat(room + 1)}\r\nx`])).toMatchObject({ refusal: 'chunk', held: 0 });
  });

  it('bounds its trailers by size and by the shared budget', () => {
    const endless = `0\r\n${'a: b\r\n'.repeat(LIMITS.trailerBytes / 6 + 1)}`;
    expect(decode([endless])).toMatchObject({ done: false, refusal: 'limit', held: 0 });
    expect(decode(['0\r\n', `a: ${'b'.repeat(3_000)}\r\n`], 2_000)).toMatchObject({
      refusal: 'budget',
      held: 0,
    });
  });
});
