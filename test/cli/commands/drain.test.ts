import { once } from 'node:events';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isOver, waitForEnd } from '../../../src/app/recorder-control.ts';
import { endLines } from '../../../src/cli/commands/control.ts';
import { accountFileOf, type RecorderStatus } from '../../../src/core/accounting.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { ControlServer } from '../../../src/proxy/control/admin-server.ts';
import { LOCK_FILE } from '../../../src/storage/capture/directory.ts';
import { accountOf } from '../../support/accounts.ts';
import { LogBook } from '../../support/log-book.ts';
import { runProcess } from '../../support/process.ts';
import { someStatus } from '../../support/some-status.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

const PATIENCE_MS = 60_000;
const FIRST = someStatus({ draining: true });

/** A capture whose recording answers so, and tells when it is asked again, and so was heard. */
async function answering(status: () => RecorderStatus) {
  const directory = capture();
  let onAsked: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    onAsked = resolve;
  });
  let times = 0;
  const controls = {
    status: () => {
      times += 1;
      if (times > 1) onAsked();
      return status();
    },
    drain: () => undefined,
    pause: async () => undefined,
    resume: async () => undefined,
  };
  const server = new ControlServer(controls, new LogBook());
  await server.open(directory);
  return { directory, server, asked };
}

function capture(): string {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, LOCK_FILE), '');
  return directory;
}

/** The account of a recording that wrote last at `atUs`. */
async function writeLife(directory: string, startedUs: number, state: 'open' | 'ended', atUs: number) {
  const account = accountOf({ life: 'one', ended: state === 'ended', startedUs, atUs });
  await writeFile(join(directory, accountFileOf('one')), JSON.stringify(account));
}

test.concurrent('a drain ends with the recording, whose last words are kept', async () => {
  const last = someStatus({ draining: true, exchanges: 7 });
  const { directory, server, asked } = await answering(() => last);
  const end = waitForEnd(directory, FIRST, PATIENCE_MS, systemClock);
  await asked;
  await server.close();
  expect(await end).toEqual({ drained: true, last, successor: null });
});

test.concurrent('a drain ends where another recording was started in the meantime, and does not wait for that one', async () => {
  const { directory, server } = await answering(() => someStatus({ startedUs: FIRST.startedUs + 1 }));
  expect(await waitForEnd(directory, FIRST, PATIENCE_MS, systemClock)).toEqual({
    drained: true,
    last: FIRST,
    successor: { pid: 1, startedUs: FIRST.startedUs + 1 },
  });
  await server.close();
});

test.concurrent('a recording that was killed while it drained is not taken for one that has ended in good order', async () => {
  const directory = capture();
  const socket = join(directory, 'control.sock');
  const script = `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await runProcess(process.execPath, ['-e', script]);
  expect(existsSync(socket)).toBe(true);
  await expect(waitForEnd(directory, FIRST, PATIENCE_MS, systemClock)).rejects.toMatchObject({
    code: 'RECORDER_UNREACHABLE',
    message: expect.stringContaining('it was killed'),
  });
});

test.concurrent('a drain goes on waiting for a recording that turns a question away', async () => {
  const directory = capture();
  const answers = ['turned away', 'answered with 500'];
  const busy = createServer((request, response) => {
    if (answers.shift() === 'turned away') request.destroy();
    else response.writeHead(500).end();
    // As the last thing that it does.
    if (answers.length === 0) renameSync(join(directory, 'control.sock'), join(directory, 'gone'));
  });
  await once(busy.listen(join(directory, 'control.sock')), 'listening');
  expect(await waitForEnd(directory, FIRST, PATIENCE_MS, systemClock)).toEqual({
    drained: true,
    last: FIRST,
    successor: null,
  });
  expect(answers).toEqual([]);
  busy.close();
});

test.concurrent('a drain that takes longer than is waited for is none', async () => {
  const { directory, server } = await answering(() => FIRST);
  expect(await waitForEnd(directory, FIRST, 1, systemClock)).toMatchObject({ drained: false });
  await server.close();
});

test.concurrent('a recording that hangs does not hold a drain longer than it is to wait', async () => {
  const directory = capture();
  const hanging = createServer(() => undefined);
  await once(hanging.listen(join(directory, 'control.sock')), 'listening');
  // The test's own time is over before that of one question.
  const end = await waitForEnd(directory, FIRST, 50, systemClock);
  expect(end).toEqual({ drained: false, last: FIRST, successor: null });
  hanging.closeAllConnections();
  hanging.close();
}, 25_000);

test.concurrent('a successor that writes to the directory and has no socket yet is told of', async () => {
  const directory = capture();
  await writeLife(directory, FIRST.startedUs - 5, 'open', systemClock.epochUs() + 3_600e6);
  expect(await waitForEnd(directory, FIRST, PATIENCE_MS, systemClock)).toEqual({
    drained: true,
    last: FIRST,
    successor: { pid: null, startedUs: FIRST.startedUs - 5 },
  });
});

test.concurrent.each([
  ['was killed long ago', 'open', 0],
  ['has ended', 'ended', systemClock.epochUs()],
] as const)('a recording that %s is no successor', async (_, state, atUs) => {
  const directory = capture();
  await writeLife(directory, FIRST.startedUs - 5, state, atUs);
  expect(await waitForEnd(directory, FIRST, PATIENCE_MS, systemClock)).toMatchObject({ successor: null });
});

test.concurrent('a recording whose socket somebody removed is not taken for one that has ended', async () => {
  const directory = capture();
  await writeLife(directory, FIRST.startedUs, 'open', systemClock.epochUs() + 3_600e6);
  expect(await waitForEnd(directory, FIRST, 300, systemClock)).toMatchObject({ drained: false });
});

test('a drain of a recording that nothing came to says so', () => {
  const last = { ...FIRST, seen: { bytes: 0, turns: 0 } };
  const end = { drained: true, last, successor: null };
  expect(endLines(end, { dir: '/rec', waitMs: 1_000 })).toEqual([
    'drained: the recording has ended (process 1, started 2026-09-21T14:13:20.000000Z)',
    'nothing was recorded: no client sent anything to it',
  ]);
});

test('a drain is over where the next recording is a restart, not where it was there before', () => {
  const end = (startedUs: number) => ({ drained: true, last: FIRST, successor: { pid: 7, startedUs } });
  expect(isOver(end(FIRST.atUs + 1), FIRST)).toBe(true);
  expect(isOver(end(FIRST.atUs - 1), FIRST)).toBe(false);
  expect(endLines(end(FIRST.atUs - 1), { dir: '/rec', waitMs: 1_000 })).toEqual([
    'drained: the recording has ended (process 1, started 2026-09-21T14:13:20.000000Z)',
    'another recording (process 7, started 2026-09-21T14:14:19.999999Z) records into /rec and was not drained; drain again in 5 s to stop it',
  ]);
});
