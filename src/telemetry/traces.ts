import { createHash } from 'node:crypto';

/** A trace and the span of one request in it, as lower-case hexadecimal digits. */
export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
}

const REPLACED: ReadonlySet<string> = new Set(['traceparent', 'tracestate']);

/**
 * Decides which requests of a run are traced, and their ids. Both are computed from the run's id and the request's
 * index, so that nothing is stored between the plan and the export.
 * @see https://www.w3.org/TR/trace-context/
 */
export class TraceSample {
  readonly #runId: string;
  readonly #below: number;

  /** @param share share of traced requests, above 0 and at most 1 */
  constructor(runId: string, share: number) {
    this.#runId = runId;
    this.#below = share * 2 ** 32;
  }

  /** The trace of a request; null if it is not traced. */
  of(index: number): TraceContext | null {
    const digest = createHash('sha256').update(`${this.#runId}/${index}`).digest();
    if (digest.readUInt32BE(24) >= this.#below) return null;
    return { traceId: digest.toString('hex', 0, 16), spanId: digest.toString('hex', 16, 24) };
  }

  /** Headers of a request, flat. For a traced request, our traceparent replaces the recorded trace headers. */
  readonly headersOf = (index: number, headers: readonly string[]): readonly string[] => {
    const context = this.of(index);
    if (context === null) return headers;
    const isKept = (at: number) => !REPLACED.has(headers[at - (at % 2)]?.toLowerCase() ?? '');
    const kept = headers.filter((_, at) => isKept(at));
    return [...kept, 'traceparent', `00-${context.traceId}-${context.spanId}-01`];
  };
}
