import type { ExchangeRow } from '../core/exchange.ts';
import type { Arrival } from './arrival.ts';
import { compressOffsetNs } from './scaling/compress.ts';

/** One planned send: data, computed before it is used and never edited by what happens. */
export interface PlannedSend {
  readonly row: ExchangeRow;
  /** Nanoseconds after the start of the run. */
  readonly intendedOffsetNs: number;
}

/** Arrivals at the multiplier's pace, in order, one by one as they are asked for. */
export function* scheduleOf(arrivals: Iterable<Arrival>, multiplier: number): Generator<PlannedSend> {
  for (const { row, offsetUs } of arrivals) {
    yield { row, intendedOffsetNs: compressOffsetNs(offsetUs, multiplier) };
  }
}
