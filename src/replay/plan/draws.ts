import type { ExchangeRow } from '../../core/exchange.ts';

/** The key of a draw: a session, or an exchange without a session. */
export interface DrawKey {
  readonly high: number;
  readonly low: number;
}

/** What a draw decides. Each purpose has its own numbers, so that decisions are independent. */
type DrawPurpose = 'kept' | 'copies' | 'jitter' | 'identity' | 'stripe' | 'gap';

const PURPOSES: Readonly<Record<DrawPurpose, number>> = {
  kept: 0x51ed270b,
  copies: 0x2c1b3c6d,
  jitter: 0x297a2d39,
  identity: 0x6a09e667,
  stripe: 0x3c6ef372,
  gap: 0x1f83d9ab,
};

/**
 * Random numbers that depend only on the seed, the key and the purpose. A session gets the same number in every run, on
 * every machine, and in any order of calls. No number is stored.
 */
export class SeededDraws {
  readonly #high: number;
  readonly #low: number;

  /** @param seed a whole number from 0 to 2^53 − 1; every bit matters */
  constructor(seed: number) {
    this.#low = mix(seed | 0);
    this.#high = mix(Math.floor(seed / 2 ** 32) ^ this.#low ^ 0x7f4a7c15);
  }

  /** A number from 0 to 1 (exclusive), uniform over 2^53 values. */
  draw(key: DrawKey, purpose: DrawPurpose, number = 0): number {
    const salt = mix(PURPOSES[purpose] ^ Math.imul(number + 1, 0x9e3779b1));
    const high = mix(mix(key.high ^ this.#high) ^ key.low ^ salt);
    const low = mix(mix(key.low ^ this.#low) ^ high ^ Math.imul(salt, 0x85ebca6b));
    return ((high >>> 11) * 2 ** 32 + (low >>> 0)) / 2 ** 53;
  }

  /** Sixteen hexadecimal digits, for a unique name. */
  name(key: DrawKey, number: number): string {
    const at = (half: number) => Math.floor(this.draw(key, 'identity', number * 2 + half) * 2 ** 32);
    return [0, 1].map((half) => at(half).toString(16).padStart(8, '0')).join('');
  }
}

/** Number of lots. Sessions with neighbouring numbers share a lot. Most lots have one session or none. */
export const LOTS = 65_536;

/** Drawn lots (1 for each drawn lot), and the resulting counts. Plain data. */
export interface DrawnLots {
  /** Decides which sessions are played at all. */
  readonly kept: Uint8Array;
  /** Decides which sessions are played one more time than the others. */
  readonly copies: Uint8Array;
  /** Null if nothing was weighed, so that every session is drawn independently. */
  readonly weighed: WeighedDraws | null;
}

/** The results of draws, in requests. */
interface WeighedDraws {
  readonly asked: number;
  readonly planned: number;
  /** Requests of the largest lot. */
  readonly largest: number;
}

/**
 * The lot of a session that is drawn with probability `share`. It is in the first half if the number is below `share`.
 */
export function lotOf(draw: number, share: number): number {
  return share <= 0 ? LOTS - 1 : Math.floor((LOTS * draw) / (draw + share));
}

const FIRST_HALF = Uint8Array.from({ length: LOTS }, (_, lot) => (lot < LOTS / 2 ? 1 : 0));
export const BY_CHANCE: DrawnLots = { kept: FIRST_HALF, copies: FIRST_HALF, weighed: null };

/**
 * Draws lots in the order of their numbers, so that the sum of their weights is `asked`, within half of the largest
 * weight. If more than half of the first lot that does not fit would fit, it is drawn and others are removed for it.
 * Otherwise later lots fill the rest. Lots without weight are drawn by their number alone.
 */
export function drawLots(weights: Float64Array, asked: number): Uint8Array {
  const drawn = FIRST_HALF.map((isIn, lot) => (weights[lot] === 0 ? isIn : 0));
  let left = asked;
  let leastOut = -1;
  for (let lot = 0; lot < LOTS; lot += 1) {
    const weight = weights[lot]!;
    if (weight === 0) continue;
    if (weight <= left) {
      drawn[lot] = 1;
      left -= weight;
      continue;
    }
    const other = leastOut < 0 && left > weight / 2 ? withOneMore(drawn, weights, lot, left) : null;
    if (other !== null && other.over < 1) return other.drawn;
    if (leastOut < 0 || weight < weights[leastOut]!) leastOut = lot;
  }
  if (leastOut < 0) return drawn;
  const other = withOneMore(drawn, weights, leastOut, left);
  return other.over < left ? other.drawn : drawn;
}

/** Adds a lot that is too large for the rest, and removes the last drawn lots that compensate for it. */
function withOneMore(drawn: Uint8Array, weights: Float64Array, more: number, left: number) {
  const other = drawn.slice();
  other[more] = 1;
  let over = weights[more]! - left;
  for (let lot = LOTS - 1; lot >= 0; lot -= 1) {
    const weight = weights[lot]!;
    if (weight === 0 || drawn[lot] === 0 || weight > over) continue;
    other[lot] = 0;
    over -= weight;
  }
  return { drawn: other, over };
}

/** The key of an exchange's session, or of the exchange itself if it has none. */
export function drawKeyOf(row: ExchangeRow): DrawKey {
  return row.session === null ? exchangeKeyOf(row) : sessionKeyOf(row.session);
}

/** The key of a single exchange, independent of its session. */
export function exchangeKeyOf(row: Pick<ExchangeRow, 'segment' | 'id'>): DrawKey {
  let hash = 0x811c9dc5;
  for (let at = 0; at < row.segment.length; at += 1) {
    hash = Math.imul(hash ^ row.segment.charCodeAt(at), 0x01000193);
  }
  return { high: mix(hash), low: mix(row.id ^ Math.imul(Math.floor(row.id / 2 ** 32), 0x9e3779b1)) };
}

/** The key of a session: words of its keyed hash, which is already uniform. */
function sessionKeyOf(session: Uint8Array): DrawKey {
  const word = (at: number) =>
    (session[at] ?? 0) |
    ((session[at + 1] ?? 0) << 8) |
    ((session[at + 2] ?? 0) << 16) |
    ((session[at + 3] ?? 0) << 24);
  return { high: word(0), low: word(4) };
}

/** A 32-bit mixer: every input bit reaches every output bit. */
function mix(value: number): number {
  let word = value | 0;
  word = Math.imul(word ^ (word >>> 16), 0x7feb352d);
  word = Math.imul(word ^ (word >>> 15), 0x846ca68b);
  return word ^ (word >>> 16);
}
