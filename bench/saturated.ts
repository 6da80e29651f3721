/**
 * What does a client see of a recorder on a host whose processors are all taken, and is everything recorded there?
 *
 *   node bench/saturated.ts [--rounds 5] [--seconds 180] [--cases gunicorn,loops,pictures]
 *
 * A model server of 17 gunicorn workers, its clients in another session, once reached directly and once through
 * `reprise record`, interleaved round by round. Recorder, model server and what else runs are one session, which is one
 * scheduling group: the recorder has to get its processor time from them. Load is 50 requests/s in open loop.
 *
 * - `gunicorn`: the requests alone take 90 % of all processors.
 * - `loops`: a request takes 1 ms, and 32 busy loops run beside the server.
 * - `pictures`: as `gunicorn`, and each second a picture of 2 MB, masked by the preset `llm`.
 *
 * p99 may be a tenth more through the recorder, 99 % must be recorded once it has drained, and no recorder may end.
 * A request that fails ends the bench.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
import { median, quantile } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '180' },
    cases: { type: 'string', default: 'gunicorn,loops,pictures' },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const WORKERS = 17;
const PER_SECOND = 50;
const TAKEN_SHARE = 0.9;
const START_MS = 30_000;
const MOST_OF_P99 = 1.1;
const LEAST_RECORDED = 0.99;
const PICTURE = `data:image/png;base64,${randomBytes(1_500_000).toString('base64')}`;
const support = fileURLToPath(new URL('support', import.meta.url));
const bin = fileURLToPath(new URL('../bin/reprise.js', import.meta.url));

interface Case {
  readonly busyMs: number;
  readonly loops: number;
  /** Flags of redaction; with them a picture is sent each second. */
  readonly masks: readonly string[];
}

const busyMs = (TAKEN_SHARE * availableParallelism() * 1_000) / PER_SECOND;
const CASES: Readonly<Record<string, Case>> = {
  gunicorn: { busyMs, loops: 0, masks: [] },
  loops: { busyMs: 1, loops: 32, masks: [] },
  pictures: { busyMs, loops: 0, masks: ['--redact-preset', 'llm'] },
};

interface Run {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Null without a recorder. */
  readonly recordedShare: number | null;
  readonly recorderEnds: number;
}

const tool = pythonWith(['gunicorn==27.0.1']);
if ('missing' in tool) throw new Error(`no gunicorn: ${tool.missing}`);
const python = tool.path;

/** Everything of the host but the clients, in one session. It ends as its last command does. */
function startHost(one: Case, port: number, home: string, last: readonly string[]): RunningProcess {
  const serve = `${python} -m gunicorn -w ${WORKERS} -b 127.0.0.1:${port} --log-level error --worker-tmp-dir ${home} busy_wsgi:application`;
  const loop = `while [ ! -e ${join(home, 'go')} ]; do sleep 0.1; done; exec timeout --foreground ${SECONDS + 60} sh -c 'while :; do :; done'`;
  const script = `${serve} & for i in $(seq ${one.loops}); do (${loop}) & done; exec "$0" "$@"`;
  const env = { BUSY_MS: String(one.busyMs), PYTHONPATH: support };
  return startProcess('sh', ['-c', script, ...last], { ownGroup: true, env });
}

async function answers(port: number): Promise<void> {
  for (const until = Date.now() + START_MS; Date.now() < until; await sleep(100)) {
    const body = JSON.stringify({ id: 0 });
    const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body }).catch(() => null);
    if (answer?.ok) return;
  }
  throw new Error('the model server does not answer');
}

async function runOnce(one: Case, records: boolean): Promise<Run> {
  const home = mkdtempSync(join(tmpdir(), 'reprise-saturated-'));
  const port = await freePort();
  const recorder = [
    ...[process.execPath, bin, '--log-format', 'json', 'record', '--target', `127.0.0.1:${port}`],
    ...['--listen', '127.0.0.1:0', '--dir', join(home, 'capture'), '--probe-listen', 'off'],
    ...['--drain-delay', '0s', '--drain-deadline', '5s', ...one.masks],
  ];
  const host = startHost(one, port, home, records ? recorder : ['sleep', 'infinity']);
  try {
    await answers(port);
    const through = records
      ? Number((await host.waitFor('stderr', /"listen":"127\.0\.0\.1:(\d+)"/))[1])
      : port;
    if (records) await host.waitFor('stderr', /"state":"HEALTHY"/);
    writeFileSync(join(home, 'go'), '');
    const traffic = new PacedTraffic(through, PER_SECOND);
    const pictures = one.masks.length === 0 ? null : new PacedTraffic(through, 1, PICTURE);
    await sleep(SECONDS * 1_000);
    await Promise.all([traffic.stop(), pictures?.stop()]);
    const latencies = [...traffic.takeLatenciesMs()];
    const [failure] = [...traffic.failed, ...(pictures?.failed ?? [])];
    if (failure !== undefined) throw new Error(`request ${failure.id} failed: ${failure.reason}`);
    const sent = traffic.succeeded + (pictures?.succeeded ?? 0);
    const seen = { p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99) };
    if (!records) return { ...seen, recordedShare: null, recorderEnds: 0 };
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
  const runs: { readonly direct: Run[]; readonly record: Run[] } = { direct: [], record: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    runs.direct.push(await runOnce(one, false));
    runs.record.push(await runOnce(one, true));
  }
  for (const [contender, all] of Object.entries(runs)) {
    rows[`${name}, ${contender}`] = {
      'p50 ms': Number(median(all.map(({ p50Ms }) => p50Ms)).toPrecision(4)),
      'p99 ms': Number(median(all.map(({ p99Ms }) => p99Ms)).toPrecision(4)),
      'p99 least': Number(Math.min(...all.map(({ p99Ms }) => p99Ms)).toPrecision(4)),
      'p99 most': Number(Math.max(...all.map(({ p99Ms }) => p99Ms)).toPrecision(4)),
    };
  }
  const p99 = (all: readonly Run[]): number => median(all.map(({ p99Ms }) => p99Ms));
  const missing = runs.record.map(({ recordedShare }) => 1 - (recordedShare ?? 0));
  figures.push(
    {
      figure: `${name}: p99 of clients, in that without a recorder`,
      bound: MOST_OF_P99,
      value: Number((p99(runs.record) / p99(runs.direct)).toFixed(3)),
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
