import type { Place } from '../../core/exchange.ts';
import type { Charge } from './session-values.ts';

/** Places of values that were issued, and places of requests whose values are judged. */
const MOST_PLACES = 16_384;
const MOST_JUDGED = 2_048;
/** Memory of a place, with its names of usual length, and of all judged places of two generations. */
const PLACE_BYTES = 256;
export const JUDGED_BYTES = 2 * 384 * MOST_JUDGED;

/** Numbers the places where answers have values, so that a value in memory refers to its place by a number. */
export class Places {
  readonly #numbers = new Map<string | number, number>();
  /** The first one stands for places whose values are not linked. */
  readonly #places: (Place | null)[] = [null];
  readonly #charge: Charge;
  readonly #onFull: () => void;

  /** @param onFull called for each value at a place for which there is no room */
  constructor(charge: Charge, onFull: () => void) {
    this.#charge = charge;
    this.#onFull = onFull;
  }

  at(number: number): Place | null {
    return this.#places[number] ?? null;
  }

  /** @param make null for a place whose values are never linked. It is not kept; full: new places count as such. */
  numberOf(key: string | number, make: () => Place | null): number {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const place = make();
    if (place === null) return 0;
    if (this.#numbers.size >= MOST_PLACES || !this.#charge.reserve(PLACE_BYTES)) {
      this.#onFull();
      return 0;
    }
    const number = this.#places.push(place) - 1;
    this.#numbers.set(key, number);
    return number;
  }
}

/** Sessions with values of their own that prove a place to have ids, and how few others it may have. */
const PROVING_SESSIONS = 8;
const OTHERS_SHARE = 0.05;
/** Values that are counted until both counts are halved, so that clients may change their ways. */
const COUNTED = 4_096;

/** What is known of the values at one place of requests, over all sessions. */
export class JudgedPlace {
  #issued = 0;
  #others = 0;
  readonly #sessions = new Set<number>();

  /** A new value that an answer of this session alone had before. */
  bringsIssued(session: number): void {
    this.#issued += 1;
    if (this.#sessions.size < PROVING_SESSIONS) this.#sessions.add(session);
    this.#halve();
  }

  /** A new value that the client brought, or that several sessions have. */
  bringsOther(): void {
    this.#others += 1;
    this.#halve();
  }

  /** Whether at least half of its values are issued. */
  get takesIssued(): boolean {
    return this.#others <= this.#issued;
  }

  /** Whether its values are ids, even if they do not look like any. */
  get isProven(): boolean {
    return this.#sessions.size >= PROVING_SESSIONS && this.#others <= OTHERS_SHARE * this.#issued;
  }

  #halve(): void {
    if (this.#others + this.#issued < COUNTED) return;
    this.#others >>= 1;
    this.#issued >>= 1;
  }
}

/** The judged places of requests by their keys, the latest ones. */
export class JudgedPlaces {
  #latest = new Map<string | number, JudgedPlace>();
  #earlier = new Map<string | number, JudgedPlace>();

  of(key: string | number): JudgedPlace {
    let place = this.#latest.get(key);
    if (place !== undefined) return place;
    place = this.#earlier.get(key) ?? new JudgedPlace();
    if (this.#latest.size >= MOST_JUDGED) {
      this.#earlier = this.#latest;
      this.#latest = new Map();
    }
    this.#latest.set(key, place);
    return place;
  }
}
