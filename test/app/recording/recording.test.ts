import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Recording } from '../../../src/app/recording/recording.ts';
import { accountsIn } from '../../../src/storage/capture/accounts.ts';
import { inspectCapture } from '../../../src/storage/capture/inspect.ts';
import { askFor } from '../../support/control.ts';
import { freePort } from '../../support/free-port.ts';
import { afterwards } from '../../support/leftovers.ts';
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

/** Opens its capture when it is told to by a file, or dies. */
const SLOW_RECORDER = `
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
const directory = dirname(process.argv[1]);
const progress = { bytes: 0, turns: 0, exchanges: 0 };
setInterval(() => existsSync(directory + '/die') && process.exit(7), 5);
process.on('message', ({ type }) => {
  if (type === 'stop') process.exit();
  if (type !== 'start') return;
  const opening = setInterval(() => {
    if (!existsSync(directory + '/open')) return;
    clearInterval(opening);
    process.send({ type: 'ready', directory, maxDiskBytes: 1, progress });
  }, 5);
});
`;

/** A recording that does not fail open, with its free port and a recorder that opens the capture late. */
async function waiting() {
  const directory = temporaryDirectory();
  const recorderEntry = join(directory, 'recorder.mjs');
  writeFileSync(recorderEntry, SLOW_RECORDER);
  const server = await RawServer.start();
  afterwards(() => server.close());
  const port = await freePort();
  const deps = recordingDeps(server.port, directory, new LogBook(), { recorderEntry });
  const [pair] = deps.plane.pairs;
  const pairs = [{ ...pair, listen: { kind: 'tcp', host: '127.0.0.1', port, tls: false } }];
  const plane = { ...deps.plane, pairs } as typeof deps.plane;
  const recording = new Recording({ ...deps, plane, failOpen: false });
  return { recording, directory, port };
}

async function probesOf(recording: Recording): Promise<number[]> {
  while (recording.probeAddress === null) await sleep(5);
  const { port } = recording.probeAddress;
  const answers = ['/livez', '/readyz'].map((path) => fetch(`http://127.0.0.1:${port}${path}`));
  return (await Promise.all(answers)).map(({ status }) => status);
}

describe('a recording that does not fail open', () => {
  it('is live but not ready and refuses clients, until its capture is open', async () => {
    const { recording, directory, port } = await waiting();
    const started = recording.start();
    expect(await probesOf(recording)).toEqual([200, 503]);
    await expect(askOnce(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    writeFileSync(join(directory, 'open'), '');
    expect(await started).toHaveLength(1);
    expect(await probesOf(recording)).toEqual([200, 200]);
    expect(await askOnce(port)).toContain('200');
    await recording.stop({ delayMs: 0, deadlineMs: 0 });
  });

  it('ends its start with an error if the recorder ends first, and leaves no account', async () => {
    const { recording, directory, port } = await waiting();
    writeFileSync(join(directory, 'die'), '');
    await expect(recording.start()).rejects.toMatchObject({ code: 'OUTPUT_UNWRITABLE' });
    await expect(askOnce(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(accountsIn(directory)).toEqual([]);
    expect(recording.status()).toMatchObject({ ready: false, pids: { recorder: null } });
  });

  it('can be stopped while it waits, and never listens', async () => {
    const { recording, directory, port } = await waiting();
    const asked = Promise.withResolvers<void>();
    const started = recording.start(asked.promise);
    await probesOf(recording);
    asked.resolve();
    expect(await started).toEqual([]);
    await recording.stop({ delayMs: 60_000, deadlineMs: 60_000 });
    writeFileSync(join(directory, 'open'), '');
    await expect(askOnce(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
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
