import { LIMITS } from '../core/limits.ts';
import { InputProblem } from './input-problem.ts';
import type { JsonObject } from './json-line.ts';

/** Fields of a JSON that somebody else wrote: what is of another type is as good as missing. */

export function objectAt(object: JsonObject, key: string): JsonObject | null {
  return asObject(Object.hasOwn(object, key) ? object[key] : null);
}

/** Empty where there is none. */
export function textAt(object: JsonObject, key: string): string {
  const value = Object.hasOwn(object, key) ? object[key] : null;
  return typeof value === 'string' ? value : '';
}

export function numberAt(object: JsonObject, key: string): number | null {
  const value = Object.hasOwn(object, key) ? object[key] : null;
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A size in bytes; null where there is none, or one below zero, which says as much. @throws InputProblem */
export function sizeAt(object: JsonObject, key: string): number | null {
  const size = numberAt(object, key);
  if (size === null || size < 0) return null;
  if (Number.isInteger(size) && size <= LIMITS.importBodyBytes) return size;
  throw new InputProblem(`${key} ${size} is no size of a body`, {
    hint: `Sizes are whole numbers up to ${LIMITS.importBodyBytes}; correct it, or leave it out.`,
  });
}

/** A length of time; null as for sizes. @throws InputProblem */
export function durationMsAt(object: JsonObject, key: string): number | null {
  const ms = numberAt(object, key);
  if (ms === null || ms < 0) return null;
  if (ms * 1e3 <= LIMITS.importOffsetUs) return ms;
  throw new InputProblem(`${key} ${ms} is more milliseconds than an exchange takes`, {
    hint: 'Correct it, or leave it out.',
  });
}

/** The objects of an array; empty where there is none. */
export function arrayAt(object: JsonObject, key: string): JsonObject[] {
  const value = Object.hasOwn(object, key) ? object[key] : null;
  return Array.isArray(value) ? value.map(asObject).filter((each) => each !== null) : [];
}

function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
}
