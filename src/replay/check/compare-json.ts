import { UnreadableBody } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import type { PointerState } from '../../redaction/pointer-states.ts';
import type { CheckTolerance } from '../options/parsers.ts';
import { placeOf } from './compared-fields.ts';

/** The first difference of two documents: in their shape if there is one, else in a value. */
interface JsonDifference {
  readonly kind: 'shape' | 'values' | null;
  readonly pointer: string | null;
  /** Whether a masked value in the recorded document was skipped. */
  readonly masked: boolean;
}

export interface JsonComparison {
  /** If false, only names, types and lengths are compared. */
  readonly values: boolean;
  readonly tolerance: CheckTolerance;
}

type Path = (string | number)[];
type Record_ = Readonly<Record<string, unknown>>;

/**
 * Compares two documents member by member; the order of members does not matter. Numbers are equal within the
 * tolerance. Whole numbers must be the same, because an index or id that differs by one is another one.
 */
export function jsonDifference(
  recorded: unknown,
  answered: unknown,
  root: PointerState,
  comparison: JsonComparison,
): JsonDifference {
  const walk = new DifferenceWalk(comparison);
  walk.compare(recorded, answered, root, 0);
  return walk.result();
}

/** Whether two numbers are equal within the tolerance. Whole numbers must be the same. */
export function isNear(recorded: number, answered: number, tolerance: CheckTolerance): boolean {
  if (recorded === answered) return true;
  if (Number.isInteger(recorded) && Number.isInteger(answered)) return false;
  return isNearFloat(recorded, answered, tolerance);
}

/** Like `isNear`, for floating-point types: whole numbers also have a tolerance. */
export function isNearFloat(
  recorded: number,
  answered: number,
  { relative, absolute }: CheckTolerance,
): boolean {
  if (recorded === answered || (Number.isNaN(recorded) && Number.isNaN(answered))) return true;
  const apart = Math.abs(recorded - answered);
  if (!Number.isFinite(apart)) return false;
  return apart <= Math.max(absolute, relative * Math.max(Math.abs(recorded), Math.abs(answered)));
}

class DifferenceWalk {
  readonly #comparison: JsonComparison;
  readonly #path: Path = [];
  #shapeAt: string | null = null;
  #valueAt: string | null = null;
  #masked = false;

  constructor(comparison: JsonComparison) {
    this.#comparison = comparison;
  }

  result(): JsonDifference {
    const kind = this.#shapeAt !== null ? 'shape' : this.#valueAt !== null ? 'values' : null;
    return { kind, pointer: this.#shapeAt ?? this.#valueAt, masked: this.#masked };
  }

  compare(recorded: unknown, answered: unknown, state: PointerState, depth: number): void {
    const place = placeOf(state);
    if (place !== 'compared') {
      this.#masked ||= place === 'masked';
      return;
    }
    const type = typeOf(recorded);
    const isNested = type === 'array' || type === 'object';
    if (type !== typeOf(answered)) this.#shape();
    else if (isNested && depth >= LIMITS.jsonDepth) throw new UnreadableBody('too_deep');
    else if (type === 'array') this.#arrays(recorded as unknown[], answered as unknown[], state, depth);
    else if (type === 'object') this.#objects(recorded as Record_, answered as Record_, state, depth);
    else if (this.#comparison.values && this.#valueAt === null && !this.#equal(recorded, answered))
      this.#valueAt = pointerOf(this.#path);
  }

  #equal(recorded: unknown, answered: unknown): boolean {
    if (recorded === answered) return true;
    // Both are integers too large for a number, and they differ.
    if (typeof recorded === 'bigint' && typeof answered === 'bigint') return false;
    if (typeof recorded !== 'number' && typeof recorded !== 'bigint') return false;
    return isNear(Number(recorded), Number(answered), this.#comparison.tolerance);
  }

  #arrays(recorded: readonly unknown[], answered: readonly unknown[], state: PointerState, depth: number) {
    if (recorded.length !== answered.length) {
      this.#shape();
      return;
    }
    for (let at = 0; at < recorded.length && this.#shapeAt === null; at += 1) {
      const next = state.idle ? state : state.readsNames ? state.member(`${at}`) : state.other();
      this.#path.push(at);
      this.compare(recorded[at], answered[at], next, depth + 1);
      this.#path.pop();
    }
  }

  #objects(recorded: Record_, answered: Record_, state: PointerState, depth: number): void {
    for (const name of Object.keys(recorded)) {
      if (this.#shapeAt !== null) return;
      const next = state.idle ? state : state.member(name);
      this.#path.push(name);
      if (Object.hasOwn(answered, name)) this.compare(recorded[name], answered[name], next, depth + 1);
      else this.#oneSided(next);
      this.#path.pop();
    }
    for (const name of Object.keys(answered)) {
      if (this.#shapeAt !== null) return;
      if (Object.hasOwn(recorded, name)) continue;
      this.#path.push(name);
      this.#oneSided(state.idle ? state : state.member(name));
      this.#path.pop();
    }
  }

  /** Notes a member that only one of the two documents has. */
  #oneSided(state: PointerState): void {
    if (placeOf(state) !== 'ignored') this.#shape();
  }

  #shape(): void {
    this.#shapeAt ??= pointerOf(this.#path);
  }
}

/**
 * Names that programmers give, in snake case or camel case. Other names may come from clients or models, such as a
 * person's name or a key, and count as payload.
 */
const PLAIN_NAME = /^_?(?:[a-z]{1,20}(?:_[a-z]{1,20}){0,4}|[a-z]{1,20}(?:[A-Z][a-z]{1,20}){0,4})_?\d{0,2}$/;

/** The place as a JSON pointer without payload: names that are no plain words become `*`. */
export function pointerOf(path: readonly (string | number)[]): string {
  return path.map((step) => (typeof step === 'number' || PLAIN_NAME.test(step) ? `/${step}` : '/*')).join('');
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'bigint') return 'number';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** Matches an integer that may be too large for a number: at least 16 digits, without fraction or exponent. */
const MAY_BE_LARGE = /(?:^|[[:,\s])-?\d{16,}(?:[\s,\]}]|$)/;
const INTEGER = /^-?\d+$/;

type Reviver = (
  this: unknown,
  name: string,
  value: unknown,
  context: { readonly source?: string },
) => unknown;

/**
 * Parses JSON, with integers beyond 2^53 as `bigint`. As numbers, ids that differ in their last digits would be equal.
 * @throws SyntaxError if the text is no JSON
 */
export function parseExactly(text: string): unknown {
  if (!MAY_BE_LARGE.test(text)) return JSON.parse(text) as unknown;
  const exact: Reviver = (_name, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && source !== undefined && INTEGER.test(source)
      ? BigInt(source)
      : value;
  return JSON.parse(text, exact as Parameters<typeof JSON.parse>[1]) as unknown;
}

/** A body without its content coding, and the headers that describe it. */
export interface ReadableAnswer {
  readonly bytes: Uint8Array;
  readonly contentType: string | null;
  /** Bytes of JSON before Triton's binary tensors; null without them. */
  readonly jsonBytes: number | null;
}

/** A content type without its parameters. */
export function mediaTypeOf(contentType: string | null): string {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}
