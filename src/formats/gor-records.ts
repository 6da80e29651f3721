import { LIMITS } from '../core/limits.ts';
import { checkedInstant } from './exact-time.ts';
import { GorFraming } from './gor-framing.ts';
import { GrowingBytes } from './growing-bytes.ts';
import { placed } from './imported-file.ts';
import { InputProblem, shown } from './input-problem.ts';

/** One record of a GoReplay file: a request (1), the recorded response (2) or a replayed one (3). */
export interface GorRecord {
  /** From 1. */
  readonly number: number;
  readonly type: 1 | 2 | 3;
  readonly id: string;
  /** Epoch microseconds, and what the record says of a latency, rounded; null where it says nothing. */
  readonly timeUs: number;
  readonly latencyUs: number | null;
  /** Valid until the next records are asked for. */
  readonly message: Buffer;
}

const SEPARATOR = Buffer.from('\n\u{1f435}\u{1f648}\u{1f649}\n');
const HEADER = /^([123]) ([0-9A-Za-z-]{1,64}) (\d{1,19})(?: (-?\d{1,19}))?$/;
const HEADER_BYTES = 160;

/**
 * The records of a GoReplay file, one at a time. A separator within a body is told from one between records by the
 * length that the message states, as far as the file bears it out, else by what follows: the line that begins a
 * record, or the end of the file.
 * @throws InputProblem for what begins with no record, is cut short, or is too large
 */
export async function* gorRecords(
  chunks: AsyncIterable<Buffer>,
  recordBytes: number = LIMITS.importLineBytes,
): AsyncGenerator<GorRecord[]> {
  const reader = new RecordReader(recordBytes);
  for await (const chunk of chunks) {
    const records = reader.take(chunk);
    if (records.length > 0) yield records;
  }
  yield reader.end();
}

class RecordReader {
  readonly #recordBytes: number;
  readonly #pending = new GrowingBytes();
  #number = 0;
  /** How far the record that is read was looked through, and what it says of its end. */
  #searched = 0;
  #framing: GorFraming;

  constructor(recordBytes: number) {
    this.#recordBytes = recordBytes;
    this.#framing = new GorFraming(recordBytes);
  }

  take(chunk: Buffer): GorRecord[] {
    this.#pending.add(chunk);
    const records = this.#read(false);
    if (this.#pending.view.length > this.#recordBytes + SEPARATOR.length + HEADER_BYTES) {
      throw new InputProblem(`record ${this.#number + 1} has more than ${this.#recordBytes} bytes`);
    }
    return records;
  }

  end(): GorRecord[] {
    const records = this.#read(true);
    const rest = this.#pending.view;
    if (isBlank(rest)) return records;
    const number = this.#number + 1;
    if (!beginsRecord(rest)) recordOf(rest, number);
    throw new InputProblem(`the file ends within record ${number}`, {
      hint: 'The file was cut short: fetch or copy it again.',
    });
  }

  #read(ended: boolean): GorRecord[] {
    const records: GorRecord[] = [];
    for (;;) {
      const bytes = this.#pending.view;
      const end = this.#endIn(bytes, ended);
      if (end === null) return records;
      this.#number += 1;
      records.push(recordOf(bytes.subarray(0, end), this.#number));
      this.#pending.drop(end + SEPARATOR.length);
      this.#searched = 0;
      this.#framing = new GorFraming(this.#recordBytes);
    }
  }

  /** Where the record at the beginning ends; null where that is not there, or cannot be told yet. */
  #endIn(bytes: Buffer, ended: boolean): number | null {
    for (let at = bytes.indexOf(SEPARATOR, this.#searched); at >= 0; ) {
      this.#searched = at;
      const stated = this.#framing.endIn(bytes, at);
      // What follows decides, so it has to be there.
      const wanted = Math.max(at, typeof stated === 'number' ? stated : 0) + SEPARATOR.length + HEADER_BYTES;
      if (!ended && (stated === 'later' || bytes.length < wanted)) return null;
      if (typeof stated === 'number' && stated > at && endsAt(bytes, stated, ended)) return stated;
      if (endsAt(bytes, at, ended)) return at;
      this.#searched = at + SEPARATOR.length;
      at = bytes.indexOf(SEPARATOR, this.#searched);
    }
    this.#searched = Math.max(this.#searched, bytes.length - SEPARATOR.length + 1);
    return null;
  }
}

/** Whether a separator stands here, and a record or the end of the file behind it. */
function endsAt(bytes: Buffer, at: number, ended: boolean): boolean {
  const after = at + SEPARATOR.length;
  if (!bytes.subarray(at, after).equals(SEPARATOR)) return false;
  return beginsRecord(bytes.subarray(after)) || (ended && isBlank(bytes.subarray(after)));
}

/** Whether these bytes begin with the line that begins a record. */
export function beginsRecord(bytes: Buffer): boolean {
  const end = bytes.subarray(0, HEADER_BYTES).indexOf(0x0a);
  return end > 0 && HEADER.test(lineOf(bytes, end));
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte <= 0x20);
}

function lineOf(bytes: Buffer, end: number): string {
  return bytes.toString('latin1', 0, end).replace(/\r$/, '');
}

function recordOf(bytes: Buffer, number: number): GorRecord {
  const end = bytes.indexOf(0x0a);
  const line = lineOf(bytes, Math.min(end < 0 ? bytes.length : end, HEADER_BYTES));
  const [, type, id = '', time = '', latency] = HEADER.exec(line) ?? [];
  if (type === undefined || end < 0) {
    throw new InputProblem(`record ${number}: ${shown(line)} is no line of a GoReplay file`, {
      hint: 'A record begins with its type, id and time: 1 d7123dasd913jfd 1436283432000000000',
    });
  }
  try {
    return {
      number,
      type: Number(type) as 1 | 2 | 3,
      id,
      timeUs: checkedInstant(microseconds(time), time),
      latencyUs: latency === undefined || Number(latency) <= 0 ? null : microseconds(latency),
      message: bytes.subarray(end + 1),
    };
  } catch (thrown) {
    throw placed(`record ${number}`, thrown);
  }
}

/** Nanoseconds as microseconds, rounded half up once. */
function microseconds(ns: string): number {
  return Number((BigInt(ns) + 500n) / 1000n);
}
