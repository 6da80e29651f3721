// biome-ignore-all lint/suspicious/noControlCharactersInRegex: lengths of elements are control characters
import { describe, expect, it } from 'vitest';
import { bodyRedaction, cover } from '../support/body-redaction.ts';

function element(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

const TEXTS = Buffer.concat([element('the first secret'), element(''), element('geheim ü')]);
const FLOATS = Buffer.from(new Float32Array([1.5, -2.5, 3.5]).buffer);
const JSON_PART = JSON.stringify({
  inputs: [
    { name: 'text', datatype: 'BYTES', shape: [3], parameters: { binary_data_size: TEXTS.length } },
    { name: 'inline', datatype: 'BYTES', shape: [1], data: ['inline secret'] },
    { name: 'numbers', datatype: 'FP32', shape: [3], parameters: { binary_data_size: FLOATS.length } },
  ],
});

function inference(
  rules: readonly string[],
  presets: readonly string[],
  body: Buffer,
  jsonBytes = JSON_PART.length,
) {
  return cover(bodyRedaction(rules, presets), body, {
    contentType: 'application/octet-stream',
    inferenceHeaderLength: jsonBytes,
  });
}

const BODY = Buffer.concat([Buffer.from(JSON_PART), TEXTS, FLOATS]);

describe('binary tensors', () => {
  it('are covered by preset v2: words in texts, zeros in numbers, every length as it was', () => {
    const { kept, names } = inference([], ['v2'], BODY);
    const bytes = Buffer.from(kept ?? []);
    expect(names).toEqual(['/inputs/*/data']);
    expect(bytes).toHaveLength(BODY.length);
    const json = bytes.subarray(0, JSON_PART.length).toString();
    expect(json).toMatch(/"data":\["[a-z ]{13}"\]/);
    expect(json.replace(/"data":\[.*?\]/, '')).toBe(JSON_PART.replace(/"data":\[.*?\]/, ''));
    const texts = bytes.subarray(JSON_PART.length, JSON_PART.length + TEXTS.length);
    expect(texts.toString('latin1')).toMatch(/^\x10\0\0\0[a-z ]{16}\0\0\0\0\x09\0\0\0[a-z ]{9}$/);
    expect(bytes.subarray(-FLOATS.length)).toEqual(Buffer.alloc(FLOATS.length));
  });

  it('are covered by the same pointers as tensors in JSON, one by one', () => {
    const bytes = Buffer.from(inference(['/inputs/2/data=drop'], [], BODY).kept ?? []);
    expect(bytes.subarray(0, -FLOATS.length)).toEqual(BODY.subarray(0, -FLOATS.length));
    expect(bytes.subarray(-FLOATS.length)).toEqual(Buffer.alloc(FLOATS.length));
    const outer = Buffer.from(inference(['/inputs=hash'], [], BODY).kept ?? []);
    expect(outer.subarray(JSON_PART.length).toString('latin1')).toMatch(
      /^\x10\0\0\0[0-9a-f]{16}\0\0\0\0\x09/,
    );
  });

  it.each([
    ['a size past the end', JSON_PART, Buffer.concat([TEXTS, FLOATS.subarray(1)]), 'bad_tensors'],
    ['bytes of no tensor', JSON_PART, Buffer.concat([TEXTS, FLOATS, FLOATS]), 'bad_tensors'],
    ['an element past its tensor', JSON_PART, Buffer.concat([TEXTS.fill(0xff, 0, 1), FLOATS]), 'bad_tensors'],
    ['a size that is none', '{"inputs":[{"parameters":{"binary_data_size":-1}}]}', FLOATS, 'bad_tensors'],
    ['inputs that are none', '{"inputs":7}', FLOATS, 'bad_tensors'],
    ['no JSON before them', '{"inputs":', FLOATS, 'not_json'],
    ['nothing before them', '', FLOATS, 'bad_tensors'],
    ['a value that is no object', 'null', FLOATS, 'not_json'],
  ])('with %s are dropped', (_, json, binary, reason) => {
    const body = Buffer.concat([Buffer.from(json), binary]);
    expect(inference([], ['v2'], body, json.length)).toMatchObject({ kept: null, dropped: reason });
  });

  it('behind more JSON than there is are dropped', () => {
    expect(inference([], ['v2'], BODY, BODY.length + 1).dropped).toBe('bad_tensors');
  });
});
