import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type InstalledPackage, packAndInstall } from '../support/packed-tarball.ts';
import { runProcess } from '../support/process.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

let installed: InstalledPackage;

/** The model server of the programs below: it answers every request alike. */
const SERVER = `
import { createServer } from 'node:http';

export async function serve() {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.end('{"ok":true}'));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return { server, target: \`http://127.0.0.1:\${server.address().port}\` };
}
`;

beforeAll(async () => {
  installed = await packAndInstall(temporaryDirectory());
  mkdirSync(join(installed.project, 'data'));
  writeFileSync(join(installed.project, 'server.mjs'), SERVER);
});

/** Runs a program beside the installed package. @returns the document that it printed */
async function printedBy(name: string, program: string) {
  writeFileSync(join(installed.project, name), program);
  const { status, stdout, stderr } = await runProcess(process.execPath, [name, 'data'], {
    cwd: installed.project,
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}

/** A program that records five requests, profiles them and plays them back. */
const PROGRAM = `
import { join } from 'node:path';
import { AppError, profile, record, replay } from '@reprise-load/reprise';
import { serve } from './server.mjs';

const [folder] = process.argv.slice(2);
const { server, target } = await serve();

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
  { target, out: join(folder, 'run'), productionHost: 'allow=127.0.0.1', multiplier: 2 },
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
  expect(await printedBy('main.mjs', PROGRAM)).toMatchObject({
    kind: 'profile',
    requests: 5,
    seen: { turns: 5 },
    sent: 5,
    completed: 5,
    events: expect.arrayContaining(['start']),
    refused: 'OPTION_INVALID',
  });
});

/** A program that plays a scenario into a history, reads that, and asks a gate for the same scenario. */
const NAMED_TESTS = `
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, gate, history, runScenario } from '@reprise-load/reprise';
import { serve } from './server.mjs';

const [folder] = process.argv.slice(2);
const { server, target } = await serve();

const file = join(folder, 'quick.yaml');
const kept = join(folder, 'history.sqlite');
writeFileSync(file, JSON.stringify({
  capture: join(folder, 'capture'), target, 'production-host': 'allow=127.0.0.1', multiplier: 4, name: 'quick',
  slo: ['latency: p(50)<5000'], out: join(folder, 'named'), history: kept,
}));
const played = await runScenario(file);
const capacity = await runScenario(join(folder, 'capture'), {
  preset: 'capacity', set: ['simulate=true', 'slo=latency: p(50)<5000'],
}).catch((error) => error);
const { tests } = history(kept);
const unknown = await runScenario(file, { set: ['multiplyer=2'] }).catch((error) => error);
const broken = join(folder, 'broken.yaml');
writeFileSync(broken, 'multiplier: fast');
const refusedGate = await gate({ serve: '127.0.0.1:0', scenario: ['broken=' + broken] }).catch((error) => error);
const waiting = await gate({ serve: '127.0.0.1:0', scenario: ['quick=' + file] });
const answer = await fetch(\`http://\${waiting.address}/argo/quick?id=1&wait=60s\`).then((got) => got.json());
await waiting.stop();
server.close();
console.log(
  JSON.stringify({
    kind: played.document.kind, sent: played.document.sent, status: played.status, verdict: played.document.verdict,
    tests: tests.map(({ test, runs }) => [test, runs.length]),
    result: answer.result,
    refused: [capacity, unknown, refusedGate].map((error) => error instanceof AppError && error.code),
    said: unknown.message,
  }),
);
`;

test('the packed library plays a scenario, keeps and reads its history, and answers as a gate', async () => {
  const printed = await printedBy('named.mjs', NAMED_TESTS);
  expect(printed).toMatchObject({ kind: 'replay', sent: 5, tests: [['quick', 1]] });
  expect(printed).toMatchObject({ refused: ['INPUT_INVALID', 'INPUT_INVALID', 'INPUT_INVALID'] });
  expect(printed.said).toContain('multiplyer');
  // Five requests are too few for a pass: the run says so, and so does the gate.
  expect([printed.verdict, printed.result, printed.status]).toEqual(['INCONCLUSIVE', 'INCONCLUSIVE', 4]);
});

const CONSUMER = `
import {
  type GateOptions, type HistoryDocument, history, type PlayedScenario, type ProfileDocument, profile,
  type ReplayOptions, replay, runScenario,
} from '@reprise-load/reprise';

const options = { target: 'http://127.0.0.1:1', multiplier: 1.5, slo: ['latency: p(99)<200'] } satisfies ReplayOptions;
export const document: Promise<ProfileDocument> = profile('capture', { window: 'peak=15m', omitNames: true });
export const verdict: Promise<string | null> = replay('capture', options).then((run) => run.document.verdict);
export const tests: HistoryDocument['tests'] = history('history.sqlite', { name: 'nightly' }).tests;
export const gateOptions: GateOptions = { serve: '127.0.0.1:8099', scenario: ['spike=spike.yaml'] };
const kindOf = ({ document }: PlayedScenario) =>
  document.kind === 'capacity' ? document.breakingPoint.boundary?.multiplier : document.verdict;
export const played = runScenario('captures/monday', { preset: 'spike', set: ['slo=errors: rate<0.01'] }).then(kindOf);
// @ts-expect-error a search has no token
export const unnamed = runScenario('captures/monday', { token: 'x' });
// @ts-expect-error no option has this name
export const misspelt: ReplayOptions = { tarket: 'http://127.0.0.1:1' };
// @ts-expect-error a list is no multiplier
export const mistaken: ReplayOptions = { multiplier: [1] };
`;

test('the packed library has types that a TypeScript program is checked against, with those of Node alone', async () => {
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    target: 'es2024',
    module: 'nodenext',
    types: ['node'],
  };
  // What a user has of types: the package's own and `@types/node` with what it depends on.
  const project = temporaryDirectory();
  const modules = join(project, 'node_modules');
  mkdirSync(join(modules, '@types'), { recursive: true });
  cpSync(join(installed.project, 'node_modules', '@reprise-load'), join(modules, '@reprise-load'), {
    recursive: true,
  });
  for (const name of ['@types/node', 'undici-types'])
    cpSync(join(repositoryRoot, 'node_modules', name), join(modules, name), { recursive: true });
  writeFileSync(join(project, 'package.json'), '{"type":"module"}');
  writeFileSync(join(project, 'consumer.ts'), CONSUMER);
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
  const tsc = join(repositoryRoot, 'node_modules', '.bin', 'tsc');
  const { status, stdout } = await runProcess(tsc, ['-p', 'tsconfig.json'], { cwd: project });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});

test('the packed library has one file of types, which names no package', () => {
  const types = installed.files.filter((path) => path.endsWith('.d.ts'));
  expect(types).toEqual(['dist/index.d.ts']);
  const text = readFileSync(
    join(installed.project, 'node_modules/@reprise-load/reprise/dist/index.d.ts'),
    'utf8',
  );
  expect(text).not.toMatch(/\bfrom '|\bimport\(|\bZod/);
});

test('the page on the library is made from its types: npm run library-page', async () => {
  const { stdout } = await runProcess(process.execPath, ['scripts/library-page.mjs', '--print'], {
    cwd: repositoryRoot,
  });
  expect(readFileSync(join(repositoryRoot, 'docs', 'reference', 'library.md'), 'utf8')).toBe(stdout);
});
