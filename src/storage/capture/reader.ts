import { join } from 'node:path';
import type { Body, ChunkTimes, ExchangePayload, ExchangeRow, Linked, Message } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { CaptureSource, TimeRange } from '../../core/ports.ts';
import { US_PER_S } from '../../core/units.ts';
import { decodeBlock, decodeHeads, type StoredHeads } from './blocks.ts';
import { parseSegmentName, resolveCaptureDirectory, type SegmentFile, segmentsOf } from './directory.ts';
import { type BlockCipher, cipherFor, type EncryptionKey } from './encryption.ts';
import { assertKeyFits } from './keys.ts';
import type { SecondRollUp } from './roll-ups.ts';
import type { Span } from './schema.ts';
import { manifestOfWhole } from './sealing.ts';
import {
  type BodyPlace,
  type PayloadPlace,
  type Position,
  SegmentIdentities,
  SegmentPool,
  type SegmentReader,
} from './segment-reader.ts';
import { damaged, orGone } from './sqlite.ts';

/** How a capture is opened. */
interface ReadingOptions {
  /** The key of encrypted segments; null when none was given. */
  readonly encryptionKey: EncryptionKey | null;
  /** Recorders whose exchanges are read; all if empty or omitted. */
  readonly recorders?: readonly string[];
}

const UNENCRYPTED: ReadingOptions = { encryptionKey: null };

const EVER: TimeRange = { fromUs: Number.MIN_SAFE_INTEGER, toUs: Number.MAX_SAFE_INTEGER };

/** A segment and its time range of arrivals. */
interface SpannedSegment extends Span {
  readonly segment: SegmentFile;
}

/**
 * Reads a capture with any number of segments and recorders, sealed or still growing. Rows are in the order (arrival,
 * recorder, segment, id). Each call of `rows` and `rollUps` lists the segments again. A call does not see rows that are
 * committed later at a place that it has already passed.
 */
export class CaptureReader implements CaptureSource {
  readonly #directory: string;
  readonly #pool = new SegmentPool();
  readonly #payloads: PayloadReader;
  readonly #segments = new Map<string, SegmentFile>();
  readonly #recorders: ReadonlySet<string>;

  /** @param captureDirectory as returned by `resolveCaptureDirectory(…, 'read')` */
  constructor(captureDirectory: string, { encryptionKey, recorders = [] }: ReadingOptions = UNENCRYPTED) {
    this.#directory = captureDirectory;
    this.#recorders = new Set(recorders);
    this.#payloads = new PayloadReader(this.#pool, encryptionKey);
  }

