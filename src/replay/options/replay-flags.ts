import { LIMITS } from '../../core/limits.ts';
import {
  deciding,
  grouped,
  list,
  listOf,
  ofOneRun,
  switchOrValue,
  text,
  toggle,
  value,
} from '../../core/options.ts';
import { CHECK_LEVELS } from '../../core/run.ts';
import {
  formatBytes,
  parseCount,
  parseMultiplier,
  parsePositiveMs,
  parseSeed,
  parseTimeLimitMs,
  parseWaitMs,
} from '../../core/units.ts';
import { CANCEL_POLICIES } from '../answers/expected-answer.ts';
import { SCALINGS } from '../plan/scaling.ts';
import { SESSION_ORDERS } from '../plan/session-order.ts';
import { parseStages } from '../plan/stages.ts';
import { PIN_MODES } from '../request/body-changes.ts';
import { parsePathMapping, parseRemovedHeader } from '../request/build.ts';
import { parsePerturbedPlace } from '../request/copy-identity.ts';
import { parseTimePlace } from '../request/shift-time.ts';
import { parseHostName } from '../target.ts';
import { LOAD_OPTIONS } from './load-options.ts';
import {
  CALIBRATION_BOUNDS_TEXT,
  CHECK_TOLERANCE_TEXT,
  countTo,
  parseCalibrationBounds,
  parseConfidence,
  parseHostPolicy,
  parseIgnored,
  parseInFlightBytes,
  parseJitterMs,
  parseLagBound,
  parseRetainRuns,
  parseShard,
  parseTargetShare,
  parseTolerance,
  switched,
  word,
} from './parsers.ts';
import { WINDOW_OPTIONS } from './window-options.ts';

const CONNECTION_POLICIES = ['pooled', 'recorded'] as const;
/** `pooled`: any free connection. `recorded`: the connection on which the request was recorded. */
export type ConnectionPolicy = (typeof CONNECTION_POLICIES)[number];

const CALIBRATE_ALONE = '2m';
const SENDERS_HINT = 'One sender handles several thousand requests a second. Each sender needs its own CPU.';

/** Options for the way to the multiplier. */
const SCALING_OPTIONS = grouped('Load and scaling', {
  scaling: value(
    '--scaling <way>',
    `${SCALINGS.join(', ')} (default: compress, below 1x thin)`,
    word(SCALINGS),
  ),
  ...ofOneRun({
    stages: value(
      '--stages <list>',
      'multipliers over the run, such as 10m@1x,5m@1x..2x,30s@4x',
      parseStages,
    ),
  }),
  targetShare: value(
    '--target-share <share>',
    'replicas of the target divided by recorded replicas, such as 2/20',
    parseTargetShare,
    { default: '1' },
  ),
  seed: value('--seed <n>', 'random seed for which sessions are dropped or copied', parseSeed, {
    default: '1',
  }),
  jitter: value('--jitter <time>', 'delay copies of sessions by up to this much', parseJitterMs, {
    default: '1s',
  }),
  perturb: listOf(
    '--perturb <place>',
    'place to change in copies: header:NAME or json:/POINTER',
    parsePerturbedPlace,
  ),
});

/** Options for the length of answers, and for recorded clients that left. */
const ANSWER_OPTIONS = grouped('Responses', {
  cancels: value(
    '--cancels <how>',
    `what to do when a recorded client disconnected: ${CANCEL_POLICIES.join(' or ')}`,
    word(CANCEL_POLICIES),
    { default: 'replay' },
  ),
  pinOutputLength: switchOrValue(
    '--pin-output-length [how]',
    `request responses as long as recorded: ${PIN_MODES.join(' or ')} (without a value: limit)`,
    word(PIN_MODES),
    'limit',
  ),
  requestUsage: toggle('--request-usage', 'request token counts in streams'),
});

