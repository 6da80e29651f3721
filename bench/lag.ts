/**
 * How exactly does the engine keep a schedule, and what does it cost?
 *
 *     node bench/lag.ts [--rate 1000] [--seconds 10] [--rounds 3] [--body 2048] [--poisson] [--senders 1]
 *
 * The target answers at once, in a separate process that does not count. Each round first proves that every request
 * arrived once and complete; only then its lag is read. Medians over the rounds. Numbers are comparable only within
 * one machine.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { ArrivalStatistics } from '../src/analysis/stats/arrivals.ts';
import { entryUrl } from '../src/app/package.ts';
import { systemClock } from '../src/core/clock.ts';
import { LIMITS } from '../src/core/limits.ts';
import { SeededRandom } from '../src/core/random.ts';
import { NOTHING_EXPECTED } from '../src/replay/answers/expected-answer.ts';
import {
  type EngineHealth,
  type PreparedRequest,
  ReplayEngine,
  type SendResult,
} from '../src/replay/engine/engine.ts';
import type { CountingServerReport } from './support/counting-server.ts';

interface Plan {
  readonly offsetsNs: readonly number[];
  readonly body: Uint8Array;
}

interface Round {
  readonly lagP50Us: number;
  readonly lagP90Us: number;
  readonly lagP99Us: number;
  readonly lagMaxUs: number;
  /** CPU of all three threads of the process, including the sender's spinning before an instant. */
  readonly cpuUsPerRequest: number;
  readonly senderBusyShare: number;
  readonly pacerLateP50Us: number;
  readonly cvError: number;
  readonly idc100msError: number | null;
  readonly outOfOrder: number;
  readonly connections: number;
  readonly serviceP50Us: number;
}

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '1000' },
    senders: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    body: { type: 'string', default: '2048' },
    poisson: { type: 'boolean', default: false },
  },
});

function planOf(ratePerSecond: number, seconds: number, bodyBytes: number, poisson: boolean): Plan {
  const random = new SeededRandom(1);
  const offsetsNs: number[] = [];
  const gapNs = 1e9 / ratePerSecond;
  for (let at = 0; at < seconds * 1e9; ) {
    offsetsNs.push(Math.round(at));
    at += poisson ? -Math.log((random.nextUint32() + 1) / 2 ** 32) * gapNs : gapNs;
  }
  return { offsetsNs, body: Buffer.alloc(bodyBytes, 'payload ') };
}

function* requestsOf({ offsetsNs, body }: Plan): Generator<PreparedRequest> {
  const headers = [
    ['Host', 'models.internal:8000'],
    ['User-Agent', 'python-requests/2.32.3'],
    ['Accept-Encoding', 'gzip, deflate'],
    ['Accept', '*/*'],
    ['Content-Type', 'application/json'],
    ['X-Request-Id', '6f1d2c1e-6a0b-4a53-9b54-5f3b8f1f0c11'],
    ['x-reprise-run', 'bench'],
  ].flat();
  for (const [index, intendedOffsetNs] of offsetsNs.entries()) {
    yield {
      index,
      intendedOffsetNs,
      method: 'POST',
      path: `/${index}`,
      headers,
      body,
      chunked: false,
      answer: NOTHING_EXPECTED,
    };
  }
}

async function startServer(): Promise<{ server: ChildProcess; port: number }> {
  const server = fork(new URL('./support/counting-server.ts', import.meta.url));
  const [port] = (await once(server, 'message')) as [number];
  return { server, port };
}

async function playRound(plan: Plan): Promise<Round> {
  const { server, port } = await startServer();
  const engine = new ReplayEngine(
    {
      origin: `http://127.0.0.1:${port}`,
      socketPath: null,
      senders: Number(values.senders),
      maxInFlight: LIMITS.inFlight,
      maxInFlightBytes: LIMITS.inFlightBytes,
      connectTimeoutMs: 5_000,
      firstByteTimeoutMs: 30_000,
      idleTimeoutMs: 30_000,
      totalTimeoutMs: 30_000,
      drainDeadlineMs: 5_000,
      peakRatePerSecond: (2 * plan.offsetsNs.length) / ((plan.offsetsNs.at(-1) ?? 1) / 1e9),
      readAheadBytes: LIMITS.readAheadBytes,
      readAheadRequests: LIMITS.readAheadRequests,
      warmConnections: 4,
      maxConnectionAgeMs: null,
      caPem: null,
      acceptAnyCertificate: false,
    },
    { clock: systemClock, pacerEntry: entryUrl('pacer'), senderEntry: entryUrl('sender') },
  );
  const cpuBefore = process.cpuUsage();
  const results: SendResult[] = [];
  const health = await engine.run(
    requestsOf(plan),
    (batch) => results.push(...batch),
    new AbortController().signal,
  );
  const cpu = process.cpuUsage(cpuBefore);
  server.send('report');
  const [report] = (await once(server, 'message')) as [CountingServerReport];
  prove(plan, results, report);
  return roundOf(plan, results, health, report, cpu.user + cpu.system);
}

