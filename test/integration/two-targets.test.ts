import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { type ComparisonDocument, comparisonSchema } from '../../src/documents/comparison.ts';
import { replayPlanSchema } from '../../src/documents/replay-plan.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { RequestLogServer } from '../support/request-log-server.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const COUNT = 200;
let capture: string;
beforeAll(() => {
  capture = captureOf(requestsOf(COUNT, 2_000));
});

/** However late a busy machine sends: these tests are not about times. */
const LATE = ['--lag-bound', '60s'];
const newDirectory = () => join(temporaryDirectory(), 'runs');
const targets = (...servers: readonly RequestLogServer[]) => servers.flatMap(({ url }) => ['--target', url]);
const comparisonIn = (text: string): ComparisonDocument => {
  const document = JSON.parse(text) as ComparisonDocument;
  expect(comparisonSchema.parse(document)).toEqual(document);
  return document;
};

describe('a replay with two targets', () => {
  test('plays them in the order A, B, B, A, and ends with their comparison', async () => {
    const order: string[] = [];
    const named = (name: string) =>
      serverOf((_, response) => {
        if (order.at(-1) !== name) order.push(name);
        response.end('{"outputs":[]}');
      });
    const [a, b] = [await named('A'), await named('B')];
    const out = newDirectory();
    const builds = ['--build', 'v1', '--build', 'v2'];
    const done = await runCommand([
      ...['replay', capture, ...targets(a, b), ...builds, ...LATE],
      ...['--repeat', '1', '--out', out, '--json'],
    ]);
    expect(done, done.stderr).toMatchObject({ status: 4 });
    const document = comparisonIn(done.stdout);
    expect(order).toEqual(['A', 'B', 'A']);
    expect([a, b].map(({ requests }) => requests.length)).toEqual([2 * COUNT, 2 * COUNT]);
    expect(readdirSync(out).sort()).toEqual(['01-A', '02-B', '03-B', '04-A', 'comparison.json']);
    expect(document).toMatchObject({ compares: 'runs', pairs: 2 * COUNT, differences: [] });
    expect(document.runs?.map(({ side }) => side).join('')).toBe('ABBA');
    expect([document.a, document.b].map(({ target }) => target)).toEqual([a.url, b.url]);
    expect([document.a, document.b].map(({ labels }) => labels?.['build'])).toEqual(['v1', 'v2']);
    // Builds differ in their names, which is no news.
    expect(document.notes.map(({ code }) => code)).not.toContain('server_differs');
    expect(document.metrics[0]).toMatchObject({ name: 'latency_p50', noise: expect.any(Number) });
    expect(comparisonIn(readFileSync(join(out, 'comparison.json'), 'utf8'))).toEqual(document);
    // The directory is one argument of compare.
    const again = await runCommand(['compare', out, '--json']);
    expect(comparisonIn(again.stdout)).toEqual(document);
    // Where its lines break depends on how long its figures are.
    expect((await runCommand(['compare', out])).stdout.replaceAll(/\s+/g, ' ')).toMatch(
      /A \(v1\).*2 runs of each side in the order ABBA/,
    );
  });

  test('without --repeat has one run of each, and the noise between runs is not known', async () => {
    const [a, b] = [await serverOf(), await serverOf()];
    const out = newDirectory();
    const done = await runCommand(['replay', capture, ...targets(a, b), '--out', out, '--json']);
    const document = comparisonIn(done.stdout);
    expect(document.runs).toBeNull();
    expect(document.notes.map(({ code }) => code)).toContain('noise_unknown');
    expect(readdirSync(out).sort()).toEqual(['01-A', '02-B', 'comparison.json']);
  });

  test('plans both targets and the time of all runs in a dry run, and sends nothing', async () => {
    const [a, b] = [await serverOf(), await serverOf()];
    const out = newDirectory();
    const args = ['replay', capture, ...targets(a, b), '--repeat', '3', '--out', out, '--dry-run'];
    const { status, stdout } = await runCommand([...args, '--json']);
    expect(status).toBe(0);
    const plan = replayPlanSchema.parse(JSON.parse(stdout));
    expect(plan.alternation).toMatchObject({ targets: [a.url, b.url], order: 'ABBAABBAABBA' });
    expect(plan.alternation?.atLeastS).toBeCloseTo(12 * plan.durationS, 6);
    const text = await runCommand(args);
    for (const { url } of [a, b]) expect(text.stdout).toContain(url);
    expect([a, b].flatMap(({ requests }) => requests)).toEqual([]);
    expect(existsSync(out)).toBe(false);
  });
});

