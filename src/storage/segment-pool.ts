import { existsSync } from 'node:fs';
import type { SegmentFile } from './capture-directory.ts';
import { MANIFEST_SUFFIX } from './segment-name.ts';
import { SegmentReader } from './segment-reader.ts';

/** Sealed segments kept open at once: a fleet of so many recorders is read without opening any twice. */
const OPEN_MAX = 64;

/**
 * Lends readers of segments. A sealed segment stays open while it is in use; one that is not is opened for
 * each use and closed after it, because an idle connection would keep its sealer waiting.
 */
export class SegmentPool {
  /** Least recently used first. */
  readonly #open = new Map<string, SegmentReader>();
  readonly #sealed = new Set<string>();
  #closed = false;

  /** What `work` makes of the segment; `unborn` when its writer has not made its tables yet. */
  use<T>(segment: SegmentFile, unborn: T, work: (reader: SegmentReader) => T): T {
    const sealed = this.#isSealed(segment);
    if (sealed && !this.#closed) return work(this.#keep(segment));
    const reader = SegmentReader.open({ ...segment, sealed });
    if (reader === null) return unborn;
    try {
      return work(reader);
    } finally {
      reader.close();
    }
  }

  /** Closes the reader of a segment that is read to its end. */
  release(segment: SegmentFile): void {
    this.#open.get(segment.file)?.close();
    this.#open.delete(segment.file);
  }

  /** Keeps none open from here: a payload that was handed out may still be asked for what lies further in. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#open.values()) reader.close();
    this.#open.clear();
  }

  #isSealed(segment: SegmentFile): boolean {
    if (segment.sealed || this.#sealed.has(segment.file)) return true;
    if (!existsSync(`${segment.path}${MANIFEST_SUFFIX}`)) return false;
    this.#sealed.add(segment.file);
    return true;
  }

  #keep(segment: SegmentFile): SegmentReader {
    const known = this.#open.get(segment.file);
    const reader = known ?? SegmentReader.open({ ...segment, sealed: true });
    if (reader === null) throw new Error(`the sealed segment ${segment.file} was not opened`);
    this.#open.delete(segment.file);
    this.#open.set(segment.file, reader);
    const oldest = this.#open.entries().next().value;
    if (this.#open.size > OPEN_MAX && oldest !== undefined) {
      this.#open.delete(oldest[0]);
      oldest[1].close();
    }
    return reader;
  }
}