/** Checks all results, because a fast but wrong run must not count. */
function prove(plan: Plan, results: readonly SendResult[], report: CountingServerReport): void {
  const planned = plan.offsetsNs.length;
  const early = results.filter((result) => (result.actualOffsetNs ?? 0) < result.intendedOffsetNs).length;
  const failed = results.filter((result) => result.error !== null || result.status !== 200).length;
  const whole = report.bodyBytes === planned * plan.body.length;
  if (results.length !== planned || failed > 0 || early > 0) {
    throw new Error(`planned ${planned}, results ${results.length}, failed ${failed}, early ${early}`);
  }
  if (report.requests !== planned || report.distinct !== planned || !whole) {
    throw new Error(`planned ${planned}, the target saw ${JSON.stringify(report)}`);
  }
}

function roundOf(
  plan: Plan,
  results: readonly SendResult[],
  health: EngineHealth,
  report: CountingServerReport,
  cpuUs: number,
): Round {
  const planned = new ArrivalStatistics(1e9);
  for (const offsetNs of plan.offsetsNs) planned.add(offsetNs);
  const sent = new ArrivalStatistics(1e9);
  const inOrder = results.toSorted((a, b) => a.index - b.index);
  for (const { actualOffsetNs } of inOrder) sent.add(actualOffsetNs ?? 0);
  const [want, have] = [planned.figures(), sent.figures()];
  const service = results
    .map((r) => (r.lastByteOffsetNs ?? 0) - (r.actualOffsetNs ?? 0))
    .sort((a, b) => a - b);
  const [wantIdc, haveIdc] = [want.idc['0.1'], have.idc['0.1']];
  return {
    lagP50Us: health.lag.p50Ns / 1e3,
    lagP90Us: health.lag.p90Ns / 1e3,
    lagP99Us: health.lag.p99Ns / 1e3,
    lagMaxUs: health.lag.maxNs / 1e3,
    cpuUsPerRequest: cpuUs / results.length,
    senderBusyShare: health.senderBusyShare,
    pacerLateP50Us: health.pacerLateness.p50Ns / 1e3,
    cvError: Math.abs((have.cv ?? 0) - (want.cv ?? 0)),
    idc100msError: wantIdc && haveIdc ? Math.abs(haveIdc / wantIdc - 1) : null,
    outOfOrder: report.outOfOrder,
    connections: health.connections.opened,
    serviceP50Us: (service[service.length >> 1] ?? 0) / 1e3,
  };
}

function medianOf(rounds: readonly Round[], key: keyof Round): number | null {
  const sorted = rounds.map((round) => round[key]).filter((value) => value !== null);
  sorted.sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? null;
}

const rate = Number(values.rate);
const plan = planOf(rate, Number(values.seconds), Number(values.body), values.poisson);
const rounds: Round[] = [];
for (let round = 0; round < Number(values.rounds); round++) rounds.push(await playRound(plan));
const keys = Object.keys(rounds[0] ?? {}) as (keyof Round)[];
const medians = Object.fromEntries(keys.map((key) => [key, medianOf(rounds, key)]));
console.table(
  Object.fromEntries(
    keys.map((key) => [
      key,
      { median: round3(medianOf(rounds, key)), rounds: rounds.map((r) => round3(r[key])).join('  ') },
    ]),
  ),
);
console.log(
  JSON.stringify({
    bench: 'lag',
    node: process.version,
    rate,
    poisson: values.poisson,
    requests: plan.offsetsNs.length,
    medians,
  }),
);

function round3(value: number | null): number | null {
  return value === null ? null : Number(value.toPrecision(3));
}
