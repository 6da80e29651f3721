import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  GrpcMessages,
  grpcMessagesOf,
  grpcStatusName,
  httpStatusOfGrpc,
  isGrpc,
  parseGrpcStatus,
  parseGrpcTimeoutUs,
} from '../../src/inference/grpc.ts';
import { grpcMessage } from '../support/grpc.ts';

const messages = fc.array(fc.tuple(fc.uint8Array({ maxLength: 400 }), fc.boolean()), { maxLength: 12 });

/** Sizes of the pieces that messages came in, and which began and ended one. */
function readInPieces(body: Buffer, cuts: readonly number[]) {
  const sizes: number[] = [];
  const reader = new GrpcMessages((bytes, begins, ends) => {
    if (begins) sizes.push(0);
    sizes[sizes.length - 1] = (sizes.at(-1) ?? 0) + bytes;
    if (ends) expect(reader.inside).toBe(false);
  });
  let from = 0;
  for (const to of [...cuts.map((cut) => cut % (body.length + 1)).toSorted((a, b) => a - b), body.length]) {
    reader.write(body.subarray(from, to));
    from = to;
  }
  return { reader, sizes };
}

describe('the messages of a gRPC body', () => {
  it('are the same whatever pieces they come in', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat(), { maxLength: 8 }), (sent, cuts) => {
        const framed = sent.map(([content, compressed]) => grpcMessage(content, compressed));
        const body = Buffer.concat(framed);
        const { reader, sizes } = readInPieces(body, cuts);
        expect(sizes).toEqual(framed.map(({ length }) => length));
        expect(reader).toMatchObject({
          ended: sent.length,
          begun: sent.length,
          inside: false,
          broken: false,
        });
        const whole = grpcMessagesOf(body);
        expect(whole.end).toBe('whole');
        expect(
          whole.messages.map(({ compressed, from, to }) => [
            Uint8Array.from(body.subarray(from, to)),
            compressed,
          ]),
        ).toEqual(sent);
      }),
      { seed: 35 },
    );
  });

  it('count up to where a body was cut, or is no message any more', () => {
    const body = Buffer.concat([grpcMessage('one'), grpcMessage('second')]);
    for (let bytes = 0; bytes < body.length; bytes += 1) {
      const { reader } = readInPieces(body.subarray(0, bytes), []);
      const ended = bytes >= 8 ? 1 : 0;
      expect(reader).toMatchObject({ ended, inside: bytes !== 0 && bytes !== 8 });
      const { messages: read, end } = grpcMessagesOf(body.subarray(0, bytes));
      expect([read.length, end]).toEqual([ended, bytes === 0 || bytes === 8 ? 'whole' : 'inside']);
    }
    const wrong = Buffer.concat([grpcMessage('one'), Buffer.from('{"inputs":[]}')]);
    expect(readInPieces(wrong, [3, 9]).reader).toMatchObject({ ended: 1, broken: true });
    expect(grpcMessagesOf(wrong)).toMatchObject({ messages: [{ from: 5, to: 8 }], end: 'broken' });
    expect(grpcMessagesOf(body, 1)).toMatchObject({ messages: [{}], end: 'limit' });
  });
});

describe('the fields of gRPC', () => {
  it.each([
    ['1H', 3_600_000_000],
    ['2M', 120_000_000],
    ['99999999S', 99_999_999_000_000],
    ['1500m', 1_500_000],
    ['20u', 20],
    ['500n', 0.5],
    ['', null],
    ['5', null],
    ['-5S', null],
    ['123456789m', null],
    ['5s', null],
    ['5S,5S', null],
  ])('read the timeout %j', (value, timeoutUs) => {
    expect(parseGrpcTimeoutUs(value)).toBe(timeoutUs);
  });

  it('name the status, and the HTTP status that it stands for', () => {
    const known = [0, 4, 7, 8, 14, 16, 99].map((code) => [grpcStatusName(code), httpStatusOfGrpc(code)]);
    expect(known).toEqual([
      ['OK', 200],
      ['DEADLINE_EXCEEDED', 504],
      ['PERMISSION_DENIED', 403],
      ['RESOURCE_EXHAUSTED', 429],
      ['UNAVAILABLE', 503],
      ['UNAUTHENTICATED', 401],
      ['CODE_99', 500],
    ]);
    expect(['0', '14', '', '-1', '0x1', '0,0', null].map(parseGrpcStatus)).toEqual([
      0,
      14,
      null,
      null,
      null,
      null,
      null,
    ]);
  });

  it('tell a call from gRPC-Web and from JSON', () => {
    const types = ['application/grpc', 'application/grpc+proto', 'Application/gRPC; v=1'];
    expect(types.filter(isGrpc)).toEqual(types);
    expect(
      ['application/grpc-web+proto', 'application/grpcx', 'application/json', null].filter(isGrpc),
    ).toEqual([]);
  });
});
