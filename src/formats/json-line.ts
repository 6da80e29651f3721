import { reasonOf } from '../core/errors.ts';
import { InputProblem, OTHER_FORMAT } from './input-problem.ts';
import type { TextLine } from './text-lines.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** What went wrong with a line, in place. JSON that is nested deeper than the stack is an input like any other. */
export function lineProblem(thrown: unknown, line: number): unknown {
  if (thrown instanceof InputProblem) return thrown.at(line);
  if (!(thrown instanceof RangeError && /call stack/i.test(thrown.message))) return thrown;
  return new InputProblem('the JSON is nested too deeply', {
    line,
    hint: 'Take the line out, or flatten it.',
    cause: thrown,
  });
}

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
