import { deflateSync, gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MessageType } from '../../src/core/protobuf.ts';
import { messageJson } from '../../src/inference/protobuf/message-json.ts';
import { bodyRedaction, cover } from '../support/body-redaction.ts';
import { grpcMessage } from '../support/grpc.ts';
import { aboutCall, grpcBody, gzippedBody, typesOf } from '../support/grpc-body.ts';
import { repeated } from '../support/long-form.ts';
import {
  bytesField,
  double,
  entry,
  float,
  int,
  joined,
  message,
  packed,
  rawBytes,
  text,
} from '../support/protobuf-writer.ts';

const INFER = typesOf('ModelInfer');
const STREAM = typesOf('ModelStreamInfer');
const PREDICT = typesOf('Predict');
const CLASSIFY = typesOf('Classify');
const PREFIX_BYTES = 5;

/** One message under these rules, as JSON, with what was noted. */
function masked(
  rules: readonly string[],
  type: MessageType,
  content: Buffer,
  presets: readonly string[] = [],
) {
  const body = grpcBody(content);
  const { kept, names, dropped } = cover(bodyRedaction(rules, presets), body, aboutCall(body, type));
  if (kept === null) return { json: null, names, dropped, bytes: Buffer.alloc(0) };
  expect(kept).toHaveLength(body.length);
  const bytes = Buffer.from(kept.subarray(PREFIX_BYTES));
  const { json, stoppedAt } = messageJson(type, bytes);
  expect(stoppedAt).toBeNull();
  return { json, names, dropped, bytes };
}

const tensor = (name: string, datatype: string, shape: readonly number[], ...contents: readonly Buffer[]) =>
  message(5, text(1, name), text(2, datatype), packed(3, shape), ...contents.map((each) => message(5, each)));

