import { countOf, formatMs, percent } from '../../core/units.ts';
import { httpStatusOfGrpcName } from '../../inference/grpc.ts';

/** Failed requests, with the most frequent kind: an error (`connect_refused`) or a status (`503`). */
export interface Failures {
  readonly failed: number;
  readonly sent: number;
  readonly commonest: string;
  /** Whether any request of the run got an answer. */
  readonly answered: boolean;
  readonly scaling?: string | undefined;
}

/** How to lower a load that does not follow the recorded times. */
const LESS_LOAD: Readonly<Record<string, string>> = {
  rate: 'give a smaller --rate',
  closed: 'give a smaller --concurrency',
};

/** @param scaling the scaling of the run: `rate`, `closed`, or one that follows the recorded times */
export function lessLoad(scaling = ''): string {
  return LESS_LOAD[scaling] ?? 'replay a smaller multiplier';
}

/** How to make a run longer: by its window, or by its duration if it does not follow the recorded times. */
export function longerRun(scaling?: string): string {
  return followsRecordedTimes(scaling) ? 'a longer window' : 'a longer --duration';
}

/**
 * Whether a run follows recorded times. Then it has a multiplier, and a window that can be longer, repeated, or divided
 * among hosts.
 */
export function followsRecordedTimes(scaling = ''): boolean {
  return LESS_LOAD[scaling] === undefined;
}

const queueAdvice = (less: string) => `See the queue and the log of the target, or ${less}.`;

/** Kinds of failures in words, each with advice. The advice may need the words for less load. */
const FAILURES: Readonly<
  Record<string, { readonly words: string; readonly advice: string | ((less: string) => string) }>
> = {
  connect_refused: {
    words: 'connection refused',
    advice: 'Check that the target runs and listens at --target, and did not restart meanwhile.',
  },
  connect_timeout: {
    words: 'no connection in time',
    advice: 'Check the network and the firewall to --target.',
  },
  connect_failed: { words: 'no connection', advice: 'Check the name, the route and the TLS of --target.' },
  reset_on_reuse: {
    words: 'connection reset',
    advice: 'See why the target closes idle connections: its keep-alive time, or a proxy before it.',
  },
  reset: {
    words: 'connection reset',
    advice: 'See the log of the target, and of a proxy before it: a crash, an eviction, too little memory.',
  },
  closed_early: {
    words: 'connection closed early',
    advice: 'See the log of the target, and of a proxy before it: answers were cut off.',
  },
  first_byte_timeout: {
    words: 'no answer in time',
    advice: queueAdvice,
  },
  idle_timeout: {
    words: 'an answer that fell silent',
    advice: 'See the log of the target: it began answers and did not end them.',
  },
  total_timeout: {
    words: 'no whole answer in time',
    advice: queueAdvice,
  },
  protocol: {
    words: 'an answer in another protocol',
    advice: 'Check what listens at --target: a port of TLS, gRPC or another protocol.',
  },
  broken_stream: {
    words: 'a broken stream',
    advice: 'See the log of the target: it ended streams before their end mark.',
  },
  deadline: {
    words: 'past the deadline of the call',
    advice: queueAdvice,
  },
  no_status: {
    words: 'no grpc-status',
    advice: 'Check what listens at the target: a proxy without gRPC, or a server that ends streams early.',
  },
  no_message: {
    words: 'OK without a message',
    advice: 'See the log of the target: it ended calls with OK and sent nothing.',
  },
  refused_stream: {
    words: 'stream refused',
    advice: 'See the log of the target: it refuses streams when it is overloaded or shuts down.',
  },
  goaway: {
    words: 'connection ended with GOAWAY',
    advice:
      'See the log of the target, and of a proxy before it: it restarts, or limits the age of connections.',
  },
};

const CREDENTIALS =
  'Give the replay credentials: --header "authorization: …" from the environment or a file.';
const CALL_REFUSED =
  'See the log of the target: its model has other inputs, types or shapes than the recorded one.';
const CALL_FAILED = 'See the log of the target: its model or a backend failed.';

/** Advice for gRPC calls by the name of their status. */
const CALL_ADVICE: Readonly<Record<string, string | ((less: string) => string)>> = {
  CANCELLED: queueAdvice,
  UNKNOWN: CALL_FAILED,
  INVALID_ARGUMENT: CALL_REFUSED,
  DEADLINE_EXCEEDED: queueAdvice,
  NOT_FOUND: 'Check that the target has these models and versions: reprise show RUN --failed, and its log.',
  ALREADY_EXISTS: CALL_REFUSED,
  PERMISSION_DENIED: CREDENTIALS,
  RESOURCE_EXHAUSTED:
    'Look in the log of the target for the limit that it reached: rate, queue or message size. Raise that one.',
  FAILED_PRECONDITION: CALL_REFUSED,
  ABORTED: queueAdvice,
  OUT_OF_RANGE: CALL_REFUSED,
  UNIMPLEMENTED:
    'Check that the target of gRPC calls (--grpc-target, or --target) has this service and method.',
  INTERNAL: CALL_FAILED,
  UNAVAILABLE: (less) =>
    `See the log of the target, and of a proxy before it: it restarts, is not ready or sheds load. Or ${less}.`,
  DATA_LOSS: CALL_FAILED,
  UNAUTHENTICATED: CREDENTIALS,
};

