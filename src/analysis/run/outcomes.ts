import { FIRST_SERVER_ERROR } from '../../core/exchange.ts';
import { hasFailed, isTurnedAway, SEND_ERRORS, type Send, type SendError } from '../../core/run.ts';
import type { ErrorExamples, RecordedFailures, SendId, WarmupFigures } from '../../documents/replay.ts';

export type SendOutcome = 'completed' | 'failed' | 'cancelled' | 'refused' | 'unreached';

/**
 * What a finished send counts as: refused by our own cap; unreached when the run ended before it was due;
 * cancelled by us because the recorded client left;
 * failed without a complete answer or with a 5xx; completed with any other status, which is an answer.
 */
function outcomeOf(send: Send): SendOutcome {
  if (send.refused) return 'refused';
  if (send.actualOffsetNs === null) return 'unreached';
  if (send.cancelled) return 'cancelled';
  return hasFailed(send) ? 'failed' : 'completed';
}

export interface OutcomeFigures {
  /** `completed` + `failed` + `cancelled`. */
  readonly sent: number;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly refused: number;
  /** Planned and never sent, for no cap of ours. */
  readonly unreached: number;
  /** Of the failed, those we ended ourselves when the run was stopped. */
  readonly stopped: number;
  /** Answers by status, 5xx included. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Sends without a complete answer, by cause. */
  readonly errors: Readonly<Partial<Record<SendError, number>>>;
}

export class OutcomeCounts {
  #completed = 0;
  #failed = 0;
  #cancelled = 0;
  #refused = 0;
  #unreached = 0;
  readonly #statuses = new Map<number, number>();
  readonly #errors = new Map<SendError, number>();

  add(send: Send): SendOutcome {
    const outcome = outcomeOf(send);
    if (outcome === 'completed') this.#completed += 1;
    if (outcome === 'failed') this.#failed += 1;
    if (outcome === 'cancelled') this.#cancelled += 1;
    if (outcome === 'refused') this.#refused += 1;
    if (outcome === 'unreached') this.#unreached += 1;
    if (outcome !== 'completed' && outcome !== 'failed') return outcome;
    if (send.error !== null) this.#errors.set(send.error, (this.#errors.get(send.error) ?? 0) + 1);
    else if (send.status !== null) {
      this.#statuses.set(send.status, (this.#statuses.get(send.status) ?? 0) + 1);
    }
    return outcome;
  }