  /** @throws AppError CAPTURE_DAMAGED, SCHEMA_TOO_NEW or CAPTURE_NOT_FOUND while iterating */
  rows(range: TimeRange = EVER): IterableIterator<ExchangeRow> {
    const sources = this.#spans(range).map(
      ({ segment, firstUs }): MergeSource<ExchangeRow> => ({
        firstKey: firstUs,
        open: () => this.#rowsOf(segment, range),
      }),
    );
    return mergeInOrder(sources, (row) => row.arrivalUs);
  }

  /** One exchange by its permanent id; null if it is not there. */
  row(segment: string, id: number): ExchangeRow | null {
    return this.#pool.use<ExchangeRow | null>(this.#segmentNamed(segment), null, (reader) =>
      reader.exchange(id),
    );
  }

  payload(row: Pick<ExchangeRow, 'segment' | 'id'>): ExchangePayload | null {
    return this.#payloads.payloadOf(this.#segmentNamed(row.segment), row.id);
  }

  /**
   * Sums per second of arrivals for the seconds that overlap `range`, in order. Exchanges are not scanned.
   */
  *rollUps(range: TimeRange = EVER): Generator<SecondRollUp, void, undefined> {
    const fromSecond = Math.floor(range.fromUs / US_PER_S);
    const toSecond = Math.ceil(range.toUs / US_PER_S);
    const whole = { fromUs: fromSecond * US_PER_S, toUs: toSecond * US_PER_S };
    const sources = this.#spans(whole).map(
      ({ segment, firstUs }): MergeSource<SecondRollUp> => ({
        firstKey: Math.floor(firstUs / US_PER_S),
        open: () => this.#secondsOf(segment, fromSecond, toSecond),
      }),
    );
    let sum: SecondRollUp | null = null;
    for (const each of mergeInOrder(sources, ({ second }) => second)) {
      if (sum?.second === each.second) sum = added(sum, each);
      else {
        if (sum !== null) yield sum;
        sum = each;
      }
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
      // Not `yield*`, which would call the array's iterator for each row.
      for (const row of rows) yield row;
      position = last;
    }
    this.#pool.release(segment);
  }

  /** All at once: a segment has the arrivals of about an hour. */
  #secondsOf(segment: SegmentFile, fromSecond: number, toSecond: number): Iterator<SecondRollUp> {
    const read = (reader: SegmentReader) => reader.seconds(fromSecond, toSecond);
    const seconds = this.#pool.use<SecondRollUp[]>(segment, [], read);
    this.#pool.release(segment);
    return seconds.values();
  }

  /** Segments with arrivals in a range, in the order that breaks ties between equal arrivals. */
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

  /** Only segments with equal first and last arrivals are compared. @throws AppError CAPTURE_DAMAGED */
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

  /** Null for a segment without exchanges, or one that retention removed since the directory was listed. */
  #spanOf(segment: SegmentFile): Span | null {
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
    if (name === null) throw new Error(`${file} is not a segment name`);
    const segment = { ...name, file, path: join(this.#directory, file), sealed: false };
    this.#segments.set(file, segment);
    return segment;
  }
}

/**
 * Opens the capture in the directory that a user named. A wrong key is refused here. Without a key, rows can
 * be read, and the first encrypted payload is refused.
 * @throws AppError CAPTURE_NOT_FOUND, CAPTURE_ENCRYPTED
 */
export function openCapture(directory: string, options: ReadingOptions = UNENCRYPTED): CaptureReader {
  const captureDirectory = resolveCaptureDirectory(directory, 'read');
  if (options.encryptionKey !== null) assertKeyFits(captureDirectory, options.encryptionKey);
  return new CaptureReader(captureDirectory, options);
}

function compare(a: SegmentFile, b: SegmentFile): number {
  if (a.recorder !== b.recorder) return a.recorder < b.recorder ? -1 : 1;
  return a.sequence - b.sequence || a.hour - b.hour;
}

/** The same second of two segments. */
function added(a: SecondRollUp, b: SecondRollUp): SecondRollUp {
  return {
    second: a.second,
    exchanges: a.exchanges + b.exchanges,
    failed: a.failed + b.failed,
    requestBytes: a.requestBytes + b.requestBytes,
    responseBytes: a.responseBytes + b.responseBytes,
    latencyCount: a.latencyCount + b.latencyCount,
    latencySumUs: a.latencySumUs + b.latencySumUs,
    latencyMaxUs: Math.max(a.latencyMaxUs, b.latencyMaxUs),
  };
}

/** One sorted sequence to merge. */
interface MergeSource<T> {
  /** Lower bound of the keys of its items. */
  readonly firstKey: number;
  /** Called when the merge reaches `firstKey`, not earlier. */
  readonly open: () => Iterator<T>;
}

/** An open source and its next item. */
interface Head<T> {
  readonly rank: number;
  readonly items: Iterator<T>;
  item: T;
  key: number;
}

/**
 * Merges sorted sequences by key. Equal keys keep the order of the sources. Only sources that were reached
 * are open, with one item of each in memory.
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
      // Few sources overlap (one per recorder), so a linear search is enough.
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
    // Also runs when the caller stops early: an open iterator would keep its source from closing.
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

/** Exchanges whose places are read together, so that an unsealed segment is opened once for all of them. */
const PLACES_PER_READ = 256;
const PLACE_RUNS_KEPT = 64;

