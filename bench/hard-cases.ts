/**
 * Cases that must not make a send late: targets that are slow, hang or do not accept, 2,000 requests in flight, equal
 * instants, and a pause before a burst.
 *
 *     node bench/hard-cases.ts [--only fast,slow,…] [--seconds 10] [--silence 60]
 *
 * Everything runs through the command line, with requests without a body. `fast` has the plan of `hangs` with a target
 * that answers at once, to show this machine's own lag. A case counts only if every planned request was sent once and
 * in order. Lag beyond 250 ms is a stall, which is counted separately.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import type { Send } from '../src/core/run.ts';
import { RunReader } from '../src/storage/runs/reader.ts';
import { type ArrivalPlan, captureOf, evenPlan } from './support/arrival-plan.ts';
import { quantile } from './support/statistics.ts';

const CASES = ['fast', 'slow', 'hangs', 'deaf', 'ties', 'silence'] as const;
type Case = (typeof CASES)[number];
const TIED = 28;

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string', default: CASES.join(',') },
    seconds: { type: 'string', default: '10' },
    silence: { type: 'string', default: '60' },
  },
});
const SECONDS = Number(flags.seconds);
const SILENCE_US = Number(flags.silence) * 1e6;
const root = fileURLToPath(new URL('..', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'reprise-hard-cases-'));

interface Played {
  readonly sends: readonly Send[];
  readonly connectMs: { readonly max: number | null };
  readonly errors: Readonly<Record<string, number>>;
}

/** Groups of requests that are due in the same microsecond, half a second apart. */
function tiedPlan(groups: number): ArrivalPlan {
  return Array.from({ length: groups * TIED }, (_, index) => Math.floor(index / TIED) * 500_000);
}

/** 100 requests with gaps of a millisecond, a pause, and 100 more. */
function silencePlan(): ArrivalPlan {
  return Array.from({ length: 200 }, (_, index) => index * 1_000 + (index < 100 ? 0 : SILENCE_US));
}

const plans: Record<Case, { plan: ArrivalPlan; server: string[]; flags: string[] }> = {
  fast: { plan: evenPlan(200, SECONDS), server: ['after', '0'], flags: [] },
  slow: { plan: evenPlan(10, SECONDS), server: ['after', '10000'], flags: ['--timeout', 'drain=15s'] },
  hangs: { plan: evenPlan(200, SECONDS), server: ['never'], flags: ['--timeout', 'drain=1s'] },
  deaf: { plan: evenPlan(200, SECONDS), server: ['deaf'], flags: ['--timeout', 'drain=1s'] },
  ties: { plan: tiedPlan(2 * SECONDS), server: ['after', '0'], flags: [] },
  silence: { plan: silencePlan(), server: ['after', '0'], flags: [] },
};

async function startServer(args: string[]): Promise<{ server: ChildProcess; port: number }> {
  const server = fork(new URL('./support/hard-server.ts', import.meta.url), args);
  const [{ port }] = (await once(server, 'message')) as [{ port: number }];
  if (args[0] === 'deaf') server.kill('SIGSTOP');
  return { server, port };
}

/** @throws Error unless every planned request was sent once and in order */
async function play(name: Case): Promise<Played> {
  const { plan, server: serverArgs, flags: more } = plans[name];
  const capture = captureOf(plan, Buffer.alloc(0), directory, `capture-${name}`);
  const { server, port } = await startServer(serverArgs);
  const out = join(directory, `run-${name}`);
  const target = ['--target', `http://127.0.0.1:${port}`, '--max-rate', '1000000'];
  const args = [join(root, 'bin/reprise.js'), 'replay', capture, ...target, '--out', out, '--json', ...more];
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 24 }).catch(
      // 4: not valid; 5: stopped because everything failed. Both are judgements of the target.
      (error: { code: number; stdout: string; stderr: string }) => {
        if (error.code === 4 || error.code === 5) return error;
        throw new Error(`replay ended with ${error.code}: ${error.stderr}`);
      },
    );
    const { connectMs, errors } = JSON.parse(stdout) as Played;
    return { sends: sendsOf(out, plan.length), connectMs, errors };
  } finally {
    server.kill('SIGKILL');
  }
}

