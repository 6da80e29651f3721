import { z } from 'zod';
import { count, exception, type Immutable, maybeNumber, maybeText, tested } from './parts.ts';

const unit = z.enum(['ms', 'share', 'per_second', 'ratio', 'count']);

const figure = z
  .object({
    name: z.string(),
    unit,
    value: z.number(),
    limit: z.number().optional().describe('Of the objective on this number; absent without one.'),
  })
  .describe('One number of an outcome. Times are in milliseconds, shares from 0 to 1.');
export type Figure = Immutable<z.infer<typeof figure>>;

const result = z
  .enum(['passed', 'failed', 'undecided'])
  .describe('How a test, or one of its checks, ended; undecided is neither.');
export type Result = z.infer<typeof result>;

export const historyRun = z.object({
  run: z.string(),
  test: z.string().describe('Equal for the runs that belong together.'),
  command: z.string(),
  startedAt: z.string(),
  durationS: z.number(),
  verdict: maybeText,
  result,
  capture: z.string().describe('Empty for a k6 test, which has none.'),
  target: z.string().describe('Empty for a k6 test: its summary does not say.'),
  version: z.string(),
  ...tested,
  directory: z.string().describe('Where the run was kept; it may be gone.'),
  figures: z.array(figure),
});
export type HistoryRun = Immutable<z.infer<typeof historyRun>>;

const change = z.object({
  run: z.string().describe('The first run of the new level.'),
  startedAt: z.string(),
  before: z.number().describe('Mean of the runs since the change before it.'),
  after: z.number(),
  ratio: maybeNumber.describe('after ÷ before; null if before is 0.'),
  p: z.number().describe('Of the permutation test: how often chance alone parts runs as far.'),
});
export type HistoryChange = Immutable<z.infer<typeof change>>;

const metric = z.object({
  name: z.string(),
  unit,
  values: z.array(maybeNumber).describe('One for each of `runs`; null if a run did not measure it.'),
  limits: z
    .array(maybeNumber)
    .optional()
    .describe('The limit of the objective on it in each of `runs`; absent if none had one.'),
  changes: z.array(change),
});
export type HistoryMetric = Immutable<z.infer<typeof metric>>;

const testHistory = z.object({
  test: z.string(),
  runs: z.array(historyRun.omit({ figures: true, test: true })).describe('The oldest first.'),
  judged: count.describe('Runs that changes are sought in: those that are not undecided.'),
  enough: z.boolean().describe('False if the runs are too few for any change to be proven.'),
  metrics: z.array(metric),
});
export type TestHistory = Immutable<z.infer<typeof testHistory>>;

/** The document of `history --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const historySchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('history'),
  file: z.string(),
  significance: z.number().describe('Chance of naming any change in a test that has none.'),
  exceptions: z.array(exception).describe('That have not ended, of these tests.'),
  tests: z.array(testHistory),
});
export type HistoryDocument = Immutable<z.infer<typeof historySchema>>;
