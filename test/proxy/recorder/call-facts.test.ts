import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Exchange } from '../../../src/core/exchange.ts';
import type { AssemblyContext } from '../../../src/proxy/recorder/exchange-builder.ts';
import { dropReasonOf } from '../../../src/redaction/body-redaction.ts';
import { ExchangeKeys } from '../../../src/redaction/identities.ts';
import { bodyRedaction } from '../../support/body-redaction.ts';
import { ANSWER_HEAD, callHead, fedData, fedEnd, grpcMessage } from '../../support/grpc.ts';
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
import { Feed, HASH } from './harness.ts';

const OIP = '/inference.GRPCInferenceService/';
const SERVING = '/tensorflow.serving.PredictionService/';

interface Call {
  readonly path: string;
  readonly request: Buffer;
  readonly answer?: Buffer;
  readonly lines?: readonly string[];
  readonly answerHead?: string;
  readonly status?: number;
}

function recorded(call: Call, changes: Partial<AssemblyContext> = {}): Exchange {
  const { path, request, answer = Buffer.alloc(0), lines = [], answerHead = ANSWER_HEAD, status = 0 } = call;
  const feed = new Feed(changes).client(callHead(path, ...lines));
  // In two pieces, as frames come.
  const half = Math.floor(request.length / 2);
  if (half > 0) feed.client(fedData(request.subarray(0, half)));
  feed.client(fedData(request.subarray(half))).client(fedEnd());
  feed.server(answerHead);
  for (let at = 0; at < answer.length; at += 7) feed.server(fedData(answer.subarray(at, at + 7)));
  feed
    .server(fedEnd(`grpc-status: ${status}`))
    .close()
    .assertSettled();
  const [exchange] = feed.exchanges;
  if (exchange === undefined) throw new Error(feed.fates.join());
  return exchange;
}

const input = (...shape: number[]) => message(5, text(1, 'IN'), text(2, 'FP32'), packed(3, shape));
const INFER = joined(
  text(1, 'ranker'),
  text(3, 'request-7'),
  entry(4, 'sequence_id', int(2, 42)),
  input(8, 224, 224, 3),
  bytesField(7, Buffer.alloc(600_000)),
);
const withKeys = (...session: string[]) => ({ keys: new ExchangeKeys({ session, client: ['peer'] }, HASH) });

