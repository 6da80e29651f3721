import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '../core/errors.ts';
import { type SegmentFile, segmentsOf } from './capture-directory.ts';
import { CheckedSegments, type MissingSegments } from './checked-segments.ts';
import type { EncryptionKey } from './encryption-key.ts';
import { type CaptureProblem, SegmentCheck, type SegmentReport } from './segment-check.ts';
import { DAMAGED_SUFFIX, MANIFEST_SUFFIX, TOMBSTONE_SUFFIX } from './segment-name.ts';
import { leftoversIn } from './segment-replacement.ts';

/** How often a segment is checked that is replaced each time. */
const ATTEMPTS = 3;

/** What `verify` says of a capture. */
export interface VerifyDocument {
  readonly schemaVersion: 1;
  readonly directory: string;
  /** No damage was found. */
  readonly ok: boolean;
  readonly exchanges: number;
  readonly segments: readonly (Omit<SegmentReport, 'problems'> & { readonly problems: number })[];
  readonly problems: readonly CaptureProblem[];
  /**
   * Segments that are not there and nothing here says why. No damage: whoever takes what was handed over, or puts
   * captures together in part, leaves them behind. Of those after a recorder's last nobody knows.
   */
  readonly missing: readonly MissingSegments[];
  /** Segments that retention is taking away, or was when its recorder died. */
  readonly expiring: readonly string[];
  /** What an interrupted `forget` left behind; the next one removes it, or the next start of a recorder. */
  readonly leftovers: readonly string[];
}

export interface VerifyOptions {
  /** Null when nobody named one: then of encrypted blocks only the checksum is looked at. */
  readonly encryptionKey: EncryptionKey | null;
  /** Told before each segment is read. */
  readonly onSegment: (file: string, index: number, count: number) => void;
}

/**
 * Reads a capture to its last byte and holds it against its manifests and against itself. Nothing is changed.
 * @param captureDirectory as `resolveCaptureDirectory(…, 'read')` gave it
 * @throws AppError CAPTURE_ENCRYPTED for a wrong key, SCHEMA_TOO_NEW
 */
export function verifyCapture(captureDirectory: string, options: VerifyOptions): VerifyDocument {
  // Before all else: what a recorder makes, and takes away, while we read is missed by nobody.
  const listed = readdirSync(captureDirectory);
  const segments = segmentsOf(captureDirectory);
  const reports: SegmentReport[] = [];
  const checked = new CheckedSegments();
  for (const [index, segment] of segments.entries()) {
    options.onSegment(segment.file, index, segments.length);
    const report = reportOn(segment, options.encryptionKey, checked);
    if (report !== null) reports.push(report);
  }
  const files = readdirSync(captureDirectory).sort();
  const problems: CaptureProblem[] = [
    ...reports.flatMap((report) => report.problems),
    ...missingFrom(captureDirectory, files),
    ...files.filter((file) => file.endsWith(DAMAGED_SUFFIX)).map(setAside),
  ];
  return {
    schemaVersion: 1,
    directory: captureDirectory,
    ok: problems.length === 0,
    exchanges: reports.reduce((sum, { exchanges }) => sum + exchanges, 0),
    segments: reports.map((report) => ({ ...report, problems: report.problems.length })),
    problems,
    missing: checked.missing(listed),
    expiring: files.filter((file) => file.endsWith(TOMBSTONE_SUFFIX)),
    leftovers: leftoversIn(captureDirectory),
  };
}

/**
 * Null for a segment that retention took while it was being checked. One that a `forget` put anew in its place, or
 * that was sealed, meanwhile is looked at again: its manifest was that of another file.
 */
function reportOn(
  segment: SegmentFile,
  key: EncryptionKey | null,
  checked: CheckedSegments,
): SegmentReport | null {
  for (let attempt = 1; ; attempt += 1) {
    const seal = sealOf(segment);
    const report = reportOnce(new SegmentCheck({ ...segment, sealed: seal !== null }, key, checked));
    if (attempt === ATTEMPTS || sealOf(segment) === seal) return report;
  }
}

function reportOnce(check: SegmentCheck): SegmentReport | null {
  try {
    return check.run();
  } catch (error) {
    if (error instanceof AppError && error.code === 'CAPTURE_NOT_FOUND') return null;
    throw error;
  }
}

/** Tells one seal from the next; null while there is none. */
function sealOf({ path }: SegmentFile): string | null {
  const status = statSync(`${path}${MANIFEST_SUFFIX}`, { throwIfNoEntry: false });
  return status === undefined ? null : `${status.ino} ${status.mtimeMs}`;
}

/** Segments whose manifest is there and who are not: expiry takes the manifest first, so nobody meant it. */
function missingFrom(directory: string, files: readonly string[]): CaptureProblem[] {
  return files
    .filter((file) => file.endsWith(MANIFEST_SUFFIX))
    .map((file) => file.slice(0, -MANIFEST_SUFFIX.length))
    .filter(
      (file) =>
        !existsSync(join(directory, file)) && existsSync(join(directory, `${file}${MANIFEST_SUFFIX}`)),
    )
    .map((file) => ({ file, kind: 'missing', what: 'its manifest is there, and it is not' }));
}

function setAside(file: string): CaptureProblem {
  return {
    file,
    kind: 'set_aside',
    what: 'it did not pass its check when it was to be sealed, and is not read',
  };
}
