import type { ExchangeRow } from '../../src/core/exchange.ts';
import type { Arrival } from '../../src/replay/plan/scaling.ts';

/** Converts rows, which are in order of arrival, to arrivals on a clock that begins with the first. */
export function* arrivalsOf(rows: Iterable<ExchangeRow>): Generator<Arrival> {
  let firstUs: number | null = null;
  for (const row of rows) {
    firstUs ??= row.arrivalUs;
    yield { row, offsetUs: row.arrivalUs - firstUs };
  }
}
