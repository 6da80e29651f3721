import { basename } from 'node:path';
import type { ChunkTimes, Exchange } from '../core/exchange.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { SeededRandom } from '../core/random.ts';
import { ArrivalCounter, type ArrivalTally } from './arrival-counter.ts';
import { ArrivalTimes, type TimeReading } from './exact-time.ts';
import type { ImportOptions } from './import-options.ts';
import type { OpenImport } from './import-source.ts';
import { textBytes } from './input-bytes.ts';
import { InputProblem, NOTHING_IN_IT } from './input-problem.ts';
import { loadPayloads, type PayloadPool } from './payload-pool.ts';
import type { TraceFields, TraceRow } from './trace-row.ts';
import { traceRows } from './trace-rows.ts';

/** A public arrival trace, and how it is to be read. */
export interface ArrivalTrace {
  readonly path: string;
  readonly fields: TraceFields;
  readonly time: TimeReading;
}

export interface ArrivalImportDeps {
  readonly hash: KeyedHash;
  /** Null: arrivals alone, which can be profiled and planned, not replayed. */
  readonly payloads: PayloadPool | null;
}

/** Known of no exchange of a trace; said in the capture's `meta`. */
const MISSING_FROM_ARRIVALS = ['responses', 'statuses', 'latencies', 'outcomes', 'connections'] as const;

/**
 * Reads an arrival trace, each arrival paired with a request where there are payloads.
 * @param onPayloads told of the requests once they are loaded
 */
export function openArrivals(
  path: string,
  options: ImportOptions,
  onPayloads: (payloads: PayloadPool) => void,
): OpenImport {
  return async ({ hash, redaction }, signal) => {
    const { fields, time, payloads: from } = options;
    let payloads: PayloadPool | null = null;
    if (from !== null) {
      const random = new SeededRandom(from.seed);
      payloads = await loadPayloads(from.source, from, { hash, redaction, random }, signal);
      onPayloads(payloads);
    }
    const trace = new ArrivalImport({ path, fields, time }, { hash, payloads });
    return {
      requests: payloads !== null,
      missing: [...(payloads === null ? ['requests'] : []), ...MISSING_FROM_ARRIVALS],
      lacking: {},
      details: {
        time: { field: fields.time, ...time },
        client: fields.client,
        session: fields.session,
        payloads: from && { source: basename(from.source), requests: payloads?.size, seed: from.seed },
      },
      get tally() {
        return trace.tally;
      },
      batches: (stop) => trace.batches(stop),
    };
  };
}

const NO_CHUNKS: ChunkTimes = Object.freeze([]);
/** Distinct clients and sessions whose hash is remembered; traces name the same few again and again. */
const REMEMBERED_IDENTITIES = 50_000;

/** Turns the rows of a trace into exchanges, in the order of the file, at constant memory. */
export class ArrivalImport {
  readonly #trace: ArrivalTrace;
  readonly #deps: ArrivalImportDeps;
  readonly #times: ArrivalTimes;
  readonly #identities = new Map<string, Uint8Array>();
  readonly #counter = new ArrivalCounter();

  constructor(trace: ArrivalTrace, deps: ArrivalImportDeps) {
    this.#trace = trace;
    this.#deps = deps;
    this.#times = new ArrivalTimes(trace.time);
  }

  get tally(): ArrivalTally {
    return this.#counter.tally;
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
      if (this.tally.rows === 0) throw new InputProblem('holds no row', { hint: NOTHING_IN_IT });
    } catch (thrown) {
      if (!(thrown instanceof InputProblem)) throw thrown;
      throw thrown.after(line).toAppError(this.#trace.path);
    }
  }

  #exchangeOf(row: TraceRow): Exchange {
    const arrivalUs = this.#arrivalOf(row);
    this.#counter.add(arrivalUs);
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
      clientLeftOffsetUs: null,
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
