import type { ExchangeRow } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import type { Send } from '../../core/run.ts';
import { formatBytes, formatMs, NS_PER_MS } from '../../core/units.ts';
import type { Calibration, CalibrationLimits } from '../../documents/replay.ts';
import type { SentSend } from '../metrics/answer-times.ts';
import { shareDistance, Tally } from '../stats/tally.ts';

/** The fewest pairs of answers from which medians are compared. */
const MIN_PAIRS = 20;
/** The status of a request without an answer. */
const NO_ANSWER = 0;
const TOO_MANY = 429;

type RecordedAnswer = Pick<ExchangeRow, 'outcome' | 'status' | 'lastByteOffsetUs' | 'responseBytes'>;

/** A send with a recorded answer. */
interface AnsweredSend {
  readonly recorded: RecordedAnswer;
  readonly status: number;
  readonly send: SentSend;
}

/**
 * Compares each answer with the recorded one of the same request. Requests without a recorded answer are left out on
 * both sides. Memory grows with the requests in flight.
 */
export class CalibrationStatistics {
  readonly #limits: CalibrationLimits;
  readonly #recorded = new Map<number, RecordedAnswer>();
  readonly #latency = { recorded: new Histogram(), observed: new Histogram() };
  readonly #answers = new Answers();
  /** Without requests whose answer may be missing because of an overload. */
  readonly #served = new Answers();
  /**
   * Requests that were open when the calibration ended. They are only counted at the end, when it is known whether the
   * user stopped it.
   */
  readonly #open: AnsweredSend[] = [];
  #planned = 0;
  #pairs = 0;
  #unanswered = 0;

  constructor(limits: CalibrationLimits) {
    this.#limits = limits;
  }

  /** Adds a scheduled send in the order of the schedule. Its index is the number of earlier sends. */
  addPlanned({ outcome, status, lastByteOffsetUs, responseBytes }: RecordedAnswer): void {
    this.#recorded.set(this.#planned, { outcome, status, lastByteOffsetUs, responseBytes });
    this.#planned += 1;
  }

  /** Adds finished sends, in any order, each once. */
  addSends(sends: readonly Send[]): void {
    for (const send of sends) {
      const recorded = this.#recorded.get(send.index);
      this.#recorded.delete(send.index);
      // A request that the replay cancelled, or did not send, shows nothing about the target.
      const { actualOffsetNs } = send;
      if (actualOffsetNs === null || send.cancelled) continue;
      if (recorded?.outcome !== 'completed' || recorded.status === null) continue;
      const answered = { recorded, status: recorded.status, send: { ...send, actualOffsetNs } };
      if (send.error === 'stopped') this.#open.push(answered);
      else this.#addPair(answered);
    }
  }

  /**
   * @param interrupted whether the calibration was stopped: then open requests show nothing about the target
   * @param isOverloaded whether the target cannot carry this load. Then latency and missing, refused or failed answers
   *   are not compared, and nothing proves that the target matches the recorded one.
   */
  report(interrupted: boolean, isOverloaded = false): Calibration {
    for (const open of this.#open.splice(0)) if (!interrupted && hadItsTime(open)) this.#addPair(open);
    const { statuses } = this.#answers;
    const compared = isOverloaded ? this.#served : this.#answers;
    const isEnough = compared.statuses.recorded.total() >= MIN_PAIRS;
    const statusDistance = shareDistance(compared.statuses.recorded, compared.statuses.observed);
    const { recorded, observed } = compared.bytes;
    const figures = {
      p50Ms: this.#p50Ms(),
      responseBytes: { recorded: recorded.percentile(50), observed: observed.percentile(50) },
      statusDistance,
    };
    const differences = isEnough ? differencesOf(figures, this.#limits, isOverloaded) : [];
    const isAlike = differences.length === 0;
    return {
      pairs: this.#pairs,
      ...figures,
      statuses: { recorded: countsOf(statuses.recorded), observed: countsOf(statuses.observed) },
      bounds: this.#limits,
      representative:
        isEnough && (!isAlike || (figures.p50Ms.recorded !== null && !isOverloaded)) ? isAlike : null,
      differences,
    };
  }

  #addPair({ recorded, status, send }: AnsweredSend): void {
    this.#pairs += 1;
    const answer = send.error !== null || send.lastByteOffsetNs === null ? null : send.status;
    const bytes = [recorded.responseBytes, send.responseBytes] as const;
    this.#answers.add([status, answer], bytes);
    if (answer !== null && answer !== TOO_MANY && answer < 500) this.#served.add([status, answer], bytes);
    if (recorded.lastByteOffsetUs !== null) {
      this.#latency.recorded.record(Math.max(0, recorded.lastByteOffsetUs * 1e3));
    }
    if (answer === null || send.lastByteOffsetNs === null) {
      this.#unanswered += 1;
      return;
    }
    this.#latency.observed.record(Math.max(0, send.lastByteOffsetNs - send.actualOffsetNs));
  }

  #p50Ms(): Calibration['p50Ms'] {
    const recorded = this.#latency.recorded.percentile(50);
    const observed = this.#latency.observed.percentile(50, this.#unanswered);
    return {
      recorded: recorded === null ? null : recorded / NS_PER_MS,
      observed:
        observed === null ? null : observed === Number.POSITIVE_INFINITY ? 'Infinity' : observed / NS_PER_MS,
    };
  }
}

