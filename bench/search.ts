/**
 * Which search finds a known breaking point more exactly, and how fast: `reprise capacity`, or AIPerf's?
 *
 *     node bench/search.ts [--rounds 3] [--budget 90s] [--requests 600] [--planners smooth-isotonic,monotonic-sla]
 *
 * The model server is a separate process with four executors and a service time of 40 ms. Arrivals are a Poisson
 * process, so the rate at which the p90 latency reaches 100 ms is known: such a queue is simulated on a virtual clock,
 * with 400,000 requests for each rate. Both tools search that rate, in turn, round by round:
 *
 * - `reprise capacity` replays a recording of 20 requests per second at multiples of its rate, for at most `--budget`.
 * - AIPerf sends chats with `--request-rate-mode poisson`. Its planners `smooth-isotonic` and `monotonic-sla` search a
 *   rate between 20 and 120 with probes of `--requests` requests. They end by themselves, after at most 20 probes.
 *
 * Before the measurement, the server must answer a request of each kind. After each search, it must have answered every
 * request that the tool reports as sent. Time is that of the whole command: start, dataset, probes, result.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { systemClock } from '../src/core/clock.ts';
import type { CapacityDocument } from '../src/documents/capacity.ts';
import { pythonWith } from '../test/support/peer-tools.ts';
import { poissonArrivals, queueLatencies, uniform } from '../test/support/queue-simulator.ts';
import { captureOf, poissonPlan } from './support/arrival-plan.ts';
import { AIPERF, AIPERF_QUIET, tokenizerOf } from './support/load-tools.ts';
import { median } from './support/statistics.ts';

const EXECUTORS = 4;
const SERVICE_MS = 40;
const LIMIT_MS = 100;
const RECORDED_RATE = 20;
const RATES = [20, 120] as const;

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    budget: { type: 'string', default: '90s' },
    requests: { type: 'string', default: '600' },
    planners: { type: 'string', default: 'smooth-isotonic,monotonic-sla' },
  },
});
const root = fileURLToPath(new URL('..', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'reprise-search-'));

/** The result of a tool. */
interface Found {
  /** Requests a second; null for no result. */
  readonly rate: number | null;
  readonly requests: number;
}

/** A tool that searches. `search` throws an Error if it fails. */
interface Searcher {
  readonly name: string;
  search(url: string, out: string): Promise<Found>;
}

/** The rate at which the p90 latency reaches the limit, requests per second. */
function trueRate(): number {
  let [low, high]: [number, number] = [...RATES];
  for (let step = 0; step < 16; step += 1) {
    const rate = (low + high) / 2;
    const arrivals = poissonArrivals(400_000, rate, uniform(1));
    const latencies = queueLatencies(arrivals, EXECUTORS, () => SERVICE_MS / 1e3).sort();
    if ((latencies[Math.ceil(0.9 * latencies.length) - 1] as number) * 1e3 < LIMIT_MS) low = rate;
    else high = rate;
  }
  return low;
}

