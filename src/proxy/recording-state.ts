import type { Logger } from '../core/ports.ts';

/** HEALTHY: recorded. SHEDDING: traffic flows, some is lost and counted. OFF: traffic flows, nothing is recorded. */
export type StateName = 'HEALTHY' | 'SHEDDING' | 'OFF';

/** How recording fares. Each change is one line in the log; what repeats is not said again. */
export class RecordingState {
  readonly #logger: Logger;
  /** Null until the first recorder said how it fares. */
  #name: StateName | null = null;
  #why: string | null = null;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Until anybody knows better, nothing is recorded. */
  get name(): StateName {
    return this.#name ?? 'OFF';
  }

  /** Null where it is healthy, or where nobody knows. */
  get why(): string | null {
    return this.#why;
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
    if (changed) this.#logger[name === 'HEALTHY' ? 'info' : 'error']({ state: name, ...fields }, message);
  }
}
