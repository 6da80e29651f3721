import { SeededRandom } from '../core/random.ts';
import type { PreparedRequest } from './engine/messages.ts';
import { syntheticCall, syntheticRequest } from './engine/rehearsal.ts';

/** Where a ladder begins, and where it ends at the latest. */
const FIRST_RATE = 125;
const LAST_RATE = 128_000;
const GROWTH = 4;
/** Rates tried between the last that was kept and the first that was not. */
const REFINEMENTS = 3;
/** Something else on the machine may spoil a step: a rate counts as too high when it was missed so often. */
const MISSES = 2;
/** Rates in between are whole multiples of this. */
const ROUND = 25;

/**
 * Looks for the highest rate that is kept: each four times the one before until one is missed, then between the two,
 * by ratio. Pure.
 */
export class RateLadder {
  /** The highest rate that was kept, and the lowest that was given up; null while there is none. */
  highestKept: number | null = null;
  lowestMissed: number | null = null;
  #rate = FIRST_RATE;
  #missesHere = 0;
  #refined = 0;
  /** The rate lies between one that was kept and one that was not. */
  #between = false;

  /** Requests per second to try next; null when the search is over. */
  get next(): number | null {
    if (this.lowestMissed === null) return this.#rate > LAST_RATE ? null : this.#rate;
    return this.highestKept === null || this.#refined >= REFINEMENTS ? null : this.#rate;
  }

  /** Whether the highest rate that is tried was kept, so that the limit lies beyond. */
  get isOpen(): boolean {
    return this.highestKept !== null && this.lowestMissed === null && this.#rate > LAST_RATE;
  }

  /** Tells what became of the rate that was tried. */
  tell(kept: boolean): void {
    if (!kept) {
      this.#missesHere += 1;
      if (this.#missesHere < MISSES) return;
    }
    this.#missesHere = 0;
    if (kept) this.highestKept = this.#rate;
    else this.lowestMissed = this.#rate;
    if (this.lowestMissed === null) {
      this.#rate *= GROWTH;
      return;
    }
    if (this.#between) this.#refined += 1;
    this.#between = true;
    this.#rate = Math.round(Math.sqrt((this.highestKept ?? 0) * this.lowestMissed) / ROUND) * ROUND;
  }
}

/** What is sent: requests by HTTP/1.1, or unary calls of gRPC by HTTP/2 without TLS. */
export const SELFTEST_PROTOCOLS = ['http1', 'grpc'] as const;

export interface SyntheticLoad {
  readonly protocol: (typeof SELFTEST_PROTOCOLS)[number];
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly bodyBytes: number;
}

const SEED = 1;
/** A flag and the length of the message. */
const MESSAGE_PREFIX_BYTES = 5;

/** Arrivals of a Poisson process, the same in every run, each a POST, or a call, with a body of that size. */
export function* syntheticSchedule({
  ratePerSecond,
  seconds,
  bodyBytes,
  protocol,
}: SyntheticLoad): Generator<PreparedRequest> {
  const random = new SeededRandom(SEED);
  const body = bodyBytes === 0 ? null : Buffer.alloc(bodyBytes, 'payload ');
  const message = Buffer.alloc(MESSAGE_PREFIX_BYTES + bodyBytes, 'payload ');
  message.writeUInt8(0, 0);
  message.writeUInt32BE(bodyBytes, 1);
  let atNs = 0;
  for (let index = 0; ; index += 1) {
    atNs += (-Math.log((random.nextUint32() + 1) / 2 ** 32) * 1e9) / ratePerSecond;
    if (atNs >= seconds * 1e9) return;
    const instantNs = Math.floor(atNs);
    yield protocol === 'grpc'
      ? syntheticCall(index, instantNs, message)
      : syntheticRequest(index, instantNs, body);
  }
}
