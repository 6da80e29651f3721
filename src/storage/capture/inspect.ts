import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Amount,
  LOSS_REASONS,
  type LossReason,
  OMISSION_CAUSES,
  type OmissionCause,
} from '../../core/accounting.ts';
import { DayCalendar } from '../../core/calendar.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatInstantUs } from '../../core/units.ts';
import { type KilledDocument, LifeAccounts } from './accounts.ts';
import {
  type CoverageShares,
  coverageOf,
  explainedOf,
  mostAtOnce,
  NOT_KNOWN,
  type Seen,
  seenWithin,
} from './coverage.ts';
import { DAMAGED_SUFFIX, type SegmentFile, SIDE_SUFFIXES, segmentsOf, sizeOf } from './directory.ts';
import {
  AbsentSegments,
  type ExpiredDocument,
  type HourSummary,
  type RecorderDocument,
  RecorderLife,
  type SegmentSummary,
  type Stretch,
  summaryOf,
} from './lives.ts';
import { type TrafficMix, trafficMix } from './mix.ts';
import { type CaptureOrigin, type SegmentMeta, sessionKeysOf } from './schema.ts';
import { manifestOfWhole } from './sealing.ts';
import { SegmentIdentities, type SegmentReader, withSegment } from './segment-reader.ts';
import { orGone } from './sqlite.ts';

/** Summarises one capture by UTC days, without its mix: no exchange is read. @throws like `inspectCaptures` */
export function inspectCapture(captureDirectory: string): InspectDocument {
  const inspection = new Inspection(new DayCalendar('UTC'));
  inspection.addDirectory(captureDirectory);
  return inspection.document();
}

/**
 * Summarises one capture, or only some of its recorders; then the fleet is those recorders.
 * @throws like `inspectCaptures`
 */
export function surveyCapture(captureDirectory: string, recorders: readonly string[] = []) {
  const inspection = new Inspection(new DayCalendar('UTC'), recorders);
  inspection.addDirectory(captureDirectory);
  return {
    document: inspection.document(),
    coverageWithin: (ranges: readonly TimeRange[]) => inspection.coverageWithin(ranges),
  };
}

/**
 * Summarises captures from their segments' metadata, and counts some of their exchanges by route, model and status. A
 * segment that is in several directories counts once.
 * @param directories each as returned by `resolveCaptureDirectory(…, 'read')`
 * @throws AppError CAPTURE_DAMAGED or SCHEMA_TOO_NEW, naming the segment
 */
export function inspectCaptures(directories: readonly string[], calendar: DayCalendar): InspectDocument {
  const inspection = new Inspection(calendar);
  for (const directory of directories) inspection.addDirectory(directory);
  return { ...inspection.document(), mix: inspection.mix() };
}

class Inspection {
  readonly #calendar: DayCalendar;
  /** Empty for all recorders. */
  readonly #recorders: ReadonlySet<string>;
  readonly #directories: string[] = [];
  readonly #segments: SegmentSummary[] = [];
  readonly #identities = new SegmentIdentities();
  readonly #absent = new AbsentSegments();
  readonly #accounts = new LifeAccounts();
  readonly #days = new Map<string, Amount>();
  readonly #damaged: string[] = [];
  readonly #duplicates: string[] = [];
  /** Segments of recorders that were not asked for. */
  readonly #unread = new Set<string>();
  #diskBytes = 0;

  constructor(calendar: DayCalendar, recorders: readonly string[] = []) {
    this.#calendar = calendar;
    this.#recorders = new Set(recorders);
  }

