import { AppError } from '../../core/errors.ts';
import type { Send } from '../../core/run.ts';
import { parseBytes } from '../../core/units.ts';

/** The properties of requests that slices can select by. */
export const SLICE_KEYS = ['model', 'route', 'size', 'client', 'stage', 'fault'] as const;
type SliceKey = (typeof SLICE_KEYS)[number];

/** Named sizes of request bodies in bytes: the lower end is included, the upper end is not. */
const SIZES: Readonly<Record<string, readonly [from: number, below: number]>> = {
  small: [0, 4_096],
  medium: [4_096, 65_536],
  large: [65_536, Number.POSITIVE_INFINITY],
};

/** The values that slices select sends by. Null if a send has none. */
export type SliceFacts = Pick<Send, 'model' | 'route' | 'client' | 'requestBytes'> & {
  /** Counted from 1, like the parts of `--stages` for a user. */
  readonly stage: number;
  /**
   * The planned faults that affected the request, and whether the run's own objectives apply to it. By default they
   * apply.
   */
  readonly faults?: readonly string[];
  readonly isOutside?: boolean;
};

/** A value instead of a fault's name: requests to which the run's own objectives apply. */
export const NO_FAULT = 'none';

/** The slice reduced to the requests of this fault. */
export function withFault(slice: Slice | null, fault: string): Slice {
  return { tags: [...(slice?.tags ?? []), { key: 'fault', value: fault }], each: slice?.each ?? null };
}

/** The fault of a slice that has no other condition; null for other slices. */
export function faultOf(slice: Slice | null): string | null {
  const [tag, ...more] = slice?.tags ?? [];
  return tag?.key === 'fault' && more.length === 0 && slice?.each === null ? tag.value : null;
}

/** One condition: `model=gpt`. */
interface Tag {
  readonly key: SliceKey;
  readonly value: string;
}

/** A part of a run's requests: those with all tags. With `each`, every value of that key is a part by itself. */
export interface Slice {
  readonly tags: readonly Tag[];
  readonly each: SliceKey | null;
}

/**
 * The pattern of a slice: `{model=gpt, stage=2}`. Quoted values may contain commas and braces. Each character matches
 * in only one way, so the time is linear in the length.
 */
export const SLICE_PATTERN = String.raw`\{(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^"'{}])*\}`;
const TAG_PATTERN = /(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^"',])+/g;

/**
 * Parses `{model=gpt, route="POST /v1/chat"}`. It also accepts k6's `:` for `=`, and `{*model}` for each model
 * separately.
 * @returns the slice, or why it is invalid
 */
export function parseSlice(text: string): Slice | string {
  const tags: Tag[] = [];
  let each: SliceKey | null = null;
  for (const piece of text.slice(1, -1).match(TAG_PATTERN) ?? []) {
    const tag = parseTag(piece.trim());
    if (typeof tag === 'string') return tag;
    if (each === tag.key || tags.some(({ key }) => key === tag.key)) return `names ${tag.key} twice`;
    if (tag.value !== null) tags.push({ key: tag.key, value: tag.value });
    else if (each !== null) return `asks for each ${each} and each ${tag.key}: one objective takes one *`;
    else each = tag.key;
  }
  if (tags.length === 0 && each === null)
    return 'has an empty slice: write {model=NAME}, or {*model} for each';
  const rank = ({ key }: Tag) => SLICE_KEYS.indexOf(key);
  return { tags: tags.sort((a, b) => rank(a) - rank(b)), each };
}

/** Parses one tag. A null value means each value of the key. */
function parseTag(text: string): { readonly key: SliceKey; readonly value: string | null } | string {
  const [, star, name = '', stated] = /^(\*?)\s*([^=:\s]*)\s*(?:[=:](.*))?$/s.exec(text) ?? [];
  const key = SLICE_KEYS.find((known) => known === name);
  if (key === undefined) return `has an unknown slice key ${name || text} (${SLICE_KEYS.join(', ')})`;
  if (star === '*') {
    return stated === undefined ? { key, value: null } : `has a value beside *${key}: write {*${key}}`;
  }
  const value = parseValue((stated ?? '').trim());
  if (value === null) {
    return `has no value for ${key} that can be read: put a value with quotes, commas, braces or * into "…"`;
  }
  const problem = problemOf(key, value);
  return problem === null ? { key, value: key === 'client' ? value.toLowerCase() : value } : problem;
}

/** Null for an empty value, or one that needs quotes. */
function parseValue(text: string): string | null {
  if (text.startsWith("'")) return /^'[^']+'$/.test(text) ? text.slice(1, -1) : null;
  if (!text.startsWith('"')) return text === '' || /["'*]/.test(text) ? null : text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'string' && value !== '' ? value : null;
  } catch {
    return null;
  }
}

