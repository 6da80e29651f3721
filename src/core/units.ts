import { AppError } from './errors.ts';

export const NS_PER_US = 1e3;
export const NS_PER_MS = 1e6;
export const NS_PER_S = 1e9;
export const US_PER_S = 1e6;
export const KIB = 1_024;
export const MIB = 1_024 * KIB;
export const HOUR_US = 3_600_000_000;

const BYTE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** The error of an option whose text cannot be used. @param why follows the text, such as `is not a share` */
export function refused(what: string, text: string, why: string, hint?: string): AppError {
  const options = hint === undefined ? {} : { hint };
  return new AppError('OPTION_INVALID', `${what}: ${JSON.stringify(text.trim())} ${why}`, options);
}

/**
 * Reads a size such as `64MiB`, `1.5 GB` or `4096` into whole bytes.
 * @throws AppError OPTION_INVALID naming `what` when it is not a size
 */
export function parseBytes(text: string, what: string): number {
  return Math.round(parseWithUnit(text, what, BYTE_UNITS, 'B', 'a size such as 64MiB, 10GiB or 4096'));
}

/** Reads a duration such as `250ms`, `20s` or `1.5h` into milliseconds. A bare number is refused. */
export function parseDurationMs(text: string, what: string): number {
  return parseWithUnit(text, what, DURATION_UNITS_MS, null, 'a duration such as 250ms, 20s or 15m');
}

/** Timers take at most 2^31 - 1 ms; with a longer time they fire at once. */
const WAIT_DAYS = 24;

/**
 * Reads a duration that a timer can wait for.
 * @throws AppError OPTION_INVALID naming `what` when it is not a duration or too long
 */
export function parseWaitMs(text: string, what: string): number {
  const ms = parseDurationMs(text, what);
  if (ms <= WAIT_DAYS * 86_400_000) return ms;
  throw refused(what, text, `is longer than ${WAIT_DAYS}d`, `Give at most ${WAIT_DAYS}d.`);
}

/** Reads a duration above 0. */
export function parsePositiveMs(text: string, what: string): number {
  const ms = parseDurationMs(text, what);
  if (ms > 0) return ms;
  throw refused(what, text, 'is not above 0', 'Give a duration above 0, such as 10s.');
}

/** Reads a time limit: above 0, and within a timer's range. */
export function parseTimeLimitMs(text: string, what: string): number {
  parsePositiveMs(text, what);
  return parseWaitMs(text, what);
}

/**
 * Reads a whole number above 0.
 * @throws AppError OPTION_INVALID naming `what` when it is none
 */
export function parseCount(text: string, what: string): number {
  const value = /^\s*\d+\s*$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw refused(what, text, 'is not a whole number above 0');
}

/** Reads the seed of a random sequence. */
export function parseSeed(text: string, what: string): number {
  const seed = /^\s*\d+\s*$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(seed)) return seed;
  throw refused(what, text, 'is not a whole number from 0 to 2^53 - 1');
}

/**
 * Reads a share such as `10%` or `0.1`, above 0 and at most 1.
 * @throws AppError OPTION_INVALID naming `what` when it is none
 */
export function parseShare(text: string, what: string): number {
  const [, digits, percent] = /^\s*(\d+(?:\.\d+)?)\s*(%?)\s*$/.exec(text) ?? [];
  const value = digits === undefined ? Number.NaN : Number(digits) / (percent === '%' ? 100 : 1);
  if (value > 0 && value <= 1) return value;
  throw refused(what, text, 'is not a share', 'Give more than 0 and at most 100 %, such as 10% or 0.1.');
}

function parseWithUnit(
  text: string,
  what: string,
  units: Readonly<Record<string, number>>,
  bareUnit: string | null,
  expected: string,
): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$/.exec(text);
  const unit = match?.[2] || bareUnit;
  const factor = unit == null ? undefined : Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (!match || factor === undefined) {
    const likely = match === null ? null : likelyUnit(match[2] ?? '', Object.keys(units));
    const meant = likely === null ? '' : `Did you mean ${match?.[1]}${likely}? `;
    throw refused(what, text, `is not ${expected}`, `${meant}Units: ${Object.keys(units).join(', ')}.`);
  }
  return Number(match[1]) * factor;
}

/** The unit that `min`, `sec` or `G` means: `m`, `s`, `GB`; seconds for a duration without one; null if none fits. */
function likelyUnit(given: string, units: readonly string[]): string | null {
  const word = given.toLowerCase();
  if (word === '') return units.includes('s') ? 's' : null;
  const fits = (unit: string) => word.startsWith(unit.toLowerCase()) || unit.toLowerCase().startsWith(word);
  const byLength = units.filter(fits).toSorted((a, b) => b.length - a.length);
  return byLength.find((unit) => unit.toLowerCase() === word) ?? byLength[0] ?? null;
}

