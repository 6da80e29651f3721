import { once } from 'node:events';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** A program that holds a connection for as long as it lives. */
const holding = (port: number) =>
  `require('node:net').connect(${port}, '127.0.0.1').on('close', () => process.exit(1));`;

/** Starts scripts/test.mjs with programs in place of tsc, biome and vitest. */
function startTests(programs: { readonly tsc: string; readonly biome: string; readonly vitest: string }) {
  const root = temporaryDirectory();
  const place = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  place('package.json', '{"scripts": {"typecheck": "tsc", "lint": "biome check", "unit": "vitest run"}}');
  place('node_modules/typescript/bin/tsc', programs.tsc);
  place('node_modules/@biomejs/biome/bin/biome', programs.biome);
  place('node_modules/vitest/vitest.mjs', programs.vitest);
  cpSync(join(repositoryRoot, 'scripts/test.mjs'), join(root, 'scripts/test.mjs'));
  return startProcess(process.execPath, [join(root, 'scripts/test.mjs')]);
}

test('a SIGTERM ended npm test alone, and vitest, tsc and biome went on', async () => {
  const held = createServer().listen(0, '127.0.0.1');
  const open = new Set<Socket>();
  held.on('connection', (socket) => {
    open.add(socket);
    socket.on('error', () => {}).on('close', () => open.delete(socket));
  });
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    held.close();
  });
  await once(held, 'listening');
  const hold = holding((held.address() as AddressInfo).port);
  const tests = startTests({
    // As the real ones: one ends its work before it heeds a signal, another works in a child.
    tsc: `process.on('SIGTERM', () => {}); ${hold}`,
    biome: `require('node:child_process').spawnSync(process.execPath, ['-e', ${JSON.stringify(hold)}]);`,
    vitest: `import { createRequire } from 'node:module'; const require = createRequire('/'); ${hold}`,
  });
  await expect.poll(() => open.size).toBe(3);
  const { status } = await tests.kill('SIGTERM');
  expect(status).toBe(1);
  await expect.poll(() => open.size).toBe(0);
});

test.each([
  ['typecheck', 'tsc'],
  ['lint', 'biome'],
  ['tests', 'vitest'],
])('npm test fails when %s fail, and says so', async (name, program) => {
  const passing = { tsc: '', biome: '', vitest: '' };
  const { status, stdout } = await startTests({ ...passing, [program]: 'process.exit(2);' }).finished;
  expect(status).toBe(1);
  const results = [...stdout.matchAll(/^(\w+): (passed|failed \(2\))$/gm)].map(([, of, result]) => [
    of,
    result,
  ]);
  expect(results).toEqual(
    ['tests', 'typecheck', 'lint'].map((each) => [each, each === name ? 'failed (2)' : 'passed']),
  );
});
