import { LIMITS } from '../core/limits.ts';
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
  readonly message: Buffer;
}

const SEPARATOR = Buffer.from('\n\u{1f435}\u{1f648}\u{1f649}\n');
const HEADER = /^([123]) ([0-9A-Za-z-]{1,64}) (\d{1,19})(?: (-?\d{1,19}))?$/;
const HEADER_BYTES = 160;

/**
 * The records of a GoReplay file, one at a time. A separator within a body is told from one between records by what
 * follows it: the line that begins a record, or the end of the file.
 * @throws InputProblem for what begins with no record, is cut short, or is too large
 */
export async function* gorRecords(
  chunks: AsyncIterable<Buffer>,
  recordBytes: number = LIMITS.importLineBytes,
): AsyncGenerator<GorRecord[]> {
  let pending: Buffer = Buffer.alloc(0);
  let searched = 0;
  let number = 0;
  for await (const chunk of chunks) {
    pending = Buffer.concat([pending, chunk]);
    const records: GorRecord[] = [];
    let start = 0;
    for (let end = separatorAfter(pending, searched); end >= 0; end = separatorAfter(pending, searched)) {
      searched = end + SEPARATOR.length;
      // What follows decides, so it has to be there.
      if (pending.length - searched < HEADER_BYTES) {
        searched = end;
        break;
      }
      if (!beginsRecord(pending.subarray(searched, searched + HEADER_BYTES))) continue;
      number += 1;
      records.push(recordOf(pending.subarray(start, end), number));
      start = searched;
    }
    pending = pending.subarray(start);
    searched = Math.max(0, Math.min(searched - start, pending.length - SEPARATOR.length));
    if (pending.length > recordBytes + HEADER_BYTES) {
      throw new InputProblem(`record ${number + 1} has more than ${recordBytes} bytes`);
    }
    if (records.length > 0) yield records;
  }
  yield lastRecords(pending, number);
}

/** The records of the last bytes, the end of the file being an end as well. */
function lastRecords(bytes: Buffer, before: number): GorRecord[] {
  const records: GorRecord[] = [];
  let start = 0;
  let from = 0;
  for (let end = separatorAfter(bytes, 0); end >= 0; end = separatorAfter(bytes, from)) {
    from = end + SEPARATOR.length;
    const rest = bytes.subarray(from);
    if (rest.toString().trim() !== '' && !beginsRecord(rest.subarray(0, HEADER_BYTES))) continue;
    records.push(recordOf(bytes.subarray(start, end), before + records.length + 1));
    start = from;
  }
  if (bytes.subarray(start).toString().trim() === '') return records;
  const number = before + records.length + 1;
  if (!beginsRecord(bytes.subarray(start, start + HEADER_BYTES))) recordOf(bytes.subarray(start), number);
  throw new InputProblem(`the file ends within record ${number}`, {
    hint: 'The file was cut short: fetch or copy it again.',
  });
}

function separatorAfter(bytes: Buffer, from: number): number {
  return bytes.indexOf(SEPARATOR, from);
}

function beginsRecord(bytes: Buffer): boolean {
  const end = bytes.indexOf(0x0a);
  return end > 0 && HEADER.test(lineOf(bytes, end));
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
  return {
    number,
    type: Number(type) as 1 | 2 | 3,
    id,
    timeUs: microseconds(time),
    latencyUs: latency === undefined || Number(latency) <= 0 ? null : microseconds(latency),
    message: bytes.subarray(end + 1),
  };
}

/** Nanoseconds as microseconds, rounded half up once. */
function microseconds(ns: string): number {
  return Number((BigInt(ns) + 500n) / 1000n);
}
