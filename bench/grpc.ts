/**
 * What does a recorder in the path of gRPC cost? Contenders: direct, nginx `grpc_pass` (records nothing), a bare Node
 * socket pipe and `reprise record`, interleaved round by round.
 *
 *   node bench/grpc.ts [--rounds 7] [--calls 20000]
 *
 * Unary calls with a message of 2 KB (2,000 of them in turn), in a closed loop with 32 calls under way: on 32 connections, and on
 * one. CPU per call is user and system time of the contender's own processes until they are idle. Before the
 * measurement, each contender must answer every call. At the end, the recorder gets 2,000 calls a second. With five rounds or more, every figure must be within its bound,
 * and the recording must contain every call.
 */
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type Contender,
  direct,
  helper,
  settled,
  startNginx,
  startPipe,
  startRecorder,
} from './support/contenders.ts';
import type { GrpcReport } from './support/grpc-load.ts';
import { type Bounded, withinBounds } from './support/judgement.ts';
import { cpuUsOf } from './support/process-cpu.ts';
import { median } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    calls: { type: 'string', default: '20000' },
  },
});
const ROUNDS = Number(flags.rounds);
const CALLS = Number(flags.calls);
const WARMING = Math.min(20_000, CALLS);
const IN_FLIGHT = 32;
const REQUEST_BYTES = 2_048;
const ANSWER_BYTES = 256;
const SHAPES = [32, 1] as const;
const PACED_PER_SECOND = 2_000;
const PACED_SECONDS = 10;

interface Round {
  readonly proxyUs: number;
  readonly allUs: number;
  readonly ratePerSecond: number;
}

async function load(
  port: number,
  connections: number,
  count: number,
  ratePerSecond: number | null = null,
): Promise<GrpcReport> {
  const sizes = { requestBytes: REQUEST_BYTES, answerBytes: ANSWER_BYTES };
  loader.send({ port, connections, inFlight: IN_FLIGHT, count, ratePerSecond, ...sizes });
  const [report] = (await once(loader, 'message')) as [GrpcReport];
  return report;
}

async function roundOf(contender: Contender, connections: number): Promise<Round> {
  const before = cpuUsOf(contender.pids());
  const recorderBefore = cpuUsOf(contender.recorderPids());
  const { answers, failures, durationMs } = await load(contender.port, connections, CALLS);
  if (failures > 0) throw new Error(`${contender.name} failed ${failures} calls`);
  await settled(contender);
  const allUs = (cpuUsOf(contender.pids()) - before) / CALLS;
  const recorderUs = (cpuUsOf(contender.recorderPids()) - recorderBefore) / CALLS;
  return { allUs, proxyUs: allUs - recorderUs, ratePerSecond: (answers / durationMs) * 1_000 };
}

const directory = mkdtempSync(join(tmpdir(), 'reprise-grpc-'));
const upstream = await helper('grpc-server', [String(ANSWER_BYTES)]);
const loader = fork(new URL('./support/grpc-load.ts', import.meta.url));
const recorder = await startRecorder(upstream.port, directory);
const nginx = await startNginx(upstream.port, directory, 'grpc');
const contenders = [
  direct(upstream.port),
  ...(nginx ? [nginx] : []),
  await startPipe(upstream.port),
  recorder,
];

for (const contender of contenders) {
  for (const connections of SHAPES) {
    const { answers } = await load(contender.port, connections, WARMING);
    if (answers !== WARMING) throw new Error(`${contender.name} answered ${answers} of ${WARMING}`);
    await settled(contender);
  }
}

const rounds = new Map<string, Round[]>();
const keyOf = (name: string, connections: number) => `${name}, ${connections}`;
for (let round = 0; round < ROUNDS; round += 1) {
  for (const connections of SHAPES) {
    for (const contender of contenders) {
      const key = keyOf(contender.name, connections);
      rounds.set(key, [...(rounds.get(key) ?? []), await roundOf(contender, connections)]);
    }
  }
}
const pace = await load(recorder.port, 32, PACED_PER_SECOND * PACED_SECONDS, PACED_PER_SECOND);
for (const contender of contenders) await contender.stop();
upstream.child.disconnect();
loader.disconnect();

/** Median over the rounds of two contenders' figures of the same round. */
function compared(
  connections: number,
  name: string,
  of: (mine: Round, theirs: Round) => number,
): number | null {
  const theirs = rounds.get(keyOf(name, connections));
  if (theirs === undefined) return null;
  const mine = rounds.get(keyOf(recorder.name, connections)) ?? [];
  return Number(median(mine.map((one, at) => of(one, theirs[at] as Round))).toFixed(2));
}

const rows = [...rounds].map(([key, all]) => ({
  'contender, connections': key,
  'CPU µs/call': Number(median(all.map(({ allUs }) => allUs)).toFixed(1)),
  'of it proxy': Number(median(all.map(({ proxyUs }) => proxyUs)).toFixed(1)),
  'calls/s': Math.round(median(all.map(({ ratePerSecond }) => ratePerSecond))),
}));
const bin = new URL('../bin/reprise.js', import.meta.url).pathname;
const inspected = execFileSync(process.execPath, [bin, 'inspect', recorder.capture, '--json'], {
  encoding: 'utf8',
});
const { exchanges } = JSON.parse(inspected) as { exchanges: number };
const paced = PACED_PER_SECOND * PACED_SECONDS;
const sent = SHAPES.length * (WARMING + ROUNDS * CALLS) + paced;
const figures: readonly Bounded[] = [
  {
    figure: 'CPU of the proxy on 32 connections, in that of a bare pipe',
    bound: 1.5,
    value: compared(32, 'bare pipe', (mine, theirs) => mine.proxyUs / theirs.allUs),
  },
  {
    figure: 'CPU of the proxy on one connection above a bare pipe, µs a call',
    bound: 12,
    value: compared(1, 'bare pipe', (mine, theirs) => mine.proxyUs - theirs.allUs),
  },
  ...SHAPES.map((connections) => ({
    figure: `CPU of all processes on ${connections}, in that of nginx`,
    bound: 2,
    value: compared(connections, 'nginx', (mine, theirs) => mine.allUs / theirs.allUs),
  })),
  {
    figure: `calls that were not answered at ${PACED_PER_SECOND}/s, or late by 1 % of the time`,
    bound: 0,
    value: pace.failures + Number(pace.durationMs > PACED_SECONDS * 1_010),
  },
  { figure: 'calls that were not recorded', bound: 0, value: sent - exchanges },
];

console.log(`gRPC: ${REQUEST_BYTES} B unary, ${IN_FLIGHT} under way, medians of ${ROUNDS} rounds`);
console.table(rows);
console.table(figures);
console.log(JSON.stringify({ bench: 'grpc', rounds: ROUNDS, rows, figures, sent, recorded: exchanges }));
rmSync(directory, { recursive: true });
process.exitCode = withinBounds(ROUNDS, figures) ? 0 : 1;
