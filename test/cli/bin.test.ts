import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';

const bin = join(repositoryRoot, 'bin', 'reprise.js');

/** Runs the command in a process that something was done to first. */
async function runAfter(preload: string, args: readonly string[]) {
  return await runProcess(process.execPath, [
    '--import',
    `data:text/javascript,${encodeURIComponent(preload)}`,
    bin,
    ...args,
  ]);
}

/** Runs the command under a Node that says it is another. */
async function underNode(version: string) {
  return await runAfter(
    `Object.defineProperty(process,'versions',{value:{...process.versions,node:'${version}'}})`,
    ['--version'],
  );
}

test.each([
  ['record', ['--help'], false],
  ['replay', ['--dry-run', 'nowhere'], false],
  ['replay', ['nowhere', '--target', '127.0.0.1:1'], true],
  ['capacity', ['nowhere', '--target', '127.0.0.1:1'], true],
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

test('a search has the same heap by itself and within a scenario', async () => {
  const heaps = await Promise.all(
    [['capacity'], ['run', '--preset', 'capacity']].map(async (command) => {
      const { stdout } = await runAfter(
        "import { isMainThread, resourceLimits } from 'node:worker_threads'; if (!isMainThread) console.log('heap', resourceLimits.maxOldGenerationSizeMb)",
        [...command, 'nowhere', '--target', '127.0.0.1:1'],
      );
      return stdout;
    }),
  );
  expect(heaps).toEqual(['heap 128\n', 'heap 128\n']);
});

describe('the command under an old Node', () => {
  test.each([['12.22.12'], ['20.20.2'], ['22.18.0']])(
    'prints one line and ends with 2: %s',
    async (version) => {
      expect(await underNode(version)).toMatchObject({
        status: 2,
        stdout: '',
        stderr: `reprise: Node ${version} is too old; Node 22.19 or newer is needed\n`,
      });
    },
  );

  test.each([['22.19.0'], ['24.0.0'], ['26.1.0']])('runs: %s', async (version) => {
    expect(await underNode(version)).toMatchObject({ status: 0, stderr: '' });
  });

  test("prints one line under the machine's own Node where that is too old", async (context) => {
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
    expect(await runProcess(path, [bin, 'replay', '--help'])).toMatchObject({
      status: 2,
      stdout: '',
      stderr: `reprise: Node ${version.slice(1)} is too old; Node 22.19 or newer is needed\n`,
    });
  });

  test('imports nothing that an old Node does not have, before the version is checked', () => {
    const imports = readFileSync(bin, 'utf8').match(/^import .*$/gm);
    expect(imports).toEqual(["import { accessSync, constants, existsSync } from 'fs';"]);
  });
});
