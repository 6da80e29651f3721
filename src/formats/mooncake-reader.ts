import type { Exchange } from '../core/exchange.ts';
import { LIMITS } from '../core/limits.ts';
import { ArrivalTimes } from './exact-time.ts';
import type { ImportSourceDeps } from './import-source.ts';
import { importedExchange, wholeBody } from './imported-exchange.ts';
import { InputProblem } from './input-problem.ts';
import { numberAt, objectAt, textAt } from './json-fields.ts';
import { type JsonObject, lineProblem, parseJsonLine } from './json-line.ts';
import { verbatimMember } from './json-verbatim.ts';
import { draftRequest } from './request-draft.ts';
import { TextCounts } from './text-counts.ts';
import type { TextLine } from './text-lines.ts';

/** How a trace is read. */
export interface MooncakeReading {
  /** Epoch microseconds that timestamps count from. */
  readonly originUs: number;
  /** Between rows where the row says no time, milliseconds; null refuses such rows. */
  readonly gapMs: number | null;
  /** Where payloads went; null refuses payloads. */
  readonly path: string | null;
  readonly method: string;
}

/** Kinds of a row: a whole body, or the lengths alone. */
export type MooncakeKind = 'payload' | 'lengths';

const PARTS = ['payload', 'messages', 'text_input', 'input_length'] as const;

/** What a row is, by the one key that it must have. @throws InputProblem */
export function kindOf(row: JsonObject): MooncakeKind {
  const has = PARTS.filter((key) => Object.hasOwn(row, key));
  // Published traces have lengths beside nothing else; AIPerf takes exactly one.
  if (has.length !== 1) {
    throw new InputProblem(has.length === 0 ? 'no request' : `both ${has.join(' and ')}`, {
      hint: `A row has one of ${PARTS.join(', ')}.`,
    });
  }
  return has[0] === 'input_length' ? 'lengths' : 'payload';
}

/** Rows of a Mooncake trace as exchanges. */
export class MooncakeReader {
  readonly lacking = new TextCounts();
  readonly #reading: MooncakeReading;
  readonly #kind: MooncakeKind;
  readonly #deps: ImportSourceDeps;
  readonly #times: ArrivalTimes;
  #previousUs: number;

  constructor(reading: MooncakeReading, kind: MooncakeKind, deps: ImportSourceDeps) {
    this.#reading = reading;
    this.#kind = kind;
    this.#deps = deps;
    this.#times = new ArrivalTimes({ unit: 'ms', gaps: false, originUs: reading.originUs });
    this.#previousUs = reading.originUs - (reading.gapMs ?? 0) * 1e3;
  }

  /** @throws InputProblem */
  read(line: TextLine): Exchange {
    const row = parseJsonLine(line);
    try {
      if (kindOf(row) !== this.#kind) {
        throw new InputProblem('rows with a request and rows with lengths alone in one file', {
          hint: 'Import them one by one.',
        });
      }
      const arrivalUs = this.#arrivalOf(row);
      this.#previousUs = arrivalUs;
      const facts = {
        promptTokens: this.#lengthAt(row, 'input_length'),
        outputTokens: this.#lengthAt(row, 'output_length'),
        session: this.#sessionOf(row),
      };
      if (Object.hasOwn(row, 'hash_ids')) this.lacking.count('hash_ids, which a capture does not keep');
      return this.#kind === 'lengths'
        ? { ...LENGTHS_ALONE, arrivalUs, ...facts }
        : { ...this.#request(row, line, arrivalUs), ...facts };
    } catch (thrown) {
      throw lineProblem(thrown, line.number);
    }
  }

  #arrivalOf(row: JsonObject): number {
    // The shortest text of a double is the digits of the file, as long as they are no more than it holds.
    const timestamp = textAt(row, 'timestamp') || String(numberAt(row, 'timestamp') ?? '');
    if (timestamp !== '') return this.#times.next(timestamp);
    if (textAt(row, 'delay') !== '' || numberAt(row, 'delay') !== null) {
      throw new InputProblem('a delay and no timestamp: it counts from an answer, which no trace holds', {
        hint: 'Give such rows timestamps; --gap is for rows that say nothing of when they are due.',
      });
    }
    const { gapMs } = this.#reading;
    if (gapMs === null) {
      throw new InputProblem('no timestamp', {
        hint: 'Say how far apart rows without a time are, e.g. --gap 100ms; the capture says so.',
      });
    }
    this.lacking.count(`no time: ${gapMs} ms after the row before`);
    return Math.round(this.#previousUs + gapMs * 1e3);
  }

  /** Tokens; null where the row does not say how many. */
  #lengthAt(row: JsonObject, key: string): number | null {
    const value = Object.hasOwn(row, key) ? row[key] : null;
    if (value === null) return null;
    const length = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
    if (typeof length === 'number' && Number.isSafeInteger(length) && length >= 0) return length;
    this.lacking.count(`an ${key} that is no whole number: not known`);
    return null;
  }

  #sessionOf(row: JsonObject): Uint8Array | null {
    const id = textAt(row, 'session_id') || String(numberAt(row, 'session_id') ?? '');
    return id === '' ? null : this.#deps.hash.ofIdentity('session', id);
  }

  #request(row: JsonObject, line: TextLine, arrivalUs: number): Exchange {
    const { path, method } = this.#reading;
    if (path === null) {
      throw new InputProblem('no path', { hint: 'Say where payloads go, e.g. --path /v1/chat/completions.' });
    }
    const body = this.#bodyOf(row, line);
    if (body.length > LIMITS.requestBodyBytes) throw new InputProblem('the payload is too large');
    const draft = draftRequest(method, path, [['Content-Type', 'application/json']], body);
    return importedExchange(
      {
        arrivalUs,
        outcome: 'completed',
        request: { ...draft, body: wholeBody(body) },
        response: null,
        session: null,
        requestEndOffsetUs: null,
        firstByteOffsetUs: null,
        lastByteOffsetUs: null,
      },
      this.#deps,
    );
  }

  #bodyOf(row: JsonObject, line: TextLine): Uint8Array {
    if (Object.hasOwn(row, 'payload')) return payloadOf(row, line);
    this.lacking.count('no payload: a body was made of its messages or text');
    const { messages, tools, text_input: prompt, output_length: max_tokens } = row;
    return Buffer.from(JSON.stringify({ messages, prompt, tools, max_tokens, ...objectAt(row, 'extra') }));
  }
}

const LENGTHS_ALONE = {
  outcome: 'completed',
  protocol: null,
  method: null,
  route: null,
  status: null,
  connection: null,
  client: null,
  model: null,
  streamed: null,
  requestEndOffsetUs: null,
  firstByteOffsetUs: null,
  lastByteOffsetUs: null,
  clientLeftOffsetUs: null,
  firstTokenOffsetUs: null,
  batch: null,
  request: null,
  response: null,
  requestChunks: [],
  responseChunks: [],
} as const;

function payloadOf(row: JsonObject, { bytes }: TextLine): Uint8Array {
  if (objectAt(row, 'payload') === null) throw new InputProblem('the payload is no JSON object');
  return verbatimMember(bytes, row, 'payload');
}