describe('masking messages of gRPC', () => {
  test('masks a text where a rule names it, and leaves every other byte', () => {
    const content = joined(
      text(1, 'ranker'),
      entry(4, 'user', text(3, 'anna@example.org')),
      tensor(
        'TEXT',
        'BYTES',
        [2],
        joined(bytesField(8, Buffer.from('first secret')), bytesField(8, Buffer.from('second'))),
      ),
      tensor('IDS', 'INT64', [1, 2], packed(3, [5, 7])),
    );
    const rule = '/inputs/*/contents/bytes_contents=mask';
    const { json, names, bytes } = masked([rule], INFER.request, content);
    expect(names).toEqual(['/inputs/*/contents/bytes_contents']);
    expect(bytes.includes('secret') || bytes.includes('second')).toBe(false);
    const at = content.indexOf('first secret');
    expect(bytes.subarray(0, at)).toEqual(content.subarray(0, at));
    const after = content.indexOf('second') + 'second'.length;
    expect(bytes.subarray(after)).toEqual(content.subarray(after));
    expect(json).toMatchObject({ parameters: { user: 'anna@example.org' } });
    const user = masked(['/parameters/user=mask'], INFER.request, content);
    expect(user.bytes.includes('anna')).toBe(false);
    expect(user.json).toMatchObject({ model_name: 'ranker', inputs: [{ name: 'TEXT' }, { name: 'IDS' }] });
  });

  test.each(['/inputs/*/data=mask', '/inputs/*/contents=mask', '/inputs/0=mask', '/inputs=drop'])(
    'finds contents by %s, as over HTTP',
    (rule) => {
      const content = tensor('T', 'BYTES', [1], bytesField(8, Buffer.from('hidden words')));
      const { bytes, dropped } = masked([rule], INFER.request, content);
      expect(dropped).toBeNull();
      expect(bytes.includes('hidden')).toBe(false);
    },
  );

  test('finds fields by the name of protobuf JSON and by the declared one', () => {
    for (const rule of ['/modelName=mask', '/model_name=mask', '/MODEL_NAME=mask']) {
      expect(masked([rule], INFER.request, text(1, 'private-model')).bytes.includes('private')).toBe(false);
    }
  });

  test('masks raw tensors by their type: lengths of texts stay, numbers become zeros', () => {
    const ids = Buffer.alloc(16, 0x41);
    const content = joined(
      tensor('IDS', 'INT64', [2]),
      tensor('TEXT', 'BYTES', [2]),
      bytesField(7, ids),
      bytesField(7, rawBytes('my card number', '')),
    );
    const both = masked(['/inputs/*/contents=mask'], INFER.request, content);
    expect(both.bytes.includes('card')).toBe(false);
    expect(both.bytes.includes(ids)).toBe(false);
    const lengths = both.bytes.subarray(both.bytes.length - rawBytes('my card number', '').length);
    expect(lengths.readUInt32LE(0)).toBe('my card number'.length);
    expect(lengths.readUInt32LE(4 + 'my card number'.length)).toBe(0);
    // A rule for texts alone leaves the numbers.
    const texts = masked(['/inputs/*/contents/bytes_contents=mask'], INFER.request, content);
    expect(texts.bytes.includes('card')).toBe(false);
    expect(texts.bytes.includes(ids)).toBe(true);
    const second = masked(['/raw_input_contents/1=mask'], INFER.request, content);
    expect([second.bytes.includes('card'), second.bytes.includes(ids)]).toEqual([false, true]);
  });

  test('counts raw tensors without those in shared memory', () => {
    const shared = message(
      5,
      text(1, 'SHARED'),
      text(2, 'FP32'),
      entry(4, 'shared_memory_region', text(3, 'region')),
    );
    const content = joined(shared, tensor('TEXT', 'BYTES', [1]), bytesField(7, rawBytes('not this one')));
    expect(masked(['/inputs/1/contents=mask'], INFER.request, content).bytes.includes('not')).toBe(false);
  });

  test.each([
    [
      'more raw tensors than described',
      joined(tensor('A', 'BYTES', [1]), bytesField(7, []), bytesField(7, [])),
    ],
    ['lengths that do not add up', joined(tensor('A', 'BYTES', [1]), bytesField(7, [9, 0, 0, 0, 1]))],
  ])('drops a body with %s', (_, content) => {
    expect(masked(['/inputs/*/contents=mask'], INFER.request, content)).toMatchObject({
      json: null,
      dropped: 'bad_tensors',
    });
  });

  test.each([
    ['a rule for one element', '/inputs/0/contents/bytes_contents/1=mask', 'BYTES'],
    ['a type that is not known', '/inputs/0/contents/bytes_contents=mask', 'STRING'],
  ])('drops raw tensors under %s', (_, rule, datatype) => {
    const content = joined(tensor('A', datatype, [2]), bytesField(7, rawBytes('one', 'two')));
    expect(masked([rule], INFER.request, content).dropped).toBe('bad_tensors');
  });

  test('numbers keep their wire length, and hashed ones stay equal', () => {
    const content = (id: bigint) => joined(entry(4, 'sequence_id', int(2, id)), entry(4, 'other', int(2, 3)));
    const rule = ['/parameters/sequence_id=hash'];
    const one = masked(rule, INFER.request, content(123_456_789_012n));
    const again = masked(rule, INFER.request, content(123_456_789_012n));
    const other = masked(rule, INFER.request, content(123_456_789_013n));
    expect(one.json).toEqual(again.json);
    expect(one.json).not.toEqual(other.json);
    expect(one.bytes.equals(content(123_456_789_012n))).toBe(false);
    expect(one.json).toMatchObject({ parameters: { other: 3 } });
    const dropped = masked(['/parameters/sequence_id=drop'], INFER.request, content(300n));
    expect(dropped.json).toMatchObject({ parameters: { sequence_id: 0, other: 3 } });
  });

  test('the preset v1 masks tensors of TensorFlow Serving, and leaves how to read them', () => {
    const shape = message(2, message(2, int(1, 2), text(2, 'rows-of-anna')));
    const content = joined(
      message(1, text(1, 'model'), message(2, int(1, 4))),
      entry(2, 'text', int(1, 7), shape, bytesField(8, Buffer.from('secret text'))),
      entry(2, 'plain', int(1, 1), shape, bytesField(4, Buffer.alloc(8, 0x42))),
      entry(2, 'ids', int(1, 9), shape, packed(10, [77_777, 2])),
      bytesField(6, Buffer.from('client-of-anna')),
    );
    const { json, bytes } = masked([], PREDICT.request, content, ['v1']);
    for (const secret of ['secret', 'anna', 'BBBB']) expect(bytes.includes(secret)).toBe(false);
    expect(bytes.includes(packed(10, [77_777, 2]))).toBe(false);
    expect(json).toMatchObject({
      model_spec: { name: 'model', version: 4 },
      inputs: {
        text: { dtype: 'DT_STRING', tensor_shape: { dim: [{ size: 2 }] } },
        plain: { dtype: 'DT_FLOAT' },
        ids: { dtype: 'DT_INT64' },
      },
    });
    // A rule that names the shape is not a preset.
    const named = masked(['/inputs/*/tensor_shape=mask'], PREDICT.request, content);
    expect(named.json).toMatchObject({ inputs: { ids: { tensor_shape: { dim: [{ size: 1 }] } } } });
  });

  test('the preset v1 masks the examples of Classify and its result', () => {
    const feature = (name: string, value: Buffer) => entry(1, name, value);
    const features = message(
      1,
      feature('name', message(1, bytesField(1, Buffer.from('anna')))),
      feature('income', message(2, float(1, 1234.5))),
      feature('zip', message(3, packed(1, [90_210]))),
    );
    const content = joined(message(1, text(1, 'm')), message(2, message(1, message(1, features))));
    const { bytes, dropped } = masked([], CLASSIFY.request, content, ['v1']);
    expect(dropped).toBeNull();
    for (const secret of [Buffer.from('anna'), float(1, 1234.5), packed(1, [90_210])])
      expect(bytes.includes(secret)).toBe(false);
    const result = message(1, message(1, message(1, text(1, 'diagnosis'), float(2, 0.5))));
    expect(masked([], CLASSIFY.response, result, ['v1']).bytes.includes('diagnosis')).toBe(false);
  });

  test('the presets v2 and llm mask answers of streams, of Triton and of MLServer', () => {
    const answer = joined(
      text(1, 'm'),
      text(2, '1'),
      message(5, text(1, 'OUT'), text(2, 'BYTES'), packed(3, [1])),
      bytesField(6, rawBytes('said in private')),
    );
    for (const preset of ['v2', 'llm'])
      for (const content of [message(2, answer), answer, text(1, 'the prompt "in private" is too long')]) {
        const { bytes, json } = masked([], STREAM.response, content, [preset]);
        expect(bytes.includes('private')).toBe(false);
        if (content.includes('OUT')) expect(JSON.stringify(json)).toContain('"name":"OUT"');
      }
  });

  test('the preset llm masks everything but structure', () => {
    const content = joined(
      text(1, 'ranker'),
      text(3, 'id-1'),
      entry(4, 'user', text(3, 'anna@example.org')),
      entry(4, 'temperature', double(4, 0.5)),
      tensor('TEXT', 'BYTES', [3, 900], bytesField(8, Buffer.from('a prompt'))),
    );
    const { json, bytes, names } = masked([], INFER.request, content, ['llm']);
    expect(bytes.includes('anna') || bytes.includes('prompt')).toBe(false);
    expect(json).toMatchObject({
      model_name: 'ranker',
      id: 'id-1',
      parameters: { temperature: 0.5 },
      inputs: [{ name: 'TEXT', datatype: 'BYTES', shape: [3, 900] }],
    });
    expect([...names].sort()).toEqual(['/inputs/*/contents/bytes_contents/*', '/parameters/user']);
  });

  test('credentials in URLs are masked where no rule names them', () => {
    const content = tensor(
      'URL',
      'BYTES',
      [1],
      bytesField(8, Buffer.from('https://anna:geheim@example.org/cat.png')),
    );
    const { bytes } = masked(['/id=mask'], INFER.request, content);
    expect(bytes.includes('geheim')).toBe(false);
    expect(bytes.includes('example.org/cat.png')).toBe(true);
  });

  test('drops what it cannot name, and guesses nothing', () => {
    const unknown = joined(text(1, 'm'), text(99, 'a later field'));
    expect(masked(['/id=mask'], INFER.request, unknown).dropped).toBe('unknown_field');
    // No rule can mean a field inside a message that no rule reaches.
    const inside = tensor('A', 'FP32', [1], bytesField(77, Buffer.from('later')));
    expect(masked(['/id=mask'], INFER.request, inside).dropped).toBeNull();
    const body = grpcBody(text(1, 'anything'));
    const redaction = bodyRedaction(['/id=mask']);
    expect(cover(redaction, body, aboutCall(body, null))).toMatchObject({
      kept: null,
      dropped: 'unknown_type',
    });
    const mistyped = grpcBody(int(3, 5));
    expect(cover(redaction, mistyped, aboutCall(mistyped, INFER.request)).dropped).toBe('unknown_field');
    for (const [bytes, reason] of [
      [body.subarray(0, -1), 'truncated'],
      [Buffer.concat([body, Buffer.of(7)]), 'not_protobuf'],
      [grpcBody(Buffer.of(0x0b)), 'not_protobuf'],
    ] as const)
      expect(cover(redaction, bytes, aboutCall(bytes, INFER.request))).toMatchObject({
        kept: null,
        dropped: reason,
      });
    expect(cover(bodyRedaction([]), body, aboutCall(body, null)).kept).toEqual(body);
  });

  test('compressed messages are masked and compressed again, each with its own length', () => {
    const content = tensor('T', 'BYTES', [1], bytesField(8, Buffer.from('a secret '.repeat(200))));
    const body = Buffer.concat([gzippedBody(content, text(1, 'm')), grpcBody(text(3, 'plain'))]);
    const redaction = bodyRedaction(['/inputs/*/contents=mask']);
    const { kept } = cover(redaction, body, aboutCall(body, INFER.request, 'gzip'));
    const stored = Buffer.from(kept ?? []);
    const first = stored.subarray(PREFIX_BYTES, PREFIX_BYTES + stored.readUInt32BE(1));
    const plain = gunzipSync(first);
    expect(plain).toHaveLength(content.length);
    expect(plain.includes('secret')).toBe(false);
    expect(stored.subarray(-7)).toEqual(text(3, 'plain'));
    const deflated = Buffer.from(deflateSync(content));
    const other = grpcMessage(deflated, true);
    expect(cover(redaction, other, aboutCall(other, INFER.request, 'deflate')).dropped).toBeNull();
    // Not as the head says, or not said at all.
    expect(cover(redaction, body, aboutCall(body, INFER.request, 'deflate')).dropped).toBe('bad_coding');
    expect(cover(redaction, body, aboutCall(body, INFER.request, null)).dropped).toBe('bad_coding');
    expect(cover(redaction, body, aboutCall(body, INFER.request, 'snappy')).dropped).toBe('unknown_coding');
  });

  test('whatever the message, lengths and fields stay; no byte outside the rule changes; nothing throws', () => {
    // A value that looks like a user's name in a URL is masked in every body.
    const word = fc.string({ minLength: 1, maxLength: 20 }).filter((value) => !value.includes('@'));
    const field = fc.oneof(
      word.map((value) => text(1, value)),
      word.map((value) => text(3, value)),
      fc.tuple(word, word).map(([key, value]) => entry(4, key, text(3, value))),
      fc.tuple(word, fc.bigInt(0n, 2n ** 63n)).map(([key, value]) => entry(4, key, int(2, value))),
      fc
        .tuple(word, fc.array(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), { maxLength: 9 }))
        .map(([name, values]) => tensor(name, 'INT64', [values.length], packed(3, values))),
      fc
        .array(word, { maxLength: 4 })
        .map((values) =>
          tensor('T', 'BYTES', [1], joined(...values.map((value) => bytesField(8, Buffer.from(value))))),
        ),
    );
    const rules = ['/parameters/*=mask', '/inputs/*/data=hash', '/id=mask', '/model_name=drop', '=mask'];
    fc.assert(
      fc.property(fc.array(field, { maxLength: 8 }), fc.constantFrom(...rules), (fields, rule) => {
        const content = joined(...fields);
        const before = messageJson(INFER.request, content).json;
        const { json, bytes } = masked([rule], INFER.request, content);
        expect(bytes).toHaveLength(content.length);
        expect(Object.keys(json ?? {})).toEqual(Object.keys(before));
        if (rule === '=mask') return;
        const pointer = rule.slice(1).split(/[/=]/)[0] ?? '';
        const named =
          pointer === 'id' || pointer === 'model_name' || pointer === 'inputs' ? pointer : 'parameters';
        expect({ ...json, [named]: null }).toEqual({ ...before, [named]: null });
      }),
      { numRuns: repeated(60, 300) },
    );
    const whole = grpcBody(
      joined(
        tensor('T', 'BYTES', [1]),
        tensor('I', 'INT64', [1], packed(3, [1, 2])),
        bytesField(7, rawBytes('x')),
      ),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 5 }),
        fc.nat(whole.length),
        fc.constantFrom(INFER.request, STREAM.response, PREDICT.request),
        (changes, cut, type) => {
          const body = Buffer.from(whole);
          for (const [at, byte] of changes) body[at] = byte;
          const bytes = body.subarray(0, cut);
          const { dropped, kept } = cover(
            bodyRedaction(['/inputs/*/data=mask'], ['v1']),
            bytes,
            aboutCall(bytes, type),
          );
          expect(dropped).not.toBe('failed');
          if (kept !== null) expect(kept).toHaveLength(bytes.length);
        },
      ),
      { numRuns: repeated(400, 2_000) },
    );
  });
});
