import type { TimeRange } from '../../core/ports.ts';
import { HOUR_US } from '../../core/units.ts';
import type { Gap, SegmentSummary, Stretch } from './lives.ts';
import { HOUR_OF_ARRIVAL } from './roll-ups.ts';
import { type SegmentReader, withSegment } from './segment-reader.ts';

const EVER: TimeRange = { fromUs: Number.MIN_SAFE_INTEGER, toUs: Number.MAX_SAFE_INTEGER };

/** How much of the traffic that was seen a capture holds. */
export interface CoverageShares {
  /** Recorded ÷ seen; null when unknown. */
  readonly coverage: number | null;
  /**
   * Missing share of the exchanges seen. Sampled-out and later forgotten exchanges do not count as missing.
   */
  readonly unexplained: number | null;
}

export const NOT_KNOWN: CoverageShares = Object.freeze({ coverage: null, unexplained: null });

/** The recorders of a fleet: how many there are, and when those of a capture were running. */
interface Fleet {
  /** Null if not configured. */
  readonly size: number | null;
  readonly presence: readonly Stretch[];
}

/** Exchange counts; fractional if a record spans more than a window. */
export interface Seen {
  recorded: number;
  /** Sampled out, or forgotten later: accounted for. */
  explained: number;
  lost: number;
  /** Those recorded in each hour since the epoch. */
  readonly hours: Map<number, number>;
}

/**
 * Coverage of what was seen, together or in windows that do not overlap. If the fleet's size is known, seen
 * includes an estimate for recorders that are not here. An import has no coverage: its file does not say what
 * it left out.
 */
export function coverageOf(
  windows: readonly { readonly seen: Seen; readonly range?: TimeRange }[],
  segments: readonly SegmentSummary[],
  { size, presence }: Fleet,
): CoverageShares {
  if (!segments.every(({ meta }) => meta.origin.kind === 'recorded')) return NOT_KNOWN;
  let recorded = 0;
  let explained = 0;
  let total = 0;
  for (const { seen, range } of windows) {
    const share = size === null ? null : fleetShare(size, presence, seen.hours, range);
    recorded += seen.recorded;
    explained += seen.explained;
    total += (seen.recorded + seen.explained + seen.lost) / (share ?? 1);
  }
  if (total === 0) return NOT_KNOWN;
  return { coverage: recorded / total, unexplained: Math.max(0, total - recorded - explained) / total };
}

/**
 * What the segments saw within a window. Recorded exchanges are counted. A loss counts by the share of its
 * span inside the window. Sampled and forgotten exchanges have no time of their own, so they count by the
 * segment's share of exchanges.
 */
export function seenWithin(segments: readonly SegmentSummary[], range: TimeRange): Seen {
  const seen: Seen = { recorded: 0, explained: 0, lost: 0, hours: new Map() };
  for (const segment of segments) addSegment(seen, segment, range);
  return seen;
}

function addSegment(seen: Seen, summary: SegmentSummary, range: TimeRange): void {
  const { firstUs, lastUs } = summary.span ?? { firstUs: Number.POSITIVE_INFINITY, lastUs: 0 };
  const isOutside = firstUs >= range.toUs || lastUs < range.fromUs;
  const isWhole = firstUs >= range.fromUs && lastUs < range.toUs;
  const hasLosses = summary.losses.length > 0;
  const read =
    isOutside || isWhole ? null : withSegment(summary.file, (reader) => hoursWithin(reader, range));
  let recorded = 0;
  for (const { hour, exchanges } of read ?? (isWhole ? summary.hours : [])) {
    seen.hours.set(hour, (seen.hours.get(hour) ?? 0) + exchanges);
    recorded += exchanges;
  }
  seen.recorded += recorded;
  seen.explained += explainedOf(summary) * shareOf(summary, recorded, range);
  if (hasLosses) seen.lost += withSegment(summary.file, (reader) => lostWithin(reader, range)) ?? 0;
}

type HourCount = Pick<SegmentSummary['hours'][number], 'hour' | 'exchanges'>;

function hoursWithin(reader: SegmentReader, { fromUs, toUs }: TimeRange): HourCount[] {
  return reader.all<HourCount>(
    `SELECT ${HOUR_OF_ARRIVAL} AS hour, count(*) AS exchanges FROM exchange
    WHERE arrival_us >= ? AND arrival_us < ? GROUP BY 1`,
    fromUs,
    toUs,
  );
}

/** Exchanges that were sampled out, or forgotten later. */
export function explainedOf({ meta, omissions }: SegmentSummary): number {
  const sampledOut = omissions.find(({ cause }) => cause === 'sampled_out')?.exchanges ?? 0;
  return sampledOut + (meta.forgotten?.exchanges ?? 0);
}

/** If a segment holds no exchange, its share is the share of its open time inside the window. */
function shareOf({ exchanges, meta }: SegmentSummary, inside: number, range: TimeRange): number {
  if (exchanges > 0) return inside / exchanges;
  return overlap(meta.openedUs, meta.closedUs ?? meta.openedUs, range);
}

function lostWithin(reader: SegmentReader, range: TimeRange): number {
  return reader
    .all<{ fromUs: number; toUs: number; exchanges: number }>(
      'SELECT from_us AS fromUs, to_us AS toUs, exchanges FROM loss',
    )
    .reduce((sum, loss) => sum + loss.exchanges * overlap(loss.fromUs, loss.toUs, range), 0);
}

