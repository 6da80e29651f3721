import { z } from 'zod';
import { LINK_LIMITS, LOSS_REASONS, OMISSION_CAUSES } from '../core/accounting.ts';
import { PLACES } from '../core/exchange.ts';
import {
  cacheHits,
  count,
  distribution,
  foundStretch,
  type Immutable,
  idc,
  maybeNumber,
  maybeText,
  share,
} from './parts.ts';

const PAYLOAD_KINDS = [
  'openai chat',
  'openai completions',
  'openai embeddings',
  'openai responses',
  'openai audio',
  'openai images',
  'openai other',
  'anthropic messages',
  'ollama',
  'generate',
  'v1 predict',
  'v1 gRPC',
  'v2 JSON',
  'v2 binary',
  'v2 gRPC',
  'other gRPC',
  'multipart form',
  'image',
  'audio',
  'other JSON',
  'CSV',
  'other text',
  'other binary',
  'no body',
] as const;
export type PayloadKind = (typeof PAYLOAD_KINDS)[number];

const shape = z
  .array(z.object({ upTo: z.number(), share }))
  .describe('Cumulative: the share of values that are at most `upTo`.');
export type ShapeStep = Immutable<z.infer<typeof shape>>[number];

const shapedDistribution = distribution.extend({ shape });

const counted = z.object({ requests: count, share: share.describe('Of all requests.') });
/** A count and its share of all requests. */
export type Counted = Immutable<z.infer<typeof counted>>;

const group = counted.extend({
  failed: count.nullable().describe('Null if the outcome of every request is unknown.'),
  meanRequestBytes: maybeNumber.describe('Of requests with known size.'),
  meanResponseBytes: maybeNumber,
  latencyMs: distribution,
});
export type GroupFigures = Immutable<z.infer<typeof group>>;

const inputSizeGroup = group.extend({ fromBytes: count, toBytes: count });
export type InputSizeGroup = Immutable<z.infer<typeof inputSizeGroup>>;

const parties = z.object({
  count: count.describe('Number of distinct ones; an estimate if `exact` is false.'),
  exact: z.boolean(),
  requests: count.describe('Requests that have one.'),
  undercount: count.describe('How much too low the requests of one in `top` may be; 0 if `exact`.'),
  topShares: z
    .object({ top1: maybeNumber, top10: maybeNumber, top100: maybeNumber })
    .describe('Share of those requests from the busiest one, ten and hundred.'),
  requestsEach: distribution.describe('Requests per one; unknown unless `exact`.'),
  spanS: distribution.describe('From first to last arrival, of those with more than one request.'),
  top: z
    .array(z.object({ id: maybeText, requests: count, share }))
    .describe('The busiest ten. `id` is the keyed hash of the capture; null in a shared profile.'),
});
export type PartyFigures = Immutable<z.infer<typeof parties>>;

const tokens = z.object({ reported: distribution, counted: distribution, estimated: distribution });

const payloadKind = counted.extend({
  protocol: z.enum(PAYLOAD_KINDS),
  bodyBytes: distribution,
  batch: distribution.describe('Sequences, instances or rows in one request.'),
  tensors: z.object({
    perRequest: distribution,
    shapes: z
      .array(z.object({ shape: z.string(), tensors: count, share }))
      .describe('Type and dimensions, most common first.'),
    otherShapes: count,
  }),
  promptTokens: tokens,
  outputTokens: tokens,
  maxTokens: distribution,
  stream: z.object({ asked: count, share }).describe('Requests for a streamed answer.'),
  images: z.object({
    requests: count,
    total: count,
    byAddress: count.describe('Sent as a URL only: their size is unknown.'),
    perRequest: distribution,
    bytes: distribution,
    width: distribution,
    height: distribution,
    formats: z.record(z.string(), count),
  }),
  form: z.object({ parts: distribution, partBytes: distribution }),
});
export type PayloadKindFigures = Immutable<z.infer<typeof payloadKind>>;

const payloads = z
  .object({
    sampled: count.describe('Exchanges whose payload was examined.'),
    read: count.describe('Of those, exchanges whose request could be read.'),
    complete: z.boolean().describe('Whether every exchange of the window was examined.'),
    unread: z.record(z.enum(['not_stored', 'no_body_kept', 'truncated', 'unreadable_coding']), count),
    sayRetry: count.describe('Requests marked as retries.'),
    bodyBytes: distribution,
    deadlineMs: distribution.optional().describe('`grpc-timeout` of gRPC calls; absent if none has one.'),
    protocols: z.array(payloadKind).describe('The commonest first.'),
    tokenEstimate: z.string(),
  })
  .describe('Facts from request payloads.');
export type PayloadFigures = Immutable<z.infer<typeof payloads>>;

const grpc = counted
  .extend({
    statuses: z
      .array(counted.extend({ status: maybeText }))
      .describe('By name, such as `UNAVAILABLE`, the commonest first; null: it ended without one.'),
    requestMessages: distribution.describe('Messages in one request.'),
    responseMessages: distribution.describe('Messages in one answer.'),
  })
  .describe('gRPC calls.');

