import { SeededRandom } from '../../core/random.ts';
import type { DELAY_SHAPES, InjectedCounts, Toxic } from '../../documents/faults.ts';

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

const DEFAULT_SHAPE = 3;
/** The longest drawn delay. Without a limit, a long tail could make a connection wait for days. */
const LONGEST_MS = 600_000;

interface DelayTerms {
  /** ms: the mean of `uniform` and `normal`, the minimum of `pareto`. */
  readonly baseMs: number;
  readonly jitter: number;
  readonly distribution?: (typeof DELAY_SHAPES)[number] | undefined;
  readonly shape?: number | undefined;
}

/** From 0 to less than 1. */
export function unitDraw(random: SeededRandom): number {
  return random.nextUint32() / 2 ** 32;
}

/** A delay, ms, never below 0. A normal one is drawn by Box and Muller (1958), a Pareto one by inversion. */
export function delayDraw({ baseMs, jitter, distribution, shape }: DelayTerms, random: SeededRandom): number {
  return Math.min(LONGEST_MS, Math.max(0, drawn()));
  function drawn(): number {
    if (distribution === 'pareto') return baseMs / (1 - unitDraw(random)) ** (1 / (shape ?? DEFAULT_SHAPE));
    if (jitter === 0) return baseMs;
    if (distribution !== 'normal') return baseMs + jitter * (2 * unitDraw(random) - 1);
    const radius = Math.sqrt(-2 * Math.log(1 - unitDraw(random)));
    return baseMs + jitter * radius * Math.cos(2 * Math.PI * unitDraw(random));
  }
}

/** The seed of one fault's generator, so that its draws do not depend on other faults. */
function seedOf(seed: number, name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return (seed ^ hash) >>> 0;
}
