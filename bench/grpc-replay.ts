/**
 * How exactly do gRPC calls and their messages reach the target, compared with ghz? How many can one sender send?
 *
 *     node bench/grpc-replay.ts [--rounds 7] [--seconds 10] [--warm 4] [--only slow,fast,streams,limit,highest]
 *
 * The target is a separate process on raw sockets, and the kernel takes the time of each message. Stages:
 *
 * - `slow`, `fast`: unary calls of 2 KB at an even 200/s and 1,000/s; Reprise and ghz in turn.
 * - `streams`: 20 bidirectional streams a second, each with ten messages 20 ms apart.
 * - `limit`: 1,000/s to a target that answers after 20 ms and takes ten calls at a time on a connection.
 * - `highest`: 6,000/s from one sender.
 *
 * Error of arrival = arrival − (start + planned offset). ghz does not report its start, so it is fitted such that its
 * earliest arrival has no error.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemProgram } from '../test/support/peer-tools.ts';
import { evenPlan } from './support/arrival-plan.ts';
import { ArrivalTarget } from './support/arrival-target.ts';
import { ghz } from './support/ghz.ts';
import { callsOf } from './support/grpc-plan.ts';
import { type Bounded, withinBounds } from './support/judgement.ts';
import { type Job, type LoadTool, type Played, reprise } from './support/load-tools.ts';
import { median, quantile } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '10' },
    warm: { type: 'string', default: '4' },
    only: { type: 'string', default: 'slow,fast,streams,limit,highest' },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const WARM_SECONDS = Number(flags.warm);
const MESSAGE_BYTES = 2_043;
const NO_LIMIT = 2 ** 31 - 1;
/** Messages of a stream, and the time between them. */
const [MESSAGES, APART_US] = [10, 20_000];

interface Stage {
  readonly name: string;
  readonly callsPerSecond: number;
  readonly offsetsUs: readonly number[];
  readonly streams: number;
  readonly delayMs: number;
  readonly isCompared: boolean;
  /** Upper limits of figures of Reprise. */
  readonly bounds: Readonly<Record<string, number>>;
}

const ON_TIME = { 'p50 µs': 300, 'p99 µs': 3_000 };
const UNARY = { offsetsUs: [0], streams: NO_LIMIT, delayMs: 0, isCompared: false } as const;
const STAGES: readonly Stage[] = [
  { ...UNARY, name: 'slow', callsPerSecond: 200, isCompared: true, bounds: ON_TIME },
  { ...UNARY, name: 'fast', callsPerSecond: 1_000, isCompared: true, bounds: ON_TIME },
  {
    ...UNARY,
    name: 'streams',
    callsPerSecond: 20,
    offsetsUs: Array.from({ length: MESSAGES }, (_, nth) => nth * APART_US),
    bounds: { 'p95 µs': 2_000 },
  },
  { ...UNARY, name: 'limit', callsPerSecond: 1_000, streams: 10, delayMs: 20, bounds: ON_TIME },
  { ...UNARY, name: 'highest', callsPerSecond: 6_000, bounds: { 'missing %': 1 } },
];

const directory = mkdtempSync(join(tmpdir(), 'reprise-grpc-replay-'));
const python = systemProgram('python3');
if ('missing' in python) throw new Error(`the target needs Python: ${python.missing}`);
const target = await ArrivalTarget.startStamped(python.path);
const report: Record<string, unknown> = {};
const figures: Bounded[] = [];

function jobOf({ name, callsPerSecond, offsetsUs }: Stage): Job {
  const seconds = WARM_SECONDS + SECONDS;
  const plan = evenPlan(callsPerSecond, seconds);
  const { capture, messages, first } = callsOf(plan, offsetsUs, MESSAGE_BYTES, directory, name);
  const ratePerSecond = callsPerSecond * offsetsUs.length;
  const warmRequests = ratePerSecond * WARM_SECONDS;
  return {
    ...{ name, plan: messages, ratePerSecond, seconds, warmRequests },
    ...{ capture, body: first, bodyFile: '', directory },
  };
}

/** Errors of the messages after the warm-up, µs, by the start of the tool; else by the earliest. */
function errorsUs({ pairs, startNs }: Played, { plan, warmRequests }: Job): number[] {
  const offPlan: number[] = [];
  for (let at = 0; at < pairs.length; at += 2) {
    const index = pairs[at] as number;
    if (index >= warmRequests) offPlan.push((pairs[at + 1] as number) - (plan[index] as number) * 1e3);
  }
  const zeroNs = startNs ?? offPlan.reduce((least, ns) => Math.min(least, ns), Number.POSITIVE_INFINITY);
  return offPlan.map((ns) => (ns - zeroNs) / 1e3);
}

function rowOf(rounds: readonly Played[], job: Job): Record<string, number | string> {
  const errors = rounds.map((played) => errorsUs(played, job));
  const at = (share: number) => Math.round(median(errors.map((all) => quantile(all, share))));
  const missing = rounds.map(({ achievedPerSecond }) => 100 * (1 - achievedPerSecond / job.ratePerSecond));
  const judged = rounds.map(({ document }) =>
    document === null || document.valid ? '' : document.reasons.map(({ code }) => code).join(' '),
  );
  return {
    'p50 µs': at(0.5),
    'p95 µs': at(0.95),
    'p99 µs': at(0.99),
    'missing %': Number(Math.max(0, median(missing)).toFixed(2)),
    'CPU µs/message': Math.round(median(rounds.map(({ cpuUsPerRequest }) => cpuUsPerRequest))),
    judged: [...new Set(judged)].join(' | '),
  };
}

async function measure(stage: Stage): Promise<void> {
  const other = ghz();
  const tools: LoadTool[] = [reprise()];
  if (stage.isCompared && 'missing' in other) console.log(`ghz is left out: ${other.missing}`);
  else if (stage.isCompared) tools.push(other as LoadTool);
  const job = jobOf(stage);
  const rounds = new Map<string, Played[]>(tools.map(({ name }) => [name, []]));
  target.answerCalls(stage.streams, stage.delayMs);
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const tool of tools) {
      const played = await tool.play(target, job);
      const { arrived } = played.errors;
      if (arrived !== job.plan.length) throw new Error(`${tool.name}: ${arrived} of ${job.plan.length} came`);
      rounds.get(tool.name)?.push(played);
    }
  }
  const rows = Object.fromEntries([...rounds].map(([name, all]) => [name, rowOf(all, job)]));
  console.log(stage.name);
  console.table(rows);
  report[stage.name] = rows;
  for (const [figure, bound] of Object.entries(stage.bounds))
    figures.push({ figure: `${stage.name}: ${figure}`, bound, value: Number(rows['reprise']?.[figure]) });
}

try {
  const asked = flags.only.split(',');
  for (const stage of STAGES) if (asked.includes(stage.name)) await measure(stage);
} finally {
  target.stop();
  rmSync(directory, { recursive: true });
}
const host = { node: process.version, cores: availableParallelism(), loadAverage: loadavg() };
console.log(JSON.stringify({ bench: 'grpc-replay', rounds: ROUNDS, seconds: SECONDS, ...host, report }));
if (!withinBounds(ROUNDS, figures)) process.exitCode = 1;
