import { chmodSync, copyFileSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { accountFileOf } from '../../core/accounting.ts';
import { newestAccountsIn } from './accounts.ts';
import { lacksItsLog } from './capture-lives.ts';
import { HANDED_SUFFIX, MANIFEST_SUFFIX, type SegmentFile, segmentsOf, sizeOf } from './directory.ts';
import { manifestOfWhole } from './sealing.ts';
import { closing, openForReading, orGone } from './sqlite.ts';

/** How often a segment is copied if it is sealed or replaced meanwhile. */
const ATTEMPTS = 3;

/** What was copied of a capture. */
export interface CopiedCapture {
  readonly segments: number;
  /** Segments that were still written, or that nobody has sealed. Everything committed is in the copy. */
  readonly open: number;
  /** Segments that were there already, from another capture. */
  readonly duplicates: number;
  readonly bytes: number;
}

/**
 * Copies the segments and the accounts of a capture into a directory, while it may be recorded. The hash key is not
 * copied. Several captures in one directory are one capture.
 * @param onSegment called before each segment
 * @throws AppError CAPTURE_DAMAGED naming the segment; errors of the file system
 */
export function copyCapture(
  captureDirectory: string,
  into: string,
  onSegment: (file: string) => void,
): CopiedCapture {
  // Before the segments: an account must not be newer than the segments that it is held against.
  const accounts = newestAccountsIn(captureDirectory);
  let [open, duplicates, segments, bytes] = [0, 0, 0, 0];
  for (const segment of segmentsOf(captureDirectory)) {
    const place = join(into, segment.file);
    onSegment(segment.file);
    if (existsSync(place)) {
      duplicates += 1;
      continue;
    }
    const isCounted = accounts.some(({ life, ended }) => life === segment.recorder && ended);
    const isSealed = orGone(() => copySegment(segment, place, isCounted));
    if (isSealed === null) continue;
    segments += 1;
    open += Number(!isSealed);
    bytes += sizeOf(place);
  }
  for (const account of accounts) {
    writeFileSync(join(into, accountFileOf(account.life)), JSON.stringify(account), { mode: 0o600 });
  }
  // They say that a segment which is not here was shipped, and is not missing.
  for (const mark of readdirSync(captureDirectory).filter((file) => file.endsWith(HANDED_SUFFIX))) {
    writeFileSync(join(into, mark), '', { mode: 0o600 });
  }
  return { segments, open, duplicates, bytes };
}

/**
 * @param isCounted whether the last account of its life is here, which shows what is missing
 * @returns whether the copy is sealed
 */
function copySegment({ path }: SegmentFile, place: string, isCounted: boolean): boolean {
  for (let attempt = 1; ; attempt += 1) {
    const isSealed = existsSync(`${path}${MANIFEST_SUFFIX}`);
    if (!isSealed) {
      copyOpen(path, place, isCounted);
      return false;
    }
    copyFileSync(path, place);
    copyFileSync(`${path}${MANIFEST_SUFFIX}`, `${place}${MANIFEST_SUFFIX}`);
    try {
      manifestOfWhole(place);
      return true;
    } catch (error) {
      // `forget` may have replaced the segment between the two.
      if (attempt === ATTEMPTS) throw error;
      chmodSync(place, 0o600);
    }
  }
}

/** An open segment becomes one file with all that is committed, also in its write-ahead log. */
function copyOpen(path: string, place: string, isCounted: boolean): void {
  if (!isCounted && lacksItsLog(path)) {
    // As it is, so that readers of the copy see that its log is gone.
    copyFileSync(path, place);
    return;
  }
  closing(openForReading(path), (connection) => connection.prepare('VACUUM INTO ?').run(place));
  chmodSync(place, 0o600);
}
