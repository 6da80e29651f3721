import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Amount } from '../core/accounting.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { damaged, takenAway } from './database.ts';
import { hasCode, isMissing, writeFileDurably } from './durable-files.ts';
import { MANIFEST_SUFFIX } from './segment-name.ts';

/** What retention took away, summed. */
export interface ExpiredSums extends Amount {
  readonly segments: number;
}

/** What stands beside a sealed segment: the seal, and what others need to know without opening it. */
export interface Manifest {
  readonly formatVersion: number;
  readonly file: string;
  readonly recorder: string;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  readonly exchanges: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly lost: Amount;
  readonly omitted: Amount;
  /** Expiries recorded in it, with those they carried on: whoever expires it carries them further. */
  readonly expired: ExpiredSums;
  readonly fileBytes: number;
  /** SHA-256 of the file, hexadecimal. */
  readonly sha256: string;
  readonly sealedUs: number;
  readonly quickCheck: 'ok';
  /** Its recorder died; it was sealed by whoever came after. */
  readonly recovered: boolean;
}

const NUMBERS = [
  'formatVersion',
  'exchanges',
  'requestBytes',
  'responseBytes',
  'fileBytes',
  'sealedUs',
] as const;
const TEXTS = ['file', 'recorder', 'sha256'] as const;

/** Puts the manifest beside its segment: from this instant on it is sealed. */
export function writeManifest(segmentPath: string, manifest: Manifest): void {
  writeFileDurably(`${segmentPath}${MANIFEST_SUFFIX}`, textOf(manifest), 0o600);
}

/** Whether the text of a manifest is, to the bit, what was written. */
export function isIntact(text: string): boolean {
  try {
    return textOf(parseManifest(text, 'manifest')) === text;
  } catch (error) {
    if (error instanceof AppError) return false;
    throw error;
  }
}

/** Its last field is a checksum over the others: most of them say what nothing else does. */
function textOf(manifest: Manifest): string {
  return `${JSON.stringify({ ...manifest, crc32: crc32(JSON.stringify(manifest)) }, null, 2)}\n`;
}

/** The manifest of a sealed segment. @throws AppError CAPTURE_DAMAGED when it is none, CAPTURE_NOT_FOUND. */
export function readManifest(segmentPath: string): Manifest {
  const path = `${segmentPath}${MANIFEST_SUFFIX}`;
  return parseManifest(
    orTakenAway(segmentPath, () => readManifestText(path)),
    path,
  );
}

/** @throws AppError CAPTURE_DAMAGED when there is something else of that name; what the file system throws. */
export function readManifestText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw hasCode(error, 'EISDIR') ? invalid(path, 'it is a directory') : error;
  }
}

/**
 * The manifest of a segment that has its size still: a file that was cut short or has grown since it was sealed
 * is told apart without reading it.
 * @throws AppError CAPTURE_DAMAGED, CAPTURE_NOT_FOUND
 */
export function manifestOfWhole(segmentPath: string): Manifest {
  const manifest = readManifest(segmentPath);
  const file = basename(segmentPath);
  if (manifest.file !== file) throw damaged(file, `its manifest is that of ${manifest.file}`);
  const { size } = orTakenAway(segmentPath, () => statSync(segmentPath));
  if (size === manifest.fileBytes) return manifest;
  throw damaged(file, `it has ${size} bytes, and was sealed with ${manifest.fileBytes}`);
}

/** @throws AppError CAPTURE_DAMAGED naming `file`. */
export function parseManifest(text: string, file: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(file, reasonOf(error));
  }
  if (typeof value !== 'object' || value === null) throw invalid(file, 'it is not an object');
  const fields = value as Record<string, unknown>;
  for (const name of NUMBERS)
    if (!Number.isSafeInteger(fields[name])) throw invalid(file, `${name} is missing`);
  for (const name of TEXTS) if (typeof fields[name] !== 'string') throw invalid(file, `${name} is missing`);
  for (const name of ['firstArrivalUs', 'lastArrivalUs']) {
    if (fields[name] !== null && !Number.isSafeInteger(fields[name]))
      throw invalid(file, `${name} is missing`);
  }
  const sums = fields['expired'];
  if (typeof sums !== 'object' || sums === null) throw invalid(file, 'expired is missing');
  const { crc32: _, ...manifest } = fields;
  return manifest as unknown as Manifest;
}

function orTakenAway<T>(segmentPath: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw isMissing(error) ? takenAway(basename(segmentPath)) : error;
  }
}

function invalid(file: string, what: string): AppError {
  return new AppError('CAPTURE_DAMAGED', `manifest ${file} cannot be read: ${what}`, {
    hint: 'Remove it: its segment is then read as one that was not sealed.',
  });
}
