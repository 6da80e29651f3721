/**
 * How exactly do requests reach the target, compared with vegeta, Locust and AIPerf, and with the rate of wrk?
 *
 *     node bench/replay.ts [--rounds 5] [--seconds 10] [--warm 4] [--long 200] [--only even,poisson,…] [--highest 8000,10000,…] [--monitors 4] [--telemetry] [--with=FLAGS]
 *
 * All tools have the same target, a separate process. Times of arrivals are on the host's monotonic clock. In the first
 * three stages the kernel takes them, if there is a python3; else, and in the others, the target as it reads. Every tool
 * runs as a user would run it; Reprise replays a capture by its command line. Stages:
 *
 * - `even`: 1,000/s, evenly, all tools interleaved round by round, and a bare sender that spins. Its lateness is that
 * of   target and host. Figures are of warm tools: each sends for `--warm` seconds before them. Options for Reprise
 * alone,   with and without: `--monitors N`, N monitors, each of a server with a thousand series; `--telemetry`, OTLP
 * and remote   write to a receiver that accepts everything; `--with="--threads 2"`, these flags. All chosen ones are
 * interleaved,   and must be within the bounds on arrivals.
 * - `trace`: the arrivals of a recorded trace at 100/s, all tools that can send at given instants.
 * - `beside`: 100/s, evenly, beside two busy loops: Reprise and vegeta, at the priority that Reprise gives its threads.
 *   Where the system does not allow it, both have the usual one, and the result is only printed.
 * - `poisson`: 1,000/s for `--long` seconds, Reprise alone: dispersion at 0.1, 1 and 10 s, and drift.
 * - `fast`: 5,000/s, a Poisson process, Reprise alone; sender and target have their own cores by `taskset`.
 * - `cost`: CPU per request at `--cost` requests/s, for Reprise and vegeta: with one request that is not stored, and
 *   with the work of a replay.
 * - `highest`: increasing rates, Reprise alone on one sender, until it achieves less than 99 %; compared with wrk.
 *
 * Error of arrival = arrival − (start + planned offset). Reprise and the Locust dispatcher report their start. Vegeta
 * and AIPerf do not, so their start is fitted such that their earliest arrival has no error. This favours them by their
 * own smallest latency. For Reprise, the figures with a fitted start are also shown.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SUPERVISION } from '../src/core/limits.ts';
import { mayHaveNiceness } from '../test/support/host-abilities.ts';
import { systemProgram } from '../test/support/peer-tools.ts';
import { arrivalErrors, dispersionErrors } from './support/arrival-errors.ts';
import { type ArrivalPlan, captureOf, evenPlan, poissonPlan, tracePlan } from './support/arrival-plan.ts';
import { ArrivalTarget } from './support/arrival-target.ts';
import { BesideReplay } from './support/beside-replay.ts';
import { withinBounds } from './support/judgement.ts';
import {
  aiperf,
  awake,
  type Job,
  type LoadTool,
  locust,
  type Played,
  reprise,
  vegeta,
  vegetaReplaying,
  wrkCeiling,
} from './support/load-tools.ts';
import { allCores, pinSender, runOn } from './support/pinning.ts';
import { median } from './support/statistics.ts';

const STAGES = ['even', 'trace', 'beside', 'poisson', 'fast', 'cost', 'highest'] as const;
const BODY_BYTES = 2_048;
/** Bounds on arrivals at the target: evenly at 1,000/s, and of a trace at 100/s. */
const MOST_US = {
  even: { 'p50 µs': 60, 'p90 µs': 150, 'p99 µs': 600 },
  trace: { 'p50 µs': 150, 'p90 µs': 400, 'p99 µs': 1_000 },
};
const BUSY_LOOPS = 2;
/** A busy loop that is left behind ends by itself. */
const LOOPS_MAX_S = 3_600;
type Rows = Readonly<Record<string, Readonly<Record<string, number | string>>>>;

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '10' },
    warm: { type: 'string', default: '4' },
    long: { type: 'string', default: '200' },
    only: { type: 'string', default: STAGES.join(',') },
    highest: { type: 'string', default: '8000,10000,12000,14000,16000,18000,20000' },
    cost: { type: 'string', default: '5000' },
    monitors: { type: 'string', default: '0' },
    telemetry: { type: 'boolean', default: false },
    with: { type: 'string', default: '' },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const WARM_SECONDS = Number(flags.warm);
