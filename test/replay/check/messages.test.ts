import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { wholePayload } from '../../../src/core/exchange.ts';
import { checkWord } from '../../../src/core/run.ts';
import { AnswerComparer, type ComparerOptions } from '../../../src/replay/check/checker.ts';
import { CHECK_TOLERANCE } from '../../../src/replay/options/parsers.ts';
import { wholeBody } from '../../support/exchanges.ts';
import { grpcMessage } from '../../support/grpc.ts';
import { CALL_PATH, callsOf, STREAM_PATH } from '../../support/grpc-calls.ts';
import { repeated } from '../../support/long-form.ts';
import {
  bytesField,
  double,
  entry,
  int,
  joined,
  message,
  packed,
  text,
} from '../../support/protobuf-writer.ts';

const PREDICT_PATH = '/tensorflow.serving.PredictionService/Predict';

interface Answered {
  readonly body: Uint8Array;
  readonly redacted?: readonly string[];
  readonly coding?: string;
}

function check(
  path: string,
  recorded: Answered,
  answered: Answered,
  options: Partial<ComparerOptions> = {},
  streamed = path === STREAM_PATH,
): string {
  const lines = ['HTTP/2 200', 'content-type: application/grpc'];
  if (recorded.coding !== undefined) lines.push(`grpc-encoding: ${recorded.coding}`);
  const head = Buffer.from([...lines, '', ''].join('\r\n'));
  const response = {
    head,
    redacted: recorded.redacted ?? [],
    body: wholeBody(recorded.body),
    trailers: null,
  };
  const [exchange] = callsOf(1, { response }, path);
  const comparing = {
    level: 'values',
    tolerance: CHECK_TOLERANCE,
    ignore: [],
    finishes: true,
    ...options,
  } as const;
  const found = new AnswerComparer(comparing).check(wholePayload(exchange as never), {
    index: 0,
    segment: 's',
    exchangeId: 1,
    route: `POST ${path}`,
    streamed,
    facts: null,
    kept: {
      contentType: 'application/grpc',
      contentEncoding: answered.coding ?? null,
      inferenceHeaderLength: null,
      bytes: answered.body,
    },
  });
  return found.result === 'mismatch' ? `${checkWord(found)} ${found.pointer}` : checkWord(found);
}

