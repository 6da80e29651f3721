import { reasonOf } from '../core/errors.ts';
import { InputProblem, OTHER_FORMAT } from './input-problem.ts';
import type { TextLine } from './text-lines.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * The object on a line.
 * @throws InputProblem when there is none.
 */
export function parseJsonLine(line: TextLine): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(line.bytes.toString());
  } catch (thrown) {
    throw new InputProblem(`not JSON: ${reasonOf(thrown)}`, {
      line: line.number,
      hint: OTHER_FORMAT,
      cause: thrown,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InputProblem('not a JSON object', { line: line.number, hint: 'Each line must be an object.' });
  }
  return value as JsonObject;
}