const directory = mkdtempSync(join(tmpdir(), 'reprise-replay-'));
const bodyFile = join(directory, 'body');
const body = Buffer.alloc(BODY_BYTES, 'payload ');
writeFileSync(bodyFile, body);
const report: Record<string, unknown> = {};

function jobOf(
  name: string,
  plan: ArrivalPlan,
  ratePerSecond: number,
  seconds: number,
  warmRequests = 0,
): Job {
  const capture = captureOf(plan, body, directory, name);
  return { name, plan, ratePerSecond, seconds, warmRequests, capture, body, bodyFile, directory };
}

function toolsThere(): LoadTool[] {
  return [reprise(), vegeta(), vegetaReplaying(), locust(), aiperf()].filter((tool) => {
    if (!('missing' in tool)) return true;
    console.log(`${tool.name} is left out: ${tool.missing}`);
    return false;
  }) as LoadTool[];
}

/** Runs a job and compares arrivals with the plan, because a fast but wrong run must not count, least of all ours. */
async function play(tool: LoadTool, job: Job, target: ArrivalTarget): Promise<Played> {
  const played = await tool.play(target, job);
  if (played.errors.arrived !== job.plan.length) {
    const said = `${tool.name}: planned ${job.plan.length}, arrived ${played.errors.arrived}`;
    if (played.document !== null) throw new Error(said);
    console.log(said);
  }
  return played;
}

function medians(rounds: readonly Played[], of: (one: Played) => number | null | undefined): number {
  return Number(median(rounds.map((one) => of(one) ?? Number.NaN)).toPrecision(3));
}

function rowOf(rounds: readonly Played[], job: Job): Record<string, number | string> {
  const fitted = rounds.map(({ pairs }) => arrivalErrors(pairs, job.plan, 'fitted', job.warmRequests));
  return {
    'p50 µs': medians(rounds, ({ errors }) => errors.p50Us),
    'p90 µs': medians(rounds, ({ errors }) => errors.p90Us),
    'p99 µs': medians(rounds, ({ errors }) => errors.p99Us),
    'max µs': medians(rounds, ({ errors }) => errors.maxUs),
    'fitted p50': Number(median(fitted.map(({ p50Us }) => p50Us)).toPrecision(3)),
    'fitted p90': Number(median(fitted.map(({ p90Us }) => p90Us)).toPrecision(3)),
    'fitted p99': Number(median(fitted.map(({ p99Us }) => p99Us)).toPrecision(3)),
    'drift µs': medians(rounds, ({ errors }) => errors.driftUs),
    'CPU µs/request': medians(rounds, ({ cpuUsPerRequest }) => cpuUsPerRequest),
    'lag p50 µs': medians(rounds, ({ document }) => document?.lagUs.p50),
    'lag p90': medians(rounds, ({ document }) => document?.lagUs.p90),
    'lag p99': medians(rounds, ({ document }) => document?.lagUs.p99),
    niceness: [...new Set(rounds.map(({ document }) => document?.health.niceness ?? ''))].join(' '),
    judged: [...new Set(rounds.map(judgement))].join(' '),
  };
}

function judgement({ document }: Played): string {
  if (document === null) return '';
  return document.valid ? 'valid' : document.reasons.map(({ code }) => code).join(' ');
}

/** Several tools run a job in turn, round by round. @returns the shown figures of each */
async function interleaved(tools: readonly LoadTool[], job: Job, target: ArrivalTarget): Promise<Rows> {
  const rounds = new Map<string, Played[]>(tools.map(({ name }) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const tool of tools) rounds.get(tool.name)?.push(await play(tool, job, target));
  }
  const rows = Object.fromEntries([...rounds].map(([name, all]) => [name, rowOf(all, job)]));
  console.table(rows);
  report[job.name] = rows;
  return rows;
}