test('a scenario has two targets as one, and another command takes only one', async () => {
  const file = join(temporaryDirectory(), 'two.yaml');
  writeFileSync(file, `capture: ${capture}\ntarget: ['http://old:1', 'http://new:1']\nrepeat: 5\n`);
  const { status, stdout } = await runCommand(['run', file, '--dry-run']);
  expect(status).toBe(0);
  expect(stdout).toContain('--target=http://old:1 --target=http://new:1 --repeat=5');
  const other = await runCommand(['run', file, '--target', ':1', '--target', ':2', '--dry-run']);
  expect(other.stdout).toContain('--target=:1 --target=:2 --repeat=5');
  const sets = ['--target', ':1', '--target', ':2', '--dry-run'];
  expect(await runCommand(['run', '--preset', 'capacity', capture, ...sets])).toMatchObject({ status: 2 });
});

describe('the guards of a replay hold for both targets', () => {
  test.each([
    ['a production host', ['--production-host', 'localhost'], 2],
    ['a target that cannot be reached', [], 5],
  ])('nothing is sent to A if B is %s', async (_, args, status) => {
    const a = await serverOf();
    const port = await serverOf();
    const gone = port.url;
    await port.close();
    const out = newDirectory();
    const done = await runCommand([
      'replay',
      capture,
      ...targets(a),
      '--target',
      gone,
      '--out',
      out,
      ...args,
    ]);
    expect(done.status, done.stderr).toBe(status);
    expect(a.requests).toEqual([]);
    expect(existsSync(out)).toBe(false);
  });

  test('a B that is gone before its second run ends the replay with 5, and what was sent is compared', async () => {
    const a = await serverOf();
    const b = await new RequestLogServer((_, response) => {
      response.end('{"outputs":[]}');
      if (b.requests.length === COUNT) response.on('finish', () => void b.close());
    }).listen();
    const out = newDirectory();
    const args = ['--repeat', '1', '--out', out, '--json', ...LATE];
    const done = await runCommand(['replay', capture, ...targets(a, b), ...args]);
    expect(done.status, done.stderr).toBe(5);
    expect(comparisonIn(done.stdout)).toMatchObject({ pairs: COUNT, runs: null });
    expect(readdirSync(out).sort()).toEqual(['01-A', '02-B', 'comparison.json']);
  });

  test('a signal ends the run under way and begins no other', async () => {
    const [a, b] = [await serverOf(), await serverOf()];
    const slow = captureOf(requestsOf(COUNT, 20_000));
    const out = newDirectory();
    const running = startReprise(['replay', slow, ...targets(a, b), '--repeat', '2', '--out', out]);
    while (b.requests.length < 20) await sleep(20);
    const { status, stderr } = await running.kill('SIGINT');
    expect(status, stderr).toBe(130);
    expect(readdirSync(out).sort()).toEqual(['01-A', '02-B', 'comparison.json']);
    const document = comparisonIn(readFileSync(join(out, 'comparison.json'), 'utf8'));
    expect(document).toMatchObject({ verdict: 'INCONCLUSIVE', b: { stopped: { cause: 'SIGINT' } } });
  });
});

const TWO = ['--target', ':1', '--target', ':2'];
const REFUSED: readonly (readonly [name: string, args: readonly string[], message: RegExp])[] = [
  ['--repeat without a second target', ['--target', ':1', '--repeat', '2'], /two targets/],
  ['the same target twice', ['--target', ':1', '--target', 'http://127.0.0.1:1'], /same server/],
  ['three targets', [...TWO, '--target', ':3'], /more than two/],
  ['two builds of one target', ['--target', ':1', '--build', 'a', '--build', 'b'], /--build/],
  [
    'until-sure',
    [...TWO, '--confidence', 'until-sure', '--duration', '1s', '--slo', 'latency: p(50)<9'],
    /two targets/,
  ],
  ['--concurrency', [...TWO, '--concurrency', '2', '--duration', '1s'], /two targets/],
  ['--shard', [...TWO, '--shard', '0/2'], /two targets/],
  ['--retain-runs', [...TWO, '--retain-runs', '3'], /two targets/],
  ['--history', [...TWO, '--history', 'h.sqlite'], /two targets/],
  ['--ndjson', [...TWO, '--ndjson'], /two targets/],
  ['--serve', [...TWO, '--serve', 'open'], /two targets/],
];
test.each(REFUSED)('%s is refused before anything is opened', async (_, args, message) => {
  const { status, stderr } = await runCommand(['replay', '/no/capture', ...args]);
  expect(status).toBe(2);
  expect(stderr).toMatch(message);
});
