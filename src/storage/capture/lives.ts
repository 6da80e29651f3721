import type { Amount, LossReason, OmissionCause, ProtocolUse } from '../../core/accounting.ts';
import { formatInstantUs } from '../../core/units.ts';
import type { LifeAccounts } from './accounts.ts';
import { DAMAGED_SUFFIX, parseSegmentName, type SegmentFile } from './directory.ts';
import type { SegmentMeta } from './schema.ts';
import type { ExpiredSums } from './sealing.ts';
import type { SegmentReader } from './segment-reader.ts';

/**
 * Why a stretch of a recorder's life is missing. `crash`: the recorder died and lost what it had not
 * committed. `expired`: retention removed it. `damaged`: it was set aside. `missing`: its segments are
 * elsewhere.
 */
type GapKind = 'crash' | 'expired' | 'damaged' | 'missing';

/** A missing stretch. Times are ISO 8601, UTC; null where the end is unknown. */
interface LifeGap {
  readonly kind: GapKind;
  readonly from: string;
  readonly to: string | null;
  readonly segments: number;
  /** Exchanges in it; null if unknown. For a crash, a lower bound. */
  readonly exchanges: number | null;
}

/** One life of one recorder, as far as the capture holds it. */
export interface RecorderDocument {
  readonly id: string;
  readonly host: string;
  readonly startedAt: string;
  /** Null while it records, if it was killed and nothing followed, or if its last segment is not here. */
  readonly endedAt: string | null;
  readonly end: 'stopped' | 'crashed' | 'recording' | 'killed' | 'unknown';
  readonly segments: number;
  readonly exchanges: number;
  readonly gaps: readonly LifeGap[];
}

/** One segment of a life. */
export interface LifeSegment {
  readonly file: SegmentFile;
  readonly meta: SegmentMeta;
  readonly span: { readonly firstUs: number; readonly lastUs: number } | null;
  readonly exchanges: number;
  readonly crashes: readonly TimedLoss[];
}

export interface Stretch {
  readonly fromUs: number;
  readonly toUs: number;
}

interface Gap {
  readonly kind: GapKind;
  readonly fromUs: number;
  readonly toUs: number | null;
  readonly segments: number;
  readonly exchanges: number | null;
}

/** What a capture knows about segments that are not in it. */
export class AbsentSegments {
  /** By recorder and number; null if its content is unknown. */
  readonly #expired = new Map<string, number | null>();
  readonly #damaged = new Set<string>();
  /** Whether there are expiries without a record of their own: their names are no longer known. */
  #forgotten = false;

  expired({ file, segments, ownExchanges }: ExpirySummary): void {
    this.#expired.set(keyOf(parseSegmentName(file)), ownExchanges);
    if (segments > 1) this.#forgotten = true;
  }

  /** @param file the name, including the `.damaged` suffix */
  damaged(file: string): void {
    this.#damaged.add(keyOf(parseSegmentName(file.slice(0, -DAMAGED_SUFFIX.length))));
  }

