import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '../../core/errors.ts';
import type { Body, ChunkTimes, ExchangePayload, ExchangeRow, Message } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { decodeBlock, decodeHeads, type StoredHeads } from './blocks.ts';
import {
  MANIFEST_SUFFIX,
  parseSegmentName,
  resolveCaptureDirectory,
  type SegmentFile,
  segmentsOf,
} from './directory.ts';
import { type BlockCipher, cipherFor, type EncryptionKey } from './encryption.ts';
import { assertKeyFits } from './keys.ts';
import { emptySecond, type SecondRollUp, type Writable } from './roll-ups.ts';
import { manifestOfWhole } from './sealing.ts';
import {
  type BodyPlace,
  type PayloadPlace,
  type Position,
  SegmentIdentities,
  SegmentPool,
} from './segment-reader.ts';
import { damaged } from './sqlite.ts';

/** How a capture is opened. */
export interface ReadingOptions {
  /** What encrypted segments were encrypted under; null when nobody named it. */
  readonly encryptionKey: EncryptionKey | null;
  /** Recorders whose exchanges are read; all of them where it is empty or left out. */
  readonly recorders?: readonly string[];
}

const UNENCRYPTED: ReadingOptions = { encryptionKey: null };

const EVER: TimeRange = { fromUs: Number.MIN_SAFE_INTEGER, toUs: Number.MAX_SAFE_INTEGER };
const SECOND_US = 1_000_000;

/** A segment and the arrivals it holds. */
interface SpannedSegment {
  readonly segment: SegmentFile;
  readonly firstUs: number;
  readonly lastUs: number;
}

/**
 * Reads a capture, of any number of segments and recorders, sealed or still growing, in the order (arrival,
 * recorder, segment, id). Each call of `rows` and `rollUps` looks for segments anew; what is committed after a
 * page was read behind its last row is not seen by that call.
 */
export class CaptureReader implements CaptureSource {
  readonly #directory: string;
  readonly #pool = new SegmentPool();
  readonly #payloads: PayloadReader;
  readonly #segments = new Map<string, SegmentFile>();
  readonly #recorders: ReadonlySet<string>;

  /** @param captureDirectory as `resolveCaptureDirectory(…, 'read')` gave it */
  constructor(captureDirectory: string, { encryptionKey, recorders = [] }: ReadingOptions = UNENCRYPTED) {
    this.#directory = captureDirectory;
    this.#recorders = new Set(recorders);
    this.#payloads = new PayloadReader(this.#pool, encryptionKey);
  }

