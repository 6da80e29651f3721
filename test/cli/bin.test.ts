import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const bin = join(repositoryRoot, 'bin', 'reprise.js');

/** Runs the command in a process that something was done to first. */
async function runAfter(preload: string, args: readonly string[], script = bin) {
  return await runProcess(process.execPath, [
    '--import',
    `data:text/javascript,${encodeURIComponent(preload)}`,
    script,
    ...args,
  ]);
}

/** Runs the command under a Node that says it is another. */
async function underNode(version: string, script = bin) {
  return await runAfter(
    `Object.defineProperty(process,'versions',{value:{...process.versions,node:'${version}'}})`,
    ['--version'],
    script,
  );
}

/** The command in another place, and there, if given, a program in the place of a checkout's Node. */
function copiedBin(pinned: string | null): string {
  const place = temporaryDirectory();
  const programs = join(place, 'node_modules', '.bin');
  mkdirSync(programs, { recursive: true });
  cpSync(bin, join(place, 'bin', 'reprise.js'));
  writeFileSync(join(place, 'package.json'), '{"type":"module"}');
  if (pinned !== null) {
    writeFileSync(join(programs, 'node'), `#!/bin/sh\n${pinned}\n`);
    chmodSync(join(programs, 'node'), 0o755);
  }
  return join(place, 'bin', 'reprise.js');
}

const TOO_OLD = (version: string) => `reprise: Node ${version} is too old; Node 22.19 or newer is needed\n`;

test.each([
  ['record', ['--help'], false],
  ['replay', ['--dry-run', 'nowhere'], false],
  ['replay', ['nowhere', '--target', '127.0.0.1:1'], true],
])(
  '%s %j begins anew to collect its garbage and to compile in few threads: %s',
  async (command, args, isAnew) => {
    const told = await runAfter(
      "import { isMainThread } from 'node:worker_threads'; if (isMainThread) console.log('begun', process.execArgv.includes('--single-threaded-gc'), process.execArgv.includes('--v8-pool-size=1'), typeof gc)",
      [command, ...args],
    );
    const begun = told.stdout.split('\n').filter((line) => line.startsWith('begun'));
    expect(begun).toEqual(['begun false false undefined', ...(isAnew ? ['begun true true function'] : [])]);
  },
);

test('a search begins anew, and has the same heap by itself and within a scenario', async () => {
  const heaps = await Promise.all(
    [['capacity'], ['run', '--preset', 'capacity']].map(async (command) => {
      const { stdout } = await runAfter(
        "import { isMainThread, resourceLimits } from 'node:worker_threads'; console.log(isMainThread ? typeof gc : resourceLimits.maxOldGenerationSizeMb)",
        [...command, 'nowhere', '--target', '127.0.0.1:1'],
      );
      return stdout;
    }),
  );
  expect(heaps).toEqual(['undefined\nfunction\n128\n', 'undefined\nfunction\n128\n']);
});

describe('the command under an old Node', () => {
  test.each([['12.22.12'], ['20.20.2'], ['22.18.0']])(
    'names a remedy and ends with 2: %s',
    async (version) => {
      const inCheckout = await underNode(version);
      expect(inCheckout).toMatchObject({ status: 2, stdout: '' });
      expect(inCheckout.stderr).toMatch(TOO_OLD(version));
      expect(inCheckout.stderr).toMatch(/\n {2}hint: .*npm ci.*nvm install 24.*\n$/);
      const installed = await underNode(version, copiedBin(null));
      expect(installed).toMatchObject({ status: 2, stdout: '' });
      expect(installed.stderr).toMatch(/\n {2}hint: (?!.*npm ci).*nvm install 24.*\n$/);
    },
  );

  test("runs the checkout's own Node where that is there, with its output, status and signal", async () => {
    expect(await underNode('20.20.2', copiedBin('echo "ran $(basename $1) $2"; exit 7'))).toMatchObject({
      status: 7,
      stdout: 'ran reprise.js --version\n',
      stderr: '',
    });
    expect(await underNode('20.20.2', copiedBin('kill -TERM $$'))).toMatchObject({ signal: 'SIGTERM' });
  });

  test("runs the checkout's Node only where that is newer than itself", async () => {
    expect(await underNode('24.0.0', copiedBin('echo pinned'))).toMatchObject({ status: 1 });
  });

  test.each([['22.19.0'], ['24.0.0'], ['26.1.0']])('runs: %s', async (version) => {
    expect(await underNode(version)).toMatchObject({ status: 0, stderr: '' });
  });

  test("names a remedy or runs under the machine's own Node where that is too old", async (context) => {
    const own = await runProcess('/usr/bin/env', [
      '-i',
      '/bin/sh',
      '-c',
      'command -v node && node --version',
    ]);
    const [path = '', version = ''] = own.stdout.trim().split('\n');
    const [major = 0, minor = 0] = version.replace('v', '').split('.').map(Number);
    if (own.status !== 0) context.skip('the machine has no Node of its own');
    if (major > 22 || (major === 22 && minor >= 19)) context.skip(`the machine's own Node is ${version}`);
    const installed = await runProcess(path, [copiedBin(null), 'replay', '--help']);
    expect(installed).toMatchObject({ status: 2, stdout: '' });
    expect(installed.stderr).toMatch(TOO_OLD(version.slice(1)));
    expect(await runProcess(path, [bin, '--version'])).toMatchObject({ status: 0, stderr: '' });
  });

  test('imports nothing that an old Node does not have, before the version is checked', () => {
    const imports = readFileSync(bin, 'utf8').match(/^import .*$/gm);
    expect(imports).toEqual(["import { accessSync, constants, existsSync, realpathSync } from 'fs';"]);
  });
});