/** Options for sending. */
const SENDING_OPTIONS = grouped('Sending and time limits', {
  ...deciding('process', {
    threads: value(
      '--threads <n>',
      `number of sender threads, at most ${LIMITS.senders}`,
      countTo(LIMITS.senders, SENDERS_HINT),
      { default: '1' },
    ),
  }),
  connections: value(
    '--connections <how>',
    `${CONNECTION_POLICIES.join(' or ')}: any free connection, or the recorded one`,
    word(CONNECTION_POLICIES),
    { default: 'pooled' },
  ),
  ...ofOneRun({
    sessionOrder: value(
      '--session-order <order>',
      `${SESSION_ORDERS.join(' or ')}: send follow-ups as planned, or after the previous response`,
      word(SESSION_ORDERS),
      { default: 'open' },
    ),
  }),
  maxConnectionAge: value(
    '--max-connection-age <time>',
    'replace connections older than this (default: never)',
    parsePositiveMs,
  ),
  ...deciding('process', {
    maxInFlight: value(
      '--max-in-flight <n>',
      'most requests in flight; further due requests are not sent and counted as refused',
      parseCount,
      {
        default: String(LIMITS.inFlight),
      },
    ),
    maxInFlightBytes: value(
      '--max-in-flight-bytes <size>',
      'most bytes of bodies in flight at once',
      parseInFlightBytes,
      { default: formatBytes(LIMITS.inFlightBytes) },
    ),
    timeout: value('--timeout <time>', 'limit for a whole request', parseTimeLimitMs, { default: '300s' }),
    // Longer than any useful connection needs.
    connectTimeout: value('--connect-timeout <time>', 'limit for connecting', parseTimeLimitMs, {
      default: '10s',
    }),
    // By default a model may use the complete time of the request.
    firstByteTimeout: value(
      '--first-byte-timeout <time>',
      'limit until the first byte of the response (default: --timeout)',
      parseTimeLimitMs,
    ),
    // Models do not pause this long between two pieces of an answer.
    idleTimeout: value('--idle-timeout <time>', 'limit for a pause in a response', parseTimeLimitMs, {
      default: '60s',
    }),
  }),
});

/** Options for comparing answers with the recorded ones. */
const CHECK_OPTIONS = ofOneRun(
  deciding(
    'judgement',
    grouped('Responses', {
      // The level is never weakened automatically. Answers that cannot be compared by value are counted, and prevent a
      // PASS.
      compareResponses: switchOrValue(
        '--compare-responses [level]',
        `compare responses with the recorded ones, by ${CHECK_LEVELS.join(', ')} (without a value: values)`,
        switched(word(CHECK_LEVELS), 'values'),
        'values',
      ),
      responseTolerance: value(
        '--response-tolerance <list>',
        `how much numbers and lengths may differ (default: ${CHECK_TOLERANCE_TEXT})`,
        parseTolerance,
      ),
      responseIgnore: listOf(
        '--response-ignore <pointer>',
        'JSON pointer to exclude from the comparison',
        parseIgnored,
      ),
    }),
  ),
);

/** Options for the parts before the judged part, and for the limits of a valid result. */
const TRUST_OPTIONS = grouped('What a verdict needs', {
  ...ofOneRun({
    warmup: value(
      '--warmup <time>',
      'replay this much before the window as warm-up; it is not measured',
      parsePositiveMs,
    ),
    compareAt1x: switchOrValue(
      '--compare-at-1x [time]',
      `first replay at 1x for this long and compare with the recording (without a value: ${CALIBRATE_ALONE})`,
      switched(parsePositiveMs, CALIBRATE_ALONE),
      CALIBRATE_ALONE,
    ),
    ...deciding('judgement', {
      compareAt1xBounds: value(
        '--compare-at-1x-bounds <list>',
        'how far calibration may differ, such as p50:2,status:2%,size:20%: median latency by this factor, statuses and median size by these shares',
        parseCalibrationBounds,
        { default: CALIBRATION_BOUNDS_TEXT },
      ),
      confidence: value(
        '--confidence <share|point>',
        'how sure PASS must be that a percentile is within its limit; point compares the observed value, as k6 does',
        parseConfidence,
        { default: '95%' },
      ),
    }),
  }),
  ...deciding('judgement', {
    lagBound: value(
      '--lag-bound <list>',
      'largest allowed lag p99, such as 5ms, 10% (of the smallest latency objective) or 5ms,10% (the greater)',
      parseLagBound,
    ),
  }),
});

