import { jsonElement, jsonMember, jsonStart } from '../core/json-cursor.ts';

/** A text or a number of a document as it stands there, quotes included. */
export interface JsonScalar {
  readonly literal: string;
  readonly isText: boolean;
}

/** A document, and where a value of it begins and ends. */
interface Found {
  readonly from: number;
  readonly to: number;
  readonly value: JsonScalar;
}

/**
 * Puts another value in the place of one, every other byte as it was.
 * @param change gives the new literal; null leaves the document as it is
 * @returns null where there is no such text or number, or it is to stay
 */
export function spliceJson(
  json: Uint8Array,
  steps: readonly string[],
  change: (value: JsonScalar) => string | null,
): Buffer | null {
  const found = find(json, steps);
  const literal = found === null ? null : change(found.value);
  if (found === null || literal === null) return null;
  return Buffer.concat([json.subarray(0, found.from), Buffer.from(literal, 'utf8'), json.subarray(found.to)]);
}

/** Whether there is a text or a number in this place. */
export function hasScalar(json: Uint8Array, steps: readonly string[]): boolean {
  return find(json, steps) !== null;
}

function find(json: Uint8Array, steps: readonly string[]): Found | null {
  let at = jsonStart(json);
  for (const step of steps) {
    const member = jsonMember(json, at, Buffer.from(step, 'utf8').toString('latin1'));
    at = member < 0 && /^\d{1,6}$/.test(step) ? jsonElement(json, at, Number(step)) : member;
    if (at < 0) return null;
  }
  const bytes = Buffer.from(json.buffer, json.byteOffset, json.byteLength);
  const to = json[at] === 0x22 ? textEnd(bytes, at) : numberEnd(bytes, at);
  if (to < 0) return null;
  return { from: at, to, value: { literal: bytes.toString('utf8', at, to), isText: json[at] === 0x22 } };
}

/** Position after the closing quote of the text that opens at `at`; -1 where it is cut. */
function textEnd(json: Buffer, at: number): number {
  for (let quote = json.indexOf(0x22, at + 1); quote >= 0; quote = json.indexOf(0x22, quote + 1)) {
    let slashes = quote;
    while (slashes > at + 1 && json[slashes - 1] === 0x5c) slashes -= 1;
    if ((quote - slashes) % 2 === 0) return quote + 1;
  }
  return -1;
}

function numberEnd(json: Buffer, at: number): number {
  const literal = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/.exec(json.toString('latin1', at, at + 64))?.[0];
  return literal === undefined ? -1 : at + literal.length;
}
