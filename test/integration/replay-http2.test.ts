import type { ServerHttp2Stream } from 'node:http2';
import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US, wholeBody } from '../support/exchanges.ts';
import { ANSWER_HEAD, callHead, grpcMessage } from '../support/grpc.ts';
import {
  answer,
  GrpcClient,
  type GrpcServer,
  piecesOf,
  startGrpcServer,
  trailersOnly,
} from '../support/grpc-server.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CALL_PATH = '/inference.GRPCInferenceService/ModelInfer';
const STREAM_PATH = '/inference.GRPCInferenceService/ModelStreamInfer';

/** Calls that were recorded by HTTP/2, unary by default. */
function callsOf(
  count: number,
  parts: Partial<Exchange> = {},
  path = CALL_PATH,
  lines: readonly string[] = [],
  body: Buffer | null = null,
) {
  const message = (head: string | Uint8Array, body: Uint8Array) => {
    return { head: Buffer.from(head as string), redacted: [], body: wholeBody(body), trailers: null };
  };
  return Array.from({ length: count }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 20_000,
      protocol: 'h2',
      route: `POST ${path}`,
      request: message(callHead(path, ...lines), body ?? grpcMessage(`call ${at}`)),
      response: message(ANSWER_HEAD, grpcMessage('answer')),
      connection: 1,
      status: 200,
      grpcStatus: 0,
      requestMessages: 1,
      responseMessages: 1,
      requestChunks: [0, 11],
      responseChunks: [3_000, 11],
      ...parts,
    }),
  );
}

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
  const run = await replay(captureOf(callsOf(30)), `http://127.0.0.1:${server.port}`, ARGS);
  expect(documentOf(run)).toMatchObject({
    planned: 30,
    failed: 0,
    sent: 30,
    connections: { opened: 1, openedAtLimit: 0, overtaken: 0 },
  });
  expect(documentOf(run).errors).toEqual({});
});

describe('a target that does not answer as recorded', () => {
  test.each<[string, (stream: ServerHttp2Stream) => void, Record<string, number>, Record<string, number>]>([
    ['OK without a message', (stream) => answer(stream, null), { no_message: 20 }, {}],
    ['UNAVAILABLE', (stream) => trailersOnly(stream, 14), {}, { 503: 20 }],
    ['RESOURCE_EXHAUSTED', (stream) => trailersOnly(stream, 8), {}, { 429: 20 }],
    [
      'no grpc-status',
      (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
        stream.end(grpcMessage('answer'));
      },
      { no_status: 20 },
      {},
    ],
    [
      'a page instead of a call',
      (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'text/html' });
        stream.end('<html>');
      },
      { no_status: 20 },
      {},
    ],
    [
      'half a message',
      (stream) => answer(stream, grpcMessage('answer').subarray(0, 8)),
      { broken_stream: 20 },
      {},
    ],
    ['a refused stream', (stream) => stream.close(7), { refused_stream: 20 }, {}],
  ])('with %s does not pass', async (_name, method, errors, statuses) => {
    const server = await startGrpcServer({ [CALL_PATH]: method });
    const run = await replay(captureOf(callsOf(20)), `http://127.0.0.1:${server.port}`, ARGS);
    const document = documentOf(run);
    expect(document.errors).toEqual(errors);
    expect(document.statuses).toMatchObject(statuses);
    expect(document.verdict).toBe('FAIL');
  });

  test('past the deadline of its calls does not pass, and the calls are cancelled', async () => {
    let cancelled = 0;
    const silent = (stream: ServerHttp2Stream): void => {
      stream.on('close', () => {
        if (stream.rstCode === 8) cancelled += 1;
      });
    };
    const server = await startGrpcServer({ [CALL_PATH]: silent });
    const calls = callsOf(20, {}, CALL_PATH, ['grpc-timeout: 100m']);
    const run = await replay(captureOf(calls), `http://127.0.0.1:${server.port}`, ARGS);
    expect(documentOf(run).errors).toEqual({ deadline: 20 });
    expect(documentOf(run).verdict).toBe('FAIL');
    expect(cancelled).toBe(20);
  });
});

test('of a stream the first message is its first token, and the gaps are those between messages', async () => {
  const server = await startGrpcServer({
    [STREAM_PATH]: (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      const later = [30, 60, 90].map((ms) => setTimeout(() => stream.write(grpcMessage('token')), ms));
      setTimeout(() => stream.end(), 110);
      stream.on('close', () => later.map(clearTimeout));
    },
  });
  const calls = callsOf(20, { streamed: true, responseMessages: 3 }, STREAM_PATH);
  const run = await replay(captureOf(calls), `http://127.0.0.1:${server.port}`, [
    '--json',
    '--slo',
    'ttft: p(90)<10000',
    '--slo',
    'itl: p(90)<10000',
  ]);
  const { completed, ttftMs, itlMs, streams } = documentOf(run);
  expect(completed).toBe(20);
  expect(streams).toMatchObject({ completed: 20, withoutContent: 0, gaps: 40 });
  for (const { p50 } of [ttftMs, itlMs]) expect(p50).toBeGreaterThanOrEqual(29);
});

