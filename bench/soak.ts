/**
 * Does a recorder stay stable for weeks? Memory, descriptors, log and quota over a long run of mixed traffic.
 *
 *     node bench/soak.ts [--minutes 60] [--rate 150] [--mode wire] [--json]
 *
 * The quota is small and retention short, so that segments are rotated, sealed and deleted all the time. After a
 * warm-up of a quarter of the time (at least 90 s), resident memory must stay within 10 %, and the number of
 * descriptors must stay the same. The write-ahead log and the directory must stay within their limits, and the account
 * must be balanced in every scrape. Otherwise the exit status is 1.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { LIMITS } from '../src/core/limits.ts';
import { childrenOf } from './support/process-cpu.ts';
import { holdingOf, type ProcessHolding } from './support/process-memory.ts';
import { median } from './support/statistics.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    rate: { type: 'string', default: '150' },
    mode: { type: 'string', default: 'wire' },
    json: { type: 'boolean', default: false },
  },
});

const SAMPLE_MS = 2_000;
const MAX_DISK_BYTES = 64 * 1024 * 1024;
const RETAIN = '60s';
const WARM_UP_SHARE = 0.25;
/** Minimum warm-up: in a short run, V8's heap is still growing after a quarter of the time. */
const WARM_UP_LEAST_S = 90;
const MEMORY_DRIFT = 0.1;
/** Compares the minimum of each half, because connections vary with the load, but leaked descriptors stay. */
const DESCRIPTOR_DRIFT = 20;

interface Sample {
  readonly atS: number;
  readonly processes: Readonly<Record<string, ProcessHolding>>;
  readonly walBytes: number;
  readonly directoryBytes: number;
  readonly segments: number;
  readonly imbalance: number;
}

/** Started processes, which are killed at any end of the bench. */
const children: ChildProcess[] = [];
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));

/** Reads a process's output until a line matches. @returns the match */
async function lineOf(stream: NodeJS.ReadableStream, pattern: RegExp): Promise<RegExpExecArray> {
  for await (const line of createInterface({ input: stream })) {
    const match = pattern.exec(line);
    if (match) return match;
  }
  throw new Error(`a process ended before it said ${pattern}`);
}

