import {
  type Amount,
  type LifeAccount,
  LOSS_REASONS,
  type LossReason,
  type OmissionCause,
  type ProtocolUse,
} from '../../core/accounting.ts';
import { formatInstantUs, HOUR_US } from '../../core/units.ts';
import type { LifeEnd } from './accounts.ts';
import {
  DAMAGED_SUFFIX,
  HANDED_SUFFIX,
  parseSegmentName,
  type SegmentFile,
  TOMBSTONE_SUFFIX,
} from './directory.ts';
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
  /** Of a segment that its writer did not close: its last commit, epoch microseconds. */
  readonly lastCommitUs: number | null;
  /** If its recorder died: its last commit. Traffic from then until the recovery is lost. */
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

/** What the views `loss` and `omission` hold, in one query: each takes longer to prepare than all the others. */
const SELECT_GROWN = `SELECT kind, name, sum(exchanges) AS exchanges, sum(bytes) AS bytes FROM growth
  WHERE kind IN ('lost', 'omitted') AND from_us IS NOT NULL GROUP BY kind, name`;

type Grown = Amount & { readonly kind: 'lost' | 'omitted'; readonly name: string };

const SELECT_HOURS = `SELECT ${selected(HOUR_COLUMNS)} FROM hour ORDER BY hour`;

/** Selects rows of `ExpirySummary`. */
export const SELECT_EXPIRIES = `SELECT ${selected('file, last_arrival_us, expired_us')},
  exchanges AS ownExchanges, bytes AS ownBytes, 1 + earlier_segments AS segments,
  exchanges + earlier_exchanges AS exchanges, bytes + earlier_bytes AS bytes FROM expiry`;

/** @throws AppError CAPTURE_DAMAGED naming the segment */
export function summaryOf(reader: SegmentReader): SegmentSummary {
  const meta = reader.meta();
  const hours = reader.all<HourSummary>(SELECT_HOURS);
  const grown = reader.all<Grown>(SELECT_GROWN);
  // With hundreds of segments, preparing statements takes most of the time. Few segments were not closed.
  const isClosed = meta.closedUs !== null && meta.recoveredUs === null;
  const lastCommitUs = isClosed ? null : (lastCommitOf(reader) ?? meta.openedUs);
  return {
    file: reader.segment,
    meta,
    span: reader.span(),
    exchanges: hours.reduce((sum, { exchanges }) => sum + exchanges, 0),
    hours,
    losses: grown
      .filter(({ kind }) => kind === 'lost')
      .map(({ name, exchanges, bytes }) => ({ reason: name as LossReason, exchanges, bytes })),
    omissions: grown
      .filter(({ kind }) => kind === 'omitted')
      .map(({ name, exchanges, bytes }) => ({ cause: name as OmissionCause, exchanges, bytes })),
    protocols: reader.all('SELECT protocol, connections, bytes FROM protocol_use'),
    expiries: reader.all(SELECT_EXPIRIES),
    clockAnchors: reader.all<{ count: number }>('SELECT count(*) AS count FROM anchor')[0]?.count ?? 0,
    lastCommitUs,
    crashedUs: meta.recoveredUs === null ? null : lastCommitUs,
  };
}

function lastCommitOf(reader: SegmentReader): number | null {
  type LastCommit = { readonly committedUs: number | null };
  const [last] = reader.all<LastCommit>('SELECT max(committed_us) AS committedUs FROM hour');
  return last?.committedUs ?? null;
}

/**
 * Why a stretch of a recorder's life is missing. `crash`: the recorder died and lost what it had not
 * committed. `expired`: retention removed it. `shipped`: it was handed over and then removed. `damaged`: it was set
 * aside. `missing`: it should be here.
 */
type GapKind = 'crash' | 'expired' | 'shipped' | 'damaged' | 'missing';

/** A missing stretch. Its end is null if it is unknown. */
export interface Gap extends Absence {
  readonly fromUs: number;
  readonly toUs: number | null;
  /** Segments that are not here; null if their number is unknown. */
  readonly segments: number | null;
  /** What only these segments had recorded as lost, by reason. */
  readonly lost: readonly (Amount & { readonly name: LossReason })[];
}