/** `connection refused`, `status 503` or `UNAVAILABLE (503)`. */
export function failureWords(code: string): string {
  if (isOfCall(code)) return statusWords(code);
  return FAILURES[code]?.words ?? (/^\d+$/.test(code) ? `status ${code}` : code);
}

/** Whether a kind of failure is the name of a gRPC call's status. */
function isOfCall(code: string): boolean {
  return /^[A-Z][A-Z_]+\d*$/.test(code);
}

/** `429` or `RESOURCE_EXHAUSTED (429)`. */
export function statusWords(status: string): string {
  return isOfCall(status) ? `${status} (${httpStatusOfGrpcName(status)})` : status;
}

export function failuresText({ failed, sent, commonest }: Failures): string {
  if (failed === 0) return `none of ${countOf(sent, 'request')} was answered as recorded`;
  const most = failed === 1 ? 'with' : 'most often with';
  return `${failed} of ${countOf(sent, 'request')} failed, ${most} ${failureWords(commonest)}`;
}

/** Errors of plain requests on a port with another protocol. A crashing server causes them too. */
const OTHER_PROTOCOL: ReadonlySet<string> = new Set(['reset', 'closed_early']);

/** @param shown flags for `show` that list the requests of the objective */
export function failureAdvice({ failed, commonest: code, scaling, answered }: Failures, shown = ''): string {
  if (failed === 0) return statusAdvice(null);
  if (!answered && OTHER_PROTOCOL.has(code))
    return 'Check the port and the scheme (http or https) of --target. If both are right, see the log of the target.';
  const status = /^\d+$/.test(code) ? `See why the target answers ${code}: its log, or ` : 'See them: ';
  const advice = FAILURES[code]?.advice ?? CALL_ADVICE[code] ?? `${status}reprise show RUN --failed${shown}.`;
  return typeof advice === 'string' ? advice : advice(lessLoad(scaling));
}

/** Advice for answers without a 2xx status. */
const STATUS_ADVICE: Readonly<Record<string, string>> = {
  '401': CREDENTIALS,
  '403': 'Give the replay credentials that may use the target: --header "authorization: …".',
  '404': 'Check that the target has these paths and models; --rewrite path changes a prefix.',
  '413': 'Raise the limit on the size of a request at the target.',
  '429': 'Lift the rate limit of the target that is meant for clients.',
};

export function statusAdvice(status: string | null): string {
  const known = status === null ? undefined : (STATUS_ADVICE[status] ?? CALL_ADVICE[status]);
  if (typeof known === 'function') return known(lessLoad());
  return known ?? 'Compare the statuses with reprise inspect: the target must serve what production served.';
}

/**
 * @param isTooFast whether a minimum time is violated; such a limit detects answers without work
 * @param shown flags for `show` that list the requests of the objective
 */
export function timeAdvice(isTooFast: boolean, shown = ''): string {
  return isTooFast
    ? `The target is too fast: a cache, a stub or another model may answer. See some of its answers: reprise show RUN${shown}.`
    : `See what was slow: reprise show RUN --slowest 20${shown}. Then give the target more capacity, or less load.`;
}

/** The intermediate judgements of a run with `--confidence until-sure`. */
export interface LooksTaken {
  readonly looks: number;
  readonly planned: number;
  readonly confidence: number;
  /** When such a judgement ended the run; null if the run was completed. */
  readonly endedAtMs: number | null;
  readonly plannedMs: number;
}

/** The state of the sending side when requests were sent late. */
export interface SendingSide {
  readonly busyShare: number | null;
  readonly throttled: boolean | null;
  readonly ratePerSecond: number | null;
  readonly scaling?: string | undefined;
}

/** Above this share a sender has little time left, so less load helps. */
const BUSY = 0.5;

/** If the sender had free time, something else delayed it, and less load would not help. */
export function latenessAdvice({ busyShare, throttled, ratePerSecond, scaling }: SendingSide): string {
  if (throttled === true) return 'Raise or remove the CPU limit of what the replay runs in.';
  if (busyShare !== null && busyShare <= BUSY) {
    const rate = ratePerSecond === null ? '' : ` at ${Number(ratePerSecond.toPrecision(3))}/s`;
    return `Run the replay on cores that nothing else uses, or on another host. Its sender was busy only ${percent(busyShare)} of the time${rate}, so something else on this host delayed it.`;
  }
  const divide = followsRecordedTimes(scaling) ? ', split the load with --shard' : '';
  return `Raise --threads if there are idle cores${divide}, or ${lessLoad(scaling)}.`;
}

