/**
 * What does a client see of a recorder on a host whose processors are all taken, and is everything recorded there?
 *
 *   node bench/saturated.ts [--rounds 5] [--seconds 180] [--cases gunicorn,loops,pictures] [--per-second 50]
 *     [--through direct,pipe,record]
 *
 * A model server of 17 gunicorn workers, its clients in another session, reached directly, through a bare pipe (what any
 * proxy costs there) and through `reprise record`, interleaved round by round. Recorder, model server and what else runs
 * are one session, which is one scheduling group: proxy and recorder have to get their processor time from them. Both
 * are warm: requests that compute nothing go through first.
 *
 * - `gunicorn`: 16 clients, each of which sends when it was answered. Their requests take all processors.
 * - `loops`: a request takes 1 ms, in open loop, and 32 busy loops run beside the server.
 * - `pictures`: as `gunicorn`, and each second a picture of 2 MB, masked by the preset `llm`.
 * - `nearly-full`: in open loop, requests take 90 % of all processors. What else takes a processor costs clients ten
 *   times its time there, so read it beside the bare pipe.
 *
 * p99 may be a tenth more through the recorder, 99 % must be recorded once it has drained, and no recorder may end.
 * A request that fails ends the bench.
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
/** As gunicorn's manual asks: a worker that touches a file on the disk of the capture would wait for its syncs. */
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
  /** Flags of redaction; with them a picture is sent each second. */
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

/** What clients go through. */
const CONTENDERS = ['direct', 'pipe', 'record'] as const;
type Through = (typeof CONTENDERS)[number];
const chosen = CONTENDERS.filter((each) => flags.through.split(',').includes(each));

interface Run {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the processes between clients and model server, ms of a processor a second. */
  readonly cpuMs: number;
  /** Null without a recorder. */
  readonly recordedShare: number | null;
  readonly recorderEnds: number;
}

const tool = pythonWith(['gunicorn==27.0.1']);
if ('missing' in tool) throw new Error(`no gunicorn: ${tool.missing}`);
const python = tool.path;

/** Everything of the host but the clients, in one session. It ends as its last command does. */
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

/** Where clients are to go to, once it is ready. */
async function entryOf(through: Through, host: RunningProcess, port: number): Promise<number> {
  if (through === 'direct') return port;
  if (through === 'pipe') return Number((await host.waitFor('stdout', /port (\d+)/))[1]);
  const entry = Number((await host.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/))[1]);
  await host.waitFor('stderr', /"state":"HEALTHY"/);
  return entry;
}

/** The last command of a host, and its recorder. */
function processesOf({ child }: RunningProcess): number[] {
  const pid = child.pid as number;
  const isRecorder = (each: number) => /recorder/.test(readFileSync(`/proc/${each}/cmdline`, 'utf8'));
  return [pid, ...childrenOf(pid).filter(isRecorder)];
}

/** What runs for weeks is compiled. @returns how many requests passed */
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
    // The others hold the recorder's output open.
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
    // All have ended by themselves.
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
