import { createPrivateKey, X509Certificate } from 'node:crypto';
import { AppError, reasonOf } from '../../core/errors.ts';
import { parseJsonPointer } from '../../core/json-cursor.ts';
import { LIMITS } from '../../core/limits.ts';
import { fileName, type OptionParser, part, partSwitch } from '../../core/options.ts';
import {
  formatInstantUs,
  formatMs,
  parseBytes,
  parseCount,
  parseDurationMs,
  parseInstantUs,
  parseMultiplier,
  parsePositiveMs,
  parseShare,
  refused,
} from '../../core/units.ts';
import type { CalibrationLimits } from '../../documents/replay.ts';

/** A parser that also checks a condition on the value. */
function within<Value>(
  parse: OptionParser<Value>,
  holds: (value: Value) => boolean,
  why: string,
  hint?: string,
): OptionParser<Value> {
  return (text, what) => {
    const value = parse(text, what);
    if (holds(value)) return value;
    throw refused(what, text, why, hint);
  };
}

/**
 * A switch: variables and files may state yes or no, while the command line has the flag or lacks it. Null means no.
 */
export function switched<Value>(parse: OptionParser<Value>, alone: string): OptionParser<Value | null> {
  return (text, what) => {
    if (/^(false|no|off)$/i.test(text)) return null;
    return parse(/^(true|yes|on)$/i.test(text) ? alone : text, what);
  };
}

/** A parser for a whole number from 1 to `most`. */
export function countTo(most: number, hint?: string): OptionParser<number> {
  return within(parseCount, (count) => count <= most, `is more than ${most}`, hint);
}

/** Limited, because they are counted in KiB with 32 bits. */
export const parseInFlightBytes = within(
  parseBytes,
  (bytes) => bytes >= 2 ** 20 && bytes <= 2 ** 40,
  'is not between 1MiB and 1TiB',
);

/** Limited, because copies wait in memory until their time. */
export const parseJitterMs = within(parseDurationMs, (ms) => ms <= 60_000, 'is over 60s');

/** Windows are whole seconds long, because roll-ups count seconds. */
export const parseWholeSeconds = within(
  (text, what) => parsePositiveMs(text, what) / 1_000,
  Number.isInteger,
  'is not a whole number of seconds, the step of the roll-ups',
);

export const parseSeed = within(
  (text) => (/^\s*\d+\s*$/.test(text) ? Number(text) : Number.NaN),
  Number.isSafeInteger,
  'is not a whole number from 0 to 2^53 - 1',
);

/** Parses `2/20`, or a share such as `10%`. */
export function parseTargetShare(text: string, what: string): number {
  const [, target, recorded] = /^\s*(\d+)\s*\/\s*(\d+)\s*$/.exec(text) ?? [];
  if (target === undefined || recorded === undefined) return parseShare(text, what);
  const share = Number(target) / Number(recorded);
  if (share > 0 && share <= 1) return share;
  const hint =
    'Give replicas of the target divided by recorded replicas, such as 2/20. For a larger target, use --multiplier.';
  throw refused(what, text, 'is not a share', hint);
}

/** One of the processes that replay one plan together. */
export interface Shard {
  /** Counted from 0, like the pods of an indexed Kubernetes job. */
  readonly index: number;
  readonly count: number;
}

/** Parses `0/3`, the first of three. */
export function parseShard(text: string, what: string): Shard {
  const [, first, second] = /^\s*(\d{1,6})\s*\/\s*(\d{1,6})\s*$/.exec(text) ?? [];
  const shard = { index: Number(first), count: Number(second) };
  const isOne = first !== undefined && shard.count >= 1 && shard.count <= LIMITS.shards;
  if (isOne && shard.index < shard.count) return shard;
  const hint = `Give index/count; the index counts from 0. Three shards are 0/3, 1/3 and 2/3. At most ${LIMITS.shards}.`;
  throw refused(what, text, 'is not a shard', hint);
}

/** A start further ahead is treated as a typing error. */
const MAX_WAIT_MS = 7 * 24 * 3_600_000;

/**
 * A future instant: ISO 8601, or the format of mail and HTTP headers.
 * @param nowUs the wall clock, epoch microseconds
 */
export function parseStart(text: string, nowUs: number): number {
  const startUs = parseMailTimeUs(text) ?? parseInstantUs(text, '--shard start');
  const aheadMs = (startUs - nowUs) / 1e3;
  if (aheadMs > MAX_WAIT_MS)
    throw refused('--shard start', text, `is ${formatMs(aheadMs)} ahead, over 7 days`);
  if (aheadMs > 0) return startUs;
  throw refused(
    '--shard start',
    text,
    `is ${formatMs(-aheadMs)} ago: the clock of this host says ${formatInstantUs(nowUs)}`,
    'Give an instant late enough for every shard to be ready; without an offset, it is UTC.',
  );
}

const MAIL_TIME =
  /^\s*(?:[A-Z][a-z]{2},\s*)?(\d{1,2} [A-Z][a-z]{2} \d{4}) (\d{2}:\d{2}(?::\d{2})?) (GMT|UTC|[+-]\d{4})\s*$/;

