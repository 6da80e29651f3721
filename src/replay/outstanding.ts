import { type Entry, LinkedList } from '../core/linked-list.ts';
import { NumberMap } from '../core/number-map.ts';
import type { Send } from '../core/run.ts';
import type { PlannedRequest } from './plan.ts';
import { type PlannedPart, PlannedRing } from './planned-ring.ts';
import { neverSentResult, refusedResult, type SendResult } from './send-result.ts';

/**
 * Requests that were planned and have no result yet: with the engine, in flight or read ahead, so their number
 * is bounded by the in-flight cap and the read-ahead.
 */
export class Outstanding {
  readonly #ring: PlannedRing;
  /** Those that thousands of later ones have not waited for, in the order of the schedule. */
  readonly #late = new LinkedList<PlannedPart>();
  readonly #lateByIndex = new NumberMap<Entry<PlannedPart>>();

  constructor(ring: PlannedRing = new PlannedRing()) {
    this.#ring = ring;
  }

  /** Keeps of the row what its report needs: whole rows, some thousands at a time, would be most of our memory. */
  add(planned: PlannedRequest): void {
    for (;;) {
      const late = this.#ring.takeBehind(planned.index);
      if (late === null) break;
      this.#lateByIndex.set(late.index, this.#late.push(late));
    }
    this.#ring.add(planned);
  }

  /** Joins a result with what it was planned from. */
  take(result: SendResult): Send {
    const planned = this.#ring.take(result.index) ?? this.#takeLate(result.index);
    if (planned === undefined) throw new Error(`send ${result.index} ended twice or was never planned`);
    return joined(planned, result);
  }

  /** Everything that a stop left without a result: planned and never reached. */
  takeUnreached(): Send[] {
    const late = this.#late.items().map(({ index }) => this.#takeLate(index) as PlannedPart);
    return [...late, ...this.#ring.takeAll()].map((planned) =>
      joined(planned, neverSentResult(planned.index, planned.intendedOffsetNs)),
    );
  }

  /** How many were due at an instant of the run and have not ended. */
  dueAt(offsetNs: number): number {
    let due = this.#ring.dueAt(offsetNs);
    for (let late = this.#late.first; late !== null; late = late.next) {
      // In the order of the schedule, so the first that is not due ends the count.
      if (late.item.intendedOffsetNs > offsetNs) break;
      due += 1;
    }
    return due;
  }

  #takeLate(index: number): PlannedPart | undefined {
    const entry = this.#lateByIndex.get(index);
    if (entry === undefined) return undefined;
    this.#lateByIndex.delete(index);
    this.#late.remove(entry);
    return entry.item;
  }
}

/** A planned request that our own ceiling refused. */
export function refusedSend(planned: PlannedRequest): Send {
  return joined(plannedPart(planned), refusedResult(planned.index, planned.intendedOffsetNs));
}

function plannedPart({ index, intendedOffsetNs, row, streams, warmup }: PlannedRequest): PlannedPart {
  return {
    index,
    segment: row.segment,
    exchangeId: row.id,
    route: row.route,
    model: row.model,
    requestBytes: row.requestBytes ?? 0,
    intendedOffsetNs,
    warmup: warmup ?? false,
    streamed: streams,
  };
}

/** What was planned stands, but for the instant of a follow-up, which is known only when it is due. */
function joined(planned: PlannedPart, result: SendResult): Send {
  return {
    index: planned.index,
    segment: planned.segment,
    exchangeId: planned.exchangeId,
    route: planned.route,
    model: planned.model,
    requestBytes: planned.requestBytes,
    intendedOffsetNs: result.intendedOffsetNs,
    actualOffsetNs: result.actualOffsetNs,
    connectionWaitNs: result.connectionWaitNs,
    startOffsetNs: result.startOffsetNs,
    firstByteOffsetNs: result.firstByteOffsetNs,
    lastByteOffsetNs: result.lastByteOffsetNs,
    status: result.status,
    responseBytes: result.responseBytes,
    error: result.error,
    refused: result.refused,
    warmup: planned.warmup,
    cancelled: result.cancelled,
    streamed: result.streamed ?? planned.streamed,
    unstreamed: planned.streamed && result.streamed === false,
    answer: result.answer,
  };
}
