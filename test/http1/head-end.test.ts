import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { headEnd } from '../../src/http1/heads.ts';
import { repeated } from '../support/long-form.ts';

/** The same by search: whichever of the two blank lines comes first. */
function searched(bytes: Buffer, from: number): number {
  const ends = ['\n\r\n', '\n\n'].flatMap((blank) => {
    const at = bytes.indexOf(blank, from, 'latin1');
    return at < 0 ? [] : [at + blank.length];
  });
  return ends.length === 0 ? -1 : Math.min(...ends);
}

describe('the end of a head', () => {
  it('is its first blank line, wherever that lies and however its lines end', () => {
    const text = fc.array(fc.constantFrom('a', '\r', '\n', '\r\n', 'Host: h\r\n', ':'), { maxLength: 30 });
    fc.assert(
      fc.property(text, fc.nat({ max: 12 }), (pieces, from) => {
        const bytes = Buffer.from(pieces.join(''));
        expect(headEnd(bytes, from)).toBe(searched(bytes, from));
      }),
      { numRuns: repeated(500, 5_000) },
    );
  });

  it('is not found in what lies before', () => {
    const bytes = Buffer.from('a\n\nb: c\r\n\r\n');
    expect([headEnd(bytes, 0), headEnd(bytes, 1), headEnd(bytes, 2), headEnd(bytes, 3)]).toEqual([
      3, 3, 11, 11,
    ]);
  });
});
