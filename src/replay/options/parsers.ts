import { AppError, reasonOf } from '../../core/errors.ts';
import { ANY_MEMBER, parseJsonPointer } from '../../core/json-pointer.ts';
import { LIMITS } from '../../core/limits.ts';
import type { OptionParser } from '../../core/options.ts';
import {
  formatInstantUs,
  formatMs,
  parseBytes,
  parseCount,
  parseDurationMs,
  parseInstantUs,
  parsePositiveMs,
  parseShare,
  refused,
} from '../../core/units.ts';
import type { CalibrationLimits } from '../../documents/replay.ts';

export { refused };

/** What a parser reads, where it is within bounds. */
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

/** A variable or a file can say yes and no where the command line has the flag or has it not. Null for no. */
export function switched<Value>(parse: OptionParser<Value>, alone: string): OptionParser<Value | null> {
  return (text, what) => {
    if (/^(false|no|off)$/i.test(text)) return null;
    return parse(/^(true|yes|on)$/i.test(text) ? alone : text, what);
  };
}

/** One of these words. */
export function word<const Word extends string>(words: readonly Word[]): OptionParser<Word> {
  return (text, what) => {
    const found = words.find((each) => each === text);
    if (found !== undefined) return found;
    throw refused(what, text, `is not one of ${words.join(', ')}`);
  };
}

/** A whole number from 1 to a most. */
export function countTo(most: number, hint?: string): OptionParser<number> {
  return within(parseCount, (count) => count <= most, `is more than ${most}`, hint);
}

/** They are counted in 32 bits of KiB. */
export const parseInFlightBytes = within(
  parseBytes,
  (bytes) => bytes >= 2 ** 20 && bytes <= 2 ** 40,
  'is not between 1MiB and 1TiB',
);

/** Copies wait in memory until their time, so it cannot be any. */
export const parseJitterMs = within(parseDurationMs, (ms) => ms <= 60_000, 'is over 60s');

/** Lengths of stretches are in whole seconds, which is what roll-ups count. */
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

/** `2/20`, or a share such as `10%`. */
export function parseTargetShare(text: string, what: string): number {
  const [, target, recorded] = /^\s*(\d+)\s*\/\s*(\d+)\s*$/.exec(text) ?? [];
  if (target === undefined || recorded === undefined) return parseShare(text, what);
  const share = Number(target) / Number(recorded);
  if (share > 0 && share <= 1) return share;
  const hint =
    'Give replicas of the target divided by recorded replicas, such as 2/20. For a larger target, use --multiplier.';
  throw refused(what, text, 'is not a share', hint);
}

/** One of the processes that together play one plan. */
export interface Shard {
  /** From 0, as Kubernetes counts the pods of an indexed job. */
  readonly index: number;
  readonly count: number;
}

/** `0/3`: the first of three. */
export function parseShard(text: string, what: string): Shard {
  const [, first, second] = /^\s*(\d{1,6})\s*\/\s*(\d{1,6})\s*$/.exec(text) ?? [];
  const shard = { index: Number(first), count: Number(second) };
  const isOne = first !== undefined && shard.count >= 1 && shard.count <= LIMITS.shards;
  if (isOne && shard.index < shard.count) return shard;
  const hint = `Give index/count; the index counts from 0. Three shards are 0/3, 1/3 and 2/3. At most ${LIMITS.shards}.`;
  throw refused(what, text, 'is not a shard', hint);
}

/** Waiting longer than this for a start is taken for a typing error. */
const MAX_WAIT_MS = 7 * 24 * 3_600_000;

/**
 * An instant that is still to come: ISO 8601, or the form of mail and HTTP headers.
 * @param nowUs the wall clock, epoch microseconds
 */
export function parseStart(text: string, nowUs: number): number {
  const startUs = parseMailTimeUs(text) ?? parseInstantUs(text, '--start-at');
  const aheadMs = (startUs - nowUs) / 1e3;
  if (aheadMs > MAX_WAIT_MS) throw refused('--start-at', text, `is ${formatMs(aheadMs)} ahead, over 7 days`);
  if (aheadMs > 0) return startUs;
  throw refused(
    '--start-at',
    text,
    `is ${formatMs(-aheadMs)} ago: the clock of this host says ${formatInstantUs(nowUs)}`,
    'Give an instant late enough for every shard to be ready; without an offset, it is UTC.',
  );
}