/** Parses `Tue, 24 Nov 2026 22:00:00 GMT`; null for any other text. */
function parseMailTimeUs(text: string): number | null {
  const [, date, time, offset] = MAIL_TIME.exec(text) ?? [];
  if (date === undefined || time === undefined || offset === undefined) return null;
  const epochMs = Date.parse(`${date} ${time} ${offset}`);
  // Date.parse turns 30 February into 2 March.
  const isDay = new Date(Date.parse(`${date} 00:00 GMT`)).getUTCDate() === Number.parseInt(date, 10);
  return Number.isNaN(epochMs) || !isDay ? null : epochMs * 1e3;
}

/** Which older runs to keep beside a new one. */
type RunsRetained =
  | { readonly kind: 'count'; readonly runs: number }
  | { readonly kind: 'age'; readonly ms: number };

const RETAIN_HINT = 'Give a number from 1, such as 20, or a time, such as 30d.';

/** Parses `20` (this number of runs, including the new one) or `30d` (runs that ended within this time). */
export function parseRetainRuns(text: string, what: string): RunsRetained {
  if (/^\s*\d+\s*$/.test(text)) {
    const runs = Number(text);
    if (Number.isSafeInteger(runs) && runs >= 1) return { kind: 'count', runs };
    throw refused(what, text, 'would delete the new run too', RETAIN_HINT);
  }
  if (/^\s*\d/.test(text)) return { kind: 'age', ms: parsePositiveMs(text, what) };
  throw refused(what, text, 'is neither a number of runs nor a time', RETAIN_HINT);
}

/** The default limits for differences between a target and the recording. */
const CALIBRATION_BOUNDS: CalibrationLimits = Object.freeze({
  p50Factor: 2,
  statusShare: 0.02,
  sizeShare: 0.2,
});

/** Shares are `2%` or `0.02`, up to `most`; factors have none. */
function bound(least: number, most: number, why: string): OptionParser<number> {
  return (text, what) => {
    const [, digits = '', percent = ''] = /^(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(%?)$/i.exec(text.trim()) ?? [];
    const value = digits === '' ? Number.NaN : Number(digits) / (percent === '%' ? 100 : 1);
    if (value >= least && value <= most) return value;
    throw refused(what, text, why);
  };
}

const toleranceShare = bound(0, 1, 'is no share, such as 0.2 or 20%');

/** Parts of `--compare-at-1x`. */
export const BOUND_PARTS = {
  p50: part(
    bound(1, Number.MAX_VALUE, 'is no factor from 1, such as 2'),
    String(CALIBRATION_BOUNDS.p50Factor),
  ),
  status: part(toleranceShare, String(CALIBRATION_BOUNDS.statusShare)),
  size: part(
    bound(0, Number.MAX_VALUE, 'is no share, such as 0.2 or 20%'),
    String(CALIBRATION_BOUNDS.sizeShare),
  ),
};
export const BOUNDS_HELP =
  'the median latency may differ by the factor p50=2, statuses by status=2%, the median size by size=20%';

export function calibrationLimitsOf(
  parts: Readonly<Record<keyof typeof BOUND_PARTS, number>> | null,
): CalibrationLimits {
  if (parts === null) return CALIBRATION_BOUNDS;
  return { p50Factor: parts.p50, statusShare: parts.status, sizeShare: parts.size };
}

/** The allowed differences between two equal answers. */
export interface CheckTolerance {
  /** For two numbers: the greater of this share of the larger number and this amount. */
  readonly relative: number;
  readonly absolute: number;
  /** For the lengths of two generated texts: this share of the longer one. */
  readonly lengthShare: number;
}

/** For numbers, the defaults of `numpy.allclose` and `torch.allclose`. */
export const CHECK_TOLERANCE: CheckTolerance = Object.freeze({
  relative: 1e-5,
  absolute: 1e-8,
  lengthShare: 0.5,
});

/** Parts of `--check`. */
export const TOLERANCE_PARTS = {
  rel: part(toleranceShare, CHECK_TOLERANCE.relative.toExponential()),
  abs: part(
    bound(0, Number.MAX_VALUE, 'is no amount, such as 1e-6'),
    CHECK_TOLERANCE.absolute.toExponential(),
  ),
  length: part(toleranceShare, `${CHECK_TOLERANCE.lengthShare * 100}%`),
};

/** The allowed lag as stated. Null keeps the default limit. */
export interface LagBound {
  readonly lagMs: number | null;
  /** Share of the lowest latency objective. */
  readonly share: number | null;
}

/** Parses a share from 50 % to 99.9 %; null for `point`. */
export function parseConfidence(text: string, what: string): number | null {
  if (text.trim() === 'point') return null;
  const share = parseShare(text, what);
  if (share > 0.5 && share <= 0.999) return share;
  throw refused(
    what,
    text,
    'is not over 50 % and up to 99.9 %',
    'Give 95%, or point for the observed value.',
  );
}

/** Parses `5ms`, `10%`, or both; then the greater of the two applies. */
export function parseLagBound(text: string, what: string): LagBound {
  const hint = 'Give a time, a share of the smallest latency objective, or both: 5ms, 10% or 5ms,10%.';
  let found: LagBound = { lagMs: null, share: null };
  for (const piece of text.split(',').map((each) => each.trim())) {
    if (!/^\d/.test(piece)) throw refused(what, piece, 'is not a bound', hint);
    const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(piece)?.[1];
    if (percent === undefined) found = { ...found, lagMs: parsePositiveMs(piece, what) };
    else found = { ...found, share: Number(percent) / 100 };
  }
  return found;
}

/** A JSON pointer to a part of answers that is not compared. */
export function parseIgnored(text: string, what: string): string {
  if (parseJsonPointer(text, what).length > 0) return text;
  throw refused(what, text, 'would ignore the whole response', 'Compare by status alone: --check status');
}

/** The Host header: of the `target`, the `recorded` one, or a stated authority. */
export type HostPolicy = string;

/** A host needs a dot or a port, because a single word may be a misspelt policy. */
const HOST_POLICY =
  /^(?:target|recorded|localhost|[\w-]+(?:\.[\w-]+)+|\[[0-9A-Fa-f:.]+\]|[\w-]+(?=:))(?::\d{1,5})?$/;

export const parseHostPolicy: OptionParser<HostPolicy> = within(
  (text) => text,
  (text) => HOST_POLICY.test(text),
  'is neither target nor recorded',
  'A host needs a domain or a port, such as models.staging.internal or models:8000.',
);

/** The certificates of a file. @param readFile throws if the file cannot be read */
export function readCertificates(path: string, readFile: (path: string) => string, what: string): string {
  const pem = readPem(path, readFile, what);
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new AppError('OPTION_INVALID', `${what}: ${path} holds no certificate in PEM form`);
  }
  return pem;
}

