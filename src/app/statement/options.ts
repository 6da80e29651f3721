import { Problems } from '../../core/errors.ts';
import { type Asked, askedFor, grouped, listOf, readOptions, text, value } from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import { parseMultiplier, parsePositiveMs } from '../../core/units.ts';
import type { DemandDocument } from '../../documents/headroom.ts';
import { parseDemandEvent, parseGrowth } from '../../replay/options/parsers.ts';
import { HARDEST_LENGTH } from '../../replay/options/window-options.ts';
import {
  type CapacityOptions,
  resolveCapacityOptions,
  SEARCH_OPTIONS,
  STEP_OPTIONS,
} from '../capacity/options.ts';
import { RUN_OPTIONS } from '../replay/options.ts';
import type { VerdictRequest } from '../verdict/options.ts';

/** What is known of demand to come. */
export const DEMAND_OPTIONS = grouped('The statement', {
  growth: value(
    '--growth <share/time>',
    'how fast demand grows, such as 8%/month (default: as the recorded days do)',
    parseGrowth,
  ),
  event: listOf(
    '--event <day=multiplier>',
    'a day from which demand is multiplied, such as a launch: 2027-01-15=1.4x',
    parseDemandEvent,
  ),
});

/** What has its own options in a search, and those of a statement with the same name. */
const OWN_OPTIONS = grouped('The statement', {
  multiplier: value('--multiplier <m>', 'how many times the recorded load it must hold', parseMultiplier, {
    default: '2',
  }),
  budget: value(
    '--budget <time>',
    'how long everything may take (default: each part as long as the window, 10m of search)',
    parsePositiveMs,
  ),
  out: text(
    '-o, --out <directory>',
    'directory of the statement; resumes a stopped one found there (default: runs/<id>)',
  ),
  faults: RUN_OPTIONS.faults,
});

export const STATEMENT_OPTIONS = {
  ...STEP_OPTIONS,
  ...picked(
    SEARCH_OPTIONS,
    ...(['compareAt1x', 'readyWhen', 'coolDown', 'replicas'] as const),
    ...(['name', 'history', 'ciReport'] as const),
  ),
  ...OWN_OPTIONS,
  ...DEMAND_OPTIONS,
};

export type ExpectedDemand = Pick<DemandDocument, 'growth' | 'events'>;

export interface StatementOptions {
  readonly multiplier: number;
  /** Null to replay each part whole. */
  readonly budgetS: number | null;
  /** Null for `runs/<id>`. */
  readonly out: string | null;
  /** File of the fault plan; null without one. */
  readonly faults: string | null;
  readonly expected: ExpectedDemand;
  /** Options of the search. Those of its steps are those of all runs. */
  readonly search: CapacityOptions;
  readonly verdict: VerdictRequest;
}

/** What is given about demand to come. Invalid options are added to `problems`. */
export function expectedDemand(asked: Asked<typeof DEMAND_OPTIONS>, problems: Problems): ExpectedDemand {
  const { growth, event } = readOptions(DEMAND_OPTIONS, asked, problems);
  return { growth, events: event };
}

/** Without a window the hardest one stands for the recording. @throws AppError OPTION_INVALID listing every problem */
export function resolveStatementOptions(
  asked: Asked<typeof STATEMENT_OPTIONS>,
  problems = new Problems(),
): StatementOptions {
  const own = readOptions(OWN_OPTIONS, askedFor(OWN_OPTIONS, asked), problems);
  const expected = expectedDemand(askedFor(DEMAND_OPTIONS, asked), problems);
  const ownKeys = new Set(Object.keys({ ...OWN_OPTIONS, ...DEMAND_OPTIONS }));
  const stated = Object.fromEntries(Object.entries(asked.stated).filter(([key]) => !ownKeys.has(key)));
  const window = asked.stated.window ?? [`hardest=${HARDEST_LENGTH}`];
  const search = problems.attempt(
    () =>
      resolveCapacityOptions({
        stated: { ...stated, window },
        originOf: (key) => asked.originOf(key as keyof typeof STATEMENT_OPTIONS),
      }),
    null,
  );
  problems.throwIfAny();
  if (search === null) throw new Error('a problem was not thrown');
  return {
    ...picked(own, 'multiplier', 'out', 'faults'),
    expected,
    budgetS: own.budget === null ? null : own.budget / 1e3,
    search: { ...search, verdict: { ...search.verdict, ciReport: [], history: null } },
    verdict: search.verdict,
  };
}