const MAIL_TIME =
  /^\s*(?:[A-Z][a-z]{2},\s*)?(\d{1,2} [A-Z][a-z]{2} \d{4}) (\d{2}:\d{2}(?::\d{2})?) (GMT|UTC|[+-]\d{4})\s*$/;

/** `Tue, 24 Nov 2026 22:00:00 GMT`; null for anything else. */
function parseMailTimeUs(text: string): number | null {
  const [, date, time, offset] = MAIL_TIME.exec(text) ?? [];
  if (date === undefined || time === undefined || offset === undefined) return null;
  const epochMs = Date.parse(`${date} ${time} ${offset}`);
  // Date.parse turns 30 February into 2 March.
  const isDay = new Date(Date.parse(`${date} 00:00 GMT`)).getUTCDate() === Number.parseInt(date, 10);
  return Number.isNaN(epochMs) || !isDay ? null : epochMs * 1e3;
}

/** Which older runs stay beside a new one. */
type RunsRetained =
  | { readonly kind: 'count'; readonly runs: number }
  | { readonly kind: 'age'; readonly ms: number };

const RETAIN_HINT = 'Give a number from 1, such as 20, or a time, such as 30d.';

/** `20` (so many runs, the new one among them) or `30d` (those that ended within). */
export function parseRetainRuns(text: string, what: string): RunsRetained {
  if (/^\s*\d+\s*$/.test(text)) {
    const runs = Number(text);
    if (Number.isSafeInteger(runs) && runs >= 1) return { kind: 'count', runs };
    throw refused(what, text, 'would delete the new run too', RETAIN_HINT);
  }
  if (/^\s*\d/.test(text)) return { kind: 'age', ms: parsePositiveMs(text, what) };
  throw refused(what, text, 'is neither a number of runs nor a time', RETAIN_HINT);
}

/** How far a target may be from what was recorded and still stand for it. */
const CALIBRATION_BOUNDS: CalibrationLimits = Object.freeze({
  p50Factor: 2,
  statusShare: 0.02,
  sizeShare: 0.2,
});

/** These as `--compare-at-1x-bounds` takes them. */
export const CALIBRATION_BOUNDS_TEXT = `p50:${CALIBRATION_BOUNDS.p50Factor},status:${CALIBRATION_BOUNDS.statusShare},size:${CALIBRATION_BOUNDS.sizeShare}`;

/** `p50:2,status:0.02,size:0.2`; a bound that is not named keeps its default. */
export function parseCalibrationBounds(text: string, what: string): CalibrationLimits {
  const hint =
    'Give p50:FACTOR (1 or more), status:SHARE (0 to 1) and size:SHARE, such as p50:2,status:2%,size:20%.';
  const stated: Record<string, number> = {};
  for (const part of partsOf(text)) {
    const [, name = '', digits = '', percent = ''] =
      /^(p50|status|size)\s*:\s*(\d+(?:\.\d+)?)\s*(%?)$/.exec(part) ?? [];
    const value = numberOf(digits, percent);
    const least = name === 'p50' ? 1 : 0;
    if (!(value >= least) || (name === 'status' && value > 1))
      throw refused(what, part, 'is not a bound', hint);
    stated[name] = value;
  }
  return {
    p50Factor: stated['p50'] ?? CALIBRATION_BOUNDS.p50Factor,
    statusShare: stated['status'] ?? CALIBRATION_BOUNDS.statusShare,
    sizeShare: stated['size'] ?? CALIBRATION_BOUNDS.sizeShare,
  };
}

/** How far two answers may be apart and still be the same. */
export interface CheckTolerance {
  /** Of two numbers: the greater of this share of the larger number and this amount. */
  readonly relative: number;
  readonly absolute: number;
  /** Of the lengths of two generated texts: this share of the longer. */
  readonly lengthShare: number;
}

/** Of numbers: what `numpy.allclose` and `torch.allclose` take for equal. */
export const CHECK_TOLERANCE: CheckTolerance = Object.freeze({
  relative: 1e-5,
  absolute: 1e-8,
  lengthShare: 0.5,
});