  /**
   * Why number `sequence` of a recorder is missing, and how many exchanges it held.
   * @param leading whether it came before all segments that are here: retention takes the oldest
   */
  whyOf(recorder: string, sequence: number, leading: boolean): { kind: GapKind; exchanges: number | null } {
    const key = keyOf({ recorder, sequence });
    const exchanges = this.#expired.get(key);
    if (exchanges !== undefined) return { kind: 'expired', exchanges };
    if (this.#damaged.has(key)) return { kind: 'damaged', exchanges: null };
    return { kind: leading && this.#forgotten ? 'expired' : 'missing', exchanges: null };
  }
}

function keyOf(name: { readonly recorder: string; readonly sequence: number } | null): string {
  return name === null ? '' : `${name.recorder} ${name.sequence}`;
}

/** Sorts one recorder's segments and finds the gaps between them. */
export class RecorderLife {
  readonly id: string;
  readonly host: string;
  readonly startedUs: number;
  readonly segments: readonly LifeSegment[];
  readonly #gaps: readonly Gap[];

  constructor(id: string, segments: readonly LifeSegment[], absent: AbsentSegments) {
    this.id = id;
    this.segments = [...segments].sort((a, b) => a.file.sequence - b.file.sequence);
    const first = this.segments[0];
    if (first === undefined) throw new RangeError('a life has at least one segment');
    this.host = first.meta.recorder.host;
    this.startedUs = first.meta.recorder.startedUs;
    this.#gaps = [...this.#holes(absent), ...this.#crashes()].sort((a, b) => a.fromUs - b.fromUs);
  }

  /** When it recorded according to the capture: its life less its gaps. `nowUs` ends an open life. */
  presence(nowUs: number): Stretch[] {
    const stretches: Stretch[] = [];
    let fromUs = this.startedUs;
    for (const gap of this.#gaps) {
      if (gap.fromUs > fromUs) stretches.push({ fromUs, toUs: gap.fromUs });
      fromUs = Math.max(fromUs, gap.toUs ?? Number.POSITIVE_INFINITY);
    }
    const last = this.segments.at(-1);
    const endUs = last === undefined ? fromUs : (endOf(last) ?? nowUs);
    if (endUs > fromUs) stretches.push({ fromUs, toUs: endUs });
    return stretches;
  }

  document(accounts: LifeAccounts): RecorderDocument {
    const last = this.segments.at(-1);
    const { endedUs = null, recoveredUs = null, closedUs = null } = last?.meta ?? {};
    const endUs = endedUs ?? (recoveredUs === null ? null : (this.#lastKnownUs() ?? recoveredUs));
    const open = closedUs === null && last?.file.sealed === false;
    const running = last !== undefined && accounts.isKilled(last.meta) ? 'killed' : 'recording';
    return {
      id: this.id,
      host: this.host,
      startedAt: formatInstantUs(this.startedUs),
      endedAt: endUs === null ? null : formatInstantUs(endUs),
      end: endedUs !== null ? 'stopped' : recoveredUs !== null ? 'crashed' : open ? running : 'unknown',
      segments: this.segments.length,
      exchanges: this.segments.reduce((sum, { exchanges }) => sum + exchanges, 0),
      gaps: this.#gaps.map(({ fromUs, toUs, ...gap }) => ({
        ...gap,
        from: formatInstantUs(fromUs),
        to: toUs === null ? null : formatInstantUs(toUs),
      })),
    };
  }

  /** The last commit of a crashed life: the begin of its last gap. */
  #lastKnownUs(): number | null {
    return this.segments.at(-1)?.crashes.at(-1)?.fromUs ?? null;
  }

  /** Missing numbers. Numbers count from 1 without a hole. */
  #holes(absent: AbsentSegments): Gap[] {
    const gaps: Gap[] = [];
    let expected = 1;
    let sinceUs = this.startedUs;
    for (const segment of this.segments) {
      const { sequence } = segment.file;
      const toUs = beginOf(segment);
      for (; expected < sequence; expected += 1) {
        const why = absent.whyOf(this.id, expected, segment === this.segments[0]);
        addHole(gaps, { ...why, fromUs: Math.min(sinceUs, toUs), toUs, segments: 1 });
      }
      expected = sequence + 1;
      sinceUs = endOf(segment) ?? toUs;
    }
    const last = this.segments.at(-1);
    if (last?.file.sealed && last.meta.endedUs === null && last.meta.recoveredUs === null) {
      // The segment ended and its recorder continued. The next one is missing or does not exist yet.
      const why = absent.whyOf(this.id, expected, false);
      if (why.kind !== 'missing') gaps.push({ ...why, fromUs: sinceUs, toUs: null, segments: 1 });
    }
    return gaps;
  }

  #crashes(): Gap[] {
    return this.segments.flatMap((segment) =>
      segment.crashes.map(({ fromUs, toUs, exchanges }) => ({
        kind: 'crash' as const,
        fromUs,
        toUs,
        segments: 0,
        exchanges,
      })),
    );
  }
}

/** Joins consecutive missing numbers with the same cause into one gap. */
function addHole(gaps: Gap[], hole: Gap): void {
  const last = gaps.at(-1);
  if (last === undefined || last.kind !== hole.kind || last.toUs !== hole.toUs) {
    gaps.push(hole);
    return;
  }
  const exchanges =
    last.exchanges === null || hole.exchanges === null ? null : last.exchanges + hole.exchanges;
  gaps[gaps.length - 1] = { ...last, segments: last.segments + 1, exchanges };
}

/** The writer's time for recorded segments, the arrivals' for imported ones. */
function beginOf({ meta, span }: LifeSegment): number {
  return meta.origin.kind === 'recorded' ? meta.openedUs : (span?.firstUs ?? meta.openedUs);
}

