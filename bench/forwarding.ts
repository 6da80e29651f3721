/**
 * What does a recorder in the path cost? Contenders: direct, nginx `proxy_pass` (records nothing), a bare
 * Node socket pipe and `reprise record` (records and redacts everything), interleaved round by round.
 *
 *   node bench/forwarding.ts [--rounds 12] [--requests 20000] [--rate 2000] [--distinct]
 *
 * CPU per request is user and system time of the contender's own processes, over a closed loop of 32 connections,
 * until they are idle. Latency is from an open loop at `--rate`. Its generator spins and has its own core (`taskset`);
 * upstream and contender share the rest. The upstream is a separate process that does not count. Without
 * `--distinct`, 2,000 different bodies come in turn, with one head. With it, no two requests have the same body or
 * head. Before the measurement, each contender must answer every request. With five rounds or more, every figure must
 * be within its bound, and the recording must contain every request.
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
import { type Bounded, withinBounds } from './support/judgement.ts';
import { apart } from './support/pinning.ts';
import { cpuUsOf } from './support/process-cpu.ts';
import { median, quantile } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '12' },
    requests: { type: 'string', default: '20000' },
    rate: { type: 'string', default: '2000' },
    distinct: { type: 'boolean', default: false },
  },
});
const ROUNDS = Number(flags.rounds);
const REQUESTS = Number(flags.requests);
const RATE = Number(flags.rate);
const CONNECTIONS = 32;
const WARMING = 20_000;
const RESPONSE_BODY_BYTES = 256;
/** Placeholder that the load generator replaces with the number of the request. */
const SERIAL = '%%%%%%%%%%%%';

/** Number of different bodies. Equal bodies would be stored only once, which would cost the recorder too little. */
const DIFFERENT_BODIES = 2_000;
const bodies = Array.from({ length: DIFFERENT_BODIES }, (_, index) => bodyOf(index));
const bodyBytes = bodies[0]?.length ?? 0;
const requests = bodies.map(
  (body) =>
    'POST /v2/models/bench/infer HTTP/1.1\r\nHost: bench.example:8000\r\nAuthorization: Bearer not-a-real-token\r\n' +
    `Content-Type: application/json\r\nUser-Agent: bench\r\n${flags.distinct ? `X-Request-Id: ${SERIAL}\r\n` : ''}` +
    `Content-Length: ${body.length}\r\n\r\n${body}`,
);

interface Report {
  readonly answers: number;
  readonly failures: number;
  readonly durationMs: number;
  readonly latenciesUs: number[];
}

