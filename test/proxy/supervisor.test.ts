import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { Supervisor } from '../../src/proxy/supervisor.ts';
import type { SupervisorDeps } from '../../src/proxy/supervisor-deps.ts';
import { askFor } from '../support/control.ts';
import { LogBook } from '../support/log-book.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { local } from '../support/wire-stage.ts';

/** Dies at once, and the second time has its capture as soon as it is told to. */
const RECORDER = `
import { existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
const directory = dirname(process.argv[1]);
if (!existsSync(directory + '/once')) {
  writeFileSync(directory + '/once', '');
  process.exit(1);
}
process.on('message', ({ type }) => {
  if (type !== 'start') return;
  process.send({ type: 'ready', directory, maxDiskBytes: null, unsealed: [] });
});
setTimeout(() => writeFileSync(directory + '/again', ''), 200);
`;

/** Cannot listen, and says so when the recorder was started again. */
const FORWARDER = `
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
process.on('message', () => undefined);
setInterval(() => {
  if (!existsSync(dirname(process.argv[1]) + '/again')) return;
  process.send({ type: 'listen-failed', message: 'cannot listen', hint: null });
}, 20);
`;

/** A supervisor of processes that do as these texts say. */
function scene(recorder: string, forwarder: string, deps: Partial<SupervisorDeps<null>> = {}) {
  const directory = temporaryDirectory();
  const [recorderEntry, forwarderEntry] = ['recorder.mjs', 'forwarder.mjs'].map((file) =>
    join(directory, file),
  ) as [string, string];
  writeFileSync(recorderEntry, recorder);
  writeFileSync(forwarderEntry, forwarder);
  const log = new LogBook();
  const supervisor = new Supervisor<null>({
    forwarderEntry,
    recorderEntry,
    forwarder: {
      mode: 'wire',
      pairs: [{ listen: local(), target: local() }],
      reusePort: false,
      maxConnections: 10,
      refused: 'reset',
      tls: null,
      upstreamTls: null,
      acceptProxyProtocol: false,
      sendProxyProtocol: null,
    },
    forwarders: 1,
    recorder: null,
    directory,
    version: '0',
    probeListen: null,
    captureReady: () => undefined,
    estimated: () => undefined,
    sealer: { seal: async () => undefined, stopWithin: () => undefined },
    settleSealed: async () => undefined,
    logger: log,
    clock: systemClock,
    ...deps,
  });
  return { supervisor, directory, log };
}

/** Has its capture at once, and ends when it is told to. */
const WILLING_RECORDER = `
import { dirname } from 'node:path';
process.on('message', ({ type }) => {
  if (type === 'start')
    process.send({ type: 'ready', directory: dirname(process.argv[1]), maxDiskBytes: null, unsealed: [] });
  if (type === 'stop') process.send({ type: 'stopped', unwritten: [] }, () => process.exit());
});
`;

/** Listens, by its word, and ends when it is told to. */
const WILLING_FORWARDER = `
process.on('message', ({ type, options }) => {
  if (type === 'listen') process.send({ type: 'listening', addresses: options.pairs.map(({ listen }) => listen) });
  if (type === 'drain') process.exit();
});
`;

it('a recording answers, and is not ready, until its last segment is handed over', async () => {
  let letGo: () => void = () => undefined;
  const handedOver = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let onAsked: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    onAsked = resolve;
  });
  const { supervisor, directory, log } = scene(WILLING_RECORDER, WILLING_FORWARDER, {
    probeListen: { host: '127.0.0.1', port: 0 },
    settleSealed: () => {
      onAsked();
      return handedOver;
    },
  });
  await supervisor.start();
  while (!existsSync(join(directory, 'control.sock'))) await sleep(5);
  const stopped = supervisor.stop({ delayMs: 0, deadlineMs: 0 });
  await asked;
  // Of two that drain it, each is answered.
  for (const _ of ['one', 'other'])
    expect(await askFor(directory, '/drain')).toMatchObject({ draining: true, ready: false });
  // And nobody takes what its recorder left for a recording.
  expect(supervisor.status()).toMatchObject({ state: 'OFF', why: 'ended', pids: { recorder: null } });
  await expect(askFor(directory, '/pause')).rejects.toThrow(/about to end/);
  const probe = async (path: string) =>
    (await fetch(`http://127.0.0.1:${supervisor.probeAddress?.port}${path}`)).status;
  expect([await probe('/livez'), await probe('/readyz')]).toEqual([200, 503]);
  letGo();
  await stopped;
  expect(existsSync(join(directory, 'control.sock'))).toBe(false);
  await expect(probe('/livez')).rejects.toThrow();
  expect(log.texts('error')).toEqual([]);
});

it('a start that fails late leaves nothing open, though its recorder died and was started again meanwhile', async () => {
  const { supervisor, directory, log } = scene(RECORDER, FORWARDER);
  await expect(supervisor.start()).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
  expect(log.texts('info')).not.toContain('recorder started');
  expect(existsSync(join(directory, 'control.sock'))).toBe(false);
  expect(supervisor.status().state).not.toBe('HEALTHY');
});
