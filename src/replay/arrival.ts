import type { ExchangeRow } from '../core/exchange.ts';

/** A recorded exchange at its place on the window's own time. */
export interface Arrival {
  readonly row: ExchangeRow;
  /** Microseconds after the first arrival of the window. */
  readonly offsetUs: number;
  /** Where stretches of the capture are laid over the window: the number of this one's. 0 is the window itself. */
  readonly layer?: number;
}

/** Puts rows, which come in order of arrival, on a clock that begins with the first of them. */
export function* arrivalsOf(rows: Iterable<ExchangeRow>): Generator<Arrival> {
  let firstUs: number | null = null;
  for (const row of rows) {
    firstUs ??= row.arrivalUs;
    yield { row, offsetUs: row.arrivalUs - firstUs };
  }
}
