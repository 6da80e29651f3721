import { formatInstantUs } from '../core/units.ts';
import type { LifeAccounts } from './accounts.ts';
import type { SegmentFile } from './capture-directory.ts';
import type { SegmentMeta } from './segment-meta.ts';
import { DAMAGED_SUFFIX, parseSegmentName } from './segment-name.ts';
import type { ExpirySummary, TimedLoss } from './segment-summary.ts';

/**
 * Why a stretch of a recorder's life is not in the capture. `crash`: it died, and what it had not committed is
 * gone. `expired`: retention took it. `damaged`: it is set aside. `missing`: its segments are somewhere else.
 */
export type GapKind = 'crash' | 'expired' | 'damaged' | 'missing';

/** A stretch that is not there. Times are ISO 8601, UTC; null where no end is known. */
export interface LifeGap {
  readonly kind: GapKind;
  readonly from: string;
  readonly to: string | null;
  readonly segments: number;
  /** What was in it; null where nobody knows. For a crash a lower bound. */
  readonly exchanges: number | null;
}

/** One life of one recorder, as far as the capture holds it. */
export interface RecorderDocument {
  readonly id: string;
  readonly host: string;
  readonly startedAt: string;
  /** Null while it records, where it was killed and nothing has followed, and when its last segment is not here. */
  readonly endedAt: string | null;
  readonly end: 'stopped' | 'crashed' | 'recording' | 'killed' | 'unknown';
  readonly segments: number;
  readonly exchanges: number;
  readonly gaps: readonly LifeGap[];
}

/** What is known of one segment of a life. */
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

/** What else a capture says of segments that are not in it. */
export class AbsentSegments {
  /** By recorder and number; null where nobody knows what it held. */
  readonly #expired = new Map<string, number | null>();
  readonly #damaged = new Set<string>();
  /** Whether there are expiries whose own record expired: their names are not known any more. */
  #forgotten = false;

  expired({ file, segments, ownExchanges }: ExpirySummary): void {
    this.#expired.set(keyOf(parseSegmentName(file)), ownExchanges);
    if (segments > 1) this.#forgotten = true;
  }

  /** @param file with the suffix that says so */
  damaged(file: string): void {
    this.#damaged.add(keyOf(parseSegmentName(file.slice(0, -DAMAGED_SUFFIX.length))));
  }

  /**
   * Why number `sequence` of a recorder is not there, and how many exchanges it held.
   * @param leading Whether it came before all that are there: the oldest are what retention takes.
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

/** Puts one recorder's segments in order and finds what lies between them. */
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

  /** When it recorded and the capture says so: its life less its gaps. `nowUs` ends what is still open. */
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

  /** The last commit of a life that crashed: the begin of its last gap. */
  #lastKnownUs(): number | null {
    return this.segments.at(-1)?.crashes.at(-1)?.fromUs ?? null;
  }

  /** Numbers that are not there. Numbers count from 1 without a hole. */
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
      // It was ended and its recorder went on: the next one is not here, or does not exist yet.
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

/** Numbers in a row that are gone for one reason are one gap. */
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

/** The writer's time for what was recorded, the arrivals' for what was imported. */
function beginOf({ meta, span }: LifeSegment): number {
  return meta.origin.kind === 'recorded' ? meta.openedUs : (span?.firstUs ?? meta.openedUs);
}

/** Null for one that is still open. */
function endOf({ meta, span, crashes }: LifeSegment): number | null {
  if (meta.origin.kind !== 'recorded') return span?.lastUs ?? meta.closedUs;
  // One that was recovered was closed by whoever came later; its recorder was there until its gap begins.
  return meta.recoveredUs === null ? meta.closedUs : (crashes.at(-1)?.fromUs ?? meta.recoveredUs);
}
