import { z } from 'zod';
import { count, type Immutable, maybeNumber, maybeText, share } from './parts.ts';

/**
 * What makes a window hard. Each is a figure of every window. The last ones, from `promptTokens` on, are the payload
 * mix; `model` and `route` occur once for each name.
 */
export const WINDOW_DIMENSIONS = [
  'wait',
  'work',
  'requests',
  'burst',
  'promptTokens',
  'outputTokens',
  'requestBytes',
  'model',
  'route',
] as const;
export type WindowDimension = (typeof WINDOW_DIMENSIONS)[number];

const dimension = z.object({
  dimension: z
    .enum(WINDOW_DIMENSIONS)
    .describe(
      '`wait`: mean seconds that a request waits in the queue. `work`: executors of that queue that are busy at 1x. `burst`: requests in the busiest second. The others are per second.',
    ),
  subject: maybeText.describe('The name of the model or route; null for other dimensions.'),
});

const range = z.object({
  from: z.string().describe('Where what was recorded of it begins.'),
  to: z.string().describe('The first instant after it.'),
});

const hardest = dimension.extend({
  from: z.string().describe('The window that has the most of it.'),
  most: z.number().describe('What that window has.'),
});
export type HardestIn = Immutable<z.infer<typeof hardest>>;

const rankedWindow = range.extend({
  chosenFor: z
    .enum(['hardness', 'mix'])
    .describe('`mix`: it has most of what the hardest window has less than half of.'),
  harderThan: share.describe('Share of the compared windows that are less hard.'),
  requests: count,
  values: z.array(maybeNumber).describe('Of the dimensions of `hardest`, in their order.'),
});
export type RankedWindow = Immutable<z.infer<typeof rankedWindow>>;

/** The document of `windows --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const rankedWindowsSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('windows'),
  capture: z.string(),
  captureDigest: z.string(),
  ...range.shape,
  timeZone: z.string(),
  days: z.number().describe('From `from` to `to`.'),
  isMonth: z.boolean().describe('Whether there are enough days that the windows can stand for a month: 14.'),
  lengthS: count,
  multiplier: z.number(),
  requests: count,
  compared: count.describe('Windows with at least one request.'),
  empty: count.describe('Windows without any: no traffic, or not recorded. They are not compared.'),
  longestSilence: range.nullable().describe('The longest time of an hour or more without a request.'),
  silentS: count.describe('Total of all such times.'),
  unstored: count.describe('Requests that are not stored whole: they can be planned, not sent.'),
  coverage: maybeNumber.describe('Recorded share of the exchanges seen in this time; null if unknown.'),
  coverageIsAtLeast: z.boolean(),
  recordersMissing: count.nullable().describe('Of a fleet; null if its size is unknown.'),
  server: z
    .object({
      executors: count,
      isOpen: z.boolean().describe('More executors would explain the recording as well.'),
      requests: count.describe('Requests that it was fitted to, from the busiest hour.'),
      multiplier: z
        .number()
        .describe(
          'The load at which windows were compared: `multiplier`, or more if hardly a request waits at that.',
        ),
    })
    .nullable()
    .describe(
      'The queue of `capacity --simulate`, in which the requests of all windows were simulated. Null if too few latencies were recorded. Then windows are ranked by assumed servers that need the same time for each request, each token of a prompt, or each token of an answer, and the least hard rank counts.',
    ),
  hardest: z.array(hardest).describe('The hardest window of each dimension.'),
  windows: z
    .array(rankedWindow)
    .describe('The hardest windows, and one for the payload mix if it is needed; the hardest first.'),
  hours: z
    .object({ at: z.array(z.int()), requests: z.array(count) })
    .describe('Columns of equal length; `at` is the epoch second at which an hour with requests begins.'),
  otherNames: count.describe('Requests of models and routes beyond the first 64 of each: in no dimension.'),
});
export type RankedWindowsDocument = Immutable<z.infer<typeof rankedWindowsSchema>>;
