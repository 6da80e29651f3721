/**
 * Names of a capture's files. A segment keeps its name for life; whether it is sealed is told by the manifest
 * beside it, never by a second name.
 */

export const MANIFEST_SUFFIX = '.manifest.json';
/** What is left of an expired segment until its expiry is committed: its manifest under another name. */
export const TOMBSTONE_SUFFIX = '.expired.json';
/** Put after the name of a segment that did not pass its check. It is kept and never read. */
export const DAMAGED_SUFFIX = '.damaged';
/** What is becoming of a segment while `forget` writes it anew; never read, and without what is to go. */
export const REWRITING_SUFFIX = '.rewriting';
/** The manifest of a segment for the instant in which the one written anew takes its place. */
export const CLAIMED_SUFFIX = '.rewriting.json';
/** What an interrupted `forget` may leave beside a segment; earlier versions kept a journal as well. */
export const LEFTOVER_SUFFIXES = [REWRITING_SUFFIX, `${REWRITING_SUFFIX}-journal`, CLAIMED_SUFFIX] as const;
/** An empty file beside a sealed segment that was handed over to whoever ships it. */
export const HANDED_SUFFIX = '.handed';
/** SQLite's own files beside an open segment. */
export const SIDE_SUFFIXES = ['-wal', '-shm', '-journal'] as const;

export const HASH_KEY_FILE = 'hash.key';
export const LOCK_FILE = 'recorder.lock';
/** Sees to it that one `forget` works at a capture at a time; a recorder may go on beside it. */
export const FORGET_LOCK_FILE = 'forget.lock';

const PATTERN = /^(\d{4})(\d{2})(\d{2})T(\d{2})-([0-9a-z]{1,32})-(\d{4,})\.sqlite$/;

const HOUR_US = 3_600_000_000;

export interface SegmentName {
  /** Hours since the epoch, UTC. */
  readonly hour: number;
  readonly recorder: string;
  /** Counts the segments of one recorder, from 1. */
  readonly sequence: number;
}

/** The UTC hour an instant lies in, counted from the epoch. */
export function hourOf(epochUs: number): number {
  return Math.floor(epochUs / HOUR_US);
}

/** `20261124T15-7f3a9c21-0001.sqlite` */
export function formatSegmentName(name: SegmentName): string {
  const stamp = new Date((name.hour * HOUR_US) / 1000).toISOString();
  const hour = `${stamp.slice(0, 4)}${stamp.slice(5, 7)}${stamp.slice(8, 13)}`;
  return `${hour}-${name.recorder}-${String(name.sequence).padStart(4, '0')}.sqlite`;
}

/** The parts of a segment's file name; null for any other file. */
export function parseSegmentName(file: string): SegmentName | null {
  const match = PATTERN.exec(file);
  if (!match) return null;
  const ms = Date.parse(`${match[1]}-${match[2]}-${match[3]}T${match[4]}:00:00Z`);
  if (Number.isNaN(ms)) return null;
  return { hour: hourOf(ms * 1000), recorder: match[5] ?? '', sequence: Number(match[6]) };
}
