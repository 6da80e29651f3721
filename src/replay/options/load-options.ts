import type { Problems } from '../../core/errors.ts';
import { grouped, type OptionParser, ofOneRun, value } from '../../core/options.ts';
import { parseCount, refused } from '../../core/units.ts';
import type { FixedRate } from '../plan/rate.ts';
import type { Shard } from './parsers.ts';

const parseRate: OptionParser<number> = (given, what) => {
  const rate = Number(given.trim().replace(/\/s$/, ''));
  if (given.trim() !== '' && Number.isFinite(rate) && rate > 0 && rate <= 1e6) return rate;
  if (rate > 1e6) throw refused(what, given, 'is more than a million requests per second');
  throw refused(what, given, 'is not a number of requests per second, such as 50 or 0.5');
};

/** Loads that do not follow the recorded times. */
export const LOAD_OPTIONS = ofOneRun(
  grouped('Load and scaling', {
    rate: value(
      '--rate <n>',
      'send recorded requests at this rate per second, at Poisson intervals, for --duration',
      parseRate,
    ),
    concurrency: value(
      '--concurrency <n>',
      'keep this many requests in flight for --duration (a closed loop: no verdict)',
      parseCount,
    ),
  }),
);

interface LoadParts {
  readonly rate: number | null;
  readonly concurrency: number | null;
  readonly duration: number | null;
  readonly loop: number | null;
  readonly stages: object | null;
  readonly shard: Shard | null;
  readonly targetShare: number;
  readonly sessionOrder: string;
  readonly warmup: number | null;
  readonly threads: number;
  readonly connections: string;
  readonly shiftsTime: boolean;
  readonly slo: readonly string[];
  readonly maxRate: number | null;
  readonly maxInFlight: number;
  readonly dryRun: boolean;
  /** Whether the command has a multiplier. */
  readonly isMultiplied: boolean;
  /** Whether the command has a scaling. */
  readonly isScaled: boolean;
}

/**
 * The load instead of the recorded times: requests per second, or requests in flight. Null if recorded times are used.
 */
interface Load {
  readonly rate: FixedRate | null;
  readonly concurrency: number | null;
}

export function loadOf(parts: LoadParts, problems: Problems): Load {
  const { rate, concurrency, duration, maxInFlight } = parts;
  if (rate === null && concurrency === null) return { rate, concurrency };
  if (rate !== null && concurrency !== null)
    problems.add('--rate and --concurrency cannot be combined', 'Give one of the two.');
  const flag = rate === null ? '--concurrency' : '--rate';
  const refuseWith = (others: Readonly<Record<string, boolean>>, why: string) => {
    for (const [other, isGiven] of Object.entries(others))
      if (isGiven) problems.add(`${flag} cannot be combined with ${other}: ${why}`);
  };
  refuseWith(againstRecordedTimes(parts), 'it ignores the recorded times');
  if (duration === null) problems.add(`${flag} needs --duration`, 'Say how long, such as --duration 5m.');
  if (concurrency !== null) {
    refuseWith(againstPlan(parts), 'a closed loop sends when the target has answered, and has no plan');
    if (concurrency > maxInFlight)
      problems.add(`--concurrency ${concurrency} is more than --max-in-flight ${maxInFlight}`);
  }
  const durationNs = Math.round((duration ?? 0) * 1e6);
  return { rate: rate === null ? null : { perSecond: rate, durationNs }, concurrency };
}

/** Options that need recorded times. */
function againstRecordedTimes(parts: LoadParts): Readonly<Record<string, boolean>> {
  return {
    '--multiplier': parts.isMultiplied,
    '--stages': parts.stages !== null,
    '--scaling': parts.isScaled,
    '--target-share': parts.targetShare !== 1,
    '--loop': parts.loop !== null,
    '--shard': parts.shard !== null,
    '--session-order': parts.sessionOrder !== 'open',
  };
}

/** Options that need planned instants. */
function againstPlan(parts: LoadParts): Readonly<Record<string, boolean>> {
  return {
    '--slo': parts.slo.length > 0,
    '--dry-run': parts.dryRun,
    '--max-rate': parts.maxRate !== null,
    '--warmup': parts.warmup !== null,
    '--threads': parts.threads > 1,
    '--connections recorded': parts.connections === 'recorded',
    '--rewrite time': parts.shiftsTime,
  };
}
