import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { entryUrl } from '../app/package.ts';
import { EXIT, type ExitStatus } from './exit.ts';
import { terminal } from './terminal.ts';

const STATUS = { SIGINT: EXIT.sigint, SIGTERM: EXIT.sigterm } as const;
/** A signal that ends a command, or asks it to end. */
export type CommandSignal = keyof typeof STATUS;
const SIGNALS = Object.keys(STATUS) as CommandSignal[];

/**
 * The first SIGINT or SIGTERM asks a command to come to its end by itself, the second ends the process at
 * once. To be ended when the command is over.
 */
export class Interruption {
  readonly #stop = new AbortController();
  readonly #onSignal = (name: NodeJS.Signals): void => {
    const known = name as CommandSignal;
    if (this.#received !== null) {
      // A wait for one of our threads may delay even this. The next signal then has no handler.
      this.end();
      process.exit(STATUS[known]);
    }
    this.#received = known;
    this.#stop.abort();
  };
  #received: CommandSignal | null = null;

  constructor() {
    for (const name of SIGNALS) process.on(name, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** The signal that came; null while none has. */
  get received(): CommandSignal | null {
    return this.#received;
  }

  /** The exit status the signal that came calls for; null while none has. */
  get status(): ExitStatus | null {
    return this.#received === null ? null : STATUS[this.#received];
  }

  end(): void {
    for (const name of SIGNALS) process.off(name, this.#onSignal);
  }
}

/**
 * Runs what the first signal may stop. If it throws after a signal, the error is printed and decides the exit status.
 * @param unwritten what then was not written; without it everything that is thrown is
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

/** What the thread must know of a stream that is the process's own. */
export interface Screen {
  readonly isTTY: boolean;
  readonly columns: number | undefined;
}

/** What the thread of a command is born with. */
export interface CommandSetup {
  readonly args: readonly string[];
  readonly stdout: Screen;
  readonly stderr: Screen;
}

/** From the thread: a signal that nothing there was waiting for. */
export interface Unheard {
  readonly unheard: CommandSignal;
}

/**
 * A replay makes gigabytes of short-lived objects, and V8 would rather grow than collect: to 480 MB where 20 MB
 * are alive. Only a thread can be held to limits; a process would have to be started by another.
 */
const LIMITS_OF_HEAP = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 128 } as const;

/**
 * Runs a command line in a thread with a small heap and leaves its status in `process.exitCode`. Signals go to
 * the thread; where nothing waits for one, and the second time, the process ends as it would have without it.
 * @param variables beside those of the process, and over them
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
  const onSignal = (signal: CommandSignal): void => {
    if (signalled) process.exit(STATUS[signal]);
    signalled = true;
    thread.postMessage(signal);
  };
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
