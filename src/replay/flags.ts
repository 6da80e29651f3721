import { LIMITS } from '../core/limits.ts';
import { list, switchOrValue, text, toggle } from '../core/options.ts';
import { CHECK_LEVELS } from '../core/run.ts';
import { formatBytes } from '../core/units.ts';
import { ANSWER_DEFAULTS } from './answer-options.ts';
import { PIN_MODES } from './body-changes.ts';
import { CHECK_DEFAULTS } from './check/options.ts';
import { CANCEL_POLICIES } from './expected-answer.ts';
import { REPLAY_DEFAULTS } from './options.ts';
import { SCALINGS } from './scaling/kinds.ts';
import { SCALING_DEFAULTS } from './scaling/options.ts';
import { CONNECTION_POLICIES, SENDING_DEFAULTS } from './sending-options.ts';
import { SESSION_ORDERS } from './session-order.ts';
import { TRUST_DEFAULTS } from './trust-options.ts';
import { WINDOW_DEFAULTS } from './windows/request.ts';

const asIs = (given: string): string => given;

/** Which stretches of a capture are read. `verb` is what is done with them. */
export function stretchOptions(verb: string) {
  return {
    from: list('--from <time>', 'first instant of a window, ISO 8601 (default: the first arrival)'),
    to: list('--to <time>', 'instant a window ends before (default: after the last arrival)'),
    day: list('--day <date>', 'a day as a window, such as 2026-11-20'),
    tz: text('--tz <zone>', 'time zone of the days', { default: WINDOW_DEFAULTS.tz }),
    peak: text('--peak <time>', `${verb} the busiest window of this length, such as 15m`),
    worst: text('--worst <time>', `${verb} the window of this length with the worst mean recorded latency`),
  };
}

/** Which exchanges of the stretches are meant. */
export function selectionOptions(verb: string) {
  return {
    recorder: list('--recorder <id>', `${verb} what this recorder recorded`),
    method: list('--method <name>', `${verb} requests of this method`),
    path: list('--path <glob>', `${verb} requests to such paths: * within a segment, ** across segments`),
    status: list('--status <status>', `${verb} what was answered so: 429, 2xx, none; 2xx|429 for either`),
    model: list('--model <name>', `${verb} requests to this model; * for any characters`),
    client: list('--client <hash>', `${verb} requests of this client, by its hash in the capture`),
    minRequestBody: text('--min-request-body <size>', `${verb} requests with a body of at least so much`),
    maxRequestBody: text('--max-request-body <size>', `${verb} requests with a body of at most so much`),
  };
}

/** Which part of a capture is played, and how often. */
export const WINDOW_OPTIONS = {
  ...stretchOptions('play'),
  loop: text('--loop <n>', 'play the windows so many times'),
  duration: text('--duration <time>', 'end the plan then; windows that are over sooner are repeated'),
  ...selectionOptions('play'),
};

/** How the multiplier is reached. */
export const SCALING_OPTIONS = {
  scaling: text('--scaling <way>', `${SCALINGS.join(', ')} (default: compress, below 1x thin)`),
  stages: text('--stages <list>', 'the multiplier over the run, such as 10m@1x,5m@1x..2x,30s@4x'),
  targetShare: text(
    '--target-share <share>',
    'replicas of the target / replicas that were recorded, such as 2/20',
    { default: SCALING_DEFAULTS.targetShare },
  ),
  seed: text('--seed <n>', 'decides which sessions are left out or played again', {
    default: SCALING_DEFAULTS.seed,
  }),
  jitter: text('--jitter <time>', 'copies of sessions begin up to so much later', {
    default: SCALING_DEFAULTS.jitter,
  }),
  perturb: list('--perturb <place>', 'where copies differ: header:NAME or json:/POINTER'),
};

/** How long answers are to be, and how long they are waited for. */
const ANSWER_OPTIONS = {
  cancels: text('--cancels <how>', `where recorded clients left: ${CANCEL_POLICIES.join(' or ')}`, {
    default: ANSWER_DEFAULTS.cancels,
  }),
  pinOutputLength: switchOrValue(
    '--pin-output-length [how]',
    `ask for answers as long as recorded: ${PIN_MODES.join(' or ')} (alone: ${ANSWER_DEFAULTS.pinOutputLength})`,
    asIs,
    ANSWER_DEFAULTS.pinOutputLength,
  ),
  requestUsage: toggle('--request-usage', 'ask streams for their counts of tokens'),
};

