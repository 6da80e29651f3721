import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { ExchangePayload, ExchangeRow } from '../../src/core/exchange.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { ACME_MESSAGE, ACME_SET } from '../support/descriptor-set.ts';
import { grpcMessage } from '../support/grpc.ts';
import {
  answer,
  GrpcClient,
  messagesIn,
  piecesOf,
  startGrpcServer,
  trailersOnly,
} from '../support/grpc-server.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SERVICE = '/inference.GRPCInferenceService';

/** Echoes; streams each message by itself; counts; refuses; never answers. */
const METHODS = {
  [`${SERVICE}/ModelInfer`]: answer,
  [`${SERVICE}/ModelStreamInfer`]: async (stream, sent) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    for (const { content } of messagesIn(sent)) {
      for (const part of [`${content} 1`, `${content} 2`]) {
        stream.write(grpcMessage(part));
        await sleep(10);
      }
    }
    stream.end();
  },
  '/shop.Search/Count': (stream, sent) => answer(stream, grpcMessage(String(messagesIn(sent).length))),
  '/shop.Search/Refuse': (stream) => trailersOnly(stream, 8),
  '/shop.Search/Hang': () => undefined,
  '/grpc.health.v1.Health/Check': answer,
} satisfies Parameters<typeof startGrpcServer>[0];

const contents = (messages: readonly { readonly content: string }[]) =>
  messages.map(({ content }) => content);

it('gRPC is recorded beside HTTP/1.1 and HTTP/2: every message, how each call ended, nothing lost', async () => {
  const server = await startGrpcServer(METHODS);
  const directory = `${temporaryDirectory()}/capture`;
  const recording = await startRecording(server.port, directory, ['--bodies', 'all']);
  const client = new GrpcClient(recording.port);

  const unary = await client.call(`${SERVICE}/ModelInfer`, piecesOf('one tensor'));
  expect(unary).toMatchObject({ trailers: { 'grpc-status': '0' } });
  expect(contents(unary.messages)).toEqual(['one tensor']);
  const coded = await client.call(`${SERVICE}/ModelInfer`, [grpcMessage('\x1f coded', true)]);
  expect(coded.messages).toEqual([{ content: '\x1f coded', compressed: true }]);
  const stream = await client.call(`${SERVICE}/ModelStreamInfer`, piecesOf('say'));
  expect(contents(stream.messages)).toEqual(['say 1', 'say 2']);
  const counted = await client.call('/shop.Search/Count', piecesOf('a', 'b', 'c'), { gapMs: 20 });
  expect(contents(counted.messages)).toEqual(['3']);
  const refused = await client.call('/shop.Search/Refuse', piecesOf('x'));
  expect(refused.headers).toMatchObject({ 'grpc-status': '8' });
  await client.call('/shop.Search/Hang', piecesOf('x'), {
    headers: { 'grpc-timeout': '50m' },
    leaveAfterMs: 70,
  });
  await client.call('/shop.Search/Hang', piecesOf('x'), {
    headers: { 'grpc-timeout': '10S' },
    leaveAfterMs: 30,
  });
  const large = Array.from({ length: 8 }, (_, at) => String(at).repeat(100_000 + at));
  const parallel = await Promise.all(
    large.map((content) => client.call(`${SERVICE}/ModelInfer`, piecesOf(content))),
  );
  expect(parallel.flatMap(({ messages }) => contents(messages))).toEqual(large);
  await client.call('/grpc.health.v1.Health/Check', piecesOf(''));
  expect(await client.get('/v2/models/resnet')).toEqual([200, 'plain']);
  const [http1] = (await once(
    get(`http://127.0.0.1:${recording.port}/old`, { agent: false }),
    'response',
  )) as [IncomingMessage];
  http1.resume();
  await once(http1, 'end');
  await client.close();
  const { end } = await recording.stop();
  expect(end).toMatchObject({ lost: {}, exchanges: 17 });

  const reader = openCapture(directory);
  const recorded: { row: ExchangeRow; payload: ExchangePayload | null }[] = [];
  for (const row of reader.rows()) recorded.push({ row, payload: reader.payload(row) });
  const of = (path: string) => recorded.filter(({ row }) => row.route === `POST ${path}`);
  const sentIn = (payload: ExchangePayload | null) =>
    messagesIn(Buffer.from(payload?.request?.body.kept ?? []));
  const answeredIn = (payload: ExchangePayload | null) =>
    messagesIn(Buffer.from(payload?.response?.body.kept ?? []));

  // Client, server and capture have the same messages.
  for (const path of Object.keys(METHODS).filter((each) => !each.includes('health'))) {
    const byContent = (list: readonly unknown[]) => list.map((each) => JSON.stringify(each)).sort();
    expect(byContent(of(path).map(({ payload }) => sentIn(payload)))).toEqual(
      byContent(server.got.get(path) ?? []),
    );
  }
  const infers = of(`${SERVICE}/ModelInfer`);
  expect(infers).toHaveLength(10);
  for (const { row, payload } of infers) {
    expect(answeredIn(payload)).toEqual(sentIn(payload));
    expect(row).toMatchObject({
      protocol: 'h2',
      status: 200,
      grpcStatus: 0,
      outcome: 'completed',
      streamed: false,
      requestMessages: 1,
      responseMessages: 1,
    });
  }
  const [streamed] = of(`${SERVICE}/ModelStreamInfer`);
  expect(contents(answeredIn(streamed?.payload ?? null))).toEqual(['say 1', 'say 2']);
  expect(streamed?.row).toMatchObject({ streamed: true, responseMessages: 2 });
  expect(streamed?.row.firstTokenOffsetUs).toBeLessThan(streamed?.row.lastByteOffsetUs ?? 0);
  const [count] = of('/shop.Search/Count');
  expect(count?.row).toMatchObject({ requestMessages: 3, responseMessages: 1, grpcStatus: 0 });
  expect(count?.payload?.requestChunks.filter((_, at) => at % 2 === 1)).toEqual([6, 6, 6]);
  expect(of('/shop.Search/Refuse')[0]?.row).toMatchObject({
    status: 429,
    grpcStatus: 8,
    outcome: 'completed',
    responseMessages: 0,
  });
  expect(of('/shop.Search/Hang').map(({ row }) => [row.outcome, row.status, row.requestMessages])).toEqual([
    ['timed_out', null, 1],
    ['client_aborted', null, 1],
  ]);
  expect(recorded.map(({ row }) => row.route)).toEqual(
    expect.arrayContaining(['GET /v2/models/{model}', 'GET /old']),
  );
  expect(recorded.find(({ row }) => row.route === 'GET /v2/models/{model}')?.row).toMatchObject({
    protocol: 'h2',
    status: 200,
    grpcStatus: null,
    requestMessages: null,
  });
  reader.close();

  const { stdout } = await runCommand(['inspect', directory, '--json']);
  expect(JSON.parse(stdout)).toMatchObject({
    exchanges: 17,
    coverage: 1,
    outcomes: { completed: 15, timed_out: 1, client_aborted: 1 },
    omitted: { exchanges: 1, byCause: { skip_rule: { exchanges: 1 } } },
    losses: { exchanges: 0 },
    mix: {
      grpcStatuses: [
        { name: 'OK', exchanges: 12 },
        { name: 'RESOURCE_EXHAUSTED', exchanges: 1 },
      ],
    },
    protocols: { h2: { connections: 1 }, 'http/1.1': { connections: 1 } },
  });
});