function sendsOf(run: string, planned: number): Send[] {
  const reader = new RunReader(run);
  const sends = [...reader.sends()];
  reader.close();
  let lastNs = 0;
  for (const { index, actualOffsetNs, intendedOffsetNs } of sends) {
    if (actualOffsetNs === null) throw new Error(`request ${index} was not sent`);
    if (actualOffsetNs < lastNs || actualOffsetNs < intendedOffsetNs)
      throw new Error(`request ${index} too soon`);
    lastNs = actualOffsetNs;
  }
  if (sends.length !== planned) throw new Error(`planned ${planned}, sent ${sends.length}`);
  return sends;
}

const lagUs = (send: Send): number => ((send.actualOffsetNs ?? Number.NaN) - send.intendedOffsetNs) / 1e3;

/** Most requests open at once. */
function inFlightMax(sends: readonly Send[]): number {
  const changes = sends.flatMap(({ actualOffsetNs, lastByteOffsetNs }) => [
    { at: actualOffsetNs ?? 0, by: 1 },
    { at: lastByteOffsetNs ?? Number.POSITIVE_INFINITY, by: -1 },
  ]);
  let open = 0;
  let most = 0;
  for (const { by } of changes.sort((a, b) => a.at - b.at)) {
    open += by;
    most = Math.max(most, open);
  }
  return most;
}

function rowOf({ sends, connectMs, errors }: Played): Record<string, number | string | null> {
  const lags = sends.map(lagUs);
  const whole = (value: number): number => Number(value.toPrecision(3));
  return {
    sent: sends.length,
    'lag p50 µs': whole(quantile(lags, 0.5)),
    'p90 µs': whole(quantile(lags, 0.9)),
    'p99 µs': whole(quantile(lags, 0.99)),
    'max µs': whole(quantile(lags, 1)),
    'over 250 ms': lags.filter((lag) => lag > 250_000).length,
    'in flight': inFlightMax(sends),
    'connect max ms': connectMs.max === null ? null : whole(connectMs.max),
    errors: Object.entries(errors)
      .map(([name, count]) => `${name} ${count}`)
      .join(' '),
  };
}

/** For each group of equal instants: the time from its first send to its last. */
function tieSpansUs(sends: readonly Send[]): number[] {
  const groups = Map.groupBy(sends, ({ intendedOffsetNs }) => intendedOffsetNs);
  return [...groups.values()].map((group) => lagUs(group.at(-1) as Send) - lagUs(group[0] as Send));
}

const rows: Record<string, ReturnType<typeof rowOf>> = {};
const extra: Record<string, number> = {};
try {
  for (const name of CASES.filter((each) => flags.only.split(',').includes(each))) {
    const played = await play(name);
    rows[name] = rowOf(played);
    if (name === 'ties') {
      const spans = tieSpansUs(played.sends);
      extra['ties: first to last stamp, median µs'] = Math.round(quantile(spans, 0.5));
      extra['ties: first to last stamp, most µs'] = Math.round(quantile(spans, 1));
    }
    if (name === 'silence') {
      const [before, after] = [played.sends.slice(0, 100), played.sends.slice(100)].map((half) =>
        half.map(lagUs),
      );
      extra['burst before the silence, lag p90 µs'] = Math.round(quantile(before ?? [], 0.9));
      extra['burst behind the silence, lag p90 µs'] = Math.round(quantile(after ?? [], 0.9));
      extra['first send behind the silence, lag µs'] = Math.round(after?.[0] ?? Number.NaN);
    }
  }
} finally {
  rmSync(directory, { recursive: true });
}
console.log(`hard cases: load average ${loadavg()[0]?.toFixed(1)}`);
console.table(rows);
console.table(extra);
console.log(JSON.stringify({ bench: 'hard-cases', node: process.version, rows, extra }));
