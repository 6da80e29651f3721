import type { RecorderStatus } from '../../core/accounting.ts';
import type { Logger } from '../../core/ports.ts';

type StateName = RecorderStatus['state'];

/** How recording fares. Each change is one line in the log; what repeats is not said again. */
export class RecordingState {
  readonly #logger: Logger;
  /** Null until the first recorder said how it fares. */
  #name: StateName | null = null;
  #why: string | null = null;
  #onWord: () => void = () => undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Until anybody knows better, nothing is recorded. */
  get name(): StateName {
    return this.#name ?? 'OFF';
  }

  /** Null if it is healthy or its state is unknown. */
  get why(): string | null {
    return this.#why;
  }

  /** Resolves when the next word on it is said, or after so many milliseconds without one. */
  nextWord(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#onWord = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  healthy(): void {
    this.#become('HEALTHY', null, 'recording');
  }

  shedding(why: string, message = 'traffic flows, recording sheds', fields: object = {}): void {
    this.#become('SHEDDING', why, message, { reason: why, ...fields });
  }

  off(why: string, message: string, fields: object = {}): void {
    this.#become('OFF', why, message, fields);
  }

  #become(name: StateName, why: string | null, message: string, fields: object = {}): void {
    const changed = name !== this.#name;
    this.#name = name;
    this.#why = why;
    this.#onWord();
    if (changed) this.#logger[name === 'HEALTHY' ? 'info' : 'error']({ state: name, ...fields }, message);
  }
}
