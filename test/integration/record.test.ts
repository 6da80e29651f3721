import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseRequestHead } from '../../src/core/headers.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { startRecording } from '../support/recording.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { plainAnswer, rawRequest, streamedAnswer } from '../support/wire-messages.ts';

let origin: ScriptedOrigin;

beforeEach(async () => {
  origin = await new ScriptedOrigin().listen();
});
afterEach(() => origin.close());

async function clientOf(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  return socket;
}

/** Sends a request and waits for that many bytes of answer. */
async function ask(socket: Socket, request: Buffer, answerBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let have = 0;
  const done = new Promise<void>((resolve) => {
    socket.on('data', function take(chunk: Buffer) {
      chunks.push(chunk);
      have += chunk.length;
      if (have < answerBytes) return;
      socket.off('data', take);
      resolve();
    });
  });
  socket.write(request);
  await done;
  return Buffer.concat(chunks);
}

const BODY = Buffer.from('{"inputs":[1,2,3]}');
const REQUEST = rawRequest(
  'POST',
  '/v2/models/iris/infer?api_key=s3cret',
  ['Authorization: Bearer abc.def', 'Content-Type: application/json', `Content-Length: ${BODY.length}`],
  BODY,
);

describe('reprise record', () => {
  it('forwards unchanged and keeps what passed, redacted, in a sealed capture', async () => {
    const answer = plainAnswer('{"outputs":[]}');
    const exchange = { requestBytes: REQUEST.length, answer: [answer] };
    origin.expect([exchange, exchange]);
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(origin.port, directory);
    const client = await clientOf(recording.port);
    for (let turn = 0; turn < 2; turn += 1) {
      expect((await ask(client, REQUEST, answer.length)).equals(answer)).toBe(true);
    }
    client.end();
    const { status, end } = await recording.stop();
    expect(status).toBe(0);
    expect(end).toMatchObject({
      message: 'stopped',
      cut: 0,
      exchanges: 2,
      pending: { bytes: 0, turns: 0 },
      seen: { bytes: 2 * (REQUEST.length + answer.length), turns: 2 },
      recorded: { bytes: 2 * (REQUEST.length + answer.length), turns: 2 },
    });
    expect([end['lost'], end['omitted']]).toEqual([{}, {}]);
    expect(origin.received[0]?.equals(Buffer.concat([REQUEST, REQUEST]))).toBe(true);

    const capture = openCapture(directory);
    const rows = [...capture.rows()];
    expect(rows).toMatchObject([
      { method: 'POST', status: 200, model: 'iris', outcome: 'completed', requestBytes: BODY.length },
      { method: 'POST', status: 200, model: 'iris', outcome: 'completed', requestBytes: BODY.length },
    ]);
    const payload = capture.payload(rows[0] as (typeof rows)[0]);
    const head = parseRequestHead(payload?.request?.head ?? Buffer.alloc(0));
    expect(head.target).toMatch(/^\/v2\/models\/iris\/infer\?api_key=\*{6}$/);
    expect(JSON.stringify(head.headers)).not.toContain('abc.def');
    expect(Buffer.from(payload?.request?.body.kept ?? []).equals(BODY)).toBe(true);
    capture.close();

    const inspected = await runCommand(['inspect', directory, '--json']);
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      exchanges: 2,
      outcomes: { completed: 2 },
      coverage: 1,
      losses: { exchanges: 0 },
      segments: [{ sealed: true, exchanges: 2 }],
    });
  });

  it('holds no event of a stream back and keeps the times of its chunks', async () => {
    const events = ['data: {"n":1}\n\n', 'data: {"n":2}\n\n', 'data: [DONE]\n\n'];
    const answer = streamedAnswer(events);
    const arrivals: string[] = [];
    // The server goes on when the client has what it wrote so far: one event held back, and nothing more comes.
    const arrived = async (bytes: number) => {
      while (Buffer.byteLength(arrivals.join('')) < bytes) await sleep(1);
    };
    origin.expect([{ requestBytes: REQUEST.length, answer, pauseMs: 60, arrived }]);
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(origin.port, directory);
    const client = await clientOf(recording.port);
    client.on('data', (chunk: Buffer) => arrivals.push(chunk.toString()));
    await ask(client, REQUEST, Buffer.concat(answer).length);
    client.end();
    await recording.stop();
    // Every write of the server reached the client by itself, before the next was made.
    expect(arrivals).toEqual(answer.map((part) => part.toString()));

    const capture = openCapture(directory);
    const [row] = [...capture.rows()];
    expect(row?.streamed).toBe(true);
    const times = row ? (capture.payload(row)?.responseChunks ?? []) : [];
    const offsetsUs = times.filter((_, index) => index % 2 === 0);
    expect(offsetsUs.length).toBeGreaterThanOrEqual(3);
    expect([...offsetsUs].sort((a, b) => a - b)).toEqual(offsetsUs);
    expect((offsetsUs.at(-1) ?? 0) - (offsetsUs[0] ?? 0)).toBeGreaterThan(100_000);
    capture.close();
  });

  it('leaves out what a replay marked, and says so', async () => {
    const marked = rawRequest('GET', '/v2/health/ready', ['X-Reprise-Run: r1'], Buffer.alloc(0));
    const answer = plainAnswer('{}');
    origin.expect([{ requestBytes: marked.length, answer: [answer] }]);
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(origin.port, directory);
    const client = await clientOf(recording.port);
    await ask(client, marked, answer.length);
    client.end();
    const { end } = await recording.stop();
    expect(end).toMatchObject({ omitted: { replay_marked: { turns: 1 } }, exchanges: 0 });
    const inspected = await runCommand(['inspect', directory, '--json']);
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      exchanges: 0,
      omitted: { byCause: { replay_marked: { exchanges: 1 } } },
    });
  });

  it.each(['/proc/reprise-cannot-be-here', '/dev/null/x', ''])(
    'ends with an error that names %j when the capture cannot be opened and it may not fail open',
    async (dir) => {
      const args = ['record', '--target', '127.0.0.1:1', '--listen', '127.0.0.1:0', '--probe-listen', 'off'];
      const cwd = temporaryDirectory();
      const { status, stderr } = await runCommand([...args, '--dir', dir], { cwd });
      expect({ status, left: readdirSync(cwd) }).toEqual({ status: 2, left: [] });
      expect(stderr).toContain(`nothing can be recorded: ${dir}`);
      expect(stderr).toMatch(/hint: .*--fail-open/);
      expect(stderr).not.toContain('NOT RECORDING');
    },
  );

  it('forwards with recording off, and says so once, when the capture cannot be written', async () => {
    const answer = plainAnswer('{}');
    origin.expect([{ requestBytes: REQUEST.length, answer: [answer] }]);
    const recording = await startRecording(origin.port, '/proc/reprise-cannot-be-here');
    const client = await clientOf(recording.port);
    expect((await ask(client, REQUEST, answer.length)).equals(answer)).toBe(true);
    client.end();
    const { status, log, end } = await recording.stop();
    expect(status).toBe(0);
    expect(log.filter((line) => line['state'] === 'OFF')).toHaveLength(1);
    expect(end).toMatchObject({ lost: { writer_down: { turns: 1 } }, recorded: { turns: 0 } });
  });
});

