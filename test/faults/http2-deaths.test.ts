import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { untilStatus } from '../support/control.ts';
import { grpcMessage } from '../support/grpc.ts';
import { callOnce, echoServer, SESSION_MEMORY } from '../support/http2-calls.ts';
import { imbalance } from '../support/imbalance.ts';
import { repeated } from '../support/long-form.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CONNECTIONS = 3;
/** Of each connection, calls a second. */
const RATE = repeated(100, 300);
const KILLS = repeated(3, 10);
const RECORDED_AGAIN_MS = 2_000;
/** Bytes that each connection sends a second, while the queue is filled. */
const FILLING_BYTES = 20_100_000;

/** Calls at a rate on connections that are never closed. Each has its own number, in its path and in its body. */
class SteadyCalls {
  readonly failed: number[] = [];
  answered = 0;
  readonly #sessions: readonly ClientHttp2Session[];
  readonly #loops: readonly Promise<void>[];
  readonly #bodyBytes: () => number;
  #next = 1;
  #stopped = false;

  private constructor(sessions: readonly ClientHttp2Session[], bodyBytes: () => number) {
    this.#sessions = sessions;
    this.#bodyBytes = bodyBytes;
    this.#loops = sessions.map((session) => this.#loop(session));
  }

  static async start(port: number, bodyBytes: () => number): Promise<SteadyCalls> {
    const sessions = Array.from({ length: CONNECTIONS }, () =>
      connect(`http://127.0.0.1:${port}`, SESSION_MEMORY),
    );
    await Promise.all(sessions.map((session) => once(session, 'connect')));
    return new SteadyCalls(sessions, bodyBytes);
  }

  get sent(): number {
    return this.#next - 1;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#loops);
    for (const session of this.#sessions) session.close();
  }

  async #loop(session: ClientHttp2Session): Promise<void> {
    const startedMs = performance.now();
    const open: Promise<void>[] = [];
    for (let nth = 0; !this.#stopped; nth += 1) {
      await sleep(Math.max(0, startedMs + (nth * 1_000) / RATE - performance.now()));
      open.push(this.#call(session));
    }
    await Promise.all(open);
  }

  async #call(session: ClientHttp2Session): Promise<void> {
    const id = this.#next;
    this.#next += 1;
    const body = grpcMessage(Buffer.alloc(this.#bodyBytes(), `${id} `));
    const answer = await callOnce(session, body, `/m.S/Call${id}`);
    if (answer?.equals(body)) this.answered += 1;
    else this.failed.push(id);
  }
}

/** The numbers of the recorded calls, and the connections on which they were. */
function recordedIn(directory: string) {
  const capture = openCapture(directory);
  const ids: number[] = [];
  const connections = new Set<string>();
  for (const row of capture.rows()) {
    const head = Buffer.from(capture.payload(row)?.request?.head ?? []).toString('latin1');
    ids.push(Number(/Call(\d+)/.exec(head)?.[1]));
    connections.add(`${row.connection}`);
  }
  capture.close();
  return { ids, connections: connections.size };
}

it('calls on open connections are recorded again after each death of the recorder, and none is lost for good', async () => {
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(await echoServer(), directory);
  let bodyBytes = 200;
  const calls = await SteadyCalls.start(recording.port, () => bodyBytes);
  await untilStatus(directory, ({ exchanges }) => exchanges > 20);
  const againMs: number[] = [];
  for (let kill = 1; kill <= KILLS; kill += 1) {
    process.kill(recording.children().recorder, 'SIGKILL');
    const back = await untilStatus(
      directory,
      ({ restarts, state }) => restarts.recorder === kill && state === 'HEALTHY',
    );
    againMs.push(
      await msUntil(30_000, 'calls are recorded again', async () => {
        const { exchanges } = await untilStatus(directory, () => true);
        return exchanges > back.exchanges;
      }),
    );
  }
  // It stands still, and meanwhile its queue is filled.
  const { recorder } = recording.children();
  process.kill(recorder, 'SIGSTOP');
  bodyBytes = FILLING_BYTES / RATE;
  await untilStatus(directory, ({ lost }) => (lost.queue_bytes?.turns ?? 0) > 20);
  bodyBytes = 200;
  process.kill(recorder, 'SIGCONT');
  await untilStatus(directory, ({ state, queuedBytes }) => state === 'HEALTHY' && queuedBytes < 1_000_000);
  const { exchanges } = await untilStatus(directory, () => true);
  await untilStatus(directory, (status) => status.exchanges > exchanges + 100);
  await calls.stop();
  const { status, end } = await recording.stop();
  expect({ status, failed: calls.failed, answered: calls.answered }).toEqual({
    status: 0,
    failed: [],
    answered: calls.sent,
  });
  const account = end as unknown as Parameters<typeof imbalance>[0];
  expect(imbalance(account)).toEqual({ bytes: 0, turns: 0 });
  expect(account.pending).toEqual({ bytes: 0, turns: 0 });
  const { ids, connections } = recordedIn(directory);
  expect(new Set(ids).size).toBe(ids.length);
  const lost = Object.values(account.lost).reduce((sum, { turns }) => sum + turns, 0);
  expect({ seen: account.seen.turns, rowsAndLost: ids.length + lost }).toEqual({
    seen: calls.sent,
    rowsAndLost: calls.sent,
  });
  expect(account.omitted).toEqual({});
  expect(connections).toBe(CONNECTIONS);
  expect(Math.max(...againMs)).toBeLessThan(RECORDED_AGAIN_MS);
});
