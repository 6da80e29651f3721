import { LIMITS } from '../core/limits.ts';
import { InputProblem, shown } from './input-problem.ts';
import { type JsonObject, lineProblem, parseJsonLine } from './json-line.ts';
import { type TextLine, textLines } from './text-lines.ts';
import type { TraceFields, TraceRow } from './trace-row.ts';

/**
 * Rows of a JSONL, one object a line. A field is a key of the object or, beginning with `/`, a JSON pointer
 * (RFC 6901) into it.
 * @throws InputProblem for a line that is no JSON object, or whose time is neither number nor text.
 */
export async function* jsonlRows(
  chunks: AsyncIterable<Buffer>,
  fields: TraceFields,
): AsyncGenerator<TraceRow[]> {
  const time = keysOf(fields.time);
  const client = fields.client === null ? null : keysOf(fields.client);
  const session = fields.session === null ? null : keysOf(fields.session);
  for await (const lines of textLines(chunks, LIMITS.importRecordBytes)) {
    yield lines.map((line) => {
      const row = parseJsonLine(line);
      try {
        return {
          line: line.number,
          time: timeText(row, time, fields.time, line),
          client: client && scalarText(row, client, line),
          session: session && scalarText(row, session, line),
        };
      } catch (thrown) {
        throw lineProblem(thrown, line.number);
      }
    });
  }
}

function timeText(row: JsonObject, keys: readonly string[], field: string, line: TextLine): string {
  const value = valueAt(row, keys);
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return numberText(value, line, keys);
  throw new InputProblem(`no time in field ${shown(field)}`, {
    line: line.number,
    hint: `The object has the fields: ${Object.keys(row).map(shown).join(', ')}.`,
  });
}

/** The digits of a number as they stand in the file: a double rounds 1700000000.1234567 and 64-bit ids. */
function numberText(number: number, line: TextLine, keys: readonly string[]): string {
  if (Number.isSafeInteger(number)) return String(number);
  const numbersAsText = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
    typeof value === 'number' ? context?.source : value;
  const row = JSON.parse(line.bytes.toString(), numbersAsText) as JsonObject;
  return String(valueAt(row, keys));
}

function scalarText(row: JsonObject, keys: readonly string[], line: TextLine): string | null {
  const value = valueAt(row, keys);
  if (value === undefined || value === null || value === '') return null;
  if (typeof value === 'object') {
    throw new InputProblem(`${shown(keys.join('/'))} is no text or number`, { line: line.number });
  }
  return typeof value === 'number' ? numberText(value, line, keys) : String(value);
}

function keysOf(field: string): readonly string[] {
  if (!field.startsWith('/')) return [field];
  return field
    .slice(1)
    .split('/')
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function valueAt(row: JsonObject, keys: readonly string[]): unknown {
  let value: unknown = row;
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as JsonObject)[key];
  }
  return value;
}
