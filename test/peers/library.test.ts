import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type InstalledPackage, packAndInstall } from '../support/packed-tarball.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let installed: InstalledPackage;

beforeAll(async () => {
  installed = await packAndInstall(temporaryDirectory());
});

/** A program that records five requests, profiles them and plays them back. */
const PROGRAM = `
import { createServer } from 'node:http';
import { join } from 'node:path';
import { AppError, profile, record, replay } from 'reprise';

const [folder] = process.argv.slice(2);
const server = createServer((request, response) => {
  request.resume().on('end', () => response.end('{"ok":true}'));
}).listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const target = \`http://127.0.0.1:\${server.address().port}\`;

const capture = join(folder, 'capture');
const recording = await record({
  target, listen: '127.0.0.1:0', dir: capture, probeListen: 'off', drainDelay: '0s', maxDisk: '64MiB',
});
for (let sent = 0; sent < 5; sent += 1) {
  const answer = await fetch(\`http://\${recording.addresses[0]}/v1/echo\`, {
    method: 'POST', body: JSON.stringify({ sent }), headers: { 'content-type': 'application/json', connection: 'close' },
  });
  await answer.text();
}
const { account } = await recording.stop();
const { requests, kind } = await profile(capture);
const events = [];
const { document } = await replay(
  capture,
  { target, out: join(folder, 'run'), allowProductionHost: '127.0.0.1', multiplier: 2 },
  { onEvent: ({ event }) => events.push(event) },
);
const refusal = await replay(capture, { target, multiplier: 'fast' }).catch((error) => error);
server.close();
console.log(
  JSON.stringify({
    requests, kind, seen: account.seen, sent: document.sent, completed: document.completed,
    events: [...new Set(events)], refused: refusal instanceof AppError && refusal.code,
  }),
);
`;

test('the packed library records, profiles and replays from plain JavaScript', async () => {
  const folder = join(installed.project, 'data');
  mkdirSync(folder);
  writeFileSync(join(installed.project, 'main.mjs'), PROGRAM);
  const { status, stdout, stderr } = await runProcess(process.execPath, ['main.mjs', folder], {
    cwd: installed.project,
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    kind: 'profile',
    requests: 5,
    seen: { turns: 5 },
    sent: 5,
    completed: 5,
    events: expect.arrayContaining(['start']),
    refused: 'OPTION_INVALID',
  });
});

const CONSUMER = `
import { type ProfileDocument, type ReplayOptions, profile, replay } from 'reprise';

const options: ReplayOptions = { target: 'http://127.0.0.1:1', multiplier: 1.5, slo: ['latency: p(99)<200'] };
export const document: Promise<ProfileDocument> = profile('capture', { peak: '15m', share: true });
export const verdict: Promise<string | null> = replay('capture', options).then((run) => run.document.verdict);
// @ts-expect-error no option has this name
export const misspelt: ReplayOptions = { tarket: 'http://127.0.0.1:1' };
// @ts-expect-error a list is no multiplier
export const mistaken: ReplayOptions = { multiplier: [1] };
`;

test('the packed library has types that a TypeScript program is checked against', async () => {
  const compilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: true },
    ...{ target: 'es2024', module: 'nodenext', types: ['node'] },
    typeRoots: [join(repositoryRoot, 'node_modules', '@types')],
  };
  writeFileSync(join(installed.project, 'package.json'), '{"type":"module"}');
  writeFileSync(join(installed.project, 'consumer.ts'), CONSUMER);
  writeFileSync(
    join(installed.project, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['consumer.ts'] }),
  );
  const tsc = join(repositoryRoot, 'node_modules', '.bin', 'tsc');
  const { status, stdout } = await runProcess(tsc, ['-p', 'tsconfig.json'], { cwd: installed.project });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});