  /** @throws AppError CAPTURE_DAMAGED, SCHEMA_TOO_NEW or CAPTURE_NOT_FOUND, when the reading comes to it. */
  rows(range: TimeRange = EVER): IterableIterator<ExchangeRow> {
    const sources = this.#spans(range).map(
      ({ segment, firstUs }): MergeSource<ExchangeRow> => ({
        firstKey: firstUs,
        open: () => this.#rowsOf(segment, range),
      }),
    );
    return mergeInOrder(sources, (row) => row.arrivalUs);
  }

  payload(row: Pick<ExchangeRow, 'segment' | 'id'>): ExchangePayload | null {
    return this.#payloads.payloadOf(this.#segmentNamed(row.segment), row.id);
  }

  /** Sums per second of arrivals, of the seconds that touch `range`, in order; without a scan of exchanges. */
  *rollUps(range: TimeRange = EVER): Generator<SecondRollUp, void, undefined> {
    const fromSecond = Math.floor(range.fromUs / SECOND_US);
    const toSecond = Math.ceil(range.toUs / SECOND_US);
    const whole = { fromUs: fromSecond * SECOND_US, toUs: toSecond * SECOND_US };
    const sources = this.#spans(whole).map(
      ({ segment, firstUs }): MergeSource<SecondRollUp> => ({
        firstKey: Math.floor(firstUs / SECOND_US),
        open: () => this.#secondsOf(segment, fromSecond, toSecond),
      }),
    );
    let sum: Writable<SecondRollUp> | null = null;
    for (const each of mergeInOrder(sources, ({ second }) => second)) {
      if (sum !== null && sum.second !== each.second) {
        yield sum;
        sum = null;
      }
      sum ??= emptySecond(each.second);
      addTo(sum, each);
    }
    if (sum !== null) yield sum;
  }

  close(): void {
    this.#pool.close();
  }

  *#rowsOf(segment: SegmentFile, range: TimeRange): Generator<ExchangeRow, void, undefined> {
    let position: Position | null = null;
    for (;;) {
      const rows: ExchangeRow[] = this.#pool.use<ExchangeRow[]>(segment, [], (reader) =>
        reader.page(range, position).map((raw) => reader.rowOf(raw)),
      );
      const last = rows.at(-1);
      if (last === undefined) break;
      // Not `yield*`, which asks an iterator of the array for each.
      for (const row of rows) yield row;
      position = last;
    }
    this.#pool.release(segment);
  }

  *#secondsOf(
    segment: SegmentFile,
    fromSecond: number,
    toSecond: number,
  ): Generator<SecondRollUp, void, undefined> {
    let next = fromSecond;
    for (;;) {
      const page = this.#pool.use<SecondRollUp[]>(segment, [], (reader) => reader.seconds(next, toSecond));
      const last = page.at(-1);
      if (last === undefined) break;
      yield* page;
      next = last.second + 1;
    }
    this.#pool.release(segment);
  }

  /** Segments that have arrivals in a range, in the order that decides between equal arrivals. */
  #spans(range: TimeRange): SpannedSegment[] {
    const spans: SpannedSegment[] = [];
    for (const segment of segmentsOf(this.#directory)) {
      if (this.#recorders.size > 0 && !this.#recorders.has(segment.recorder)) continue;
      const span = this.#spanOf(segment);
      if (span === null || span.firstUs >= range.toUs || span.lastUs < range.fromUs) continue;
      spans.push({ segment, ...span });
    }
    spans.sort((a, b) => compare(a.segment, b.segment));
    this.#assertNoneTwice(spans);
    return spans;
  }

  /** Only segments with the same first and last arrival are looked into. @throws AppError CAPTURE_DAMAGED */
  #assertNoneTwice(spans: readonly SpannedSegment[]): void {
    const alike = Map.groupBy(
      spans,
      ({ segment, firstUs, lastUs }) => `${segment.recorder} ${firstUs} ${lastUs}`,
    );
    const identities = new SegmentIdentities();
    for (const { segment } of [...alike.values()].filter(({ length }) => length > 1).flat()) {
      const identity = orGone(() => this.#pool.use(segment, null, (reader) => reader.identity()));
      if (identity !== null) identities.assertNew(segment, identity);
    }
  }

  /** Null for a segment without exchanges, and for one that retention took since the directory was listed. */
  #spanOf(segment: SegmentFile): { firstUs: number; lastUs: number } | null {
    return orGone(() => {
      if (!segment.sealed) return this.#pool.use(segment, null, (reader) => reader.span());
      const { firstArrivalUs, lastArrivalUs } = manifestOfWhole(segment.path);
      if (firstArrivalUs === null || lastArrivalUs === null) return null;
      return { firstUs: firstArrivalUs, lastUs: lastArrivalUs };
    });
  }

  #segmentNamed(file: string): SegmentFile {
    const known = this.#segments.get(file);
    if (known !== undefined) return known;
    const name = parseSegmentName(file);
    if (name === null) throw new Error(`${file} is not the name of a segment`);
    const path = join(this.#directory, file);
    const segment = { ...name, file, path, sealed: existsSync(`${path}${MANIFEST_SUFFIX}`) };
    this.#segments.set(file, segment);
    return segment;
  }
}

/**
 * Opens the capture in a directory a user named. A key that does not fit is refused here; without any, rows can
 * be read, and the first payload that is encrypted is refused.
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_ENCRYPTED
 */
export function openCapture(directory: string, options: ReadingOptions = UNENCRYPTED): CaptureReader {
  const captureDirectory = resolveCaptureDirectory(directory, 'read');
  if (options.encryptionKey !== null) assertKeyFits(captureDirectory, options.encryptionKey);
  return new CaptureReader(captureDirectory, options);
}

/** Null for what is asked of a segment that was taken away since the directory was listed. */
function orGone<T>(ask: () => T): T | null {
  try {
    return ask();
  } catch (error) {
    if (error instanceof AppError && error.code === 'CAPTURE_NOT_FOUND') return null;
    throw error;
  }
}

function compare(a: SegmentFile, b: SegmentFile): number {
  if (a.recorder !== b.recorder) return a.recorder < b.recorder ? -1 : 1;
  return a.sequence - b.sequence || a.hour - b.hour;
}