async function main(): Promise<void> {
  const seconds = Number(values.minutes) * 60;
  const directory = mkdtempSync(join(tmpdir(), 'reprise-soak-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const here = new URL('.', import.meta.url).pathname;
  const server = spawn(
    process.execPath,
    [
      join(here, '../fixtures/model-server/main.ts'),
      '--listen',
      '127.0.0.1:0',
      '--base-ms',
      '1',
      '--per-kib-us',
      '5',
      // A shorter time-out than the clients' would close connections that are just used again, which causes failures.
      '--keep-alive-timeout',
      '10m',
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  children.push(server);
  const [, origin = ''] = await lineOf(server.stdout, /127\.0\.0\.1:(\d+)/);
  const recorder = spawn(
    process.execPath,
    [
      join(here, '../bin/reprise.js'),
      ...['--log-format', 'json', 'record', '--mode', values.mode, '--bodies', 'all'],
      ...['--target', `127.0.0.1:${origin}`, '--listen', '127.0.0.1:0', '--probe-listen', '127.0.0.1:0'],
      ...['--dir', join(directory, 'capture'), '--max-disk', String(MAX_DISK_BYTES), '--retain', RETAIN],
      ...['--drain-delay', '0s'],
    ],
    { stdio: ['ignore', 'inherit', 'pipe'] },
  );
  children.push(recorder);
  const log: string[] = [];
  const lines = createInterface({ input: recorder.stderr });
  lines.on('line', (line) => log.push(line));
  const addresses = /"listen":"127\.0\.0\.1:(\d+)".*"probes":"127\.0\.0\.1:(\d+)"/;
  while (!log.some((line) => addresses.test(line)) || !log.some((line) => line.includes('"HEALTHY"')))
    await sleep(50);
  const [, port = '', probe = ''] = addresses.exec(log.find((line) => addresses.test(line)) ?? '') ?? [];
  const load = spawn(
    process.execPath,
    [join(here, 'support/mixed-load.ts'), port, values.rate, String(seconds), '1'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  children.push(load);
  const said = lineOf(load.stdout, /^(\{.*\})$/);
  const samples: Sample[] = [];
  const startMs = performance.now();
  const ended = once(load, 'close');
  let running = true;
  void ended.then(() => {
    running = false;
  });
  while (running) {
    await Promise.race([sleep(SAMPLE_MS), ended]);
    if (running) samples.push(await sampleOf(recorder.pid ?? 0, join(directory, 'capture'), probe, startMs));
  }
  const report = JSON.parse((await said)[1] as string) as {
    sent: number;
    answered: number;
    failed: string[];
  };
  recorder.kill('SIGTERM');
  const [status] = (await once(recorder, 'close')) as [number | null];
  server.kill('SIGTERM');
  const end = JSON.parse(log.at(-1) ?? '{}') as Record<string, unknown>;
  print(verdictOf(samples, { status, failed: report.failed.length, restarts: restartsIn(log) }), report, end);
}

async function sampleOf(pid: number, directory: string, probe: string, startMs: number): Promise<Sample> {
  const processes: Record<string, ProcessHolding> = { proxy: holdingOf(pid) };
  for (const child of childrenOf(pid)) {
    const name = roleOf(child);
    if (name !== null) processes[name] = holdingOf(child);
  }
  const files = readdirSync(directory);
  const sizeOf = (file: string) => statSync(join(directory, file), { throwIfNoEntry: false })?.size ?? 0;
  const text = await (
    await fetch(`http://127.0.0.1:${probe}/metrics`, { headers: { connection: 'close' } })
  ).text();
  return {
    atS: (performance.now() - startMs) / 1_000,
    processes,
    walBytes: files.filter((file) => file.endsWith('-wal')).reduce((sum, file) => sum + sizeOf(file), 0),
    directoryBytes: files.reduce((sum, file) => sum + sizeOf(file), 0),
    segments: files.filter((file) => file.endsWith('.sqlite')).length,
    imbalance: imbalanceIn(text),
  };
}

/** The role of a child process; null for a process of the seal hook, which is not watched. */
function roleOf(pid: number): string | null {
  try {
    const [, role = null] = /workers\/(recorder)\./.exec(readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? [];
    return role;
  } catch {
    // The process has ended meanwhile.
    return null;
  }
}

function imbalanceIn(metrics: string): number {
  const total = (what: string) => totalIn(metrics, `reprise_${what}`);
  const told = total('recorded_bytes_total') + total('lost_bytes_total') + total('omitted_bytes_total');
  return total('seen_bytes_total') - told - total('pending_bytes');
}

function totalIn(metrics: string, family: string): number {
  return [...metrics.matchAll(new RegExp(`^${family}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  );
}

function restartsIn(log: readonly string[]): number {
  return log.filter((line) => /"message":"recorder ended/.test(line)).length;
}

/** The broken promises as text, and the measured values. */
function verdictOf(
  samples: readonly Sample[],
  run: { status: number | null; failed: number; restarts: number },
) {
  const problems: string[] = [];
  const warmUpS = Math.max(WARM_UP_LEAST_S, WARM_UP_SHARE * (samples.at(-1)?.atS ?? 0));
  const settled = samples.filter(({ atS }) => atS >= warmUpS);
  const half = settled.length >> 1;
  const figures: Record<string, unknown> = {};
  for (const role of ['proxy', 'recorder']) {
    const held = (part: readonly Sample[], what: keyof ProcessHolding) =>
      part.flatMap(({ processes }) => processes[role]?.[what] ?? []);
    const halves = [settled.slice(0, half), settled.slice(half)];
    const [before = 0, after = 0] = halves.map((part) => median(held(part, 'residentBytes')));
    const descriptors = halves.map((part) => Math.min(...held(part, 'descriptors')));
    figures[role] = { residentMib: [mib(before), mib(after)], descriptors };
    if (Math.abs(after - before) > before * MEMORY_DRIFT)
      problems.push(`${role}: memory went from ${mib(before)} to ${mib(after)} MiB`);
    if (Math.abs((descriptors[1] ?? 0) - (descriptors[0] ?? 0)) > DESCRIPTOR_DRIFT)
      problems.push(`${role}: descriptors went from ${descriptors[0]} to ${descriptors[1]}`);
  }
  const most = (of: (sample: Sample) => number) => Math.max(...samples.map(of));
  const walBytes = most((sample) => sample.walBytes);
  const directoryBytes = most((sample) => sample.directoryBytes);
  if (walBytes > LIMITS.walBytes) problems.push(`the log grew to ${mib(walBytes)} MiB`);
  if (directoryBytes > MAX_DISK_BYTES) problems.push(`the directory grew to ${mib(directoryBytes)} MiB`);
  if (samples.some(({ imbalance }) => imbalance !== 0)) problems.push('the account did not hold in a scrape');
  if (run.failed > 0) problems.push(`${run.failed} requests failed`);
  if (run.restarts > 0) problems.push(`${run.restarts} processes ended`);
  if (run.status !== 0) problems.push(`the recorder ended with ${run.status}`);
  const segments = most((sample) => sample.segments);
  return {
    problems,
    samples: samples.length,
    ...figures,
    walMib: mib(walBytes),
    directoryMib: mib(directoryBytes),
    segments,
  };
}

function print(verdict: ReturnType<typeof verdictOf>, report: object, end: Record<string, unknown>): void {
  const { failed, ...load } = report as { failed: string[] };
  const { seen, recorded, lost, omitted } = end;
  const document = {
    ...verdict,
    load: { ...load, failed: failed.slice(0, 5) },
    end: { seen, recorded, lost, omitted },
  };
  process.stdout.write(`${JSON.stringify(document, null, values.json ? 0 : 2)}\n`);
  if (verdict.problems.length > 0) process.exitCode = 1;
}

function mib(bytes: number): number {
  return Math.round(bytes / 1024 / 102.4) / 10;
}

await main();
