import type { Exchange } from '../core/exchange.ts';
import { gorRequest, gorResponse } from './gor-message.ts';
import { type GorRecord, gorRecords } from './gor-records.ts';
import { type ImportSourceDeps, LackCounts, type OpenImport } from './import-source.ts';
import { type ImportedParts, importedExchange } from './imported-exchange.ts';
import { ImportedFile, placed } from './imported-file.ts';
import { textBytes } from './input-bytes.ts';
import { InputProblem } from './input-problem.ts';

/** What a GoReplay file never says. */
const MISSING_FROM_GOR = [
  'connections',
  'clients',
  'sessions',
  'the times of chunks',
  'whether GoReplay cut a body',
  'losses and coverage: what GoReplay dropped is not said',
] as const;

/** Requests that wait for their response; of more, the longest waiting goes without. */
const MOST_WAITING = 10_000;
const MOST_WAITING_BYTES = 64 * 1024 * 1024;

/** Reads the file of GoReplay's `--output-file`. */
export function openGor(path: string): OpenImport {
  return async (deps) => {
    const lacking = new LackCounts();
    return new ImportedFile({
      path,
      requests: true,
      missing: MISSING_FROM_GOR,
      details: { format: 'gor' },
      lacking,
      read: (signal) => new GorPairs(deps, lacking).exchanges(path, signal),
    });
  };
}

/** Puts requests and responses of one id together. */
class GorPairs {
  readonly #deps: ImportSourceDeps;
  readonly #lacking: LackCounts;
  readonly #waiting = new Map<string, GorRecord>();
  #waitingBytes = 0;

  constructor(deps: ImportSourceDeps, lacking: LackCounts) {
    this.#deps = deps;
    this.#lacking = lacking;
  }

  async *exchanges(path: string, signal: AbortSignal): AsyncGenerator<Exchange[]> {
    for await (const records of gorRecords(textBytes(path, signal))) {
      const exchanges: Exchange[] = [];
      for (const record of records) this.#take(record, exchanges);
      yield exchanges;
    }
    const exchanges: Exchange[] = [];
    for (const request of this.#waiting.values()) exchanges.push(this.#alone(request));
    yield exchanges;
  }

  #take(record: GorRecord, exchanges: Exchange[]): void {
    if (record.type === 3) {
      this.#lacking.count('a response of a replay: left out');
      return;
    }
    if (record.type === 2) {
      const request = this.#release(record.id);
      if (request === null) this.#lacking.count('a response without its request: left out');
      else exchanges.push(this.#exchange(request, record));
      return;
    }
    const earlier = this.#release(record.id);
    if (earlier !== null) exchanges.push(this.#alone(earlier));
    // A copy: the message is a piece of a chunk that would stay as long as it waits.
    this.#waiting.set(record.id, { ...record, message: Buffer.from(record.message) });
    this.#waitingBytes += record.message.length;
    while (this.#waiting.size > MOST_WAITING || this.#waitingBytes > MOST_WAITING_BYTES) {
      const [first = ''] = this.#waiting.keys();
      const request = this.#release(first);
      if (request === null) break;
      exchanges.push(this.#alone(request));
    }
  }

  #release(id: string): GorRecord | null {
    const request = this.#waiting.get(id) ?? null;
    if (request === null) return null;
    this.#waiting.delete(id);
    this.#waitingBytes -= request.message.length;
    return request;
  }

  #alone(request: GorRecord): Exchange {
    this.#lacking.count('no response, hence no status and no latency');
    return this.#exchange(request, null);
  }

  #exchange(request: GorRecord, answer: GorRecord | null): Exchange {
    try {
      return importedExchange(this.#parts(request, answer), this.#deps);
    } catch (thrown) {
      throw placed(`record ${request.number}`, thrown);
    }
  }

  #parts(request: GorRecord, answer: GorRecord | null): ImportedParts {
    const sent = gorRequest(request.message);
    if (sent.body.truncated) this.#lacking.count('a request body that is cut short');
    const response = answer === null ? null : this.#response(answer, sent.method);
    const answeredUs = answer === null ? null : Math.max(0, answer.timeUs - request.timeUs);
    return {
      arrivalUs: request.timeUs,
      outcome: 'completed',
      request: sent,
      response,
      session: null,
      requestEndOffsetUs: null,
      firstByteOffsetUs: answeredUs,
      lastByteOffsetUs: answeredUs === null ? null : Math.max(answeredUs, answer?.latencyUs ?? 0),
    };
  }

  #response(answer: GorRecord, method: string): ImportedParts['response'] {
    try {
      const response = gorResponse(answer.message, method);
      if (response.body.truncated) this.#lacking.count('a response body that is cut short');
      return response;
    } catch (thrown) {
      if (!(thrown instanceof InputProblem)) throw thrown;
      this.#lacking.count('a response that is no HTTP/1.1');
      return null;
    }
  }
}