function addTo(sum: Writable<SecondRollUp>, each: SecondRollUp): void {
  sum.exchanges += each.exchanges;
  sum.failed += each.failed;
  sum.requestBytes += each.requestBytes;
  sum.responseBytes += each.responseBytes;
  sum.latencyCount += each.latencyCount;
  sum.latencySumUs += each.latencySumUs;
  sum.latencyMaxUs = Math.max(sum.latencyMaxUs, each.latencyMaxUs);
}

/** One of the sequences that are merged; its items come in the order of their keys. */
export interface MergeSource<T> {
  /** Not above the key of any of its items. */
  readonly firstKey: number;
  /** Called when the merge reaches `firstKey`, not before. */
  readonly open: () => Iterator<T>;
}

/** A source that was opened, and its next item. */
interface Head<T> {
  readonly rank: number;
  readonly items: Iterator<T>;
  item: T;
  key: number;
}

/**
 * Merges sequences into one, in the order of keys; where keys are equal, in the order the sources were given.
 * Holds one item of each source it has reached, and none of the others.
 */
export function* mergeInOrder<T>(
  sources: readonly MergeSource<T>[],
  keyOf: (item: T) => number,
): Generator<T, void, undefined> {
  const waiting = sources
    .map((source, rank) => ({ source, rank }))
    .sort((a, b) => a.source.firstKey - b.source.firstKey);
  const heads = new Set<Head<T>>();
  let next = 0;
  try {
    for (;;) {
      // Few sources overlap (one a recorder), so all of them are looked at.
      const least = leastOf(heads);
      const entering = waiting[next];
      if (entering !== undefined && (least === null || entering.source.firstKey <= least.key)) {
        next += 1;
        const items = entering.source.open();
        const { done, value } = items.next();
        if (!done) heads.add({ rank: entering.rank, items, item: value, key: keyOf(value) });
        continue;
      }
      if (least === null) return;
      yield least.item;
      const { done, value } = least.items.next();
      if (done) heads.delete(least);
      else {
        least.item = value;
        least.key = keyOf(value);
      }
    }
  } finally {
    // Whatever ended this early: what is still open would keep its source from being closed.
    for (const { items } of heads) items.return?.();
  }
}

function leastOf<T>(heads: ReadonlySet<Head<T>>): Head<T> | null {
  let least: Head<T> | null = null;
  for (const head of heads) {
    if (least === null || head.key < least.key || (head.key === least.key && head.rank < least.rank))
      least = head;
  }
  return least;
}

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

/** Unpacked slots of a block or tail. */
export interface UnpackedBlock {
  readonly file: string;
  readonly firstSlot: number;
  readonly slots: readonly Uint8Array[];
  /** Of its content alone. */
  readonly bytes: number;
}

/** Tails are small, and a look-up walks the list: so many blocks are kept at most, whatever their bytes. */
const BLOCKS_MAX = 256;
/** What a slot takes beside its bytes: a view over its block. */
const SLOT_BYTES = 96;
/** A block past this share of the cache would push everything else out of it. */
const LARGEST_SHARE = 0.25;

/**
 * The blocks unpacked last. Reading goes through a capture in order, so nearly every look-up ends at the first
 * entries; slots never change, so what is cached of an open segment stays true.
 */
export class BlockCache {
  readonly #bytesMax: number;
  /** Most recently used first. */
  readonly #blocks: UnpackedBlock[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** With what their slots take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The block that holds a slot, if it is here. */
  find(file: string, slot: number): UnpackedBlock | null {
    const blocks = this.#blocks;
    for (let place = 0; place < blocks.length; place++) {
      const block = blocks[place] as UnpackedBlock;
      if (slot < block.firstSlot || slot >= block.firstSlot + block.slots.length || block.file !== file)
        continue;
      // Heads and bodies lie in blocks of their own, so that the first few change places at every look-up.
      for (let at = place; at > 0; at--) blocks[at] = blocks[at - 1] as UnpackedBlock;
      blocks[0] = block;
      return block;
    }
    return null;
  }

  add(block: UnpackedBlock): void {
    if (sizeOf(block) > this.#bytesMax * LARGEST_SHARE) return;
    this.#blocks.unshift(block);
    this.#bytes += sizeOf(block);
    while (this.#bytes > this.#bytesMax || this.#blocks.length > BLOCKS_MAX) {
      const oldest = this.#blocks.pop();
      if (oldest === undefined) return;
      this.#bytes -= sizeOf(oldest);
    }
  }
}

function sizeOf({ bytes, slots }: UnpackedBlock): number {
  return bytes + slots.length * SLOT_BYTES;
}