function readPem(path: string, readFile: (path: string) => string, what: string): string {
  try {
    return readFile(path);
  } catch (cause) {
    throw new AppError('OPTION_INVALID', `${what}: ${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

/** What is trusted of a target with TLS, and what is shown to it. Recorders and replays have the same parts. */
export const TARGET_TLS_PARTS = {
  ca: part(fileName),
  cert: part(fileName),
  key: part(fileName),
  insecure: partSwitch(),
};

/** A client certificate with its key, from their files. @throws AppError OPTION_INVALID if they cannot be used */
export function clientCertificateOf(
  paths: { readonly cert: string | null; readonly key: string | null } | null,
  readFile: (path: string) => string,
): { readonly cert: string; readonly key: string } | null {
  if (paths === null || paths.cert === null || paths.key === null) return null;
  const cert = readCertificates(paths.cert, readFile, '--target-tls cert');
  const key = readPem(paths.key, readFile, '--target-tls key');
  let matches: boolean;
  try {
    matches = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    const reason = `${paths.key} holds no private key that can be read, or ${paths.cert} no certificate`;
    throw new AppError('OPTION_INVALID', `--target-tls: ${reason}: ${reasonOf(cause)}`, { cause });
  }
  if (matches) return { cert, key };
  throw new AppError(
    'OPTION_INVALID',
    `--target-tls: the key in ${paths.key} does not belong to the certificate in ${paths.cert}`,
  );
}

const GROWTH_MONTHS: Readonly<Record<string, number>> = { week: 84 / 365, month: 1, quarter: 3, year: 12 };
const MOST_GROWTH = 10;

/** Parses `8%/month`, also of a week, quarter or year, into the share by which something grows in a month. */
export function parseGrowth(text: string, what: string): number {
  const [, sign, digits, unit = ''] = /^\s*([+-]?)(\d+(?:\.\d+)?)\s*%\s*\/\s*([a-z]+)\s*$/.exec(text) ?? [];
  const months = Object.hasOwn(GROWTH_MONTHS, unit) ? GROWTH_MONTHS[unit] : undefined;
  if (digits === undefined || months === undefined)
    throw refused(what, text, 'is no growth', 'Give a share of a week, month, quarter or year: 8%/month.');
  const share = (Number(digits) / 100) * (sign === '-' ? -1 : 1);
  // No rounding error where nothing is converted.
  const perMonth = months === 1 ? share : (1 + share) ** (1 / months) - 1;
  if (share > -1 && perMonth <= MOST_GROWTH) return perMonth;
  const why = share > -1 ? 'is more than 1,000 % a month' : 'leaves nothing';
  throw refused(what, text, why, 'Give a share such as 8%/month or -2%/month.');
}

/** Parses `2027-01-15=1.4x`: what happens on a day, and by what it multiplies demand. */
export function parseDemandEvent(
  text: string,
  what: string,
): { readonly day: string; readonly times: number } {
  const [, day, times] = /^\s*(\d{4}-\d{2}-\d{2})\s*=(.+)$/s.exec(text) ?? [];
  if (day === undefined || times === undefined)
    throw refused(what, text, 'is no event', 'Give a day and a multiplier: 2027-01-15=1.4x.');
  parseInstantUs(day, what);
  return { day, times: parseMultiplier(times, what) };
}
