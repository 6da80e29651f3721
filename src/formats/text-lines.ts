import { LIMITS } from '../core/limits.ts';
import { InputProblem } from './input-problem.ts';

export interface TextLine {
  /** From 1. */
  readonly number: number;
  /** Without its line end. */
  readonly bytes: Buffer;
}

const LF = 0x0a;
const CR = 0x0d;

/**
 * Splits bytes into lines (LF or CRLF), all lines of a chunk at once. Blank lines are counted and left out.
 * @throws InputProblem for a line over the limit: without a bound, a file without line ends would be held whole.
 */
export async function* textLines(
  chunks: AsyncIterable<Buffer>,
  lineBytes: number = LIMITS.importLineBytes,
): AsyncGenerator<TextLine[]> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let number = 0;
  for await (const chunk of chunks) {
    const lines: TextLine[] = [];
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      number += 1;
      pending.push(chunk.subarray(start, end));
      start = end + 1;
      const bytes = withoutCr(pending.length === 1 ? pending[0]! : Buffer.concat(pending));
      bound(bytes.length, number, lineBytes);
      if (!isBlank(bytes)) lines.push({ number, bytes });
      pending = [];
      pendingBytes = 0;
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start));
      pendingBytes += chunk.length - start;
      bound(pendingBytes, number + 1, lineBytes);
    }
    if (lines.length > 0) yield lines;
  }
  const bytes = withoutCr(Buffer.concat(pending));
  if (!isBlank(bytes)) yield [{ number: number + 1, bytes }];
}

function bound(bytes: number, line: number, limit: number): void {
  if (bytes > limit) throw new InputProblem(`a line of more than ${limit} bytes`, { line });
}

function withoutCr(bytes: Buffer): Buffer {
  return bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes;
}

function isBlank(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0x20 && byte !== 0x09) return false;
  return true;
}
