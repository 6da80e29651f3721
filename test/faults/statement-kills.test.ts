import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { StatementDocument } from '../../src/documents/statement.ts';
import { captureOf } from '../support/captures.ts';
import { runReprise, startReprise } from '../support/process.ts';
import { requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** What is on stderr when each part has begun; the last two are within the search. */
const POINTS = [/\n1x: /, /\n2x: /, /\nspike to 2x: /, /Step 1: /, /Step 2: /];
const PARTS = ['recorded', 'multiplied', 'spike'];

test('a statement that is killed at five points goes on, and repeats no run that had ended', async () => {
  const server = await serverOf();
  const capture = captureOf(requestsOf(300, 10_000));
  const out = join(temporaryDirectory(), 'statement');
  const asked = [
    ...['statement', capture, '--target', server.url, '--slo', 'latency: p(50)<500'],
    ...['--compare-at-1x', 'off', '--cool-down', '0s', '--budget', '90s', '--max-rate', '800'],
    ...['--out', out, '--json'],
  ];
  /** The runs that have ended, by their directory. */
  const ended = () => {
    const steps = join(out, 'search', 'steps');
    const places = [
      ...readdirSync(out).map((name) => join(out, name)),
      ...(existsSync(steps) ? readdirSync(steps).map((name) => join(steps, name)) : []),
    ];
    const summaries = places.map((place) => join(place, 'summary.json')).filter((file) => existsSync(file));
    return new Map(summaries.map((file) => [file, JSON.parse(readFileSync(file, 'utf8')).run as string]));
  };
  let before = new Map<string, string>();
  for (const point of POINTS) {
    const going = startReprise(asked);
    await going.waitFor('stderr', point);
    const sent = server.requests.length;
    while (server.requests.length < sent + 5) await new Promise((resolve) => setImmediate(resolve));
    expect((await going.kill('SIGKILL')).signal).toBe('SIGKILL');
    const now = ended();
    for (const [file, run] of before) expect(now.get(file)).toBe(run);
    before = now;
  }
  const done = await runReprise(asked);
  expect(done.stdout, done.stderr).not.toBe('');
  const document = JSON.parse(done.stdout) as StatementDocument;
  const now = ended();
  for (const [file, run] of before) expect(now.get(file)).toBe(run);
  // Each part was killed once while it was replayed, so its second run is the one that ended.
  for (const part of PARTS) {
    const names = readdirSync(out).filter((name) => name.startsWith(part));
    expect(names.sort()).toEqual([part, `${part}-2`]);
    expect(names.filter((name) => existsSync(join(out, name, 'summary.json')))).toEqual([`${part}-2`]);
  }
  expect(document.runs.map(({ directory }) => directory)).toEqual(PARTS.map((part) => `${part}-2`));
  expect(document.breakingPoint).not.toBeNull();
  expect((await runReprise(['statement', '--verify', out])).status).toBe(0);
}, 300_000);
