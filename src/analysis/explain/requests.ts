import { LIMITS } from '../../core/limits.ts';
import { hasFailed, isTurnedAway, lagNsOf, type Send } from '../../core/run.ts';
import { NS_PER_MS } from '../../core/units.ts';
import { factsOf, isOfStreams, isTimed } from '../../documents/metrics/metrics.ts';
import { type Objective, objectiveOf } from '../../documents/metrics/objectives.ts';
import { isInSlice } from '../../documents/metrics/slices.ts';
import type { ReplayDocument, SendId } from '../../documents/replay.ts';
import { isOver } from '../autoscaling/autoscaling.ts';
import { measureOf } from '../metrics/index.ts';
import { TIMES } from '../metrics/times.ts';
import { failureKindOf } from '../run/outcomes.ts';
import { foundInFlight, meanOthersInFlight } from '../stats/queues.ts';

/** A request of a run, with its time in parts. Times are in milliseconds, instants after the start of the run. */
export interface ExplainedRequest
  extends Pick<Send, 'route' | 'model' | 'client' | 'requestBytes' | 'responseBytes' | 'error'> {
  readonly id: SendId;
  readonly isBroken: boolean;
  /** Why it has no answer in time: an error, a status, or `refused` by us. Null for an answer, and for a time-out. */
  readonly failure: string | null;
  readonly promptTokens: number | null;
  readonly outputTokens: number | null;
  readonly plannedMs: number;
  /** Null if it was refused by us, like `endMs`. */
  readonly sentMs: number | null;
  readonly endMs: number | null;
  /** When its first token came; null for an answer that is no stream. */
  readonly firstTokenMs: number | null;
  /** The time of its parts; null without an answer or a time-out. */
  readonly parts: RequestParts | null;
  /** Latency as recorded; null if unknown, or for an objective on tokens. */
  readonly recordedMs: number | null;
  /** From the choice of a connection to the first write: long if one was opened. Null if it was not sent. */
  readonly openedMs: number | null;
  /** Other requests in flight when it was sent, and on average from then to its end. */
  readonly inFlight: number;
  readonly meanInFlight: number;
}

/** The parts of the time that an objective is about. Together they are this time. */
export interface RequestParts {
  /** The instants between which this time is. */
  readonly fromMs: number;
  readonly toMs: number;
  /** Our own: lag, the first write, and pauses of the sender. */
  readonly generatorMs: number;
  readonly connectMs: number;
  /** In the target. Of this, `firstMs` until the first token or byte. */
  readonly targetMs: number;
  readonly firstMs: number;
  /** How many times from one token to the next are in the rest of it; 0 if the answer has no tokens. */
  readonly tokenTimes: number;
}

/** What a broken request is measured against. */
export interface ExplainedRequests {
  readonly against: 'objectives' | 'recording' | null;
  readonly objectives: readonly string[];
  /** In the order in which they were sent. */
  readonly requests: readonly ExplainedRequest[];
  readonly sent: number;
}

/** Without a violated objective, a request is broken that takes this many times as long as recorded, and this much longer. */
const TIMES_AS_RECORDED = 2;
const LEAST_LONGER_MS = 20;
/** A smaller share of such requests is no difference from the recording. */
const LEAST_SHARE = 0.05;

/** Errors of requests that ended because they took too long: their time counts. */
const TIMEOUTS: ReadonlySet<string> = new Set(['first_byte_timeout', 'idle_timeout', 'total_timeout']);

/** The part of the answer that the violated objective is about. */
type Span = 'whole' | 'first' | 'tokens';

/** Collects the requests of a run, with bounded memory. */
export class RequestCollector {
  readonly #objectives: readonly Objective[];
  readonly #span: Span;
  readonly #tokenTime: keyof typeof TIMES | null;
  readonly #most: number;
  #kept: ExplainedRequest[] = [];
  #sent = 0;

