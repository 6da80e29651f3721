import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ErrorAnswerScan, isErrorAnswer } from '../../src/inference/error-answer.ts';
import { JsonScan } from '../../src/inference/json-scan.ts';

function tells(...pieces: readonly string[]): boolean | null {
  const scan = new ErrorAnswerScan(null, false);
  for (const piece of pieces) scan.write(Buffer.from(piece));
  return scan.finish();
}

describe('an answer with 2xx tells of an error', () => {
  test.each([
    '{"error":{"message":"no GPU"}}',
    ' {"error": "overloaded"}',
    '{"id":1,"error":"overloaded"}',
    '{"errors":["a"]}',
    '{"detail":"Not found"}',
    '{"object":"error","message":"x"}',
    '{"code":14,"message":"not ready","details":[]}',
    '{"code":503,"type":"InternalServerException","message":"no worker"}',
    '{"__type":"ThrottlingException","message":"slow down"}',
    '{"ErrorCode":"INTERNAL_FAILURE","Message":"x","OriginalStatusCode":500,"OriginalMessage":"y"}',
    `{"error":"${'x'.repeat(20_000)}"}`,
  ])('%.40s', (text) => {
    expect(tells(text)).toBe(true);
    expect(tells(...text.slice(0, 300), text.slice(300))).toBe(true);
  });

  test.each([
    '',
    '{"outputs":[1,2,3]}',
    '{"error":null,"output":[]}',
    '{"errors":[],"data":1}',
    '{"id":1,"detail":"high"}',
    '{"choices":[{"message":{"content":"\\"error\\": true"}}]}',
    '["error"]',
    'error',
    '{"error":"cut',
    '{"code":0,"message":"ok"}',
    '{"code":200,"message":"ok"}',
    '{"code":7,"message":"found","data":[1]}',
    '{"code":"fr","message":"bonjour"}',
    `{"text":"${'x'.repeat(20_000)}","error":"beyond what is held"}`,
  ])('not %.40s', (text) => {
    expect(tells(text)).toBe(false);
  });
});

describe('a compressed answer', () => {
  const CODERS = {
    gzip: gzipSync,
    'x-gzip': gzipSync,
    deflate: deflateSync,
    br: brotliCompressSync,
  } as const;
  const coders = { ...CODERS, zstd: zstdCompressSync };
  const scanned = (bytes: Buffer, coding: string, cut = bytes.length) => {
    const scan = new ErrorAnswerScan(null, true, coding);
    scan.write(bytes.subarray(0, cut));
    scan.write(bytes.subarray(cut));
    return scan.finish();
  };

  test('is what it is without its coding, however it comes', () => {
    const body = fc.oneof(fc.json(), fc.constant('{"error":"busy"}'), fc.constant('{"outputs":[1,2'));
    const coding = fc.constantFrom(...(Object.keys(coders) as (keyof typeof coders)[]));
    fc.assert(
      fc.property(body, coding, fc.nat(), (text, name, cut) => {
        const bytes = coders[name](Buffer.from(text));
        expect(scanned(bytes, name, cut % bytes.length)).toBe(isErrorAnswer(Buffer.from(text), true));
      }),
    );
  });

  test('is none if it does not unpack', () => {
    const plain = Buffer.from('{"outputs":[1,2,3]}');
    for (const [name, encode] of Object.entries(coders)) {
      expect(scanned(encode(plain).subarray(0, -3), name), name).toBe(true);
    }
    for (const name of ['gzip', 'br', 'zstd']) expect(scanned(plain, name), name).toBe(true);
    expect(scanned(Buffer.alloc(20_000, '[1]'), 'gzip')).toBe(true);
  });

  test('is unknown if it is long, or under a coding that is', () => {
    const long = gzipSync(JSON.stringify(Array.from({ length: 20_000 }, (_, at) => Math.sqrt(at))));
    expect(scanned(long, 'gzip')).toBeNull();
    expect(scanned(Buffer.from('{}'), 'compress')).toBeNull();
    expect(scanned(Buffer.alloc(0), 'gzip')).toBe(false);
  });
});

