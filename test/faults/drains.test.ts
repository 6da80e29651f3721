import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { repeated } from '../support/long-form.ts';
import { NumberedTraffic } from '../support/numbered-traffic.ts';
import { type RunningProcess, startProcess } from '../support/process.ts';
import { msUntil } from '../support/recorder-watch.ts';
import { accountOf, startRecording } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const DRAINS = repeated(4, 25);
const CLIENTS = 4;
/** When the clients of a load balancer have heard that this server goes; a wire leaves the closing to them. */
const WITHDRAWN_MS = 250;

async function startOrigin() {
  const server = startProcess(process.execPath, [
    join(repositoryRoot, 'test', 'faults', 'draining-origin.ts'),
  ]);
  const [, port] = await server.waitFor('stdout', /listening (\d+)/);
  return { server, port: Number(port) };
}

/** Its clients are withdrawn: it need not wait for any more of them. */
async function ended(server: RunningProcess): Promise<void> {
  server.child.kill('SIGUSR2');
  await server.finished;
}

interface Account {
  readonly cut: number;
  readonly pending: object;
  readonly lost: object;
}

/** One drain under traffic, begun by SIGTERM of the recorder or of the model server. */
async function drain(flags: readonly string[], first: 'recorder' | 'upstream', withdrawn: boolean) {
  const origin = await startOrigin();
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(origin.port, directory, [
    ...['--probe-listen', 'off', '--drain-delay', '100ms', '--drain-deadline', '3s'],
    ...flags,
  ]);
  const traffic = new NumberedTraffic(recording.port, { clients: CLIENTS, thinkMs: 2, endWhenRefused: true });
  await sleep(300);
  await msUntil(20_000, 'every client is answered', () => traffic.succeeded.length > CLIENTS * 5);
  const victim = first === 'upstream' ? origin.server : recording.process;
  victim.child.kill('SIGTERM');
  if (withdrawn) {
    await sleep(WITHDRAWN_MS);
    await traffic.stop();
  }
  if (first === 'upstream') await ended(origin.server);
  // A second signal would ask it to hurry.
  const { status, end } = await (first === 'upstream' ? recording.stop() : accountOf(recording.process));
  await traffic.stop();
  await ended(origin.server);
  return { status, end: end as unknown as Account, traffic, stored: new Set(storedIds(directory)) };
}

describe.each([
  ['gateway', ['--mode', 'gateway']],
  ['wire', []],
])('a drain under traffic, %s', (plane, flags) => {
  // Both at once: much of a drain is waiting for processes to start and to end.
  test.concurrent.each([
    ['recorder', plane === 'wire'],
    ['upstream', true],
  ] as const)(
    'begun by SIGTERM of the %s, fails nothing',
    async (first, withdrawn) => {
      let succeeded = 0;
      for (let round = 0; round < DRAINS; round += 1) {
        const { status, end, traffic, stored } = await drain(flags, first, withdrawn);
        expect(traffic.failed, `drain ${round}`).toEqual([]);
        expect(status).toBe(0);
        expect(end).toMatchObject({ pending: { turns: 0, bytes: 0 }, cut: 0, lost: {} });
        expect(traffic.succeeded.filter((id) => !stored.has(id))).toEqual([]);
        succeeded += traffic.succeeded.length;
      }
      expect(succeeded).toBeGreaterThan(DRAINS * 20);
    },
    600_000,
  );

  if (plane === 'gateway') return;

  test('counts what it has to cut where the clients do not close', async () => {
    const { status, end, traffic } = await drain([...flags, '--drain-deadline', '500ms'], 'recorder', false);
    expect(status).toBe(0);
    expect(end.cut).toBe(CLIENTS);
    expect(traffic.failed.length).toBeLessThanOrEqual(end.cut);
    expect(end.pending).toEqual({ turns: 0, bytes: 0 });
  });
});
