import { once } from 'node:events';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { waitForEnd } from '../../src/cli/drain.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { RecorderStatus } from '../../src/core/status.ts';
import { ControlServer } from '../../src/proxy/control-server.ts';
import { LOCK_FILE } from '../../src/storage/segment-name.ts';
import { LogBook } from '../support/log-book.ts';
import { runProcess } from '../support/process.ts';
import { someStatus } from '../support/some-status.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

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

test.concurrent('a drain ends with the recording, whose last words are kept', async () => {
  const last = someStatus({ draining: true, exchanges: 7 });
  const { directory, server, asked } = await answering(() => last);
  const end = waitForEnd(directory, FIRST, PATIENCE_MS, systemClock);
  await asked;
  await server.close();
  expect(await end).toEqual({ drained: true, last });
});

test.concurrent('a drain ends where another recording was started in the meantime, and does not wait for that one', async () => {
  const { directory, server } = await answering(() => someStatus({ startedUs: FIRST.startedUs + 1 }));
  expect(await waitForEnd(directory, FIRST, PATIENCE_MS, systemClock)).toEqual({
    drained: true,
    last: FIRST,
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
    message: expect.stringContaining('it was killed before its end'),
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
  });
  expect(answers).toEqual([]);
  busy.close();
});

test.concurrent('a drain that takes longer than is waited for is none', async () => {
  const { directory, server } = await answering(() => FIRST);
  expect(await waitForEnd(directory, FIRST, 1, systemClock)).toMatchObject({ drained: false });
  await server.close();
});
