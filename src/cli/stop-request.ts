import { constants } from 'node:os';

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;
type StopSignal = (typeof SIGNALS)[number];

/** What asks a recording for its end: a signal, or an operator. A signal after it asks to hurry. */
export class StopRequest {
  /** Resolves with what asked first. */
  readonly asked: Promise<string>;
  #wasAsked = false;
  #signal: StopSignal | null = null;

  constructor(recording: { readonly drainAsked: Promise<void>; hurry(): void }) {
    // Meant for others, who read their files anew at it: it would end us without a drain.
    process.on('SIGUSR2', () => undefined);
    const signalled = new Promise<string>((resolve) => {
      for (const signal of SIGNALS) {
        process.on(signal, () => {
          // Of a terminal that closes a process may hear twice, and from nobody who means to hurry it.
          if (this.#wasAsked && signal !== 'SIGHUP') recording.hurry();
          this.#signal ??= signal;
          this.#wasAsked = true;
          resolve(signal);
        });
      }
    });
    this.asked = Promise.race([signalled, recording.drainAsked.then(() => 'drain')]);
    void this.asked.then(() => {
      this.#wasAsked = true;
    });
  }

  /** The first signal that came; null while none has. */
  get signal(): StopSignal | null {
    return this.#signal;
  }

  /** The status of a process that its signal ended. */
  get exitStatus(): number {
    return this.#signal === null ? 0 : 128 + constants.signals[this.#signal];
  }
}
