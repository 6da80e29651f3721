import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';
import { repeated } from '../support/long-form.ts';

const redaction = bodyRedaction(['/nowhere=mask']);

function accepts(text: string): boolean {
  return cover(redaction, text).dropped === null;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('the walk through JSON', () => {
  const pieces = fc.constantFrom(
    ...[
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '\\',
      '\\n',
      '\\u00e9',
      'u',
      '0',
      '1',
      '-',
      '.',
      'e',
      'E',
      '+',
    ],
    ...[
      'true',
      'false',
      'null',
      ' ',
      '\n',
      '\t',
      '\u0001',
      'é',
      '{"a":1}',
      '[1,2]',
      '1.5e-3',
      '""',
      '/',
      '\\/',
    ],
  );

  it('agrees with JSON.parse about what is JSON, made at random', () => {
    let agreed = 0;
    fc.assert(
      fc.property(fc.array(pieces, { minLength: 1, maxLength: 8 }), (texts) => {
        const text = texts.join('');
        expect(accepts(text)).toBe(isJson(text));
        if (isJson(text)) agreed += 1;
      }),
      { numRuns: repeated(5_000, 20_000) },
    );
    expect(agreed).toBeGreaterThan(repeated(10, 100));
  });

  it('agrees about documents that lost, gained or changed a character', () => {
    const change = fc.record({ at: fc.nat(), cut: fc.nat(2), put: pieces });
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.array(change, { maxLength: 2 }), (json, changes) => {
        const text = changes.reduce((before, { at, cut, put }) => {
          const place = at % (before.length + 1);
          return before.slice(0, place) + put + before.slice(place + cut);
        }, json);
        expect(accepts(text)).toBe(isJson(text));
      }),
      { numRuns: repeated(200, 5_000) },
    );
  });

  it('takes what Python writes for numbers that JSON does not have, and nothing like it', () => {
    expect(['NaN', '[Infinity,-Infinity]'].map(accepts)).toEqual([true, true]);
    expect(['-NaN', 'nan', 'Infinit', '+Infinity', 'Infinityx'].map(accepts)).toEqual(Array(5).fill(false));
  });

  it('takes 128 levels and not one more', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
    expect(accepts(nested(128))).toBe(true);
    expect(accepts(nested(129))).toBe(false);
  });

  it('takes documents one after the other only as JSON lines', () => {
    const lines = '{"nowhere":"secret"}\n\n{"nowhere":"hidden"}\r\n';
    expect(accepts(lines)).toBe(false);
    const { text } = cover(redaction, lines, { contentType: 'application/x-ndjson' });
    expect(text).toMatch(/^\{"nowhere":"[a-z ]{6}"\}\n\n\{"nowhere":"[a-z ]{6}"\}\r\n$/);
    expect(text).not.toMatch(/secret|hidden/);
    expect(cover(redaction, '{"a":1}\n{"a"', { contentType: 'application/jsonl' }).dropped).toBe('not_json');
  });
});