const links = z
  .object({
    requests: count.describe(
      'Requests of sessions that were searched: while they were recorded, or in the examined payloads.',
    ),
    linked: count.describe('Of those, requests with a value that an earlier answer of their session issued.'),
    links: count.describe('Such values, once for each place in a request.'),
    places: z
      .array(z.object({ from: z.enum(PLACES), to: z.enum(PLACES), links: count }))
      .describe('Where examined payloads have them: in answers, and in requests. The commonest first.'),
    missed: z
      .partialRecord(z.enum(LINK_LIMITS), count)
      .describe(
        'How often a limit on the search was reached in examined payloads. Such values are not counted.',
      ),
  })
  .describe('Values that the server issued and that clients send back.');
export type LinkFigures = Immutable<z.infer<typeof links>>;

const reuse = z
  .object({
    prompts: count.describe('Examined prompts.'),
    tokens: count.describe('Their tokens: as the server counted them, else 4 bytes count as one.'),
    upperBound: maybeNumber.describe(
      'Share of these tokens that earlier prompts of the same model begin with, or that the server reports from its cache. Null unless every payload was examined.',
    ),
    beyondLimit: count.describe(
      'Prompts after the limit on remembered prefixes was reached. They are not counted.',
    ),
    reported: cacheHits.nullable().describe('Null if no answer reports cached tokens.'),
  })
  .describe('How much of the prompts a cache of prefixes could reuse, and did.');
export type ReuseFigures = Immutable<z.infer<typeof reuse>>;

const window = z.object({
  from: z.string(),
  to: z.string().describe('The last instant inside it.'),
  spanS: z.number().describe('Total of all parts.'),
  timeZone: z.string(),
  parts: z.array(z.object({ from: z.string(), to: z.string(), requests: count })),
  search: foundStretch.nullable(),
});

const rate = z
  .object({
    mean: maybeNumber,
    peak1s: maybeNumber,
    peak60s: maybeNumber,
    peak10m: maybeNumber,
    peak1h: maybeNumber,
    peakToMean1s: maybeNumber,
    peakToMean60s: maybeNumber,
    peakToMean10m: maybeNumber,
    peakToMean1h: maybeNumber,
  })
  .describe('Requests per second; peaks are of whole windows counted from the first arrival.');

const peaks = z
  .array(
    z.object({
      windowS: count,
      requests: count,
      perSecond: z.number(),
      toMean: z.number().describe('Divided by the mean of all whole windows of that width.'),
      from: z.string(),
    }),
  )
  .describe('The times of the peaks, without widths longer than the window.');

const series = z
  .object({
    stepS: count,
    at: z.array(z.int()),
    requests: z.array(count),
    failed: z.array(count.nullable()),
    peak1s: z.array(count).describe('Most arrivals in a second, counted from the first arrival.'),
    meanLatencyMs: z.array(maybeNumber).describe('Of completed requests; null if no latency was recorded.'),
    inFlight: z.array(count.nullable()).describe('Most requests in flight.'),
  })
  .describe(
    'Columns of equal length; `at` is the epoch second in which a step begins, as far into it as the first arrival is.',
  );
type Series = Immutable<z.infer<typeof series>>;
/** The columns during counting: `failed` is known for every request. */
export type SeriesColumns = Omit<Series, 'failed'> & { readonly failed: readonly number[] };

const dailyHour = z.object({
  hour: count,
  days: count,
  mean: maybeNumber,
  min: maybeNumber,
  max: maybeNumber,
});
export type DailyHour = Immutable<z.infer<typeof dailyHour>>;

const weeklyDay = z.object({
  weekday: z.string(),
  days: count.describe('Days completely within the windows.'),
  mean: maybeNumber,
});
export type WeeklyDay = Immutable<z.infer<typeof weeklyDay>>;

const unusualDay = z.object({
  day: z.string(),
  weekday: z.string(),
  reasons: z
    .array(z.enum(['volume', 'shape']))
    .describe(
      '`volume`: more or fewer requests than similar days. `shape`: its requests are in other hours.',
    ),
  volumeRatio: maybeNumber.describe(
    'Requests divided by those of similar days, in the hours that both have.',
  ),
  shapeDistance: z
    .number()
    .describe('Share of its requests that would have to move to other hours to match those days.'),
  hour: count.describe('The hour that differs most from similar days, in requests per second.'),
  hourMean: z.number(),
  hourUsual: z.number(),
  comparedWith: z.string(),
});
export type UnusualDay = Immutable<z.infer<typeof unusualDay>>;

const unusualDays = z.object({
  compared: count.describe('Days that could be compared with others.'),
  days: z.array(unusualDay),
});
export type UnusualDays = Immutable<z.infer<typeof unusualDays>>;

const mix = z.object({
  routes: z.array(group.extend({ route: maybeText })),
  models: z.array(group.extend({ model: maybeText })),
  statuses: z.array(counted.extend({ status: z.int().nullable() })),
  methods: z.array(counted.extend({ method: maybeText })),
  protocols: z.array(counted.extend({ protocol: maybeText })),
  outcomes: z
    .record(z.string(), count.nullable())
    .describe('Null if the outcome of every request is unknown.'),
  streamed: count.nullable(),
});

