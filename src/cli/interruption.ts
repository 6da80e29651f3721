import { EXIT, type ExitStatus } from './exit.ts';

const STATUS = { SIGINT: EXIT.sigint, SIGTERM: EXIT.sigterm } as const;
export type InterruptSignal = keyof typeof STATUS;

/**
 * The first SIGINT or SIGTERM asks a command to come to its end by itself, the second ends the process at
 * once. To be ended when the command is over.
 */
export class Interruption {
  readonly #stop = new AbortController();
  readonly #onSignal = (name: NodeJS.Signals): void => {
    const known = name as InterruptSignal;
    if (this.#received !== null) {
      // What waits for a thread of ours may hold up even this; the next signal is then one that nobody handles.
      this.end();
      process.exit(STATUS[known]);
    }
    this.#received = known;
    this.#stop.abort();
  };
  #received: InterruptSignal | null = null;

  constructor() {
    for (const name of Object.keys(STATUS)) process.on(name, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** The signal that came; null while none has. */
  get received(): InterruptSignal | null {
    return this.#received;
  }

  /** The exit status the signal that came calls for; null while none has. */
  get status(): ExitStatus | null {
    return this.#received === null ? null : STATUS[this.#received];
  }

  end(): void {
    for (const name of Object.keys(STATUS)) process.off(name, this.#onSignal);
  }
}
