import { formatBytes } from './units.ts';

/** What was recorded during an observation. */
export interface DiskObservation {
  readonly seconds: number;
  readonly exchanges: number;
  /** Their disk space after sealing. */
  readonly storedBytes: number;
  readonly maxDiskBytes: number;
  /** How long segments are kept, ms; null if only the quota limits that. */
  readonly retainMs: number | null;
}

/** How long the disk lasts at the observed rate. Bytes are bytes on disk. */
export interface DiskEstimate {
  readonly schemaVersion: 1;
  readonly seconds: number;
  readonly exchanges: number;
  readonly ratePerSecond: number;
  /** Mean per exchange with all overhead; null before the first exchange. */
  readonly bytesPerExchange: number | null;
  readonly bytesPerHour: number;
  readonly bytesPerDay: number;
  readonly bytesPer14Days: number;
  readonly bytesPer28Days: number;
  readonly maxDiskBytes: number;
  /** How much time the quota holds before the oldest segment expires; null if nothing fills it. */
  readonly quotaHoldsMs: number | null;
  readonly retainMs: number | null;
  /** What `--retain` needs at this rate, including the open segment; null without it. */
  readonly retainNeedsBytes: number | null;
  /** Whether the quota holds the retention time; null if unknown. */
  readonly retainFits: boolean | null;
}

/** Fixed size of an hourly segment: empty tables, a manifest, and allocation rounding. */
const SEGMENT_BYTES = 24 * 1024;
const HOUR_S = 3_600;
const DAY_S = 86_400;

/**
 * Extrapolates an observation. It does not know nights and weekends: a busy minute gives an upper bound, a
 * quiet one a lower bound.
 */
export function estimateDisk(observation: DiskObservation): DiskEstimate {
  const { seconds, exchanges, storedBytes, maxDiskBytes, retainMs } = observation;
  const perSecond = seconds > 0 ? storedBytes / seconds : 0;
  const bytesPerHour = perSecond === 0 ? 0 : perSecond * HOUR_S + SEGMENT_BYTES;
  const bytesFor = (durationS: number) => Math.ceil((bytesPerHour / HOUR_S) * durationS);
  // Expiry removes whole segments, so one more hour is on disk, plus the open segment.
  const retainNeedsBytes = retainMs === null ? null : bytesFor(retainMs / 1000 + 2 * HOUR_S);
  return {
    schemaVersion: 1,
    seconds,
    exchanges,
    ratePerSecond: seconds > 0 ? exchanges / seconds : 0,
    bytesPerExchange: exchanges > 0 ? storedBytes / exchanges : null,
    bytesPerHour: Math.ceil(bytesPerHour),
    bytesPerDay: bytesFor(DAY_S),
    bytesPer14Days: bytesFor(14 * DAY_S),
    bytesPer28Days: bytesFor(28 * DAY_S),
    maxDiskBytes,
    quotaHoldsMs: bytesPerHour === 0 ? null : (maxDiskBytes / bytesPerHour) * HOUR_S * 1000,
    retainMs,
    retainNeedsBytes,
    retainFits: retainNeedsBytes === null ? null : retainNeedsBytes <= maxDiskBytes,
  };
}

/** Exchanges came, but the disk space did not grow, so the rate of growth is unknown. */
export function isTooLittle({ exchanges, quotaHoldsMs }: DiskEstimate): boolean {
  return exchanges > 0 && quotaHoldsMs === null;
}

/** `At 12.0 exchanges/s of 1.1 KiB, 10.0 GiB last 3.4 days; --retain 28 days needs 84.0 GiB.` */
export function estimateText(estimate: DiskEstimate): string {
  const { exchanges, ratePerSecond, bytesPerExchange, maxDiskBytes, quotaHoldsMs, retainMs } = estimate;
  if (quotaHoldsMs === null || bytesPerExchange === null) {
    const time = timeText(estimate.seconds * 1000);
    if (exchanges === 0) return `Nothing was recorded in ${time}, so how long the disk lasts is unknown.`;
    return `Too little was recorded in ${time} to say how long the disk lasts: exchanges ${exchanges}, and the disk did not grow.`;
  }
  const rate = `${ratePerSecond < 10 ? ratePerSecond.toPrecision(2) : Math.round(ratePerSecond)} exchanges/s`;
  const size = formatBytes(Math.round(bytesPerExchange));
  const lasts = `${formatBytes(maxDiskBytes)} last ${timeText(quotaHoldsMs)}`;
  const { retainNeedsBytes, retainFits } = estimate;
  if (retainMs === null || retainNeedsBytes === null) return `At ${rate} of ${size}, ${lasts}.`;
  const need = `--retain ${timeText(retainMs)} needs ${formatBytes(retainNeedsBytes)}`;
  return `At ${rate} of ${size}, ${lasts}; ${need}${retainFits ? ', which fits' : ''}.`;
}

/** The estimate in several lines, with figures for longer times. */
export function estimateLines(estimate: DiskEstimate): string[] {
  const { bytesPerHour, bytesPerDay, bytesPer14Days, bytesPer28Days } = estimate;
  const sizes = [
    ['an hour', bytesPerHour],
    ['a day', bytesPerDay],
    ['14 days', bytesPer14Days],
    ['28 days', bytesPer28Days],
  ] as const;
  const table = sizes.map(([time, bytes]) => `${time.padEnd(8)} ${formatBytes(bytes).padStart(10)}`);
  return estimate.quotaHoldsMs === null ? [estimateText(estimate)] : [estimateText(estimate), ...table];
}

function timeText(ms: number): string {
  const hours = ms / 3_600_000;
  if (hours < 1) return `${plain(ms / 60_000)} minutes`;
  if (hours < 48) return `${plain(hours)} hours`;
  return hours < 24 * 730 ? `${plain(hours / 24)} days` : `${plain(hours / 24 / 365)} years`;
}

/** One decimal, or none if it is 0. */
function plain(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}
