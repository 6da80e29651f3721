import { z } from 'zod';
import { count, type Immutable, maybeNumber, maybeText } from './parts.ts';
import { percentileFields } from './percentiles.ts';

const DAY_MS = 86_400_000;
const ms = z.int().min(0).max(DAY_MS);
const bytes = z.int().min(0);
const MOST_SLICE_BYTES = 2 ** 30;

/** Shapes of a random delay: uniform within the jitter, normal with it as deviation, or Pareto above the latency. */
export const DELAY_SHAPES = ['uniform', 'normal', 'pareto'] as const;

const delay = {
  jitter: ms.default(0).describe('ms; the half width of `uniform`, the standard deviation of `normal`.'),
  distribution: z.enum(DELAY_SHAPES).optional().describe('`uniform` if not stated.'),
  shape: z.number().min(1.01).max(100).optional().describe('Of `pareto`: smaller has a longer tail; 3.'),
};

const chosen = {
  probability: z.number().min(0).max(1).optional().describe('Share of requests; all if not stated.'),
  first: z.int().min(0).optional().describe('Only this many requests after the fault began.'),
  period: ms.optional().describe('Only this many ms after the fault began.'),
};

/**
 * The attributes of each kind of fault. The names are those of Toxiproxy 2; `half_close`, `http_error`, `http_delay`
 * and the shapes of a delay are Reprise's own.
 */
export const TOXIC_ATTRIBUTES = {
  latency: z.object({ latency: ms.default(0).describe('ms.'), ...delay }),
  bandwidth: z.object({ rate: z.int().min(1).describe('1,000 bytes a second.') }),
  slow_close: z.object({ delay: ms.default(0).describe('ms between an end and its passing on.') }),
  half_close: z.object({
    delay: ms.default(0).describe('ms until this direction is ended; the other one goes on.'),
  }),
  timeout: z.object({
    timeout: ms.default(0).describe('Nothing passes. ms of silence until the connection closes; 0: never.'),
  }),
  reset_peer: z.object({ timeout: ms.default(0).describe('ms from the first bytes to the reset.') }),
  slicer: z
    .object({
      average_size: z.int().min(1).max(MOST_SLICE_BYTES).describe('Bytes of a slice.'),
      size_variation: bytes.default(0).describe('Bytes by which slices differ; less than the average.'),
      delay: z.int().min(0).max(60_000_000).default(0).describe('µs between slices.'),
    })
    .refine((stated) => stated.size_variation < stated.average_size, {
      path: ['size_variation'],
      message: 'must be less than average_size',
    }),
  limit_data: z.object({ bytes: bytes.default(0).describe('The connection closes after this many bytes.') }),
  http_error: z.object({
    status: z.int().min(200).max(599).default(503).describe('Answered in place of the upstream.'),
    body: z
      .string()
      .max(65_536)
      .optional()
      .describe('Of the answer; a JSON object with `error` if not stated.'),
    ...chosen,
  }),
  http_delay: z.object({
    delay: ms.default(0).describe('ms until a request goes on.'),
    ...delay,
    ...chosen,
  }),
} as const;

export type ToxicType = keyof typeof TOXIC_ATTRIBUTES;
export const TOXIC_TYPES = Object.keys(TOXIC_ATTRIBUTES) as ToxicType[];
export type ToxicAttributes<Type extends ToxicType> = z.output<(typeof TOXIC_ATTRIBUTES)[Type]>;

/** `downstream`: what the dependency sends to its client. `upstream`: what the client sends. */
export const TOXIC_STREAMS = ['upstream', 'downstream'] as const;
export type ToxicStream = (typeof TOXIC_STREAMS)[number];

/** One fault as the control API shows it. */
export interface Toxic<Type extends ToxicType = ToxicType> {
  attributes: ToxicAttributes<Type>;
  readonly name: string;
  readonly type: Type;
  readonly stream: ToxicStream;
  /** Share of connections that it affects. */
  toxicity: number;
}

export function isToxicOf<Type extends ToxicType>(toxic: Toxic, type: Type): toxic is Toxic<Type> & Toxic {
  return toxic.type === type;
}

/** Counts of one fault since the relay started. They remain after the fault is removed. */
export const injected = z.object({
  proxy: z.string(),
  toxic: z.string(),
  type: z.string(),
  connections: z.int().min(0).describe('Connections that it was on.'),
  injected: z
    .int()
    .min(0)
    .describe(
      'How often it acted: pieces of data delayed, paced, sliced or dropped; closes; requests; connections cut.',
    ),
});
export type InjectedCounts = z.infer<typeof injected>;

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

/** The problem with the attributes of a planned fault; null if they are valid. */
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
  ...percentileFields(maybeNumber.describe('Scheduled latency of served requests.'), 'Ms'),
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

/** The planned faults of a run, and their effects. */
export const faultsSchema = z
  .object({
    control: z.string(),
    faults: z.array(fault),
  })
  .describe('Planned failures of dependencies. Requests are in a phase by their planned instant.');
export type FaultsDocument = Immutable<z.infer<typeof faultsSchema>>;
