/**
 * What does it cost to have the recorder in the path? Direct, nginx `proxy_pass` (recording nothing), a bare
 * Node socket pipe and `reprise record` (recording and redacting everything), interleaved round by round.
 *
 *   node bench/forwarding.ts [--rounds 10] [--requests 20000] [--rate 2000]
 *
 * CPU per request is user and system time of the contender's own processes over a closed loop of 32
 * connections; latency is from an open loop at `--rate`. The upstream is a process of its own and billed to
 * nobody. Before anything is timed, each contender must answer every request; after it, the recording must hold
 * every one of them.
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { childrenOf, cpuUsOf } from './support/process-cpu.ts';
import { median, quantile } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    requests: { type: 'string', default: '20000' },
    rate: { type: 'string', default: '2000' },
  },
});
const ROUNDS = Number(flags.rounds);
const REQUESTS = Number(flags.requests);
const RATE = Number(flags.rate);
const CONNECTIONS = 32;
const SETTLE_MS = 700;
const RESPONSE_BODY_BYTES = 256;

/** As many different bodies of one size: equal ones would be stored once and cost the recorder too little. */
const DIFFERENT_BODIES = 2_000;
const bodies = Array.from({ length: DIFFERENT_BODIES }, (_, index) => bodyOf(index));
const bodyBytes = bodies[0]?.length ?? 0;
const requests = bodies.map(
  (body) =>
    'POST /v2/models/bench/infer HTTP/1.1\r\nHost: bench.example:8000\r\nAuthorization: Bearer not-a-real-token\r\n' +
    `Content-Type: application/json\r\nUser-Agent: bench\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
);

interface Contender {
  readonly name: string;
  readonly port: number;
  readonly pids: () => number[];
  /** The process among them that records. */
  readonly recorderPids?: () => number[];
  readonly stop: () => Promise<void>;
}

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
  return `{"inputs":[{"name":"x","shape":[1,180],"datatype":"FP32","data":[${data.join(',')}]}]}`;
}

async function helper(name: string, args: string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL(`./support/${name}.ts`, import.meta.url), args);
  const [message] = (await once(child, 'message')) as [{ port: number }];
  return { child, port: message.port };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

async function startNginx(targetPort: number, directory: string): Promise<Contender | null> {
  const port = await freePort();
  const configuration = join(directory, 'nginx.conf');
  writeFileSync(
    configuration,
    `daemon off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/error.log;
events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  keepalive_requests 100000000;
  upstream model { server 127.0.0.1:${targetPort}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}`,
  );
  const nginx = spawn('nginx', ['-c', configuration], { stdio: 'ignore' });
  // Not `once`: awaited for 'spawn', it rejects where there is no nginx to be spawned.
  const started = await new Promise<boolean>((resolve) => {
    nginx.on('spawn', () => resolve(true));
    nginx.on('error', () => resolve(false));
  });
  if (!started) return null;
  await sleep(300);
  return {
    name: 'nginx',
    port,
    pids: () => childrenOf(nginx.pid as number),
    stop: async () => {
      nginx.kill('SIGTERM');
      await once(nginx, 'exit');
    },
  };
}

async function startRecorder(
  targetPort: number,
  directory: string,
): Promise<Contender & { capture: string }> {
  const capture = join(directory, 'capture');
  const bin = new URL('../bin/reprise.js', import.meta.url).pathname;
  const args = ['record', '--target', `127.0.0.1:${targetPort}`, '--listen', '127.0.0.1:0', '--dir', capture];
  const recorder = spawn(process.execPath, [bin, '--log-format', 'json', ...args, '--drain-deadline', '5s'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  const port = await new Promise<number>((resolve, reject) => {
    recorder.stderr.on('data', (text: Buffer) => {
      said += text.toString();
      const match = /"listen":"127\.0\.0\.1:(\d+)"/.exec(said);
      if (match) resolve(Number(match[1]));
    });
    recorder.on('exit', () => reject(new Error(`the recorder did not start: ${said}`)));
  });
  return {
    name: 'record',
    port,
    capture,
    pids: () => [recorder.pid as number, ...childrenOf(recorder.pid as number)],
    recorderPids: () => {
      const started = /"pid":(\d+),"message":"recorder started"/.exec(said);
      return started ? [Number(started[1])] : [];
    },
    stop: async () => {
      recorder.removeAllListeners('exit');
      recorder.kill('SIGTERM');
      await once(recorder, 'exit');
    },
  };
}

async function load(child: ChildProcess, port: number, extra: object): Promise<Report> {
  child.send({
    port,
    requests,
    responseBodyBytes: RESPONSE_BODY_BYTES,
    connections: CONNECTIONS,
    count: REQUESTS,
    ...extra,
  });
  const [report] = (await once(child, 'message')) as [Report];
  return report;
}

async function roundOf(loader: ChildProcess, contender: Contender): Promise<Round> {
  const recorderPids = contender.recorderPids ?? (() => []);
  const before = cpuUsOf(contender.pids());
  const recorderBefore = cpuUsOf(recorderPids());
  const closed = await load(loader, contender.port, {});
  // What was answered is not yet all recorded; an idle contender costs nothing meanwhile.
  await sleep(SETTLE_MS);
  const cpuUs = (cpuUsOf(contender.pids()) - before) / REQUESTS;
  const recorderCpuUs = (cpuUsOf(recorderPids()) - recorderBefore) / REQUESTS;
  const open = await load(loader, contender.port, { ratePerSecond: RATE, count: RATE * 2 });
  if (closed.failures + open.failures > 0) throw new Error(`${contender.name} failed requests`);
  return {
    cpuUs,
    recorderCpuUs,
    ratePerSecond: (closed.answers / closed.durationMs) * 1000,
    p50Us: quantile(open.latenciesUs, 0.5),
    p99Us: quantile(open.latenciesUs, 0.99),
  };
}

function checkRecording(capture: string, expected: number): string {
  const bin = new URL('../bin/reprise.js', import.meta.url).pathname;
  const inspected = JSON.parse(
    execFileSync(process.execPath, [bin, 'inspect', capture, '--json'], { encoding: 'utf8' }),
  ) as { exchanges: number; losses: { exchanges: number } };
  const { exchanges, losses } = inspected;
  return `recorded ${exchanges} of ${expected} requests, ${losses.exchanges} counted lost`;
}

const directory = mkdtempSync(join(tmpdir(), 'reprise-forwarding-'));
const upstream = await helper('answering-server', [String(bodyBytes), String(RESPONSE_BODY_BYTES)]);
const loader = fork(new URL('./support/fixed-load.ts', import.meta.url));
const pipe = await helper('bare-pipe', [String(upstream.port)]);
const recorder = await startRecorder(upstream.port, directory);
const nginx = await startNginx(upstream.port, directory);
const contenders: Contender[] = [
  { name: 'direct', port: upstream.port, pids: () => [], stop: async () => undefined },
  ...(nginx ? [nginx] : []),
  { name: 'bare pipe', port: pipe.port, pids: () => [pipe.child.pid as number], stop: async () => undefined },
  recorder,
];
if (!nginx) console.log('nginx is not installed: left out (Debian: apt-get install nginx-light)');

for (const contender of contenders) {
  const { answers } = await load(loader, contender.port, { count: 2_000 });
  if (answers !== 2_000) throw new Error(`${contender.name} answered ${answers} of 2000`);
}

const rounds = new Map<string, Round[]>(contenders.map(({ name }) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  for (const contender of contenders) rounds.get(contender.name)?.push(await roundOf(loader, contender));
}
const sent = 2_000 + ROUNDS * (REQUESTS + RATE * 2);
for (const contender of contenders) await contender.stop();
pipe.child.disconnect();
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
console.log(`forwarding: ${bodyBytes} B JSON POST, ${CONNECTIONS} connections, medians of ${ROUNDS} rounds`);
console.table(rows);
console.log(checkRecording(recorder.capture, sent));
console.log(JSON.stringify({ bench: 'forwarding', rounds: ROUNDS, requests: REQUESTS, rate: RATE, rows }));
rmSync(directory, { recursive: true });
