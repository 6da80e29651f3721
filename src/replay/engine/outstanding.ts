import type { ExchangeRow } from '../../core/exchange.ts';
import type { RecordedAnswer, Send } from '../../core/run.ts';
import type { PlannedRequest } from '../plan/plan.ts';
import { notSentResult, type SendResult } from './messages.ts';

/** What of a planned request its report needs: whole rows, some thousands at a time, would be most of our memory. */
type PlannedPart = Omit<
  Send,
  Exclude<keyof SendResult, 'index' | 'intendedOffsetNs' | 'streamed'> | 'unstreamed' | 'check'
>;

/**
 * Requests that were planned and have no result yet: with the engine, in flight or read ahead, so their number
 * is bounded by the in-flight cap and the read-ahead.
 */
export class Outstanding {
  /** By their index, in the order of the schedule. */
  readonly #planned = new Map<number, PlannedPart>();

  /** Indexes grow from call to call. */
  add(planned: PlannedRequest): void {
    this.#planned.set(planned.index, plannedPart(planned));
  }

  /** Joins a result with what it was planned from. */
  take(result: SendResult): Send {
    const planned = this.#planned.get(result.index);
    if (planned === undefined) throw new Error(`send ${result.index} ended twice or was never planned`);
    this.#planned.delete(result.index);
    return joined(planned, result);
  }

  /** Everything that a stop left without a result: planned and never reached. */
  takeUnreached(): Send[] {
    const unreached = [...this.#planned.values()];
    this.#planned.clear();
    return unreached.map((planned) => joined(planned, notSentResult(planned, 'stopped')));
  }

  get size(): number {
    return this.#planned.size;
  }

  /** How many were due at an instant of the run and have not ended. */
  dueAt(offsetNs: number): number {
    let due = 0;
    for (const { intendedOffsetNs } of this.#planned.values()) {
      // In the order of the schedule, so the first that is not due ends the count.
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

function plannedPart({ index, intendedOffsetNs, row, streams, warmup }: PlannedRequest): PlannedPart {
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
    recorded: recordedAnswer(row),
  };
}

/** Null where the recorded answer was not complete. */
function recordedAnswer({
  outcome,
  status,
  responseBytes,
  streamed,
  lastByteOffsetUs,
  answerError: tellsError,
}: ExchangeRow): RecordedAnswer | null {
  if (outcome !== 'completed' || status === null) return null;
  const tookNs = lastByteOffsetUs === null ? null : lastByteOffsetUs * 1_000;
  return { status, bytes: responseBytes, streamed, tookNs, tellsError };
}

/** What was planned stands, but for the instant of a follow-up, which is known only when it is due. */
function joined(planned: PlannedPart, { kept: _, ...result }: SendResult): Send {
  return {
    ...planned,
    ...result,
    streamed: result.streamed ?? planned.streamed,
    unstreamed: planned.streamed && result.streamed === false,
  };
}
