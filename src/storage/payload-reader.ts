import type { Body, ChunkTimes, ExchangePayload, Message } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import { decodeBlock } from './block.ts';
import { BlockCache, type UnpackedBlock } from './block-cache.ts';
import type { BlockCipher } from './block-cipher.ts';
import type { SegmentFile } from './capture-directory.ts';
import { damaged } from './database.ts';
import { cipherFor, type EncryptionKey } from './encryption-key.ts';
import type { BodyPlace, PayloadPlace } from './exchange-rows.ts';
import { decodeHeads, type StoredHeads } from './message-codec.ts';
import type { SegmentPool } from './segment-pool.ts';

/** Exchanges whose places are read together: an unsealed segment is opened once for all of them. */
const PLACES_PER_READ = 256;
const PLACE_RUNS_KEPT = 64;

const NOTHING_KEPT = new Uint8Array(0);

type PlaceRun = ReadonlyMap<number, PayloadPlace>;

/** Finds heads and bodies in the blocks of segments, and keeps the blocks it unpacked last. */
export class PayloadReader {
  readonly #pool: SegmentPool;
  readonly #key: EncryptionKey | null;
  readonly #ciphers = new Map<string, BlockCipher | null>();
  readonly #blocks = new BlockCache(LIMITS.blockCacheBytes);
  /** Places by id, in runs by segment and first id, the oldest run first. */
  readonly #places = new Map<string, PlaceRun>();

  /** @param key for encrypted segments; null when there is none */
  constructor(pool: SegmentPool, key: EncryptionKey | null) {
    this.#pool = pool;
    this.#key = key;
  }

  /**
   * Payload of an exchange; null when it was stored without any. Bytes are views over a block: copy what is
   * kept for long.
   * @throws AppError CAPTURE_DAMAGED when the segment does not hold what its row says, CAPTURE_ENCRYPTED when it
   * cannot be read without a key, or not with this one.
   */
  payloadOf(segment: SegmentFile, id: number): ExchangePayload | null {
    const place = this.#placeOf(segment, id);
    if (place.headsSlot === null) return null;
    const heads = decodeHeads(this.#slot(segment, place.headsSlot), segment.file);
    return new StoredPayload(heads, place, (body) => this.#body(segment, body));
  }

  #body(segment: SegmentFile, { bytes, truncated, hash, keptBytes, slot }: BodyPlace): Body {
    if (bytes === 0) return { bytes, truncated, hash: null, kept: NOTHING_KEPT };
    if (slot === null) return { bytes, truncated, hash, kept: keptBytes === null ? null : NOTHING_KEPT };
    const kept = this.#slot(segment, slot);
    if (kept.byteLength !== keptBytes)
      throw damaged(segment.file, `slot ${slot} is not the body its row names`);
    return { bytes, truncated, hash, kept };
  }

  #placeOf(segment: SegmentFile, id: number): PayloadPlace {
    const first = id - ((id - 1) % PLACES_PER_READ);
    const key = `${segment.file} ${first}`;
    // An open segment grows: what is not in a run that was read before may be in the run by now.
    const known = this.#places.get(key)?.get(id);
    if (known !== undefined) return known;
    const run = this.#pool.use<PlaceRun>(segment, new Map(), (reader) =>
      reader.payloadPlaces(first, first + PLACES_PER_READ - 1),
    );
    this.#places.delete(key);
    this.#places.set(key, run);
    if (this.#places.size > PLACE_RUNS_KEPT) this.#places.delete(this.#places.keys().next().value ?? '');
    const place = run.get(id);
    if (place === undefined) throw damaged(segment.file, `it has no exchange ${id}`);
    return place;
  }

  #slot(segment: SegmentFile, slot: number): Uint8Array {
    const { firstSlot, slots } = this.#blocks.find(segment.file, slot) ?? this.#unpack(segment, slot);
    const found = slots[slot - firstSlot];
    if (found === undefined) throw damaged(segment.file, `it has no slot ${slot}`);
    return found;
  }

  #unpack(segment: SegmentFile, slot: number): UnpackedBlock {
    const row = this.#pool.use(segment, null, (reader) => reader.blockOf(slot));
    if (row === null) throw damaged(segment.file, `no block holds slot ${slot}`);
    const slots = decodeBlock(row, segment.file, this.#cipherOf(segment));
    const block = { file: segment.file, firstSlot: row.firstSlot, slots, bytes: row.rawBytes };
    this.#blocks.add(block);
    return block;
  }

  #cipherOf(segment: SegmentFile): BlockCipher | null {
    const known = this.#ciphers.get(segment.file);
    if (known !== undefined) return known;
    const encryption = this.#pool.use(segment, null, (reader) => reader.meta().encryption);
    const cipher = cipherFor(encryption, this.#key, segment.file);
    this.#ciphers.set(segment.file, cipher);
    return cipher;
  }
}

/**
 * A payload as it lies in a segment. The response's body is read when it is asked for: a replay sends requests, and
 * need not unpack megabytes of answers for them.
 */
class StoredPayload implements ExchangePayload {
  readonly request: Message | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
  readonly #readResponse: () => Message | null;
  #response: Message | null = null;

  /** @param bodyOf reads a body where it lies */
  constructor(heads: StoredHeads, place: PayloadPlace, bodyOf: (place: BodyPlace) => Body) {
    const { request, response } = heads;
    this.request = request === null ? null : { ...request, body: bodyOf(place.request) };
    this.requestChunks = heads.requestChunks;
    this.responseChunks = heads.responseChunks;
    this.#readResponse = () => (response === null ? null : { ...response, body: bodyOf(place.response) });
  }

  get response(): Message | null {
    this.#response ??= this.#readResponse();
    return this.#response;
  }
}
