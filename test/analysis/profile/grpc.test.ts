import { expect, test } from 'vitest';
import { PayloadStatistics } from '../../../src/analysis/profile/payloads.ts';
import { captureOf } from '../../support/captures.ts';
import { runCommand } from '../../support/command-here.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { wholeBody } from '../../support/exchanges.ts';
import { callHead, grpcMessage } from '../../support/grpc.ts';
import { CALL_PATH, callsOf } from '../../support/grpc-calls.ts';
import { bytesField, entry, int, joined, message, packed, text } from '../../support/protobuf-writer.ts';

const PREDICT_PATH = '/tensorflow.serving.PredictionService/Predict';
const infer = joined(
  text(1, 'ranker'),
  message(5, text(1, 'A'), text(2, 'FP32'), packed(3, [8, 128])),
  message(5, text(1, 'B'), text(2, 'INT64'), packed(3, [8])),
);
const tensor = joined(
  int(1, 1),
  message(2, message(2, int(1, 4)), message(2, int(1, 3))),
  bytesField(4, Buffer.alloc(48)),
);
const predict = joined(message(1, text(1, 'm')), entry(2, 'x', tensor));

test.each([
  ['v2 gRPC', CALL_PATH, grpcMessage(infer), ['FP32[8,128]', 'INT64[8]'], 8],
  ['v1 gRPC', PREDICT_PATH, grpcMessage(predict), ['DT_FLOAT[4,3]'], null],
  ['other gRPC', '/m.S/Do', grpcMessage(infer), [], null],
  ['v2 gRPC', CALL_PATH, grpcMessage(infer, true), [], null],
])('a profile has types and shapes of %s', (kind, path, body, shapes, batch) => {
  const statistics = new PayloadStatistics();
  const request = {
    head: callHead(path, 'grpc-timeout: 250m'),
    redacted: [],
    body: wholeBody(body),
    trailers: null,
  };
  const row = exchangeRow({ protocol: 'h2', route: `POST ${path}`, batch: null });
  statistics.add(row, { request, response: null, requestChunks: [], responseChunks: [] });
  const { protocols, deadlineMs } = statistics.figures(true);
  expect(protocols.map(({ protocol }) => protocol)).toEqual([kind]);
  expect(protocols[0]?.tensors.shapes.map(({ shape }) => shape)).toEqual(shapes);
  expect(protocols[0]?.batch.max).toBe(batch);
  expect(deadlineMs?.max).toBe(250);
});

test('a profile has statuses and messages of gRPC calls, and none without any', async () => {
  const refused = { status: 429, grpcStatus: 8, responseMessages: 0 };
  const directory = captureOf([...callsOf(6, { requestMessages: 3 }), ...callsOf(2, refused)]);
  const profiled = await runCommand(['profile', directory, '--json']);
  const { grpc, payloads } = JSON.parse(profiled.stdout);
  expect(grpc).toMatchObject({
    requests: 8,
    share: 1,
    requestMessages: { max: 3 },
    responseMessages: { max: 1 },
  });
  expect(grpc.statuses).toEqual([
    { status: 'OK', requests: 6, share: 0.75 },
    { status: 'RESOURCE_EXHAUSTED', requests: 2, share: 0.25 },
  ]);
  expect(payloads.deadlineMs).toBeUndefined();
});
