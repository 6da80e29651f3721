import type { Amount, LossReason, OmissionCause, ProtocolUse } from '../../core/accounting.ts';
import { formatInstantUs, HOUR_US } from '../../core/units.ts';
import type { LifeAccounts } from './accounts.ts';
import { DAMAGED_SUFFIX, parseSegmentName, type SegmentFile } from './directory.ts';
import { HOUR_COLUMNS } from './roll-ups.ts';
import type { SegmentMeta, Span } from './schema.ts';
import type { ExpiredSums } from './sealing.ts';
import type { SegmentReader } from './segment-reader.ts';
import { selected } from './sqlite.ts';

/** Facts of a segment, read from its small tables. */
export interface SegmentSummary {
  readonly file: SegmentFile;
  readonly meta: SegmentMeta;
  readonly span: Span | null;
  readonly exchanges: number;
  readonly hours: readonly HourSummary[];
  readonly losses: readonly (Amount & { readonly reason: LossReason })[];
  readonly omissions: readonly (Amount & { readonly cause: OmissionCause })[];
  readonly protocols: readonly ProtocolUse[];
  readonly expiries: readonly ExpirySummary[];
  /** Number of clock anchors: readings of both clocks at one instant. */
  readonly clockAnchors: number;
  /** If its recorder died: its last commit, epoch microseconds. Traffic from then until the recovery is lost. */
  readonly crashedUs: number | null;
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

const SELECT_HOURS = `SELECT ${selected(HOUR_COLUMNS)} FROM hour ORDER BY hour`;

/** Selects rows of `ExpirySummary`. */
export const SELECT_EXPIRIES = `SELECT ${selected('file, last_arrival_us, expired_us')},
  exchanges AS ownExchanges, bytes AS ownBytes, 1 + earlier_segments AS segments,
  exchanges + earlier_exchanges AS exchanges, bytes + earlier_bytes AS bytes FROM expiry`;

/** @throws AppError CAPTURE_DAMAGED naming the segment */
export function summaryOf(reader: SegmentReader): SegmentSummary {
  const meta = reader.meta();
  const hours = reader.all<HourSummary>(SELECT_HOURS);
  return {
    file: reader.segment,
    meta,
    span: reader.span(),
    exchanges: hours.reduce((sum, { exchanges }) => sum + exchanges, 0),
    hours,
    losses: reader.all(
      'SELECT reason, sum(exchanges) AS exchanges, sum(bytes) AS bytes FROM loss GROUP BY reason',
    ),
    omissions: reader.all('SELECT cause, exchanges, bytes FROM omission'),
    protocols: reader.all('SELECT protocol, connections, bytes FROM protocol_use'),
    expiries: reader.all(SELECT_EXPIRIES),
    clockAnchors: reader.all<{ count: number }>('SELECT count(*) AS count FROM anchor')[0]?.count ?? 0,
    // With hundreds of segments, preparing statements takes most of the time. Few segments were recovered.
    crashedUs: meta.recoveredUs === null ? null : (lastCommitOf(reader) ?? meta.openedUs),
  };
}

function lastCommitOf(reader: SegmentReader): number | null {
  type LastCommit = { readonly committedUs: number | null };
  const [last] = reader.all<LastCommit>('SELECT max(committed_us) AS committedUs FROM hour');
  return last?.committedUs ?? null;
}

/**
 * Why a stretch of a recorder's life is missing. `crash`: the recorder died and lost what it had not
 * committed. `expired`: retention removed it. `damaged`: it was set aside. `missing`: its segments are
 * elsewhere.
 */
type GapKind = 'crash' | 'expired' | 'damaged' | 'missing';

/** A missing stretch. Its end is null if it is unknown. */
interface Gap extends Absence {
  readonly fromUs: number;
  readonly toUs: number | null;
  readonly segments: number;
}

/** One life of one recorder, as far as the capture holds it. Times are ISO 8601, UTC. */
export interface RecorderDocument {
  readonly id: string;
  readonly host: string;
  readonly startedAt: string;
  /** Null while it records, if it was killed and nothing followed, or if its last segment is not here. */
  readonly endedAt: string | null;
  readonly end: 'stopped' | 'crashed' | 'recording' | 'killed' | 'unknown';
  readonly segments: number;
  readonly exchanges: number;
  readonly gaps: readonly (Omit<Gap, 'fromUs' | 'toUs'> & {
    readonly from: string;
    readonly to: string | null;
  })[];
}

export interface Stretch {
  readonly fromUs: number;
  readonly toUs: number;
}

/** Why a segment is not here. */
interface Absence {
  readonly kind: GapKind;
  /** Exchanges in it; null if unknown. For a crash, a lower bound. */
  readonly exchanges: number | null;
}

/** What retention removed from a capture. */
export interface ExpiredDocument extends ExpiredSums {
  /**
   * False if the figures are lower bounds. Expiries known only by their sum may include segments that are
   * here, as in an incomplete archive.
   */
  readonly exact: boolean;
}

/** What a capture knows about segments that are not in it. */
export class AbsentSegments {
  /** By recorder and number. */
  readonly #expired = new Map<string, ExpirySummary>();
  readonly #damaged = new Set<string>();

