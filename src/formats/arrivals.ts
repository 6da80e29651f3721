import type { ChunkTimes, Exchange } from '../core/exchange.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { ArrivalTimes, type TimeReading } from './exact-time.ts';
import { textBytes } from './input-bytes.ts';
import { InputProblem } from './input-problem.ts';
import type { PayloadPool } from './payload-pool.ts';
import type { TraceFields, TraceRow } from './trace-row.ts';
import { traceRows } from './trace-rows.ts';

/** A public arrival trace, and how it is to be read. */
export interface ArrivalTrace {
  readonly path: string;
  readonly fields: TraceFields;
  readonly time: TimeReading;
}

/** What an import has read so far. Arrivals are epoch microseconds, null before the first row. */
export interface ArrivalTally {
  readonly rows: number;
  readonly firstArrivalUs: number | null;
  readonly lastArrivalUs: number | null;
  /** Rows that arrive before the row above them. */
  readonly outOfOrder: number;
}

export interface ArrivalImportDeps {
  readonly hash: KeyedHash;
  /** Null: arrivals alone, which can be profiled and planned, not replayed. */
  readonly payloads: PayloadPool | null;
}

/** Known of no exchange of an import; said in the capture's `meta`. */
export const MISSING_FROM_IMPORTS = [
  'responses',
  'statuses',
  'latencies',
  'outcomes',
  'connections',
] as const;

const NO_CHUNKS: ChunkTimes = Object.freeze([]);
/** Distinct clients and sessions whose hash is remembered; traces name the same few again and again. */
const REMEMBERED_IDENTITIES = 50_000;

/** Turns the rows of a trace into exchanges, in the order of the file, at constant memory. */
export class ArrivalImport {
  readonly #trace: ArrivalTrace;
  readonly #deps: ArrivalImportDeps;
  readonly #times: ArrivalTimes;
  readonly #identities = new Map<string, Uint8Array>();
  #rows = 0;
  #outOfOrder = 0;
  #firstArrivalUs = Number.POSITIVE_INFINITY;
  #lastArrivalUs = Number.NEGATIVE_INFINITY;
  #previousArrivalUs = Number.NEGATIVE_INFINITY;

  constructor(trace: ArrivalTrace, deps: ArrivalImportDeps) {
    this.#trace = trace;
    this.#deps = deps;
    this.#times = new ArrivalTimes(trace.time);
  }

  get tally(): ArrivalTally {
    return {
      rows: this.#rows,
      firstArrivalUs: this.#rows === 0 ? null : this.#firstArrivalUs,
      lastArrivalUs: this.#rows === 0 ? null : this.#lastArrivalUs,
      outOfOrder: this.#outOfOrder,
    };
  }

  /**
   * The exchanges of the trace, some hundreds at a time. Call once.
   * @throws AppError INPUT_INVALID naming file, line, reason and way out; the signal's reason when it aborts.
   */
  async *batches(signal: AbortSignal): AsyncGenerator<Exchange[]> {
    let line = 0;
    try {
      for await (const rows of traceRows(textBytes(this.#trace.path, signal), this.#trace.fields)) {
        signal.throwIfAborted();
        const exchanges: Exchange[] = [];
        for (const row of rows) {
          line = row.line;
          exchanges.push(this.#exchangeOf(row));
        }
        yield exchanges;
      }
      if (this.#rows === 0) throw new InputProblem('holds no row');
    } catch (thrown) {
      if (!(thrown instanceof InputProblem)) throw thrown;
      throw thrown.after(line).toAppError(this.#trace.path);
    }
  }

  #exchangeOf(row: TraceRow): Exchange {
    const arrivalUs = this.#arrivalOf(row);
    this.#count(arrivalUs);
    const request = this.#deps.payloads?.draw() ?? null;
    return {
      arrivalUs,
      // Of an imported arrival nothing says that it failed; `meta` says that nothing is known.
      outcome: 'completed',
      protocol: request === null ? null : 'http/1.1',
      method: request?.method ?? null,
      route: request?.route ?? null,
      status: null,
      connection: null,
      client: row.client === null ? null : this.#identity('client', row.client),
      session: row.session === null ? null : this.#identity('session', row.session),
      model: request?.model ?? null,
      streamed: null,
      requestEndOffsetUs: null,
      firstByteOffsetUs: null,
      lastByteOffsetUs: null,
      firstTokenOffsetUs: null,
      promptTokens: null,
      outputTokens: null,
      batch: null,
      request: request?.message ?? null,
      response: null,
      requestChunks: NO_CHUNKS,
      responseChunks: NO_CHUNKS,
    };
  }

  #arrivalOf(row: TraceRow): number {
    try {
      return this.#times.next(row.time);
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.at(row.line) : thrown;
    }
  }

  #count(arrivalUs: number): void {
    this.#rows += 1;
    if (arrivalUs < this.#previousArrivalUs) this.#outOfOrder += 1;
    this.#previousArrivalUs = arrivalUs;
    if (arrivalUs < this.#firstArrivalUs) this.#firstArrivalUs = arrivalUs;
    if (arrivalUs > this.#lastArrivalUs) this.#lastArrivalUs = arrivalUs;
  }

  #identity(kind: 'client' | 'session', text: string): Uint8Array {
    const name = `${kind}\0${text}`;
    let hash = this.#identities.get(name);
    if (hash === undefined) {
      hash = this.#deps.hash.ofIdentity(kind, text);
      if (this.#identities.size >= REMEMBERED_IDENTITIES) this.#identities.clear();
      this.#identities.set(name, hash);
    }
    return hash;
  }
}
