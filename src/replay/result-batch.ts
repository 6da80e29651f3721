import { SEND_ERRORS } from '../core/run.ts';
import type { SendResult } from './send-result.ts';

const COLUMNS = 11;
const REFUSED = 1;
const REUSED = 2;

/** Results on their way to the main thread: one row of numbers each, NaN for null. */
export function packResults(results: readonly SendResult[]): Float64Array<ArrayBuffer> {
  const rows = new Float64Array(results.length * COLUMNS);
  results.forEach((result, row) => {
    rows.set(
      [
        result.index,
        result.intendedOffsetNs,
        result.actualOffsetNs ?? Number.NaN,
        result.startOffsetNs ?? Number.NaN,
        result.firstByteOffsetNs ?? Number.NaN,
        result.lastByteOffsetNs ?? Number.NaN,
        result.status ?? Number.NaN,
        result.responseBytes,
        result.error === null ? -1 : SEND_ERRORS.indexOf(result.error),
        (result.refused ? REFUSED : 0) | (result.reusedConnection ? REUSED : 0),
        result.connectionWaitNs ?? Number.NaN,
      ],
      row * COLUMNS,
    );
  });
  return rows;
}

export function unpackResults(rows: Float64Array): SendResult[] {
  const results: SendResult[] = [];
  for (let at = 0; at < rows.length; at += COLUMNS) {
    const flags = rows[at + 9] ?? 0;
    results.push({
      index: rows[at] ?? 0,
      intendedOffsetNs: rows[at + 1] ?? 0,
      actualOffsetNs: orNull(rows[at + 2]),
      connectionWaitNs: orNull(rows[at + 10]),
      startOffsetNs: orNull(rows[at + 3]),
      firstByteOffsetNs: orNull(rows[at + 4]),
      lastByteOffsetNs: orNull(rows[at + 5]),
      status: orNull(rows[at + 6]),
      responseBytes: rows[at + 7] ?? 0,
      error: SEND_ERRORS[rows[at + 8] ?? -1] ?? null,
      refused: (flags & REFUSED) !== 0,
      reusedConnection: (flags & REUSED) !== 0,
    });
  }
  return results;
}

function orNull(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : value;
}