  /** @param most the most requests that are kept */
  constructor({ slo }: Pick<ReplayDocument, 'slo'>, most: number = LIMITS.explainedRequests) {
    this.#most = most;
    const violated = slo.flatMap(({ ok, expression }) => (ok === false && objectiveOf(expression)) || []);
    // A request breaks an upper limit on requests, not one on the run or on a monitored series.
    this.#objectives = violated.filter(
      (each) =>
        measureOf(each).isBroken !== undefined && (each.operator.startsWith('<') || each.limits.length > 0),
    );
    const timed = this.#objectives.find(({ metric }) => isTimed(metric));
    const isOfTokens = timed !== undefined && isOfStreams(timed);
    this.#span = !isOfTokens ? 'whole' : factsOf(timed).includesLag ? 'first' : 'tokens';
    this.#tokenTime = timed !== undefined && isTimed(timed.metric) ? timed.metric : null;
  }

  add(send: Send): void {
    // Requests that the end of the run left unsent or unanswered show nothing of the target.
    if (send.warmup || send.error === 'stopped' || (send.actualOffsetNs === null && !send.refused)) return;
    this.#sent += 1;
    this.#kept.push(this.#requestOf(send));
    if (this.#kept.length >= 2 * this.#most) this.#shorten();
  }

  found(): ExplainedRequests {
    if (this.#kept.length > this.#most) this.#shorten();
    const requests = withInFlight(this.#kept);
    const broken = requests.filter(({ isBroken }) => isBroken).length;
    const isByRecording = this.#objectives.length === 0;
    const isEnough = broken > (isByRecording ? LEAST_SHARE * requests.length : 0);
    return {
      against: !isEnough ? null : isByRecording ? 'recording' : 'objectives',
      objectives: this.#objectives.map(({ expression }) => expression),
      requests,
      sent: this.#sent,
    };
  }

  /** Keeps the requests in a row with the most broken ones, the later ones if equal. */
  #shorten(): void {
    const most = this.#most;
    let [broken, best, from] = [0, -1, 0];
    for (const [at, { isBroken }] of this.#kept.entries()) {
      broken += Number(isBroken) - Number(this.#kept[at - most]?.isBroken ?? false);
      if (at >= most - 1 && broken >= best) [best, from] = [broken, at - most + 1];
    }
    this.#kept = this.#kept.slice(from, from + most);
  }

  #requestOf(send: Send): ExplainedRequest {
    const { index, segment, exchangeId, route, model, client, requestBytes, responseBytes, error, answer } =
      send;
    const parts = this.#partsOf(send);
    const tookNs = this.#span === 'whole' ? (send.recorded?.tookNs ?? null) : null;
    const recordedMs = tookNs === null ? null : tookNs / NS_PER_MS;
    const isBroken =
      this.#objectives.length === 0
        ? parts !== null && isLongerThan(parts, recordedMs)
        : this.#objectives.some((objective) => isPartOf(objective, send) && isOver(objective, send));
    return {
      id: { index, segment, exchangeId },
      ...{ route, model, client, requestBytes, responseBytes, error },
      isBroken,
      failure: isBroken && parts === null ? failureOf(send) : null,
      promptTokens: answer?.promptTokens ?? null,
      outputTokens: answer?.outputTokens ?? null,
      plannedMs: send.intendedOffsetNs / NS_PER_MS,
      sentMs: msOf(send.actualOffsetNs),
      endMs: msOf(send.lastByteOffsetNs ?? send.actualOffsetNs),
      firstTokenMs: msOf(answer?.firstTokenOffsetNs ?? null),
      parts,
      recordedMs,
      openedMs: msOf(openedNs(send)),
      inFlight: 0,
      meanInFlight: 0,
    };
  }

  /** Null for a request without an answer, unless it waited for one until a time-out. */
  #partsOf(send: Send): RequestParts | null {
    const { actualOffsetNs, lastByteOffsetNs, firstByteOffsetNs, error, answer } = send;
    const isTimeout = error !== null && TIMEOUTS.has(error);
    if (actualOffsetNs === null || lastByteOffsetNs === null || send.cancelled) return null;
    if (!isTimeout && (hasFailed(send) || isTurnedAway(send.status ?? 200))) return null;
    if (this.#span === 'tokens') {
      const ns = this.#tokenTime === null ? null : TIMES[this.#tokenTime].ofSend(send, 'planned');
      if (ns === null || !Number.isFinite(ns)) return null;
      const fromMs = (answer?.firstTokenOffsetNs ?? actualOffsetNs) / NS_PER_MS;
      const toMs = (answer?.lastTokenOffsetNs ?? lastByteOffsetNs) / NS_PER_MS;
      const targetMs = ns / NS_PER_MS;
      return { fromMs, toMs, generatorMs: 0, connectMs: 0, targetMs, firstMs: 0, tokenTimes: 1 };
    }
    const firstNs = answer?.firstTokenOffsetNs ?? firstByteOffsetNs ?? lastByteOffsetNs;
    const endNs = this.#span === 'first' ? firstNs : lastByteOffsetNs;
    const connectNs = (send.connectionWaitNs ?? 0) + (openedNs(send) ?? 0);
    const lagNs = lagNsOf({ ...send, actualOffsetNs });
    const totalNs = Math.max(0, endNs - send.intendedOffsetNs);
    const generatorNs = Math.min(totalNs, lagNs + (send.pausedNs ?? 0));
    const targetNs = Math.max(0, totalNs - generatorNs - connectNs);
    const afterNs = Math.max(0, endNs - firstNs);
    return {
      fromMs: actualOffsetNs / NS_PER_MS,
      toMs: endNs / NS_PER_MS,
      generatorMs: generatorNs / NS_PER_MS,
      connectMs: Math.min(connectNs, totalNs - generatorNs) / NS_PER_MS,
      targetMs: targetNs / NS_PER_MS,
      firstMs: Math.max(0, targetNs - afterNs) / NS_PER_MS,
      tokenTimes: afterNs === 0 || answer === null ? 0 : Math.max(0, answer.contentEvents - 1),
    };
  }
}