/** These as `--response-tolerance` takes them. */
export const CHECK_TOLERANCE_TEXT = `rel:${CHECK_TOLERANCE.relative.toExponential()},abs:${CHECK_TOLERANCE.absolute.toExponential()},length:${CHECK_TOLERANCE.lengthShare * 100}%`;

/** `1e-3`, or `rel:1e-3,abs:1e-6,length:20%`; a tolerance that is not named keeps its default. */
export function parseTolerance(text: string, what: string): CheckTolerance {
  const hint =
    'Give rel:SHARE and length:SHARE (0 to 1) and abs:NUMBER, such as rel:1e-3,abs:1e-6,length:20%.';
  const stated: Record<string, number> = {};
  for (const part of partsOf(text)) {
    const [, name = 'rel', digits = '', percent = ''] =
      /^(?:(rel|abs|length)\s*:\s*)?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(%?)$/i.exec(part) ?? [];
    const value = numberOf(digits, percent);
    const key = name.toLowerCase();
    if (!Number.isFinite(value) || (key === 'abs' ? percent !== '' : value > 1))
      throw refused(what, part, 'is not a tolerance', hint);
    stated[key] = value;
  }
  return {
    relative: stated['rel'] ?? CHECK_TOLERANCE.relative,
    absolute: stated['abs'] ?? CHECK_TOLERANCE.absolute,
    lengthShare: stated['length'] ?? CHECK_TOLERANCE.lengthShare,
  };
}

/** NaN for no digits. */
function numberOf(digits: string, percent: string): number {
  return digits === '' ? Number.NaN : Number(digits) / (percent === '%' ? 100 : 1);
}

/** The lag that is allowed, where it was stated; null leaves the bound as it is. */
export interface LagBound {
  readonly lagMs: number | null;
  /** Of the least latency objective. */
  readonly share: number | null;
}

/** A share from 50 % to 99.9 %; null for `point`. */
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

/** `5ms`, `10%`, or both: the greater of the two holds. */
export function parseLagBound(text: string, what: string): LagBound {
  const hint = 'Give a time, a share of the smallest latency objective, or both: 5ms, 10% or 5ms,10%.';
  let bound: LagBound = { lagMs: null, share: null };
  for (const part of partsOf(text)) {
    if (!/^\d/.test(part)) throw refused(what, part, 'is not a bound', hint);
    const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(part)?.[1];
    if (percent === undefined) bound = { ...bound, lagMs: parsePositiveMs(part, what) };
    else bound = { ...bound, share: Number(percent) / 100 };
  }
  return bound;
}

/** A place of answers that is not compared. */
export function parseIgnored(text: string, what: string): string {
  if (parseJsonPointer(text, what).length > 0) return text;
  throw refused(
    what,
    text,
    'would ignore the whole response',
    'Compare by status alone: --compare-responses status',
  );
}

/** Steps of a JSON pointer to one value; null for the document itself, and for more than one. */
export function parseSinglePlace(text: string, what: string): string[] | null {
  const parsed = parseJsonPointer(text, what);
  const steps = parsed.filter((step) => step !== ANY_MEMBER);
  return steps.length > 0 && steps.length === parsed.length ? steps : null;
}

/** What the Host header says: that of the `target`, the `recorded` one, or else the authority that is named. */
export type HostPolicy = string;

/** A name alone could as well be a misspelt word. */
const HOST_POLICY =
  /^(?:target|recorded|localhost|[\w-]+(?:\.[\w-]+)+|\[[0-9A-Fa-f:.]+\]|[\w-]+(?=:))(?::\d{1,5})?$/;

export const parseHostPolicy: OptionParser<HostPolicy> = within(
  (text) => text,
  (text) => HOST_POLICY.test(text),
  'is neither target nor recorded',
  'A host needs a domain or a port, such as models.staging.internal or models:8000.',
);

/** Certificates of a file. @param readFile throws where it cannot be read */
export function readCertificates(path: string, readFile: (path: string) => string): string {
  let pem: string;
  try {
    pem = readFile(path);
  } catch (cause) {
    throw new AppError('OPTION_INVALID', `--ca: ${path} cannot be read: ${reasonOf(cause)}`, { cause });
  }
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new AppError('OPTION_INVALID', `--ca: ${path} holds no certificate in PEM form`);
  }
  return pem;
}

function partsOf(text: string): string[] {
  return text.split(',').map((part) => part.trim());
}
