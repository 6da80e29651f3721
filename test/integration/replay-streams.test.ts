import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ModelServer } from '../../fixtures/model-server/model-server.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import type { Send } from '../../src/core/run.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { RawServer } from '../support/raw-server.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replayHere } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const TOKEN_MS = 10;
const PATH = '/v1/chat/completions';

let server: ModelServer | null = null;
afterEach(async () => await server?.close());

/** A chat as it was recorded: its answer is a stream of ten tokens, unless its facts say otherwise. */
function chat(
  at: number,
  facts: Partial<Exchange> = {},
  fault: string | null = null,
  stream = true,
  tokens = 10,
): Exchange {
  const messages = [{ role: 'user', content: `question ${at}` }];
  const document = { model: 'm', messages, stream, min_tokens: tokens, max_tokens: tokens };
  const body = JSON.stringify({ ...document, stream_options: stream ? { include_usage: true } : undefined });
  return exchangeOf({
    arrivalUs: TEST_EPOCH_US + at * 30_000,
    route: `POST ${PATH}`,
    model: 'm',
    streamed: stream,
    outputTokens: 4,
    batch: 1,
    request: requestMessage({
      target: PATH,
      body,
      headers: [
        ['Host', 'model.internal:8000'],
        ['Content-Type', 'application/json'],
        ...(fault === null ? [] : [['x-fault', fault] as const]),
      ],
    }),
    ...facts,
  });
}

const left = (clientLeftOffsetUs: number, status: number | null = 200): Partial<Exchange> => ({
  outcome: 'client_aborted',
  status,
  // It had been answered a byte long before.
  lastByteOffsetUs: status === null ? clientLeftOffsetUs : 4_000,
  clientLeftOffsetUs,
  outputTokens: null,
  ...(status === null ? { response: null, streamed: null, firstByteOffsetUs: null } : {}),
});

async function replayed(exchanges: readonly Exchange[], args: readonly string[]) {
  server = new ModelServer({
    baseMs: 0,
    perKibUs: 0,
    tokenMs: TOKEN_MS,
    executors: 32,
    closeDeadlineMs: 1_000,
  });
  const result = await replayHere(captureOf(exchanges), await server.listen(), ['--json', ...args]);
  const reader = new RunReader(result.out);
  const sends = [...reader.sends()];
  reader.close();
  const document = documentOf(result) as ReturnType<typeof documentOf> &
    Record<'cancels' | 'changes', object>;
  return { document, sends, status: result.status };
}

it('counts a whole answer where a stream was recorded, and passes no objective of streams without it', async () => {
  const { document, sends, status } = await replayed(
    [...[0, 1, 2].map((at) => chat(at)), ...[3, 4].map((at) => chat(at, { streamed: true }, null, false))],
    ['--slo', 'ttft: p(50)<5000', '--slo', 'tpot: max<5000'],
  );
  expect(document.streams).toMatchObject({ completed: 3, failed: 0, turnedAway: 0, whole: 2 });
  expect(sends.map(({ streamed, unstreamed }) => [streamed, unstreamed])).toEqual([
    ...[0, 1, 2].map(() => [true, false]),
    ...[3, 4].map(() => [false, true]),
  ]);
  expect(document.reasons.map(({ text }) => text).join()).toContain('answered whole 2 requests');
  expect(status).toBe(4);
});

const afterMs = ({ lastByteOffsetNs, actualOffsetNs }: Send) =>
  ((lastByteOffsetNs ?? 0) - (actualOffsetNs ?? 0)) / 1e6;

