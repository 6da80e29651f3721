import { SeededRandom } from '../../core/random.ts';
import type { InjectedCounts, Toxic } from '../../documents/faults.ts';
import { seedOf } from './draws.ts';

/** A fault that is on, with what it draws from and what it did. */
export class ActiveToxic {
  readonly toxic: Toxic;
  readonly random: SeededRandom;
  readonly startedNs: number;
  /** Who set it; null for a client without a lease. */
  readonly lease: string | null;
  /** Requests that it saw, of a fault on requests. */
  requests = 0;
  readonly #counts: InjectedCounts;

  constructor(
    toxic: Toxic,
    {
      seed,
      startedNs,
      lease,
      counts,
    }: { seed: number; startedNs: number; lease: string | null; counts: InjectedCounts },
  ) {
    this.toxic = toxic;
    this.random = new SeededRandom(seedOf(seed, toxic.name));
    this.startedNs = startedNs;
    this.lease = lease;
    this.#counts = counts;
  }

  /** Whether it is on for one more connection, by its toxicity. */
  drawConnection(): boolean {
    const isOn = this.random.nextUint32() / 2 ** 32 < this.toxic.toxicity;
    if (isOn) this.#counts.connections += 1;
    return isOn;
  }

  injected(): void {
    this.#counts.injected += 1;
  }
}