describe('an answer that comes in one piece', () => {
  test.each([
    ['{"error":"busy"}', true],
    ['{"outputs":[1,2,3]}', false],
    // Named near the start of a long one, near the end of a short one, and beyond what is searched.
    [`{"id":1,"error":"busy","text":"${'x'.repeat(3_000)}"}`, true],
    [`{"id":1,"text":"${'x'.repeat(900)}","error":"busy"}`, true],
    [`{"id":1,"text":"${'x'.repeat(3_000)}","error":"busy"}`, false],
  ])('is judged as it is in many: %.40s', (text, tells) => {
    const whole = new ErrorAnswerScan(text.length, false);
    whole.write(Buffer.from(text));
    expect(whole.finish()).toBe(tells);
    const cut = new ErrorAnswerScan(text.length, false);
    cut.write(Buffer.from(text.slice(0, 5)));
    cut.write(Buffer.from(text.slice(5)));
    expect(cut.finish()).toBe(tells);
  });
});

describe('an answer that is declared as JSON', () => {
  const TOOLS = '[{"type":"function","function":{"name":"f","arguments":"{}"}}]';
  test.each([
    ['{"outputs":[1,2', true],
    ['{"outputs":[NaN]}', true],
    ['{"outputs":[-Infinity]}', true],
    ['<html>busy</html>', true],
    ['{"outputs":[1]}', false],
    ['{"a":1}\n{"b":2}\n', false],
    ['"a"', false],
    ['', false],
    ['{"choices":[]}', true],
    ['{"choices":[{"message":{"content":null}}]}', true],
    ['{"choices":[{"message":{"content":""}}]}', true],
    ['{"choices":[{"text":""}]}', true],
    ['{"choices":[{"message":{"content":"","refusal":null}},{"message":{"content":"a"}}]}', false],
    [`{"choices":[{"message":{"content":null,"tool_calls":${TOOLS}}}]}`, false],
    ['{"choices":[{"message":{"content":null,"refusal":"no"}}]}', false],
    ['{"type":"message","content":[]}', true],
    ['{"type":"message","content":[{"type":"text","text":""}]}', true],
    ['{"type":"message","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}', false],
    ['{"candidates":[{"content":{"parts":[{"text":""}]}}]}', true],
    ['{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}', false],
    ['{"outputs":[{"name":"o","shape":[2],"data":[null,null]}]}', true],
    ['{"outputs":[{"name":"o","shape":[2],"data":[null,1]}]}', false],
    ['{"predictions":[[null],[null]]}', true],
    ['{"predictions":[]}', false],
    ['{"object":"list","data":[{"embedding":[null,null]}]}', true],
    ['{"object":"list","data":[]}', false],
    ['{"text":null}', false],
  ])('%s: %s, in one piece and in many', (text, isNone) => {
    expect(isErrorAnswer(Buffer.from(text), true)).toBe(isNone);
    const scan = new ErrorAnswerScan(null, true);
    for (const byte of Buffer.from(text)) scan.write(Buffer.of(byte));
    expect(scan.finish()).toBe(isNone);
  });
});

describe('whether a body is complete JSON', () => {
  const isBroken = (body: Buffer, cuts: readonly number[] = []) => {
    const scan = new JsonScan();
    const ends = [...cuts.map((cut) => cut % (body.length + 1)), body.length].sort((a, b) => a - b);
    ends.forEach((end, at) => void scan.write(body.subarray(ends[at - 1] ?? 0, end)));
    return scan.isBroken;
  };
  const document = fc.oneof(fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue()));
  const cuts = fc.array(fc.nat());

  test('every document is, and no beginning of one, however it comes', () => {
    fc.assert(
      fc.property(document, cuts, fc.nat(), fc.boolean(), (value, pieces, cut, isWide) => {
        const body = Buffer.from(JSON.stringify(value, null, isWide ? 2 : 0));
        expect(isBroken(body, pieces)).toBe(false);
        const beginning = body.subarray(0, 1 + (cut % (body.length - 1)));
        expect(isBroken(beginning, pieces)).toBe(true);
      }),
    );
  });

  test.each(['NaN', 'Infinity', '-Infinity', "'a'", 'undefined'])('none with %s is', (word) => {
    const body = `{"a":[1,${word},"b"]}`;
    fc.assert(fc.property(cuts, (pieces) => void expect(isBroken(Buffer.from(body), pieces)).toBe(true)));
  });

  test('of a long one the end decides', () => {
    const long = Buffer.from(JSON.stringify({ data: Array.from({ length: 40_000 }, (_, at) => at / 7) }));
    expect(isBroken(Buffer.concat([long, Buffer.from('\r\n')]), [500_000])).toBe(false);
    expect(isBroken(long.subarray(0, -40), [500_000])).toBe(true);
  });
});