  addDirectory(directory: string): void {
    this.#directories.push(directory);
    this.#accounts.addDirectory(directory);
    const known = new Set(this.#segments.map(({ file }) => file.file));
    for (const segment of segmentsOf(directory)) {
      if (this.#recorders.size > 0 && !this.#recorders.has(segment.recorder)) this.#unread.add(segment.file);
      else if (known.has(segment.file)) this.#duplicates.push(segment.file);
      else this.#readSegment(segment);
    }
    for (const file of readdirSync(directory)) {
      this.#diskBytes += sizeOf(join(directory, file));
      if (!file.endsWith(DAMAGED_SUFFIX)) continue;
      this.#damaged.push(file);
      this.#absent.damaged(file);
    }
  }

  mix(): TrafficMix {
    return trafficMix(this.#segments);
  }

  document(): InspectDocument {
    const segments = this.#segments;
    const metas = segments.map(({ meta }) => meta);
    const hours = segments.flatMap((segment) => segment.hours);
    const spans = segments.flatMap(({ span }) => span ?? []);
    const lives = this.#lives();
    const seen = this.#seen();
    const losses = this.#losses();
    const omissions = this.#omissions();
    return {
      schemaVersion: 1,
      directory: this.#directories[0] ?? '',
      directories: this.#directories,
      exchanges: seen.recorded,
      firstArrival: instantOf(leastOf(spans.map(({ firstUs }) => firstUs))),
      lastArrival: instantOf(greatestOf(spans.map(({ lastUs }) => lastUs))),
      bytes: {
        request: sumOf(hours, ({ requestBytes }) => requestBytes),
        response: sumOf(hours, ({ responseBytes }) => responseBytes),
        disk: this.#diskBytes,
      },
      outcomes: {
        completed: sumOf(hours, ({ completed }) => completed),
        client_aborted: sumOf(hours, ({ clientAborted }) => clientAborted),
        upstream_failed: sumOf(hours, ({ upstreamFailed }) => upstreamFailed),
        timed_out: sumOf(hours, ({ timedOut }) => timedOut),
      },
      truncated: {
        requests: sumOf(hours, ({ requestsTruncated }) => requestsTruncated),
        responses: sumOf(hours, ({ responsesTruncated }) => responsesTruncated),
      },
      losses: {
        ...amountOf(losses),
        byReason: byName(LOSS_REASONS, losses),
        exact: this.#accounts.exact,
        uncountedAtMost: this.#accounts.uncountedAtMost,
      },
      omitted: { ...amountOf(omissions), byCause: byName(OMISSION_CAUSES, omissions) },
      ...this.#coverage(seen),
      coverageIsAtMost: !this.#accounts.exact,
      killed: this.#accounts.killed(),
      unreadableAccounts: this.#accounts.unreadable,
      protocols: this.#protocols(),
      timeZone: this.#calendar.timeZone,
      days: [...this.#days].map(([day, sums]) => ({ day, ...sums })).sort((a, b) => (a.day < b.day ? -1 : 1)),
      segments: segments.map(({ file, exchanges }) => ({
        file: file.file,
        sealed: file.sealed,
        exchanges,
        bytes: diskBytesOf(file.path),
      })),
      expired: this.#absent.expiredDocument(segments, this.#unread),
      forgotten: amountOf(metas.flatMap(({ forgotten }) => forgotten ?? [])),
      encrypted: encryptedOf(metas),
      damaged: this.#damaged,
      duplicates: this.#duplicates,
      recorders: lives.map((life) => life.document(this.#accounts)),
      fleetSize: greatestOf(metas.flatMap(({ fleetSize }) => fleetSize ?? [])),
      recordersAtOnce: mostAtOnce(this.#fleet().presence),
      origins: [...new Map(metas.map(({ origin }) => [JSON.stringify(origin), origin])).values()],
      sessionKeys: [...new Set(metas.flatMap(sessionKeysOf))],
      clockAnchors: sumOf(segments, ({ clockAnchors }) => clockAnchors),
    };
  }

  coverageWithin(ranges: readonly TimeRange[]): CoverageShares {
    if (this.#accounts.touches(ranges)) return NOT_KNOWN;
    const windows = ranges.map((range) => ({ range, seen: seenWithin(this.#segments, range) }));
    return coverageOf(windows, this.#segments, this.#fleet());
  }

  /** Coverage with a lower bound. If traffic may have passed uncounted, it is unknown instead of complete. */
  #coverage(seen: Seen): CoverageShares & Pick<InspectDocument, 'coverageAtLeast'> {
    const { exact, unreadable, uncountedAtMost } = this.#accounts;
    if (unreadable.length > 0) return { ...NOT_KNOWN, coverageAtLeast: null };
    const shares = (lost: number) => coverageOf([{ seen: { ...seen, lost } }], this.#segments, this.#fleet());
    const most = shares(seen.lost);
    if (exact) return { ...most, coverageAtLeast: most.coverage };
    const least = uncountedAtMost === null ? NOT_KNOWN : shares(seen.lost + uncountedAtMost);
    const isWhole = most.unexplained === 0 && uncountedAtMost !== 0;
    return { ...(isWhole ? NOT_KNOWN : most), coverageAtLeast: least.coverage };
  }

  /** Skips a segment that has no tables yet, or that retention just removed. */
  #readSegment(segment: SegmentFile): void {
    orGone(() => {
      if (segment.sealed) manifestOfWhole(segment.path);
      withSegment(segment, (reader) => {
        const summary = summaryOf(reader);
        this.#identities.assertNew(segment, summary);
        const days = summary.hours.flatMap((hour) => daysOf(reader, hour, this.#calendar));
        this.#accounts.addSegment(summary.meta);
        this.#segments.push(summary);
        for (const expiry of summary.expiries) this.#absent.expired(expiry);
        for (const { day, ...amount } of days) {
          this.#days.set(day, amountOf([amount, this.#days.get(day) ?? NOTHING]));
        }
      });
    });
  }

  #lives(): RecorderLife[] {
    const byRecorder = Map.groupBy(this.#segments, ({ meta }) => meta.recorder.id);
    return [...byRecorder.values()].map((segments) => new RecorderLife(segments, this.#absent));
  }

  /** If only some recorders were asked for, these are the fleet. */
  #fleet(): { readonly size: number | null; readonly presence: readonly Stretch[] } {
    const sizes = this.#recorders.size > 0 ? [] : this.#segments.flatMap(({ meta }) => meta.fleetSize ?? []);
    // Lives that are still open end with the latest time in the captures.
    const latestUs = greatestOf(
      this.#segments.flatMap(({ meta, span }) => [meta.closedUs ?? 0, meta.openedUs, span?.lastUs ?? 0]),
    );
    return {
      size: greatestOf(sizes),
      presence: this.#lives().flatMap((life) => life.presence(latestUs ?? 0)),
    };
  }

  /** Everything, including losses and omissions that no segment records. */
  #seen(): Seen {
    const hours = new Map<number, number>();
    for (const { hour, exchanges } of this.#segments.flatMap((segment) => segment.hours)) {
      hours.set(hour, (hours.get(hour) ?? 0) + exchanges);
    }
    const sampledOut = this.#accounts.omissions().filter(({ name }) => name === 'sampled_out');
    return {
      recorded: sumOf(this.#segments, ({ exchanges }) => exchanges),
      explained: sumOf(this.#segments, explainedOf) + amountOf(sampledOut).exchanges,
      lost: amountOf(this.#losses()).exchanges,
      hours,
    };
  }

  #losses(): NamedAmount[] {
    const recorded = this.#segments.flatMap(({ losses }) => losses);
    return [
      ...recorded.map(({ reason, ...amount }) => ({ name: reason, ...amount })),
      ...this.#accounts.losses(),
    ];
  }

  #omissions(): NamedAmount[] {
    const recorded = this.#segments.flatMap(({ omissions }) => omissions);
    return [
      ...recorded.map(({ cause, ...amount }) => ({ name: cause, ...amount })),
      ...this.#accounts.omissions(),
    ];
  }

  #protocols(): InspectDocument['protocols'] {
    const uses = Map.groupBy(
      this.#segments.flatMap(({ protocols }) => protocols),
      ({ protocol }) => protocol,
    );
    return Object.fromEntries(
      [...uses].map(([protocol, each]) => [
        protocol,
        {
          connections: sumOf(each, ({ connections }) => connections),
          bytes: sumOf(each, ({ bytes }) => bytes),
        },
      ]),
    );
  }
}

const NOTHING: Amount = { exchanges: 0, bytes: 0 };

interface NamedAmount extends Amount {
  readonly name: string;
}

function sumOf<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((sum, item) => sum + of(item), 0);
}

function amountOf(amounts: readonly Amount[]): { exchanges: number; bytes: number } {
  return {
    exchanges: sumOf(amounts, ({ exchanges }) => exchanges),
    bytes: sumOf(amounts, ({ bytes }) => bytes),
  };
}

/** Sums by name, in the order of a closed list. Sums of zero are omitted. */
function byName<Name extends string>(
  names: readonly Name[],
  amounts: readonly NamedAmount[],
): Partial<Record<Name, { exchanges: number; bytes: number }>> {
  const sums = names.map(
    (name) => [name, amountOf(amounts.filter((amount) => amount.name === name))] as const,
  );
  const entries = sums.filter(([, { exchanges, bytes }]) => exchanges + bytes > 0);
  return Object.fromEntries(entries) as Partial<Record<Name, { exchanges: number; bytes: number }>>;
}

/** Null for none. */
function leastOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((least, value) => Math.min(least, value));
}

function greatestOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((most, value) => Math.max(most, value));
}

function instantOf(epochUs: number | null): string | null {
  return epochUs === null ? null : formatInstantUs(epochUs);
}

function encryptedOf(metas: readonly SegmentMeta[]): InspectDocument['encrypted'] {
  const keys = metas.flatMap(({ encryption }) => encryption?.keyId ?? []);
  return { segments: keys.length, keys: [...new Set(keys)].sort() };
}

function diskBytesOf(path: string): number {
  return ['', ...SIDE_SUFFIXES].reduce((sum, suffix) => sum + sizeOf(`${path}${suffix}`), 0);
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
    /** How many more killed recordings may have seen: 0 if exact, null if unknown. */
    readonly uncountedAtMost: number | null;
  };
  readonly omitted: {
    readonly exchanges: number;
    readonly bytes: number;
    readonly byCause: Readonly<Partial<Record<OmissionCause, { exchanges: number; bytes: number }>>>;
  };
  /**
   * recorded ÷ seen, in exchanges. Seen is recorded (including forgotten since), lost and sampled out. If the fleet's
   * size is known, it includes an estimate for missing recorders. Null if nothing passed, or if an account cannot be
   * read. Null if anything was imported, because an imported file does not say what it left out. Null if a recording
   * was killed and nothing is known to be lost.
   */
  readonly coverage: number | null;
  /** The same, if all exchanges are counted that may have passed uncounted; null if unknown. */
  readonly coverageAtLeast: number | null;
  /**
   * A recording was killed. Traffic between its last account and the next recording was not counted, so
   * coverage may be lower.
   */
  readonly coverageIsAtMost: boolean;
  /** Sorted by end. */
  readonly killed: readonly KilledDocument[];
  /** Recordings whose account cannot be read. */
  readonly unreadableAccounts: readonly string[];
  /**
   * The share of seen exchanges that is missing: lost for any reason, or seen by recorders that are not here.
   * Sampled-out and forgotten exchanges do not count as missing.
   */
  readonly unexplained: number | null;
  /** By route, model and status; omitted if no exchange was read. */
  readonly mix?: TrafficMix;
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

/** One part of a day: a whole hour, or less if the day begins within the hour. */
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
