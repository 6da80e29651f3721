import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LOSS_REASONS, type LossReason, OMISSION_CAUSES, type OmissionCause } from '../../core/accounting.ts';
import { DayCalendar } from '../../core/calendar.ts';
import { AppError } from '../../core/errors.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatInstantUs } from '../../core/units.ts';
import { type KilledDocument, LifeAccounts } from './accounts.ts';
import {
  type CoverageShares,
  coverageWithin,
  fleetShare,
  isAccounted,
  mostAtOnce,
  NOT_KNOWN,
  type ReadSegment,
} from './coverage.ts';
import { DAMAGED_SUFFIX, type SegmentFile, SIDE_SUFFIXES, segmentsOf } from './directory.ts';
import {
  AbsentSegments,
  type ExpiredDocument,
  ExpiredSegments,
  type HourSummary,
  type LifeSegment,
  type RecorderDocument,
  RecorderLife,
  type SegmentSummary,
  summaryOf,
} from './lives.ts';
import { type CaptureOrigin, type SegmentMeta, sessionKeysOf } from './schema.ts';
import { manifestOfWhole } from './sealing.ts';
import { SegmentIdentities, SegmentReader } from './segment-reader.ts';

/** Summarises one capture by UTC days. @throws like `inspectCaptures` */
export function inspectCapture(captureDirectory: string): InspectDocument {
  return inspectCaptures([captureDirectory], new DayCalendar('UTC'));
}

/** A summary of a capture that can also be queried by window. */
interface CaptureSurvey {
  readonly document: InspectDocument;
  coverageWithin(ranges: readonly TimeRange[]): CoverageShares;
}

/**
 * Summarises one capture, or only some of its recorders; then the fleet is those recorders.
 * @throws like `inspectCaptures`
 */
export function surveyCapture(captureDirectory: string, recorders: readonly string[] = []): CaptureSurvey {
  const inspection = new Inspection(new DayCalendar('UTC'), recorders);
  inspection.addDirectory(captureDirectory);
  return {
    document: inspection.document(),
    coverageWithin: (ranges) => inspection.coverageWithin(ranges),
  };
}

/**
 * Summarises captures from their segments' metadata; no exchange is read. A segment that is in several
 * directories counts once.
 * @param directories each as returned by `resolveCaptureDirectory(…, 'read')`
 * @throws AppError CAPTURE_DAMAGED or SCHEMA_TOO_NEW, naming the segment
 */
export function inspectCaptures(directories: readonly string[], calendar: DayCalendar): InspectDocument {
  const inspection = new Inspection(calendar);
  for (const directory of directories) inspection.addDirectory(directory);
  return inspection.document();
}

class Inspection {
  readonly #calendar: DayCalendar;
  readonly #directories: string[] = [];
  #exchanges = 0;
  #firstUs: number | null = null;
  #lastUs: number | null = null;
  /** The latest time in the captures, used as the end of what is still open. */
  #latestUs = 0;
  readonly #bytes = { request: 0, response: 0, disk: 0 };
  readonly #outcomes = { completed: 0, client_aborted: 0, upstream_failed: 0, timed_out: 0 };
  readonly #truncated = { requests: 0, responses: 0 };
  readonly #losses = new Amounts<LossReason>(LOSS_REASONS);
  readonly #omitted = new Amounts<OmissionCause>(OMISSION_CAUSES);
  readonly #protocols = new Map<string, { connections: number; bytes: number }>();
  readonly #days = new Map<string, { exchanges: number; bytes: number }>();
  readonly #hours = new Map<number, number>();
  readonly #segments: { file: string; sealed: boolean; exchanges: number; bytes: number }[] = [];
  readonly #expired = new ExpiredSegments();
  readonly #forgotten = { exchanges: 0, bytes: 0 };
  readonly #encrypted = { segments: 0, keys: new Set<string>() };
  readonly #identities = new SegmentIdentities();
  readonly #absent = new AbsentSegments();
  readonly #accounts = new LifeAccounts();
  readonly #lives = new Map<string, LifeSegment[]>();
  readonly #origins = new Map<string, CaptureOrigin>();
  readonly #sessionKeys = new Set<string>();
  readonly #damaged: string[] = [];
  readonly #duplicates: string[] = [];
  #fleetSize: number | null = null;
  #clockAnchors = 0;

  /** Empty for all recorders. */
  readonly #recorders: ReadonlySet<string>;
  readonly #read: ReadSegment[] = [];

  constructor(calendar: DayCalendar, recorders: readonly string[] = []) {
    this.#calendar = calendar;
    this.#recorders = new Set(recorders);
  }

