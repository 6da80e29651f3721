import { z } from 'zod';
import { count, type Immutable, maybeNumber, maybeText } from './parts.ts';
import { TOXIC_ATTRIBUTES, TOXIC_STREAMS, TOXIC_TYPES, type ToxicType } from './toxics.ts';

const NAME = /^[A-Za-z0-9][\w.-]{0,99}$/;

/** Faults at most in a plan. */
const MOST_FAULTS = 100;

const texts = z.union([z.string(), z.array(z.string())]).transform((stated) => [stated].flat());

const plannedFault = z.strictObject({
  name: z.string().regex(NAME).optional().describe('Unique in the plan; PROXY-FAULT if not stated.'),
  proxy: z.string().describe('Name of a proxy of the relay.'),
  fault: z.enum([...TOXIC_TYPES, 'down']),
  stream: z.enum(TOXIC_STREAMS).default('downstream'),
  toxicity: z.number().min(0).max(1).default(1).describe('Share of connections.'),
  attributes: z.record(z.string(), z.unknown()).default({}),
  start: z
    .string()
    .describe('On the clock of the run, behind its warm-up: `30s`, or `40%` of its planned length.'),
  duration: z.string().describe('`3m`, or `20%`.'),
  during: texts
    .default([])
    .describe(
      "Objectives of the requests that meet the fault, as --slo takes them. Without any the run's hold.",
    ),
  recovery: z
    .string()
    .optional()
    .describe("How long the run's objectives may take to hold again, such as `10s`."),
});
export type PlannedFault = z.output<typeof plannedFault>;

/** The file of `replay --faults`. */
export const faultPlanSchema = z.strictObject({
  control: z.string().default('127.0.0.1:8474').describe('Address of the control API of the relay.'),
  faults: z.array(plannedFault).min(1).max(MOST_FAULTS),
});

/** Why the attributes of a planned fault cannot be meant; null where they can. */
export function attributesProblem({ fault, attributes }: PlannedFault): string | null {
  const schema = fault === 'down' ? z.strictObject({}) : TOXIC_ATTRIBUTES[fault satisfies ToxicType].strict();
  const result = schema.safeParse(attributes);
  if (result.success) return null;
  return result.error.issues.map(({ path, message }) => [...path, message].join(': ')).join('; ');
}

const phase = z.object({
  requests: count,
  failed: count,
  errorShare: maybeNumber.describe('Failed ÷ sent.'),
  p50Ms: maybeNumber.describe('Scheduled latency of served requests.'),
  p95Ms: maybeNumber,
  p99Ms: maybeNumber,
  checked: count.describe('Answers that were compared with the recorded ones.'),
  mismatched: count,
});
export type FaultPhase = Immutable<z.infer<typeof phase>>;

const fault = z.object({
  name: z.string(),
  proxy: z.string(),
  fault: z.string(),
  stream: z.string(),
  toxicity: z.number(),
  attributes: z.record(z.string(), z.unknown()),
  fromS: z.number().describe('As planned, after the start of the run.'),
  toS: z.number(),
  appliedS: maybeNumber.describe('When the relay said that it was on; null if it never was.'),
  removedS: maybeNumber.describe('When the relay said that it was over.'),
  problem: maybeText.describe('Why it was not on as planned; null if it was.'),
  connections: count.describe('Connections that it was on.'),
  injected: count.describe(
    'How often it acted; of `down`, connections cut, and 1 where there was none but the proxy had others in the run.',
  ),
  judgedBy: z.array(z.string()).describe("Objectives of its window; empty where the run's hold."),
  inFlight: count.describe('Requests of its window that were planned before it.'),
  before: phase.describe('From the end of the fault before it.'),
  during: phase,
  after: phase.describe('Until the next fault begins.'),
  recovery: z.object({
    s: maybeNumber.describe('From when it was over until the objectives held again; null if not seen.'),
    limitS: maybeNumber.describe('As stated; requests planned in it are judged by this limit alone.'),
    by: z.array(z.string()).describe('The objectives that had to hold again, from the actual sends.'),
    ok: z.boolean().nullable().describe('Null without a limit, or where it is not known.'),
  }),
});
export type FaultDocument = Immutable<z.infer<typeof fault>>;

/** What failed by plan in a run, and what that did. */
export const faultsSchema = z
  .object({
    control: z.string(),
    faults: z.array(fault),
  })
  .describe('Planned failures of dependencies. Requests are in a phase by their planned instant.');
export type FaultsDocument = Immutable<z.infer<typeof faultsSchema>>;
