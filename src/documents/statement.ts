import { z } from 'zod';
import { AppError, reasonOf } from '../core/errors.ts';
import { picked } from '../core/picked.ts';
import { capacitySchema } from './capacity.ts';
import { explanation } from './explanation.ts';
import { demandSchema, headroomSchema } from './headroom.ts';
import { historyRun } from './history.ts';
import { seriesFacts } from './monitors.ts';
import {
  count,
  type Immutable,
  latencyMs,
  maybeNumber,
  maybeText,
  nistEvidence,
  share,
  tested,
} from './parts.ts';
import { rankedWindowsSchema } from './ranked-windows.ts';
import { reason } from './reasons.ts';

export const STATEMENT_SCHEMA_VERSION = 1;

/** What a statement replays, in this order. The search for the breaking point comes after them. */
export const STATEMENT_PARTS = ['recorded', 'multiplied', 'spike', 'faults'] as const;
export type StatementPart = (typeof STATEMENT_PARTS)[number];
const part = z
  .enum(STATEMENT_PARTS)
  .describe(
    '`recorded`: at 1x. `multiplied`: at `multiplier`, for as long as the window lasts. `spike`: from 1x to `multiplier` without a ramp, and back. `faults`: at 1x, with the plan of --faults.',
  );

const plannedPart = z.object({
  part,
  lengthS: z.number().describe('How long it is replayed.'),
  wholeS: z.number().describe('How long it would be replayed without --budget.'),
  windowShare: share.describe(
    'How much of the window it replays: its busiest stretch, if that is less than 1.',
  ),
});
export type PlannedPart = Immutable<z.infer<typeof plannedPart>>;

/** What is known before anything is sent. */
const facts = z.object({
  version: z.string(),
  name: maybeText.describe('What --name calls it.'),
  capture: z.string(),
  target: z.string(),
  ...tested,
  startedAt: z.string(),
  objectives: z.array(z.string()),
  multiplier: z.number(),
  budgetS: maybeNumber.describe('Of --budget; null without one.'),
  recorded: rankedWindowsSchema.describe(
    'What was recorded, and its hardest windows: the document of `windows`.',
  ),
  window: z.object({
    from: z.string(),
    to: z.string(),
    lengthS: z.number(),
    chosenBy: z.enum(['hardest', 'busiest', 'slowest', 'given']),
    harderThan: share
      .nullable()
      .describe('Share of the compared windows that are less hard; null if it was not ranked.'),
  }),
  filtered: z
    .array(z.string())
    .describe('The filters, as text: other requests are not part of the statement.'),
  sendable: z.boolean().describe('False for a capture without requests: of it, nothing can be replayed.'),
});
export type StatementFacts = Immutable<z.infer<typeof facts>>;

/** The plan of a statement in its directory, so that a stopped one goes on as it began. */
export const statementPlanSchema = facts.extend({
  schemaVersion: z.literal(STATEMENT_SCHEMA_VERSION),
  kind: z.literal('statement-plan'),
  settings: z.string().describe('What a statement that goes on must ask for again: a hash.'),
  parts: z.array(plannedPart),
  ranges: z.array(z.object({ fromUs: z.number(), toUs: z.number() })).describe('The window.'),
  searchS: maybeNumber.describe('The budget of the search; null if nothing can be replayed.'),
  demand: demandSchema,
});
export type StatementPlan = Immutable<z.infer<typeof statementPlanSchema>>;

/** What the document of a statement has of its plan. */
export function statementFactsOf(plan: StatementPlan): StatementFacts {
  return picked(plan, ...(Object.keys(facts.shape) as (keyof StatementFacts)[]));
}

const resource = seriesFacts
  .pick({ name: true, kind: true, unit: true })
  .extend({ source: z.string(), mean: maybeNumber, max: maybeNumber });

const statementRun = plannedPart.extend({
  directory: maybeText.describe('Of the run, below that of the statement; null if it was not replayed.'),
  run: maybeText,
  verdict: z.enum(['PASS', 'FAIL', 'INCONCLUSIVE']).nullable(),
  multiplier: maybeNumber.describe('That of the run; of a spike, of its highest stage.'),
  skipped: z
    .enum(['lower_load_failed', 'not_reached'])
    .nullable()
    .describe('Why it was not replayed: a lower load has failed, or the statement was stopped before it.'),
  sent: count,
  valid: z.boolean().optional().describe('Whether requests left as planned, so that its figures count.'),
  failures: z
    .array(z.object({ kind: z.string(), requests: count }))
    .optional()
    .describe('Requests without a complete answer or with a 5xx answer, the most frequent kind first.'),
  figures: historyRun.shape.figures.describe('The numbers of the run, by the names that a history has.'),
  resources: z.array(resource).describe('What monitors saw of the target.'),
  violated: z.array(z.string()).describe('Objectives that it violated.'),
});
export type StatementRun = Immutable<z.infer<typeof statementRun>>;

