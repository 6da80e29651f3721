import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { untilStatus } from '../support/control.ts';
import { echoServer } from '../support/http2-calls.ts';
import { imbalance } from '../support/imbalance.ts';
import { repeated } from '../support/long-form.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { startRecording } from '../support/recording.ts';
import { SteadyCalls } from '../support/steady-calls.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const CONNECTIONS = 3;
/** Of each connection, calls a second. */
const RATE = repeated(100, 300);
const KILLS = repeated(3, 10);
const RECORDED_AGAIN_MS = 2_000;
/** Bytes that each connection sends a second, while the queue is filled. */
const FILLING_BYTES = 20_100_000;

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
  const calls = await SteadyCalls.start(recording.port, {
    connections: CONNECTIONS,
    perSecond: RATE,
    bodyBytes: () => bodyBytes,
  });
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
