import type { ServerHttp2Stream } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { grpcMessage } from '../support/grpc.ts';
import { CALL_PATH, callsOf, STREAM_PATH } from '../support/grpc-calls.ts';
import { answer, startGrpcServer } from '../support/grpc-server.ts';
import { documentOf, replay, replayHere, requestsOf, serverOf } from '../support/replaying.ts';

const unary = (stream: ServerHttp2Stream) => answer(stream, grpcMessage('answer'));
const ARGS = ['--json', '--slo', 'errors: rate<0.01'];

test('calls recorded by HTTP/2 are sent by HTTP/2 beside requests of HTTP/1.1, to the same target', async () => {
  const server = await startGrpcServer({ [CALL_PATH]: unary });
  const capture = captureOf([...callsOf(3), ...requestsOf(2)]);
  const run = await replay(capture, `http://127.0.0.1:${server.port}`, ARGS);
  expect(documentOf(run)).toMatchObject({ planned: 5, sent: 5, failed: 0, unreplayable: 0 });
  expect(server.got.get(CALL_PATH)?.map(([message]) => message?.content)).toEqual([
    'call 0',
    'call 1',
    'call 2',
  ]);
});

test('a window of calls alone is judged', async () => {
  const server = await startGrpcServer({ [CALL_PATH]: unary });
  const run = await replayHere(captureOf(callsOf(30)), `http://127.0.0.1:${server.port}`, ARGS);
  expect(documentOf(run)).toMatchObject({
    planned: 30,
    failed: 0,
    sent: 30,
    connections: { opened: 1, openedAtLimit: 0, overtaken: 0 },
  });
  expect(documentOf(run).errors).toEqual({});
});

test('messages of a request stream leave one by one, and then its end', async () => {
  const arrivals: string[][] = [];
  const server = await startGrpcServer({ [STREAM_PATH]: unary });
  server.onStream = (stream) => {
    const seen: string[] = [];
    arrivals.push(seen);
    stream.on('data', (bytes: Buffer) => seen.push(bytes.toString('latin1', 5)));
    stream.on('end', () => seen.push('end'));
  };
  const body = Buffer.concat(['one', 'two'].map((text) => grpcMessage(text)));
  const streams = callsOf(
    10,
    {
      requestMessages: 2,
      requestChunks: [0, 8, 40_000, 8],
      requestEndOffsetUs: 70_000,
      responseChunks: [71_000, 11],
    },
    STREAM_PATH,
    [],
    body,
  );
  const run = await replayHere(captureOf(streams), `http://127.0.0.1:${server.port}`, ARGS);
  expect(documentOf(run)).toMatchObject({ completed: 10, connections: { overtaken: 0 } });
  expect(arrivals.map((seen) => seen.join())).toEqual(Array(10).fill('one,two,end'));
});

test.each([
  ['pooled', 1],
  ['recorded', 3],
])('connections are %s: %i of three recorded ones', async (how, count) => {
  const server = await startGrpcServer({ [CALL_PATH]: unary });
  const calls = callsOf(30).map((call, at) => ({ ...call, connection: 1 + (at % 3) }));
  const run = await replayHere(captureOf(calls), `http://127.0.0.1:${server.port}`, [
    ...ARGS,
    '--connections',
    how,
    '--threads',
    '1',
  ]);
  expect(documentOf(run)).toMatchObject({ completed: 30, connections: { used: count, openedAtLimit: 0 } });
});

test('calls that change the server are left out and counted', async () => {
  const server = await startGrpcServer({ [CALL_PATH]: unary });
  const unload = '/inference.GRPCInferenceService/RepositoryModelUnload';
  const run = await replayHere(
    captureOf([...callsOf(2), ...callsOf(3, {}, unload)]),
    `http://127.0.0.1:${server.port}`,
    ARGS,
  );
  expect(documentOf(run)).toMatchObject({
    planned: 2,
    unreplayable: 3,
    audit: { unreplayableByReason: { changes_server: 3 } },
  });
  expect(server.got.get(unload)).toBeUndefined();
});

describe('--grpc-target', () => {
  test('gets the calls, and --target the rest, in one schedule', async () => {
    const server = await serverOf();
    const grpc = await startGrpcServer({ [CALL_PATH]: unary });
    const capture = captureOf([...callsOf(3), ...requestsOf(2)]);
    const target = ['--grpc-target', `127.0.0.1:${grpc.port}`];
    const run = await replayHere(capture, server.url, [...ARGS, ...target]);
    expect(documentOf(run)).toMatchObject({
      completed: 5,
      options: { grpcTarget: `http://127.0.0.1:${grpc.port}` },
    });
    expect(server.requests).toHaveLength(2);
    expect(grpc.got.get(CALL_PATH)).toHaveLength(3);
  });

  test.each([
    ['speaks HTTP/1.1', ''],
    ['has no TLS', 'https://'],
  ])('that %s is named before anything is sent', async (_name, scheme) => {
    const server = await serverOf();
    const capture = captureOf(requestsOf(2));
    const args = ['--grpc-target', `${scheme}${new URL(server.url).host}`];
    const run = await replayHere(capture, server.url, args);
    expect(run.status).toBe(5);
    expect(run.stderr).toContain(new URL(server.url).host);
    expect(server.requests).toEqual([]);
  });

  test('that is production is refused', async () => {
    const server = await serverOf();
    const args = ['--grpc-target', 'models.internal:8001', '--production-host', 'models.internal'];
    const run = await replayHere(captureOf(requestsOf(2)), server.url, args);
    expect(run.status).not.toBe(0);
    expect(run.stderr).toContain('models.internal');
    expect(server.requests).toEqual([]);
  });
});

test('a --target of HTTP/1.1 alone is named if the window has calls', async () => {
  const server = await serverOf();
  const run = await replayHere(captureOf(callsOf(3)), server.url);
  expect(run.status).toBe(5);
  expect(run.stderr).toContain('--grpc-target');
  expect(server.requests).toEqual([]);
});