/** Whether the traffic of a gap was recorded, should be here, and is not. */
export function isMissing({ kind }: Gap): boolean {
  return kind === 'missing' || kind === 'damaged';
}

/** One life of one recorder, as far as the capture holds it. Times are ISO 8601, UTC. */
export interface RecorderDocument {
  readonly id: string;
  /** Null if none of its segments is here. */
  readonly host: string | null;
  readonly startedAt: string;
  /**
   * When its recorder ended. Null while it records, if that was killed and nothing followed, or if its last segment is
   * not here.
   */
  readonly endedAt: string | null;
  /** `killed`: its proxy was, however its recorder ended. `crashed`: the recorder was, and there is no account. */
  readonly end: 'stopped' | 'crashed' | 'recording' | 'killed' | 'unknown';
  readonly segments: number;
  readonly exchanges: number;
  readonly gaps: readonly (Omit<Gap, 'fromUs' | 'toUs' | 'lost'> & {
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
  /** Exchanges that it had recorded; null if unknown. For a crash, a lower bound. */
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
  /** By recorder and number: segments for which a file shows why they are not read. */
  readonly #named = new Map<string, GapKind>();

  /** Takes what the name of a file in a capture shows. */
  addFile(file: string): void {
    for (const [suffix, kind] of MARKS) {
      if (file.endsWith(suffix)) this.#named.set(keyOf(file.slice(0, -suffix.length)), kind);
    }
  }

  expired(expiry: ExpirySummary): void {
    this.#expired.set(keyOf(expiry.file), expiry);
  }

  /**
   * Why number `sequence` of a recorder is missing.
   * @param leading whether it came before all segments that are here: retention takes the oldest
   */
  whyOf(recorder: string, sequence: number, leading: boolean): Absence {
    const key = `${recorder} ${sequence}`;
    const expiry = this.#expired.get(key);
    if (expiry !== undefined) return { kind: 'expired', exchanges: expiry.ownExchanges };
    const kind = this.#named.get(key) ?? (leading && this.#hasUnnamed ? 'expired' : 'missing');
    return { kind, exchanges: null };
  }

  /** Whether retention removed a segment of a recorder, as far as is known. */
  mayHaveExpired(recorder: string): boolean {
    const names = [
      ...this.#expired.keys(),
      ...[...this.#named].flatMap(([key, kind]) => (kind === 'expired' ? [key] : [])),
    ];
    return this.#hasUnnamed || names.some((key) => key.startsWith(`${recorder} `));
  }

  /** Whether expiries are known only by a sum, and not by name. */
  get #hasUnnamed(): boolean {
    return [...this.#expired.values()].some(({ segments }) => segments > 1);
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

/** Files that show why a segment is not read. */
const MARKS: readonly (readonly [suffix: string, kind: GapKind])[] = [
  [DAMAGED_SUFFIX, 'damaged'],
  [TOMBSTONE_SUFFIX, 'expired'],
  [HANDED_SUFFIX, 'shipped'],
];

/** What is known of a life besides its segments. */
interface LifeFacts {
  /** Its newest account; null if there is none. */
  readonly account: LifeAccount | null;
  readonly end: LifeEnd;
  /** Its last segment is not sealed, and the write-ahead log of it is gone. */
  readonly isWithoutLog: boolean;
}

/**
 * One recorder's segments in order, and the gaps between them. Each segment says how much its recorder had committed
 * until then. So the exchanges of a segment that is gone are known from those around it, and from the account.
 */
export class RecorderLife {
  readonly id: string;
  readonly segments: readonly SegmentSummary[];
  readonly gaps: readonly Gap[];
  readonly #facts: LifeFacts;
  readonly #startedUs: number;

  /** @param segments in any order; none if only the account is here */
  constructor(id: string, segments: readonly SegmentSummary[], facts: LifeFacts, absent: AbsentSegments) {
    this.id = id;
    this.segments = [...segments].sort((a, b) => a.file.sequence - b.file.sequence);
    this.#facts = facts;
    this.#startedUs = this.segments[0]?.meta.recorder.startedUs ?? facts.account?.startedUs ?? 0;
    const gaps = [...this.#holes(absent), ...this.#afterLast(absent), ...this.#crashes()];
    this.gaps = gaps.sort((a, b) => a.fromUs - b.fromUs);
  }

  /** When it recorded: its life less the gaps of which nothing is known. `nowUs` ends a life that still records. */
  presence(nowUs: number): Stretch[] {
    const stretches: Stretch[] = [];
    let fromUs = this.#startedUs;
    for (const gap of this.gaps) {
      if (isMissing(gap) && gap.exchanges !== null) continue;
      if (gap.fromUs > fromUs) stretches.push({ fromUs, toUs: gap.fromUs });
      fromUs = Math.max(fromUs, gap.toUs ?? Number.POSITIVE_INFINITY);
    }
    const endUs = this.#endUs(nowUs);
    if (endUs > fromUs) stretches.push({ fromUs, toUs: endUs });
    return stretches;
  }

  document(): RecorderDocument {
    const last = this.segments.at(-1);
    const { end, account } = this.#facts;
    const stoppedUs = last?.meta.endedUs ?? (end === 'stopped' && account !== null ? account.atUs : null);
    const endUs = stoppedUs ?? last?.crashedUs ?? null;
    const open = last !== undefined && last.meta.closedUs === null && !last.file.sealed;
    const ended = stoppedUs !== null ? 'stopped' : last?.crashedUs != null ? 'crashed' : null;
    const current = open || end === 'recording' ? 'recording' : 'unknown';
    return {
      id: this.id,
      host: last?.meta.recorder.host ?? null,
      startedAt: formatInstantUs(this.#startedUs),
      endedAt: endUs === null ? null : formatInstantUs(endUs),
      // Its recorder may have ended in order: only the proxy was killed.
      end: end === 'killed' ? 'killed' : (ended ?? current),
      segments: this.segments.length,
      exchanges: this.segments.reduce((sum, { exchanges }) => sum + exchanges, 0),
      gaps: this.gaps.map(({ fromUs, toUs, lost: _, ...gap }) => ({
        ...gap,
        from: formatInstantUs(fromUs),
        to: toUs === null ? null : formatInstantUs(toUs),
      })),
    };
  }

  /** A killed recording saw nothing after its last account, as far as is known. */
  #endUs(nowUs: number): number {
    const { account, end } = this.#facts;
    if (end === 'recording') return nowUs;
    const last = this.segments.at(-1);
    const lastUs = last === undefined ? this.#startedUs : (endOf(last) ?? last.lastCommitUs ?? beginOf(last));
    return last?.meta.endedUs ?? Math.max(lastUs, account?.atUs ?? lastUs);
  }

  #holes(absent: AbsentSegments): Gap[] {
    const gaps: Gap[] = [];
    const numbers = this.segments.map(({ file }) => file.sequence);
    const holes = Map.groupBy(absent.holesIn(this.id, numbers), ({ next }) => next);
    for (const [at, after] of this.segments.entries()) {
      const before = this.segments[at - 1];
      const toUs = beginOf(after);
      const sinceUs = before === undefined ? this.#startedUs : (endOf(before) ?? beginOf(before));
      const stretch = { fromUs: Math.min(sinceUs, toUs), toUs, lost: [] };
      const own = (holes.get(at) ?? []).reduce<Gap[]>((joined, { kind, exchanges }) => {
        addHole(joined, { kind, exchanges, segments: 1, ...stretch });
        return joined;
      }, []);
      gaps.push(...counted(own, stretch, committedBetween(before, after), lostBetween(before, after)));
    }
    return gaps;
  }

  /** What followed the last segment that is here. */
  #afterLast(absent: AbsentSegments): Gap[] {
    const { account, isWithoutLog } = this.#facts;
    const last = this.segments.at(-1);
    const sequence = last?.file.sequence ?? 0;
    const fromUs = last === undefined ? this.#startedUs : (endOf(last) ?? last.lastCommitUs ?? beginOf(last));
    const toUs = account === null ? null : Math.max(fromUs, account.atUs);
    const reached = (account?.segment && parseSegmentName(account.segment)?.sequence) || 0;
    const held = last === undefined ? 0 : (last.meta.progress?.exchanges ?? null);
    const exchanges = account === null || held === null ? null : Math.max(0, account.exchanges - held);
    const stretch = { fromUs, toUs, exchanges, lost: [] };
    const isNamed = reached > sequence;
    // The segment ended and its recorder continued. The next one is missing or does not exist yet.
    const isOpen =
      last === undefined ||
      (last.file.sealed && last.meta.endedUs === null && last.meta.recoveredUs === null);
    const why = absent.whyOf(this.id, isNamed ? reached : sequence + 1, false).kind;
    if (why !== 'missing' && isOpen)
      return [{ ...stretch, kind: why, segments: isNamed ? reached - sequence : 1 }];
    if ((exchanges ?? 0) > 0 || (exchanges === null && isWithoutLog)) {
      const segments = isWithoutLog ? 0 : isNamed ? reached - sequence : null;
      return [{ ...stretch, kind: 'missing', segments }];
    }
    return [];
  }

  #crashes(): Gap[] {
    return this.segments.flatMap(({ crashedUs, meta }) =>
      crashedUs === null
        ? []
        : [{ kind: 'crash', fromUs: crashedUs, toUs: meta.recoveredUs, segments: 0, exchanges: 0, lost: [] }],
    );
  }
}

/** Exchanges that a recorder committed after one of its segments and before another; null if unknown. */
function committedBetween(before: SegmentSummary | undefined, after: SegmentSummary): number | null {
  const until = after.meta.progress?.exchanges;
  const since = before === undefined ? 0 : before.meta.progress?.exchanges;
  if (until === undefined || since === undefined) return null;
  return Math.max(0, until - after.exchanges - (after.meta.forgotten?.exchanges ?? 0) - since);
}

/** What the segments between two others had recorded as lost. */
function lostBetween(before: SegmentSummary | undefined, after: SegmentSummary): Gap['lost'] {
  const [since, until] = [before?.meta.account ?? null, after.meta.account];
  if (until === null || (before !== undefined && since === null)) return [];
  return LOSS_REASONS.flatMap((name) => {
    const own = after.losses.find(({ reason }) => reason === name);
    const grown = (unit: 'exchanges' | 'bytes') =>
      Math.max(0, (until.lost[name]?.[unit] ?? 0) - (own?.[unit] ?? 0) - (since?.lost[name]?.[unit] ?? 0));
    const [exchanges, bytes] = [grown('exchanges'), grown('bytes')];
    return exchanges + bytes > 0 ? [{ name, exchanges, bytes }] : [];
  });
}

/**
 * Gives the gaps between two segments the exchanges that were committed there. If the names of the segments have no
 * hole but exchanges are gone, that is a gap without segments.
 * @param committed null if unknown
 */
function counted(
  gaps: readonly Gap[],
  stretch: Pick<Gap, 'fromUs' | 'toUs' | 'lost'>,
  committed: number | null,
  lost: Gap['lost'],
): Gap[] {
  if (gaps.length === 0) {
    if (committed === null || committed === 0) return [];
    return [{ ...stretch, kind: 'missing', segments: 0, exchanges: committed, lost }];
  }
  const unknown = gaps.filter(({ exchanges }) => exchanges === null);
  const known = gaps.reduce((sum, { exchanges }) => sum + (exchanges ?? 0), 0);
  const [only] = unknown;
  if (unknown.length > 1 || only === undefined || committed === null) return [...gaps];
  const exchanges = Math.max(0, committed - known);
  return gaps.map((gap) => (gap === only ? { ...gap, exchanges, lost: isMissing(gap) ? lost : [] } : gap));
}

/** Joins consecutive missing numbers with the same cause into one gap. */
function addHole(gaps: Gap[], hole: Gap): void {
  const last = gaps.at(-1);
  if (last === undefined || last.kind !== hole.kind) {
    gaps.push(hole);
    return;
  }
  const exchanges =
    last.exchanges === null || hole.exchanges === null ? null : last.exchanges + hole.exchanges;
  gaps[gaps.length - 1] = { ...last, segments: (last.segments ?? 0) + 1, exchanges };
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
