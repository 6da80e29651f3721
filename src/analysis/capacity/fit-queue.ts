import type { ExchangeRow } from '../../core/exchange.ts';
import { nearestRank } from '../../core/histogram.ts';
import { US_PER_S } from '../../core/units.ts';
import { PERCENTS } from '../../documents/percentiles.ts';
import { foundInFlight, servicesOf } from '../stats/queues.ts';
import { type DueRequest, playQueue, type QueueModel, type SizeClass, uniformBy } from './queue-model.ts';

/** A recorded request with a complete answer. */
export interface ServedRequest extends DueRequest {
  /** From its first byte to the last one of its answer, seconds. */
  readonly latencyS: number;
}

/** A row as a served request; null without a complete answer. @param fromUs the begin of its schedule */
export function servedRequestOf(row: ExchangeRow, fromUs: number): ServedRequest | null {
  const { outcome, lastByteOffsetUs, arrivalUs } = row;
  if (outcome !== 'completed' || lastByteOffsetUs === null) return null;
  return {
    offsetS: (arrivalUs - fromUs) / US_PER_S,
    latencyS: lastByteOffsetUs / US_PER_S,
    requestBytes: row.requestBytes ?? 0,
  };
}

/** A queue that behaves as the recorded server did. */
export interface QueueFit {
  readonly model: QueueModel;
  /**
   * The range of numbers of executors that explain the recording equally well. If it is open, the greatest number
   * explains it without any waiting, so the true number may be larger.
   */
  readonly executors: { readonly least: number; readonly most: number; readonly isOpen: boolean };
  /** Relative growth of service times for one standard deviation more requests in flight; near 0 for a good fit. */
  readonly dependence: number;
  readonly requests: number;
}

/** Fewer requests are not enough to fit a server. */
const LEAST_REQUESTS = 200;
/** More requests do not improve the fit. */
const MOST_REQUESTS = 200_000;
const LEAST_OF_CLASS = 100;
const MOST_CLASSES = 8;
/** Numbers of executors that are tried: each up to 16, then steps of an eighth. */
const MOST_EXECUTORS = 512;
/** A dependence of service time on size is ignored below this share, or below this many standard errors. */
const NO_DEPENDENCE = 0.02;
const NO_ERRORS = 3;
/** Limit of the logarithm of a service time divided by the median of its class: e³ is twenty times. */
const MOST_LOG = 3;

/** The fit for one number of executors. */
interface Candidate {
  readonly executors: number;
  readonly servicesS: Float64Array;
  readonly dependence: number;
  readonly errors: number;
}

/**
 * Finds the number of executors and the service times by request size that explain recorded latencies. For each number,
 * the waiting time of a first-come-first-served server is subtracted from the latencies. The rest are service times.
 * They must not depend on the number of requests in flight at the arrival. With too many executors they still contain
 * waiting, so they grow with it; with too few they shrink.
 * @param requests in the order of their arrival
 * @returns null for fewer than 200 requests
 */
export function fitQueue(requests: readonly ServedRequest[]): QueueFit | null {
  const fitted = requests.slice(0, MOST_REQUESTS);
  if (fitted.length < LEAST_REQUESTS) return null;
  const served = {
    arrivals: Float64Array.from(fitted, ({ offsetS }) => offsetS),
    latencies: Float64Array.from(fitted, ({ latencyS }) => latencyS),
  };
  const inFlight = foundInFlight(served);
  const most = Math.min(MOST_EXECUTORS, inFlight.reduce((max, each) => Math.max(max, each), 0) + 1);
  const classes = classesOf(fitted);
  const candidates = executorCounts(most).map((executors) =>
    candidateOf(fitted, inFlight, classes, { executors, servicesS: servicesOf(served, executors) }),
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

/** How well the model predicts a part of the recording that it was not fitted to. */
interface QueueCheck {
  readonly requests: number;
  readonly percentiles: readonly {
    readonly percent: number;
    readonly recordedMs: number;
    readonly modelledMs: number;
    /** Modelled divided by recorded, minus 1. */
    readonly error: number;
  }[];
}

/**
 * Runs recorded requests through the model and compares its latencies with the recorded ones. Null without requests.
 */
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
    percentiles: PERCENTS.map((percent) => {
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

/** The upper sizes of classes with about the same number of requests. */
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
  { executors, servicesS }: Pick<Candidate, 'executors' | 'servicesS'>,
): Candidate {
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
