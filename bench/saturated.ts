/**
 * How does a recorder affect clients on a host whose processors are all busy, and is everything recorded there?
 *
 *   node bench/saturated.ts [--rounds 5] [--seconds 180] [--cases gunicorn,loops,pictures] [--per-second 50]
 *     [--through direct,pipe,record]
 *
 * A model server with 17 gunicorn workers. Its clients, in another session, reach it directly, through a bare pipe (the
 * cost of any proxy) and through `reprise record`, interleaved round by round. Recorder, model server and busy loops
 * are in one session, which is one scheduling group, so they compete for processor time. Both are warm: requests
 * without computation come first.
 *
 * - `gunicorn`: 16 clients, each of which sends after its answer. Their requests use all processors.
 * - `loops`: a request takes 1 ms, in an open loop, and 32 busy loops run beside the server.
 * - `pictures`: like `gunicorn`, and each second a picture of 2 MB that the preset `llm` masks.
 * - `nearly-full`: in an open loop, requests use 90 % of all processors. Other processor time costs clients ten times
 * as   much there, so compare it with the bare pipe.
 *
 * The p99 may be 10 % higher through the recorder, 99 % must be recorded after it has drained, and no recorder may end.
 * A failed request ends the bench.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePort } from '../test/support/free-port.ts';
import { PacedTraffic } from '../test/support/paced-traffic.ts';
import { pythonWith } from '../test/support/peer-tools.ts';
import { type RunningProcess, startProcess } from '../test/support/process.ts';
import { accountOf } from '../test/support/recording.ts';
import { type Bounded, withinBounds } from './support/judgement.ts';
import { childrenOf, cpuUsOf } from './support/process-cpu.ts';
import { median, quantile } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '180' },
    cases: { type: 'string', default: 'gunicorn,loops,pictures' },
    'per-second': { type: 'string', default: '50' },
    through: { type: 'string', default: 'direct,pipe,record' },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const WORKERS = 17;
const PER_SECOND = Number(flags['per-second']);
const TAKEN_SHARE = 0.9;
/** As gunicorn's manual recommends: a worker file on the capture's disk would wait for its syncs. */
const WORKER_TMP = '/dev/shm';
const START_MS = 30_000;
const WARM_MS = 8_000;
const WARM_PER_SECOND = 400;
const MOST_OF_P99 = 1.1;
const LEAST_RECORDED = 0.99;
const PICTURE = `data:image/png;base64,${randomBytes(1_500_000).toString('base64')}`;
const support = fileURLToPath(new URL('support', import.meta.url));
const bin = fileURLToPath(new URL('../bin/reprise.js', import.meta.url));

interface Case {
  readonly pace: ConstructorParameters<typeof PacedTraffic>[1];
  readonly busyMs: number;
  readonly loops: number;
  /** Redaction flags. With them, a picture is sent each second. */
  readonly masks: readonly string[];
}

const allMs = (availableParallelism() * 1_000) / PER_SECOND;
const pace = PER_SECOND;
const taken = { pace: { clients: WORKERS - 1 }, busyMs: allMs, loops: 0 };
const CASES: Readonly<Record<string, Case>> = {
  gunicorn: { ...taken, masks: [] },
  loops: { pace, busyMs: 1, loops: 32, masks: [] },
  pictures: { ...taken, masks: ['--redact-preset', 'llm'] },
  'nearly-full': { pace, busyMs: TAKEN_SHARE * allMs, loops: 0, masks: [] },
};

/** What is between clients and the model server. */
const CONTENDERS = ['direct', 'pipe', 'record'] as const;
type Through = (typeof CONTENDERS)[number];
const chosen = CONTENDERS.filter((each) => flags.through.split(',').includes(each));

interface Run {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU of the processes between clients and model server, ms per second. */
  readonly cpuMs: number;
  /** Null without a recorder. */
  readonly recordedShare: number | null;
  readonly recorderEnds: number;
}

const tool = pythonWith(['gunicorn==27.0.1']);
if ('missing' in tool) throw new Error(`no gunicorn: ${tool.missing}`);
const python = tool.path;

/** All processes except the clients, in one session. It ends with its last command. */
function startHost(one: Case, port: number, home: string, last: readonly string[]): RunningProcess {
  const serve = `${python} -m gunicorn -w ${WORKERS} -b 127.0.0.1:${port} --log-level error --worker-tmp-dir ${WORKER_TMP} busy_wsgi:application`;
  const loop = `while [ ! -e ${join(home, 'go')} ]; do sleep 0.1; done; exec timeout --foreground ${SECONDS + 60} sh -c 'while :; do :; done'`;
  const script = `${serve} & for i in $(seq ${one.loops}); do (${loop}) & done; exec "$0" "$@"`;
  const env = { BUSY_MS: String(one.busyMs), PYTHONPATH: support };
  return startProcess('sh', ['-c', script, ...last], { ownGroup: true, env });
}

async function answers(port: number): Promise<void> {
  for (const until = Date.now() + START_MS; Date.now() < until; await sleep(100)) {
    const body = JSON.stringify({ id: 0, filler: 'warm' });
    const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body }).catch(() => null);
    if (answer?.ok) return;
  }
  throw new Error('the model server does not answer');
}

function commandOf(
  through: Through,
  port: number,
  home: string,
  masks: readonly string[],
): readonly string[] {
  if (through === 'direct') return ['sleep', 'infinity'];
  if (through === 'pipe') return [process.execPath, join(support, 'bare-pipe.ts'), String(port)];
  return [
    ...[process.execPath, bin, '--log-format', 'json', 'record', '--target', `127.0.0.1:${port}`],
    ...['--listen', '127.0.0.1:0', '--dir', join(home, 'capture'), '--probe-listen', 'off'],
    ...['--drain-delay', '0s', '--drain-deadline', '5s', ...masks],
  ];
}

