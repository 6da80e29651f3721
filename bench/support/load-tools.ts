import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  globSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/core/clock.ts';
import { goProgram, pythonWith, systemProgram } from '../../test/support/peer-tools.ts';
import { type ArrivalErrors, arrivalErrors, type PlanStart } from './arrival-errors.ts';
import type { ArrivalPlan } from './arrival-plan.ts';
import type { ArrivalTarget } from './arrival-target.ts';
import { treeCpuUsOf } from './process-cpu.ts';

export const VEGETA = 'github.com/tsenart/vegeta/v12@v12.13.0';
export const LOCUST = ['locust==2.47.0'];
/**
 * AIPerf needs a tokenizer even for payloads that it sends unchanged. The tokenizer of `anthropic` needs no network.
 */
export const AIPERF = ['aiperf==0.13.0', 'anthropic==0.38.0'];
/** No screen, no metrics of servers or GPUs, and only the summary as files, because each costs AIPerf time. */
export const AIPERF_QUIET = [
  ...['--ui', 'none', '--no-server-metrics', '--no-gpu-telemetry'],
  ...['--export-level', 'summary'],
];
/** A late tool has this time after the last planned instant to send the rest. */
const LATE_MS = 20_000;
/** CPU time is read this often. A tool's shell outlives the tool for three times as long. */
const CPU_EVERY_MS = 100;

/** The load that a tool sends. */
export interface Job {
  readonly name: string;
  readonly plan: ArrivalPlan;
  readonly ratePerSecond: number;
  readonly seconds: number;
  /** The first requests, which are a warm-up. */
  readonly warmRequests: number;
  /** The same plan as a capture. */
  readonly capture: string;
  readonly body: Buffer;
  readonly bodyFile: string;
  readonly directory: string;
  /** Called with the tool's first process when requests begin to arrive. */
  readonly onRunning?: (pid: number) => void;
}

/** The parts of the replay document that benches read. */
export interface ReplayDocument {
  readonly planned: number;
  readonly sent: number;
  readonly completed: number;
  readonly startedAt: string;
  readonly valid: boolean;
  readonly reasons: readonly { readonly code: string }[];
  readonly lagUs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  readonly fidelity: { readonly planned: Dispersion; readonly sent: Dispersion };
  readonly health: { readonly busyShare: number | null; readonly niceness?: number | null };
}

interface Dispersion {
  readonly cv: number | null;
  readonly idc: Readonly<Record<string, number | null>>;
}

export interface Played {
  readonly errors: ArrivalErrors;
  /** Index and instant of each arrival. */
  readonly pairs: Float64Array;
  /** User and system time of all the tool's processes from the first to the last arrival, per request. */
  readonly cpuUsPerRequest: number;
  /** Requests that arrived, divided by the time from the first to the last. */
  readonly achievedPerSecond: number;
  /** The document of a replay by Reprise; null for other tools. */
  readonly document: ReplayDocument | null;
  readonly startNs: number | null;
}

export interface LoadTool {
  readonly name: string;
  readonly startIs: 'known' | 'fitted';
  play(target: ArrivalTarget, job: Job): Promise<Played>;
}

/** A tool that can run, or the reason why it cannot. */
export type FoundTool = LoadTool | { readonly name: string; readonly missing: string };

export function reprise(flags: readonly string[] = []): LoadTool {
  const bin = fileURLToPath(new URL('../../bin/reprise.js', import.meta.url));
  return {
    name: ['reprise', ...flags].join(' '),
    startIs: 'known',
    play: async (target, job) => {
      const anchor = systemClock.anchor();
      const out = join(job.directory, `run-${systemClock.nowNs()}`);
      const args = [bin, 'replay', job.capture, '--target', `http://127.0.0.1:${target.port}`, '--json'];
      const tool = startTool(process.execPath, [...args, '--out', out, ...flags]);
      const { stdout, run } = await watched(tool, target, job);
      const document = JSON.parse(stdout) as ReplayDocument;
      // `startedAt` has microseconds and comes from a pairing of the two clocks, as here.
      const startNs = anchor.monotonicNs + (epochUsOf(document.startedAt) - anchor.epochUs) * 1e3;
      return { ...run({ startNs }), document, startNs };
    },
  };
}

/**
 * vegeta with the least work: it repeats one request and keeps nothing.
 * @param niceness one below 0 needs the right to it
 */
export function vegeta(niceness = 0): FoundTool {
  return attacker('vegeta', niceness, (job, port) => {
    const targets = join(job.directory, 'targets');
    writeFileSync(targets, `POST http://127.0.0.1:${port}/v\nContent-Type: application/json\n`);
    return ['-targets', targets, '-body', job.bodyFile, '-output', '/dev/null'];
  });
}

/** vegeta with the work of a replay: it reads each request of the plan and keeps a result of each. */
export function vegetaReplaying(): FoundTool {
  return attacker('vegeta, replaying', 0, (job, port) => {
    const targets = join(job.directory, 'targets.ndjson');
    writeTargets(targets, job, port);
    return ['-format', 'json', '-lazy', '-targets', targets, '-output', join(job.directory, 'results.bin')];
  });
}

