import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '../core/errors.ts';
import type { ExchangePayload, ExchangeRow } from '../core/exchange.ts';
import type { CaptureSource, TimeRange } from '../core/ports.ts';
import { resolveCaptureDirectory, type SegmentFile, segmentsOf } from './capture-directory.ts';
import type { EncryptionKey } from './encryption-key.ts';
import { assertKeyFits } from './key-fit.ts';
import { manifestOfWhole } from './manifest.ts';
import { type MergeSource, mergeInOrder } from './merge.ts';
import { PayloadReader } from './payload-reader.ts';
import { emptySecond, type SecondRollUp, type Writable } from './roll-ups.ts';
import { SegmentIdentities } from './segment-identities.ts';
import { MANIFEST_SUFFIX, parseSegmentName } from './segment-name.ts';
import { SegmentPool } from './segment-pool.ts';
import type { Position } from './segment-reader.ts';

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
