import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { grpcMessagesOf } from '../../../src/inference/grpc.ts';
import { knownCall } from '../../../src/inference/protobuf/known-services.ts';
import { messageJson } from '../../../src/inference/protobuf/message-json.ts';
import { parseKeySources } from '../../../src/redaction/identities.ts';
import { CopyIdentity, type PlayedAs } from '../../../src/replay/request/copy-identity.ts';
import { editMessages } from '../../../src/replay/request/edit-messages.ts';
import { newScalar } from '../../../src/replay/request/new-ids.ts';
import { wholeBody } from '../../support/exchanges.ts';
import { callHead, grpcMessage } from '../../support/grpc.ts';
import { CALL_PATH } from '../../support/grpc-calls.ts';
import { repeated } from '../../support/long-form.ts';
import { bytesField, entry, int, joined, message, packed, text } from '../../support/protobuf-writer.ts';

const REQUEST = knownCall(CALL_PATH)?.request ?? null;
const copyOf = (copy: number): PlayedAs => ({ sessionSalt: `salt-${copy}`, tag: `tag${copy}`, copy });

interface Ids {
  readonly id?: string;
  readonly sequence?: number | bigint | string;
}

function request({ id, sequence }: Ids): Buffer {
  return joined(
    text(1, 'ranker'),
    ...(id === undefined ? [] : [text(3, id)]),
    entry(4, 'sequence_start', int(1, 1)),
    ...(sequence === undefined
      ? []
      : [entry(4, 'sequence_id', typeof sequence === 'string' ? text(3, sequence) : int(2, sequence))]),
    message(5, text(1, 'IN'), text(2, 'FP32'), packed(3, [1, 2])),
    bytesField(7, Buffer.from([1, 2, 3, 4, 5, 6, 7, 8])),
  );
}

interface Sent {
  readonly id: string;
  readonly parameters: { readonly sequence_id: unknown };
}

function jsonOf(body: Uint8Array): Partial<Sent>[] {
  return grpcMessagesOf(body).messages.map(
    ({ from, to }) => messageJson(REQUEST, body, from, to).json as Partial<Sent>,
  );
}

function renamed(body: Uint8Array, copy = 1, path = CALL_PATH) {
  const identity = new CopyIdentity(parseKeySources('session', ['oip-sequence']), []);
  const sent = { head: callHead(path), redacted: [], body: wholeBody(body), trailers: null };
  const { payload, bodyUnread } = identity.rename(sent, copyOf(copy));
  return { body: Buffer.from(payload.request?.body.kept ?? []), bodyUnread };
}

describe('a copy of a gRPC call', () => {
  const body = Buffer.concat(
    [request({ id: 'a', sequence: 7 }), request({ id: 'b', sequence: 7 })].map((each) => grpcMessage(each)),
  );

  test('has other ids in each message, of another length, and the same session in all of them', () => {
    const [one, two] = jsonOf(renamed(body).body);
    const [before] = jsonOf(body);
    expect(one?.id).toMatch(/^[a-z]-[0-9a-f]{11}/);
    expect(one?.id).not.toBe(two?.id);
    expect(one?.parameters?.sequence_id).not.toBe(7);
    expect(one?.parameters).toEqual(two?.parameters);
    expect({ ...one, id: 'a', parameters: before?.parameters }).toEqual(before);
    expect(renamed(body, 1).body).toEqual(renamed(body, 1).body);
    expect(renamed(body, 2).body).not.toEqual(renamed(body, 1).body);
  });

  test.each<[string, Ids]>([
    ['a number of 64 bits', { sequence: 2n ** 63n - 1n }],
    ['a text', { sequence: 'user-of-the-shop' }],
  ])('has another session if it is %s', (_name, ids) => {
    const sessionOf = (body: Buffer) => jsonOf(body)[0]?.parameters?.sequence_id;
    const sent = sessionOf(renamed(grpcMessage(request(ids))).body);
    expect(sent).toEqual(expect.any(String));
    expect(sent).not.toBe(sessionOf(grpcMessage(request(ids))));
  });

  test.each([
    ['no id', grpcMessage(request({})), CALL_PATH, false],
    ['the session 0, which is none', grpcMessage(request({ sequence: 0 })), CALL_PATH, false],
    ['a compressed message', grpcMessage(request({ id: 'a' }), true), CALL_PATH, true],
    ['a call that is not known', grpcMessage(request({ id: 'a' })), '/m.S/Do', true],
    ['bytes that are no messages', Buffer.from('zzzzzzz'), CALL_PATH, true],
  ])('with %s stays as it is', (_name, sent, path, bodyUnread) => {
    expect(renamed(sent, 1, path)).toEqual({ body: sent, bodyUnread });
  });
});

test('only the named values change, whatever their length', () => {
  const ids = fc.record({
    id: fc.string({ maxLength: 200, unit: 'grapheme' }),
    sequence: fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
      fc.string({ minLength: 1, maxLength: 200 }),
    ),
  });
  fc.assert(
    fc.property(fc.array(ids, { maxLength: 4 }), fc.string({ maxLength: 300 }), (messages, value) => {
      const body = Buffer.concat(messages.map((each) => grpcMessage(request(each))));
      const change = () => JSON.stringify(value);
      const edited = editMessages(REQUEST, body, [{ steps: ['id'], change }]);
      const expected = messages.map((each) => grpcMessage(request({ ...each, id: value })));
      expect(Buffer.from(edited?.body ?? [])).toEqual(Buffer.concat(expected));
    }),
    { numRuns: repeated(60, 300) },
  );
});

test('no bytes make it fail, and what is no message stays as it is', () => {
  const edit = {
    steps: ['parameters', 'sequence_id'],
    change: (value: Parameters<typeof newScalar>[0]) => newScalar(value, 's'),
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const body = grpcMessage(bytes);
      const edited = editMessages(REQUEST, body, [edit]);
      if (edited?.changed.size === 0) expect(Buffer.from(edited.body)).toEqual(body);
    }),
    { numRuns: repeated(100, 500) },
  );
});
