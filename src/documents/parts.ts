import { z } from 'zod';
import { byPercent, percentileFields } from './percentiles.ts';
import { serverDetails } from './server-details.ts';

/** The type of a document or a part of it; documents are immutable. */
export type Immutable<T> = T extends object ? { readonly [Key in keyof T]: Immutable<T[Key]> } : T;

export const count = z.int().min(0);
export const counts = z.record(z.string(), count);
export const share = z.number().min(0).max(1);
/** Null means unknown or not measured, never 0. */
export const maybeNumber = z.number().nullable();
export const maybeText = z.string().nullable();
/** `"Infinity"` if too many requests had no answer. It is text, because JSON has no such number. */
export const observation = z.union([z.number(), z.literal('Infinity')]).nullable();
export const interval = z.tuple([z.number(), z.number()]).nullable();

const labels = z.record(z.string(), z.string());
/** Facts about the build that serves: `--label` and the variables of CI. */
export type Labels = Immutable<z.infer<typeof labels>>;

export const pauses = z
  .object({
    share: maybeNumber.describe('Share of sent requests that had to wait; null if unknown.'),
    p99Ms: maybeNumber,
    maxMs: maybeNumber,
  })
  .describe('How long answers may have waited because the generator was stopped or had no processor.');

export const exception = z
  .object({
    run: z.string(),
    test: z.string(),
    reason: z.string(),
    acceptedAt: z.string(),
    until: z.string().describe('From here on it is no exception any more.'),
  })
  .describe('A run whose result was accepted for a time: `history accept`.');
export type ExceptionDocument = Immutable<z.infer<typeof exception>>;

/** What was tested, and with which recording. Documents of earlier versions do not say. */
export const tested = {
  labels: labels.optional().describe('Of the build that serves: `--label`, variables of CI.'),
  captureDigest: z
    .string()
    .optional()
    .describe('Equal for copies of a capture with the same segments and numbers of exchanges.'),
  serverDetails: serverDetails.optional(),
  recordedServer: z
    .object({ labels: labels.optional(), serverDetails: serverDetails.optional() })
    .optional()
    .describe('The same of the recorded server.'),
  exceptions: z.array(exception).optional().describe('Of earlier runs of the same test in its history.'),
};
export type TestedDocument = Immutable<z.infer<z.ZodObject<typeof tested>>>;

/** Widths of the windows in which arrivals are counted for the index of dispersion, seconds. */
export const IDC_WINDOWS = ['0.1', '1', '10', '60', '600'] as const;
export type IdcWindow = (typeof IDC_WINDOWS)[number];

export const idc = z
  .record(z.enum(IDC_WINDOWS), maybeNumber)
  .describe('Index of dispersion for counts by window in seconds; null below 20 windows.');

/** The percentiles of our own lateness, and of gaps between requests. */
export const LAG_PERCENTS = [50, 90, 99] as const;
/** The percentiles of recorded times and sizes. */
export const SHAPE_PERCENTS = [50, 90, 95, 99] as const;

export const distribution = z.object({
  count,
  mean: maybeNumber,
  ...byPercent(SHAPE_PERCENTS, () => maybeNumber),
  max: maybeNumber,
});
export type Distribution = Immutable<z.infer<typeof distribution>>;

export const latencyMs = z.object({ ...percentileFields(maybeNumber), max: maybeNumber });
/** Milliseconds; null if nothing was measured. */
export type LatencyMs = Immutable<z.infer<typeof latencyMs>>;

/** A window found by a search. Seconds are epoch seconds. */
export const foundStretch = z.object({
  kind: z.enum(['busiest', 'slowest', 'hardest']),
  fromSecond: z.number(),
  toSecond: z.number(),
  exchanges: count,
  meanLatencyMs: maybeNumber,
});