describe('the facts of a gRPC call', () => {
  it('come from its first message: model, batch and session, as over HTTP', () => {
    const over = recorded(
      { path: `${OIP}ModelInfer`, request: grpcMessage(INFER) },
      withKeys('json:/parameters/sequence_id'),
    );
    expect(over).toMatchObject({ model: 'ranker', batch: 8, answerError: true, responseMessages: 0 });
    const body = JSON.stringify({
      parameters: { sequence_id: 42 },
      inputs: [{ shape: [8], datatype: 'FP32' }],
    });
    const http = new Feed(withKeys('json:/parameters/sequence_id'))
      .client(
        `POST /v2/models/ranker/infer HTTP/1.1\r\nhost: m\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      )
      .server('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
      .close().exchanges[0];
    expect(http).toMatchObject({ model: 'ranker', batch: 8 });
    expect(over.session).toEqual(http?.session);
    expect(over.session).not.toBeNull();
    const byId = recorded(
      { path: `${OIP}ModelStreamInfer`, request: grpcMessage(INFER) },
      withKeys('json:/id'),
    );
    expect(byId.session).not.toBeNull();
    expect(byId.session).not.toEqual(over.session);
  });

  it('come from TensorFlow Serving as well', () => {
    const spec = message(1, text(1, 'half_plus_two'), text(3, 'serving_default'));
    const tensor = (rows: number) => joined(int(1, 1), message(2, message(2, int(1, rows))), float(5, 1));
    const predict = joined(spec, entry(2, 'x', tensor(16)));
    expect(recorded({ path: `${SERVING}Predict`, request: grpcMessage(predict) })).toMatchObject({
      model: 'half_plus_two',
      batch: 16,
    });
    const examples = Array.from({ length: 500 }, () => message(1, message(1)));
    const classify = joined(spec, message(2, message(1, ...examples)));
    expect(recorded({ path: `${SERVING}Classify`, request: grpcMessage(classify) })).toMatchObject({
      model: 'half_plus_two',
      batch: 500,
    });
  });

  it('are read from compressed messages, and are unknown where those cannot be read', () => {
    const small = joined(text(1, 'ranker'), input(3));
    const gzipped = grpcMessage(gzipSync(small), true);
    const path = `${OIP}ModelInfer`;
    expect(recorded({ path, request: gzipped, lines: ['grpc-encoding: gzip'] })).toMatchObject({
      model: 'ranker',
      batch: 3,
    });
    for (const request of [
      gzipped,
      grpcMessage(Buffer.of(0x0b)),
      Buffer.from('no messages at all'),
      grpcMessage(''),
    ])
      expect(recorded({ path, request })).toMatchObject({ model: null, batch: null });
    expect(recorded({ path: '/other.Service/Call', request: grpcMessage(small) })).toMatchObject({
      model: null,
      batch: null,
      answerError: null,
    });
    const bomb = grpcMessage(gzipSync(Buffer.concat([small, bytesField(7, Buffer.alloc(40_000_000))])), true);
    expect(recorded({ path, request: bomb, lines: ['grpc-encoding: gzip'] })).toMatchObject({ model: null });
  });
});

describe('a call with status OK', () => {
  const stream = `${OIP}ModelStreamInfer`;
  const wrapped = grpcMessage(message(2, text(1, 'm'), text(2, '1')));
  const failed = grpcMessage(text(1, 'inference failed: out of memory'));
  const plain = grpcMessage(joined(text(1, 'm'), text(2, '1'), message(5, text(1, 'OUT'))));
  const long = grpcMessage(message(2, text(1, 'm'), bytesField(6, Buffer.alloc(20_000))));

  it.each([
    ['answers', [wrapped, wrapped], false],
    ['an error among them', [wrapped, failed, wrapped], true],
    ['an error after a long answer', [long, failed], true],
    ['an empty error', [grpcMessage(joined(text(1, ''), message(2, text(1, 'm'))))], false],
    ['answers that are not wrapped', [plain, plain], false],
    ['no message', [], false],
    ['a long answer', [long], false],
  ])('of a stream with %s', (_, messages, expected) => {
    expect(
      recorded({ path: stream, request: grpcMessage(INFER), answer: Buffer.concat(messages) }).answerError,
    ).toBe(expected);
  });

  it('is an error when a compressed message is one, and unknown when its body breaks off', () => {
    const answer = grpcMessage(gzipSync(text(1, 'failed')), true);
    const answerHead = 'HTTP/2 200\r\ncontent-type: application/grpc\r\ngrpc-encoding: gzip\r\n\r\n';
    const request = grpcMessage(INFER);
    expect(recorded({ path: stream, request, answer, answerHead }).answerError).toBe(true);
    expect(recorded({ path: stream, request, answer: wrapped.subarray(0, -1) }).answerError).toBeNull();
    expect(recorded({ path: stream, request, answer: failed, status: 14 }).answerError).toBeNull();
  });

  it('of a method that does not stream has a message', () => {
    const request = grpcMessage(INFER);
    const path = `${OIP}ModelInfer`;
    expect(recorded({ path, request, answer: plain }).answerError).toBe(false);
    expect(recorded({ path, request }).answerError).toBe(true);
  });

  it('is read the same however its bytes are cut', () => {
    fc.assert(
      fc.property(fc.subarray([wrapped, long, failed, plain, wrapped]), fc.nat(40), (messages, every) => {
        const answer = Buffer.concat(messages);
        const feed = new Feed().client(callHead(stream)).client(fedEnd()).server(ANSWER_HEAD);
        for (let at = 0; at < answer.length; at += 1 + every * 97)
          feed.server(fedData(answer.subarray(at, at + 1 + every * 97)));
        feed.server(fedEnd('grpc-status: 0')).close();
        expect(feed.exchanges[0]?.answerError).toBe(messages.includes(failed));
      }),
      { numRuns: 30 },
    );
  });
});

describe('the stored body of a call', () => {
  const request = grpcMessage(
    joined(
      text(1, 'm'),
      message(5, text(1, 'T'), text(2, 'BYTES'), packed(3, [1])),
      bytesField(7, rawBytes('my secret')),
    ),
  );
  const answer = grpcMessage(
    joined(text(1, 'm'), message(5, text(1, 'T'), text(2, 'BYTES')), bytesField(6, rawBytes('secret too'))),
  );
  const kept = (exchange: Exchange) =>
    [exchange.request, exchange.response].map((each) =>
      Buffer.from(each?.body.kept ?? []).toString('latin1'),
    );

  it('is masked in place on both sides, and the facts are read before', () => {
    const masked = recorded(
      { path: `${OIP}ModelInfer`, request, answer },
      { bodyRedaction: bodyRedaction([], ['v2']) },
    );
    expect(masked.model).toBe('m');
    for (const [index, body] of kept(masked).entries()) {
      expect(body).not.toContain('secret');
      expect(body).toHaveLength(([request, answer][index] as Buffer).length);
    }
  });

  it('is dropped and named where its messages are not known', () => {
    const unknown = recorded(
      { path: '/acme.v1.Oracle/Ask', request, answer },
      { bodyRedaction: bodyRedaction([], ['v2']) },
    );
    expect(kept(unknown)).toEqual(['', '']);
    expect(dropReasonOf(unknown.request?.redacted ?? [])).toBe('unknown_type');
    expect(dropReasonOf(unknown.response?.redacted ?? [])).toBe('unknown_type');
    const page = recorded(
      {
        path: `${OIP}ModelInfer`,
        request,
        answer: Buffer.from('{"error":"from secret"}'),
        answerHead: 'HTTP/2 503\r\ncontent-type: application/json\r\n\r\n',
      },
      { bodyRedaction: bodyRedaction([], ['v2']) },
    );
    expect(kept(page)[1]).toMatch(/^\{"error":"[a-z ]+"\}$/);
  });
});
