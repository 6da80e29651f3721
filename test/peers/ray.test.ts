import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import { EXIT } from '../../src/cli/exit.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { runCommand } from '../support/command-here.ts';
import { numberedCapture } from '../support/export-scene.ts';
import { type Ended, needing, runPeer } from '../support/peer-run.ts';
import { pythonWith } from '../support/peer-tools.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** No multiple of the shards, so that they differ in size. */
const COUNT = 601;
const ray = pythonWith(['ray==2.60.0']);
const programs = join(repositoryRoot, 'test', 'peers', 'programs');
const cluster = join(programs, 'ray_cluster.py');
const job = join(repositoryRoot, 'deploy', 'ray', 'replay_shards.py');
const reprise = `${process.execPath} ${join(repositoryRoot, 'bin', 'reprise.js')}`;
const capture = numberedCapture(COUNT);

/** Requests by target, as the server saw them. */
const seen = new Map<string, number>();
/** Called once, when a sixth of the capture has arrived. */
let onSixth = (): unknown => undefined;
const server = createServer((request, response) => {
  seen.set(request.url ?? '', (seen.get(request.url ?? '') ?? 0) + 1);
  if (seen.size === Math.floor(COUNT / 6)) onSixth();
  const id = Number(request.url?.split('id=')[1]);
  // As recorded, so that answers compare.
  response.statusCode = id % 11 === 10 ? 429 : 200;
  request.resume().on('end', () => response.end(`{"id":${id},"text":"</script>"}`));
});
beforeAll(() => new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening)));
beforeEach(() => {
  seen.clear();
  onSixth = () => undefined;
});
afterAll(() => server.close());

const target = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const summaryOf = (run: string): ReplayDocument =>
  JSON.parse(readFileSync(join(run, 'summary.json'), 'utf8')) as ReplayDocument;

/** Seconds from the plan to the start. A busy machine that misses the first has a second. */
const LEADS_S = [8, 120];

/** Runs the job on three nodes of one CPU each. @returns how it ended, and where its runs are */
async function played(
  python: string,
  flags: readonly string[] = [],
  started: (child: ChildProcess) => void = () => undefined,
  programOf = [job],
): Promise<Ended & { readonly out: string }> {
  const slo = ['--slo', 'latency: p(90)<60s'];
  let said = '';
  for (const lead of LEADS_S) {
    seen.clear();
    const out = join(temporaryDirectory(), 'ray');
    const asked = ['--shards', '3', '--target', target(), '--out', out, '--lead', String(lead), ...slo];
    const program = [cluster, ...programOf, capture, ...asked, '--cpus', '1', '--reprise', reprise, ...flags];
    const ended = await runPeer(python, [...program, '--', '--max-in-flight', '500'], undefined, started);
    said = ended.said;
    if (!said.includes('--shard start was missed')) return { ...ended, out };
  }
  throw new Error(`This machine does not start three shards in two minutes: ${said}`);
}

needing(
  ray,
  'three shards on three nodes of Ray 2.60.0 are one run: counts and mix of one process',
  async (python) => {
    const alone = join(temporaryDirectory(), 'alone');
    const done = await runCommand(['replay', capture, '--target', target(), '--out', alone]);
    // On a busy machine arrivals are late: INCONCLUSIVE, but all are sent.
    expect([EXIT.ok, EXIT.inconclusive], done.stderr).toContain(done.status);
    const byOne = new Map(seen);
    seen.clear();

    const { status, said, out } = await played(python);
    expect(seen, said).toEqual(byOne);
    expect(seen.size).toBe(COUNT);
    const [one, merged] = [summaryOf(alone), summaryOf(join(out, 'merged'))];
    for (const key of [
      'planned',
      'sent',
      'completed',
      'failed',
      'refused',
      'unreplayable',
      'statuses',
    ] as const)
      expect({ [key]: merged[key] }).toEqual({ [key]: one[key] });
    expect(merged.fidelity.mixDistance).toBe(one.fidelity.mixDistance);
    expect(merged.merged?.shards).toHaveLength(3);
    expect(status, said).toBe(merged.verdict === 'PASS' ? EXIT.ok : EXIT.inconclusive);
  },
);

needing(ray, 'a node of Ray that is lost costs its shard, and the run is INCONCLUSIVE', async (python) => {
  const ended = await played(python, [], (child) => {
    onSixth = () => child.kill('SIGUSR1');
  });
  expectOneLost(ended);
});

needing(
  ray,
  'a node of Ray that is lost between plan and start costs its shard, and the job ends',
  async (python) => {
    const ended = await played(python, [], undefined, [join(programs, 'ray_loss_in_plan.py'), job]);
    expectOneLost(ended);
    expect(ended.said).toContain('no host began it');
  },
);

function expectOneLost({ status, said, out }: Ended & { readonly out: string }): void {
  expect(status, said).toBe(EXIT.inconclusive);
  const merged = summaryOf(join(out, 'merged'));
  expect(merged.reasons.map(({ code }) => code)).toContain('shards_missing');
  expect(merged.merged?.shards).toHaveLength(2);
  expect(merged.sent).toBeLessThan(COUNT);
  expect(said).toMatch(/shard \d ended with None/);
}

needing(
  ray,
  'hosts of Ray whose captures are of one size but differ end the job before anything is sent',
  async (python) => {
    const other = numberedCapture(COUNT, 9_000);
    const program = join(temporaryDirectory(), 'reprise');
    const lines = [
      'case "$*" in *"--shard 1/3"*) shift 2; set -- replay "$OTHER" "$@";; esac',
      `exec ${reprise} "$@"`,
    ];
    writeFileSync(program, ['#!/bin/sh', `OTHER=${other}`, ...lines].join('\n'), { mode: 0o755 });
    const { status, said } = await played(python, ['--reprise', program]);
    expect(status, said).toBe(1);
    expect(said).toContain('The hosts differ in plan');
    expect(seen.size).toBe(0);
  },
);

needing(ray, 'a host without reprise ends the job of Ray before anything is sent', async (python) => {
  const { status, said } = await played(python, ['--reprise', '/nowhere/reprise']);
  expect(status).toBe(1);
  expect(said).toContain('cannot start reprise');
  expect(seen.size).toBe(0);
});
