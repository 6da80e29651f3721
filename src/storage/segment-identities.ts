import type { SegmentFile } from './capture-directory.ts';
import { damaged } from './database.ts';
import type { SegmentMeta } from './segment-meta.ts';

/** @throws AppError CAPTURE_DAMAGED for a segment that goes by the name of another recorder than its own. */
export function assertOwnName({ file, recorder: named }: SegmentFile, recorder: string): void {
  if (recorder !== named) throw damaged(file, `it is a segment of recorder ${recorder}, under another name`);
}

/** What no two segments have in common: opened within one tick of the clock, they hold something else. */
export interface SegmentIdentity {
  readonly meta: SegmentMeta;
  /** Null for one without exchanges. */
  readonly span: { readonly firstUs: number; readonly lastUs: number } | null;
  readonly exchanges: number;
}

/**
 * Tells a segment that lies in a capture twice, once under a name that is not its own. A name never changes, and
 * each is taken for a segment of its own: what a copy holds would be counted, and replayed, twice.
 */
export class SegmentIdentities {
  readonly #files = new Map<string, string>();

  /** @throws AppError CAPTURE_DAMAGED when it is not the segment that its name says, or one that was there before. */
  assertNew(segment: SegmentFile, { meta, span, exchanges }: SegmentIdentity): void {
    assertOwnName(segment, meta.recorder.id);
    // Copies without exchanges do no harm.
    if (span === null) return;
    const identity = `${meta.recorder.id} ${meta.openedUs} ${span.firstUs} ${span.lastUs} ${exchanges}`;
    const other = this.#files.get(identity) ?? segment.file;
    this.#files.set(identity, other);
    if (other !== segment.file)
      throw damaged(segment.file, `it is the same segment as ${other}, under another name`);
  }
}