/** All tools at an even 1,000/s, or Reprise alone with options that must cost nothing. */
async function evenly(tools: readonly LoadTool[], target: ArrivalTarget): Promise<void> {
  const monitored = await BesideReplay.monitors(Number(flags.monitors));
  const received = await BesideReplay.receiver();
  const asked = flags.with.split(' ').filter((flag) => flag !== '');
  const beside: LoadTool[] = [
    ...(flags.monitors === '0' ? [] : [{ ...reprise(monitored.flags), name: `${flags.monitors} monitors` }]),
    ...(flags.telemetry ? [{ ...reprise(received.flags), name: 'telemetry' }] : []),
    ...(asked.length === 0 ? [] : [{ ...reprise(asked), name: asked.join(' ') }]),
  ];
  const contenders = beside.length > 0 ? [reprise(), ...beside] : [...tools, awake()];
  const seconds = WARM_SECONDS + SECONDS;
  const job = jobOf('even', evenPlan(1_000, seconds), 1_000, seconds, 1_000 * WARM_SECONDS);
  const rows = await interleaved(contenders, job, target);
  const isUnasked =
    (flags.monitors !== '0' && monitored.requests === 0) || (flags.telemetry && received.requests === 0);
  if (isUnasked) throw new Error('monitors or telemetry: nothing came');
  monitored.stop();
  received.stop();
  judge(rows, beside.length > 0 ? Object.keys(rows) : ['reprise'], MOST_US.even);
}

/** A recorded trace at 100/s. vegeta has constant rates only. */
async function traced(tools: readonly LoadTool[], target: ArrivalTarget): Promise<void> {
  const seconds = WARM_SECONDS + SECONDS;
  const job = jobOf('trace', tracePlan(100, seconds), 100, seconds, 100 * WARM_SECONDS);
  const following = tools.filter(({ name }) => !name.startsWith('vegeta'));
  judge(await interleaved([...following, awake()], job, target), ['reprise'], MOST_US.trace);
}

/** Even 100/s on a host whose processors are taken. */
async function besideLoops(target: ArrivalTarget): Promise<void> {
  const mayBeFirst = mayHaveNiceness(SUPERVISION.sendingNiceness);
  const niceness = mayBeFirst ? SUPERVISION.sendingNiceness : 0;
  const other = vegeta(niceness);
  if ('missing' in other) console.log(`${other.name} is left out: ${other.missing}`);
  const tools = 'missing' in other ? [reprise()] : [reprise(), other];
  const seconds = WARM_SECONDS + SECONDS;
  const job = jobOf('beside', evenPlan(100, seconds), 100, seconds, 100 * WARM_SECONDS);
  const loops = Array.from({ length: BUSY_LOOPS }, () =>
    spawn('timeout', ['--foreground', String(LOOPS_MAX_S), 'sh', '-c', 'while :; do :; done']),
  );
  console.log(`beside ${BUSY_LOOPS} busy loops, niceness ${niceness}`);
  try {
    const rows = await interleaved(tools, job, target);
    const vegetas = rows[other.name];
    if (!mayBeFirst || vegetas === undefined) return;
    judge(rows, ['reprise'], { 'p90 µs': Number(vegetas['p90 µs']), 'p99 µs': Number(vegetas['p99 µs']) });
  } finally {
    for (const loop of loops) loop.kill();
  }
}

/** Compares figures of these tools with their bounds. */
function judge(rows: Rows, tools: readonly string[], bounds: Readonly<Record<string, number>>): void {
  const figures = tools.flatMap((name) =>
    Object.entries(bounds).map(([figure, bound]) => ({
      figure: `${name}: ${figure}`,
      bound,
      value: Number(rows[name]?.[figure]),
    })),
  );
  if (!withinBounds(ROUNDS, figures)) process.exitCode = 1;
}

