import { z } from 'zod';
import { type Immutable, maybeText } from './parts.ts';

/** Raised when a field changes its meaning; new fields do not raise it. */
export const PUBLICATION_SCHEMA_VERSION = 1;

const texts = z.record(z.string(), z.string());

const publishedRun = z.object({
  id: z.string().describe('Of the run or the search; of a step, that of its search and its number.'),
  name: z.string().optional().describe('For lists of runs: the test or the capture, and the multiplier.'),
  kind: z.enum(['replay', 'capacity', 'step', 'statement']),
  verdict: maybeText,
  startedAt: z.string(),
  endedAt: z.string(),
  complete: z.boolean().describe('False if it was stopped before its end.'),
  note: z.string().describe('The verdict and its reasons, as Markdown.'),
  dataset: z
    .object({ name: z.string(), digest: z.string() })
    .optional()
    .describe('The capture. Runs of an earlier version have no digest of it.'),
  params: texts.describe('What was asked for.'),
  tags: texts.describe('What it is, and what came of it.'),
  metrics: z
    .record(z.string(), z.number())
    .describe('One value each. Times are milliseconds, shares go from 0 to 1, rates are per second.'),
  series: z
    .record(z.string(), z.array(z.tuple([z.number(), z.number()])))
    .describe('Values over time: seconds after the start, and the value.'),
  curve: z
    .record(z.string(), z.array(z.tuple([z.number(), z.number()])))
    .optional()
    .describe('Of a search: percent of the recorded load, and the value at this load.'),
});
/** One run in the terms of experiment trackers. */
export type PublishedRun = Immutable<z.infer<typeof publishedRun>>;

/** The document of `publish --to FILE`. Fields are added, never renamed; readers ignore unknown ones. */
export const publicationSchema = publishedRun.extend({
  schemaVersion: z.literal(PUBLICATION_SCHEMA_VERSION),
  published: z.literal(true).describe('Tells it from the document of the run itself.'),
  version: z.string().describe('Of Reprise.'),
  children: z.array(publishedRun).describe('The steps of a search; empty for a run.'),
});
export type PublicationDocument = Immutable<z.infer<typeof publicationSchema>>;
