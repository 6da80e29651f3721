import type { UnusualDay, UnusualDays } from '../../documents/profile.ts';
import { WHOLE_HOUR_S } from './cycle.ts';
import { type LocalDay, WEEKDAYS } from './local-hours.ts';

/** Fewer whole hours of a day do not show its shape. */
const MIN_HOURS = 6;
/** So many days like it are needed, of the same weekday or kind; of any kind, one more. */
const MIN_PEERS = 2;
/** What is unusual: far from what days differ by, and far in itself. */
const MAD_TO_SIGMA = 1.4826;
const SIGMAS = 3;
const LEAST_VOLUME = Math.log(1.3);
const LEAST_SHAPE = 0.15;
const SATURDAY = 5;

interface Judged {
  readonly day: LocalDay;
  readonly peers: string;
  readonly logRatio: number;
  readonly shape: number;
  readonly worst: { readonly hour: number; readonly mean: number; readonly usual: number };
}

/**
 * Names the days that differ from days like them (the same weekday; where there are too few, workdays or weekends;
 * else all) by volume or by shape. What is usual of an hour is the median of those days, how much days differ the
 * median absolute deviation over all: neither moves when one day is odd.
 */
export function unusualDays(days: readonly LocalDay[]): UnusualDays {
  const usable = days.filter((day) => wholeHours(day).length >= MIN_HOURS);
  const judged = usable.flatMap((day) => judge(day, usable) ?? []);
  const volume = limitOf(judged.map(({ logRatio }) => logRatio));
  const shape = limitOf(judged.map(({ shape: distance }) => distance));
  return {
    compared: judged.length,
    days: judged.flatMap((each) => {
      const reasons: ('volume' | 'shape')[] = [];
      if (Math.abs(each.logRatio - volume.median) > Math.max(LEAST_VOLUME, volume.spread))
        reasons.push('volume');
      if (each.shape > Math.max(LEAST_SHAPE, shape.median + shape.spread)) reasons.push('shape');
      return reasons.length === 0 ? [] : [unusual(each, reasons)];
    }),
  };
}

function unusual(judged: Judged, reasons: readonly ('volume' | 'shape')[]): UnusualDay {
  const ratio = Math.exp(judged.logRatio);
  return {
    day: judged.day.day,
    weekday: WEEKDAYS[judged.day.weekday] ?? '',
    reasons,
    volumeRatio: Number.isFinite(ratio) ? ratio : null,
    shapeDistance: judged.shape,
    hour: judged.worst.hour,
    hourMean: judged.worst.mean,
    hourUsual: judged.worst.usual,
    comparedWith: judged.peers,
  };
}

function judge(day: LocalDay, all: readonly LocalDay[]): Judged | null {
  const others = peersOf(day, all);
  if (others === null) return null;
  const hours = wholeHours(day).filter((hour) => others.days.some((other) => isWhole(other, hour)));
  if (hours.length < MIN_HOURS) return null;
  const mine = hours.map((hour) => rateOf(day, hour));
  const usual = hours.map((hour) =>
    median(others.days.filter((other) => isWhole(other, hour)).map((other) => rateOf(other, hour))),
  );
  const [mineSum, usualSum] = [sum(mine), sum(usual)];
  const worst = hours.reduce(
    (most, _, at) => (Math.abs(mine[at]! - usual[at]!) > Math.abs(mine[most]! - usual[most]!) ? at : most),
    0,
  );
  return {
    day,
    peers: others.name,
    logRatio: mineSum === usualSum ? 0 : Math.log(mineSum / usualSum),
    shape:
      mineSum === 0 || usualSum === 0
        ? 0
        : sum(mine.map((rate, at) => Math.abs(rate / mineSum - usual[at]! / usualSum))) / 2,
    worst: { hour: hours[worst]!, mean: mine[worst]!, usual: usual[worst]! },
  };
}

function peersOf(
  day: LocalDay,
  all: readonly LocalDay[],
): { name: string; days: readonly LocalDay[] } | null {
  const others = all.filter((other) => other !== day);
  const isWeekend = (each: LocalDay) => each.weekday >= SATURDAY;
  const same = others.filter((other) => other.weekday === day.weekday);
  if (same.length >= MIN_PEERS) return { name: `other ${WEEKDAYS[day.weekday]}s`, days: same };
  const kind = others.filter((other) => isWeekend(other) === isWeekend(day));
  if (kind.length >= MIN_PEERS) {
    return { name: isWeekend(day) ? 'other weekend days' : 'other workdays', days: kind };
  }
  return others.length > MIN_PEERS ? { name: 'all other days', days: others } : null;
}

/** Median, and three sigmas as the median absolute deviation has them. */
function limitOf(values: readonly number[]): { median: number; spread: number } {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return { median: 0, spread: 0 };
  const middle = median(finite);
  return {
    median: middle,
    spread: SIGMAS * MAD_TO_SIGMA * median(finite.map((value) => Math.abs(value - middle))),
  };
}

function wholeHours(day: LocalDay): number[] {
  return Array.from({ length: 24 }, (_, hour) => hour).filter((hour) => isWhole(day, hour));
}

function isWhole({ observedS }: LocalDay, hour: number): boolean {
  return observedS[hour]! >= WHOLE_HOUR_S;
}

function rateOf(day: LocalDay, hour: number): number {
  return day.requests[hour]! / day.observedS[hour]!;
}

function median(values: readonly number[]): number {
  const ordered = values.toSorted((a, b) => a - b);
  const half = Math.floor(ordered.length / 2);
  return ordered.length % 2 === 1 ? ordered[half]! : (ordered[half - 1]! + ordered[half]!) / 2;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
