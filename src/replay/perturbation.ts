import { AppError } from '../core/errors.ts';
import { type HeaderPair, HOP_BY_HOP, MARKER_HEADER } from '../core/headers.ts';
import { ANY_MEMBER, parseJsonPointer } from '../core/json-pointer.ts';
import { type JsonScalar, spliceJson } from './json-splice.ts';
import { newScalar, parsedText } from './new-names.ts';

/** Where a copy is made to differ from what it is a copy of. Plain data. */
export type PerturbedPlace =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'json'; readonly pointer: string; readonly steps: readonly string[] };

/** Says of a copy which one it is, so that its target's logs tell it from what was recorded. */
export const COPY_HEADER = 'x-reprise-copy';

/** Written by the replay or by the HTTP client: they say where a message goes and where it ends. */
const NOT_TO_CHANGE: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'inference-header-content-length',
  'expect',
  MARKER_HEADER,
  COPY_HEADER,
]);

/**
 * Reads `header:NAME` or `json:/POINTER`.
 * @throws AppError OPTION_INVALID
 */
export function parsePerturbedPlace(text: string): PerturbedPlace {
  const colon = text.indexOf(':');
  const kind = text.slice(0, Math.max(0, colon));
  const rest = text.slice(colon + 1);
  if (kind === 'header' && /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(rest)) {
    if (!NOT_TO_CHANGE.has(rest.toLowerCase())) return { kind, name: rest };
    throw new AppError('OPTION_INVALID', `--perturb: header ${rest} steers the message itself`);
  }
  if (kind === 'json') {
    const parsed = parseJsonPointer(rest, '--perturb');
    const steps = parsed.filter((step) => step !== ANY_MEMBER);
    if (steps.length > 0 && steps.length === parsed.length) return { kind, pointer: rest, steps };
  }
  throw new AppError('OPTION_INVALID', `--perturb: ${JSON.stringify(text)} is no place`, {
    hint: 'Write header:NAME, or json:/POINTER naming one text or number, such as json:/messages/0/content.',
  });
}

export function placeText(place: PerturbedPlace): string {
  return place.kind === 'header' ? `header:${place.name}` : `json:${place.pointer}`;
}

/** The header with a tag of the copy's own: behind its value, or alone where it was not there. */
export function perturbHeaders(headers: readonly HeaderPair[], name: string, tag: string): HeaderPair[] {
  const lower = name.toLowerCase();
  const at = headers.findIndex(([each]) => each.toLowerCase() === lower);
  if (at < 0) return [...headers, [name, tag]];
  return headers.map(([each, value], index) => [
    each,
    index === at ? `${value}${value === '' ? '' : '-'}${tag}` : value,
  ]);
}

/**
 * The document with a tag in front of a text (so that no cache of its beginning serves it), or another number.
 * Null where the place holds neither.
 */
export function perturbJson(json: Uint8Array, steps: readonly string[], tag: string): Buffer | null {
  return spliceJson(json, steps, (value) => tagged(value, tag));
}

function tagged(value: JsonScalar, tag: string): string {
  return value.isText ? JSON.stringify(`${tag} ${parsedText(value.literal)}`) : newScalar(value, tag);
}
