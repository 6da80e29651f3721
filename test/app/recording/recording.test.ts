import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Recording } from '../../../src/app/recording/recording.ts';
import { accountsIn } from '../../../src/storage/capture/accounts.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { askFor } from '../../support/control.ts';
import { LogBook } from '../../support/log-book.ts';
import { askOnce } from '../../support/one-request.ts';
import { RawServer } from '../../support/raw-server.ts';
import { recordingDeps, startSupervised } from '../../support/supervised.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

/** Has its capture at once, and ends a while after it was told to. */
const WILLING_RECORDER = `
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
const directory = dirname(process.argv[1]);
const progress = { bytes: 0, turns: 0, exchanges: 0 };
process.on('message', ({ type }) => {
  if (type === 'start') process.send({ type: 'ready', directory, maxDiskBytes: 1, progress });
  if (type !== 'stop') return;
  process.send({ type: 'closed' });
  setInterval(() => existsSync(directory + '/shipped') && process.exit(), 5);
});
`;

it('a recording answers, and is not ready, until its last segment is handed over', async () => {
  const directory = temporaryDirectory();
  const recorderEntry = join(directory, 'recorder.mjs');
  writeFileSync(recorderEntry, WILLING_RECORDER);
  const log = new LogBook();
  const recording = new Recording(recordingDeps(1, directory, log, { recorderEntry }));
  await recording.start();
  while (!existsSync(join(directory, 'control.sock'))) await sleep(5);
  const stopped = recording.stop({ delayMs: 0, deadlineMs: 0 });
  while (recording.status().pids.recorder !== null) await sleep(5);
  // Of two that drain it, each is answered.
  for (const _ of ['one', 'other'])
    expect(await askFor(directory, '/drain')).toMatchObject({ draining: true, ready: false });
  // And nobody takes what its recorder left for a recording.
  expect(recording.status()).toMatchObject({ state: 'OFF', why: 'ended' });
  await expect(askFor(directory, '/pause')).rejects.toThrow(/about to end/);
  const probe = async (path: string) =>
    (await fetch(`http://127.0.0.1:${recording.probeAddress?.port}${path}`)).status;
  expect([await probe('/livez'), await probe('/readyz')]).toEqual([200, 503]);
  writeFileSync(join(directory, 'shipped'), '');
  await stopped;
  expect(existsSync(join(directory, 'control.sock'))).toBe(false);
  await expect(probe('/livez')).rejects.toThrow();
  expect(log.texts('error')).toEqual([]);
});

it('an address that cannot be had is an error, and leaves no recorder and no account behind', async () => {
  const directory = join(temporaryDirectory(), 'capture');
  const server = await RawServer.start();
  const { port } = await startSupervised(server.port);
  const deps = recordingDeps(server.port, directory, new LogBook());
  const [pair] = deps.plane.pairs;
  const pairs = [{ ...pair, listen: { kind: 'tcp', host: '127.0.0.1', port, tls: false } }];
  const taken = new Recording({ ...deps, plane: { ...deps.plane, pairs } as typeof deps.plane });
  await expect(taken.start()).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  expect(taken.status().pids.recorder).toBeNull();
  expect(existsSync(directory)).toBe(false);
  await server.close();
});

it('a recording whose recorder never opened the capture leaves its account where the capture would be', async () => {
  const directory = join(temporaryDirectory(), 'capture');
  const recorderEntry = join(temporaryDirectory(), 'dies.mjs');
  writeFileSync(recorderEntry, 'process.exit(1);');
  const server = await RawServer.start();
  const recording = new Recording(recordingDeps(server.port, directory, new LogBook(), { recorderEntry }));
  const [bound] = await recording.start();
  await askOnce((bound as { port: number }).port);
  await recording.stop({ delayMs: 0, deadlineMs: 5_000 });
  expect(accountsIn(directory)).toMatchObject([
    { ended: true, seen: { turns: 1 }, lost: { writer_down: { turns: 1, exchanges: 1 } } },
  ]);
  expect(inspectCapture(directory)).toMatchObject({
    exchanges: 0,
    losses: { exchanges: 1, exact: true },
    coverage: 0,
  });
  await server.close();
});
