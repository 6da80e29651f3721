import type { TimeRange } from '../../core/ports.ts';
import type { SegmentFile } from './directory.ts';
import type { SegmentSummary, Stretch } from './lives.ts';
import { SegmentReader } from './segment-reader.ts';

const HOUR_US = 3_600_000_000;

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

/** A segment and its metadata. */
export interface ReadSegment {
  readonly file: SegmentFile;
  readonly summary: SegmentSummary;
}

/**
 * Whether the segments have an account of what passed. Imports do not: their file does not say what it left
 * out.
 */
export function isAccounted(segments: readonly ReadSegment[]): boolean {
  return segments.every(({ summary }) => summary.meta.origin.kind === 'recorded');
}

interface CoverageParts {
  readonly segments: readonly ReadSegment[];
  /** When each recorder was running. */
  readonly presence: readonly (readonly Stretch[])[];
  readonly fleetSize: number | null;
}

/** Exchange counts within windows; fractional where a record spans more than a window. */
interface Seen {
  recorded: number;
  /** Sampled out, or forgotten later: accounted for. */
  explained: number;
  lost: number;
}

/**
 * Coverage of the given windows only. Recorded exchanges are counted. A loss counts by the share of its span
 * inside a window. Sampled and forgotten exchanges have no time of their own, so they count by the segment's
 * share of exchanges.
 */
export function coverageWithin(parts: CoverageParts, ranges: readonly TimeRange[]): CoverageShares {
  if (!isAccounted(parts.segments)) return NOT_KNOWN;
  let recorded = 0;
  let explained = 0;
  let seen = 0;
  for (const range of ranges) {
    const hours = new Map<number, number>();
    const sums: Seen = { recorded: 0, explained: 0, lost: 0 };
    for (const { file, summary } of parts.segments) addSegment(sums, hours, file, summary, range);
    const here = sums.recorded + sums.explained + sums.lost;
    recorded += sums.recorded;
    explained += sums.explained;
    seen += here / (fleetShareWithin(parts, hours, range) ?? 1);
  }
  if (seen === 0) return NOT_KNOWN;
  return { coverage: recorded / seen, unexplained: Math.max(0, seen - recorded - explained) / seen };
}

function fleetShareWithin(
  { presence, fleetSize }: CoverageParts,
  hours: ReadonlyMap<number, number>,
  range: TimeRange,
): number | null {
  if (fleetSize === null) return null;
  const known = presence.flat();
  const span = {
    fromUs: known.reduce((least, { fromUs }) => Math.min(least, fromUs), Number.MAX_SAFE_INTEGER),
    toUs: known.reduce((most, { toUs }) => Math.max(most, toUs), Number.MIN_SAFE_INTEGER),
  };
  const asked = { fromUs: Math.max(range.fromUs, span.fromUs), toUs: Math.min(range.toUs, span.toUs) };
  const within = presence.map((stretches) =>
    stretches
      .map(({ fromUs, toUs }) => ({
        fromUs: Math.max(fromUs, asked.fromUs),
        toUs: Math.min(toUs, asked.toUs),
      }))
      .filter(({ fromUs, toUs }) => fromUs < toUs),
  );
  return fleetShare(fleetSize, within, hours, asked);
}

function addSegment(
  sums: Seen,
  hours: Map<number, number>,
  file: SegmentFile,
  summary: SegmentSummary,
  range: TimeRange,
): void {
  const hasLosses = summary.losses.length > 0;
  const touched = summary.hours.filter(
    ({ hour }) => hour * HOUR_US < range.toUs && (hour + 1) * HOUR_US > range.fromUs,
  );
  const partly = touched.some((hour) => !isWhole(hour.hour, range));
  const reader = partly || hasLosses ? SegmentReader.open(file) : null;
  try {
    const inside = touched.map(({ hour, exchanges }) => ({
      hour,
      exchanges: isWhole(hour, range) || reader === null ? exchanges : countWithin(reader, hour, range),
    }));
    for (const { hour, exchanges } of inside) hours.set(hour, (hours.get(hour) ?? 0) + exchanges);
    const recorded = inside.reduce((sum, { exchanges }) => sum + exchanges, 0);
    sums.recorded += recorded;
    sums.explained += explainedOf(summary) * shareOf(summary, recorded, range);
    if (reader !== null && hasLosses) sums.lost += lostWithin(reader, range);
  } finally {
    reader?.close();
  }
}

function isWhole(hour: number, { fromUs, toUs }: TimeRange): boolean {
  return hour * HOUR_US >= fromUs && (hour + 1) * HOUR_US <= toUs;
}

function countWithin(reader: SegmentReader, hour: number, range: TimeRange): number {
  const fromUs = Math.max(range.fromUs, hour * HOUR_US);
  const toUs = Math.min(range.toUs, (hour + 1) * HOUR_US);
  return (
    reader.all<{ exchanges: number }>(
      `SELECT count(*) AS exchanges FROM exchange WHERE arrival_us >= ${fromUs} AND arrival_us < ${toUs}`,
    )[0]?.exchanges ?? 0
  );
}

function explainedOf({ meta, omissions }: SegmentSummary): number {
  const sampledOut = omissions.find(({ cause }) => cause === 'sampled_out')?.exchanges ?? 0;
  return sampledOut + (meta.forgotten?.exchanges ?? 0);
}

/** If a segment holds no exchange, its share is the share of its open time inside the window. */
function shareOf({ hours, meta }: SegmentSummary, inside: number, range: TimeRange): number {
  const exchanges = hours.reduce((sum, hour) => sum + hour.exchanges, 0);
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
 * @param within the time to consider; without it, that of the recorders that are here
 * @returns 1 when none is missing; null when unknown
 */
export function fleetShare(
  fleetSize: number,
  presence: readonly (readonly Stretch[])[],
  exchangesByHour: ReadonlyMap<number, number>,
  within: Stretch | null = null,
): number | null {
  const stretches = presence.flat();
  const recorded = [...exchangesByHour.values()].reduce((sum, count) => sum + count, 0);
  if (stretches.length === 0 || recorded === 0) return null;
  const { fromUs, toUs } = within ?? spanOf(stretches);
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
export function mostAtOnce(presence: readonly (readonly Stretch[])[]): number {
  const changes = presence
    .flat()
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

function spanOf(stretches: readonly Stretch[]): Stretch {
  return {
    fromUs: stretches.reduce((least, { fromUs }) => Math.min(least, fromUs), Number.POSITIVE_INFINITY),
    toUs: stretches.reduce((most, { toUs }) => Math.max(most, toUs), Number.NEGATIVE_INFINITY),
  };
}

/** Recorders running in each hour, as parts of an hour. */
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