const limit = reason.omit({ about: true, figures: true }).extend({
  decides: z.boolean().describe('Whether the verdict is not PASS because of it.'),
});
export type StatementLimit = Immutable<z.infer<typeof limit>>;

const notClaimed = z.object({ code: z.string(), text: z.string() });
export type NotClaimed = Immutable<z.infer<typeof notClaimed>>;

const capacity = capacitySchema.pick({
  endedBy: true,
  limitedBy: true,
  load: true,
  breakingPoint: true,
  gaveFirst: true,
  sizing: true,
  noise: true,
  calibration: true,
  budgetS: true,
  spentS: true,
});
export type StatementCapacity = Immutable<z.infer<typeof capacity>>;

const change = z.object({
  name: z.string(),
  unit: historyRun.shape.figures.element.shape.unit,
  before: z.number(),
  after: z.number(),
});

/** The document of `statement --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const statementSchema = facts.extend({
  schemaVersion: z.literal(STATEMENT_SCHEMA_VERSION),
  kind: z.literal('statement'),
  endedAt: z.string(),
  verdict: z.enum(['PASS', 'FAIL', 'INCONCLUSIVE']),
  sentence: z.string().describe('The statement, for people. Programs read the other fields.'),
  confidence: maybeNumber.describe('How sure a PASS is; null if values were compared as observed.'),
  limits: z.array(limit).describe('What limits the statement. Those that decide the verdict come first.'),
  production: z
    .object({ answers: count, latencyMs, failedShare: maybeNumber, violated: z.array(z.string()) })
    .nullable()
    .describe(
      'The same requests as the run at 1x, as they were recorded; and objectives that they violated.',
    ),
  runs: z.array(statementRun),
  breakingPoint: capacity.nullable().describe('Of the search; null if there was none.'),
  explanation: explanation
    .extend({ directory: z.string() })
    .nullable()
    .describe('Why the smallest load that failed did: the run in this directory. Null if none failed.'),
  headroom: headroomSchema,
  changed: z
    .object({ run: z.string(), startedAt: z.string(), verdict: maybeText, figures: z.array(change) })
    .nullable()
    .describe('The last statement of the same name in --history, and what differs; null without one.'),
  notClaimed: z.array(notClaimed),
  nist: nistEvidence.nullable().describe('Of the run at the multiplier; null if it was not replayed.'),
  digests: z
    .array(z.object({ file: z.string(), sha256: z.string() }))
    .describe('Of the files that the statement rests on, below its directory.'),
  signedBy: z.object({ name: z.string(), at: z.string() }).nullable().describe('Of --signed-by.'),
  directory: z.string(),
});
export type StatementDocument = Immutable<z.infer<typeof statementSchema>>;

/** Reads one of the two documents of a statement. @throws AppError INPUT_INVALID, SCHEMA_TOO_NEW */
export function readStatement<Schema extends typeof statementSchema | typeof statementPlanSchema>(
  schema: Schema,
  text: string,
  file: string,
): Immutable<z.infer<Schema>> {
  try {
    const json = JSON.parse(text) as { schemaVersion?: unknown };
    if (typeof json.schemaVersion === 'number' && json.schemaVersion > STATEMENT_SCHEMA_VERSION)
      throw new AppError('SCHEMA_TOO_NEW', `${file} has schema version ${json.schemaVersion}`, {
        hint: `This version reads up to ${STATEMENT_SCHEMA_VERSION}; use the one that wrote it, or a later one.`,
      });
    const { data, error } = schema.safeParse(json);
    if (error === undefined) return data as Immutable<z.infer<Schema>>;
    const [first] = error.issues;
    throw new Error(`${first?.path.join('.')}: ${first?.message}`);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('INPUT_INVALID', `${file} cannot be read: ${reasonOf(cause)}`, {
      hint: 'It was changed or cut short. Restore it from a copy, or make a new statement with another --out.',
      cause,
    });
  }
}