function attacker(name: string, niceness: number, inputOf: (job: Job, port: number) => string[]): FoundTool {
  const found = goProgram(VEGETA, 'vegeta');
  if ('missing' in found) return { name, missing: found.missing };
  return {
    name,
    startIs: 'fitted',
    play: async (target, job) => {
      const schedule = ['-rate', `${job.ratePerSecond}/1s`, '-duration', `${job.seconds}s`];
      const command = ['-n', String(niceness), found.path, 'attack', ...schedule];
      const tool = startTool('nice', [...command, ...inputOf(job, target.port)]);
      const { run } = await watched(tool, target, job);
      return { ...run('fitted'), document: null, startNs: null };
    },
  };
}

/** Writes one line for each request of a plan. Written line by line, because all lines are too long for one string. */
function writeTargets(file: string, { plan, body }: Job, port: number): void {
  const header = { 'Content-Type': ['application/json'], Accept: ['*/*'] };
  const text = body.toString('base64');
  const line = (index: number): string =>
    `${JSON.stringify({ method: 'POST', url: `http://127.0.0.1:${port}/${index}`, header, body: text })}\n`;
  const fd = openSync(file, 'w');
  try {
    for (const index of plan.keys()) writeSync(fd, line(index));
  } finally {
    closeSync(fd);
  }
}

export function locust(): FoundTool {
  const found = pythonWith(LOCUST);
  if ('missing' in found) return { name: 'locust', missing: found.missing };
  const script = fileURLToPath(new URL('./locust_replay.py', import.meta.url));
  return {
    name: 'locust',
    startIs: 'known',
    play: async (target, job) => {
      const { environment, startNs } = planFiles(job);
      const args = ['-m', 'locust', '-f', script, '--headless', '--users', '1', '--only-summary'];
      const host = `http://127.0.0.1:${target.port}`;
      const tool = startTool(found.path, [...args, '--host', host], environment);
      const { run } = await watched(tool, target, job);
      return { ...run({ startNs: startNs() }), document: null, startNs: startNs() };
    },
  };
}

/**
 * AIPerf with its fixed schedule: one trace line for each request. A line cannot hold the request's number, so arrivals
 * are paired with the plan in their order. This favours AIPerf.
 */
export function aiperf(): FoundTool {
  const found = pythonWith(AIPERF);
  if ('missing' in found) return { name: 'aiperf', missing: found.missing };
  return {
    name: 'aiperf',
    startIs: 'fitted',
    play: async (target, job) => {
      const trace = join(job.directory, 'trace.jsonl');
      writeTrace(trace, job);
      const url = ['--model', 'bench', '--url', `http://127.0.0.1:${target.port}`, '--endpoint-type', 'raw'];
      const schedule = ['--custom-dataset-type', 'mooncake_trace', '--input-file', trace, '--fixed-schedule'];
      const tokenizer = ['--tokenizer', tokenizerOf(found.path, job.directory)];
      const out = ['--artifact-dir', join(job.directory, 'aiperf')];
      const command = join(dirname(found.path), 'aiperf');
      const tool = startTool(command, [
        'profile',
        ...url,
        ...schedule,
        ...tokenizer,
        ...AIPERF_QUIET,
        ...out,
      ]);
      const { run } = await watched(tool, target, job);
      return { ...run('fitted'), document: null, startNs: null };
    },
  };
}

/**
 * Writes one line for each request of a plan, with its instant in milliseconds. The payload has the size of the job's
 * body.
 */
function writeTrace(file: string, { plan, body }: Job): void {
  const padded = (pad: string): object => ({ pad });
  const payload = padded('x'.repeat(body.length - JSON.stringify(padded('')).length));
  const fd = openSync(file, 'w');
  try {
    for (const offsetUs of plan) writeSync(fd, `${JSON.stringify({ timestamp: offsetUs / 1e3, payload })}\n`);
  } finally {
    closeSync(fd);
  }
}

/** The tokenizer in a package of this Python, as a directory that AIPerf can load. */
export function tokenizerOf(python: string, directory: string): string {
  const [file] = globSync(join(dirname(dirname(python)), 'lib/*/site-packages/anthropic/tokenizer.json'));
  if (file === undefined) throw new Error(`${python} has no anthropic/tokenizer.json`);
  const home = join(directory, 'tokenizer');
  mkdirSync(home, { recursive: true });
  copyFileSync(file, join(home, 'tokenizer.json'));
  writeFileSync(join(home, 'tokenizer_config.json'), '{"tokenizer_class":"PreTrainedTokenizerFast"}');
  return home;
}