/** Limits on our own sends, and how much of the plan each limit refused. Null is unknown. */
export const capsSchema = z
  .object({
    maxInFlight: count.nullable().describe('Of requests in flight: --max-in-flight.'),
    maxInFlightBytes: count.nullable().describe('Of bodies in flight: --max-in-flight bytes.'),
    maxRatePerSecond: maybeNumber.describe(
      'Of planned requests: --max-rate, else twice the planned peak. A bound of the plan, not of one shard.',
    ),
    refusedForRate: count.describe('Refused requests, for their number in one second of the plan.'),
  })
  .describe('Our own caps. What they refused counts in `refused`.');
type CapsDocument = Readonly<z.infer<typeof capsSchema>>;

export const NO_CAPS: CapsDocument = Object.freeze({
  maxInFlight: null,
  maxInFlightBytes: null,
  maxRatePerSecond: null,
  refusedForRate: 0,
});

const missingGoodput = z
  .object({
    late: count.describe('Served beyond a limit.'),
    failed: count,
    turnedAway: count.describe('Answered with a status below 500 that is not 2xx.'),
    whole: count.describe('Answered without streaming although a stream was requested.'),
    unsent: count.describe('Refused by our caps, or not sent by the end of the run.'),
    cancelled: count
      .optional()
      .describe('Cancelled as recorded, beyond a limit by then. Only objectives count these.'),
  })
  .optional()
  .describe('The requests that were not good, by the reason.');
export type MissingGoodput = NonNullable<Immutable<z.infer<typeof missingGoodput>>>;

export const goodCounts = z.object({
  good: count,
  perSecond: maybeNumber.describe('Good requests a second, from the first to the end of the last.'),
  unknown: count.describe('Answers with a limit on a time that is not known; in no share.'),
  missing: missingGoodput,
});

const goodput = z.object({
  limits: z.string().describe('Taken from the objectives: `ttft<500 and tpot<50`.'),
  good: count.describe('Requests that kept every limit.'),
  of: count.describe('Requests that the limits are about, those without an answer included.'),
  unknown: count.describe('Answers with a limit on a time that is not known; in neither count.'),
  perSecond: maybeNumber.describe('Good requests a second, from the first send to the end of the last.'),
  missing: missingGoodput,
});

/** What the target delivered per second of the run. */
export const throughput = z.object({
  spanS: maybeNumber
    .optional()
    .describe('From the first planned send to the end of the last answer: the rates are over it.'),
  outputTokensPerSecond: maybeNumber.describe(
    'Of the answers that say their tokens (`tokens.answers`); null if none does.',
  ),
  goodput: goodput.nullable().describe('Null if no objective limits the time of a request.'),
});
export type ThroughputDocument = Immutable<z.infer<typeof throughput>>;

/** The recorded results of the requests of a run. */
export const asRecorded = z.object({
  answers: count.describe('Requests that were served in both, with a recorded latency.'),
  latencyMs,
  failedShare: maybeNumber.describe('Of the requests whose recorded result is known.'),
});
export type AsRecordedDocument = Immutable<z.infer<typeof asRecorded>>;

const seconds = z.number();

/** When a run with `--confidence until-sure` is judged. Instants count from the end of the warm-up. */
export const untilSure = z
  .object({
    confidence: z.number().describe('How sure the verdict is over all judgements together.'),
    confidenceEach: z
      .number()
      .describe(
        'How sure one judgement must be: the chance to be wrong is divided among all that are planned.',
      ),
    looksAtS: z.array(seconds).describe('When the run is judged; the last time is at its end.'),
    looks: z
      .array(z.object({ atS: seconds, decided: count, open: count }))
      .describe('Judgements before the end: how many objectives were decided then, and how many not.'),
    endedEarly: z.boolean().nullable().describe('Whether the run ended before `--duration`; null of a plan.'),
    needs: z
      .array(
        z.object({
          expression: z.string(),
          answers: count.describe('The fewest answers that can show that the objective is kept.'),
          atLeastS: seconds
            .nullable()
            .describe('How long they take at the planned rate; null of no requests.'),
          reachable: z.boolean().describe('Whether the plan has so many requests.'),
        }),
      )
      .describe('By objective on a percentile or a share, known before anything is sent.'),
  })
  .nullable()
  .describe('Null without --confidence until-sure.');