/** Options that an export and a replay have in common: which requests of the window are built, and how. */
export const REQUEST_OPTIONS = {
  // Parsed only when it is used. So a configuration with credentials here can still be printed, without them.
  target: text('--target <url>', 'the server to test, such as staging:8000 or https://staging/base'),
  ...ofOneRun({
    multiplier: value(
      '--speed, --multiplier <m>',
      'how much faster than recorded, such as 1.5 or 2x',
      parseMultiplier,
      { default: '1' },
    ),
  }),
  ...WINDOW_OPTIONS,
  ...SCALING_OPTIONS,
  ...grouped('What is sent', {
    host: value('--host <which>', 'the Host header: target, recorded, or a host', parseHostPolicy, {
      default: 'target',
    }),
    removeHeader: listOf('--remove-header <name>', 'header to remove from every request', parseRemovedHeader),
    mapPath: listOf('--map-path <from=to>', 'replace the path prefix FROM with TO', parsePathMapping),
  }),
  ...grouped('Safety', {
    ...ofOneRun({
      maxRequests: value(
        '--max-requests <n>',
        'send at most this many requests, including calibration and warm-up',
        parseCount,
      ),
    }),
    ...deciding('process', {
      productionHost: listOf(
        '--production-host <name>',
        'a host that must never be the target',
        parseHostName,
      ),
      allowProductionHost: listOf(
        '--allow-production-host <name>',
        'allow this production host as the target',
        parseHostName,
      ),
    }),
  }),
};

/** Options for stdout. */
export const OUTPUT_OPTIONS = deciding(
  'output',
  grouped('Output', {
    json: toggle('--json', 'print one JSON document'),
    ...ofOneRun({
      ndjson: toggle('--ndjson', 'print events as they happen, one JSON document per line'),
    }),
  }),
);

/** All options of a replay. What is not stated to decide something else decides the plan. */
export const REPLAY_OPTIONS = deciding('plan', {
  ...REQUEST_OPTIONS,
  ...LOAD_OPTIONS,
  ...ANSWER_OPTIONS,
  ...SENDING_OPTIONS,
  ...TRUST_OPTIONS,
  ...CHECK_OPTIONS,
  ...ofOneRun(
    grouped('Several machines', {
      ...deciding('process', {
        shard: value('--shard <i/n>', 'play the i-th of n parts of the plan; i counts from 0', parseShard),
      }),
      startAt: text('--start-at <time>', 'begin at this instant, ISO 8601, the same for all shards'),
    }),
  ),
  ...deciding(
    'judgement',
    grouped('What a verdict needs', {
      slo: list('--slo <objective>', 'objective to judge by, such as "latency: p(99)<200", or a preset'),
      ...ofOneRun({
        untilSure: toggle(
          '--until-sure',
          'stop early when every objective is decided; checks a few times during the run',
        ),
      }),
    }),
  ),
  ...ofOneRun(
    deciding(
      'output',
      grouped('Where the run is kept', {
        retainRuns: value(
          '--retain-runs <which>',
          'delete older runs in the same directory: keep the last 20, or those of 30d',
          parseRetainRuns,
        ),
      }),
    ),
  ),
  ...grouped('Safety', {
    maxRate: value(
      '--max-rate <n>',
      'most planned requests per second; others are not sent and counted as refused (default: twice the peak)',
      parseCount,
    ),
    ...deciding('process', {
      dryRun: toggle('--dry-run', 'print the plan and what cannot be replayed; send nothing'),
    }),
  }),
  ...grouped('What is sent', {
    shiftTime: listOf(
      '--shift-time <pointer>',
      'JSON pointer to a time in bodies; it is shifted to the time of sending',
      parseTimePlace,
    ),
    header: list(
      '-H, --header <header>',
      'header to set on every request: "Name: value", "Name: env:VARIABLE" or "Name: file:PATH"',
    ),
  }),
  ...deciding(
    'process',
    grouped('Sending and time limits', {
      drainDeadline: value(
        '--drain-deadline <time>',
        'how long to wait for the last responses',
        parseWaitMs,
        { default: '30s' },
      ),
      ca: text('--ca <file>', 'CA certificates (PEM) to trust in addition to the system’s'),
      insecure: toggle('--insecure', 'accept any certificate of the target'),
    }),
  ),
  ...OUTPUT_OPTIONS,
});
