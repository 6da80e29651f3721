import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { entryUrl } from '../app/package.ts';
import { systemClock } from '../core/clock.ts';
import { EXIT, type ExitStatus } from './exit.ts';
import { terminal } from './terminal.ts';

const STATUS = { SIGINT: EXIT.sigint, SIGTERM: EXIT.sigterm } as const;
/** A signal that ends a command, or asks it to end. */
export type CommandSignal = keyof typeof STATUS;
const SIGNALS = Object.keys(STATUS) as CommandSignal[];

/** A signal within this time after the same one is no new one. A person does not press Ctrl-C twice as fast. */
const SAME_SIGNAL_NS = 500_000_000;

/**
 * A handler that gets each signal once. A terminal sends Ctrl-C to every process of a job, and npx, `npm run` and this
 * command under an old Node also pass theirs on to their child. `timeout` signals its child and then its group.
 */
export function onceEach<Name extends NodeJS.Signals>(
  listener: (signal: Name) => void,
  nowNs: () => number = () => systemClock.nowNs(),
): (signal: Name) => void {
  const lastNs = new Map<Name, number>();
  return (signal) => {
    if (nowNs() - (lastNs.get(signal) ?? Number.NEGATIVE_INFINITY) < SAME_SIGNAL_NS) return;
    lastNs.set(signal, nowNs());
    listener(signal);
  };
}

/**
 * The first SIGINT or SIGTERM asks a command to end by itself. The second ends the process at once. Call `end` when
 * the command is over.
 */
export class Interruption {
  readonly #stop = new AbortController();
  readonly #onSignal = onceEach((name) => {
    const known = name as CommandSignal;
    if (this.#received !== null) {
      // The exit itself may wait for one of our threads. Without a handler, the next signal ends the process.
      this.end();
      process.exit(STATUS[known]);
    }
    this.#received = known;
    this.#stop.abort();
  });
  #received: CommandSignal | null = null;

  constructor() {
    for (const name of SIGNALS) process.on(name, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** The received signal; null if none came yet. */
  get received(): CommandSignal | null {
    return this.#received;
  }

  /** The exit status for the received signal; null if none came yet. */
  get status(): ExitStatus | null {
    return this.#received === null ? null : STATUS[this.#received];
  }

  end(): void {
    for (const name of SIGNALS) process.off(name, this.#onSignal);
  }
}

/**
 * Runs work that the first signal may stop. If it throws after a signal, a note names `unwritten`, and the signal
 * decides the exit status.
 * @param unwritten the output that is missing then; null to rethrow every error
 */
export async function interruptible(
  run: (interruption: Interruption) => Promise<void>,
  unwritten: string | null = null,
): Promise<void> {
  const interruption = new Interruption();
  try {
    await run(interruption);
  } catch (thrown) {
    if (unwritten === null || interruption.status === null) throw thrown;
    terminal.note(`reprise: stopped by ${interruption.received}; ${unwritten} was not written`);
    process.exitCode = interruption.status;
  } finally {
    interruption.end();
  }
}

/** Facts about a stream of the process that its command thread needs. */
export interface Screen {
  readonly isTTY: boolean;
  readonly columns: number | undefined;
}

/** The start data of a command thread. */
export interface CommandSetup {
  readonly args: readonly string[];
  readonly stdout: Screen;
  readonly stderr: Screen;
}

/** A message from the command thread: it has no handler for this signal. */
export interface Unheard {
  readonly unheard: CommandSignal;
}

/**
 * Limits of the command thread's heap. A replay makes gigabytes of short-lived objects. V8 would let the heap grow to
 * 480 MB although only 20 MB are alive. A running process cannot set such limits for itself, only for a thread.
 */
const LIMITS_OF_HEAP = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 128 } as const;

/**
 * Runs a command line in a thread with a small heap and leaves its status in `process.exitCode`. The thread gets the
 * signals. If it has no handler for one, or at the second signal, the process ends as it would without a thread.
 * @param variables environment variables of the thread, added to those of the process; they have priority
 */
export async function runInThread(
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<void> {
  const setup: CommandSetup = { args, stdout: screenOf(process.stdout), stderr: screenOf(process.stderr) };
  const thread = new Worker(entryUrl('command'), {
    workerData: setup,
    resourceLimits: LIMITS_OF_HEAP,
    env: { ...process.env, ...variables },
  });
  let signalled = false;
  const onSignal = onceEach((signal: CommandSignal) => {
    if (signalled) process.exit(STATUS[signal]);
    signalled = true;
    thread.postMessage(signal);
  });
  const letGo = (): void => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  thread.on('message', ({ unheard }: Unheard) => {
    letGo();
    process.kill(process.pid, unheard);
  });
  try {
    const [status] = (await once(thread, 'exit')) as [number];
    process.exitCode = status;
  } finally {
    letGo();
  }
}

function screenOf({ isTTY, columns }: NodeJS.WriteStream): Screen {
  return { isTTY: isTTY === true, columns };
}
