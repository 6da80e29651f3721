import { z } from 'zod';
import { IDC_WINDOWS } from '../analysis/arrival-statistics.ts';
import { PAYLOAD_KINDS } from '../analysis/profile/payloads/payload-kind.ts';
import { LOSS_REASONS, OMISSION_CAUSES } from '../core/accounting.ts';

const count = z.int().min(0);
const nullable = z.number().nullable();
const share = z.number().min(0).max(1);
const name = z.string().nullable();

const distribution = z.object({
  count,
  mean: nullable,
  p50: nullable,
  p90: nullable,
  p95: nullable,
  p99: nullable,
  max: nullable,
});
const shape = z
  .array(z.object({ upTo: z.number(), share }))
  .describe('Cumulative: the share of values that are at most `upTo`.');
const counted = z.object({ requests: count, share });
const group = counted.extend({
  failed: count.nullable(),
  meanRequestBytes: nullable,
  meanResponseBytes: nullable,
  latencyMs: distribution,
});
const tokens = z.object({ reported: distribution, counted: distribution, estimated: distribution });

const parties = z.object({
  count,
  exact: z.boolean(),
  requests: count,
  undercount: count
    .optional()
    .describe(
      'By how much the requests of one in `top` may be too low; 0 where `exact`. Older profiles lack it.',
    ),
  topShares: z.object({ top1: nullable, top10: nullable, top100: nullable }),
  requestsEach: distribution,
  spanS: distribution,
  top: z.array(z.object({ id: name, requests: count, share })),
});

function amountBy(keys: readonly string[]): z.ZodType {
  const amount = z.object({ exchanges: count, bytes: count });
  return amount.extend({ by: z.object(Object.fromEntries(keys.map((key) => [key, amount.optional()]))) });
}

const payloadKind = counted.extend({
  protocol: z.enum(PAYLOAD_KINDS),
  bodyBytes: distribution,
  batch: distribution,
  tensors: z.object({
    perRequest: distribution,
    shapes: z.array(z.object({ shape: z.string(), tensors: count, share })),
    otherShapes: count,
  }),
  promptTokens: tokens,
  outputTokens: tokens,
  maxTokens: distribution,
  stream: z.object({ asked: count, share }),
  images: z.object({
    requests: count,
    total: count,
    byAddress: count,
    perRequest: distribution,
    bytes: distribution,
    width: distribution,
    height: distribution,
    formats: z.record(z.string(), count),
  }),
  form: z.object({ parts: distribution, partBytes: distribution }),
});

const payloads = z.object({
  sampled: count,
  read: count,
  complete: z.boolean(),
  unread: z.record(z.string(), count),
  sayRetry: count,
  bodyBytes: distribution,
  protocols: z.array(payloadKind),
  tokenEstimate: z.string(),
});

const window = z.object({
  from: z.string(),
  to: z.string().describe('The last instant that belongs to it.'),
  spanS: z.number(),
  timeZone: z.string(),
  parts: z.array(z.object({ from: z.string(), to: z.string(), requests: count })),
  search: z.record(z.string(), z.unknown()).nullable(),
});

const rate = z
  .object({
    mean: nullable,
    peak1s: nullable,
    peak60s: nullable,
    peak10m: nullable,
    peak1h: nullable,
    peakToMean1s: nullable,
    peakToMean60s: nullable,
    peakToMean10m: nullable,
    peakToMean1h: nullable,
  })
  .describe('Requests per second; peaks are those of whole windows laid from the first arrival.');

const series = z
  .object({
    stepS: count,
    at: z.array(z.int()),
    requests: z.array(count),
    failed: z.array(count.nullable()),
    peak1s: z.array(count),
    meanLatencyMs: z.array(nullable),
    inFlight: z.array(count.nullable()),
  })
  .describe('Columns of one length; `at` is the epoch second at which a step begins.');

