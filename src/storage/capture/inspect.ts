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

/** Sums up one capture, by UTC's days. @throws as `inspectCaptures` does. */
export function inspectCapture(captureDirectory: string): InspectDocument {
  return inspectCaptures([captureDirectory], new DayCalendar('UTC'));
}

/** A capture summed up, which can still be asked about windows of it. */
interface CaptureSurvey {
  readonly document: InspectDocument;
  coverageWithin(ranges: readonly TimeRange[]): CoverageShares;
}

/**
 * Sums up one capture, or what some of its recorders left in it: then the fleet is those recorders.
 * @throws as `inspectCaptures` does.
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
 * Sums up captures from what their segments say of themselves; no exchange is read. A segment that lies in several
 * directories counts once.
 * @param directories each as `resolveCaptureDirectory(…, 'read')` gave it
 * @throws AppError CAPTURE_DAMAGED or SCHEMA_TOO_NEW, naming the segment.
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
  /** The last moment that anything in the captures knows of: when what is open was last heard of. */
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

  /** Leaves out a segment that has no tables yet, or that retention took just now. */
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

  /** Those of the segments, and those that only an account beside them tells of. */
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

/** What `inspect` says of a capture. Bytes of exchanges are those of bodies, after transfer decoding. */
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
    /** Bytes of the wire where they were never parsed. */
    readonly bytes: number;
    readonly byReason: Readonly<Partial<Record<LossReason, { exchanges: number; bytes: number }>>>;
    /** False where a recording was killed: these are lower bounds. */
    readonly exact: boolean;
  };
  readonly omitted: {
    readonly exchanges: number;
    readonly bytes: number;
    readonly byCause: Readonly<Partial<Record<OmissionCause, { exchanges: number; bytes: number }>>>;
  };
  /**
   * recorded ÷ seen, in exchanges: seen is what was recorded (forgotten since or not), lost and sampled out, and where the fleet's size is
   * known what the recorders that are missing must have seen. Null where nothing passed, and where anything was imported:
   * its file keeps no account of what it left out.
   */
  readonly coverage: number | null;
  /**
   * A recording was killed: what passed between its last account and the next recording is in no term of coverage,
   * which may be less.
   */
  readonly coverageIsAtMost: boolean;
  /** In the order of their ends. */
  readonly killed: readonly KilledDocument[];
  /**
   * The share of what was seen that is missing: lost for whatever reason, or in front of recorders that are not here.
   * Sampling and forgetting account for what they took.
   */
  readonly unexplained: number | null;
  readonly protocols: Readonly<Record<string, { connections: number; bytes: number }>>;
  /** The time zone that `days` are those of. */
  readonly timeZone: string;
  readonly days: readonly { readonly day: string; readonly exchanges: number; readonly bytes: number }[];
  readonly segments: readonly {
    readonly file: string;
    readonly sealed: boolean;
    readonly exchanges: number;
    /** On disk, with the write-ahead log of an open one. */
    readonly bytes: number;
  }[];
  readonly expired: ExpiredDocument;
  /** What `forget` removed. It was seen and recorded, and is there no more. */
  readonly forgotten: { readonly exchanges: number; readonly bytes: number };
  /** Segments whose payloads need a key, and the fingerprints of the keys they need. */
  readonly encrypted: { readonly segments: number; readonly keys: readonly string[] };
  /** Segments that failed their check and were set aside. They are kept, and not read. */
  readonly damaged: readonly string[];
  /** Segments that lie in several of the directories, and are counted once. */
  readonly duplicates: readonly string[];
  readonly recorders: readonly RecorderDocument[];
  /** Recorders the fleet has, where somebody said so. */
  readonly fleetSize: number | null;
  /** The most that were there at one time: a member that paused, or was started again, has several lives. */
  readonly recordersAtOnce: number;
  readonly origins: readonly CaptureOrigin[];
  /** Where its recorders looked for the key of a session; empty where they knew none. */
  readonly sessionKeys: readonly string[];
  readonly clockAnchors: number;
}

/** What one part of a day (a whole hour, but where the day begins within one) holds. */
interface DaySum {
  readonly day: string;
  readonly exchanges: number;
  readonly bytes: number;
}

/** An hour is a day's, whole; where a zone's day begins within it, its seconds are asked. */
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

/** Amounts under names of a closed list. */
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

  /** Those that are not zero. */
  each(): Partial<Record<Name, { exchanges: number; bytes: number }>> {
    const entries = [...this.#byName].filter(([, { exchanges, bytes }]) => exchanges + bytes > 0);
    return Object.fromEntries(entries) as Partial<Record<Name, { exchanges: number; bytes: number }>>;
  }
}

/** The value under a key, a fresh one if there is none yet. */
function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, fresh: Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  map.set(key, fresh);
  return fresh;
}