/** Adds what segments had recorded that are not here, by the share of its time inside the window. */
export function addMissing(seen: Seen, { fromUs, toUs, exchanges, lost }: Gap, range: TimeRange): void {
  const endUs = toUs ?? fromUs;
  const share = overlap(fromUs, endUs, range);
  const recorded = (exchanges ?? 0) * share;
  seen.lost += recorded + share * lost.reduce((sum, each) => sum + each.exchanges, 0);
  spreadByHour(seen.hours, recorded, Math.max(fromUs, range.fromUs), Math.min(endUs, range.toUs));
}

/** Adds exchanges to the hours of their stretch, as if they had come evenly. */
export function spreadByHour(
  hours: Map<number, number>,
  exchanges: number,
  fromUs: number,
  toUs: number,
): void {
  if (exchanges === 0) return;
  for (let hour = Math.floor(fromUs / HOUR_US); hour * HOUR_US <= toUs; hour += 1) {
    const share = overlap(fromUs, toUs, { fromUs: hour * HOUR_US, toUs: (hour + 1) * HOUR_US });
    if (share > 0) hours.set(hour, (hours.get(hour) ?? 0) + exchanges * share);
  }
}

/** The part of a range that is inside another. */
export function within(range: TimeRange, { fromUs, toUs }: TimeRange): TimeRange {
  return { fromUs: Math.max(range.fromUs, fromUs), toUs: Math.min(range.toUs, toUs) };
}

/** Share of a stretch inside a window. A stretch without length counts as 1 inside and 0 outside. */
function overlap(fromUs: number, toUs: number, range: TimeRange): number {
  if (toUs <= fromUs) return fromUs >= range.fromUs && fromUs < range.toUs ? 1 : 0;
  const inside = Math.min(toUs, range.toUs) - Math.max(fromUs, range.fromUs);
  return Math.max(0, inside) / (toUs - fromUs);
}

/**
 * The share of a fleet's traffic that the recorders in these captures saw. It follows from how many of
 * `fleetSize` recorders each hour has. A missing recorder is assumed to have seen what a present one saw in
 * that hour. In an hour without any recorder, the mean hour of a recorder is used.
 * @param exchangesByHour hours since the epoch
 * @param range the time to consider, as far as any recorder was running
 * @returns 1 when none is missing; null when unknown
 */
export function fleetShare(
  fleetSize: number,
  presence: readonly Stretch[],
  exchangesByHour: ReadonlyMap<number, number>,
  range: TimeRange = EVER,
): number | null {
  const stretches = clipped(presence, range);
  const recorded = [...exchangesByHour.values()].reduce((sum, count) => sum + count, 0);
  if (stretches.length === 0 || recorded === 0) return null;
  const [considered] = clipped([spanOf(presence)], range);
  const { fromUs, toUs } = considered ?? spanOf(stretches);
  const here = recorderHours(stretches);
  const total = [...here.values()].reduce((sum, hours) => sum + hours, 0);
  let seen = 0;
  for (let hour = Math.floor(fromUs / HOUR_US); hour * HOUR_US < toUs; hour += 1) {
    const lengthUs = Math.min(toUs, (hour + 1) * HOUR_US) - Math.max(fromUs, hour * HOUR_US);
    const expected = fleetSize * (lengthUs / HOUR_US);
    const present = here.get(hour) ?? 0;
    const count = exchangesByHour.get(hour) ?? 0;
    // A small part of an hour does not show what a whole recorder would have seen in it.
    const ofOne = present >= expected / fleetSize / 60 ? count / present : recorded / total;
    seen += count + Math.max(0, expected - present) * ofOne;
  }
  // Arrivals outside every life (after a clock change, or imported) are recorded too.
  const outside = [...exchangesByHour]
    .filter(([hour]) => (hour + 1) * HOUR_US <= fromUs || hour * HOUR_US >= toUs)
    .reduce((sum, [, count]) => sum + count, 0);
  return recorded / (seen + outside);
}

/** Most recorders running at one time. A recorder that ends as another starts may be the same member. */
export function mostAtOnce(presence: readonly Stretch[]): number {
  const changes = presence
    .flatMap(({ fromUs, toUs }) => [
      { atUs: fromUs, by: 1 },
      { atUs: toUs, by: -1 },
    ])
    .sort((a, b) => a.atUs - b.atUs || a.by - b.by);
  let [here, most] = [0, 0];
  for (const { by } of changes) {
    here += by;
    most = Math.max(most, here);
  }
  return most;
}

function clipped(stretches: readonly Stretch[], range: TimeRange): Stretch[] {
  return stretches
    .map(({ fromUs, toUs }) => ({
      fromUs: Math.max(fromUs, range.fromUs),
      toUs: Math.min(toUs, range.toUs),
    }))
    .filter(({ fromUs, toUs }) => fromUs < toUs);
}

function spanOf(stretches: readonly Stretch[]): Stretch {
  return {
    fromUs: stretches.reduce((least, { fromUs }) => Math.min(least, fromUs), Number.POSITIVE_INFINITY),
    toUs: stretches.reduce((most, { toUs }) => Math.max(most, toUs), Number.NEGATIVE_INFINITY),
  };
}

function recorderHours(stretches: readonly Stretch[]): Map<number, number> {
  const hours = new Map<number, number>();
  for (const { fromUs, toUs } of stretches) {
    for (let hour = Math.floor(fromUs / HOUR_US); hour * HOUR_US < toUs; hour += 1) {
      const overlapUs = Math.min(toUs, (hour + 1) * HOUR_US) - Math.max(fromUs, hour * HOUR_US);
      hours.set(hour, (hours.get(hour) ?? 0) + overlapUs / HOUR_US);
    }
  }
  return hours;
}
