import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { callSchema } from '../../../src/inference/protobuf/known-services.ts';
import { messageJson } from '../../../src/inference/protobuf/message-json.ts';
import type { CallTypes } from '../../../src/inference/protobuf/schema.ts';
import { repeated } from '../../support/long-form.ts';
import {
  bytesField,
  entry,
  float,
  int,
  joined,
  message,
  packed,
  rawBytes,
  text,
} from '../../support/protobuf-writer.ts';

const schema = callSchema();
const types = (path: string): CallTypes => {
  const found = schema.of(path);
  if (found === null) throw new Error(`no ${path}`);
  return found;
};
const INFER = types('/inference.GRPCInferenceService/ModelInfer');
const STREAM = types('/inference.GRPCInferenceService/ModelStreamInfer');
const PREDICT = types('/tensorflow.serving.PredictionService/Predict');

const input = (name: string, datatype: string, shape: readonly number[], ...more: readonly Buffer[]) =>
  message(5, text(1, name), text(2, datatype), packed(3, shape), ...more);

describe('messageJson', () => {
  test('reads a request of the Open Inference Protocol with the names that it has over HTTP', () => {
    const bytes = joined(
      text(1, 'ranker'),
      text(2, '3'),
      text(3, 'request-1'),
      entry(4, 'sequence_id', int(2, 77)),
      entry(4, 'sequence_start', int(1, 1)),
      entry(4, 'correlation', text(3, 'abc')),
      input('IDS', 'INT64', [2, 3], message(5, packed(3, [1, 2, -3, 4, 5, 6]))),
      input('TEXT', 'BYTES', [1], message(5, bytesField(8, Buffer.from('hallo')))),
      message(6, text(1, 'OUT')),
    );
    expect(messageJson(INFER.request, bytes)).toEqual({
      stoppedAt: null,
      json: {
        model_name: 'ranker',
        model_version: '3',
        id: 'request-1',
        parameters: { sequence_id: 77, sequence_start: true, correlation: 'abc' },
        inputs: [
          {
            name: 'IDS',
            datatype: 'INT64',
            shape: [2, 3],
            contents: { int64_contents: [1, 2, -3, 4, 5, 6] },
          },
          { name: 'TEXT', datatype: 'BYTES', shape: [1], contents: { bytes_contents: ['hallo'] } },
        ],
        outputs: [{ name: 'OUT' }],
      },
    });
  });

  test('gives long lists and bytes by their size', () => {
    const many = Array.from({ length: 1_000 }, (_, index) => index * 300);
    const bytes = joined(
      input('A', 'INT32', [1_000], message(5, packed(2, many))),
      input('B', 'FP32', [500], message(5, bytesField(6, Buffer.alloc(2_000)))),
      bytesField(7, rawBytes('one', 'two')),
      bytesField(7, Buffer.alloc(4_096, 0x41)),
    );
    const { json, stoppedAt } = messageJson(INFER.request, bytes);
    expect(stoppedAt).toBeNull();
    expect(json).toMatchObject({
      inputs: [
        { contents: { int_contents: { values: 1_000 } } },
        { contents: { fp32_contents: { values: 500 } } },
      ],
      raw_input_contents: [{ bytes: 14 }, { bytes: 4_096 }],
    });
    const lists = messageJson(INFER.request, joined(...many.map(() => bytesField(7, [1]))));
    expect(lists.json).toEqual({ raw_input_contents: { values: 1_000 } });
  });

  test('tells the wrapped answers of Triton from the plain ones of MLServer', () => {
    const answer = joined(
      text(1, 'm'),
      text(2, '1'),
      text(3, 'id'),
      message(5, text(1, 'OUT'), text(2, 'FP32')),
    );
    const expected = {
      model_name: 'm',
      model_version: '1',
      id: 'id',
      outputs: [{ name: 'OUT', datatype: 'FP32' }],
    };
    expect(messageJson(STREAM.response, message(2, answer)).json).toEqual({ infer_response: expected });
    expect(messageJson(STREAM.response, answer).json).toEqual(expected);
    expect(messageJson(STREAM.response, text(1, 'no such model')).json).toEqual({
      error_message: 'no such model',
    });
  });

  test('reads a request of TensorFlow Serving', () => {
    const shape = message(2, message(2, int(1, 4)), message(2, int(1, 2)));
    const bytes = joined(
      message(1, text(1, 'half_plus_two'), message(2, int(1, 123)), text(3, 'serving_default')),
      entry(2, 'x', int(1, 1), shape, float(5, 1.5), float(5, 2.5)),
      entry(2, 's', int(1, 7), bytesField(8, Buffer.from('text'))),
    );
    expect(messageJson(PREDICT.request, bytes).json).toEqual({
      model_spec: { name: 'half_plus_two', version: 123, signature_name: 'serving_default' },
      inputs: {
        x: { dtype: 'DT_FLOAT', tensor_shape: { dim: [{ size: 4 }, { size: 2 }] }, float_val: [1.5, 2.5] },
        s: { dtype: 'DT_STRING', string_val: ['text'] },
      },
    });
  });

  test('names unknown fields by their number', () => {
    const bytes = joined(text(1, 'm'), text(99, 'later'), int(98, 5), float(97, 1), int(3, 7));
    expect(messageJson(INFER.request, bytes).json).toEqual({
      model_name: 'm',
      '99': { bytes: 5 },
      '98': { varint: 1 },
      '97': { bytes: 4 },
      '3': { varint: 1 },
    });
    expect(messageJson(null, text(2, 'x')).json).toEqual({ '2': { bytes: 1 } });
  });

  test('says where a message stops, and bounds what it reads', () => {
    expect(messageJson(INFER.request, joined(text(1, 'm'), [0x0b])).stoppedAt).toBe(3);
    // Tensors inside tensors, deeper than any that is sent.
    let variant: Buffer = int(1, 21);
    for (let depth = 0; depth < 400; depth += 1) variant = message(15, message(3, variant));
    const deep = messageJson(PREDICT.request, entry(2, 'x', variant));
    expect(deep.stoppedAt).not.toBeNull();
    const wide = messageJson(
      PREDICT.request,
      joined(...Array.from({ length: 20_000 }, (_, i) => entry(2, `k${i}`))),
    );
    expect(wide.stoppedAt).not.toBeNull();
    expect(Object.keys(wide.json['inputs'] as object).length).toBeLessThan(10_001);
  });

  test('keeps a key that is the name of a prototype as a key', () => {
    const { json } = messageJson(PREDICT.request, entry(2, '__proto__', int(1, 1)));
    expect(JSON.stringify(json)).toBe('{"inputs":{"__proto__":{"dtype":"DT_FLOAT"}}}');
  });

  test('never throws, whatever is cut or changed', () => {
    const whole = joined(
      text(1, 'ranker'),
      entry(4, 'sequence_id', int(2, 77)),
      input('IDS', 'INT64', [2, 3], message(5, packed(3, [1, 2, 3]), packed(2, [1]), float(6, 3))),
      bytesField(7, rawBytes('one', 'two')),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(INFER.request, INFER.response, STREAM.response, PREDICT.request, null),
        fc.nat(whole.length),
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 6 }),
        (type, cut, changes) => {
          const bytes = Buffer.from(whole);
          for (const [at, byte] of changes) bytes[at] = byte;
          const { json, stoppedAt } = messageJson(type, bytes, 0, cut);
          expect(() => JSON.stringify(json)).not.toThrow();
          if (stoppedAt !== null) expect(stoppedAt).toBeLessThanOrEqual(cut);
        },
      ),
      { numRuns: repeated(600, 3_000) },
    );
  });
});
