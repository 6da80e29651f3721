import type { ExchangePayload, ExchangeRow } from '../../src/core/exchange.ts';
import { buildRequestHead, type HeaderPair } from '../../src/core/headers.ts';
import type { CaptureSource, TimeRange } from '../../src/core/ports.ts';

/** A capture in memory, which also counts what was read. */
export class MemoryCapture implements CaptureSource {
  readonly #rows: readonly ExchangeRow[];
  readonly #payloadOf: (row: ExchangeRow) => ExchangePayload | null;
  rowsRead = 0;
  payloadsRead = 0;

  /** `rows` in order of arrival. */
  constructor(
    rows: readonly ExchangeRow[],
    payloadOf: (row: ExchangeRow) => ExchangePayload | null = () => null,
  ) {
    this.#rows = rows;
    this.#payloadOf = payloadOf;
  }

  *rows(range?: TimeRange): IterableIterator<ExchangeRow> {
    for (const row of this.#rows) {
      if (range !== undefined && (row.arrivalUs < range.fromUs || row.arrivalUs >= range.toUs)) continue;
      this.rowsRead += 1;
      yield row;
    }
  }

  payload(row: ExchangeRow): ExchangePayload | null {
    this.payloadsRead += 1;
    return this.#payloadOf(row);
  }

  close(): void {}
}

/** The payload of a plain request. */
export function requestPayload(
  target: string,
  headers: readonly HeaderPair[] = [],
  body = '',
  redacted: readonly string[] = [],
): ExchangePayload {
  const kept = Buffer.from(body, 'latin1');
  return {
    request: {
      head: buildRequestHead('POST', target, headers),
      redacted,
      body: { bytes: kept.length, kept, truncated: false, hash: null },
      trailers: null,
    },
    response: null,
    requestChunks: [],
    responseChunks: [],
  };
}
