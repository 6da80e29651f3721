import { SeededRandom } from '../../core/random.ts';
import type { InjectedCounts, Toxic } from '../../documents/faults.ts';
import { seedOf } from './draws.ts';

/** An active fault with its random generator and its counts. */
export class ActiveToxic {
  readonly toxic: Toxic;
  readonly random: SeededRandom;
  readonly startedNs: number;
  /** The lease under which it was set; null for a client without a lease. */
  readonly lease: string | null;
  /** For a fault on requests: the number of requests that it saw. */
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

  /** Draws whether it acts on one more connection, by its toxicity. */
  drawConnection(): boolean {
    const isOn = this.random.nextUint32() / 2 ** 32 < this.toxic.toxicity;
    if (isOn) this.#counts.connections += 1;
    return isOn;
  }

  injected(): void {
    this.#counts.injected += 1;
  }
}