  addDirectory(directory: string): void {
    this.#directories.push(directory);
    this.#accounts.addDirectory(directory);
    const known = new Set(this.#segments.map(({ file }) => file));
    for (const segment of segmentsOf(directory)) {
      if (this.#recorders.size > 0 && !this.#recorders.has(segment.recorder))
        this.#expired.addUnread(segment.file);
      else if (known.has(segment.file)) this.#duplicates.push(segment.file);
      else this.#readSegment(segment);
    }
    for (const file of readdirSync(directory)) {
      this.#bytes.disk += sizeOf(join(directory, file));
      if (!file.endsWith(DAMAGED_SUFFIX)) continue;
      this.#damaged.push(file);
      this.#absent.damaged(file);
    }
  }

  document(): InspectDocument {
    const lives = this.#allLives();
    const killed = this.#accounts.killed();
    const losses = this.#allLosses();
    const omitted = this.#allOmissions();
    return {
      schemaVersion: 1,
      directory: this.#directories[0] ?? '',
      directories: this.#directories,
      exchanges: this.#exchanges,
      firstArrival: this.#firstUs === null ? null : formatInstantUs(this.#firstUs),
      lastArrival: this.#lastUs === null ? null : formatInstantUs(this.#lastUs),
      bytes: this.#bytes,
      outcomes: this.#outcomes,
      truncated: this.#truncated,
      losses: { ...losses.total, byReason: losses.each(), exact: this.#accounts.exact },
      omitted: { ...omitted.total, byCause: omitted.each() },
      ...this.#coverage(lives, losses, omitted),
      coverageIsAtMost: !this.#accounts.exact,
      killed,
      protocols: Object.fromEntries(this.#protocols),
      timeZone: this.#calendar.timeZone,
      days: [...this.#days].map(([day, sums]) => ({ day, ...sums })).sort((a, b) => (a.day < b.day ? -1 : 1)),
      segments: this.#segments,
      expired: this.#expired.document(),
      forgotten: this.#forgotten,
      encrypted: { ...this.#encrypted, keys: [...this.#encrypted.keys].sort() },
      damaged: this.#damaged,
      duplicates: this.#duplicates,
      recorders: lives.map((life) => life.document(this.#accounts)),
      fleetSize: this.#fleetSize,
      recordersAtOnce: mostAtOnce(lives.map((life) => life.presence(this.#latestUs))),
      origins: [...this.#origins.values()],
      sessionKeys: [...this.#sessionKeys],
      clockAnchors: this.#clockAnchors,
    };
  }

  coverageWithin(ranges: readonly TimeRange[]): CoverageShares {
    if (this.#accounts.touches(ranges)) return NOT_KNOWN;
    return coverageWithin(
      {
        segments: this.#read,
        presence: this.#allLives().map((life) => life.presence(this.#latestUs)),
        fleetSize: this.#recorders.size > 0 ? null : this.#fleetSize,
      },
      ranges,
    );
  }

  #allLives(): RecorderLife[] {
    return [...this.#lives].map(([id, segments]) => new RecorderLife(id, segments, this.#absent));
  }

  /** Skips a segment that has no tables yet, or that retention just removed. */
  #readSegment(segment: SegmentFile): void {
    try {
      if (segment.sealed) manifestOfWhole(segment.path);
      const reader = SegmentReader.open(segment);
      if (reader === null) return;
      try {
        const summary = summaryOf(reader);
        const exchanges = summary.hours.reduce((sum, hour) => sum + hour.exchanges, 0);
        this.#identities.assertNew(segment, { ...summary, exchanges });
        const days = summary.hours.flatMap((hour) => daysOf(reader, hour, this.#calendar));
        this.#accounts.addSegment(summary.meta);
        this.#add(segment, summary, days);
      } finally {
        reader.close();
      }
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'CAPTURE_NOT_FOUND') throw error;
    }
  }

  #add(file: SegmentFile, summary: SegmentSummary, days: readonly DaySum[]): void {
    this.#read.push({ file, summary });
    let exchanges = 0;
    for (const hour of summary.hours) {
      exchanges += hour.exchanges;
      this.#addHour(hour);
    }
    for (const { day, ...sums } of days) {
      const sum = entryOf(this.#days, day, { exchanges: 0, bytes: 0 });
      sum.exchanges += sums.exchanges;
      sum.bytes += sums.bytes;
    }
    this.#exchanges += exchanges;
    if (summary.span !== null) {
      this.#firstUs = Math.min(this.#firstUs ?? summary.span.firstUs, summary.span.firstUs);
      this.#lastUs = Math.max(this.#lastUs ?? summary.span.lastUs, summary.span.lastUs);
    }
    const { meta, span, crashes } = summary;
    this.#latestUs = Math.max(this.#latestUs, meta.closedUs ?? 0, meta.openedUs, span?.lastUs ?? 0);
    for (const { reason, ...amount } of summary.losses) this.#losses.add(reason, amount);
    for (const { cause, ...amount } of summary.omissions) this.#omitted.add(cause, amount);
    for (const { protocol, connections, bytes } of summary.protocols) {
      const sum = entryOf(this.#protocols, protocol, { connections: 0, bytes: 0 });
      sum.connections += connections;
      sum.bytes += bytes;
    }
    for (const gone of summary.expiries) this.#absent.expired(gone);
    this.#clockAnchors += summary.clockAnchors;
    this.#addVault(meta);
    entryOf(this.#lives, meta.recorder.id, []).push({ file, meta, span, exchanges, crashes });
    this.#origins.set(JSON.stringify(meta.origin), meta.origin);
    for (const key of sessionKeysOf(meta)) this.#sessionKeys.add(key);
    if (meta.fleetSize !== null) this.#fleetSize = Math.max(this.#fleetSize ?? 0, meta.fleetSize);
    const bytes = diskBytesOf(file.path);
    this.#expired.add(file, summary, bytes);
    this.#segments.push({ file: file.file, sealed: file.sealed, exchanges, bytes });
  }

  #addVault({ forgotten, encryption }: SegmentMeta): void {
    this.#forgotten.exchanges += forgotten?.exchanges ?? 0;
    this.#forgotten.bytes += forgotten?.bytes ?? 0;
    if (encryption === null) return;
    this.#encrypted.segments += 1;
    this.#encrypted.keys.add(encryption.keyId);
  }

  #addHour(hour: HourSummary): void {
    this.#bytes.request += hour.requestBytes;
    this.#bytes.response += hour.responseBytes;
    this.#outcomes.completed += hour.completed;
    this.#outcomes.client_aborted += hour.clientAborted;
    this.#outcomes.upstream_failed += hour.upstreamFailed;
    this.#outcomes.timed_out += hour.timedOut;
    this.#truncated.requests += hour.requestsTruncated;
    this.#truncated.responses += hour.responsesTruncated;
    this.#hours.set(hour.hour, (this.#hours.get(hour.hour) ?? 0) + hour.exchanges);
  }

  /** Losses in segments, plus those in accounts beside them. */
  #allLosses(): Amounts<LossReason> {
    const sums = new Amounts<LossReason>(LOSS_REASONS);
    for (const reason of LOSS_REASONS) sums.add(reason, this.#losses.of(reason));
    for (const { name, exchanges, bytes } of this.#accounts.losses()) sums.add(name, { exchanges, bytes });
    return sums;
  }

  #allOmissions(): Amounts<OmissionCause> {
    const sums = new Amounts<OmissionCause>(OMISSION_CAUSES);
    for (const cause of OMISSION_CAUSES) sums.add(cause, this.#omitted.of(cause));
    for (const { name, exchanges, bytes } of this.#accounts.omissions()) sums.add(name, { exchanges, bytes });
    return sums;
  }

  #coverage(
    lives: readonly RecorderLife[],
    losses: Amounts<LossReason>,
    omitted: Amounts<OmissionCause>,
  ): Pick<InspectDocument, 'coverage' | 'unexplained'> {
    const sampledOut = omitted.of('sampled_out').exchanges;
    const accounted = this.#exchanges + this.#forgotten.exchanges + sampledOut;
    const here = accounted + losses.total.exchanges;
    if (here === 0 || !isAccounted(this.#read)) return { coverage: null, unexplained: null };
    const presence = lives.map((life) => life.presence(this.#latestUs));
    const share = this.#fleetSize === null ? null : fleetShare(this.#fleetSize, presence, this.#hours);
    const seen = here / (share ?? 1);
    return { coverage: this.#exchanges / seen, unexplained: (seen - accounted) / seen };
  }
}

function diskBytesOf(path: string): number {
  return ['', ...SIDE_SUFFIXES].reduce((sum, suffix) => sum + sizeOf(`${path}${suffix}`), 0);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** The document of `inspect`. Bytes of exchanges are body bytes after transfer decoding. */
export interface InspectDocument {
  readonly schemaVersion: 1;
  /** The first of `directories`. */
  readonly directory: string;
  readonly directories: readonly string[];
  readonly exchanges: number;
  /** ISO 8601, UTC; null for a capture without exchanges. */
  readonly firstArrival: string | null;
  readonly lastArrival: string | null;
  /** `disk` counts every file of the directory. */
  readonly bytes: { readonly request: number; readonly response: number; readonly disk: number };
  readonly outcomes: Readonly<Record<string, number>>;
  readonly truncated: { readonly requests: number; readonly responses: number };
  readonly losses: {
    readonly exchanges: number;
    /** Wire bytes if the exchanges were never parsed. */
    readonly bytes: number;
    readonly byReason: Readonly<Partial<Record<LossReason, { exchanges: number; bytes: number }>>>;
    /** False if a recording was killed: the counts are lower bounds. */
    readonly exact: boolean;
  };
  readonly omitted: {
    readonly exchanges: number;
    readonly bytes: number;
    readonly byCause: Readonly<Partial<Record<OmissionCause, { exchanges: number; bytes: number }>>>;
  };
  /**
   * recorded ÷ seen, in exchanges. Seen is recorded (including forgotten since), lost and sampled out. If the
   * fleet's size is known, it includes an estimate for missing recorders. Null if nothing passed or anything
   * was imported: an imported file does not say what it left out.
   */
  readonly coverage: number | null;
  /**
   * A recording was killed. Traffic between its last account and the next recording was not counted, so
   * coverage may be lower.
   */
  readonly coverageIsAtMost: boolean;
  /** Sorted by end. */
  readonly killed: readonly KilledDocument[];
  /**
   * The share of seen exchanges that is missing: lost for any reason, or seen by recorders that are not here.
   * Sampled-out and forgotten exchanges do not count as missing.
   */
  readonly unexplained: number | null;
  readonly protocols: Readonly<Record<string, { connections: number; bytes: number }>>;
  /** The time zone of `days`. */
  readonly timeZone: string;
  readonly days: readonly { readonly day: string; readonly exchanges: number; readonly bytes: number }[];
  readonly segments: readonly {
    readonly file: string;
    readonly sealed: boolean;
    readonly exchanges: number;
    /** On disk, including the write-ahead log of an open segment. */
    readonly bytes: number;
  }[];
  readonly expired: ExpiredDocument;
  /** What `forget` removed. It was seen and recorded but is no longer there. */
  readonly forgotten: { readonly exchanges: number; readonly bytes: number };
  /** Segments whose payloads need a key, and the fingerprints of those keys. */
  readonly encrypted: { readonly segments: number; readonly keys: readonly string[] };
  /** Segments that failed their check and were set aside. They are kept but not read. */
  readonly damaged: readonly string[];
  /** Segments in several of the directories, counted once. */
  readonly duplicates: readonly string[];
  readonly recorders: readonly RecorderDocument[];
  /** Recorders in the fleet, if configured. */
  readonly fleetSize: number | null;
  /** Most recorders running at one time. A member that paused or restarted has several lives. */
  readonly recordersAtOnce: number;
  readonly origins: readonly CaptureOrigin[];
  /** Where its recorders looked for the session key; empty if they had none. */
  readonly sessionKeys: readonly string[];
  readonly clockAnchors: number;
}

/** One part of a day: a whole hour, or less where the day begins within the hour. */
interface DaySum {
  readonly day: string;
  readonly exchanges: number;
  readonly bytes: number;
}

/** Assigns an hour to its day. If a zone's day begins within the hour, the per-second sums are read. */
function daysOf(reader: SegmentReader, hour: HourSummary, calendar: DayCalendar): DaySum[] {
  const parts = calendar.partsOf(hour.hour);
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) {
    const { exchanges, requestBytes, responseBytes } = hour;
    return [{ day: only.day, exchanges, bytes: requestBytes + responseBytes }];
  }
  return parts.flatMap(({ day, fromSecond, toSecond }) =>
    reader
      .all<{ exchanges: number; bytes: number }>(
        `SELECT coalesce(sum(exchanges), 0) AS exchanges, coalesce(sum(request_bytes + response_bytes), 0) AS bytes
        FROM second WHERE second >= ${fromSecond} AND second < ${toSecond}`,
      )
      .filter(({ exchanges }) => exchanges > 0)
      .map((sums) => ({ day, ...sums })),
  );
}

/** Amounts by name, from a closed list. */
class Amounts<Name extends string> {
  readonly #byName: Map<Name, { exchanges: number; bytes: number }>;
  readonly total = { exchanges: 0, bytes: 0 };

  constructor(names: readonly Name[]) {
    this.#byName = new Map(names.map((name) => [name, { exchanges: 0, bytes: 0 }]));
  }

  add(name: Name, { exchanges, bytes }: { readonly exchanges: number; readonly bytes: number }): void {
    const sum = entryOf(this.#byName, name, { exchanges: 0, bytes: 0 });
    sum.exchanges += exchanges;
    sum.bytes += bytes;
    this.total.exchanges += exchanges;
    this.total.bytes += bytes;
  }

  of(name: Name): { readonly exchanges: number; readonly bytes: number } {
    return this.#byName.get(name) ?? { exchanges: 0, bytes: 0 };
  }

  /** Amounts that are not zero. */
  each(): Partial<Record<Name, { exchanges: number; bytes: number }>> {
    const entries = [...this.#byName].filter(([, { exchanges, bytes }]) => exchanges + bytes > 0);
    return Object.fromEntries(entries) as Partial<Record<Name, { exchanges: number; bytes: number }>>;
  }
}

/** The value of a key. Inserts `fresh` if there is none. */
function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, fresh: Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  map.set(key, fresh);
  return fresh;
}
