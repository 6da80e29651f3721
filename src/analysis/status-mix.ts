import { FIRST_SERVER_ERROR } from '../core/exchange.ts';
import { isTurnedAway } from '../core/run.ts';
import type { RecordedFailures } from '../documents/replay.ts';

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
