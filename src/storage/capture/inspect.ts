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
import { joinedDetails, type ServerDetails } from '../../documents/server-details.ts';
import type { KilledDocument } from './accounts.ts';
import { CaptureLives } from './capture-lives.ts';
import {
  addMissing,
  type CoverageShares,
  coverageOf,
  explainedOf,
  mostAtOnce,
  NOT_KNOWN,
  type Seen,
  seenWithin,
  spreadByHour,
  within,
} from './coverage.ts';
import { DAMAGED_SUFFIX, type SegmentFile, SIDE_SUFFIXES, segmentsOf, sizeOf } from './directory.ts';
import {
  type ExpiredDocument,
  type HourSummary,
  isMissing,
  type RecorderDocument,
  type RecorderLife,
  type SegmentSummary,
  type Stretch,
} from './lives.ts';
import { type TrafficMix, trafficMix } from './mix.ts';
import { type CaptureOrigin, type SegmentMeta, sessionKeysOf } from './schema.ts';
import { manifestOfWhole } from './sealing.ts';
import { SegmentIdentities, type SegmentReader } from './segment-reader.ts';
import { orGone } from './sqlite.ts';

/** Summarises one capture by UTC days, without its mix: no exchange is read. @throws like `inspectCaptures` */
export function inspectCapture(captureDirectory: string): InspectDocument {
  return inspectionOf([captureDirectory], new DayCalendar('UTC')).document();
}

/**
 * Summarises one capture, or only some of its recorders; then the fleet is those recorders.
 * @throws like `inspectCaptures`
 */
export function surveyCapture(captureDirectory: string, recorders: readonly string[] = []) {
  const inspection = inspectionOf([captureDirectory], new DayCalendar('UTC'), recorders);
  return {
    document: inspection.document(),
    coverageWithin: (ranges: readonly TimeRange[]) => inspection.coverageWithin(ranges),
    serverDetailsWithin: (ranges: readonly TimeRange[]) => inspection.serverDetailsWithin(ranges),
  };
}

/**
 * Summarises captures from their segments' metadata, and counts some of their exchanges by route, model and status. A
 * segment that is in several directories counts once.
 * @param directories each as returned by `resolveCaptureDirectory(…, 'read')`
 * @throws AppError CAPTURE_DAMAGED or SCHEMA_TOO_NEW, naming the segment
 */
export function inspectCaptures(directories: readonly string[], calendar: DayCalendar): InspectDocument {
  const inspection = inspectionOf(directories, calendar);
  return { ...inspection.document(), mix: inspection.mix() };
}

/** How often captures are read if retention removes a segment each time. */
const ATTEMPTS = 3;

/** Reads again if a segment expired meanwhile. Its expiry may be recorded in one that was read before, so it would look missing. */
function inspectionOf(
  directories: readonly string[],
  calendar: DayCalendar,
  recorders: readonly string[] = [],
): Inspection {
  for (let attempt = 1; ; attempt += 1) {
    const inspection = new Inspection(calendar, recorders);
    for (const directory of directories) inspection.addDirectory(directory);
    if (!inspection.missedSegments || attempt === ATTEMPTS) return inspection;
  }
}

class Inspection {
  /** Whether a segment was removed between being listed and being read. */
  missedSegments = false;
  readonly #calendar: DayCalendar;
  /** Empty for all recorders. */
  readonly #recorders: ReadonlySet<string>;
  readonly #directories: string[] = [];
  readonly #read: CaptureLives;
  readonly #identities = new SegmentIdentities();
  readonly #days = new Map<string, Amount>();
  readonly #damaged: string[] = [];
  readonly #duplicates: string[] = [];
  /** Segments of recorders that were not asked for. */
  readonly #unread = new Set<string>();
  #diskBytes = 0;

  constructor(calendar: DayCalendar, recorders: readonly string[] = []) {
    this.#calendar = calendar;
    this.#recorders = new Set(recorders);
    this.#read = new CaptureLives(this.#recorders);
  }

