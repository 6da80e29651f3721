import { orNull } from '../core/missing-number.ts';
import { FINISH_REASONS, type FinishReason, SEND_ERRORS, type SendAnswer } from '../core/run.ts';
import type { SendResult } from './send-result.ts';

const COLUMNS = 20;
const REFUSED = 1;
const REUSED = 2;
const CANCELLED = 4;
const STREAMED = 8;
/** Whether it streamed is known. */
const HEADED = 16;
const ANSWERED = 32;

/** Results on their way to the main thread: their number, then a row of numbers each, NaN for null, then gaps. */
export function packResults(results: readonly SendResult[]): Uint8Array<ArrayBuffer> {
  const table = (1 + results.length * COLUMNS) * Float64Array.BYTES_PER_ELEMENT;
  const gapBytes = results.reduce((sum, { answer }) => sum + (answer?.gaps?.length ?? 0), 0);
  const packed = new ArrayBuffer(table + gapBytes);
  const rows = new Float64Array(packed, 0, 1 + results.length * COLUMNS);
  const bytes = new Uint8Array(packed);
  rows[0] = results.length;
  let gapsAt = table;
  results.forEach((result, row) => {
    writeRow(rows, 1 + row * COLUMNS, result);
    const gaps = result.answer?.gaps ?? null;
    if (gaps === null) return;
    bytes.set(gaps, gapsAt);
    gapsAt += gaps.length;
  });
  return bytes;
}

export function unpackResults(bytes: Uint8Array): SendResult[] {
  const count = new Float64Array(bytes.buffer, bytes.byteOffset, 1)[0] ?? 0;
  const rows = new Float64Array(bytes.buffer, bytes.byteOffset, 1 + count * COLUMNS);
  const results: SendResult[] = [];
  let gapsAt = rows.byteLength;
  for (let at = 1; at < rows.length; at += COLUMNS) {
    const gapBytes = orNull(rows[at + 14]);
    const gaps = gapBytes === null ? null : bytes.slice(gapsAt, gapsAt + gapBytes);
    gapsAt += gapBytes ?? 0;
    results.push(resultOf(rows, at, gaps));
  }
  return results;
}

function writeRow(rows: Float64Array, at: number, result: SendResult): void {
  const { answer } = result;
  rows[at] = result.index;
  rows[at + 1] = result.intendedOffsetNs;
  rows[at + 2] = result.actualOffsetNs ?? Number.NaN;
  rows[at + 3] = result.startOffsetNs ?? Number.NaN;
  rows[at + 4] = result.firstByteOffsetNs ?? Number.NaN;
  rows[at + 5] = result.lastByteOffsetNs ?? Number.NaN;
  rows[at + 6] = result.status ?? Number.NaN;
  rows[at + 7] = result.responseBytes;
  rows[at + 8] = result.error === null ? -1 : SEND_ERRORS.indexOf(result.error);
  rows[at + 9] = flagsOf(result);
  rows[at + 10] = answer?.firstTokenOffsetNs ?? Number.NaN;
  rows[at + 11] = answer?.lastTokenOffsetNs ?? Number.NaN;
  rows[at + 12] = answer?.contentEvents ?? 0;
  rows[at + 13] = answer?.gapMaxNs ?? Number.NaN;
  rows[at + 14] = answer?.gaps?.length ?? Number.NaN;
  rows[at + 15] = answer?.promptTokens ?? Number.NaN;
  rows[at + 16] = answer?.outputTokens ?? Number.NaN;
  rows[at + 17] = answer === null || answer.finish === null ? -1 : FINISH_REASONS.indexOf(answer.finish);
  rows[at + 18] = result.connectionWaitNs ?? Number.NaN;
  rows[at + 19] = packFinishes(answer?.finishes ?? null);
}

function resultOf(rows: Float64Array, at: number, gaps: Uint8Array | null): SendResult {
  const flags = rows[at + 9] ?? 0;
  return {
    index: rows[at] ?? 0,
    intendedOffsetNs: rows[at + 1] ?? 0,
    actualOffsetNs: orNull(rows[at + 2]),
    connectionWaitNs: orNull(rows[at + 18]),
    startOffsetNs: orNull(rows[at + 3]),
    firstByteOffsetNs: orNull(rows[at + 4]),
    lastByteOffsetNs: orNull(rows[at + 5]),
    status: orNull(rows[at + 6]),
    responseBytes: rows[at + 7] ?? 0,
    error: SEND_ERRORS[rows[at + 8] ?? -1] ?? null,
    refused: (flags & REFUSED) !== 0,
    cancelled: (flags & CANCELLED) !== 0,
    streamed: (flags & HEADED) === 0 ? null : (flags & STREAMED) !== 0,
    answer: (flags & ANSWERED) === 0 ? null : answerOf(rows, at, gaps),
    reusedConnection: (flags & REUSED) !== 0,
  };
}

function answerOf(rows: Float64Array, at: number, gaps: Uint8Array | null): SendAnswer {
  return {
    firstTokenOffsetNs: orNull(rows[at + 10]),
    lastTokenOffsetNs: orNull(rows[at + 11]),
    contentEvents: rows[at + 12] ?? 0,
    gapMaxNs: orNull(rows[at + 13]),
    gaps,
    promptTokens: orNull(rows[at + 15]),
    outputTokens: orNull(rows[at + 16]),
    finish: FINISH_REASONS[rows[at + 17] ?? -1] ?? null,
    finishes: unpackFinishes(rows[at + 19] ?? 0),
  };
}

/** Three bits a choice, 49 with the mark of 16 choices, of the 53 that a number has: 0 is no reason. */
const FINISH_STEPS = 8;

/** Ends with a mark, so that choices that said nothing count as well. */
function packFinishes(finishes: readonly (FinishReason | null)[] | null): number {
  if (finishes === null) return 0;
  const digits = finishes.map((reason) => (reason === null ? 0 : FINISH_REASONS.indexOf(reason) + 1));
  return digits.reduceRight<number>((sum, digit) => sum * FINISH_STEPS + digit, 1);
}

function unpackFinishes(packed: number): readonly (FinishReason | null)[] | null {
  if (packed === 0) return null;
  const finishes: (FinishReason | null)[] = [];
  for (let rest = packed; rest >= FINISH_STEPS; rest = Math.floor(rest / FINISH_STEPS))
    finishes.push(FINISH_REASONS[(rest % FINISH_STEPS) - 1] ?? null);
  return finishes;
}

function flagsOf({ refused, reusedConnection, cancelled, streamed, answer }: SendResult): number {
  let flags = streamed === null ? 0 : HEADED;
  if (refused) flags |= REFUSED;
  if (reusedConnection) flags |= REUSED;
  if (cancelled) flags |= CANCELLED;
  if (streamed === true) flags |= STREAMED;
  if (answer !== null) flags |= ANSWERED;
  return flags;
}