it.each([
  { described: true, redacted: ['/user_id'], kept: ACME_MESSAGE.length + 5 },
  { described: false, redacted: ['!unknown_type'], kept: null },
])(
  "a rule for a service of one's own holds with its descriptor set: $described",
  async ({ described, redacted, kept }) => {
    const directory = temporaryDirectory();
    const set = `${directory}/acme.pb`;
    writeFileSync(set, ACME_SET);
    const server = await startGrpcServer({ '/acme.v1.Oracle/Ask': answer });
    const capture = `${directory}/capture`;
    const bodies = described ? `all,proto=${set}` : 'all';
    const flags = ['--bodies', bodies, '--redact', '/user_id=mask'];
    const recording = await startRecording(server.port, capture, flags);
    const client = new GrpcClient(recording.port);
    const { messages } = await client.call('/acme.v1.Oracle/Ask', [grpcMessage(ACME_MESSAGE)]);
    expect(messages).toHaveLength(1);
    await client.close();
    await recording.stop();

    const reader = openCapture(capture);
    const [row] = [...reader.rows()];
    const { request } = (row && reader.payload(row)) ?? {};
    expect(request?.redacted).toEqual(expect.arrayContaining(redacted));
    expect(request?.body.kept?.length ?? null).toBe(kept);
    expect(Buffer.from(request?.body.kept ?? []).includes('ü-7')).toBe(false);
    reader.close();
  },
);