function openedNs({ actualOffsetNs, startOffsetNs }: Send): number | null {
  return actualOffsetNs === null ? null : Math.max(0, (startOffsetNs ?? actualOffsetNs) - actualOffsetNs);
}

function msOf(ns: number | null): number | null {
  return ns === null ? null : ns / NS_PER_MS;
}

export function totalMs({ generatorMs, connectMs, targetMs }: RequestParts): number {
  return generatorMs + connectMs + targetMs;
}

/** Null for an answer without tokens. */
export function tokenMsOf({ targetMs, firstMs, tokenTimes }: RequestParts): number | null {
  return tokenTimes === 0 ? null : (targetMs - firstMs) / tokenTimes;
}

function isLongerThan(parts: RequestParts, recordedMs: number | null): boolean {
  return (
    recordedMs !== null &&
    totalMs(parts) > TIMES_AS_RECORDED * recordedMs &&
    totalMs(parts) > recordedMs + LEAST_LONGER_MS
  );
}

/** Stages and faults are not in a row. Objectives on them are taken as objectives on all requests. */
function isPartOf({ slice }: Objective, send: Send): boolean {
  if (slice === null) return true;
  const tags = slice.tags.filter(({ key }) => key !== 'stage' && key !== 'fault');
  return isInSlice({ ...slice, tags }, { ...send, stage: 1 });
}

function failureOf(send: Send): string {
  return send.refused ? 'refused' : failureKindOf(send);
}

/** The requests in the order in which they were sent, each with the number of others in flight. */
function withInFlight(requests: readonly ExplainedRequest[]): ExplainedRequest[] {
  const at = ({ sentMs, plannedMs }: ExplainedRequest) => sentMs ?? plannedMs;
  const ordered = requests.toSorted((a, b) => at(a) - at(b));
  const served = {
    arrivals: Float64Array.from(ordered, at),
    latencies: Float64Array.from(ordered, (each) => Math.max(0, (each.endMs ?? at(each)) - at(each))),
  };
  const inFlight = foundInFlight(served);
  const meanInFlight = meanOthersInFlight(served);
  return ordered.map((each, index) => ({
    ...each,
    inFlight: inFlight[index]!,
    meanInFlight: meanInFlight[index]!,
  }));
}