/** The reference, not a tool: a sender that waits busily on a core of its own. */
export function awake(): LoadTool {
  const script = fileURLToPath(new URL('./awake-sender.ts', import.meta.url));
  return {
    name: 'waiting awake',
    startIs: 'known',
    play: async (target, job) => {
      const { environment, startNs } = planFiles(job);
      const tool = startTool(process.execPath, [script], { ...environment, BENCH_PORT: String(target.port) });
      const { run } = await watched(tool, target, job);
      return { ...run({ startNs: startNs() }), document: null, startNs: startNs() };
    },
  };
}

/** The files of a job for our own senders: the plan, the body, and the start that the sender writes. */
function planFiles(job: Job): { environment: Record<string, string>; startNs: () => number } {
  const [plan, start] = [join(job.directory, 'plan.json'), join(job.directory, 'start')];
  writeFileSync(plan, JSON.stringify(job.plan));
  return {
    environment: { BENCH_PLAN: plan, BENCH_BODY: job.bodyFile, BENCH_START: start },
    startNs: () => Number(readFileSync(start, 'utf8')),
  };
}

/** The highest rate of this host, in requests per second: wrk with one thread and 64 connections. */
export async function wrkCeiling(
  target: ArrivalTarget,
  job: Job,
): Promise<number | { readonly missing: string }> {
  const found = systemProgram('wrk');
  if ('missing' in found) return found;
  const script = join(job.directory, 'post.lua');
  writeFileSync(
    script,
    `wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nlocal file = io.open("${job.bodyFile}", "rb")\nwrk.body = file:read("*a")\n`,
  );
  target.expect(1);
  const args = ['-t1', '-c64', `-d${job.seconds}s`, '-s', script, `http://127.0.0.1:${target.port}/0`];
  const tool = startTool(found.path, args);
  const { stdout } = await ended(tool);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
}

/**
 * Starts a tool below a shell that outlives it for a moment. The CPU time of an ended process counts for its parent,
 * and is lost when the parent ends too.
 */
export function startTool(command: string, args: readonly string[], environment = {}): ChildProcess {
  const script = '"$@"; status=$?; sleep 0.3; exit $status';
  return spawn('sh', ['-c', script, 'sh', command, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
}

/** Runs a tool to its end, measures its CPU time while requests arrive, and reads the arrivals. */
export async function watched(
  tool: ChildProcess,
  target: ArrivalTarget,
  job: Job,
): Promise<{ stdout: string; run: (start: PlanStart) => Omit<Played, 'document' | 'startNs'> }> {
  target.expect(job.plan.length);
  const end = ended(tool);
  // A tool that ends before its first request has failed, and reports the error itself.
  await Promise.race([target.first, end]);
  const before = treeCpuUsOf(tool.pid as number);
  job.onRunning?.(tool.pid as number);
  let cpuUs = 0;
  // A tool that sends less than planned ends without a last request. Its CPU time was read before it ended.
  const reading = setInterval(() => {
    if (tool.exitCode === null) cpuUs = treeCpuUsOf(tool.pid as number) - before;
  }, CPU_EVERY_MS);
  await Promise.race([target.last(job.seconds * 1e3 + LATE_MS), end]);
  clearInterval(reading);
  if (tool.exitCode === null) cpuUs = treeCpuUsOf(tool.pid as number) - before;
  const { stdout } = await end;
  const { pairs, bodyBytes } = await target.report();
  numberInOrder(pairs);
  const arrived = pairs.length / 2;
  if (bodyBytes !== arrived * job.body.length)
    throw new Error(`of ${arrived} bodies ${bodyBytes} bytes came`);
  const spanS = ((pairs.at(-1) as number) - (pairs[1] as number)) / 1e9;
  const run = (start: PlanStart): Omit<Played, 'document' | 'startNs'> => ({
    errors: arrivalErrors(pairs, job.plan, start, job.warmRequests),
    pairs,
    cpuUsPerRequest: cpuUs / arrived,
    achievedPerSecond: (arrived - 1) / spanS,
  });
  return { stdout, run };
}

/** Numbers the requests in their order, if the tool sends no numbers. */
function numberInOrder(pairs: Float64Array): void {
  for (let at = 0; at < pairs.length; at += 2) if (pairs[at] !== -1) return;
  for (let at = 0; at < pairs.length; at += 2) pairs[at] = at / 2;
}

/** @throws Error for an exit status other than 0 and 4. After 4, the document says why the replay is not valid. */
async function ended(tool: ChildProcess): Promise<{ stdout: string }> {
  const texts: Record<'stdout' | 'stderr', string> = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    tool[name]?.on('data', (chunk: Buffer) => {
      texts[name] += chunk.toString();
    });
  }
  const [code] = (await once(tool, 'close')) as [number | null];
  if (code !== 0 && code !== 4) throw new Error(`${tool.spawnfile} ended with ${code}: ${texts.stderr}`);
  return { stdout: texts.stdout };
}

function epochUsOf(text: string): number {
  const fraction = /\.(\d+)Z$/.exec(text)?.[1] ?? '';
  return Math.floor(Date.parse(text) / 1e3) * 1e6 + Number(fraction.padEnd(6, '0').slice(0, 6));
}