async function longPoisson(target: ArrivalTarget): Promise<void> {
  const seconds = Number(flags.long);
  const job = jobOf('poisson', poissonPlan(1_000, seconds), 1_000, seconds);
  const played = await play(reprise(), job, target);
  const { planned, sent } = played.document?.fidelity ?? {};
  const arrived = dispersionErrors(played.pairs, job.plan, played.startNs ?? 0);
  const idc = ['0.1', '1', '10'].map((window) => {
    const off = (sent?.idc[window] ?? Number.NaN) / (planned?.idc[window] ?? Number.NaN) - 1;
    return [window, { 'sent off plan %': percent(off), 'arrived off plan %': percent(arrived[window]) }];
  });
  console.table({ reprise: rowOf([played], job) });
  console.table(Object.fromEntries(idc));
  report['poisson'] = { ...rowOf([played], job), idc: Object.fromEntries(idc) };
}

async function highest(target: ArrivalTarget): Promise<void> {
  const rows: Record<string, Record<string, number | string>> = {};
  for (const rate of flags.highest.split(',').map(Number)) {
    const seconds = Math.min(SECONDS, 5);
    const job = jobOf(`highest-${rate}`, evenPlan(rate, seconds), rate, seconds);
    const played = await play(reprise(), job, target);
    const achieved = played.achievedPerSecond / rate;
    rows[`${rate}/s`] = {
      'achieved %': percent(achieved),
      'p50 µs': Math.round(played.errors.p50Us),
      'p99 µs': Math.round(played.errors.p99Us),
      'sender busy %': percent(played.document?.health.busyShare ?? Number.NaN),
      'CPU µs/request': Number(played.cpuUsPerRequest.toPrecision(3)),
      judged: judgement(played),
    };
    if (achieved < 0.99) break;
  }
  console.table(rows);
  const job = jobOf('ceiling', evenPlan(10, 1), 10, Math.min(SECONDS, 5));
  const ceiling = await wrkCeiling(target, job);
  if (typeof ceiling === 'number') console.log(`wrk, one thread, 64 connections: ${Math.round(ceiling)}/s`);
  else console.log(`wrk is left out: ${ceiling.missing}`);
  report['highest'] = { rows, wrkPerSecond: typeof ceiling === 'number' ? Math.round(ceiling) : null };
}

/** A share in percent; `-` if it is unknown: too few windows, or no document. */
function percent(share: number | undefined): number | '-' {
  const value = (share ?? Number.NaN) * 100;
  return Number.isFinite(value) ? Number(value.toFixed(2)) : '-';
}

const stages = flags.only.split(',');
const load = loadavg()[0]?.toFixed(1);
console.log(
  `replay: ${BODY_BYTES} B POST, medians of ${ROUNDS} rounds of ${SECONDS} s, load average ${load}`,
);
const target = await ArrivalTarget.start();
const python = systemProgram('python3');
if ('missing' in python) console.log(`the target takes the times itself: ${python.missing}`);
const stamped = 'missing' in python ? target : await ArrivalTarget.startStamped(python.path);
try {
  const tools = toolsThere();
  if (stages.includes('even')) await evenly(tools, stamped);
  if (stages.includes('trace')) await traced(tools, stamped);
  if (stages.includes('beside')) await besideLoops(stamped);
  if (stages.includes('poisson')) await longPoisson(target);
  if (stages.includes('fast')) {
    runOn('0', target.pid, true);
    const job = jobOf('fast', poissonPlan(5_000, SECONDS), 5_000, SECONDS);
    await interleaved(tools.slice(0, 1), { ...job, onRunning: pinSender }, target);
    runOn(allCores, target.pid, true);
  }
  if (stages.includes('cost')) {
    const rate = Number(flags.cost);
    const there = tools.filter(({ name }) => name !== 'locust' && name !== 'aiperf');
    await interleaved(there, jobOf('cost', evenPlan(rate, SECONDS), rate, SECONDS), target);
  }
  if (stages.includes('highest')) await highest(target);
} finally {
  target.stop();
  if (stamped !== target) stamped.stop();
  rmSync(directory, { recursive: true });
}
const host = { node: process.version, cores: availableParallelism(), loadAverage: loadavg() };
console.log(JSON.stringify({ bench: 'replay', rounds: ROUNDS, seconds: SECONDS, ...host, report }));