  addDirectory(directory: string): void {
    this.#directories.push(directory);
    this.#read.addDirectory(directory);
    const known = new Set(this.#read.segments.map(({ file }) => file.file));
    for (const segment of segmentsOf(directory)) {
      if (this.#recorders.size > 0 && !this.#recorders.has(segment.recorder)) this.#unread.add(segment.file);
      else if (known.has(segment.file)) this.#duplicates.push(segment.file);
      else this.#readSegment(segment);
    }
    for (const file of readdirSync(directory)) {
      this.#diskBytes += sizeOf(join(directory, file));
      if (file.endsWith(DAMAGED_SUFFIX)) this.#damaged.push(file);
    }
  }

  mix(): TrafficMix {
    return trafficMix(this.#read.segments);
  }

  document(): InspectDocument {
    const { segments, absent, accounts } = this.#read;
    const metas = segments.map(({ meta }) => meta);
    const hours = segments.flatMap((segment) => segment.hours);
    const spans = segments.flatMap(({ span }) => span ?? []);
    const lives = this.#read.all();
    const seen = this.#seen(lives);
    const losses = this.#losses(lives);
    const missing = exchangesOf(lives);
    const recordersAtOnce = mostAtOnce(this.#fleet(lives).presence);
    const fleetSize = greatestOf(metas.flatMap((meta) => meta.fleetSize ?? []));
    const omissions = this.#omissions();
    // An imported file does not say what it left out.
    const allCounted = missing !== null && metas.every(({ origin }) => origin.kind === 'recorded');
    const hasBodies = !lacks(segments, 'requests') || !lacks(segments, 'responses');
    return {
      schemaVersion: 1,
      directory: this.#directories[0] ?? '',
      directories: this.#directories,
      exchanges: seen.recorded,
      firstArrival: instantOf(leastOf(spans.map(({ firstUs }) => firstUs))),
      lastArrival: instantOf(greatestOf(spans.map(({ lastUs }) => lastUs))),
      bytes: {
        request: lacks(segments, 'requests') ? null : sumOf(hours, ({ requestBytes }) => requestBytes),
        response: lacks(segments, 'responses') ? null : sumOf(hours, ({ responseBytes }) => responseBytes),
        disk: this.#diskBytes,
      },
      outcomes: outcomesIn(hours),
      truncated: {
        requests: sumOf(hours, ({ requestsTruncated }) => requestsTruncated),
        responses: sumOf(hours, ({ responsesTruncated }) => responsesTruncated),
      },
      losses: {
        ...amountOf(losses),
        byReason: byName(LOSS_REASONS, losses),
        exact: accounts.exact && allCounted,
        uncountedAtMost: allCounted ? accounts.uncountedAtMost : null,
      },
      omitted: { ...amountOf(omissions), byCause: byName(OMISSION_CAUSES, omissions) },
      ...this.#coverage(seen, lives),
      coverageIsAtMost: !accounts.exact || (missing === null && fleetSize === null),
      missing: {
        exchanges: missing,
        recorders: fleetSize === null ? null : Math.max(0, fleetSize - recordersAtOnce),
      },
      withoutLog: this.#read.withoutLog(lives),
      killed: accounts.killed(),
      unreadableAccounts: accounts.unreadable,
      protocols: this.#protocols(),
      timeZone: this.#calendar.timeZone,
      days: [...this.#days]
        .map(([day, { exchanges, bytes }]) => ({ day, exchanges, bytes: hasBodies ? bytes : null }))
        .sort((a, b) => (a.day < b.day ? -1 : 1)),
      segments: segments.map(({ file, exchanges }) => ({
        file: file.file,
        sealed: file.sealed,
        exchanges,
        bytes: diskBytesOf(file.path),
      })),
      expired: absent.expiredDocument(segments, this.#unread),
      forgotten: amountOf(metas.flatMap(({ forgotten }) => forgotten ?? [])),
      encrypted: encryptedOf(metas),
      damaged: this.#damaged,
      duplicates: this.#duplicates,
      recorders: lives.map((life) => life.document()),
      fleetSize,
      recordersAtOnce,
      origins: originsOf(metas),
      serverDetails: detailsOf(segments),
      sessionKeys: [...new Set(metas.flatMap(sessionKeysOf))],
      clockAnchors: sumOf(segments, ({ clockAnchors }) => clockAnchors),
    };
  }

  /**
   * Coverage within some times. If one of them touches a time in which nothing was counted, all exchanges are counted
   * that may have passed then, and the result is a lower bound.
   */
  coverageWithin(ranges: readonly TimeRange[]): CoverageWithin {
    const { segments, accounts } = this.#read;
    const lives = this.#read.all();
    const isAtLeast = accounts.touches(ranges);
    const uncounted = isAtLeast ? accounts.uncountedAtMost : 0;
    const fleet = this.#fleet(lives);
    const arrivals = arrivalsOf(segments.flatMap(({ span }) => span ?? []));
    const missing = lives.flatMap(({ gaps }) => gaps).filter(isMissing);
    const isUnknown = missing.some(
      ({ exchanges, fromUs, toUs }) =>
        exchanges === null &&
        fleet.size === null &&
        ranges.some((range) => fromUs < within(range, arrivals).toUs && (toUs ?? fromUs + 1) > range.fromUs),
    );
    if (uncounted === null || isUnknown) return { ...NOT_KNOWN, isAtLeast: false };
    const windows = ranges.map((range) => {
      const seen = seenWithin(segments, range);
      // What is missing before the first arrival, or after the last one, has no time that could be replayed.
      for (const gap of missing) addMissing(seen, gap, within(range, arrivals));
      return { range, seen };
    });
    const [first] = windows;
    if (first !== undefined) first.seen.lost += uncounted;
    return { ...coverageOf(windows, segments, fleet), isAtLeast };
  }

  /** What the servers said of themselves while these times were recorded. */
  serverDetailsWithin(ranges: readonly TimeRange[]): ServerDetails {
    return detailsOf(
      this.#read.segments.filter(({ span }) =>
        ranges.some(({ fromUs, toUs }) => span !== null && span.firstUs < toUs && span.lastUs >= fromUs),
      ),
    );
  }

  /** Coverage with a lower bound. If traffic may have passed uncounted, it is unknown instead of complete. */
  #coverage(
    seen: Seen,
    lives: readonly RecorderLife[],
  ): CoverageShares & Pick<InspectDocument, 'coverageAtLeast'> {
    const { exact, unreadable, uncountedAtMost } = this.#read.accounts;
    const fleet = this.#fleet(lives);
    // A fleet of known size counts a recorder out while its segments are missing.
    const isUnknown = exchangesOf(lives) === null && fleet.size === null;
    if (unreadable.length > 0 || isUnknown) return { ...NOT_KNOWN, coverageAtLeast: null };
    const shares = (lost: number) => coverageOf([{ seen: { ...seen, lost } }], this.#read.segments, fleet);
    const most = shares(seen.lost);
    if (exact) return { ...most, coverageAtLeast: most.coverage };
    const least = uncountedAtMost === null ? NOT_KNOWN : shares(seen.lost + uncountedAtMost);
    const isWhole = most.unexplained === 0 && uncountedAtMost !== 0;
    return { ...(isWhole ? NOT_KNOWN : most), coverageAtLeast: least.coverage };
  }

  /** Skips a segment that has no tables yet, or that retention just removed. */
  #readSegment(segment: SegmentFile): void {
    const isRead = orGone(() => {
      if (segment.sealed) manifestOfWhole(segment.path);
      this.#read.addSegment(segment, (reader, summary) => {
        this.#identities.assertNew(segment, summary);
        const days = summary.hours.flatMap((hour) => daysOf(reader, hour, this.#calendar));
        for (const { day, ...amount } of days) {
          this.#days.set(day, amountOf([amount, this.#days.get(day) ?? NOTHING]));
        }
      });
      return true;
    });
    this.missedSegments ||= isRead === null;
  }

  /** If only some recorders were asked for, these are the fleet. */
  #fleet(lives: readonly RecorderLife[]): {
    readonly size: number | null;
    readonly presence: readonly Stretch[];
  } {
    const { segments } = this.#read;
    const sizes = this.#recorders.size > 0 ? [] : segments.flatMap(({ meta }) => meta.fleetSize ?? []);
    // Lives that still record end with the latest time in the captures.
    const latestUs = greatestOf(
      segments.flatMap(({ meta, span }) => [meta.closedUs ?? 0, meta.openedUs, span?.lastUs ?? 0]),
    );
    return {
      size: greatestOf(sizes),
      presence: lives.flatMap((life) => life.presence(latestUs ?? 0)),
    };
  }

  /** Everything, including losses and omissions that no segment records. */
  #seen(lives: readonly RecorderLife[]): Seen {
    const { segments, accounts } = this.#read;
    const hours = new Map<number, number>();
    for (const { hour, exchanges } of segments.flatMap((segment) => segment.hours)) {
      hours.set(hour, (hours.get(hour) ?? 0) + exchanges);
    }
    const sampledOut = accounts.omissions().filter(({ name }) => name === 'sampled_out');
    const seen = {
      recorded: sumOf(segments, ({ exchanges }) => exchanges),
      explained: sumOf(segments, explainedOf) + amountOf(sampledOut).exchanges,
      lost: amountOf(this.#losses(lives)).exchanges,
      hours,
    };
    for (const gap of lives.flatMap(({ gaps }) => gaps).filter(isMissing)) {
      seen.lost += gap.exchanges ?? 0;
      spreadByHour(hours, gap.exchanges ?? 0, gap.fromUs, gap.toUs ?? gap.fromUs);
    }
    return seen;
  }

  #losses(lives: readonly RecorderLife[]): NamedAmount[] {
    const recorded = this.#read.segments.flatMap(({ losses }) => losses);
    return [
      ...recorded.map(({ reason, ...amount }) => ({ name: reason, ...amount })),
      ...lives.flatMap(({ gaps }) => gaps).flatMap(({ lost }) => lost),
      ...this.#read.accounts.losses(),
    ];
  }

  #omissions(): NamedAmount[] {
    const recorded = this.#read.segments.flatMap(({ omissions }) => omissions);
    return [
      ...recorded.map(({ cause, ...amount }) => ({ name: cause, ...amount })),
      ...this.#read.accounts.omissions(),
    ];
  }

  #protocols(): InspectDocument['protocols'] {
    const uses = Map.groupBy(
      this.#read.segments.flatMap(({ protocols }) => protocols),
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

/** Coverage within some times. */
export interface CoverageWithin extends CoverageShares {
  /** It is a lower bound, because nothing was counted for a part of these times. */
  readonly isAtLeast: boolean;
}

/** Recorded exchanges that should be here and are not; null if a part of them has no number. */
function exchangesOf(lives: readonly RecorderLife[]): number | null {
  return lives
    .flatMap(({ gaps }) => gaps)
    .filter(isMissing)
    .reduce<number | null>(
      (sum, { exchanges }) => (sum === null || exchanges === null ? null : sum + exchanges),
      0,
    );
}

/** The first and the last arrival. */
function arrivalsOf(spans: readonly { readonly firstUs: number; readonly lastUs: number }[]): TimeRange {
  return {
    fromUs: leastOf(spans.map(({ firstUs }) => firstUs)) ?? 0,
    toUs: (greatestOf(spans.map(({ lastUs }) => lastUs)) ?? 0) + 1,
  };
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

/** Whether nothing was recorded, and no imported file has this part of an exchange: then it is not known. */
function lacks(segments: readonly SegmentSummary[], part: string): boolean {
  const isLacking = ({ meta: { origin } }: SegmentSummary) =>
    origin.kind === 'imported' && (origin.details.missing ?? []).includes(part);
  return segments.length > 0 && segments.every(isLacking);
}

/** Null for each outcome if none is known. */
function outcomesIn(hours: readonly HourSummary[]): InspectDocument['outcomes'] {
  const known = {
    completed: sumOf(hours, ({ completed }) => completed),
    client_aborted: sumOf(hours, ({ clientAborted }) => clientAborted),
    upstream_failed: sumOf(hours, ({ upstreamFailed }) => upstreamFailed),
    timed_out: sumOf(hours, ({ timedOut }) => timedOut),
  };
  const ended = sumOf(Object.values(known), (count) => count);
  const unknown = sumOf(hours, ({ exchanges }) => exchanges) - ended;
  const counts = Object.entries(known).map(([name, count]) => [
    name,
    unknown > 0 && ended === 0 ? null : count,
  ]);
  return { ...Object.fromEntries(counts), unknown };
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

/** In the order of recording. */
function originsOf(metas: readonly SegmentMeta[]): InspectDocument['origins'] {
  const origins = metas.toSorted((a, b) => a.openedUs - b.openedUs).map(({ origin }) => origin);
  return [...new Map(origins.map((origin) => [JSON.stringify(origin), origin])).values()];
}

function detailsOf(segments: readonly SegmentSummary[]): ServerDetails {
  return segments.reduce<ServerDetails>(
    (details, { meta }) => joinedDetails(details, meta.serverDetails ?? {}),
    {},
  );
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
  readonly bytes: {
    /** Null for an import whose file has none of these bodies. */
    readonly request: number | null;
    readonly response: number | null;
    readonly disk: number;
  };
  /** By outcome, null if none is known; `unknown` counts imported exchanges whose file does not say. */
  readonly outcomes: Readonly<Record<string, number | null>>;
  readonly truncated: { readonly requests: number; readonly responses: number };
  readonly losses: {
    readonly exchanges: number;
    /** Wire bytes if the exchanges were never parsed. */
    readonly bytes: number;
    readonly byReason: Readonly<Partial<Record<LossReason, { exchanges: number; bytes: number }>>>;
    /** False if a recording was killed or imported: the counts are lower bounds. */
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
  /** What was recorded, should be here, and is not. `recorders` has it by recorder, in `gaps`. */
  readonly missing: {
    /** Null if the number of a part is unknown: an old account, or none. */
    readonly exchanges: number | null;
    /** Members of the fleet that never recorded at the same time as the others; null if its size is unknown. */
    readonly recorders: number | null;
  };
  /** Segments that are not sealed, and whose write-ahead log with their last commits is gone. */
  readonly withoutLog: readonly string[];
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
  readonly days: readonly {
    readonly day: string;
    readonly exchanges: number;
    /** Null like `bytes`. */
    readonly bytes: number | null;
  }[];
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
  /** What the recorded servers said of themselves; empty if nothing is known. */
  readonly serverDetails: ServerDetails;
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
