import type { Exchange } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import { gorRequest, gorResponse, RecordWithin, withoutInterim } from './gor-message.ts';
import { type GorRecord, gorRecords } from './gor-records.ts';
import type { ImportSourceDeps, OpenImport } from './import-source.ts';
import { type ImportedParts, importedExchange } from './imported-exchange.ts';
import { ImportedFile, placed } from './imported-file.ts';
import { textBytes } from './input-bytes.ts';
import { InputProblem } from './input-problem.ts';
import { TextCounts } from './text-counts.ts';

/** What a GoReplay file never says. */
const MISSING_FROM_GOR = [
  'connections',
  'clients',
  'sessions',
  'the times of chunks',
  'whether GoReplay cut a body',
  'losses and coverage: what GoReplay dropped is not said',
] as const;

/** Requests that wait for responses, theirs or those of earlier ones; of more, the earliest goes without. */
const MOST_WAITING = 10_000;
const MOST_WAITING_BYTES = 64 * 1024 * 1024;

/** A request, and its response once it came. */
interface Pair {
  readonly request: GorRecord;
  answer: GorRecord | null;
}

/** Reads the file of GoReplay's `--output-file`. */
export function openGor(path: string): OpenImport {
  return async (deps) => {
    const lacking = new TextCounts();
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

/** Puts requests and responses of one id together, in the order of the requests. */
class GorPairs {
  readonly #deps: ImportSourceDeps;
  readonly #lacking: TextCounts;
  /** By the number of the request's record, hence in order; and the last request of each id. */
  readonly #waiting = new Map<number, Pair>();
  readonly #byId = new Map<string, Pair>();
  #waitingBytes = 0;

  constructor(deps: ImportSourceDeps, lacking: TextCounts) {
    this.#deps = deps;
    this.#lacking = lacking;
  }

  async *exchanges(path: string, signal: AbortSignal): AsyncGenerator<Exchange[]> {
    for await (const records of gorRecords(textBytes(path, signal))) {
      for (const record of records) this.#take(record);
      yield this.#ready(false);
    }
    yield this.#ready(true);
  }

  #take(record: GorRecord): void {
    if (record.type === 3) {
      this.#lacking.count('a response of a replay: left out');
      return;
    }
    const message = record.type === 1 ? record.message : withoutInterim(record.message);
    if (message === null) {
      this.#lacking.count('an interim response (100 Continue): left out');
      return;
    }
    // A copy: the message is a piece of a memory that others come into.
    const own = { ...record, message: Buffer.from(message) };
    if (record.type === 1) {
      const pair = { request: own, answer: null };
      this.#waiting.set(record.number, pair);
      this.#byId.set(record.id, pair);
    } else {
      const pair = this.#byId.get(record.id);
      if (pair === undefined) {
        this.#lacking.count('a response without its request: left out');
        return;
      }
      pair.answer = own;
      this.#byId.delete(record.id);
    }
    this.#waitingBytes += own.message.length;
  }

  /** What has its response, or can wait no longer, up to the first that can. */
  #ready(end: boolean): Exchange[] {
    const exchanges: Exchange[] = [];
    for (const [number, pair] of this.#waiting) {
      const tooMany = this.#waiting.size > MOST_WAITING || this.#waitingBytes > MOST_WAITING_BYTES;
      if (pair.answer === null && !tooMany && !end) break;
      this.#waiting.delete(number);
      if (this.#byId.get(pair.request.id) === pair) this.#byId.delete(pair.request.id);
      this.#waitingBytes -= pair.request.message.length + (pair.answer?.message.length ?? 0);
      exchanges.push(this.#exchange(pair));
    }
    return exchanges;
  }

  #exchange({ request, answer }: Pair): Exchange {
    if (answer === null) this.#lacking.count('no response, hence no status and no latency');
    try {
      return importedExchange(this.#parts(request, answer), this.#deps);
    } catch (thrown) {
      throw placed(`record ${request.number}`, thrown);
    }
  }

  #parts(request: GorRecord, answer: GorRecord | null): ImportedParts {
    const sent = gorRequest(request.message, this.#lacking);
    const response = answer === null ? null : this.#response(answer, sent.method);
    const answeredUs = answer === null ? null : checkedOffset(answer.timeUs - request.timeUs, answer);
    const latencyUs = answer?.latencyUs == null ? 0 : checkedOffset(answer.latencyUs, answer);
    return {
      arrivalUs: request.timeUs,
      outcome: 'completed',
      request: sent,
      response,
      session: null,
      requestEndOffsetUs: null,
      firstByteOffsetUs: answeredUs,
      lastByteOffsetUs: answeredUs === null ? null : Math.max(answeredUs, latencyUs),
    };
  }

  #response(answer: GorRecord, method: string): ImportedParts['response'] {
    try {
      return gorResponse(answer.message, method, this.#lacking);
    } catch (thrown) {
      if (thrown instanceof RecordWithin) throw placed(`record ${answer.number}`, thrown);
      if (!(thrown instanceof InputProblem)) throw thrown;
      this.#lacking.count('a response that is no HTTP/1.1');
      return null;
    }
  }
}

/** @throws InputProblem where no exchange takes as long */
function checkedOffset(us: number, { number }: GorRecord): number {
  if (us <= LIMITS.importOffsetUs) return Math.max(0, us);
  throw new InputProblem(`its response, record ${number}, came more than a year behind it`, {
    hint: 'Correct the time or the latency of the response, or leave it out.',
  });
}
