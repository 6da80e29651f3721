import { csvRows } from './csv-rows.ts';
import { InputProblem, NOTHING_IN_IT } from './input-problem.ts';
import { jsonlRows } from './jsonl-rows.ts';
import type { TraceFields, TraceRow } from './trace-row.ts';

/**
 * The rows of a trace in the order of the file, some at a time. JSONL is told from CSV by its first character.
 * @throws InputProblem naming the line that is malformed.
 */
export async function* traceRows(
  chunks: AsyncGenerator<Buffer>,
  fields: TraceFields,
): AsyncGenerator<TraceRow[]> {
  const first = await chunks.next();
  if (first.done === true) throw new InputProblem('the file is empty', { hint: NOTHING_IN_IT });
  const firstCharacter = first.value.toString('latin1').trimStart()[0];
  if (firstCharacter === '[') {
    throw new InputProblem('the file is a JSON array', {
      line: 1,
      hint: "Give one JSON object a line (JSONL), e.g. with jq -c '.[]'.",
    });
  }
  const all = prepend(first.value, chunks);
  yield* firstCharacter === '{' ? jsonlRows(all, fields) : csvRows(all, fields);
}

async function* prepend(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}