interface Round {
  readonly cpuUs: number;
  readonly recorderCpuUs: number;
  readonly ratePerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** A tensor request of about 2 KB, of the same size for every index. */
function bodyOf(index: number): string {
  const data = Array.from({ length: 180 }, (_, at) =>
    (1 + Math.abs(Math.sin(index * 1_000 + at))).toFixed(8),
  );
  const id = flags.distinct ? `"id":"${SERIAL}",` : '';
  return `{${id}"inputs":[{"name":"x","shape":[1,180],"datatype":"FP32","data":[${data.join(',')}]}]}`;
}

async function load(port: number, count: number, ratePerSecond?: number): Promise<Report> {
  loader.send({
    port,
    requests,
    responseBodyBytes: RESPONSE_BODY_BYTES,
    connections: CONNECTIONS,
    count,
    ...(flags.distinct ? { serial: SERIAL } : {}),
    ...(ratePerSecond === undefined ? {} : { ratePerSecond }),
  });
  const [report] = (await once(loader, 'message')) as [Report];
  return report;
}

async function roundOf(contender: Contender): Promise<Round> {
  const before = cpuUsOf(contender.pids());
  const recorderBefore = cpuUsOf(contender.recorderPids());
  const closed = await load(contender.port, REQUESTS);
  await settled(contender);
  const cpuUs = (cpuUsOf(contender.pids()) - before) / REQUESTS;
  const recorderCpuUs = (cpuUsOf(contender.recorderPids()) - recorderBefore) / REQUESTS;
  const behind = [upstream.child.pid as number, ...contender.pids()];
  const open = await apart(loader.pid as number, behind, () => load(contender.port, RATE * 2, RATE));
  await settled(contender);
  if (closed.failures + open.failures > 0) throw new Error(`${contender.name} failed requests`);
  return {
    cpuUs,
    recorderCpuUs,
    ratePerSecond: (closed.answers / closed.durationMs) * 1000,
    p50Us: quantile(open.latenciesUs, 0.5),
    p99Us: quantile(open.latenciesUs, 0.99),
  };
}

/** Counts of the sealed recording. */
function inspect(capture: string): { exchanges: number; losses: { exchanges: number; bytes: number } } {
  const bin = new URL('../bin/reprise.js', import.meta.url).pathname;
  return JSON.parse(
    execFileSync(process.execPath, [bin, 'inspect', capture, '--json'], { encoding: 'utf8' }),
  );
}

const directory = mkdtempSync(join(tmpdir(), 'reprise-forwarding-'));
const upstream = await helper('answering-server', [String(bodyBytes), String(RESPONSE_BODY_BYTES)]);
const loader = fork(new URL('./support/fixed-load.ts', import.meta.url));
const recorder = await startRecorder(upstream.port, directory);
const nginx = await startNginx(upstream.port, directory);
const contenders = [
  direct(upstream.port),
  ...(nginx ? [nginx] : []),
  await startPipe(upstream.port),
  recorder,
];

for (const contender of contenders) {
  const { answers } = await load(contender.port, WARMING);
  if (answers !== WARMING) throw new Error(`${contender.name} answered ${answers} of ${WARMING}`);
  await settled(contender);
}

const rounds = new Map<string, Round[]>(contenders.map(({ name }) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const contender of contenders) rounds.get(contender.name)?.push(await roundOf(contender));
}
for (const contender of contenders) await contender.stop();
upstream.child.disconnect();
loader.disconnect();

const rows = [...rounds].map(([name, all]) => ({
  name,
  'CPU µs/request': Number(median(all.map((one) => one.cpuUs)).toFixed(1)),
  'of it recorder': Number(median(all.map((one) => one.recorderCpuUs)).toFixed(1)),
  'closed loop req/s': Math.round(median(all.map((one) => one.ratePerSecond))),
  [`p50 µs at ${RATE}/s`]: Math.round(median(all.map((one) => one.p50Us))),
  [`p99 µs at ${RATE}/s`]: Math.round(median(all.map((one) => one.p99Us))),
}));

/** Median over the rounds of the ratio of one figure to another of the same round. */
function ratio(of: (one: Round) => number, name: string): number | null {
  const mine = rounds.get('record') ?? [];
  const theirs = rounds.get(name);
  if (theirs === undefined) return null;
  return Number(median(mine.map((one, at) => of(one) / (theirs[at]?.cpuUs ?? Number.NaN))).toFixed(2));
}
const proxyOnly = (one: Round): number => one.cpuUs - one.recorderCpuUs;
const held = inspect(recorder.capture);
const sent = WARMING + ROUNDS * (REQUESTS + RATE * 2);
const recording = { sent, ...held.losses, recorded: held.exchanges };
const figures: readonly Bounded[] = [
  { figure: 'CPU of the proxy, in that of a bare pipe', bound: 1.4, value: ratio(proxyOnly, 'bare pipe') },
  { figure: 'CPU of all processes, in that of nginx', bound: 2.3, value: ratio((one) => one.cpuUs, 'nginx') },
  { figure: 'requests that were not recorded', bound: 0, value: sent - held.exchanges },
];

const kind = flags.distinct ? 'no two alike' : `${DIFFERENT_BODIES} bodies in turn`;
console.log(
  `forwarding: ${bodyBytes} B JSON POST (${kind}), ${CONNECTIONS} connections, medians of ${ROUNDS} rounds`,
);
console.table(rows);
console.table(figures);
console.log(`recorded ${held.exchanges} of ${sent} requests, ${held.losses.exchanges} counted lost`);
console.log(
  JSON.stringify({ bench: 'forwarding', rounds: ROUNDS, distinct: flags.distinct, rows, figures, recording }),
);
rmSync(directory, { recursive: true });
process.exitCode = withinBounds(ROUNDS, figures) ? 0 : 1;
