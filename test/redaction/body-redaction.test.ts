import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';
import { repeated } from '../support/long-form.ts';

const byteLength = (text: string) => Buffer.byteLength(text);

describe('without rules', () => {
  it('a body passes as the very bytes it was, readable or not', () => {
    const redaction = bodyRedaction([]);
    const bytes = Buffer.from('{"broken');
    const about = {
      contentType: null,
      contentEncoding: 'nonsense',
      truncated: true,
      inferenceHeaderLength: 7,
    };
    expect(redaction.active).toBe(false);
    expect(redaction.redact(bytes, about).kept).toBe(bytes);
    expect(redaction.redact(bytes, about)).toEqual({ kept: bytes, names: [], dropped: null });
  });
});

describe('a mask', () => {
  it('covers what the pointer names and nothing else, at its length', () => {
    const body =
      '{ "a" : "keep me",\n\t"messages":[{"role":"user","content":"my secret words"}, {"content":"more"}] }';
    const { text, names, dropped } = cover(bodyRedaction(['/messages/*/content=mask']), body);
    expect(dropped).toBeNull();
    expect(names).toEqual(['/messages/*/content']);
    expect(text).toMatch(
      /^\{ "a" : "keep me",\n\t"messages":\[\{"role":"user","content":"[a-z ]{15}"\}, \{"content":"[a-z ]{4}"\}\] \}$/,
    );
    expect(text).not.toContain('secret');
  });

  it('leaves the very bytes where nothing is named, and says so', () => {
    const bytes = Buffer.from('{"b":1}');
    const about = {
      contentType: 'application/json',
      contentEncoding: null,
      truncated: false,
      inferenceHeaderLength: null,
    };
    expect(bodyRedaction(['/a=mask']).redact(bytes, about)).toEqual({
      kept: bytes,
      names: [],
      dropped: null,
    });
  });

  it('never writes into the bytes it was given', () => {
    const bytes = Buffer.from('{"a":"secret"}');
    const before = Buffer.from(bytes);
    const about = {
      contentType: 'application/json',
      contentEncoding: null,
      truncated: false,
      inferenceHeaderLength: null,
    };
    expect(bodyRedaction(['/a=mask']).redact(bytes, about).kept).not.toBe(bytes);
    expect(bytes).toEqual(before);
  });

  it.each([
    ['1', '1'],
    ['0', '1'],
    ['-5', '-1'],
    ['42', '10'],
    ['255', '100'],
    ['0.5', /^0\.\d$/],
    ['-3.25', /^-0\.\d\d$/],
    ['12.75e+10', /^10\.\d\de\+00$/],
    ['2147483647', /^100\d{7}$/],
    ['true', 'true'],
    ['null', 'null'],
    ['NaN', 'NaN'],
    ['-Infinity', '-Infinity'],
    ['""', '""'],
    ['[]', '[]'],
    ['{"k":[7,"x"]}', /^\{"k":\[1,"[a-z]"\]\}$/],
    ['"\\u00e9\\n\\"x"', /^"[a-z ]{11}"$/],
    ['"日本語"', /^"[a-z ]{9}"$/],
  ])('turns %s into something of its kind and length', (value, expected) => {
    const { text } = cover(bodyRedaction(['/v=mask']), `{"v":${value},"w":"z"}`);
    const masked = /^\{"v":(.*),"w":"z"\}$/s.exec(text)?.[1];
    expect(byteLength(masked ?? '')).toBe(byteLength(value));
    if (expected instanceof RegExp) expect(masked).toMatch(expected);
    else expect(masked).toBe(expected);
  });

  it('meets every occurrence of a repeated member, in any case and any escape', () => {
    const body =
      '{"key":"1-first","key":"2-second","KEY":"3-third","\\u006bey":"4-fourth","\u212aey":"5-fifth","kez":"6-sixth"}';
    const { text } = cover(bodyRedaction(['/key=mask']), body);
    // Of the words of a mask, some are ordinals as well.
    expect(text).not.toMatch(/[1-5]-/);
    expect(text).toContain('"kez":"6-sixth"');
  });

  it('finds members whose names need escapes, elements by index, and any of them', () => {
    const redaction = bodyRedaction(['/a~1b/m~0n=mask', '/list/1=mask', '/any/*/*=mask']);
    const { text } = cover(
      redaction,
      '{"a/b":{"m~n":"one"},"list":["two","three"],"any":[["four"],{"x":"five"}]}',
    );
    expect(text).toMatch(/^\{"a\/b":\{"m~n":"[a-z ]{3}"\},"list":\["two","[a-z ]{5}"\],/);
    expect(text).not.toMatch(/one|three|four|five/);
  });

  it('gives equal bodies equal masks, and equal values of a body different ones', () => {
    const redaction = bodyRedaction(['/*=mask']);
    const long = 'the same long text twice in one body';
    const body = `{"a":"${long}","b":"${long}"}`;
    const { text } = cover(redaction, body);
    expect(cover(redaction, body).text).toBe(text);
    const { a, b } = JSON.parse(text) as { a: string; b: string };
    expect(a).not.toBe(b);
  });

  it('keeps base64 in its alphabet, behind the prefix of a data URL', () => {
    const url = `data:image/png;base64,${'iVBORw0KGgo'.repeat(9)}==`;
    const { text } = cover(bodyRedaction(['/u=mask']), `{"u":"${url}"}`);
    expect(text).toMatch(/^\{"u":"data:image\/png;base64,[A-Za-z]{99}=="\}$/);
    expect(text).not.toContain('iVBOR');
  });
});

describe('a hash', () => {
  const redaction = bodyRedaction(['/*=hash']);

  it('keeps equal values equal over bodies, however they are escaped, and different ones different', () => {
    const hashed = (value: string) =>
      (JSON.parse(cover(redaction, `{"v":${value}}`).text) as { v: string }).v;
    const one = hashed('"alice@example.com"');
    expect(one).toMatch(/^[0-9a-f]{16} $/);
    expect(hashed('"alice@example.com"')).toBe(one);
    expect(hashed('"\\u0061lice@example.com"').slice(0, 16)).toBe(one.slice(0, 16));
    expect(hashed('"carol@example.com"').slice(0, 16)).not.toBe(one.slice(0, 16));
    expect(hashed(`"${'long '.repeat(50)}"`)).toMatch(/^[0-9a-f]{16} [a-z ]{233}$/);
  });

  it('depends on the key', () => {
    const body = '{"v":"alice@example.com"}';
    const other = bodyRedaction(['/*=hash'], [], 8);
    expect(cover(other, body).text).toMatch(/"[0-9a-f]{16} "/);
    expect(cover(other, body).text).not.toBe(cover(redaction, body).text);
  });

  it('masks what is too short to be told apart, and keeps numbers numbers', () => {
    expect(cover(redaction, '{"v":"short12"}').text).toMatch(/^\{"v":"[a-z ]{7}"\}$/);
    const number = cover(redaction, '{"v":1234567890}').text;
    expect(number).toMatch(/^\{"v":10\d{8}\}$/);
    expect(cover(redaction, '{"v":1234567890,"x":1}').text.slice(0, 15)).toBe(number.slice(0, 15));
  });
});

describe('a body made to be slow', () => {
  it('has its first ten thousand values hashed and the rest masked', () => {
    const values = Array.from({ length: 10_002 }, () => 'the same value');
    const hashed = JSON.parse(cover(bodyRedaction(['/*=hash']), JSON.stringify(values)).text) as string[];
    expect(new Set(hashed.slice(0, 10_000)).size).toBe(1);
    expect(hashed.slice(10_000)).toEqual([
      expect.stringMatching(/^[a-z ]{14}$/),
      expect.stringMatching(/^[a-z ]{14}$/),
    ]);
  });
});

describe('a drop', () => {
  it.each([
    ['"secret"', 'null    '],
    ['"abc"', 'null '],
    ['"a"', '"" '],
    ['""', '""'],
    ['[1]', '[ ]'],
    ['{"a":{"b":1}}', 'null         '],
    ['{}', '{}'],
    ['[\n 1,\r\n 2]', '[\n   \r\n  ]'],
    ['7', '0'],
    ['-12', '0  '],
    ['12345', 'null '],
    ['false', 'null '],
  ])('of %s leaves %j', (value, expected) => {
    const { text, names } = cover(bodyRedaction(['/v=drop']), `{"v":${value},"w":2}`);
    expect(text).toBe(`{"v":${expected},"w":2}`);
    expect(names).toEqual(['/v']);
  });
});

describe('rules that meet', () => {
  it('hide as much as the strongest of them, inside and outside', () => {
    const body = '{"a":{"b":"a longer text","c":"another text"}}';
    expect(cover(bodyRedaction(['/a/b=hash', '/a/*=mask']), body).text).not.toMatch(/[0-9]/);
    expect(cover(bodyRedaction(['/a=hash', '/a/b=drop']), body).text).toMatch(
      /"b":null {11},"c":"[0-9a-f]{12}"/,
    );
    expect(cover(bodyRedaction(['/a=drop', '/a/b=hash']), body).text).toMatch(/^\{"a":null +\}$/);
  });

  it('let the empty pointer cover the whole document', () => {
    expect(cover(bodyRedaction(['=drop']), '{"a":1}').text).toBe('null   ');
  });
});

describe('any document', () => {
  const value = fc.jsonValue({ maxDepth: 5, stringUnit: 'binary' });
  const space = fc.constantFrom(0, 2, '\t');

  it('stays JSON of its length, with its shape, and holds nothing of what was covered', () => {
    const redaction = bodyRedaction(['/secret=mask', '/hidden=hash', '/gone=drop']);
    fc.assert(
      fc.property(value, value, value, value, space, (open, secret, hidden, gone, indent) => {
        const body = JSON.stringify({ open, secret, hidden, gone, after: open }, null, indent);
        const { text, dropped } = cover(redaction, body);
        expect(dropped).toBeNull();
        expect(byteLength(text)).toBe(byteLength(body));
        const covered = JSON.parse(text) as Record<string, unknown>;
        const plain = JSON.parse(body) as Record<string, unknown>;
        expect([covered['open'], covered['after']]).toEqual([plain['open'], plain['after']]);
        expect(shapeOf(covered['secret'])).toEqual(shapeOf(plain['secret']));
        expect(shapeOf(covered['hidden'])).toEqual(shapeOf(plain['hidden']));
        for (const text of longTexts(plain['secret']))
          expect(longTexts(covered['secret'])).not.toContain(text);
      }),
      { numRuns: repeated(75, 300) },
    );
  });
});

/** A value with its leaves replaced by the names of their types. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.entries(value).map(([name, inner]) => [name, shapeOf(inner)]);
}

function longTexts(value: unknown): string[] {
  if (typeof value === 'string') return value.length > 7 ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(longTexts);
}

describe('a string that no rule names', () => {
  const redaction = bodyRedaction(['/a=mask']);
  const stored = (value: string) => cover(redaction, value);

  it.each([
    ['{"u":"https://h/cb?token=s3cr3t&a=1"}', '/u', /^\{"u":"https:\/\/h\/cb\?token=[a-z+]{6}&a=1"\}$/],
    ['{"t":[{"u":"https://me:s3cr3t@h/x"}]}', '/t/*/u', /^\{"t":\[\{"u":"https:\/\/[a-z+]{9}@h\/x"\}\]\}$/],
    ['{"u":"/x?a=1;sig=s3cr3t tail"}', '/u', /^\{"u":"\/x\?a=1;sig=[a-z+]{11}"\}$/],
    ['{"u":"see https://h/?key=s3cr3t now"}', '/u', /^\{"u":"see https:\/\/h\/\?key=[a-z+]{6} now"\}$/],
    ['{"u":"https:\\/\\/h\\/?key=s3cr3t"}', '/u', /^\{"u":"[a-z+]{24}"\}$/],
    ['{"u":"https://h/?key\\u003ds3cr3t"}', '/u', /^\{"u":"[a-z+]+"\}$/],
    ['{"u":"https%3A%2F%2Fh%2F%3Fkey%3Ds3cr3t"}', '/u', /^\{"u":"[a-z+]+"\}$/],
    ['"https://h/?key=s3cr3t"', '', /^"https:\/\/h\/\?key=[a-z+]{6}"$/],
  ])('loses what lets somebody in where it is a URL: %s', (body, pointer, expected) => {
    const { text, names } = stored(body);
    expect(text).toMatch(expected);
    expect(names).toEqual([pointer]);
    expect(byteLength(text)).toBe(byteLength(body));
  });

  it.each([
    '{"u":"https://h/a?state=1&x=joe@example.com"}',
    '{"u":"joe@example.com","v":"a = b / c","w":"50% of what? key=value"}',
    '{"u":"data:image/png;base64,iVBORw0KGgo="}',
  ])('stays where it lets nobody in: %s', (body) => {
    expect(stored(body)).toMatchObject({ text: body, names: [] });
  });

  it('takes no time and no memory to speak of, whatever a client makes it of', () => {
    for (const piece of ['//a@', '?a=', ' //a:b@h ', '%2F%2Fa%40', '/?%3Fk=']) {
      const body = JSON.stringify({ u: piece.repeat(400_000), secret: 'https://h/?token=s3cr3t' });
      expect(stored(body).text).not.toContain('s3cr3t');
    }
  });

  it('is named by what is around it where its own name is no pointer to note', () => {
    expect(stored(`{"x":{"${'n'.repeat(80)}":"https://h/?key=abc"}}`).names).toEqual(['/x']);
    expect(stored('{"x":{"-":"https://h/?key=abc"}}').names).toEqual(['/x']);
    expect(stored('{"x":{"a/b~c":"https://h/?key=abc"}}').names).toEqual(['/x/a~1b~0c']);
    expect(stored(`${'{"a":['.repeat(20)}{"u":"https://h/?key=abc"}${']}'.repeat(20)}`).names).toEqual([
      '/a',
    ]);
  });

  it('leaves all of a body unread by a comparison when there are more names than are noted', () => {
    const urls = Array.from({ length: 300 }, (_, nth) => [`u${nth}`, 'https://h/?key=abc']);
    const { names } = stored(JSON.stringify(Object.fromEntries(urls)));
    expect(names).toHaveLength(257);
    expect(names).toContain('');
  });
});