/** Null for an open segment. */
function endOf({ meta, span, crashes }: LifeSegment): number | null {
  if (meta.origin.kind !== 'recorded') return span?.lastUs ?? meta.closedUs;
  // A later recorder closed a recovered segment. Its own recorder ran until the gap begins.
  return meta.recoveredUs === null ? meta.closedUs : (crashes.at(-1)?.fromUs ?? meta.recoveredUs);
}

/** A segment's metadata, read from its small tables. */
export interface SegmentSummary {
  readonly meta: SegmentMeta;
  readonly span: { readonly firstUs: number; readonly lastUs: number } | null;
  readonly hours: readonly HourSummary[];
  readonly losses: readonly (Amount & { readonly reason: LossReason })[];
  readonly omissions: readonly (Amount & { readonly cause: OmissionCause })[];
  readonly protocols: readonly ProtocolUse[];
  readonly expiries: readonly ExpirySummary[];
  /** How often the recorder noted its clock beside the host's. */
  readonly clockAnchors: number;
  /** What was lost with a recorder's death, by stretch. */
  readonly crashes: readonly TimedLoss[];
}

/** An expiry recorded in the segment, summed with earlier ones that it includes. */
export interface ExpirySummary extends ExpiredSums {
  readonly file: string;
  /** Of the expired segment alone. */
  readonly ownExchanges: number;
  readonly ownBytes: number;
  /** Epoch microseconds; null for a segment without arrivals. */
  readonly lastArrivalUs: number | null;
  readonly expiredUs: number;
}

interface TimedLoss {
  readonly fromUs: number;
  readonly toUs: number;
  readonly exchanges: number;
}

/** Sums of the exchanges that arrived within one UTC hour. */
export interface HourSummary {
  readonly hour: number;
  readonly exchanges: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly completed: number;
  readonly clientAborted: number;
  readonly upstreamFailed: number;
  readonly timedOut: number;
  readonly requestsTruncated: number;
  readonly responsesTruncated: number;
}

/** @throws AppError CAPTURE_DAMAGED naming the segment */
export function summaryOf(reader: SegmentReader): SegmentSummary {
  const meta = reader.meta();
  const losses = reader.all<Amount & { readonly reason: LossReason }>(
    'SELECT reason, sum(exchanges) AS exchanges, sum(bytes) AS bytes FROM loss GROUP BY reason',
  );
  // With hundreds of segments, preparing statements takes most of the time. Skip queries that cannot match.
  const crashed = meta.recoveredUs !== null;
  return {
    meta,
    span: reader.span(),
    hours: reader.all<HourSummary>(`SELECT hour, exchanges, request_bytes AS requestBytes,
      response_bytes AS responseBytes, completed, client_aborted AS clientAborted,
      upstream_failed AS upstreamFailed, timed_out AS timedOut, requests_truncated AS requestsTruncated,
      responses_truncated AS responsesTruncated FROM hour ORDER BY hour`),
    losses,
    omissions: reader.all('SELECT cause, exchanges, bytes FROM omission'),
    protocols: reader.all('SELECT protocol, connections, bytes FROM protocol_use'),
    expiries: reader.all(SELECT_EXPIRIES),
    clockAnchors: reader.all<{ count: number }>(COUNT_ANCHORS)[0]?.count ?? 0,
    crashes: crashed ? [crashOf(reader, meta)] : [],
  };
}

/** Selects rows of `ExpirySummary`. */
export const SELECT_EXPIRIES = `SELECT file, 1 + earlier_segments AS segments,
  exchanges + earlier_exchanges AS exchanges, bytes + earlier_bytes AS bytes, exchanges AS ownExchanges,
  bytes AS ownBytes, last_arrival_us AS lastArrivalUs, expired_us AS expiredUs FROM expiry`;

/** From the last commit of a dead recorder to the recovery of its segment. */
function crashOf(reader: SegmentReader, { openedUs, recoveredUs }: SegmentMeta): TimedLoss {
  const [last] = reader.all<{ committedUs: number | null }>(
    'SELECT max(committed_us) AS committedUs FROM hour',
  );
  const fromUs = last?.committedUs ?? openedUs;
  return { fromUs, toUs: recoveredUs ?? fromUs, exchanges: 0 };
}

const COUNT_ANCHORS = 'SELECT count(*) AS count FROM anchor';

/** What retention removed from a capture. */
export interface ExpiredDocument extends ExpiredSums {
  /**
   * False if the figures are lower bounds. Expiries known only by their sum may include segments that are
   * here, as in an incomplete archive.
   */
  readonly exact: boolean;
}