  expired(expiry: ExpirySummary): void {
    this.#expired.set(keyOf(expiry.file), expiry);
  }

  /** @param file the name, including the `.damaged` suffix */
  damaged(file: string): void {
    this.#damaged.add(keyOf(file.slice(0, -DAMAGED_SUFFIX.length)));
  }

  /**
   * Why number `sequence` of a recorder is missing.
   * @param leading whether it came before all segments that are here: retention takes the oldest
   */
  whyOf(recorder: string, sequence: number, leading: boolean): Absence {
    const key = `${recorder} ${sequence}`;
    const expiry = this.#expired.get(key);
    if (expiry !== undefined) return { kind: 'expired', exchanges: expiry.ownExchanges };
    if (this.#damaged.has(key)) return { kind: 'damaged', exchanges: null };
    // Expiries that are known only by a sum are not known by name.
    const isUnnamed = leading && [...this.#expired.values()].some(({ segments }) => segments > 1);
    return { kind: isUnnamed ? 'expired' : 'missing', exchanges: null };
  }

  /**
   * The numbers of a recorder that are missing between those that are here, in order, and why. Numbers count from 1
   * without a hole. `next` is the index of the present one that follows.
   */
  *holesIn(
    recorder: string,
    present: readonly number[],
  ): Generator<Absence & { readonly sequence: number; readonly next: number }> {
    let sequence = 1;
    for (const [next, number] of present.entries()) {
      for (; sequence < number; sequence += 1) {
        yield { ...this.whyOf(recorder, sequence, next === 0), sequence, next };
      }
      sequence = number + 1;
    }
  }

  /**
   * Adds up what expired. A segment records the expiries during its life, each with the sum that the expired segment
   * itself recorded. If all of those are gone, sums of sums are exact. A sum may include segments that are here, as in
   * an archive of shipped segments. Then only the expiries with a record of their own count.
   * @param unread names of segments that are here but were not read
   */
  expiredDocument(here: readonly SegmentSummary[], unread: ReadonlySet<string>): ExpiredDocument {
    const read = new Set(here.map(({ file }) => file.file));
    const gone = [...this.#expired.values()].filter(({ file }) => !read.has(file) && !unread.has(file));
    const unrecorded = here.filter(({ file }) => !this.#expired.has(keyOf(file.file)));
    const mayOverlap = ({ file, segments }: ExpirySummary) =>
      segments > 1 && (unread.has(file) || unrecorded.some(mayBeIn(file, here)));
    const exact = ![...this.#expired.values()].some((expiry) => !read.has(expiry.file) && mayOverlap(expiry));
    const own = ({ ownExchanges, ownBytes }: ExpirySummary) => {
      return { segments: 1, exchanges: ownExchanges, bytes: ownBytes };
    };
    return (exact ? gone : gone.map(own)).reduce<ExpiredDocument>(
      (sum, { segments, exchanges, bytes }) => ({
        segments: sum.segments + segments,
        exchanges: sum.exchanges + exchanges,
        bytes: sum.bytes + bytes,
        exact,
      }),
      { segments: 0, exchanges: 0, bytes: 0, exact },
    );
  }
}

/** `recorder number` of a segment's file name. */
function keyOf(file: string): string {
  const { recorder = '', sequence = 0 } = parseSegmentName(file) ?? {};
  return `${recorder} ${sequence}`;
}

/**
 * Whether the sum of a missing segment may include one that is here: it was sealed earlier. Lives that share
 * a directory do not overlap.
 */
function mayBeIn(gone: string, here: readonly SegmentSummary[]): (held: SegmentSummary) => boolean {
  const { recorder, sequence = 0, hour = 0 } = parseSegmentName(gone) ?? {};
  const ofLife = here.find(({ file }) => file.recorder === recorder);
  const startedUs = ofLife?.meta.recorder.startedUs ?? hour * HOUR_US;
  return ({ file, meta }) => {
    if (!file.sealed) return false;
    return file.recorder === recorder ? file.sequence < sequence : meta.recorder.startedUs < startedUs;
  };
}

/** One recorder's segments in order, and the gaps between them. */
export class RecorderLife {
  readonly segments: readonly SegmentSummary[];
  readonly #first: SegmentMeta;
  readonly #last: SegmentSummary;
  readonly #gaps: readonly Gap[];

  /** @param segments at least one */
  constructor(segments: readonly SegmentSummary[], absent: AbsentSegments) {
    this.segments = [...segments].sort((a, b) => a.file.sequence - b.file.sequence);
    const [first, last] = [this.segments[0], this.segments.at(-1)];
    if (first === undefined || last === undefined) throw new RangeError('a life has at least one segment');
    this.#first = first.meta;
    this.#last = last;
    this.#gaps = [...this.#holes(absent), ...this.#crashes()].sort((a, b) => a.fromUs - b.fromUs);
  }

  /** When it recorded according to the capture: its life less its gaps. `nowUs` ends an open life. */
  presence(nowUs: number): Stretch[] {
    const stretches: Stretch[] = [];
    let fromUs = this.#first.recorder.startedUs;
    for (const gap of this.#gaps) {
      if (gap.fromUs > fromUs) stretches.push({ fromUs, toUs: gap.fromUs });
      fromUs = Math.max(fromUs, gap.toUs ?? Number.POSITIVE_INFINITY);
    }
    const endUs = endOf(this.#last) ?? nowUs;
    if (endUs > fromUs) stretches.push({ fromUs, toUs: endUs });
    return stretches;
  }

  document(accounts: LifeAccounts): RecorderDocument {
    const { meta, file, crashedUs } = this.#last;
    const { id, host, startedUs } = this.#first.recorder;
    const endUs = meta.endedUs ?? crashedUs;
    const open = meta.closedUs === null && !file.sealed;
    const running = accounts.isKilled(meta) ? 'killed' : 'recording';
    return {
      id,
      host,
      startedAt: formatInstantUs(startedUs),
      endedAt: endUs === null ? null : formatInstantUs(endUs),
      end: meta.endedUs !== null ? 'stopped' : crashedUs !== null ? 'crashed' : open ? running : 'unknown',
      segments: this.segments.length,
      exchanges: this.segments.reduce((sum, { exchanges }) => sum + exchanges, 0),
      gaps: this.#gaps.map(({ fromUs, toUs, ...gap }) => ({
        ...gap,
        from: formatInstantUs(fromUs),
        to: toUs === null ? null : formatInstantUs(toUs),
      })),
    };
  }

  #holes(absent: AbsentSegments): Gap[] {
    const gaps: Gap[] = [];
    const { id, startedUs } = this.#first.recorder;
    const numbers = this.segments.map(({ file }) => file.sequence);
    for (const { kind, exchanges, next } of absent.holesIn(id, numbers)) {
      const [before, after] = [this.segments[next - 1], this.segments[next] ?? this.#last];
      const toUs = beginOf(after);
      const sinceUs = before === undefined ? startedUs : (endOf(before) ?? beginOf(before));
      addHole(gaps, { kind, exchanges, fromUs: Math.min(sinceUs, toUs), toUs, segments: 1 });
    }
    const { file, meta } = this.#last;
    if (file.sealed && meta.endedUs === null && meta.recoveredUs === null) {
      // The segment ended and its recorder continued. The next one is missing or does not exist yet.
      const why = absent.whyOf(id, file.sequence + 1, false);
      const fromUs = endOf(this.#last) ?? beginOf(this.#last);
      if (why.kind !== 'missing') gaps.push({ ...why, fromUs, toUs: null, segments: 1 });
    }
    return gaps;
  }

  #crashes(): Gap[] {
    return this.segments.flatMap(({ crashedUs, meta }) =>
      crashedUs === null
        ? []
        : [{ kind: 'crash', fromUs: crashedUs, toUs: meta.recoveredUs, segments: 0, exchanges: 0 }],
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
function beginOf({ meta, span }: SegmentSummary): number {
  return meta.origin.kind === 'recorded' ? meta.openedUs : (span?.firstUs ?? meta.openedUs);
}

/**
 * Null for an open segment. A recovered segment was closed by a later recorder; its own recorder ended with the last
 * commit.
 */
function endOf({ meta, span, crashedUs }: SegmentSummary): number | null {
  if (meta.origin.kind !== 'recorded') return span?.lastUs ?? meta.closedUs;
  return crashedUs ?? meta.closedUs;
}
