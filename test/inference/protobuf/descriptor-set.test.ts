import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../../src/core/errors.ts';
import { parseDescriptorSet } from '../../../src/inference/protobuf/descriptor-set.ts';
import { callSchema } from '../../../src/inference/protobuf/known-services.ts';
import { messageJson } from '../../../src/inference/protobuf/message-json.ts';
import { ACME_MESSAGE, ACME_SET } from '../../support/descriptor-set.ts';
import { repeated } from '../../support/long-form.ts';
import { message, text } from '../../support/protobuf-writer.ts';

function refusal(bytes: Uint8Array): AppError {
  try {
    parseDescriptorSet(bytes, 'acme.pb');
  } catch (thrown) {
    if (thrown instanceof AppError) return thrown;
    throw thrown;
  }
  throw new Error('accepted');
}

describe('parseDescriptorSet', () => {
  test('reads what protoc wrote: messages, maps, enums and methods', () => {
    const schema = callSchema([parseDescriptorSet(ACME_SET, 'acme.pb')]);
    const ask = schema.of('/acme.v1.Oracle/Ask');
    expect(ask?.streamsAnswer).toBe(false);
    expect(schema.of('/acme.v1.Oracle/Tell')?.streamsAnswer).toBe(true);
    expect(ask?.response.fields.get(1)).toMatchObject({ name: 'content', alias: 'said' });
    expect(messageJson(ask?.request ?? null, ACME_MESSAGE)).toEqual({
      stoppedAt: null,
      json: {
        user_id: 'ü-7',
        parts: [{ text: 'a', blob: { bytes: 2 } }, { text: 'b' }],
        labels: { '-1': 'neg', '7': 'seven' },
        mode: 'FAST',
        deltas: [-1, 2, '-4611686018427387904'],
        nanos: '9223372036854775809',
        parent: { user_id: 'root' },
      },
    });
    // The known services stay.
    expect(schema.of('/inference.GRPCInferenceService/ModelInfer')).not.toBeNull();
  });

  test.each([
    ['an empty file', Buffer.alloc(0)],
    ['the source of it', Buffer.from('syntax = "proto3";\nservice Oracle {}\n')],
    ['JSON', Buffer.from('{"file": []}')],
    ['a set that is cut', ACME_SET.subarray(0, ACME_SET.length - 9)],
    ['a set without a service', message(1, text(1, 'a.proto'), message(4, text(1, 'M')))],
    [
      'a set without its imports',
      message(
        1,
        text(2, 'p'),
        message(6, text(1, 'S'), message(2, text(1, 'M'), text(2, '.q.In'), text(3, '.q.Out'))),
      ),
    ],
  ])('refuses %s, with the file and a way out', (_, bytes) => {
    const { code, message: said, hint } = refusal(bytes);
    expect(code).toBe('OPTION_INVALID');
    expect(said).toContain('acme.pb');
    expect(hint).not.toBeNull();
  });

  test('accepts or refuses any bytes, and ends', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(ACME_SET.length - 1), fc.nat(255)), { maxLength: 8 }),
        (changes) => {
          const bytes = Buffer.from(ACME_SET);
          for (const [at, byte] of changes) bytes[at] = byte;
          try {
            const schema = callSchema([parseDescriptorSet(bytes, 'acme.pb')]);
            for (const path of schema.paths) messageJson(schema.of(path)?.request ?? null, ACME_MESSAGE);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(AppError);
          }
        },
      ),
      { numRuns: repeated(200, 1_000) },
    );
  });
});
