import type { Send } from '../core/run.ts';
import type { PlannedRequest } from './plan.ts';
import type { SendResult } from './send-result.ts';

/**
 * Requests that were planned and have no result yet: with the engine, in flight or read ahead, so their number
 * is bounded by the in-flight cap and the read-ahead.
 */
export class Outstanding {
  readonly #byIndex = new Map<number, PlannedPart>();

  /** Keeps of the row what its report needs: whole rows, some thousands at a time, would be most of our memory. */
  add(planned: PlannedRequest): void {
    this.#byIndex.set(planned.index, plannedPart(planned));
  }

  /** Joins a result with what it was planned from. */
  take(result: SendResult): Send {
    const planned = this.#byIndex.get(result.index);
    if (planned === undefined) throw new Error(`send ${result.index} ended twice or was never planned`);
    this.#byIndex.delete(result.index);
    return {
      ...planned,
      actualOffsetNs: result.actualOffsetNs,
      connectionWaitNs: result.connectionWaitNs,
      startOffsetNs: result.startOffsetNs,
      firstByteOffsetNs: result.firstByteOffsetNs,
      lastByteOffsetNs: result.lastByteOffsetNs,
      status: result.status,
      responseBytes: result.responseBytes,
      error: result.error,
      refused: result.refused,
      cancelled: result.cancelled,
      streamed: result.streamed ?? planned.streamed,
      answer: result.answer,
    };
  }

  /** Everything that a stop left without a result: planned and never reached. */
  takeUnreached(): Send[] {
    const left = [...this.#byIndex.values()].map((planned) => ({ ...planned, ...NEVER_REACHED }));
    this.#byIndex.clear();
    return left;
  }

  /** How many were due at an instant of the run and have not ended. */
  dueAt(offsetNs: number): number {
    let due = 0;
    for (const planned of this.#byIndex.values()) {
      // In the order of the schedule, so the first that is not due ends the count.
      if (planned.intendedOffsetNs > offsetNs) break;
      due += 1;
    }
    return due;
  }
}

/** A planned request that our own ceiling refused. */
export function refusedSend(planned: PlannedRequest): Send {
  return { ...plannedPart(planned), ...NOT_SENT, error: null, refused: true };
}

const NOT_SENT = {
  actualOffsetNs: null,
  connectionWaitNs: null,
  startOffsetNs: null,
  firstByteOffsetNs: null,
  lastByteOffsetNs: null,
  status: null,
  responseBytes: 0,
  cancelled: false,
  answer: null,
} as const;
const NEVER_REACHED = { ...NOT_SENT, error: 'stopped', refused: false } as const;

type PlannedPart = Pick<
  Send,
  | 'index'
  | 'segment'
  | 'exchangeId'
  | 'route'
  | 'model'
  | 'requestBytes'
  | 'intendedOffsetNs'
  | 'streamed'
  | 'warmup'
>;

function plannedPart({ index, intendedOffsetNs, row, streams, warmup }: PlannedRequest): PlannedPart {
  return {
    index,
    segment: row.segment,
    exchangeId: row.id,
    route: row.route,
    model: row.model,
    requestBytes: row.requestBytes,
    intendedOffsetNs,
    warmup: warmup ?? false,
    streamed: streams,
  };
}