/** `ModelStreamInferResponse` with an `error_message`. */
const STREAM_ERROR = Buffer.from([0x0a, 4, ...Buffer.from('busy')]);

test('errors inside streams that end with OK do not pass', async () => {
  const server = await startGrpcServer({
    [STREAM_PATH]: (stream) => answer(stream, grpcMessage(STREAM_ERROR)),
  });
  const streams = callsOf(30, { streamed: true, answerError: false }, STREAM_PATH);
  const run = await replay(captureOf(streams), `http://127.0.0.1:${server.port}`, ARGS);
  const document = documentOf(run);
  expect(document.statuses).toEqual({ 200: 30 });
  expect(document.verdict).not.toBe('PASS');
  expect(document.reasons.map(({ code }) => code)).toContain('not_comparable');
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
  const run = await replay(captureOf(streams), `http://127.0.0.1:${server.port}`, ARGS);
  expect(documentOf(run)).toMatchObject({ completed: 10, connections: { overtaken: 0 } });
  expect(arrivals.map((seen) => seen.join())).toEqual(Array(10).fill('one,two,end'));
});

test.each([
  ['pooled', 1],
  ['recorded', 3],
])('connections are %s: %i of three recorded ones', async (how, count) => {
  const server = await startGrpcServer({ [CALL_PATH]: unary });
  const calls = callsOf(30).map((call, at) => ({ ...call, connection: 1 + (at % 3) }));
  const run = await replay(captureOf(calls), `http://127.0.0.1:${server.port}`, [
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
  const run = await replay(
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
    const run = await replay(capture, server.url, [...ARGS, ...target]);
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
    const run = await replay(capture, server.url, args);
    expect(run.status).toBe(5);
    expect(run.stderr).toContain(new URL(server.url).host);
    expect(server.requests).toEqual([]);
  });

  test('that is production is refused', async () => {
    const server = await serverOf();
    const args = ['--grpc-target', 'models.internal:8001', '--production-host', 'models.internal'];
    const run = await replay(captureOf(requestsOf(2)), server.url, args);
    expect(run.status).not.toBe(0);
    expect(run.stderr).toContain('models.internal');
    expect(server.requests).toEqual([]);
  });
});

test('a --target of HTTP/1.1 alone is named if the window has calls', async () => {
  const server = await serverOf();
  const run = await replay(captureOf(callsOf(3)), server.url);
  expect(run.status).toBe(5);
  expect(run.stderr).toContain('--grpc-target');
  expect(server.requests).toEqual([]);
});

test('what was recorded arrives again: each message, the pieces of a request stream, cancels and deadlines', async () => {
  const methods = {
    '/m.S/Echo': answer,
    '/m.S/Refuse': (stream: ServerHttp2Stream) => trailersOnly(stream, 8),
    '/m.S/Hang': () => undefined,
  };
  const server = await startGrpcServer(methods);
  const directory = `${temporaryDirectory()}/capture`;
  const recording = await startRecording(server.port, directory, ['--bodies', 'all']);
  const client = new GrpcClient(recording.port);
  for (let at = 0; at < 5; at += 1) {
    await client.call('/m.S/Echo', piecesOf(`unary ${at}`));
    await client.call('/m.S/Echo', [grpcMessage(`\x1f coded ${at}`, true)]);
    await client.call('/m.S/Echo', piecesOf('a', 'b', 'c'), { gapMs: 20 });
    await client.call('/m.S/Echo', piecesOf('x'.repeat(200_000 + at)));
    await client.call('/m.S/Refuse', piecesOf('x'));
  }
  expect(await client.get('/v1/models')).toEqual([200, 'plain']);
  await client.call('/m.S/Hang', piecesOf('y'), { headers: { 'grpc-timeout': '50m' }, leaveAfterMs: 70 });
  await client.call('/m.S/Hang', piecesOf('z'), { headers: { 'grpc-timeout': '10S' }, leaveAfterMs: 30 });
  await recording.stop();

  const other = await startGrpcServer(methods);
  const run = await replay(directory, `http://127.0.0.1:${other.port}`, ['--json']);
  // Calls that overlap may end in another order.
  const sorted = ({ got }: GrpcServer) =>
    [...got].map(([path, calls]) => [path, calls.map((messages) => JSON.stringify(messages)).sort()]).sort();
  expect(sorted(other)).toEqual(sorted(server));
  const document = documentOf(run);
  expect(document).toMatchObject({
    planned: 28,
    statuses: { 200: 21, 429: 5 },
    errors: { deadline: 1 },
    cancelled: 1,
    connections: { opened: 1 },
  });
});
