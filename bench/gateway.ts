/**
 * What does the gateway's guard cost? `reprise record --mode gateway`, which records and redacts everything, against
 * plain http-proxy with a keep-alive agent, which records nothing and can die from a single message. Interleaved round
 * by round.
 *
 *   node bench/gateway.ts [--rounds 10] [--requests 10000]
 *
 * CPU per request is user and system time of the proxy, and separately of its recorder, over a closed loop of 32
 * connections with a 2 KB JSON POST. Each contender is a separate process. So is the upstream, which does not count.
 * Before the measurement, each contender must answer every request.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { withinBounds } from './support/judgement.ts';
import { cpuUsOf } from './support/process-cpu.ts';
import { median } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    requests: { type: 'string', default: '10000' },
  },
});
const ROUNDS = Number(flags.rounds);
const REQUESTS = Number(flags.requests);
const CONNECTIONS = 32;
const SETTLE_MS = 700;
const RESPONSE_BODY_BYTES = 256;
/** Limit of the gateway proxy's CPU, as a multiple of plain http-proxy. */
const BOUND = 1.5;

const bodies = Array.from({ length: 2_000 }, (_, index) => {
  const data = Array.from({ length: 180 }, (_, at) =>
    (1 + Math.abs(Math.sin(index * 1_000 + at))).toFixed(8),
  );
  return `{"inputs":[{"name":"x","shape":[1,180],"datatype":"FP32","data":[${data.join(',')}]}]}`;
});
const bodyBytes = bodies[0]?.length ?? 0;
const requests = bodies.map(
  (body) =>
    'POST /v2/models/bench/infer HTTP/1.1\r\nHost: bench.example:8000\r\nAuthorization: Bearer not-a-real-token\r\n' +
    `Content-Type: application/json\r\nUser-Agent: bench\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
);

interface Contender {
  readonly name: string;
  readonly port: number;
  readonly proxyPid: number;
  /** The recorder may have been replaced since. */
  readonly recorders: () => readonly number[];
  readonly stop: () => Promise<void>;
}

async function helper(name: string, args: string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL(`./support/${name}.ts`, import.meta.url), args);
  const [message] = (await once(child, 'message')) as [{ port: number }];
  return { child, port: message.port };
}

async function startGateway(targetPort: number, capture: string): Promise<Contender> {
  const bin = new URL('../bin/reprise.js', import.meta.url).pathname;
  const addresses = ['--target', `127.0.0.1:${targetPort}`, '--listen', '127.0.0.1:0', '--dir', capture];
  const quiet = [
    '--mode',
    'gateway',
    '--probe-listen',
    'off',
    '--drain-delay',
    '0s',
    '--drain-deadline',
    '5s',
  ];
  const args = [bin, '--log-format', 'json', 'record', ...addresses, ...quiet];
  const process_ = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  started.push(process_);
  let said = '';
  process_.stderr.on('data', (text: Buffer) => {
    said += text.toString();
  });
  const find = async (pattern: RegExp): Promise<number> => {
    for (;;) {
      const found = pattern.exec(said)?.[1];
      if (found !== undefined) return Number(found);
      if (process_.exitCode !== null) throw new Error(`the gateway did not start: ${said}`);
      await sleep(20);
    }
  };
  await find(/"state":"HEALTH(Y)"/);
  return {
    name: 'gateway, recording',
    port: await find(/"listen":"127\.0\.0\.1:(\d+)"/),
    proxyPid: process_.pid as number,
    recorders: () => {
      const started = [...said.matchAll(/"pid":(\d+),"message":"recorder started"/g)].at(-1);
      return started ? [Number(started[1])] : [];
    },
    stop: async () => {
      process_.kill('SIGTERM');
      await once(process_, 'exit');
      console.log(said.trim());
    },
  };
}

async function load(port: number, count: number): Promise<{ durationMs: number }> {
  loader.send({ port, requests, responseBodyBytes: RESPONSE_BODY_BYTES, connections: CONNECTIONS, count });
  const [report] = (await once(loader, 'message')) as [
    { answers: number; failures: number; durationMs: number },
  ];
  if (report.answers !== count || report.failures > 0) {
    throw new Error(`answered ${report.answers} of ${count}, ${report.failures} failed`);
  }
  return report;
}

const directory = mkdtempSync(join(tmpdir(), 'reprise-gateway-bench-'));
// Cleans up for any end of the bench.
const started: { kill(): unknown }[] = [];
process.on('exit', () => {
  for (const child of started) child.kill();
  rmSync(directory, { recursive: true, force: true });
});
const upstream = await helper('answering-server', [String(bodyBytes), String(RESPONSE_BODY_BYTES)]);
const loader = fork(new URL('./support/fixed-load.ts', import.meta.url));
const plain = await helper('plain-http-proxy', [String(upstream.port)]);
const contenders: Contender[] = [
  {
    name: 'http-proxy alone',
    port: plain.port,
    proxyPid: plain.child.pid as number,
    recorders: () => [],
    stop: async () => plain.child.disconnect(),
  },
  await startGateway(upstream.port, join(directory, 'capture')),
];

for (const { port } of contenders) await load(port, 3_000);
const rounds = new Map<string, { proxyUs: number; recorderUs: number; ratePerSecond: number }[]>();
for (let round = 0; round < ROUNDS; round += 1) {
  for (const { name, port, proxyPid, recorders } of contenders) {
    const before = [cpuUsOf([proxyPid]), cpuUsOf(recorders())] as const;
    const { durationMs } = await load(port, REQUESTS);
    // Waits until all answered requests are recorded. An idle contender costs nothing meanwhile.
    await sleep(SETTLE_MS);
    const result = {
      proxyUs: (cpuUsOf([proxyPid]) - before[0]) / REQUESTS,
      recorderUs: (cpuUsOf(recorders()) - before[1]) / REQUESTS,
      ratePerSecond: (REQUESTS / durationMs) * 1_000,
    };
    rounds.set(name, [...(rounds.get(name) ?? []), result]);
  }
}
for (const { stop } of contenders) await stop();
upstream.child.disconnect();
loader.disconnect();

const rows = [...rounds].map(([name, all]) => ({
  name,
  'proxy CPU µs/request': Number(median(all.map((one) => one.proxyUs)).toFixed(1)),
  'recorder CPU µs/request': Number(median(all.map((one) => one.recorderUs)).toFixed(1)),
  'closed loop req/s': Math.round(median(all.map((one) => one.ratePerSecond))),
}));
const [alone, guarded] = rows.map((row) => row['proxy CPU µs/request']);
const ratio = Number(((guarded ?? 0) / (alone ?? 1)).toFixed(3));
console.log(`gateway: ${bodyBytes} B JSON POST, ${CONNECTIONS} connections, medians of ${ROUNDS} rounds`);
console.table(rows);
console.log(`the gateway's proxy takes ${ratio} of the CPU of http-proxy alone; the bound is ${BOUND}`);
console.log(JSON.stringify({ bench: 'gateway', rounds: ROUNDS, requests: REQUESTS, ratio, rows }));
const figure = 'CPU of the proxy, in that of http-proxy alone';
process.exitCode = withinBounds(ROUNDS, [{ figure, bound: BOUND, value: ratio }]) ? 0 : 1;