const cycle = z.object({
  daily: z.array(z.object({ hour: count, days: count, mean: nullable, min: nullable, max: nullable })),
  weekly: z.array(z.object({ weekday: z.string(), days: count, mean: nullable })),
  unusual: z.object({
    compared: count,
    days: z.array(
      z.object({
        day: z.string(),
        weekday: z.string(),
        reasons: z.array(z.enum(['volume', 'shape'])),
        volumeRatio: nullable,
        shapeDistance: z.number(),
        hour: count,
        hourMean: z.number(),
        hourUsual: z.number(),
        comparedWith: z.string(),
      }),
    ),
  }),
});

const mix = z.object({
  routes: z.array(group.extend({ route: name })),
  models: z.array(group.extend({ model: name })),
  statuses: z.array(counted.extend({ status: z.int().nullable() })),
  methods: z.array(counted.extend({ method: name })),
  protocols: z.array(counted.extend({ protocol: name })),
  outcomes: z.record(z.string(), count.nullable()),
  streamed: count.nullable(),
});

const arrivals = {
  rate,
  peaks: z.array(
    z.object({
      windowS: count,
      requests: count,
      perSecond: z.number(),
      toMean: z.number(),
      from: z.string(),
    }),
  ),
  series,
  interArrival: z.object({
    cv: nullable,
    meanMs: nullable,
    p50Ms: nullable,
    p90Ms: nullable,
    p99Ms: nullable,
    maxMs: nullable,
    ties: nullable,
    shape,
  }),
  idc: z.object(Object.fromEntries(IDC_WINDOWS.map((width) => [width, nullable]))),
  hourOfWeek: z.array(count).length(168).describe('Requests; position 0 is Monday, 00:00 of the time zone.'),
  hourOfWeekPerSecond: z.array(nullable).length(168),
  cycle,
};

const latency = {
  latencyMs: distribution.extend({ shape }).describe('Of completed requests, to the last byte.'),
  firstByteMs: distribution,
  ttftMs: distribution,
  latencyByInputSize: z.array(group.extend({ fromBytes: count, toBytes: count })),
  tokens: z.object({ prompt: distribution, output: distribution }),
  batch: distribution,
  concurrency: z.object({
    mean: nullable,
    max: nullable,
    atArrival: z.object({ p50: nullable, p95: nullable, p99: nullable }),
    known: count,
    capped: z.boolean(),
  }),
};

const health = {
  errors: z.object({
    failed: count.nullable(),
    failedShare: nullable,
    serverErrors: count.nullable(),
    clientErrors: count.nullable(),
    tooManyRequests: count.nullable(),
    clientAborted: count.nullable(),
    upstreamFailed: count.nullable(),
    timedOut: count.nullable(),
  }),
  retries: z.object({ likely: count.nullable(), windowS: count, watched: count, share: nullable }),
  coverage: nullable,
  coverageUnexplained: nullable,
  losses: amountBy(LOSS_REASONS),
  omitted: amountBy(OMISSION_CAUSES),
};

/** The document of `profile --json`. Fields are added, never renamed; readers let unknown ones pass. */
export const profileSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('profile'),
  privacy: z.object({
    holdsPayloads: z.literal(false),
    holdsSecrets: z.literal(false),
    shared: z.boolean(),
    statement: z.string(),
  }),
  capture: name,
  window: window.nullable(),
  filters: z.array(z.string()),
  requests: count,
  unfilteredRequests: count,
  ...arrivals,
  mix,
  requestBytes: distribution.extend({ shape }),
  responseBytes: distribution.extend({ shape }),
  duplicateRatio: nullable,
  duplicateRatioExact: z.boolean(),
  sessions: parties,
  clients: parties,
  ...latency,
  ...health,
  payloads: payloads.nullable(),
  notes: z.array(z.string()),
});

/** The same as a JSON Schema, for whoever reads the document by another program. */
export function profileJsonSchema(): object {
  return {
    $id: 'https://reprise.invalid/profile.schema.json',
    title: 'Traffic profile of Reprise',
    ...z.toJSONSchema(profileSchema, { target: 'draft-2020-12', io: 'input', reused: 'ref' }),
  };
}
