import type { ExchangeRow } from '../../core/exchange.ts';
import type { RecordedAnswer, Send } from '../../core/run.ts';
import type { PlannedRequest } from '../plan/plan.ts';
import { notSentResult, type SendResult } from './messages.ts';

/** The part of a planned request that its report needs. Thousands of whole rows would be most of our memory. */
type PlannedPart = Omit<
  Send,
  Exclude<keyof SendResult, 'index' | 'intendedOffsetNs' | 'streamed'> | 'unstreamed' | 'check'
>;

/**
 * Planned requests without a result yet. They are in flight or read ahead, so the in-flight cap and the read-ahead
 * limit their number.
 */
export class Outstanding {
  /** By index, in the order of the schedule. */
  readonly #planned = new Map<number, PlannedPart>();

  /** Adds a request. Indexes must increase from call to call. */
  add(planned: PlannedRequest): void {
    this.#planned.set(planned.index, plannedPart(planned));
  }

  /** Joins a result with its planned request. */
  take(result: SendResult): Send {
    const planned = this.#planned.get(result.index);
    if (planned === undefined) throw new Error(`send ${result.index} ended twice or was never planned`);
    this.#planned.delete(result.index);
    return joined(planned, result);
  }

  /** Removes and returns the requests that a stop left without a result: planned but never sent. */
  takeUnreached(): Send[] {
    const unreached = [...this.#planned.values()];
    this.#planned.clear();
    return unreached.map((planned) => joined(planned, notSentResult(planned, 'stopped')));
  }

  get size(): number {
    return this.#planned.size;
  }

  /** How many requests were due at an instant of the run and have not ended. */
  dueAt(offsetNs: number): number {
    let due = 0;
    for (const { intendedOffsetNs } of this.#planned.values()) {
      // The first that is not due ends the count, because they are in the order of the schedule.
      if (intendedOffsetNs > offsetNs) break;
      due += 1;
    }
    return due;
  }
}

/** A planned request that our own ceiling refused. */
export function refusedSend(planned: PlannedRequest): Send {
  return joined(plannedPart(planned), notSentResult(planned, 'refused'));
}

function plannedPart({
  index,
  intendedOffsetNs,
  row,
  streams,
  changed,
  warmup,
}: PlannedRequest): PlannedPart {
  return {
    index,
    segment: row.segment,
    exchangeId: row.id,
    route: row.route,
    model: row.model,
    client: row.client && Buffer.from(row.client).toString('hex'),
    requestBytes: row.requestBytes ?? 0,
    intendedOffsetNs,
    warmup: warmup ?? false,
    streamed: streams,
    recorded: recordedAnswer(row, changed ?? false),
  };
}

/**
 * Facts of the recorded answer; null if it was not complete. Requests that were masked may have become equal, and then
 * get equal answers. So the recorded body of a changed request is not compared.
 */
function recordedAnswer(row: ExchangeRow, changed: boolean): RecordedAnswer | null {
  const { outcome, status, responseBytes, streamed, lastByteOffsetUs, finish = null } = row;
  const { promptTokens, cachedTokens, outputTokens } = row;
  if (outcome !== 'completed' || status === null) return null;
  const tellsError = row.answerError;
  const body = changed ? null : (row.responseBody ?? null);
  const tookNs = lastByteOffsetUs === null ? null : lastByteOffsetUs * 1_000;
  const tokens = { promptTokens, cachedTokens, outputTokens };
  return { status, bytes: responseBytes, streamed, tookNs, tellsError, ...tokens, finish, body };
}

/**
 * Joins a plan and its result. The instant comes from the result, because that of a follow-up is known only when due.
 */
function joined(planned: PlannedPart, { kept: _, ...result }: SendResult): Send {
  return {
    ...planned,
    ...result,
    streamed: result.streamed ?? planned.streamed,
    unstreamed: planned.streamed && result.streamed === false,
  };
}
