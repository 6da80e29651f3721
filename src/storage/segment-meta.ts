import type { LifeAccount, Progress } from '../core/account.ts';
import type { Amount } from '../core/accounting.ts';
import type { CaptureOrigin, RecorderIdentity } from './capture-origin.ts';
import type { Connection } from './database.ts';
import { damaged } from './database.ts';
import { parseSegmentEncryption, type SegmentEncryption } from './encryption-key.ts';
import { FORMAT_VERSION } from './schema.ts';

/** What a segment says of itself, one key a row; texts and numbers plain, the rest as JSON. */
export interface SegmentMeta {
  readonly formatVersion: number;
  readonly recorder: RecorderIdentity;
  readonly origin: CaptureOrigin;
  readonly policy: Readonly<Record<string, unknown>>;
  readonly hashKeyFingerprint: string;
  readonly fleetSize: number | null;
  readonly openedUs: number;
  /** When its writer let go of it; null while it grows, and after a crash. */
  readonly closedUs: number | null;
  /** When whoever came after a crash closed it; null where its writer did. */
  readonly recoveredUs: number | null;
  /** When the recorder's life ended; null in every segment but its last. */
  readonly endedUs: number | null;
  /** Null where its blocks can be read by anybody who has the file. */
  readonly encryption: SegmentEncryption | null;
  /** What was removed from it on request; null where nothing was. */
  readonly forgotten: Forgotten | null;
  /** The account of its recording as of its last commit; null before the first that had one. */
  readonly account: LifeAccount | null;
  /** What its recorder had committed by its last commit; null as for `account`. */
  readonly progress: Progress | null;
}

/** What `forget` removed from a segment. It says what for, never whose it was. */
export interface Forgotten extends Amount {
  /** When it last did, epoch microseconds. */
  readonly atUs: number;
  readonly by: readonly ForgetKind[];
}

export const FORGET_KINDS = ['session', 'client', 'time'] as const;
export type ForgetKind = (typeof FORGET_KINDS)[number];

/** Writes the keys a segment begins with. In a transaction. */
export function writeMeta(connection: Connection, meta: SegmentMeta): void {
  setMeta(connection, {
    format_version: String(FORMAT_VERSION),
    recorder: meta.recorder.id,
    host: meta.recorder.host,
    recorder_started_us: String(meta.recorder.startedUs),
    source: meta.origin.kind,
    origin: JSON.stringify(meta.origin),
    policy: JSON.stringify(meta.policy),
    hash_key_fingerprint: meta.hashKeyFingerprint,
    ...(meta.fleetSize === null ? {} : { fleet_size: String(meta.fleetSize) }),
    opened_us: String(meta.openedUs),
    ...(meta.encryption === null ? {} : { encryption: JSON.stringify(meta.encryption) }),
    ...(meta.forgotten === null ? {} : { forgotten: JSON.stringify(meta.forgotten) }),
  });
}

/** Sets keys, new or not. */
export function setMeta(connection: Connection, values: Readonly<Record<string, string>>): void {
  const statement = connection.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)');
  for (const [key, value] of Object.entries(values)) statement.run(key, value);
}

/** @throws AppError CAPTURE_DAMAGED naming `file` when a key that every segment has is missing. */
export function readMeta(connection: Connection, file: string): SegmentMeta {
  const rows = connection.prepare<[], [string, string]>('SELECT key, value FROM meta').raw().all();
  const values = new Map(rows);
  const text = (key: string): string => {
    const value = values.get(key);
    if (value === undefined) throw damaged(file, `its meta has no ${key}`);
    return value;
  };
  const numberOrNull = (key: string): number | null => {
    const value = values.get(key);
    return value === undefined ? null : Number(value);
  };
  const encryption = values.get('encryption');
  const forgotten = values.get('forgotten');
  try {
    return {
      formatVersion: Number(text('format_version')),
      recorder: {
        id: text('recorder'),
        host: text('host'),
        startedUs: Number(text('recorder_started_us')),
      },
      origin: JSON.parse(text('origin')) as CaptureOrigin,
      policy: JSON.parse(text('policy')) as Record<string, unknown>,
      hashKeyFingerprint: text('hash_key_fingerprint'),
      fleetSize: numberOrNull('fleet_size'),
      openedUs: Number(text('opened_us')),
      closedUs: numberOrNull('closed_us'),
      recoveredUs: numberOrNull('recovered_us'),
      endedUs: numberOrNull('recorder_ended_us'),
      encryption: encryption === undefined ? null : parseSegmentEncryption(encryption, file),
      forgotten: forgotten === undefined ? null : (JSON.parse(forgotten) as Forgotten),
      account: JSON.parse(values.get('account') ?? 'null') as LifeAccount | null,
      progress: JSON.parse(values.get('progress') ?? 'null') as Progress | null,
    };
  } catch (error) {
    if (error instanceof SyntaxError) throw damaged(file, 'its meta is not JSON', error);
    throw error;
  }
}

/** Where a recorder looked for the key of a session; none in captures of before there were any. */
export function sessionKeysOf({ policy }: SegmentMeta): string[] {
  const { session } = policy;
  if (!Array.isArray(session)) return [];
  return session.filter((key): key is string => typeof key === 'string' && key !== 'none');
}
