import { numberOf, orNull } from '../core/missing-number.ts';
import type { Durations } from './latency-statistics.ts';
import { NumberRows } from './number-rows.ts';

const COLUMNS = 7;
const HAS_LATENCY = 1;
const CANCELLED = 2;
const STOPPED = 4;

/**
 * Durations of sends that are judged at the end of a run, in the order they came: 56 bytes each, where objects would
 * be some 250 of the heap. A run in which everything is slow sets aside hundreds of thousands.
 */
export class DurationsAside {
  readonly #max: number;
  readonly #rows = new NumberRows(COLUMNS);

  /** @param max the most that is kept */
  constructor(max: number) {
    this.#max = max;
  }

  /** Keeps one. @returns false, and keeps nothing, where no more may be kept */
  add(durations: Durations): boolean {
    if (this.#rows.length >= this.#max) return false;
    this.#rows.push(rowOf(durations));
    return true;
  }

  /** Gives all up that was kept. */
  *takeAll(): Generator<Durations> {
    for (const row of this.#rows.takeAll()) yield durationsIn(row);
  }
}

function rowOf(durations: Durations): number[] {
  const { intendedOffsetNs, endOffsetNs, inFlightNs, lagNs, connectNs, connectionWaitNs } = durations;
  const flags =
    (durations.hasLatency ? HAS_LATENCY : 0) |
    (durations.cancelled ? CANCELLED : 0) |
    (durations.stopped ? STOPPED : 0);
  return [
    intendedOffsetNs,
    endOffsetNs,
    inFlightNs,
    lagNs,
    numberOf(connectNs),
    numberOf(connectionWaitNs),
    flags,
  ];
}

function durationsIn(row: Float64Array): Durations {
  const [intendedOffsetNs = 0, endOffsetNs = 0, inFlightNs = 0, lagNs = 0, connectNs, waitNs, flags = 0] =
    row;
  return {
    intendedOffsetNs,
    endOffsetNs,
    inFlightNs,
    lagNs,
    connectNs: orNull(connectNs),
    connectionWaitNs: orNull(waitNs),
    hasLatency: (flags & HAS_LATENCY) !== 0,
    cancelled: (flags & CANCELLED) !== 0,
    stopped: (flags & STOPPED) !== 0,
  };
}