/** What would decide an objective that is too close to its limit. */
export interface Undecided {
  /** The additional requests that would decide; null if a longer run would not decide. */
  readonly more: { readonly requests: number; readonly ms: number } | 'longer' | null;
  /** The sending side, if late requests or pauses made times longer and less regular; otherwise null. */
  readonly late?: SendingSide | null;
  /** The share of answers that may have waited for a paused generator, if they are a cause. */
  readonly paused?: number | null;
  /** Whether what was seen meets the limit, and only slower answers than any of them could violate it. */
  readonly isBeyondSeen?: boolean;
}

export function undecidedAdvice({ more, late, paused, isBeyondSeen = false }: Undecided): string {
  const what =
    paused == null ? 'Requests left late' : `${percent(paused)} of the answers may have waited for us`;
  if (late != null) return `${what}: mend that first. ${latenessAdvice(late)}`;
  if (more === 'longer')
    return 'Replay with a longer --duration, or without --confidence until-sure, which judges what was observed.';
  // How many more requests decide does not follow from the few that could be told apart.
  if (isBeyondSeen)
    return 'The answers seen meet the limit, but they depend on each other too much to be certain. A longer window, --loop or --duration narrows it. Or give --confidence point, which judges what was observed.';
  return more === null
    ? 'The percentile lies at its limit: no longer run decides. Change the limit, or give --confidence point.'
    : `Replay about ${countOf(more.requests, 'request')} more (${formatMs(more.ms)} at this rate), by a longer window, --loop or --duration. Or give --confidence point, which judges what was observed.`;
}

/** Advice for a busy sender. A closed loop has only one sender. */
export function busyAdvice(scaling?: string): string {
  if (scaling === 'closed') return 'Give the generator a faster core, or a smaller --concurrency.';
  const otherwise = followsRecordedTimes(scaling) ? 'split the load with --shard' : lessLoad(scaling);
  return `Raise --threads if there are idle cores. Else ${otherwise}.`;
}

/** One of our limits, and the number of requests that it refused. A null limit is unknown. */
export interface RefusingCap {
  readonly flag: string;
  readonly limit: string | null;
  readonly refused: number;
}

export function capText({ flag, limit }: RefusingCap): string {
  return limit === null ? flag : `${flag} ${limit}`;
}

export function refusedText(caps: readonly RefusingCap[]): string {
  return caps.map((cap) => `${cap.refused} by ${capText(cap)}`).join(', ');
}

/** Advice without a full stop. @param caps the limits that refused requests; empty if unknown */
export function raiseAdvice(caps: readonly RefusingCap[], scaling?: string): string {
  const flags = caps.length === 0 ? 'the caps' : caps.map(({ flag }) => flag).join(' and ');
  return `Raise ${flags}, or ${lessLoad(scaling)}`;
}

/** Usual percentiles of objectives, the highest first. */
const PERCENTILES = [99.9, 99, 95, 90, 50] as const;

/**
 * How much longer a run must be for a percentile, and the highest percentile for which its answers are enough.
 * @param floorOf number of answers that a percentile needs
 */
export function longerAdvice(
  {
    samples,
    floor,
    spanMs,
    scaling,
  }: {
    readonly samples: number;
    readonly floor: number;
    readonly spanMs: number;
    readonly scaling?: string | undefined;
  },
  floorOf: (percent: number) => number,
): string {
  const lower = PERCENTILES.find((each) => floorOf(each) <= samples);
  const otherwise = lower === undefined ? '' : `, or judge p(${lower}): ${samples} samples are enough`;
  const isOfTimes = followsRecordedTimes(scaling);
  if (samples === 0 || spanMs <= 0)
    return `${isOfTimes ? 'Replay' : 'Give'} ${longerRun(scaling)}${otherwise}.`;
  // Rounded up, so that the advised window is certainly long enough.
  const times = Math.max(1.1, Math.ceil((floor / samples) * 10) / 10);
  const length = `${times.toFixed(1)} times as long (${formatMs(spanMs * times)} at this rate)`;
  return `${isOfTimes ? 'Replay a window' : 'Give a --duration'} ${length}${otherwise}.`;
}

/** Advice if the plan is too small, by what its requests could wait for. */
export const MULTIPLIER_ADVICE = {
  plan: (scaling?: string) =>
    followsRecordedTimes(scaling)
      ? 'See skipped and coverage: requests are missing from the recording, or cannot be replayed. Where sessions were drawn, give another --seed, a longer window, or --scaling compress.'
      : 'See skipped: requests are missing from the recording, or cannot be replayed.',
  sessions: () =>
    'Replay a smaller multiplier, or a window that is long compared with its sessions: the target slowed its sessions down, or requests are missing (see sessionOrder, skipped and coverage).',
  values: () =>
    'Replay a smaller multiplier, or a window that is long compared with its sessions: requests waited for answers with values that they need, or are missing (see sessionOrder, skipped and coverage).',
  connections: (scaling?: string) =>
    `Give --connections pooled, or ${lessLoad(scaling)}: recorded connections were busy beyond the plan, or requests are missing (see connectionWaits, skipped and coverage).`,
} as const;