describe('reprise record, asked for what cannot be', () => {
  it.each([
    [['--target', 'nonsense', '--dir', 'x'], '--target: "nonsense" is not an address'],
    [['--target', 'http://127.0.0.1:1/v1', '--dir', 'x'], 'paths pass through'],
    [['--target', '127.0.0.1:1', '--dir', 'x', '--max-disk', 'much'], '--max-disk: "much"'],
    [['--target', '127.0.0.1:1', '--dir', 'x', '--niceness', 'proxy=-21'], '--niceness proxy: "-21"'],
    [['--target', '127.0.0.1:1', '--dir', 'x', '--niceness', 'recorder=-1'], '--niceness recorder: "-1"'],
    [['--dir', 'x'], '--target'],
  ])('%j: one clear error and exit 2', async (flags, text) => {
    const { status, stderr } = await runCommand(['record', ...flags]);
    expect(stderr).toContain(text);
    expect(status).toBe(2);
  });

  it('says which port is busy and exits 2', async () => {
    const flags = ['--target', '127.0.0.1:1', '--listen', `127.0.0.1:${origin.port}`];
    const { status, stderr } = await runCommand(['record', ...flags, '--dir', `${temporaryDirectory()}/c`]);
    expect(stderr).toContain(`cannot listen on 127.0.0.1:${origin.port}: the port is in use`);
    expect(status).toBe(2);
  });
});