type RecordedExpiry = SegmentSummary['expiries'][number];

/** A segment that is here and may be part of another segment's expiry sum. */
interface HeldSegment {
  readonly file: SegmentFile;
  readonly startedUs: number;
  readonly openedUs: number;
  readonly sums: ExpiredSums;
}

/** A missing segment whose expiry includes earlier ones: its latest possible start of life and end. */
interface SummedExpiry {
  readonly recorder: string;
  readonly sequence: number;
  readonly startedUs: number;
  readonly closedUs: number;
}

const NOTHING: ExpiredSums = { segments: 0, exchanges: 0, bytes: 0 };

/**
 * Adds up what expired. A segment records the expiries during its life, each with the sum that the expired
 * segment itself recorded. If all of those are gone, sums of sums are exact. If copies are here (an archive
 * of shipped segments), they are read and do not count as gone.
 */
export class ExpiredSegments {
  readonly #held = new Map<string, HeldSegment>();
  /** Present but not read. */
  readonly #unread = new Set<string>();
  readonly #recorded = new Map<string, RecordedExpiry>();

  add(file: SegmentFile, summary: SegmentSummary, bytes: number): void {
    const { meta, hours, expiries } = summary;
    const exchanges = hours.reduce((sum, hour) => sum + hour.exchanges, meta.forgotten?.exchanges ?? 0);
    const own = { segments: 1, exchanges, bytes: bytes + (meta.forgotten?.bytes ?? 0) };
    const { startedUs } = meta.recorder;
    this.#held.set(file.file, { file, startedUs, openedUs: meta.openedUs, sums: sumOf([own, ...expiries]) });
    for (const expiry of expiries) this.#recorded.set(expiry.file, expiry);
  }

  addUnread(file: string): void {
    this.#unread.add(file);
  }

  document(): ExpiredDocument {
    const recorded = [...this.#recorded.values()];
    const gone = recorded.filter(({ file }) => !this.#held.has(file) && !this.#unread.has(file));
    const most = sumOf(gone);
    const summed = gone.filter(({ segments }) => segments > 1).map((expiry) => this.#lifeOf(expiry));
    const held = [...this.#held.values()].filter(
      (segment) =>
        !this.#recorded.has(segment.file.file) && summed.some((expiry) => mayBeWithin(expiry, segment)),
    );
    const within = sumOf(held.map(({ sums }) => sums));
    const unreadHasSum = recorded.some(({ file, segments }) => segments > 1 && this.#unread.has(file));
    // Each missing segment counts itself, whatever part of its sum is here.
    const named = sumOf(
      gone.map(({ ownExchanges, ownBytes }) => ({ segments: 1, exchanges: ownExchanges, bytes: ownBytes })),
    );
    const least = (of: keyof ExpiredSums) => Math.max(named[of], most[of] - within[of]);
    return {
      segments: least('segments'),
      exchanges: least('exchanges'),
      bytes: least('bytes'),
      exact: held.length === 0 && !unreadHasSum,
    };
  }

  #lifeOf({ file, lastArrivalUs, expiredUs }: RecordedExpiry): SummedExpiry {
    const { recorder = '', sequence = 0 } = parseSegmentName(file) ?? {};
    const ofLife = [...this.#held.values()].filter((held) => held.file.recorder === recorder);
    const closedUs = ofLife
      .filter((held) => held.file.sequence > sequence)
      .reduce((least, { openedUs }) => Math.min(least, openedUs), expiredUs);
    return { recorder, sequence, startedUs: ofLife[0]?.startedUs ?? lastArrivalUs ?? closedUs, closedUs };
  }
}

/**
 * Whether a segment without a recorded expiry may be in a missing segment's sum: it was sealed earlier. Lives
 * that share a directory do not overlap.
 */
function mayBeWithin(gone: SummedExpiry, { file, startedUs, openedUs }: HeldSegment): boolean {
  if (!file.sealed) return false;
  if (file.recorder === gone.recorder) return file.sequence < gone.sequence;
  return openedUs < gone.closedUs && startedUs <= gone.startedUs;
}

function sumOf(parts: readonly ExpiredSums[]): ExpiredSums {
  return parts.reduce(
    (sum, { segments, exchanges, bytes }) => ({
      segments: sum.segments + segments,
      exchanges: sum.exchanges + exchanges,
      bytes: sum.bytes + bytes,
    }),
    NOTHING,
  );
}
