import { z } from 'zod';
import { count, type Immutable, maybeNumber, maybeText, share } from './parts.ts';
import { replaySchema, sendId } from './replay.ts';

/** Raised when a field changes its meaning; new fields do not raise it. */
export const EXPLANATION_SCHEMA_VERSION = 1;

/** What can break an objective. A closed list: statements and reports group by it. */
export const CAUSE_KINDS = [
  'generator',
  'connecting',
  'refusals',
  'stalls',
  'dependency',
  'replicas',
  'cold_start',
  'episode',
  'route',
  'model',
  'client',
  'size',
  'retries',
  'cpu',
  'gpu',
  'memory',
  'kv_cache',
  'waiting',
] as const;
export type CauseKind = (typeof CAUSE_KINDS)[number];

const named = z.object({
  kind: z
    .enum(CAUSE_KINDS)
    .describe(
      '`generator`: our own lag, pauses and caps. `waiting`: for others in the target, in a queue, or because it serves all in flight together, each slower the more there are. `episode`: everything was slow for a time, without more load. `retries`: answers were late by one fixed time.',
    ),
  subject: maybeText.describe(
    'Which one: a name of a route, model, client, fault or monitored series, a status, an error, a size. Of `waiting`, `tokens` if the time between tokens grows with the requests in flight, and `same client` (`same model`, `same route`) if requests wait for others of the same one only. Null if there is only one.',
  ),
});
export type NamedCause = Immutable<z.infer<typeof named>>;

const figures = z.record(z.string(), z.union([z.number(), z.string()]).nullable());
export type CauseFigures = Immutable<z.infer<typeof figures>>;

const proof = sendId.extend({
  affected: z.boolean().describe('False for the request to compare it with.'),
  ms: maybeNumber.describe('From the planned send to the last byte; null without an answer.'),
  causedMs: z.number().describe('How much of it this cause explains.'),
  inFlight: count.describe('Requests in flight when it was sent.'),
  meanInFlight: z.number().describe('Other requests in flight on average while it was.'),
  tokenMs: maybeNumber.describe('The time from one token to the next; null without tokens.'),
});
export type ProofRequest = Immutable<z.infer<typeof proof>>;

const cause = named.extend({
  share: share.describe(
    'Of what the broken requests took too long, each with the same weight. Shares of all causes and `unexplained` add up to 1.',
  ),
  requests: count.describe('Broken requests that it delayed, or left without an answer.'),
  figures: figures.describe('The figures that show it; the unit is at the end of each name.'),
  alike: z
    .array(named)
    .describe('Other causes that this run cannot tell from it, because they hold for the same requests.'),
  proof: z
    .array(proof)
    .describe('A request that it affected and one that it did not, for `reprise show RUN INDEX`.'),
  text: z.string().describe('The cause as a sentence.'),
  tryThis: z.string().describe('One thing to try.'),
});
export type Cause = Immutable<z.infer<typeof cause>>;

const phases = z
  .object({ generator: share, connecting: share, firstByte: share, rest: share })
  .describe(
    'Where broken requests lost their time: before the send, while connecting, until the first token or byte, and after it.',
  );

/** The fields that a report has too. */
export const explanation = z.object({
  against: z
    .enum(['objectives', 'recording'])
    .nullable()
    .describe(
      'What makes a request broken: it breaks a violated objective, or, if none is violated, it takes twice as long as recorded. Null if there are no such requests.',
    ),
  objectives: z.array(z.string()).describe('The violated objectives.'),
  requests: z.object({
    sent: count.describe('Requests of the judged part of the run, refused ones included.'),
    examined: count.describe('At most 50,000 in a row: those with the most broken ones.'),
    broken: count.describe('Of the examined ones.'),
  }),
  usualMs: maybeNumber.describe('Median latency of the other requests; of all, if nearly all are broken.'),
  brokenMs: maybeNumber.describe('Median latency of the broken requests that were answered.'),
  recordedMs: maybeNumber.describe('Median latency of the broken requests when they were recorded.'),
  phases: phases.nullable().describe('Null if no broken request was answered.'),
  causes: z.array(cause).describe('The largest share first; empty if nothing explains it.'),
  unexplained: share.describe('What no cause explains.'),
  notes: z.array(z.string()).describe('What limits the explanation.'),
});
export type Explanation = Immutable<z.infer<typeof explanation>>;

/** The document of `explain --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const explanationSchema = z.object({
  schemaVersion: z.literal(EXPLANATION_SCHEMA_VERSION),
  kind: z.literal('explanation'),
  directory: z.string(),
  run: z.string(),
  capture: z.string(),
  target: z.string(),
  verdict: replaySchema.shape.verdict,
  ...explanation.shape,
});
export type ExplanationDocument = Immutable<z.infer<typeof explanationSchema>>;
