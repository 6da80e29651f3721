import { nearestRank } from '../../core/histogram.ts';
import {
  type DueRequest,
  Executors,
  playQueue,
  type QueueModel,
  type SizeClass,
  uniformBy,
} from './queue-model.ts';

/** A recorded request that was answered as a whole. */
export interface ServedRequest extends DueRequest {
  /** From its first byte to the last one of its answer, seconds. */
  readonly latencyS: number;
}

/** A queue that behaves as the recorded server did. */
export interface QueueFit {
  readonly model: QueueModel;
  /**
   * Numbers of executors that the recording cannot tell apart, ascending. With the greatest one `open`, no request was
   * seen to wait for more: there may be any number from there on.
   */
  readonly executors: { readonly least: number; readonly most: number; readonly isOpen: boolean };
  /** How much services still grow with what is in flight, as a share, by one standard deviation of it; near 0. */
  readonly dependence: number;
  readonly requests: number;
}

/** Fewer requests say nothing of a server. */
const LEAST_REQUESTS = 200;
/** More are fitted no better. */
const MOST_REQUESTS = 200_000;
const LEAST_OF_CLASS = 100;
const MOST_CLASSES = 8;
/** Numbers of executors that are tried: each up to 16, then steps of an eighth. */
const MOST_EXECUTORS = 512;
/** A dependence of service time on size is ignored below this share, or below this many standard errors. */
const NO_DEPENDENCE = 0.02;
const NO_ERRORS = 3;
/** Logarithms of services over the median of their class are cut here: e³ is twenty times. */
const MOST_LOG = 3;

/** What a number of executors makes of the recording. */
interface Candidate {
  readonly executors: number;
  readonly servicesS: Float64Array;
  readonly dependence: number;
  readonly errors: number;
}

/**
 * Finds the number of executors and the service times by size of request that explain recorded latencies. For each
 * number, waiting is taken off the latencies as if the server had answered first come first served. What remains are
 * services, and those do not depend on how many requests an arrival finds: with too many executors they hold some of
 * the waiting and grow, with too few they shrink.
 * @param requests in the order of their arrival
 * @returns null for fewer than 200 requests
 */
export function fitQueue(requests: readonly ServedRequest[]): QueueFit | null {
  const fitted = requests.slice(0, MOST_REQUESTS);
  if (fitted.length < LEAST_REQUESTS) return null;
  const inFlight = foundInFlight(fitted);
  const most = Math.min(MOST_EXECUTORS, inFlight.reduce((max, each) => Math.max(max, each), 0) + 1);
  const classes = classesOf(fitted);
  const candidates = executorCounts(most).map((executors) =>
    candidateOf(fitted, inFlight, classes, executors),
  );
  const best = leastDependent(candidates);
  const alike = candidates.filter(
    ({ dependence, errors }) => Math.abs(dependence) <= NO_DEPENDENCE || Math.abs(errors) <= NO_ERRORS,
  );
  const counts = (alike.length === 0 ? [best] : alike).map(({ executors }) => executors);
  const chosen = alike.length === 0 ? best : leastDependent(alike);
  return {
    model: { executors: chosen.executors, sizes: sizesOf(fitted, classes, chosen.servicesS) },
    executors: {
      least: Math.min(...counts),
      most: Math.max(...counts),
      isOpen: Math.max(...counts) === most,
    },
    dependence: chosen.dependence,
    requests: fitted.length,
  };
}

/** How far the model is from a recording that it was not fitted to. */
interface QueueCheck {
  readonly requests: number;
  readonly percentiles: readonly {
    readonly percent: number;
    readonly recordedMs: number;
    readonly modelledMs: number;
    /** Modelled over recorded, less 1. */
    readonly error: number;
  }[];
}

const CHECKED_PERCENTS = [50, 95, 99] as const;

/** Plays a recording to the model, and holds its latencies against the recorded ones; null for no requests. */
export function checkQueue(
  model: QueueModel,
  requests: readonly ServedRequest[],
  seed = 1,
): QueueCheck | null {
  if (requests.length === 0) return null;
  const modelled = playQueue(model, requests, uniformBy(seed)).sort();
  const recorded = Float64Array.from(requests, ({ latencyS }) => latencyS).sort();
  return {
    requests: requests.length,
    percentiles: CHECKED_PERCENTS.map((percent) => {
      const at = nearestRank(percent, requests.length) - 1;
      const [recordedMs, modelledMs] = [recorded[at]! * 1e3, modelled[at]! * 1e3];
      return { percent, recordedMs, modelledMs, error: modelledMs / recordedMs - 1 };
    }),
  };
}

