import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { piecesOf } from '../../../src/app/mock/played-answer.ts';

/** Bytes that chunks take on the wire. */
function wire(...sizes: number[]): number {
  return sizes.reduce((sum, size) => sum + size + size.toString(16).length + 4, 0);
}
const END = 5;

describe('the parts of a stored body', () => {
  test('are its reads where the wire carried the body alone', () => {
    const { pieces, exact } = piecesOf(Buffer.from('abcdef'), [10, 2, 20, 1, 30, 3], {
      codingEndBytes: null,
      lastUs: 99,
    });
    expect(exact).toBe(true);
    expect(pieces).toEqual([
      { atUs: 10, end: 2 },
      { atUs: 20, end: 3 },
      { atUs: 30, end: 6 },
    ]);
  });

  test('are its chunks where each read was one chunk, with the end of the coding by itself or not', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 20 }),
        fc.boolean(),
        (sizes, apart) => {
          const times = sizes.flatMap((size, index) => [index * 100, wire(size)]);
          if (apart) times.push(sizes.length * 100, END);
          else times[times.length - 1] = (times.at(-1) ?? 0) + END;
          const body = Buffer.alloc(sizes.reduce((sum, size) => sum + size));
          const { pieces, exact } = piecesOf(body, times, { codingEndBytes: END, lastUs: 0 });
          let end = 0;
          const expected = sizes.map((size, index) => {
            end += size;
            return { atUs: index * 100, end };
          });
          expect({ pieces, exact }).toEqual({ pieces: expected, exact: true });
        },
      ),
    );
  });

  test('are cut at the ends of events, and called estimated, where a read had several chunks', () => {
    const events = ['data: one\n\n', 'data: second\n\n', 'data: 3\n\n', 'data: four\n\n'];
    const [a, b, c, d] = events.map((event) => event.length) as [number, number, number, number];
    const times = [100, wire(a, b), 200, wire(c), 300, wire(d) + END];
    const { pieces, exact } = piecesOf(Buffer.from(events.join('')), times, {
      codingEndBytes: END,
      lastUs: 0,
    });
    expect(exact).toBe(false);
    expect(pieces).toEqual([
      { atUs: 100, end: a + b },
      { atUs: 200, end: a + b + c },
      { atUs: 300, end: a + b + c + d },
    ]);
  });

  test('cover the whole body in order, whatever the times say', () => {
    const times = fc.array(fc.nat(100_000), { maxLength: 40 }).map((all) => all.slice(0, all.length & ~1));
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 2_000 }),
        times,
        fc.boolean(),
        (body, at, chunked) => {
          const { pieces } = piecesOf(body, at, { codingEndBytes: chunked ? END : null, lastUs: 7 });
          const ends = pieces.map(({ end }) => end);
          expect(ends.at(-1)).toBe(body.length);
          expect(ends).toEqual([...new Set(ends)].sort((one, other) => one - other));
        },
      ),
    );
  });

  test('are one part at the last byte without times, and none of an empty body', () => {
    expect(piecesOf(Buffer.from('abc'), [], { codingEndBytes: END, lastUs: 42 }).pieces).toEqual([
      { atUs: 42, end: 3 },
    ]);
    expect(piecesOf(Buffer.alloc(0), [10, 5], { codingEndBytes: END, lastUs: 42 }).pieces).toEqual([]);
  });
});