describe('a replay of streams', () => {
  it('times them, calls broken what broke, and leaves where the recorded client left', async () => {
    const { document, sends, status } = await replayed(
      [
        ...[0, 1, 2, 3].map((at) => chat(at)),
        chat(4, {}, null, false),
        // Its message ends in good order, and its stream does not.
        chat(5, {}, 'end=mid_body'),
        chat(6, {}, 'reset=mid_body'),
        // Twenty seconds of tokens: there are still some to come when a slow machine has it left.
        chat(7, left(400_000), null, true, 2_000),
        chat(8, left(120_000, null), 'delay=20000ms', false),
        chat(9, left(20_000_000)),
      ],
      // Compressed: the clients are no less patient for it.
      ['--multiplier', '2', '--slo', 'chat'],
    );
    expect(document).toMatchObject({
      planned: 10,
      sent: 10,
      completed: 6,
      failed: 2,
      cancelled: 2,
      refused: 0,
      unreached: 0,
      errors: { broken_stream: 1, reset: 1 },
      streams: { completed: 5, withoutContent: 0 },
      tokens: { answers: 6, output: 60 },
      cancels: { policy: 'replay', untimed: 0 },
    });
    const [stream] = sends;
    expect(stream?.answer).toMatchObject({ contentEvents: 10, outputTokens: 10, finish: 'length' });
    // A machine that stood still leaves streams out.
    if (document.health.stalls === 0) {
      expect(document.streams.failed).toBe(2);
      // 45 of those that completed, and what came of the one that was left.
      expect(document.streams.gaps).toBeGreaterThan(45);
      expect(document.tpotMs.p50).toBeLessThanOrEqual(document.itlMs.max ?? 0);
      expect(document.ttftMs.p50).toBeLessThan(document.latencyMs.scheduled.max ?? 0);
      // Two of seven streams broke: more than 5 in 100 never had their first token, or their next.
      const [ttft, itl] = document.slo;
      expect([ttft?.observed, itl?.observed]).toEqual(['Infinity', 'Infinity']);
    }
    // Of eight: what two clients gave up is neither answered nor failed.
    expect(document.slo.at(-2)).toMatchObject({ expression: 'errors: rate<0.01', observed: 0.25, ok: false });
    expect(status).toBe(3);
    expect(sends.map(({ cancelled }) => cancelled)).toEqual(
      [7, 8].reduce(asCancelled, Array(10).fill(false)),
    );
    expect(sends[7]?.answer?.contentEvents).toBeGreaterThan(0);
    expect(afterMs(sends[7] as Send)).toBeGreaterThanOrEqual(400);
    expect(afterMs(sends[7] as Send)).toBeLessThan(15_000);
    expect(afterMs(sends[8] as Send)).toBeGreaterThanOrEqual(120);
    expect(afterMs(sends[8] as Send)).toBeLessThan(15_000);
    expect(sends[9]).toMatchObject({ cancelled: false, error: null, status: 200 });
  });

  it('waits for every answer, and has it as long as recorded, where that is asked for', async () => {
    const { document, sends } = await replayed(
      [chat(0), chat(1, {}, null, false), chat(2, left(20_000))],
      ['--cancels', 'wait', '--rewrite', 'output-length=vllm'],
    );
    expect(document).toMatchObject({
      completed: 3,
      cancelled: 0,
      options: { cancels: 'wait', pinOutputLength: 'vllm' },
      changes: { pinned: 2, unpinned: 1 },
    });
    expect(sends.map(({ answer }) => answer?.outputTokens)).toEqual([4, 4, 10]);
  });
});

it('leaves a stream when the recorded client did, and not with the last byte that it got', async () => {
  const origin = await RawServer.start((_request, socket) => {
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
    socket.write(`${head}a\r\ndata: {}\n\n\r\n`);
  });
  const directory = temporaryDirectory();
  const recording = await startRecording(origin.port, directory);
  const client = connect(recording.port, '127.0.0.1');
  client.write('GET /stream HTTP/1.1\r\nHost: prod.internal\r\n\r\n');
  await once(client, 'data');
  const heardAtMs = performance.now();
  await new Promise((over) => setTimeout(over, 400));
  client.destroy();
  const stayedMs = performance.now() - heardAtMs;
  await recording.stop();
  const result = await replayHere(directory, `http://127.0.0.1:${origin.port}`, ['--json']);
  await origin.close();
  const reader = new RunReader(result.out);
  const [send] = [...reader.sends()];
  reader.close();
  expect(send).toMatchObject({ cancelled: true, status: 200 });
  expect(afterMs(send as Send)).toBeGreaterThan(stayedMs / 2);
});

function asCancelled(all: boolean[], at: number): boolean[] {
  return all.with(at, true);
}
