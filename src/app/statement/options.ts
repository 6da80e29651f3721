import { Problems } from '../../core/errors.ts';
import { type Asked, askedFor, grouped, readOptions, text, value } from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import { parseMultiplier, parsePositiveMs } from '../../core/units.ts';
import { HARDEST_LENGTH } from '../../replay/options/window-options.ts';
import {
  type CapacityOptions,
  resolveCapacityOptions,
  SEARCH_OPTIONS,
  STEP_OPTIONS,
} from '../capacity/options.ts';
import { RUN_OPTIONS } from '../replay/options.ts';
import type { VerdictRequest } from '../verdict/options.ts';

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
};

export interface StatementOptions {
  readonly multiplier: number;
  /** Null to replay each part whole. */
  readonly budgetS: number | null;
  /** Null for `runs/<id>`. */
  readonly out: string | null;
  /** File of the fault plan; null without one. */
  readonly faults: string | null;
  /** Options of the search. Those of its steps are those of all runs. */
  readonly search: CapacityOptions;
  readonly verdict: VerdictRequest;
}

/** Without a window the hardest one stands for the recording. @throws AppError OPTION_INVALID listing every problem */
export function resolveStatementOptions(
  asked: Asked<typeof STATEMENT_OPTIONS>,
  problems = new Problems(),
): StatementOptions {
  const own = readOptions(OWN_OPTIONS, askedFor(OWN_OPTIONS, asked), problems);
  const { multiplier: _, budget: __, out: ___, faults: ____, ...stated } = asked.stated;
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
    budgetS: own.budget === null ? null : own.budget / 1e3,
    search: { ...search, verdict: { ...search.verdict, ciReport: [], history: null } },
    verdict: search.verdict,
  };
}
