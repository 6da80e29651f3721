import { damaged } from './database.ts';
import { bytesOfHex, hexOf } from './hex-bytes.ts';

export interface BodyPlace {
  readonly bytes: number;
  readonly truncated: boolean;
  readonly hash: Uint8Array | null;
  /** Null when nothing was kept of it. */
  readonly keptBytes: number | null;
  readonly slot: number | null;
}

/** Places of exchanges, in order: `(firstId, lastId)`, rows of `RawPlace`. */
export const SELECT_PLACES = `SELECT e.id, e.heads_slot,
  e.request_bytes, e.request_truncated, request.kept_bytes, request.slot, ${hexOf('request.hash')},
  e.response_bytes, e.response_truncated, response.kept_bytes, response.slot, ${hexOf('response.hash')}
FROM exchange e
LEFT JOIN body request ON request.id = e.request_body
LEFT JOIN body response ON response.id = e.response_body
WHERE e.id BETWEEN ? AND ? ORDER BY e.id`;

type RawBody = [
  bytes: number | null,
  truncated: number,
  keptBytes: number | null,
  slot: number | null,
  hashHex: string | null,
];
export type RawPlace = [id: number, headsSlot: number | null, ...request: RawBody, ...response: RawBody];

/** Longer than any hash that is written: one such would make room for as much for each of its neighbours. */
const HASH_BYTES_MAX = 64;

const HEADS_SLOT = 0;
/** Of the request; those of the response follow it. */
const BODY = 1;
const BODY_COLUMNS = 5;
const BYTES = 0;
const TRUNCATED = 1;
const KEPT_BYTES = 2;
const SLOT = 3;
const HASH_BYTES = 4;
const COLUMNS = BODY + 2 * BODY_COLUMNS;

/**
 * The places of exchanges whose ids follow each other. In columns, from which a place is made when it is asked for:
 * some thousands wait for that, and as objects they would be most of what a garbage collector has to walk through.
 */
export class PayloadPlaces {
  readonly #firstId: number;
  readonly #count: number;
  /** NaN for null; throughout, where an id is not there. */
  readonly #numbers: Float64Array;
  readonly #hashes: Uint8Array;
  /** Room for one hash. */
  readonly #hashStride: number;

  /**
   * @param raw in the order of ids, none before `firstId`
   * @throws AppError CAPTURE_DAMAGED naming `file` for a hash that is none
   */
  constructor(firstId: number, raw: readonly RawPlace[], file: string) {
    this.#firstId = firstId;
    this.#count = (raw.at(-1)?.[0] ?? firstId - 1) - firstId + 1;
    this.#numbers = new Float64Array(this.#count * COLUMNS).fill(Number.NaN);
    this.#hashStride =
      raw.reduce((most, row) => Math.max(most, hexLength(row[6]), hexLength(row[11])), 0) / 2;
    if (this.#hashStride > HASH_BYTES_MAX) throw damaged(file, 'the hash of a body is too long for one');
    this.#hashes = new Uint8Array(this.#count * 2 * this.#hashStride);
    for (const row of raw) {
      const at = row[0] - firstId;
      this.#numbers[at * COLUMNS + HEADS_SLOT] = row[1] ?? Number.NaN;
      this.#keep(2 * at, row[2], row[3], row[4], row[5], row[6]);
      this.#keep(2 * at + 1, row[7], row[8], row[9], row[10], row[11]);
    }
  }

  /** Null for an exchange that is not there. */
  of(id: number): PayloadPlace | null {
    const at = id - this.#firstId;
    if (at < 0 || at >= this.#count || this.#numberAt(columnOf(2 * at) + BYTES) === null) return null;
    return new PayloadPlace(this, at);
  }

  /** @param at place of an exchange in here, from 0 */
  headsSlotAt(at: number): number | null {
    return this.#numberAt(at * COLUMNS + HEADS_SLOT);
  }

  /** @param body twice the place of an exchange, and one more for its response */
  bodyAt(body: number): BodyPlace {
    const at = columnOf(body);
    const hashBytes = this.#numberAt(at + HASH_BYTES);
    const hashAt = body * this.#hashStride;
    return {
      bytes: this.#numberAt(at + BYTES) ?? 0,
      truncated: this.#numbers[at + TRUNCATED] === 1,
      hash: hashBytes === null ? null : this.#hashes.slice(hashAt, hashAt + hashBytes),
      keptBytes: this.#numberAt(at + KEPT_BYTES),
      slot: this.#numberAt(at + SLOT),
    };
  }

  #keep(body: number, ...[bytes, truncated, keptBytes, slot, hashHex]: RawBody): void {
    const at = columnOf(body);
    const hash = bytesOfHex(hashHex);
    this.#numbers[at + BYTES] = bytes ?? 0;
    this.#numbers[at + TRUNCATED] = truncated;
    this.#numbers[at + KEPT_BYTES] = keptBytes ?? Number.NaN;
    this.#numbers[at + SLOT] = slot ?? Number.NaN;
    this.#numbers[at + HASH_BYTES] = hash?.length ?? Number.NaN;
    if (hash !== null) this.#hashes.set(hash, body * this.#hashStride);
  }

  #numberAt(at: number): number | null {
    const value = this.#numbers[at] as number;
    return Number.isNaN(value) ? null : value;
  }
}

/** Where an exchange's payload lies, and what its row says of it. */
export class PayloadPlace {
  readonly #places: PayloadPlaces;
  readonly #at: number;

  constructor(places: PayloadPlaces, at: number) {
    this.#places = places;
    this.#at = at;
  }

  /** Null when it was stored without any payload. */
  get headsSlot(): number | null {
    return this.#places.headsSlotAt(this.#at);
  }

  get request(): BodyPlace {
    return this.#places.bodyAt(2 * this.#at);
  }

  get response(): BodyPlace {
    return this.#places.bodyAt(2 * this.#at + 1);
  }
}

function columnOf(body: number): number {
  return (body >> 1) * COLUMNS + BODY + (body & 1) * BODY_COLUMNS;
}

function hexLength(hex: string | null): number {
  return hex?.length ?? 0;
}
