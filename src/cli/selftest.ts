import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { MOST_STALL_MS, type SelftestStep, selftestDoubts } from '../analysis/selftest-step.ts';
import { JUDGEMENT_BOUNDS } from '../analysis/verdict/run-context.ts';
import { VERSION } from '../app/version.ts';
import { entryPath } from '../app/workers.ts';
import { systemClock } from '../core/clock.ts';
import { AppError, Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { type Asked, readOptions, toggle, value } from '../core/options.ts';
import { formatBytes, formatMs, parseBytes, parseCount, parseDurationMs } from '../core/units.ts';
import { NO_DEBUGGER } from '../proxy/control/recorder-supervisor.ts';
import { RateLadder } from '../replay/selftest/rate-ladder.ts';
import { EXIT } from './exit.ts';
import { addOptions } from './flags.ts';
import { Interruption } from './interruption.ts';
import { askedOf } from './options.ts';
import { conclusionLines, type SelftestEnd, type Tested } from './selftest-conclusion.ts';
import { playStep } from './selftest-step.ts';
import { type Column, tableLines, terminal } from './terminal.ts';

const OPTIONS = {
  body: value('--body <size>', 'size of the request bodies', parseBytes, { default: '2KB' }),
  senders: value('--senders <n>', 'threads that send', parseSenders, { default: '1' }),
  seconds: value('--seconds <n>', 'how long each rate is played', parseCount, { default: '3' }),
  budget: value('--budget <time>', 'begin no rate that would end later than this', parseDurationMs, {
    default: '55s',
  }),
  json: toggle('--json', 'print one JSON document'),
};

interface SelftestOptions {
  readonly bodyBytes: number;
  readonly senders: number;
  readonly secondsPerStep: number;
  readonly budgetMs: number;
  readonly json: boolean;
}

const MAX_SECONDS = 60;
/** A step takes so much longer than its load: threads start, the sender rehearses, the last answers come. */
const STEP_OVERHEAD_MS = 1_500;
const SERVER_START_MS = 10_000;

/** `reprise selftest`: up to which rate this machine sends when it means to. */
export function selftestCommand(): Command {
  const command = new Command('selftest')
    .description(
      'Replay made-up requests against a server of our own at growing rates, and say up to which rate this ' +
        'machine keeps its schedule. Takes under a minute, sends nothing to anybody else and leaves nothing behind.',
    )
    .action(async (_: object, command: Command) => {
      const options = resolveSelftestOptions(askedOf(command, OPTIONS));
      await selftest(options, options.json);
    });
  return addOptions(command, OPTIONS);
}

/** @throws AppError OPTION_INVALID listing every problem at once */
function resolveSelftestOptions(asked: Asked<typeof OPTIONS>): SelftestOptions {
  const problems = new Problems();
  const { body, senders, seconds, budget, json } = readOptions(OPTIONS, asked, problems);
  if (body > LIMITS.readAheadBytes / 4) problems.add(`--body: ${formatBytes(body)} is over 16 MiB`);
  if (seconds > MAX_SECONDS) problems.add(`--seconds: ${seconds} is over ${MAX_SECONDS}`);
  if (budget < seconds * 1e3 + STEP_OVERHEAD_MS) {
    problems.add(`--budget: ${formatMs(budget)} is too short for one rate of ${seconds} s`);
  }
  problems.throwIfAny();
  return { bodyBytes: body, senders, secondsPerStep: seconds, budgetMs: budget, json };
}

function parseSenders(given: string, what: string): number {
  const senders = parseCount(given, what);
  if (senders <= LIMITS.senders) return senders;
  throw new AppError('OPTION_INVALID', `${what}: ${senders} is over ${LIMITS.senders}`, {
    hint: `Give 1 to ${LIMITS.senders}: no more than there are cores.`,
  });
}

async function selftest(options: SelftestOptions, json: boolean): Promise<void> {
  const interruption = new Interruption();
  const server = fork(entryPath('null-server'), {
    execArgv: [...process.execArgv, NO_DEBUGGER],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  try {
    const port = await portOf(server);
    if (!json) {
      terminal.print(
        `Poisson arrivals of POSTs with ${formatBytes(options.bodyBytes)}, ${options.secondsPerStep} s each, by ${options.senders === 1 ? 'one sender' : `${options.senders} senders`}, to a server of our own on this machine`,
        '',
        ...tableLines(COLUMNS, []),
      );
    }
    const tested = await climb(port, options, interruption.signal, (step) => {
      if (!json) terminal.print(...tableLines(COLUMNS, [cellsOf(step)]).slice(1));
    });
    if (json) terminal.json(documentOf(options, tested));
    else terminal.print('', ...conclusionLines(tested));
    process.exitCode =
      interruption.status ?? (tested.highestHonestRate === null ? EXIT.inconclusive : EXIT.ok);
  } finally {
    server.kill('SIGKILL');
    interruption.end();
  }
}

/** @throws AppError INTERNAL where the server does not come up */
async function portOf(server: ChildProcess): Promise<number> {
  const gone = new AbortController();
  server.once('exit', () => gone.abort());
  const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(SERVER_START_MS)]);
  try {
    const [port] = (await once(server, 'message', { signal })) as [number];
    return port;
  } catch (cause) {
    throw new AppError('INTERNAL', 'the server of the selftest did not start', { cause });
  }
}

async function climb(
  port: number,
  { bodyBytes, senders, secondsPerStep: seconds, budgetMs }: SelftestOptions,
  signal: AbortSignal,
  onStep: (step: SelftestStep) => void,
): Promise<Tested> {
  const ladder = new RateLadder();
  const steps: SelftestStep[] = [];
  const begunNs = systemClock.nowNs();
  const stepMs = seconds * 1e3 + STEP_OVERHEAD_MS;
  const ended = (endedBy: SelftestEnd): Tested => ({
    steps,
    highestHonestRate: ladder.highestKept,
    lowestMissedRate: ladder.lowestMissed,
    endedBy,
  });
  for (let rate = ladder.next; rate !== null; rate = ladder.next) {
    if ((systemClock.nowNs() - begunNs) / 1e6 + stepMs > budgetMs) return ended('budget');
    terminal.progress(`${rate} requests/s for ${seconds} s`);
    const step = await playStep(port, { ratePerSecond: rate, seconds, bodyBytes }, senders, signal);
    if (signal.aborted) return ended('interrupted');
    steps.push(step);
    onStep(step);
    ladder.tell(selftestDoubts(step).length === 0);
  }
  return ended(ladder.isOpen ? 'highest_tried' : 'found');
}

function documentOf(
  options: SelftestOptions,
  { steps, highestHonestRate, lowestMissedRate, endedBy }: Tested,
): object {
  const { lagNs, achievedShare, busyShare } = JUDGEMENT_BOUNDS;
  return {
    schemaVersion: 1,
    kind: 'selftest',
    version: VERSION,
    node: process.versions.node,
    cpus: availableParallelism(),
    bodyBytes: options.bodyBytes,
    senders: options.senders,
    secondsPerStep: options.secondsPerStep,
    bounds: { lagP99Us: lagNs / 1e3, achievedShare, senderBusyShare: busyShare, stallMs: MOST_STALL_MS },
    steps: steps.map((step) => {
      const doubts = selftestDoubts(step);
      return { ...step, honest: doubts.length === 0, doubts };
    }),
    highestHonestRate,
    lowestMissedRate,
    endedBy,
  };
}

/** Wide enough for any value, because each row is printed as it comes. */
const COLUMNS: readonly Column[] = [
  'requests/s',
  '   lag p50',
  '   lag p90',
  '   lag p99',
  '      max',
  'achieved',
  'busy',
  '',
].map((title, at) => ({ title, align: at === 7 ? 'left' : 'right' }));

function cellsOf(step: SelftestStep): string[] {
  const ms = (us: number | null) => (us === null ? '–' : formatMs(us / 1e3));
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  const { p50, p90, p99, max } = step.lagUs;
  const doubts = selftestDoubts(step);
  return [
    String(step.ratePerSecond),
    ...[p50, p90, p99, max].map(ms),
    percent(step.achievedShare),
    percent(step.senderBusyShare),
    doubts.length === 0 ? 'kept' : `not kept: ${doubts.join(', ')}`,
  ];
}