/** Why a value can never match; null if it can. */
function problemOf(key: SliceKey, value: string): string | null {
  if (key === 'stage' && !/^[1-9]\d*$/.test(value)) return `has a stage ${value} that is no number from 1`;
  if (key === 'client' && !/^[0-9a-f]{16}$/i.test(value)) {
    return `has a client ${value} that is not its hash in the capture, 16 hex digits`;
  }
  if (key === 'size' && sizeRange(value) === null) {
    return `has a size ${value} that is none of ${Object.keys(SIZES).join(', ')}, and no range such as 1KiB..64KiB`;
  }
  return null;
}

/** The range of `large`, or of `1KiB..64KiB` with an optional start or end. Null for other texts. */
function sizeRange(text: string): readonly [from: number, below: number] | null {
  if (Object.hasOwn(SIZES, text)) return SIZES[text] ?? null;
  const [from, below, ...rest] = text.split('..');
  if (from === undefined || below === undefined || rest.length > 0) return null;
  try {
    const range = [
      from === '' ? 0 : parseBytes(from, 'size'),
      below === '' ? Number.POSITIVE_INFINITY : parseBytes(below, 'size'),
    ] as const;
    return range[0] < range[1] ? range : null;
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

/** The slice as text: `{model=gpt,stage=2}`. Values have quotes if necessary. */
export function sliceText({ tags, each }: Slice): string {
  const texts = tags.map(
    ({ key, value }) => `${key}=${/[\s"'{},;*]/.test(value) ? JSON.stringify(value) : value}`,
  );
  return `{${[...(each === null ? [] : [`*${each}`]), ...texts].join(',')}}`;
}

/** The part with this value of the key after `*`. */
export function sliceOf({ tags, each }: Slice, value: string | null): Slice {
  return each === null || value === null
    ? { tags, each }
    : { tags: [...tags, { key: each, value }], each: null };
}

/** Whether a send has every tag. */
export function isInSlice({ tags }: Slice, facts: SliceFacts): boolean {
  return tags.every(({ key, value }) => {
    if (key === 'size') {
      const [from, below] = sizeRange(value) ?? [0, 0];
      return facts.requestBytes >= from && facts.requestBytes < below;
    }
    if (key === 'fault')
      return value === NO_FAULT ? facts.isOutside !== false : facts.faults?.includes(value) === true;
    if (key === 'route') return isOfRoute(value, facts);
    return sliceValueOf(key, facts) === value;
  });
}

/** @param named `POST /v1/chat`; a path alone means any method */
export function isOfRoute(named: string, { route }: Pick<SliceFacts, 'route'>): boolean {
  return route === named || (named.startsWith('/') && route?.slice(route.indexOf(' ') + 1) === named);
}

/** Text that is safe within double quotes in a shell. Names in a recording may contain any characters. */
const PLAIN = /^[\w ./:@{}-]+$/;

/**
 * The flags of `reprise show` that list only requests of a slice, each after a space. Conditions without a flag are
 * left out.
 */
export function shownBy(slice: Slice | null): string {
  const flags = (slice?.tags ?? []).map(({ key, value }) => {
    if ((key !== 'route' && key !== 'model') || !PLAIN.test(value)) return '';
    return ` --${key} ${/[ {}]/.test(value) ? `"${value}"` : value}`;
  });
  return flags.join('');
}

export function sliceValueOf(key: SliceKey, facts: SliceFacts): string | null {
  if (key === 'stage') return String(facts.stage);
  if (key === 'fault') return facts.faults?.[0] ?? NO_FAULT;
  if (key !== 'size') return facts[key];
  const named = Object.entries(SIZES).find(([, [, below]]) => facts.requestBytes < below);
  return named?.[0] ?? null;
}