/** Statuses and sizes of answers on both sides. */
class Answers {
  readonly bytes = { recorded: new Histogram(), observed: new Histogram() };
  readonly statuses = { recorded: new Tally<number>(), observed: new Tally<number>() };

  /** @param observed null if there was no answer */
  add(
    [recorded, observed]: readonly [number, number | null],
    [recordedBytes, observedBytes]: readonly [number | null, number],
  ): void {
    this.statuses.recorded.count(recorded);
    if (recordedBytes !== null) this.bytes.recorded.record(recordedBytes);
    this.statuses.observed.count(observed ?? NO_ANSWER);
    if (observed !== null) this.bytes.observed.record(observedBytes);
  }
}

/** Whether an unanswered request had at least the time of the recorded answer. True if that time is unknown. */
function hadItsTime({ recorded: { lastByteOffsetUs }, send }: AnsweredSend): boolean {
  if (lastByteOffsetUs === null || send.lastByteOffsetNs === null) return true;
  return send.lastByteOffsetNs - send.actualOffsetNs >= lastByteOffsetUs * 1e3;
}

function differencesOf(
  { p50Ms, responseBytes, statusDistance }: Pick<Calibration, 'p50Ms' | 'responseBytes' | 'statusDistance'>,
  limits: CalibrationLimits,
  isOverloaded: boolean,
): string[] {
  const found: string[] = [];
  const observedMs = p50Ms.observed === 'Infinity' ? Number.POSITIVE_INFINITY : p50Ms.observed;
  const areTimes = !isOverloaded && p50Ms.recorded !== null && observedMs !== null;
  if (areTimes && isOffByFactor(p50Ms.recorded, observedMs, limits)) {
    const text = Number.isFinite(observedMs) ? formatMs(observedMs) : 'most were not answered';
    found.push(`median latency ${text}, recorded ${formatMs(p50Ms.recorded)}`);
  }
  if (statusDistance !== null && statusDistance > limits.statusShare) {
    found.push(`${(statusDistance * 100).toFixed(1)} % of the answers have another status`);
  }
  const { recorded, observed } = responseBytes;
  if (recorded !== null && observed !== null && Math.abs(observed - recorded) > limits.sizeShare * recorded) {
    found.push(`median response ${formatBytes(observed)}, recorded ${formatBytes(recorded)}`);
  }
  return found;
}

function isOffByFactor(recordedMs: number, observedMs: number, { p50Factor }: CalibrationLimits): boolean {
  return observedMs > recordedMs * p50Factor || observedMs * p50Factor < recordedMs;
}

function countsOf(counts: Tally<number>): Record<string, number> {
  return Object.fromEntries(
    [...counts].map(([status, each]) => [status === NO_ANSWER ? 'none' : String(status), each]),
  );
}
