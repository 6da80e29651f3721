import { mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { replay } from '../../src/index.ts';
import { captureOf } from '../support/captures.ts';
import { startRelay } from '../support/fault-relay.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** A capture of a request every 10 ms, and a server that answers each. */
async function scene(seconds: number) {
  const folder = temporaryDirectory();
  const { url: target } = await serverOf((_, response) => void response.end('{"outputs":[]}'));
  return { folder, capture: captureOf(requestsOf(seconds * 100, 10_000)), out: join(folder, 'run'), target };
}

/** Files below a directory that this process has open, by name. */
function openBelow(directory: string): string[] {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(join('/proc/self/fd', fd));
    } catch {
      return '';
    }
  });
  return links.filter((path) => path.startsWith(directory));
}

test('a calibration that cannot be stored leaves no file of the run open', async () => {
  const { capture, out, target } = await scene(4);
  const onEvent = ({ event }: { readonly event: string }) => {
    if (event !== 'start') return;
    mkdirSync(join(out, 'calibration'));
    writeFileSync(join(out, 'calibration', 'in-the-way'), '');
  };
  const ended = replay(capture, { target, out, compareAt1x: '1s' }, { onEvent });
  await expect(ended).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' });
  expect(openBelow(out)).toEqual([]);
});

test('a run that fails reports its own error, though its planned faults cannot be ended either', async () => {
  const { folder, capture, out, target } = await scene(20);
  const relay = await startRelay(target.slice('http://'.length));
  const faults = join(folder, 'plan.yaml');
  const fault = { proxy: 'dep', fault: 'down', start: '100ms', duration: '15s' };
  writeFileSync(faults, JSON.stringify({ control: relay.running.control, faults: [fault] }));
  let applied = false;
  const logger = {
    ...SILENT,
    info: () => {
      applied = true;
    },
    warn: (_: object, message: string) => {
      if (message.includes('resets within')) throw new Error('the log is full');
    },
    error: () => {
      throw new Error('the log is full');
    },
  };
  const onEvent = async ({ event }: { readonly event: string }) => {
    if (event !== 'second' || !applied) return;
    applied = false;
    await relay.running.stop();
    rmSync(out, { recursive: true });
  };
  const ended = replay(capture, { target, out, faults }, { onEvent, logger });
  await expect(ended).rejects.toMatchObject({ code: 'OUTPUT_UNWRITABLE' });
  expect(openBelow(out)).toEqual([]);
});