function floats(...values: readonly number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

/** An answer of the Open Inference Protocol with raw tensors, or with contents. */
function inferred(values: Buffer, { id = 'a', type = 'FP32', typed = false } = {}): Buffer {
  const contents = typed ? [message(5, bytesField(6, values))] : [];
  return joined(
    text(1, 'ranker'),
    text(3, id),
    message(5, text(1, 'OUT'), text(2, type), packed(3, [values.length / 4]), ...contents),
    ...(typed ? [] : [bytesField(6, values)]),
  );
}

const of = (...messages: readonly Uint8Array[]): Answered => ({
  body: Buffer.concat(messages.map((each) => grpcMessage(each))),
});

describe.each([false, true])('tensors of the Open Inference Protocol (as contents: %s)', (typed) => {
  const answer = (...values: readonly number[]) => of(inferred(floats(...values), { typed }));
  const place = typed ? '/outputs/0/data/*' : '/outputs/0/data';

  test('are equal within the tolerance, also where they are whole numbers', () => {
    expect(check(CALL_PATH, answer(1, 16_777_216), answer(1.000_001, 16_777_218))).toBe('same');
    expect(check(CALL_PATH, answer(1, 2), answer(1, 2.01))).toBe(`mismatch:values ${place}/1`);
    const loose = { ...CHECK_TOLERANCE, relative: 0.1 };
    expect(check(CALL_PATH, answer(1, 2), answer(1, 2.01), { tolerance: loose })).toBe('same');
  });

  test('differ in shape, and a shape alone has no values', () => {
    expect(check(CALL_PATH, answer(1, 2), answer(1, 2, 3))).toBe(`mismatch:length ${place}`);
    expect(check(CALL_PATH, answer(1, 2), answer(1, 9), { level: 'shape' })).toBe('same');
  });

  test('can be left out by the pointer that they have over HTTP', () => {
    expect(check(CALL_PATH, answer(1, 2), answer(1, 9), { ignore: ['/outputs/*/data'] })).toBe('same');
  });
});

test('an id differs in every answer, and a type does not', () => {
  const values = floats(1, 2);
  expect(check(CALL_PATH, of(inferred(values)), of(inferred(values, { id: 'b' })))).toBe('same');
  expect(check(CALL_PATH, of(inferred(values)), of(inferred(values, { type: 'INT32' })))).toBe(
    'mismatch:shape /outputs/0/datatype',
  );
});

test('messages of a stream are compared one by one, inside what Triton wraps them in', () => {
  const wrapped = (value: number, id: string) => message(2, inferred(floats(value), { id }));
  const three = of(wrapped(1, 'a'), wrapped(2, 'a'), wrapped(3, 'a'));
  expect(check(STREAM_PATH, three, of(wrapped(1, 'b'), wrapped(2, 'b'), wrapped(3, 'b')))).toBe('same');
  expect(check(STREAM_PATH, three, of(wrapped(1, 'b'), wrapped(7, 'b'), wrapped(3, 'b')))).toBe(
    'mismatch:values /1/outputs/0/data/0',
  );
  expect(check(STREAM_PATH, three, of(wrapped(1, 'b')))).toBe('mismatch:length null');
  expect(check(STREAM_PATH, of(wrapped(1, 'a')), of(text(1, 'busy')))).toMatch(/^mismatch:shape/);
});

test('tensors of TensorFlow Serving are compared by their names, in any order', () => {
  const tensor = (values: Buffer) =>
    joined(int(1, 1), message(2, message(2, int(1, 2))), bytesField(4, values));
  const answer = (version: number, ...outputs: readonly Buffer[]) =>
    of(joined(...outputs, message(2, text(1, 'm'), message(2, int(1, version)))));
  const [one, two] = [entry(1, 'one', tensor(floats(1, 2))), entry(1, 'two', tensor(floats(3, 4)))];
  expect(check(PREDICT_PATH, answer(1, one, two), answer(2, two, one))).toBe('same');
  const other = entry(1, 'two', tensor(floats(3, 5)));
  expect(check(PREDICT_PATH, answer(1, one, two), answer(1, other, one))).toMatch(
    /^mismatch:values \/outputs\/two\/.*\/1$/,
  );
});

test('a call whose messages are not known is the same, or cannot be compared', () => {
  const [one, two] = [of(double(1, 1)), of(double(1, 2))];
  expect(check('/m.S/Do', one, one)).toBe('same');
  expect(check('/m.S/Do', one, two)).toBe('unchecked:unreadable');
  expect(check('/m.S/Do', one, of(double(1, 1), double(1, 1)))).toBe('mismatch:length null');
});

test('compressed messages are compared by their content', () => {
  const plain = inferred(floats(1, 2));
  const coded = { body: grpcMessage(gzipSync(plain), true), coding: 'gzip' };
  expect(check(CALL_PATH, of(plain), coded)).toBe('same');
  expect(check(CALL_PATH, coded, of(inferred(floats(1, 3))))).toBe('mismatch:values /outputs/0/data/1');
  expect(check(CALL_PATH, { ...coded, coding: 'zstd' }, of(plain))).toBe('unchecked:unreadable');
  expect(check(CALL_PATH, of(plain), { body: grpcMessage(Buffer.from('x'), true), coding: 'gzip' })).toBe(
    'mismatch:shape null',
  );
});

test('of a masked answer only the form is compared, unless what is masked is left out on purpose', () => {
  const masked = { ...of(inferred(floats(0, 0))), redacted: ['/outputs/*/data'] };
  expect(check(CALL_PATH, masked, of(inferred(floats(1, 2))))).toBe('unchecked:redacted');
  expect(check(CALL_PATH, masked, of(inferred(floats(1, 2, 3))))).toMatch(/^mismatch:length/);
  const ignore = ['/outputs/*/data'];
  expect(check(CALL_PATH, masked, of(inferred(floats(1, 2))), { ignore })).toBe('same');
});

test('no bytes of an answer make the comparison fail, and an answer always equals itself', () => {
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => grpcMessage(bytes)),
    fc
      .array(fc.float({ noNaN: true }), { maxLength: 4 })
      .map((values) => grpcMessage(inferred(floats(...values)))),
  );
  fc.assert(
    fc.property(
      body,
      body,
      fc.constantFrom(CALL_PATH, STREAM_PATH, PREDICT_PATH, '/m.S/Do'),
      (one, other, path) => {
        expect(check(path, { body: one }, { body: one })).toBe('same');
        expect(check(path, { body: one }, { body: other })).toMatch(
          /^(?:same|mismatch|unchecked:unreadable)/,
        );
      },
    ),
    { numRuns: repeated(60, 300) },
  );
});
