import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { JUDGEMENT_BOUNDS } from '../analysis/verdict/run-context.ts';
import { MOST_STALL_MS, type SelftestStep, selftestDoubts } from '../analysis/verdict/selftest.ts';
import { VERSION } from '../app/version.ts';
import { entryPath } from '../app/workers.ts';
import { systemClock } from '../core/clock.ts';
import { AppError, Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { type Asked, readOptions, value } from '../core/options.ts';
import { formatBytes, formatMs, parseBytes, parseCount, parseDurationMs } from '../core/units.ts';
import { NO_DEBUGGER } from '../proxy/control/recorder-supervisor.ts';
import { RateLadder } from '../replay/selftest.ts';
import type { SelftestEnd, Tested } from './selftest-conclusion.ts';
import { playStep } from './selftest-step.ts';

export const SELFTEST_OPTIONS = {
  body: value('--body <size>', 'size of the request bodies', parseBytes, { default: '2KB' }),
  senders: value('--senders <n>', 'threads that send', parseSenders, { default: '1' }),
  seconds: value('--seconds <n>', 'how long each rate is played', parseCount, { default: '3' }),
  budget: value('--budget <time>', 'begin no rate that would end later than this', parseDurationMs, {
    default: '55s',
  }),
};

export interface SelftestOptions {
  readonly bodyBytes: number;
  readonly senders: number;
  readonly secondsPerStep: number;
  readonly budgetMs: number;
}

/** What a selftest tells while it works. */
export interface SelftestDeps {
  readonly signal: AbortSignal;
  /** The server is there, and the first rate is next. */
  readonly onBegin: () => void;
  readonly onRate: (ratePerSecond: number) => void;
  readonly onStep: (step: SelftestStep) => void;
}

const MAX_SECONDS = 60;
/** A step takes so much longer than its load: threads start, the sender rehearses, the last answers come. */
const STEP_OVERHEAD_MS = 1_500;
const SERVER_START_MS = 10_000;

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveSelftestOptions(asked: Asked<typeof SELFTEST_OPTIONS>): SelftestOptions {
  const problems = new Problems();
  const { body, senders, seconds, budget } = readOptions(SELFTEST_OPTIONS, asked, problems);
  if (body > LIMITS.readAheadBytes / 4) problems.add(`--body: ${formatBytes(body)} is over 16 MiB`);
  if (seconds > MAX_SECONDS) problems.add(`--seconds: ${seconds} is over ${MAX_SECONDS}`);
  if (budget < seconds * 1e3 + STEP_OVERHEAD_MS) {
    problems.add(`--budget: ${formatMs(budget)} is too short for one rate of ${seconds} s`);
  }
  problems.throwIfAny();
  return { bodyBytes: body, senders, secondsPerStep: seconds, budgetMs: budget };
}

function parseSenders(given: string, what: string): number {
  const senders = parseCount(given, what);
  if (senders <= LIMITS.senders) return senders;
  throw new AppError('OPTION_INVALID', `${what}: ${senders} is over ${LIMITS.senders}`, {
    hint: `Give 1 to ${LIMITS.senders}: no more than there are cores.`,
  });
}

/**
 * Replays made-up requests against a server in a process of its own, at growing rates.
 * @throws AppError INTERNAL where that server does not come up
 */
export async function selftest(options: SelftestOptions, deps: SelftestDeps): Promise<Tested> {
  const server = fork(entryPath('null-server'), {
    execArgv: [...process.execArgv, NO_DEBUGGER],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  try {
    const port = await portOf(server);
    deps.onBegin();
    return await climb(port, options, deps);
  } finally {
    server.kill('SIGKILL');
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
  { signal, onRate, onStep }: SelftestDeps,
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
    onRate(rate);
    const step = await playStep(port, { ratePerSecond: rate, seconds, bodyBytes }, senders, signal);
    if (signal.aborted) return ended('interrupted');
    steps.push(step);
    onStep(step);
    ladder.tell(selftestDoubts(step).length === 0);
  }
  return ended(ladder.isOpen ? 'highest_tried' : 'found');
}

/** The document of `selftest --json`. */
export function selftestDocument(
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