export type UntilSureDocument = NonNullable<Immutable<z.infer<typeof untilSure>>>;

/** Results of exporting the metrics and traces of a run. */
export const telemetrySchema = z.object({
  receivers: z.array(
    z.object({
      kind: z.enum(['otlp', 'remote_write']),
      url: z.string(),
      pushes: count.describe('Pushes of metrics and of spans that were tried.'),
      failed: count.describe(
        'Pushes that were not accepted. Metrics are cumulative: the next push repeats them.',
      ),
      rejected: count.describe('Points that the receiver said it left out.'),
      complete: z.boolean().describe('Whether it accepted the metrics after the last request.'),
      lastError: maybeText,
    }),
  ),
  traceShare: z.number().nullable().describe('Share of requests that are traced; null without OTLP.'),
  spans: z.object({
    traced: count.describe('Requests that were sent with a traceparent of this run.'),
    delivered: count,
    dropped: count.describe('Over the limit of spans that wait, or in a push that failed.'),
  }),
});
export type TelemetryDocument = Immutable<z.infer<typeof telemetrySchema>>;

export const nistEvidence = z
  .object({
    framework: z.string(),
    measures: z.array(
      z.object({
        id: z.string().describe('Such as `MEASURE 2.3`.'),
        asks: z.string().describe('What it is about, in our words.'),
        evidence: z.array(z.string()).describe('What this run shows, with its numbers.'),
        missing: z.array(z.string()).describe('What this run does not show, and what would.'),
      }),
    ),
    outOfScope: z.array(z.object({ id: z.string(), why: z.string() })),
  })
  .describe('Evidence of a run for the MEASURE function of the NIST AI Risk Management Framework 1.0.');
export type NistEvidence = Immutable<z.infer<typeof nistEvidence>>;
export type NistMeasure = NistEvidence['measures'][number];

const stretch = z.object({ from: z.string(), to: z.string(), requests: count });

/** The assumptions of a search without a server, and how well they explain the recording. */
export const queueForecast = z.object({
  executors: count.describe(
    'Requests that the recorded server worked on at one time, as far as the recording tells.',
  ),
  executorsLeast: count,
  executorsMost: count.describe('The recording cannot tell these numbers apart.'),
  isOpen: z.boolean().describe('Whether there may be more: hardly a request was seen to wait.'),
  services: z
    .array(
      z.object({
        upToBytes: z.number().nullable().describe('Size of the largest request; null for the last class.'),
        requests: count,
        meanMs: z.number(),
      }),
    )
    .describe('Service times by size of request.'),
  fitted: stretch,
  checked: stretch
    .extend({
      percentiles: z.array(
        z.object({
          percent: z.number(),
          recordedMs: z.number(),
          modelledMs: z.number(),
          error: z.number().describe('Modelled over recorded, less 1.'),
        }),
      ),
    })
    .describe('A part of the recording that the model was not fitted to.'),
  assumptions: z.array(z.string()),
});
export type QueueForecast = Immutable<z.infer<typeof queueForecast>>;

export const cacheHits = z
  .object({
    answers: count,
    promptTokens: count,
    cachedTokens: count,
    share: share.describe('`cachedTokens` of `promptTokens`.'),
  })
  .describe(
    'Prompt tokens that servers report from their caches, of models whose answers report any. An answer without a count has 0.',
  );
export type CacheFigures = Immutable<z.infer<typeof cacheHits>>;

export const comparedHits = z
  .object({
    sent: cacheHits.nullable().describe('Of the answers of the run. Null if none reports cached tokens.'),
    recorded: cacheHits.nullable().describe('Of the recorded answers to the same requests.'),
    both: z
      .object({ sent: cacheHits, recorded: cacheHits })
      .nullable()
      .describe('Of the requests for which both servers report them. `cache_unlike` compares these.'),
  })
  .describe('Hits of the cache of prompts, replayed and recorded.');
export type ComparedHits = Immutable<z.infer<typeof comparedHits>>;
