/**
 * Do three merged shards give the same load as one process?
 *
 *     node bench/shards.ts [--rate 300] [--seconds 10] [--rounds 3] [--delay 10]
 *
 * Interleaved rounds of one process and of three shards on this machine, with one server that answers after some
 * milliseconds. Everything runs through the command line, including the import. Counts and mix must be exactly equal;
 * latencies are shown together with the differences between rounds of one process.
 */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../src/core/clock.ts';
import { SeededRandom } from '../src/core/random.ts';
import { formatInstantUs } from '../src/core/units.ts';
import type { ReplayDocument } from '../src/documents/replay.ts';
import { RunReader } from '../src/storage/runs/reader.ts';
import { median, quantile } from './support/statistics.ts';

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '300' },
    seconds: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    delay: { type: 'string', default: '10' },
  },
});
const SHARDS = 3;
const SESSIONS = 200;
/** Time until the start, so that every process is ready. */
const LEAD_US = 6_000_000;
const reprise = new URL('../bin/reprise.js', import.meta.url).pathname;
const work = mkdtempSync(join(tmpdir(), 'reprise-shards-'));

async function run(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [reprise, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, said] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [status] = (await once(child, 'close')) as [number];
  // A run on a busy machine may be invalid (4). Its figures are used nevertheless.
  if (status !== 0 && status !== 4) throw new Error(`reprise ${args.join(' ')}: ${status}\n${said}`);
  return out;
}

async function importCapture(): Promise<string> {
  const random = new SeededRandom(1);
  const lines = ['at,session'];
  const [rate, seconds] = [Number(values.rate), Number(values.seconds)];
  for (let at = 0; at < seconds; at += -Math.log((random.nextUint32() + 1) / 2 ** 32) / rate) {
    lines.push(`${at.toFixed(6)},session-${random.below(SESSIONS)}`);
  }
  const [arrivals, bodies] = [join(work, 'arrivals.csv'), join(work, 'bodies.jsonl')];
  writeFileSync(arrivals, `${lines.join('\n')}\n`);
  writeFileSync(
    bodies,
    Array.from({ length: 50 }, (_, n) => JSON.stringify({ n, text: 'x'.repeat(n * 60) })).join('\n'),
  );
  const out = join(work, 'capture');
  const time = ['--time', 'at', '--unit', 's', '--session-field', 'session'];
  await run(
    'import',
    'arrivals',
    arrivals,
    ...time,
    '--payloads',
    bodies,
    '--request-path',
    '/infer',
    '--out',
    out,
  );
  return out;
}

async function playOne(capture: string, target: string, name: string): Promise<ReplayDocument> {
  return JSON.parse(await run('replay', capture, '--target', target, '--json', '--out', join(work, name)));
}

async function playShards(capture: string, target: string, name: string): Promise<ReplayDocument> {
  const start = formatInstantUs(systemClock.epochUs() + LEAD_US);
  const outs = Array.from({ length: SHARDS }, (_, index) => join(work, `${name}-${index}`));
  await Promise.all(
    outs.map((out, index) =>
      run(
        'replay',
        capture,
        '--target',
        target,
        '--out',
        out,
        '--shard',
        `${index}/${SHARDS},start=${start}`,
      ),
    ),
  );
  return JSON.parse(await run('merge', ...outs, '--json', '--out', join(work, name)));
}

function assertEqual(one: ReplayDocument, merged: ReplayDocument): void {
  for (const name of ['planned', 'sent', 'completed', 'failed', 'refused'] as const) {
    if (one[name] !== merged[name])
      throw new Error(`${name}: ${one[name]} by one, ${merged[name]} by shards`);
  }
  const mix = merged.fidelity.mixDistance;
  if (mix !== 0 || JSON.stringify(one.fidelity.planned) !== JSON.stringify(merged.fidelity.planned)) {
    throw new Error(`planned arrivals or mix differ: mix distance ${mix}`);
  }
}

/** One stored run. */
interface Kept {
  readonly document: ReplayDocument;
  readonly serviceMs: readonly number[];
  readonly scheduledMs: readonly number[];
}

function keptIn(name: string, document: ReplayDocument): Kept {
  const reader = new RunReader(join(work, name));
  const [serviceMs, scheduledMs]: [number[], number[]] = [[], []];
  for (const { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs } of reader.sends()) {
    if (actualOffsetNs === null || lastByteOffsetNs === null) continue;
    serviceMs.push((lastByteOffsetNs - actualOffsetNs) / 1e6);
    scheduledMs.push((lastByteOffsetNs - intendedOffsetNs) / 1e6);
  }
  reader.close();
  return { document, serviceMs, scheduledMs };
}

const FIGURES: readonly (readonly [string, (kept: Kept) => number | null])[] = [
  ['service p50, ms', ({ serviceMs }) => quantile(serviceMs, 0.5)],
  ['service p90, ms', ({ serviceMs }) => quantile(serviceMs, 0.9)],
  ['scheduled p50, ms', ({ scheduledMs }) => quantile(scheduledMs, 0.5)],
  ['scheduled p90, ms', ({ scheduledMs }) => quantile(scheduledMs, 0.9)],
  ['lag p50, µs', ({ document }) => document.lagUs.p50],
  ['lag p90, µs', ({ document }) => document.lagUs.p90],
];

async function compare(server: ChildProcess): Promise<void> {
  const [{ port }] = (await once(server, 'message')) as [{ port: number }];
  const target = `http://127.0.0.1:${port}`;
  const capture = await importCapture();
  const [ones, merged]: [Kept[], Kept[]] = [[], []];
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const one = keptIn(`one-${round}`, await playOne(capture, target, `one-${round}`));
    const together = keptIn(`shards-${round}`, await playShards(capture, target, `shards-${round}`));
    assertEqual(one.document, together.document);
    ones.push(one);
    merged.push(together);
  }
  console.log(
    `${ones[0]?.document.sent} requests by one process and by ${SHARDS} shards: counts and mix equal in every round`,
  );
  console.log('figure             one: least .. most (median)        shards: least .. most (median)');
  for (const [name, figure] of FIGURES) {
    const text = (runs: readonly Kept[]) => {
      const each = runs.map((kept) => figure(kept) ?? Number.NaN);
      const [least, most] = [Math.min(...each), Math.max(...each)];
      return `${least.toFixed(3)} .. ${most.toFixed(3)} (${median(each).toFixed(3)})`.padEnd(34);
    };
    console.log(`${name.padEnd(18)} ${text(ones)} ${text(merged)}`);
  }
}

const server = fork(new URL('./support/slow-server.ts', import.meta.url), [values.delay]);
try {
  await compare(server);
} finally {
  server.disconnect();
  rmSync(work, { recursive: true, force: true });
}
