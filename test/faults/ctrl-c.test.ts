import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { shellWord } from '../../src/core/text.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { captureOf } from '../support/captures.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const bin = join(repositoryRoot, 'bin', 'reprise.js');
/** Where Ctrl-C reaches the command twice: by the terminal, and passed on by the program that started it. */
const WAYS: readonly (readonly [how: string, start: readonly string[], needs: string])[] = [
  ['by node', [process.execPath, bin], process.execPath],
  ['by npx and sh', ['npx', '--script-shell=/bin/sh', 'reprise'], '/bin/sh'],
  // bash begins anew as the command, so npm signals the command itself.
  ['by npx and bash', ['npx', '--script-shell=/bin/bash', 'reprise'], '/bin/bash'],
  ["by the machine's own Node, an old one", ['/usr/bin/node', bin], '/usr/bin/node'],
];

/** Runs a command line on a terminal of its own. */
function onTerminal(words: readonly string[]): ChildProcess {
  const line = words.map(shellWord).join(' ');
  const child = spawn('script', ['-qec', `exec ${line}`, '/dev/null'], { cwd: repositoryRoot });
  child.stdout?.resume();
  atFileEnd(() => void child.kill('SIGKILL'));
  return child;
}

test.for(WAYS)(
  'Ctrl-C ends a run with 130, and the run is complete so far: %s',
  async ([, start, needs], { skip }) => {
    const tools = ['script', ...(start[0] === 'npx' ? ['npx'] : [])];
    const missing = tools.filter((tool) => spawnSync('which', [tool]).status !== 0);
    if (missing.length > 0 || !existsSync(needs)) skip(`needs ${[...missing, needs].join(', ')}`);
    const server = await serverOf();
    const out = join(temporaryDirectory(), 'run');
    const capture = captureOf(requestsOf(600, 100_000));
    const child = onTerminal([...start, 'replay', capture, '--target', server.url, '--out', out]);
    const ended = once(child, 'close') as Promise<[number | null]>;
    while (server.requests.length < 3) await sleep(20);
    child.stdin?.write('\x03');
    const [status] = await ended;
    const summary = JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')) as ReplayDocument;
    expect({ status, interrupted: summary.interrupted }).toEqual({ status: 130, interrupted: 'SIGINT' });
    expect(summary.sent).toBeGreaterThanOrEqual(3);
  },
);

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('a %s that comes twice within milliseconds is one signal', async (signal, ended) => {
  const server = await serverOf();
  const out = join(temporaryDirectory(), 'run');
  const args = ['replay', captureOf(requestsOf(600, 100_000)), '--target', server.url, '--out', out];
  const running = startReprise(args);
  while (server.requests.length < 3) await sleep(20);
  running.child.kill(signal);
  await sleep(5);
  expect((await running.kill(signal)).status).toBe(ended);
  expect(existsSync(join(out, 'summary.json'))).toBe(true);
});
