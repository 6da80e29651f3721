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

/** The objects of an array; empty where there is none. */
export function arrayAt(object: JsonObject, key: string): JsonObject[] {
  const value = Object.hasOwn(object, key) ? object[key] : null;
  return Array.isArray(value) ? value.map(asObject).filter((each) => each !== null) : [];
}

function asObject(value: unknown): JsonObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
}