const concurrency = z.object({
  mean: maybeNumber.describe('Time average from the first arrival of a window to its last.'),
  max: maybeNumber,
  atArrival: z
    .object({ p50: maybeNumber, p95: maybeNumber, p99: maybeNumber })
    .describe('As seen by an arriving request, including itself.'),
  known: count.describe('Requests with a recorded end; the others are not counted.'),
  capped: z.boolean().describe('True if mean and maximum are lower bounds.'),
});
export type ConcurrencyFigures = Immutable<z.infer<typeof concurrency>>;

const retries = z.object({
  likely: count
    .nullable()
    .describe('Same route and body as one that failed (no complete answer, 429, 5xx) shortly before.'),
  windowS: count,
  watched: count.describe('Failures with a known body, so that a retry would be detected.'),
  share: maybeNumber,
});
/** The retries during counting. */
export type RetryFigures = Omit<Immutable<z.infer<typeof retries>>, 'likely' | 'share'> & {
  readonly likely: number;
};

const amount = z.object({ exchanges: count, bytes: count });
const losses = amount.extend({
  exact: z
    .boolean()
    .optional()
    .describe(
      'False if more may have been lost: of an import, or after a kill. Profiles of earlier versions lack it.',
    ),
  by: z.partialRecord(z.enum(LOSS_REASONS), amount),
});
const omitted = amount.extend({ by: z.partialRecord(z.enum(OMISSION_CAUSES), amount) });

/** The document of `profile --json`. Fields are added, never renamed; readers ignore unknown ones. */
export const profileSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('profile'),
  privacy: z.object({
    holdsPayloads: z.literal(false),
    holdsSecrets: z.literal(false),
    shared: z.boolean().describe('Whether names that could identify clients are omitted.'),
    statement: z.string(),
  }),
  capture: maybeText.describe("The capture's directory; null in a shared profile."),
  window: window.nullable().describe('Null for a capture without exchanges.'),
  filters: z.array(z.string()).describe('The filters; a shared profile omits their values.'),
  requests: count,
  unfilteredRequests: count.describe('Exchanges in the window before the filters.'),
  rate,
  peaks,
  series,
  interArrival: z.object({
    cv: maybeNumber,
    meanMs: maybeNumber,
    p50Ms: maybeNumber,
    p90Ms: maybeNumber,
    p99Ms: maybeNumber,
    maxMs: maybeNumber,
    ties: maybeNumber,
    shape: shape.describe('Milliseconds.'),
  }),
  idc,
  hourOfWeek: z.array(count).length(168).describe('Requests; position 0 is Monday, 00:00 of the time zone.'),
  hourOfWeekPerSecond: z
    .array(maybeNumber)
    .length(168)
    .describe('The same per second of the time examined; null if there was none.'),
  cycle: z.object({ daily: z.array(dailyHour), weekly: z.array(weeklyDay), unusual: unusualDays }),
  mix,
  grpc: grpc.optional(),
  requestBytes: shapedDistribution,
  responseBytes: shapedDistribution,
  duplicateRatio: maybeNumber,
  duplicateRatioExact: z.boolean(),
  sessions: parties,
  clients: parties,
  latencyMs: shapedDistribution.describe('Of completed requests, to the last byte.'),
  firstByteMs: distribution,
  ttftMs: distribution,
  latencyByInputSize: z.array(inputSizeGroup),
  tokens: z
    .object({ prompt: distribution, output: distribution })
    .describe('As counted by the server and read by the recorder.'),
  batch: distribution,
  concurrency,
  errors: z
    .object({
      failed: count
        .nullable()
        .describe('As `errors` counts it: a 5xx, or no complete answer although the client waited for it.'),
      failedShare: maybeNumber.describe('Of requests with a known outcome.'),
      serverErrors: count.nullable(),
      clientErrors: count.nullable(),
      tooManyRequests: count.nullable(),
      clientAborted: count.nullable().describe('Clients that left before the end. They are not failures.'),
      upstreamFailed: count.nullable(),
      timedOut: count.nullable(),
      answerErrors: z
        .object({ answers: count, told: count })
        .nullable()
        .describe(
          '2xx answers whose bodies were checked, and those that report an error, have no result or are broken JSON. Null without any.',
        ),
    })
    .describe('Null if the outcome of every request is unknown.'),
  retries,
  coverage: maybeNumber.describe('Recorded share of the exchanges seen in the window.'),
  coverageUnexplained: maybeNumber,
  losses: losses.describe('Of the whole capture, not of the window.'),
  omitted,
  payloads: payloads.nullable().describe('Null if none was examined.'),
  links: links.optional().describe('Absent if no request with a session was searched.'),
  reuse: reuse.optional().describe('Absent without prompts.'),
  notes: z.array(z.string()).describe('Caveats: limits that were reached, missing data.'),
});
export type ProfileDocument = Immutable<z.infer<typeof profileSchema>>;