/** A server that answers both kinds of requests, and counts its answers. */
async function startServer() {
  const service = ['--executors', String(EXECUTORS), '--base-ms', String(SERVICE_MS)];
  const flags = [...service, '--per-kib-us', '0', '--token-ms', '0', '--listen', '127.0.0.1:0'];
  const server = spawn(process.execPath, [join(root, 'fixtures/model-server/main.ts'), ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.on('exit', () => server.kill());
  const [line] = (await once(server.stdout, 'data')) as [Buffer];
  const { listening: url } = JSON.parse(line.toString()) as { listening: string };
  const answered = async (): Promise<number> => {
    const text = await (await fetch(`${url}/metrics`)).text();
    const counts = [...text.matchAll(/^model_server_requests_total\{[^}]*code="200"\} (\d+)$/gm)];
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  };
  return { url, answered };
}

const PLAIN = { path: '/predictions/ranker', body: '{"features":[1,2,3]}' };
const CHAT = {
  path: '/v1/chat/completions',
  body: JSON.stringify({ model: 'bench', max_tokens: 1, messages: [{ role: 'user', content: 'Hello' }] }),
};

async function assertAnswers(url: string): Promise<void> {
  for (const { path, body } of [PLAIN, CHAT]) {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${url}${path}`, { method: 'POST', headers, body });
    if (answer.status !== 200) throw new Error(`${path} answers ${answer.status}: ${await answer.text()}`);
  }
}

function reprise(): Searcher {
  const plan = poissonPlan(RECORDED_RATE, 60);
  const capture = captureOf(plan, Buffer.from(PLAIN.body), directory, 'capture', () => PLAIN.path);
  return {
    name: 'reprise',
    search: async (url, out) => {
      const asked = ['--target', url, '--slo', `latency: p(90)<${LIMIT_MS}`, '--budget', flags.budget];
      const args = ['capacity', capture, ...asked, '--compare-at-1x', 'off', '--json', '--out', out];
      const stdout = await run(process.execPath, [join(root, 'bin/reprise.js'), ...args], [0, 4]);
      const { breakingPoint, steps } = JSON.parse(stdout) as CapacityDocument;
      return {
        rate: breakingPoint.boundary?.ratePerSecond ?? null,
        requests: steps.flatMap(({ windows }) => windows).reduce((sum, { completed }) => sum + completed, 0),
      };
    },
  };
}

/** The search history that AIPerf stores. */
interface SearchHistory {
  readonly iterations: readonly object[];
  readonly boundary_summary: {
    readonly feasible_max: { readonly value: number } | null;
    readonly infeasible_min: { readonly value: number } | null;
  } | null;
}

function aiperf(python: string, planner: string): Searcher {
  const tokenizer = tokenizerOf(python, directory);
  return {
    name: `AIPerf, ${planner}`,
    search: async (url, out) => {
      const chats = ['--model', 'bench', '--url', url, '--endpoint-type', 'chat', '--tokenizer', tokenizer];
      const sizes = ['--synthetic-input-tokens-mean', '20', '--output-tokens-mean', '1'];
      const load = ['--request-rate', String(RATES[0]), '--request-rate-mode', 'poisson'];
      const probe = ['--request-count', flags.requests, '--warmup-duration', '2'];
      const space = ['--search-space', `phases.profiling.rate:${RATES.join(',')}:int`];
      const goal = ['--search-metric', 'request_throughput', '--search-direction', 'maximize'];
      const slo = ['--search-sla', `request_latency:p90:lt:${LIMIT_MS}`, '--search-max-iterations', '20'];
      const args = [
        'profile',
        ...chats,
        ...sizes,
        ...load,
        ...probe,
        ...space,
        ...goal,
        ...slo,
        ...AIPERF_QUIET,
      ];
      // A search without a result ends with status 1. A failed one leaves no history.
      await run(
        join(dirname(python), 'aiperf'),
        [...args, '--search-planner', planner, '--artifact-dir', out],
        [0, 1],
      );
      const history = JSON.parse(readFileSync(join(out, 'search_history.json'), 'utf8')) as SearchHistory;
      return {
        rate: history.boundary_summary?.feasible_max?.value ?? null,
        requests: history.iterations.length * Number(flags.requests),
      };
    },
  };
}

/** Runs a command to its end. @returns its stdout; @throws Error for another status */
async function run(command: string, args: readonly string[], statuses: readonly number[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== null && statuses.includes(status)) return texts.stdout;
  throw new Error(`${command} ended with ${status}: ${(texts.stderr || texts.stdout).slice(-4_000)}`);
}

const python = pythonWith(AIPERF);
if ('missing' in python) console.log(`AIPerf is left out: ${python.missing}`);
const truth = trueRate();
const tools = [
  reprise(),
  ...('missing' in python
    ? []
    : flags.planners
        .split(',')
        .filter(Boolean)
        .map((planner) => aiperf(python.path, planner))),
];
const rounds = new Map(
  tools.map(({ name }): [string, { off: number; seconds: number; requests: number }[]] => [name, []]),
);
console.log(
  `search: p90 comes to ${LIMIT_MS} ms at ${truth.toFixed(1)} requests/s; medians of ${flags.rounds} rounds, load average ${loadavg()[0]?.toFixed(1)}`,
);
try {
  const { url, answered } = await startServer();
  await assertAnswers(url);
  for (let round = 0; round < Number(flags.rounds); round += 1) {
    for (const [at, tool] of tools.entries()) {
      const [before, startNs] = [await answered(), systemClock.nowNs()];
      const { rate, requests } = await tool.search(url, join(directory, `${round}-${at}`));
      const seconds = (systemClock.nowNs() - startNs) / 1e9;
      const served = (await answered()) - before;
      // Tools do not count warm-ups, probes of the target, and requests still open at the end of a step.
      if (served < requests * 0.99) throw new Error(`${tool.name}: sent ${requests}, answered ${served}`);
      const off = rate === null ? Number.POSITIVE_INFINITY : Math.abs(rate / truth - 1);
      rounds.get(tool.name)?.push({ off, seconds, requests: served });
      console.log(`  ${tool.name}: ${rate?.toFixed(1) ?? 'nothing'} in ${seconds.toFixed(0)} s`);
    }
  }
} finally {
  rmSync(directory, { recursive: true });
}
const rows = Object.fromEntries(
  [...rounds].map(([name, all]) => [
    name,
    {
      'off by %': Number((100 * median(all.map(({ off }) => off))).toFixed(1)),
      'at most %': Number((100 * Math.max(...all.map(({ off }) => off))).toFixed(1)),
      seconds: Math.round(median(all.map(({ seconds }) => seconds))),
      requests: median(all.map(({ requests }) => requests)),
    },
  ]),
);
console.table(rows);
console.log(JSON.stringify({ bench: 'search', truth, node: process.version, loadAverage: loadavg(), rows }));
process.exit();