function executorCounts(most: number): number[] {
  const counts: number[] = [];
  for (let count = 1; count < most; count += Math.max(1, Math.floor(count / 16)) * (count < 16 ? 1 : 2)) {
    counts.push(count);
  }
  return [...counts, most];
}

/** How many earlier requests are not answered yet when each one comes. */
function foundInFlight(requests: readonly ServedRequest[]): Float64Array {
  const ends = Float64Array.from(requests, ({ offsetS, latencyS }) => offsetS + latencyS).sort();
  let ended = 0;
  return Float64Array.from(requests, ({ offsetS }, before) => {
    while (ended < ends.length && ends[ended]! <= offsetS) ended += 1;
    return before - ended;
  });
}

/** The largest sizes of classes of about equal count. */
function classesOf(requests: readonly ServedRequest[]): number[] {
  const bytes = Float64Array.from(requests, ({ requestBytes }) => requestBytes).sort();
  const count = Math.min(MOST_CLASSES, Math.floor(bytes.length / LEAST_OF_CLASS));
  const edges = Array.from(
    { length: count - 1 },
    (_, at) => bytes[Math.floor(((at + 1) * bytes.length) / count)]!,
  );
  return [...new Set(edges), Number.POSITIVE_INFINITY].filter((edge) => edge !== bytes.at(-1));
}

function classAt(classes: readonly number[], { requestBytes }: ServedRequest): number {
  return classes.findIndex((edge) => requestBytes <= edge);
}

function candidateOf(
  requests: readonly ServedRequest[],
  inFlight: Float64Array,
  classes: readonly number[],
  executors: number,
): Candidate {
  const servicesS = servicesOf(requests, executors);
  const typical = sizesOf(requests, classes, servicesS).map(({ servicesS: each }) => medianOf(each));
  const logs = servicesS.map((service, at) => {
    const over = Math.log(
      Math.max(service, 1e-9) / Math.max(typical[classAt(classes, requests[at]!)]!, 1e-9),
    );
    return Math.max(-MOST_LOG, Math.min(MOST_LOG, over));
  });
  const [meanLog, meanFound] = [meanOf(logs), meanOf(inFlight)];
  let [both, ofLogs, ofFound] = [0, 0, 0];
  for (const [at, log] of logs.entries()) {
    both += (log - meanLog) * (inFlight[at]! - meanFound);
    ofLogs += (log - meanLog) ** 2;
    ofFound += (inFlight[at]! - meanFound) ** 2;
  }
  const correlation = ofLogs > 0 && ofFound > 0 ? both / Math.sqrt(ofLogs * ofFound) : 0;
  return {
    executors,
    servicesS,
    dependence: correlation * Math.sqrt(ofLogs / logs.length),
    errors: correlation * Math.sqrt(logs.length),
  };
}

/** Latencies less the waiting before so many executors. Below 0 where an answer came before its turn. */
function servicesOf(requests: readonly ServedRequest[], executors: number): Float64Array {
  const pool = new Executors(executors);
  return Float64Array.from(requests, ({ offsetS, latencyS }) => {
    const start = Math.max(offsetS, pool.firstFree);
    const end = offsetS + latencyS;
    pool.busyUntil(Math.max(start, end));
    return end - start;
  });
}

function sizesOf(
  requests: readonly ServedRequest[],
  classes: readonly number[],
  servicesS: Float64Array,
): SizeClass[] {
  const samples = classes.map((): number[] => []);
  for (const [at, service] of servicesS.entries()) {
    samples[classAt(classes, requests[at]!)]!.push(Math.max(0, service));
  }
  return classes.map((upToBytes, at) => ({ upToBytes, servicesS: samples[at]! }));
}

function leastDependent(candidates: readonly Candidate[]): Candidate {
  return candidates.reduce((best, each) =>
    Math.abs(each.dependence) < Math.abs(best.dependence) ? each : best,
  );
}

function medianOf(values: readonly number[]): number {
  return Float64Array.from(values).sort()[nearestRank(50, values.length) - 1] ?? 0;
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, each) => sum + each, 0) / values.length;
}
