import { AppError, type Problems } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { formatInstantUs, formatMs, parseInstantUs } from '../core/units.ts';

/** One of the processes that together play one plan. */
export interface Shard {
  /** From 0, as Kubernetes counts the pods of an indexed job. */
  readonly index: number;
  readonly count: number;
}

/** What was asked for, as it stands on the command line. */
export interface RawShardOptions {
  readonly shard?: string | undefined;
  readonly startAt?: string | undefined;
}

export interface ShardOptions {
  /** Null plays the whole plan. */
  readonly shard: Shard | null;
  /** Zero of the run by the wall clock of the host, epoch microseconds; null for as soon as all is ready. */
  readonly startAtUs: number | null;
}

/** Waiting longer than this for a start is taken for a typing error. */
const MAX_WAIT_MS = 7 * 24 * 3_600_000;

/**
 * Resolves what was asked for; what is wrong with it goes to `problems`.
 * @param nowUs the wall clock, epoch microseconds
 */
export function resolveShard(raw: RawShardOptions, nowUs: number, problems: Problems): ShardOptions {
  return {
    shard: problems.optional(raw.shard, parseShard),
    startAtUs: problems.optional(raw.startAt, (text) => parseStart(text, nowUs)),
  };
}

/** `0/3`: the first of three. */
function parseShard(text: string): Shard {
  const [, first, second] = /^\s*(\d{1,6})\s*\/\s*(\d{1,6})\s*$/.exec(text) ?? [];
  const shard = { index: Number(first), count: Number(second) };
  const isOne = first !== undefined && shard.count >= 1 && shard.count <= LIMITS.shards;
  if (isOne && shard.index < shard.count) return shard;
  throw new AppError('OPTION_INVALID', `--shard: ${JSON.stringify(text)} is no shard`, {
    hint: `Give index/count; the index counts from 0: 0/3, 1/3 and 2/3 are all of three. At most ${LIMITS.shards}.`,
  });
}

function parseStart(text: string, nowUs: number): number {
  const startUs = parseMailTimeUs(text) ?? parseInstantUs(text, '--start-at');
  const aheadMs = (startUs - nowUs) / 1e3;
  if (aheadMs > MAX_WAIT_MS) {
    throw new AppError('OPTION_INVALID', `--start-at: ${text} is ${formatMs(aheadMs)} ahead, over 7 days`);
  }
  if (aheadMs > 0) return startUs;
  throw new AppError(
    'OPTION_INVALID',
    `--start-at: ${text} is over since ${formatMs(-aheadMs)}: it is ${formatInstantUs(nowUs)} by the clock of this host`,
    {
      hint: 'Give an instant far enough ahead for every shard to be there; where no offset is given it is UTC.',
    },
  );
}

const MAIL_TIME =
  /^\s*(?:[A-Z][a-z]{2},\s*)?(\d{1,2} [A-Z][a-z]{2} \d{4}) (\d{2}:\d{2}(?::\d{2})?) (GMT|UTC|[+-]\d{4})\s*$/;

/** The form of mail and HTTP headers, `Tue, 24 Nov 2026 22:00:00 GMT`; null for anything else. */
function parseMailTimeUs(text: string): number | null {
  const [, date, time, offset] = MAIL_TIME.exec(text) ?? [];
  if (date === undefined || time === undefined || offset === undefined) return null;
  const epochMs = Date.parse(`${date} ${time} ${offset}`);
  // Date.parse turns 30 February into 2 March.
  const isDay = new Date(Date.parse(`${date} 00:00 GMT`)).getUTCDate() === Number.parseInt(date, 10);
  return Number.isNaN(epochMs) || !isDay ? null : epochMs * 1e3;
}
