/**
 * Does a replay of a real trace keep its arrival pattern? The first 35 minutes of the Azure 2023 conversation trace,
 * paired with real chat prompts, at 10x (210 s, so that there are more than 20 windows of 10 s).
 *
 *     node bench/trace.ts [--runs 3] [--minutes 35] [--multiplier 10]
 *
 * Everything runs through the command line. The target answers at once, in a separate process. A run counts only if
 * every planned request was sent once, in order, and reached the target. Medians over the runs.
 */
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { RunReader } from '../src/storage/runs/reader.ts';
import type { CountingServerReport } from './support/counting-server.ts';
import { median } from './support/statistics.ts';

const { values: flags } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    minutes: { type: 'string', default: '35' },
    multiplier: { type: 'string', default: '10' },
  },
});

/** The parts of the replay document that are read here. */
interface Replay {
  readonly planned: number;
  readonly sent: number;
  readonly verdict: string | null;
  readonly reasons: readonly { readonly code: string }[];
  readonly lagUs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  readonly fidelity: { readonly planned: Arrivals; readonly sent: Arrivals };
}

interface Arrivals {
  readonly cv: number;
  readonly idc: Readonly<Record<string, number | null>>;
}

const IDC_WINDOWS = ['0.1', '1', '10'];
const root = fileURLToPath(new URL('..', import.meta.url));
const trace = join(root, 'fixtures/data/azure-llm-2023-conv/AzureLLMInferenceTrace_conv.csv.gz');
const prompts = join(root, 'fixtures/data/arena-hard-prompts/chat_completions.jsonl.gz');

/** Runs `reprise` and returns its stdout. Exit statuses of a verdict are results, not errors. */
async function reprise(...args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)(process.execPath, [join(root, 'bin/reprise.js'), ...args])).stdout;
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    if (code === 4 && stdout !== '') return stdout;
    throw new Error(`reprise ${args[0]} ended with ${code}: ${stderr}`);
  }
}

function deviation(sent: number | null | undefined, planned: number | null | undefined): number {
  return sent == null || planned == null ? Number.NaN : Math.abs(sent / planned - 1) * 100;
}

/** @throws Error unless every planned request was sent once and in order. */
function checkSends(directory: string, replay: Replay, arrived: number): void {
  const reader = new RunReader(directory);
  let index = 0;
  let lastNs = Number.NEGATIVE_INFINITY;
  for (const send of reader.sends()) {
    if (send.index !== index || send.actualOffsetNs === null) throw new Error(`send ${index} is missing`);
    if (send.actualOffsetNs < lastNs) throw new Error(`send ${index} went before the one ahead of it`);
    lastNs = send.actualOffsetNs;
    index += 1;
  }
  reader.close();
  if (index !== replay.planned || replay.sent !== replay.planned || arrived !== replay.planned) {
    throw new Error(`planned ${replay.planned}, sent ${replay.sent}, arrived ${arrived}, rows ${index}`);
  }
}

async function runOnce(capture: string, directory: string): Promise<Replay> {
  const server = fork(new URL('./support/counting-server.ts', import.meta.url));
  const [port] = (await once(server, 'message')) as [number];
  const first = Date.parse('2023-11-16T18:15:46.680Z');
  const to = new Date(first + Number(flags.minutes) * 60_000).toISOString();
  const args = [
    '--target',
    `http://127.0.0.1:${port}`,
    '--multiplier',
    flags.multiplier,
    '--window',
    `..${to}`,
  ];
  const replay = JSON.parse(
    await reprise('replay', capture, ...args, '--out', directory, '--json'),
  ) as Replay;
  server.send('report');
  const [report] = (await once(server, 'message')) as [CountingServerReport];
  checkSends(directory, replay, report.requests);
  return replay;
}

function rowOf({ planned, lagUs, fidelity, reasons }: Replay): Record<string, number | string> {
  const idc = IDC_WINDOWS.map((window) => [
    `IDC ${window} s off %`,
    Number(deviation(fidelity.sent.idc[window], fidelity.planned.idc[window]).toFixed(2)),
  ]);
  return {
    sent: planned,
    'lag p50 µs': Number(lagUs.p50.toFixed(1)),
    'p90 µs': Number(lagUs.p90.toFixed(1)),
    'p99 µs': Number(lagUs.p99.toFixed(0)),
    'max µs': Number(lagUs.max.toFixed(0)),
    'CV off %': Number(deviation(fidelity.sent.cv, fidelity.planned.cv).toFixed(2)),
    ...Object.fromEntries(idc),
    reasons: reasons.map(({ code }) => code).join(' ') || 'valid',
  };
}

const directory = mkdtempSync(join(tmpdir(), 'reprise-trace-'));
try {
  const capture = join(directory, 'capture');
  const pairing = ['--payloads', prompts, '--request-path', '/v1/chat/completions'];
  await reprise('import', 'arrivals', trace, '--time', 'TIMESTAMP', ...pairing, '--out', capture);
  const replays: Replay[] = [];
  for (let run = 0; run < Number(flags.runs); run += 1) {
    replays.push(await runOnce(capture, join(directory, `run-${run}`)));
  }
  console.log(
    `trace: first ${flags.minutes} min of the Azure 2023 conversation trace at ${flags.multiplier}x`,
  );
  console.table(replays.map(rowOf));
  const lagP50Us = median(replays.map(({ lagUs }) => lagUs.p50));
  const lagP99Us = median(replays.map(({ lagUs }) => lagUs.p99));
  console.log(`median lag p50 ${lagP50Us.toFixed(1)} µs, p99 ${lagP99Us.toFixed(0)} µs`);
  console.log(JSON.stringify({ bench: 'trace', ...flags, lagP50Us, lagP99Us, rows: replays.map(rowOf) }));
} finally {
  rmSync(directory, { recursive: true });
}