/** The port for clients, when it is ready. */
async function entryOf(through: Through, host: RunningProcess, port: number): Promise<number> {
  if (through === 'direct') return port;
  if (through === 'pipe') return Number((await host.waitFor('stdout', /port (\d+)/))[1]);
  const entry = Number((await host.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/))[1]);
  await host.waitFor('stderr', /"state":"HEALTHY"/);
  return entry;
}

/** Process ids of a host's last command and its recorder. */
function processesOf({ child }: RunningProcess): number[] {
  const pid = child.pid as number;
  const isRecorder = (each: number) => /recorder/.test(readFileSync(`/proc/${each}/cmdline`, 'utf8'));
  return [pid, ...childrenOf(pid).filter(isRecorder)];
}

/** Warms up, because the code of a long-running recorder is compiled. @returns the number of requests */
async function warmUp(entry: number): Promise<number> {
  const traffic = new PacedTraffic(entry, WARM_PER_SECOND, 'warm');
  await sleep(WARM_MS);
  await traffic.stop();
  return traffic.succeeded;
}

async function runOnce(one: Case, through: Through): Promise<Run> {
  const home = mkdtempSync(join(tmpdir(), 'reprise-saturated-'));
  const port = await freePort();
  const host = startHost(one, port, home, commandOf(through, port, home, one.masks));
  try {
    await answers(port);
    const entry = await entryOf(through, host, port);
    const warm = await warmUp(entry);
    writeFileSync(join(home, 'go'), '');
    const processes = processesOf(host);
    const cpuUsBefore = cpuUsOf(processes);
    const traffic = new PacedTraffic(entry, one.pace);
    const pictures = one.masks.length === 0 ? null : new PacedTraffic(entry, 1, PICTURE);
    await sleep(SECONDS * 1_000);
    const cpuMs = (cpuUsOf(processes) - cpuUsBefore) / 1_000 / SECONDS;
    await Promise.all([traffic.stop(), pictures?.stop()]);
    const latencies = [...traffic.takeLatenciesMs()];
    const [failure] = [...traffic.failed, ...(pictures?.failed ?? [])];
    if (failure !== undefined) throw new Error(`request ${failure.id} failed: ${failure.reason}`);
    const sent = warm + traffic.succeeded + (pictures?.succeeded ?? 0);
    const seen = { p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99), cpuMs };
    if (through !== 'record') return { ...seen, recordedShare: null, recorderEnds: 0 };
    const drained = once(host.child, 'exit');
    host.child.kill('SIGTERM');
    await drained;
    // The other processes keep the recorder's output open, so they are ended first.
    endAll(host);
    const { log, end } = await accountOf(host);
    const recorderEnds = log.filter(({ message }) => /hangs|recorder ended/.test(message)).length;
    return { ...seen, recordedShare: Math.min(1, Number(end['exchanges']) / sent), recorderEnds };
  } finally {
    endAll(host);
    await host.finished;
    rmSync(home, { recursive: true, force: true });
  }
}

function endAll({ child }: RunningProcess): void {
  try {
    process.kill(-(child.pid as number), 'SIGKILL');
  } catch {
    // All processes have already ended.
  }
}

const figures: Bounded[] = [];
const rows: Record<string, Record<string, number>> = {};
for (const name of flags.cases.split(',')) {
  const one = CASES[name];
  if (one === undefined) throw new Error(`no such case: ${name}; there are ${Object.keys(CASES).join(', ')}`);
  const runs: Record<Through, Run[]> = { direct: [], pipe: [], record: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const through of chosen) runs[through].push(await runOnce(one, through));
  }
  const p99 = (through: Through): number => median(runs[through].map(({ p99Ms }) => p99Ms));
  for (const through of chosen) {
    const all = runs[through];
    const figure = (value: number) => Number(value.toPrecision(4));
    rows[`${name}, ${through}`] = {
      'p50 ms': figure(median(all.map(({ p50Ms }) => p50Ms))),
      'p99 ms': figure(p99(through)),
      'p99 least': figure(Math.min(...all.map(({ p99Ms }) => p99Ms))),
      'p99 most': figure(Math.max(...all.map(({ p99Ms }) => p99Ms))),
      'CPU ms/s': figure(median(all.map(({ cpuMs }) => cpuMs))),
    };
  }
  const missing = runs.record.map(({ recordedShare }) => 1 - (recordedShare ?? 0));
  figures.push(
    {
      figure: `${name}: p99 of clients, in that without a recorder`,
      bound: MOST_OF_P99,
      value: Number((p99('record') / p99('direct')).toFixed(3)),
    },
    {
      figure: `${name}: share that was not recorded, at most`,
      bound: Number((1 - LEAST_RECORDED).toFixed(2)),
      value: Number(Math.max(...missing).toFixed(4)),
    },
    {
      figure: `${name}: recorders that ended`,
      bound: 0,
      value: runs.record.reduce((sum, { recorderEnds }) => sum + recorderEnds, 0),
    },
  );
}
console.log(`saturated: ${PER_SECOND} requests/s for ${SECONDS} s, medians of ${ROUNDS} rounds`);
console.table(rows);
console.log(JSON.stringify({ bench: 'saturated', rounds: ROUNDS, seconds: SECONDS, rows, figures }));
process.exitCode = withinBounds(ROUNDS, figures) ? 0 : 1;