const NOTHING_KEPT = new Uint8Array(0);

type PlaceRun = ReadonlyMap<number, PayloadPlace>;

/** Finds heads and bodies in the blocks of segments and caches recently unpacked blocks. */
class PayloadReader {
  readonly #pool: SegmentPool;
  readonly #key: EncryptionKey | null;
  readonly #ciphers = new Map<string, BlockCipher | null>();
  readonly #blocks = new BlockCache(LIMITS.blockCacheBytes);
  /** Places by id, in runs by segment and first id, oldest run first. */
  readonly #places = new Map<string, PlaceRun>();

  /** @param key for encrypted segments; null if none */
  constructor(pool: SegmentPool, key: EncryptionKey | null) {
    this.#pool = pool;
    this.#key = key;
  }

  /**
   * The payload of an exchange; null if none was stored. Bytes are views over a block: copy what you keep for
   * long.
   * @throws AppError CAPTURE_DAMAGED when the segment lacks what the row refers to, CAPTURE_ENCRYPTED when
   * the key is missing or wrong
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
      throw damaged(segment.file, `slot ${slot} is not the body that its row names`);
    return { bytes, truncated, hash, kept };
  }

  #placeOf(segment: SegmentFile, id: number): PayloadPlace {
    const first = id - ((id - 1) % PLACES_PER_READ);
    const key = `${segment.file} ${first}`;
    // An open segment grows, so a run that was read before may contain more now.
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
 * A stored payload. The response body is read on demand: a replay sends only requests and need not unpack
 * megabytes of responses.
 */
class StoredPayload implements ExchangePayload {
  readonly request: Message | null;
  readonly requestChunks: ChunkTimes;
  readonly responseChunks: ChunkTimes;
  readonly linked: Linked | null;
  readonly #readResponse: () => Message | null;
  #response: Message | null = null;

  /** @param bodyOf reads a body from its place */
  constructor(heads: StoredHeads, place: PayloadPlace, bodyOf: (place: BodyPlace) => Body) {
    const { request, response } = heads;
    this.request = request === null ? null : { ...request, body: bodyOf(place.request) };
    this.requestChunks = heads.requestChunks;
    this.responseChunks = heads.responseChunks;
    this.linked = heads.linked;
    this.#readResponse = () => (response === null ? null : { ...response, body: bodyOf(place.response) });
  }

  get response(): Message | null {
    this.#response ??= this.#readResponse();
    return this.#response;
  }
}

/** Unpacked slots of a block or tail. */
interface UnpackedBlock {
  readonly file: string;
  readonly firstSlot: number;
  readonly slots: readonly Uint8Array[];
  /** Bytes of its content alone. */
  readonly bytes: number;
}

/** Upper bound on the number of blocks, because a look-up walks the list and tails are small. */
const BLOCKS_MAX = 256;
/** Memory of a slot besides its bytes: a view over its block. */
const SLOT_BYTES = 96;
/** A larger share would push all other blocks out of the cache. */
const LARGEST_SHARE = 0.25;

/**
 * Recently unpacked blocks. Captures are read in order, so nearly every look-up ends at the first entries.
 * Slots never change, so cached blocks of an open segment stay valid.
 */
export class BlockCache {
  readonly #bytesMax: number;
  /** Most recently used first. */
  readonly #blocks: UnpackedBlock[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Including the memory of their slots. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The cached block with this slot; null if absent. */
  find(file: string, slot: number): UnpackedBlock | null {
    const blocks = this.#blocks;
    const at = blocks.findIndex(
      (block) =>
        slot >= block.firstSlot && slot < block.firstSlot + block.slots.length && block.file === file,
    );
    const block = blocks[at];
    if (block === undefined) return null;
    // Heads and bodies are in separate blocks, so the first few entries swap at every look-up.
    if (at > 0) blocks.copyWithin(1, 0, at)[0] = block;
    return block;
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
