import { LIMITS } from '../../core/limits.ts';
import {
  bothOrNeither,
  deciding,
  grouped,
  list,
  listOf,
  ofOneRun,
  part,
  partDefaults,
  partList,
  partSwitch,
  partsOf,
  switchOrValue,
  text,
  toggle,
  value,
  word,
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
import { CANCEL_POLICIES, type CancelPolicy } from '../answers/expected-answer.ts';
import { DIVERGENCE_POLICIES } from '../engine/messages.ts';
import { SCALINGS } from '../plan/scaling.ts';
import { SESSION_ORDERS } from '../plan/session-order.ts';
import { parseStages } from '../plan/stages.ts';
import { PIN_MODES } from '../request/body-changes.ts';
import { parsePathMapping, parseRemovedHeader } from '../request/build.ts';
import { parsePerturbedPlace } from '../request/copy-identity.ts';
import { COPY_PROMPTS } from '../request/copy-prompt.ts';
import { parseTimePlace } from '../request/shift-time.ts';
import { parseHostName } from '../target.ts';
import { LOAD_OPTIONS } from './load-options.ts';
import {
  BOUND_PARTS,
  BOUNDS_HELP,
  countTo,
  parseConfidence,
  parseHostPolicy,
  parseIgnored,
  parseInFlightBytes,
  parseJitterMs,
  parseLagBound,
  parseRetainRuns,
  parseShard,
  parseTargetShare,
  switched,
  TARGET_TLS_PARTS,
  TOLERANCE_PARTS,
} from './parsers.ts';
import { WINDOW_OPTIONS } from './window-options.ts';

const CONNECTION_POLICIES = ['pooled', 'recorded'] as const;
/** `pooled`: any free connection. `recorded`: the connection on which the request was recorded. */
export type ConnectionPolicy = (typeof CONNECTION_POLICIES)[number];

const CALIBRATE_ALONE = '2m';
const SENDERS_HINT = 'One sender handles several thousand requests a second. Each sender needs its own CPU.';

export const JITTER_MS = 1_000;

const SCALING_PARTS = {
  way: part(word(SCALINGS)),
  jitter: part(parseJitterMs, `${JITTER_MS / 1e3}s`),
  perturb: partList(parsePerturbedPlace),
  copyPrompts: part(word(COPY_PROMPTS), 'own'),
};

/** Options for the way to the multiplier. */
const SCALING_OPTIONS = grouped('Load and scaling', {
  scaling: value(
    '--scaling <way|parts>',
    `${SCALINGS.join(', ')} (default: compress, with links amplify, below 1x thin); copies of sessions are delayed by up to jitter=TIME ` +
      `and changed at perturb=header:NAME or perturb=json:/POINTER; copy-prompts=${COPY_PROMPTS.join(' or ')}: their prompts begin with their own words, or as the original`,
    partsOf(SCALING_PARTS, 'way'),
    { default: partDefaults(SCALING_PARTS) },
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
});

/** Options for the length of answers, and for recorded clients that left. */
/** @param policy the default: searches have another one than replays */
export function cancelsOption(policy: CancelPolicy) {
  return grouped('Responses', {
    cancels: value(
      '--cancels <how>',
      'what to do when a recorded client disconnected: replay, wait, or begun (replay it only if the answer had begun)',
      word(CANCEL_POLICIES),
      { default: policy },
    ),
  });
}

const ANSWER_OPTIONS = grouped('Responses', {
  ...cancelsOption('replay'),
});

/** The change of requests that every format of an export can have. */
export const PATH_PART = { path: partList(parsePathMapping) };
/** How a request is changed before it is sent. */
const REWRITE_PARTS = {
  ...PATH_PART,
  time: partList(parseTimePlace),
  outputLength: part(word(PIN_MODES)),
  usage: partSwitch(),
};

const TIMEOUT_PARTS = {
  total: part(parseTimeLimitMs, '300s'),
  // Longer than any useful connection needs.
  connect: part(parseTimeLimitMs, '10s'),
  // By default a model may use the complete time of the request.
  firstByte: part(parseTimeLimitMs),
  // Models do not pause this long between two pieces of an answer.
  idle: part(parseTimeLimitMs, '60s'),
  drain: part(parseWaitMs, '30s'),
};

const CONNECTION_PARTS = {
  policy: part(word(CONNECTION_POLICIES), 'pooled'),
  maxAge: part(parsePositiveMs),
};

/** Whether values that the server issued are sent as the target's answers have them. */
const VALUES = ['live', 'recorded'] as const;

const SESSION_PARTS = {
  order: part(word(SESSION_ORDERS), 'open'),
  values: part(word(VALUES), 'live'),
  onDivergence: part(word(DIVERGENCE_POLICIES), 'recorded'),
  affinity: partList(parseRemovedHeader),
};

const IN_FLIGHT_PARTS = {
  requests: part(parseCount, String(LIMITS.inFlight)),
  bytes: part(parseInFlightBytes, formatBytes(LIMITS.inFlightBytes)),
};

/** Options for sending. */
const SENDING_OPTIONS = grouped('Sending and time limits', {
  grpcTarget: text('--grpc-target <url>', 'where gRPC calls go, such as staging:8001 (default: --target)'),
  ...deciding('process', {
    threads: value(
      '--threads <n>',
      `number of sender threads, at most ${LIMITS.senders}`,
      countTo(LIMITS.senders, SENDERS_HINT),
      { default: '1' },
    ),
  }),
  connections: value(
    '--connections <how|parts>',
    `${CONNECTION_POLICIES.join(' or ')}: any free connection, or the recorded one; max-age=TIME replaces older ones`,
    partsOf(CONNECTION_PARTS, 'policy'),
    { default: partDefaults(CONNECTION_PARTS) },
  ),
  ...ofOneRun({
    sessionOrder: value(
      '--session-order <order|parts>',
      `${SESSION_ORDERS.join(' or ')}: send follow-ups as planned, or after the previous response; values=${VALUES.join(' or ')}: ids, tokens and cookies that the server issues; on-divergence=${DIVERGENCE_POLICIES.join(', ')}, if an answer has none; affinity=HEADER is sent back too`,
      partsOf(SESSION_PARTS, 'order'),
      { default: partDefaults(SESSION_PARTS) },
    ),
  }),
  ...deciding('process', {
    maxInFlight: value(
      '--max-in-flight <n|parts>',
      'most requests in flight, and most bytes of their bodies (bytes=SIZE); further due requests are not sent and counted as refused',
      partsOf(IN_FLIGHT_PARTS, 'requests'),
      { default: partDefaults(IN_FLIGHT_PARTS) },
    ),
    timeout: value(
      '--timeout <time|parts>',
      'limit for a whole request (total); parts of it: connect, first-byte (default: total), idle (a pause in a response); drain: how long to wait for the last responses',
      partsOf(TIMEOUT_PARTS, 'total'),
      { default: partDefaults(TIMEOUT_PARTS) },
    ),
  }),
});

const CHECK_PARTS = {
  level: part(word(CHECK_LEVELS), 'values'),
  ...TOLERANCE_PARTS,
  ignore: partList(parseIgnored),
};

/** Options for comparing answers with the recorded ones. */
const CHECK_OPTIONS = ofOneRun(
  deciding(
    'judgement',
    grouped('Responses', {
      // The level is never weakened automatically. Answers that cannot be compared by value are counted, and prevent a
      // PASS.
      check: switchOrValue(
        '--check [level|parts]',
        `compare responses with the recorded ones, by ${CHECK_LEVELS.join(', ')} (without a value: values); numbers may ` +
          'differ by rel=SHARE or abs=NUMBER, lengths by length=SHARE; ignore=POINTER leaves a place out',
        switched(partsOf(CHECK_PARTS, 'level'), 'values'),
        'values',
      ),
    }),
  ),
);

const CALIBRATION_PARTS = { time: part(parsePositiveMs, CALIBRATE_ALONE), ...BOUND_PARTS };

/** Options for the parts before the judged part, and for the limits of a valid result. */
const TRUST_OPTIONS = grouped('What a verdict needs', {
  ...ofOneRun({
    warmup: value(
      '--warmup <time>',
      'replay this much before the window as warm-up; it is not measured',
      parsePositiveMs,
    ),
    compareAt1x: switchOrValue(
      '--compare-at-1x [time|parts]',
      `first replay at 1x for this long and compare with the recording (without a value: ${CALIBRATE_ALONE}); ${BOUNDS_HELP}`,
      switched(partsOf(CALIBRATION_PARTS, 'time'), CALIBRATE_ALONE),
      CALIBRATE_ALONE,
    ),
    ...deciding('judgement', {
      confidence: value(
        '--confidence <share|point|parts>',
        'how sure PASS must be that a percentile is within its limit; point compares the observed value, as k6 does; ' +
          'until-sure: stop early when every objective is decided (checked a few times during the run)',
        partsOf({ share: part(parseConfidence, '95%'), untilSure: partSwitch() }, 'share'),
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
      '--multiplier <m>',
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
    header: list(
      '-H, --header <header>',
      'header to set on every request: "Name: value", "Name: env:VARIABLE" or "Name: file:PATH"; "Name:" removes it. ' +
        '"otlp Name: value" sets one of otlp; so do remote-write, monitor, monitor=SOURCE',
    ),
    rewrite: listOf(
      '--rewrite <part=value>',
      'change requests: path=FROM=TO (a prefix of the path), time=POINTER (a time in bodies, shifted to that of sending), ' +
        `output-length=${PIN_MODES.join(' or ')} (responses as long as recorded), usage (token counts in streams)`,
      partsOf(REWRITE_PARTS),
    ),
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
        '--production-host <name|parts>',
        'a host that must never be the target; allow=NAME: one that may be, although it was recorded',
        partsOf({ host: partList(parseHostName), allow: partList(parseHostName) }, 'host'),
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
        shard: value(
          '--shard <i/n|parts>',
          'send the i-th of n parts of the plan; i counts from 0; start=TIME: begin then, ISO 8601, the same for all shards',
          partsOf({ part: part(parseShard), start: part((given) => given) }, 'part'),
        ),
      }),
    }),
  ),
  ...deciding(
    'judgement',
    grouped('What a verdict needs', {
      slo: list('--slo <objective>', 'objective to judge by, such as "latency: p(99)<200", or a preset'),
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
  ...deciding(
    'process',
    grouped('Sending and time limits', {
      targetTls: value(
        '--target-tls <parts>',
        'ca=FILE: certificates (PEM) to trust in addition to the system’s; cert=FILE,key=FILE: client certificate to show; insecure: accept any certificate of the target',
        bothOrNeither('cert', 'key', partsOf(TARGET_TLS_PARTS)),
      ),
    }),
  ),
  ...OUTPUT_OPTIONS,
});
