import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { entryPath } from '../../src/app/package.ts';
import type { MirrorSettings } from '../../src/app/recording/mirror-options.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { FromRecorder } from '../../src/proxy/control/messages.ts';
import { inspectCapture } from '../../src/storage/capture/inspect.ts';
import { LogBook } from '../support/log-book.ts';
import { recordingDeps } from '../support/supervised.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const UNSHARE = ['--mount', 'sh', '-c', 'mount --bind "$1" /etc/hosts && exec "$2" "$3"', 'sh'];
const folder = temporaryDirectory();
/** A process that opens it to read waits for a writer that never comes. */
const fifo = join(folder, 'hosts');
spawnSync('mkfifo', [fifo]);
/** Whether a process can have an /etc/hosts of its own. */
const canHide = spawnSync('unshare', [...UNSHARE, fifo, 'true']).status === 0;

const children: { kill(signal: 'SIGKILL'): unknown }[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
});

test.runIf(canHide)(
  'a recorder ends although the look-up of its mirror hangs (no mount namespace here)',
  async () => {
    const directory = join(folder, 'capture');
    const child = spawn('unshare', [...UNSHARE, fifo, process.execPath, entryPath('recorder')], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc', 'pipe'],
    });
    children.push(child);
    const exit = once(child, 'exit');
    const { promise: mirrors, resolve: onMirror } = Promise.withResolvers<void>();
    const said: string[] = [];
    child.on('message', (message: FromRecorder) => {
      said.push(message.type);
      if (message.type === 'beat' && message.beat.mirror !== null) onMirror();
    });
    const endpoint = { kind: 'tcp', host: 'mirror.invalid', port: 80, tls: false } as const;
    const limits = { share: 1, inFlight: 1, timeoutMs: 1_000 };
    const mirror: MirrorSettings = {
      ...limits,
      endpoint,
      headers: [],
      caPem: null,
      targets: [],
      listens: [],
    };
    const settings = { ...recordingDeps(1, directory, new LogBook()).recorder, mirror };
    const none = { bytes: 0, turns: 0 };
    const nowUs = Math.round(systemClock.epochUs());
    const times = { life: '01234567', startedUs: nowUs, atUs: nowUs, ended: false };
    const counts = { seen: none, recorded: none, lost: {}, omitted: {}, pending: none, exchanges: 0 };
    const account = { ...times, ...counts, turnsAhead: 0 };
    child.send({ type: 'start', settings, keepsWorkMark: false, account, earlier: null });
    await mirrors;
    const last = { ...account, ended: true };
    child.send({ type: 'stop', account: last, because: 'crash_gap', ships: false });
    await exit;
    expect(said.at(-1)).toBe('closed');
    expect(inspectCapture(directory).killed).toEqual([]);
  },
);
