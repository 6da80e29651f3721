import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { JUDGEMENT_BOUNDS } from '../analysis/verdict/run-context.ts';
import { systemClock } from '../core/clock.ts';
import { AppError, Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { type Asked, type ResolvedOptions, readOptions, value, word } from '../core/options.ts';
import { formatBytes, formatMs, parseBytes, parseCount, parseDurationMs, percent } from '../core/units.ts';
import type { LagUs } from '../documents/replay.ts';
import { CpuThrottle } from '../monitors/host.ts';
import { NO_DEBUGGER } from '../proxy/control/recorder-supervisor.ts';
import { ReplayEngine } from '../replay/engine/engine.ts';
import { countTo } from '../replay/options/parsers.ts';
import { RateLadder, SELFTEST_PROTOCOLS, type SyntheticLoad, syntheticSchedule } from '../replay/selftest.ts';
import { entryPath, entryUrl, VERSION } from './package.ts';

const SENDERS_HINT = `Give 1 to ${LIMITS.senders}: no more than there are cores.`;

export const SELFTEST_OPTIONS = {
  protocol: value(
    '--protocol <name>',
    'what is sent: http1, or grpc for unary calls by HTTP/2',
    word(SELFTEST_PROTOCOLS),
    {
      default: 'http1',
    },
  ),
  bodySize: value('--body-size <size>', 'size of the request bodies', parseBytes, { default: '2KB' }),
  threads: value('--threads <n>', 'number of sender threads', countTo(LIMITS.senders, SENDERS_HINT), {
    default: '1',
  }),
  seconds: value('--seconds <n>', 'seconds to send at each rate', parseCount, { default: '3' }),
  budget: value('--budget <time>', 'total time limit; skip rates that would exceed it', parseDurationMs, {
    default: '55s',
  }),
};

export type SelftestOptions = ResolvedOptions<typeof SELFTEST_OPTIONS>;

/** Callbacks of a selftest, and the signal that stops it. */
interface SelftestDeps {
  readonly signal: AbortSignal;
  /** Called when the server is ready, before the first rate. */
  readonly onBegin?: () => void;
  readonly onRate?: (ratePerSecond: number) => void;
  readonly onStep?: (step: SelftestStep) => void;
}

const MAX_SECONDS = 60;
/** Time of a step beyond its load: threads start, the sender rehearses, the last answers arrive. */
const STEP_OVERHEAD_MS = 1_500;
const SERVER_START_MS = 10_000;

/** @throws AppError OPTION_INVALID listing every problem at once */
export function resolveSelftestOptions(asked: Asked<typeof SELFTEST_OPTIONS>): SelftestOptions {
  const problems = new Problems();
  const options = readOptions(SELFTEST_OPTIONS, asked, problems);
  const { bodySize: body, seconds, budget } = options;
  if (body > LIMITS.readAheadBytes / 4) problems.add(`--body-size: ${formatBytes(body)} is over 16 MiB`);
  if (seconds > MAX_SECONDS) problems.add(`--seconds: ${seconds} is over ${MAX_SECONDS}`);
  if (budget < seconds * 1e3 + STEP_OVERHEAD_MS) {
    problems.add(`--budget: ${formatMs(budget)} is too short for one rate of ${seconds} s`);
  }
  problems.throwIfAny();
  return options;
}

/**
 * Replays generated requests at increasing rates against a server in a process of its own.
 * @throws AppError INTERNAL if that server does not start
 */
export async function selftest(options: SelftestOptions, deps: SelftestDeps): Promise<Tested> {
  const server = fork(entryPath('null-server'), [options.protocol], {
    execArgv: [...process.execArgv, NO_DEBUGGER],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  try {
    const port = await portOf(server);
    deps.onBegin?.();
    return await climb(port, options, deps);
  } finally {
    server.kill('SIGKILL');
  }
}

/** @throws AppError INTERNAL if the server does not start */
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
  { protocol, bodySize: bodyBytes, threads: senders, seconds, budget: budgetMs }: SelftestOptions,
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
    onRate?.(rate);
    const step = await playStep(port, { protocol, ratePerSecond: rate, seconds, bodyBytes }, senders, signal);
    if (signal.aborted) return ended('interrupted');
    steps.push(step);
    onStep?.(step);
    ladder.tell(selftestDoubts(step).length === 0);
  }
  return ended(ladder.isOpen ? 'highest_tried' : 'found');
}

export function selftestDocument(options: SelftestOptions, { steps, ...tested }: Tested) {
  const { lagNs, achievedShare, busyShare } = JUDGEMENT_BOUNDS;
  return {
    schemaVersion: 1,
    kind: 'selftest',
    version: VERSION,
    node: process.versions.node,
    cpus: availableParallelism(),
    protocol: options.protocol,
    bodyBytes: options.bodySize,
    senders: options.threads,
    secondsPerStep: options.seconds,
    bounds: { lagP99Us: lagNs / 1e3, achievedShare, senderBusyShare: busyShare, stallMs: MOST_STALL_MS },
    steps: steps.map((step) => {
      const doubts = selftestDoubts(step);
      return { ...step, honest: doubts.length === 0, doubts };
    }),
    ...tested,
  };
}

const TIMEOUT_MS = 10_000;
const WARM_CONNECTIONS = 8;

/** Plays one load with the engine of a replay and its default options. */
async function playStep(
  port: number,
  load: SyntheticLoad,
  senders: number,
  signal: AbortSignal,
): Promise<SelftestStep> {
  const engine = new ReplayEngine(
    {
      origin: `http://127.0.0.1:${port}`,
      maxInFlight: LIMITS.inFlight,
      socketPath: null,
      senders,
      maxInFlightBytes: LIMITS.inFlightBytes,
      connectTimeoutMs: TIMEOUT_MS,
      firstByteTimeoutMs: TIMEOUT_MS,
      idleTimeoutMs: TIMEOUT_MS,
      totalTimeoutMs: TIMEOUT_MS,
      drainDeadlineMs: TIMEOUT_MS / 5,
      // The limit for catching up after a stall. It is above the mean rate, like the busiest seconds of a real load.
      peakRatePerSecond: load.ratePerSecond * 2,
      readAheadBytes: LIMITS.readAheadBytes,
      readAheadRequests: LIMITS.readAheadRequests,
      warmConnections: WARM_CONNECTIONS,
      maxConnectionAgeMs: null,
      caPem: null,
      acceptAnyCertificate: false,
      expected: { http1: load.protocol === 'http1', http2: false, grpc: load.protocol === 'grpc' },
    },
    { clock: systemClock, pacerEntry: entryUrl('pacer'), senderEntry: entryUrl('sender') },
  );
  let planned = 0;
  let lastIntendedNs = 0;
  function* counted() {
    for (const request of syntheticSchedule(load)) {
      planned += 1;
      lastIntendedNs = request.intendedOffsetNs;
      yield request;
    }
  }
  let failed = 0;
  let lastActualNs = 0;
  const throttle = new CpuThrottle();
  const health = await engine.run(
    counted(),
    (results) => {
      for (const { actualOffsetNs, error, status } of results) {
        if (error !== null || status !== 200) failed += 1;
        lastActualNs = Math.max(lastActualNs, actualOffsetNs ?? 0);
      }
    },
    signal,
  );
  const { lag, stalls } = health;
  const pace = lastActualNs === 0 ? 0 : Math.min(1, lastIntendedNs / lastActualNs);
  return {
    ratePerSecond: load.ratePerSecond,
    planned,
    sent: health.sent,
    failed,
    achievedShare: planned === 0 ? 0 : (health.sent / planned) * pace,
    lagUs: { p50: lag.p50Ns / 1e3, p90: lag.p90Ns / 1e3, p99: lag.p99Ns / 1e3, max: lag.maxNs / 1e3 },
    senderBusyShare: health.senderBusyShareMax10s,
    throttled: throttle.throttled(),
    longestStallMs: Math.max(0, ...stalls.map((each) => each.toOffsetNs - each.fromOffsetNs)) / 1e6,
    starved: health.starved,
  };
}

/** Why no further rate was tried. */
type SelftestEnd = 'found' | 'highest_tried' | 'budget' | 'interrupted';

/** The result of a selftest. */
interface Tested {
  readonly steps: readonly SelftestStep[];
  readonly highestHonestRate: number | null;
  /** The lowest rate that was given up; null if there is none. */
  readonly lowestMissedRate: number | null;
  readonly endedBy: SelftestEnd;
}

/** The conclusion that is printed at the end. */
export function conclusionLines({ highestHonestRate: rate, lowestMissedRate, endedBy }: Tested): string[] {
  const { lagNs, busyShare } = JUDGEMENT_BOUNDS;
  const why: Readonly<Record<SelftestEnd, string>> = {
    found: '',
    highest_tried: ' (the highest that is tried)',
    budget: ` (${leftOutText(rate, lowestMissedRate)}: --budget)`,
    interrupted: ' (interrupted)',
  };
  const found =
    rate === null
      ? `Highest honest rate: none${why[endedBy]}`
      : `Highest honest rate: ${rate} requests/s${why[endedBy]}`;
  return [
    found,
    `  honest: lag p99 up to ${formatMs(lagNs / 1e6)}, at least 99 % achieved, the sender busy up to ${(busyShare * 100).toFixed(0)} %, no stall over 250 ms; a rate`,
    '  is given up when it was missed twice. The server ran on the same machine and took a part of it: with a target',
    '  elsewhere the rate is no lower. TLS, larger bodies and slow answers in great numbers cost more than this.',
  ];
}

/** Which rates were left out for lack of time. Rates above a missed one need no attempt. */
function leftOutText(kept: number | null, missed: number | null): string {
  if (kept === null) return 'no time was left to try again';
  if (missed === null) return 'no time was left for higher ones';
  return `${missed} was missed; no time was left for rates between`;
}

/** The longest acceptable stall of the generator, ms. */
const MOST_STALL_MS = 250;

/** The result of one rate, with a server that does almost no work. */
export interface SelftestStep {
  readonly ratePerSecond: number;
  readonly planned: number;
  readonly sent: number;
  readonly failed: number;
  /** Achieved rate divided by the planned rate. Below 1 if sending took longer than planned. */
  readonly achievedShare: number;
  readonly lagUs: LagUs;
  readonly senderBusyShare: number;
  readonly throttled: boolean | null;
  readonly longestStallMs: number;
  readonly starved: number;
}

/** Why a run at this rate would not be valid, by the limits for runs; empty if it would be. */
export function selftestDoubts(step: SelftestStep): string[] {
  const { lagNs, achievedShare, busyShare } = JUDGEMENT_BOUNDS;
  const lagMs = (step.lagUs.p99 ?? 0) / 1e3;
  const doubts = [
    [step.achievedShare < achievedShare, `achieved ${percent(step.achievedShare)}`],
    [step.failed > 0, `failed ${step.failed}`],
    [lagMs > lagNs / 1e6, `lag p99 ${formatMs(lagMs)}`],
    [step.senderBusyShare > busyShare, `sender busy ${percent(step.senderBusyShare)}`],
    [step.throttled === true, 'held back by a CPU quota'],
    [step.longestStallMs > MOST_STALL_MS, `stood still for ${formatMs(step.longestStallMs)}`],
  ] as const;
  return doubts.filter(([holds]) => holds).map(([, text]) => text);
}