const MOST_MULTIPLIER = 1_000_000;

/**
 * Reads a multiplier: `1.5`, `1.5x`, `2`. Above zero, and at most a million.
 * @throws AppError OPTION_INVALID for 0, negative, NaN or anything else.
 */
export function parseMultiplier(text: string, what: string): number {
  const value = /^\s*\d+(?:\.\d+)?(?:e\d+)?x?\s*$/i.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (value > MOST_MULTIPLIER) {
    const why = 'is more than a million times the recorded pace';
    throw refused(
      what,
      text,
      why,
      'Give a number such as 1, 1.5 or 2x. --rate 1000 sends 1,000 requests a second.',
    );
  }
  if (Number.isFinite(value) && value > 0) return value;
  throw refused(what, text, 'is not a multiplier above 0', 'Give a number such as 1, 1.5 or 2x.');
}

/**
 * Reads an ISO 8601 instant (`2026-11-20T10:00:00Z`; without an offset it is UTC) into epoch microseconds.
 * Fractions of a second are exact to the microsecond.
 */
export function parseInstantUs(text: string, what: string): number {
  const match =
    /^\s*(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(?:(:\d{2})(?:\.(\d{1,9}))?)?)?\s*(Z|[+-]\d{2}:?\d{2})?\s*$/i.exec(
      text,
    );
  const seconds = match
    ? Date.parse(`${match[1]}T${match[2] ?? '00:00'}${match[3] ?? ':00'}${withColon(match[5] ?? 'Z')}`)
    : Number.NaN;
  if (!match || Number.isNaN(seconds) || !isCalendarDay(match[1] ?? '')) {
    throw refused(what, text, 'is not an instant', 'Give ISO 8601, such as 2026-11-20T10:00:00Z.');
  }
  const fractionUs = Math.round(Number(`0.${match[4] ?? '0'}`) * 1e6);
  return seconds * 1000 + fractionUs;
}

/** Date.parse turns 30 February into 2 March. A typing error must not become another day. */
function isCalendarDay(date: string): boolean {
  const day = Number(date.slice(8));
  return day <= 28 || new Date(`${date}T00:00:00Z`).getUTCDate() === day;
}

function withColon(offset: string): string {
  return offset.length === 5 ? `${offset.slice(0, 3)}:${offset.slice(3)}` : offset.toUpperCase();
}

/** `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB'] as const) {
    const factor = BYTE_UNITS[unit] ?? 1;
    if (bytes >= factor) return `${(bytes / factor).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

/** Formats milliseconds in the largest unit with a digit before the point: `0.21 ms`, `3.4 s`, `2.0 h`. */
export function formatMs(ms: number): string {
  if (!Number.isFinite(ms)) return String(ms);
  if (ms < 1) return `${ms.toFixed(3)} ms`;
  if (ms < 1_000) return `${ms.toFixed(1)} ms`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 7_200_000) return `${(ms / 60_000).toFixed(1)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/** Floating-point error of a sum that should be 1. */
const NO_DISTANCE = 1e-12;

/**
 * A share as a percentage with this many significant digits: `0.01234` → `1.23 %`. Above 99 % the digits
 * count from 100 %: `0.99986` → `99.986 %`. So a share below 1 never shows as 100 %.
 */
export function formatShare(share: number, digits = 3): string {
  const lacking = (1 - share) * 100;
  if (lacking >= 1 || lacking < NO_DISTANCE) return `${Number((share * 100).toPrecision(digits))} %`;
  const places = Math.max(digits - 2, 1 - Math.floor(Math.log10(lacking)));
  return `${Number((100 - lacking).toFixed(places))} %`;
}

/** A multiple of the recorded rate with four significant digits: `2.8412159840862885` → `2.841`. */
export function formatMultiplier(multiplier: number): string {
  return String(Number(multiplier.toPrecision(4)));
}

/** Epoch microseconds as ISO 8601 UTC with six decimals. */
export function formatInstantUs(us: number): string {
  const fraction = String(((us % 1e6) + 1e6) % 1e6).padStart(6, '0');
  return `${new Date(Math.floor(us / 1e6) * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}

/** `1 request`, `2 requests`. @param noun with a plural in s */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `0.0123` → `1.2 %`. Only 1 is shown as 100 % and only 0 as 0 %. */
export function percent(share: number): string {
  const text = (share * 100).toFixed(1);
  const isRounded = (text === '100.0' && share < 1) || (text === '0.0' && share > 0);
  return isRounded ? formatShare(share) : `${text} %`;
}