  figures(): OutcomeFigures {
    const statuses = [...this.#statuses].sort(([a], [b]) => a - b);
    const errors = SEND_ERRORS.filter((error) => this.#errors.has(error));
    return {
      sent: this.#completed + this.#failed + this.#cancelled,
      completed: this.#completed,
      failed: this.#failed,
      cancelled: this.#cancelled,
      refused: this.#refused,
      unreached: this.#unreached,
      stopped: this.#errors.get('stopped') ?? 0,
      statuses: Object.fromEntries(statuses.map(([status, count]) => [String(status), count])),
      errors: Object.fromEntries(errors.map((error) => [error, this.#errors.get(error)])),
    };
  }
}

const PER_KIND = 3;

/** Keeps some of the failed sends by kind, so that whoever reads of errors can look one up. */
export class ErrorExampleKeeper {
  readonly #byKind = new Map<string, SendId[]>();

  /** Takes a send that failed: without a complete answer, or with a 5xx. */
  add({ index, segment, exchangeId, error, status }: Send): void {
    const kind = error ?? `status_${status ?? 'none'}`;
    const kept = this.#byKind.get(kind) ?? [];
    if (kept.length >= PER_KIND) return;
    kept.push({ index, segment, exchangeId });
    this.#byKind.set(kind, kept);
  }

  examples(): ErrorExamples {
    return Object.fromEntries([...this.#byKind].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

/** A server too busy says so with one of these; clients tend to try again. */
const REJECTED: ReadonlySet<number> = new Set([429, 503]);

export interface StatusMixFigures {
  /** Recorded answers below 500 among the planned requests; 0 when the recording knows no statuses. */
  readonly recordedAnswers: number;
  readonly sentAnswers: number;
  /** Share of the answers that were no 2xx; null without answers. */
  readonly recordedTurnedAway: number | null;
  readonly sentTurnedAway: number | null;
  /** Share of what was answered now that was no 2xx and that the recording does not say belongs there. */
  readonly turnedAwayExcess: number;
  /** Planned requests of which it is known how they fared when recorded; of these, answered 5xx, not at all or in part. */
  readonly recordedKnown: number;
  readonly recordedFailed: number;
  /** Share of 429 and 503 among all recorded statuses: arrivals that may be a client's second try follow them. */
  readonly recordedRejected: number | null;
  /** Total variation between both mixes of statuses, 0 to 1; null when either side has none. */
  readonly distance: number | null;
}

/** Compares the statuses staging answered with those that were recorded for the same requests. */
export class StatusMix {
  readonly #recorded = new Map<number, number>();
  readonly #sent = new Map<number, number>();
  readonly #recordedStatuses = new Map<number, number>();
  #recordedUnanswered = 0;
  #recordedBroken = 0;

  /** @param times so many requests that were answered so */
  addRecorded(status: number | null, times = 1): void {
    if (status !== null)
      this.#recordedStatuses.set(status, (this.#recordedStatuses.get(status) ?? 0) + times);
    count(this.#recorded, status, times);
  }

  /** Takes failures of the recording; those that broke off have a status as well, which `addRecorded` is told. */
  addRecordedFailures({ unanswered, broken }: RecordedFailures): void {
    this.#recordedUnanswered += unanswered;
    this.#recordedBroken += broken;
  }

  addSent(status: number | null): void {
    count(this.#sent, status);
  }

  /** Requests by recorded status; those without one are in none. */
  recordedStatuses(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#recordedStatuses].sort(([a], [b]) => a - b));
  }

  recordedFailures(): RecordedFailures {
    return { unanswered: this.#recordedUnanswered, broken: this.#recordedBroken };
  }

  figures(): StatusMixFigures {
    const recordedStatuses = total(this.#recordedStatuses);
    const recordedAnswers = total(this.#recorded);
    const sentAnswers = total(this.#sent);
    const recordedAway = turnedAway(this.#recorded);
    const sentAway = turnedAway(this.#sent);
    // Where only some recorded statuses are known, those are no sample of the others: each explains one of its kind.
    const explained = recordedAway / Math.max(1, recordedAnswers, sentAnswers);
    return {
      recordedAnswers,
      sentAnswers,
      recordedTurnedAway: recordedAnswers === 0 ? null : recordedAway / recordedAnswers,
      sentTurnedAway: sentAnswers === 0 ? null : sentAway / sentAnswers,
      turnedAwayExcess: sentAnswers === 0 ? 0 : Math.max(0, sentAway / sentAnswers - explained),
      recordedKnown: recordedStatuses + this.#recordedUnanswered,
      // Every known status below 500 is an answer, be it one that broke off.
      recordedFailed: recordedStatuses - recordedAnswers + this.#recordedUnanswered + this.#recordedBroken,
      recordedRejected: recordedStatuses === 0 ? null : this.#rejections() / recordedStatuses,
      distance:
        recordedAnswers === 0 || sentAnswers === 0 ? null : this.#distance(recordedAnswers, sentAnswers),
    };
  }

  #rejections(): number {
    let sum = 0;
    for (const status of REJECTED) sum += this.#recordedStatuses.get(status) ?? 0;
    return sum;
  }

  #distance(recordedAnswers: number, sentAnswers: number): number {
    let sum = 0;
    for (const status of new Set([...this.#recorded.keys(), ...this.#sent.keys()])) {
      const recorded = (this.#recorded.get(status) ?? 0) / recordedAnswers;
      sum += Math.abs(recorded - (this.#sent.get(status) ?? 0) / sentAnswers);
    }
    return sum / 2;
  }
}

/** Failures are judged by `errors`; here only what was an answer counts. */
function count(counts: Map<number, number>, status: number | null, times = 1): void {
  if (status === null || status >= FIRST_SERVER_ERROR) return;
  counts.set(status, (counts.get(status) ?? 0) + times);
}

function total(counts: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const each of counts.values()) sum += each;
  return sum;
}

function turnedAway(counts: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const [status, each] of counts) if (isTurnedAway(status)) sum += each;
  return sum;
}

/** Counts what was sent to warm the target up. */
export class WarmupStatistics {
  readonly #originNs: number;
  #planned = 0;
  #completed = 0;
  #failed = 0;
  #cancelled = 0;
  #refused = 0;
  #endedLate = 0;

  /** @param originNs where the judged part begins */
  constructor(originNs: number) {
    this.#originNs = originNs;
  }

  add(send: Send): void {
    const outcome = outcomeOf(send);
    this.#planned += 1;
    if (outcome === 'refused') this.#refused += 1;
    if (outcome === 'refused' || outcome === 'unreached') return;
    if (outcome === 'completed') this.#completed += 1;
    if (outcome === 'failed') this.#failed += 1;
    if (outcome === 'cancelled') this.#cancelled += 1;
    if ((send.lastByteOffsetNs ?? 0) >= this.#originNs) this.#endedLate += 1;
  }

  figures(): WarmupFigures {
    return {
      planned: this.#planned,
      sent: this.#completed + this.#failed + this.#cancelled,
      completed: this.#completed,
      failed: this.#failed,
      cancelled: this.#cancelled,
      refused: this.#refused,
      endedLate: this.#endedLate,
    };
  }
}