/** How requests are sent. */
const SENDING_OPTIONS = {
  senders: text('--senders <n>', `threads that send, at most ${LIMITS.senders}`, {
    default: SENDING_DEFAULTS.senders,
  }),
  connections: text(
    '--connections <how>',
    `${CONNECTION_POLICIES.join(' or ')}: any that is free, or the one it was recorded on`,
    { default: SENDING_DEFAULTS.connections },
  ),
  sessionOrder: text(
    '--session-order <order>',
    `${SESSION_ORDERS.join(' or ')}: follow-ups at their planned instants, or once what they follow is over`,
    { default: SENDING_DEFAULTS.sessionOrder },
  ),
  maxConnectionAge: text(
    '--max-connection-age <time>',
    'connections older than this are replaced (default: none are)',
  ),
  maxInFlight: text('--max-in-flight <n>', 'more due requests than this are refused', {
    default: String(LIMITS.inFlight),
  }),
  maxInFlightBytes: text(
    '--max-in-flight-bytes <size>',
    'as many bytes of bodies may be on their way at once',
    {
      default: formatBytes(LIMITS.inFlightBytes),
    },
  ),
  timeout: text('--timeout <time>', 'how long a request may take', { default: SENDING_DEFAULTS.timeout }),
  connectTimeout: text('--connect-timeout <time>', 'how long connecting may take', {
    default: SENDING_DEFAULTS.connectTimeout,
  }),
  firstByteTimeout: text(
    '--first-byte-timeout <time>',
    'how long an answer may be waited for (default: --timeout)',
  ),
  idleTimeout: text('--idle-timeout <time>', 'how long an answer may pause', {
    default: SENDING_DEFAULTS.idleTimeout,
  }),
};

/** How answers are compared with the recorded ones. */
const CHECK_OPTIONS = {
  check: switchOrValue(
    '--check [level]',
    `compare answers with the recorded ones, by ${CHECK_LEVELS.join(', ')} (alone: ${CHECK_DEFAULTS.level})`,
    asIs,
    CHECK_DEFAULTS.level,
  ),
  checkTolerance: text(
    '--check-tolerance <list>',
    `how far numbers and lengths may be apart (default: ${CHECK_DEFAULTS.tolerance})`,
  ),
  checkIgnore: list('--check-ignore <pointer>', 'a JSON pointer that is not compared'),
};

/** What precedes the judged part, and where a result can no longer be trusted. */
const TRUST_OPTIONS = {
  warmup: text('--warmup <time>', 'replay this much before the window as warm-up; it is not measured'),
  calibrate: switchOrValue(
    '--calibrate [time]',
    `hold the target against the recording first, at 1x for ${TRUST_DEFAULTS.calibrate} or so long`,
    asIs,
    TRUST_DEFAULTS.calibrate,
  ),
  calibrateBounds: text('--calibrate-bounds <list>', 'how far it may be from the recording', {
    default: TRUST_DEFAULTS.calibrateBounds,
  }),
  lagBound: text(
    '--lag-bound <list>',
    'lag p99 that is allowed: a time, a share of the least latency objective, or both',
  ),
};

/** What an export plans as a replay does: which requests of the window are made, for whom, and how. */
export const REQUEST_OPTIONS = {
  target: text('--target <url>', 'the server to test, such as http://staging:8000/base'),
  multiplier: text('--multiplier <m>', 'how much faster than recorded, such as 1.5 or 2x', {
    default: REPLAY_DEFAULTS.multiplier,
  }),
  ...WINDOW_OPTIONS,
  ...SCALING_OPTIONS,
  maxRequests: text(
    '--max-requests <n>',
    'send no more than so many requests, to calibrate and to warm up among them',
  ),
  host: text('--host <which>', 'the Host header: target, recorded, or a host', {
    default: REPLAY_DEFAULTS.host,
  }),
  removeHeader: list('--remove-header <name>', 'sent with no request'),
  mapPath: list('--map-path <from=to>', 'paths that begin with FROM begin with TO'),
  productionHost: list('--production-host <name>', 'a host that must never be the target'),
  allowProductionHost: list('--allow-production-host <name>', 'let this host be the target nevertheless'),
};

/** Everything that can be asked of a replay. */
export const REPLAY_OPTIONS = {
  ...REQUEST_OPTIONS,
  ...ANSWER_OPTIONS,
  ...SENDING_OPTIONS,
  ...TRUST_OPTIONS,
  ...CHECK_OPTIONS,
  shard: text('--shard <i/n>', 'play the i-th of n parts of the plan; i counts from 0'),
  startAt: text('--start-at <time>', 'begin at this instant, ISO 8601, the same for all shards'),
  shiftTime: list('--shift-time <pointer>', 'where JSON bodies hold a time to be moved to now'),
  slo: list('--slo <objective>', 'such as "latency: p(99)<200", or a preset'),
  retainRuns: text('--retain-runs <which>', 'remove older runs beside this one: keep 20, or those of 30d'),
  maxRate: text(
    '--max-rate <n>',
    'planned requests of a second beyond this are refused (default: twice the peak)',
  ),
  drainDeadline: text('--drain-deadline <time>', 'how long the last answers are waited for', {
    default: REPLAY_DEFAULTS.drainDeadline,
  }),
  header: list(
    '--header <header>',
    'set on every request: "Name: value", "Name: env:VARIABLE" or "Name: file:PATH"',
  ),
  ca: text('--ca <file>', 'certificates (PEM) to trust besides those of the system'),
  insecure: toggle('--insecure', 'accept any certificate of the target'),
  dryRun: toggle('--dry-run', 'print the plan and what would not replay; send nothing'),
  json: toggle('--json', 'print one JSON document'),
  ndjson: toggle('--ndjson', 'print what happens as it happens, one JSON document a line'),
};
