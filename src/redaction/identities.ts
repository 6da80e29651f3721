import { isUtf8 } from 'node:buffer';
import { AppError } from '../core/errors.ts';
import {
  ANY_MEMBER,
  jsonElement,
  jsonMember,
  jsonNumberLiteral,
  jsonStart,
  jsonText,
  parseJsonPointer,
} from '../core/json-cursor.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { decodePercent, ownText } from '../core/text.ts';
import { type SessionNames, STEERING_HEADERS } from './secret-names.ts';

/** What a request's head says about one of its keys. */
export interface HeadKey {
  /** Places in the body with priority over the head. */
  readonly inBody: readonly JsonSource[];
  /** The hash if none of those has a value. */
  readonly hash: Uint8Array | null;
  /** Whether the connection's peer is the key if the head has none. */
  readonly peer: boolean;
}

/** Cached hashes of each kind, for values up to a length: clients and sessions repeat. */
const REMEMBERED = 4_096;
const REMEMBERED_CHARS = 200;

type KeyKind = 'session' | 'client';
type Hashes = Record<KeyKind, Map<string, Uint8Array>>;

/**
 * Finds which exchanges belong together: reads the configured places of a request and returns keyed hashes.
 * The values themselves are not stored. Redaction also hashes the session key in stored heads.
 */
export class ExchangeKeys {
  readonly #hash: KeyedHash;
  readonly #sources: Readonly<Record<KeyKind, readonly KeySource[]>>;
  /** Where a session key is in plain text in heads. */
  readonly sessionNames: SessionNames;
  /** Replaced when full, not cleared: V8 keeps cleared entries until the next full collection. */
  readonly #hashes: Hashes = { session: new Map(), client: new Map() };
  /** By the address in the socket's spelling, because normalising it takes longer than the look-up. */
  readonly #peers: Hashes = { session: new Map(), client: new Map() };

  /**
   * @param specs places in the command line's format
   * @throws AppError OPTION_INVALID
   */
  constructor(specs: Readonly<Record<KeyKind, readonly string[]>>, hash: KeyedHash) {
    this.#hash = hash;
    this.#sources = {
      session: parseKeySources('session', specs.session),
      client: parseKeySources('client', specs.client),
    };
    const named = (wanted: 'header' | 'query') =>
      this.#sources.session.flatMap((source) => (source.kind === wanted ? [source.name] : []));
    this.sessionNames = { headers: named('header'), queryKeys: named('query') };
  }

  /** What the head says about this key. `head` is latin1 and an accepted request. */
  inHead(kind: KeyKind, head: string): HeadKey {
    const inBody: JsonSource[] = [];
    for (const source of this.#sources[kind]) {
      if (source.kind === 'json') inBody.push(source);
      else if (source.kind === 'peer') return { inBody, hash: null, peer: true };
      else {
        const value = valueInHead(source, head);
        if (value !== null) return { inBody, hash: this.#identity(kind, utf8(value)), peer: false };
      }
    }
    return { inBody, hash: null, peer: false };
  }

  /**
   * The key of a request whose head was read.
   * @param body the start of its body without content coding; null if it has nothing to find
   */
  of(kind: KeyKind, head: HeadKey, body: Uint8Array | null, peer: string | null): Uint8Array | null {
    if (body !== null) {
      for (const source of head.inBody) {
        const value = valueInBody(source, asBuffer(body));
        if (value !== null) return this.#identity(kind, value);
      }
    }
    if (!head.peer || peer === null) return head.hash;
    return this.#peers[kind].get(peer) ?? this.#noted(this.#peers, kind, peer, addressOf(peer) ?? peer);
  }

  #identity(kind: KeyKind, text: string): Uint8Array {
    return this.#hashes[kind].get(text) ?? this.#noted(this.#hashes, kind, text, text);
  }

  /** Hashes `text` and caches the hash under `found`. */
  #noted(hashes: Hashes, kind: KeyKind, found: string, text: string): Uint8Array {
    const hash = this.#hash.ofIdentity(kind, text);
    if (found.length > REMEMBERED_CHARS) return hash;
    if (hashes[kind].size >= REMEMBERED) hashes[kind] = new Map();
    hashes[kind].set(ownText(found), hash);
    return hash;
  }
}

/**
 * The texts that an identity given as `text` may have been hashed from: values are trimmed, and addresses
 * normalised.
 */
export function identityTexts(text: string): readonly string[] {
  const trimmed = text.trim();
  return [...new Set([trimmed, addressOf(trimmed) ?? trimmed])];
}

type HeadSource = Exclude<KeySource, JsonSource | { readonly kind: 'peer' }>;

/** The value at this place in a head, latin1; null if there is none. */
function valueInHead(source: HeadSource, head: string): string | null {
  if (source.kind === 'header') return headerIn(head, source.name);
  if (source.kind === 'cookie') return cookieIn(head, source.name);
  if (source.kind === 'query') {
    const value = queryValue(head, source.name);
    return value === null ? null : present(decodedBytes(value));
  }
  const forwarded = headerIn(head, 'x-forwarded-for');
  if (forwarded !== null) return addressOf(forwarded.split(',', 1)[0] ?? '');
  const standard = headerIn(head, 'forwarded')?.split(',', 1)[0] ?? '';
  return addressOf(/(?:^|;)[ \t]*for=("[^"]*"|[^;]*)/i.exec(standard)?.[1] ?? '');
}

function valueInBody({ steps, zeroIsNone }: JsonSource, body: Buffer): string | null {
  const last = steps.at(-1) ?? '';
  // Most bodies do not contain it, which this test shows without parsing.
  if (!/^\d+$/.test(last) && !body.includes(`"${last}"`)) return null;
  let at = jsonStart(body);
  for (const step of steps) {
    const member = jsonMember(body, at, latin1(step));
    at = member < 0 && /^\d{1,6}$/.test(step) ? jsonElement(body, at, Number(step)) : member;
    if (at < 0) return null;
  }
  const literal = jsonNumberLiteral(body, at);
  if (literal === null) return present(jsonText(body, at));
  const number = Number(literal);
  if (number === 0 && zeroIsNone) return null;
  // Rounding would merge sessions with 64-bit ids.
  return Number.isSafeInteger(number) || !/^-?\d+$/.test(literal) ? String(number) : literal;
}

function cookieIn(head: string, name: string): string | null {
  for (const cookies of headerValues(head, 'cookie')) {
    for (const pair of cookies.split(';')) {
      const equals = pair.indexOf('=');
      if (equals > 0 && pair.slice(0, equals).trim() === name) return present(pair.slice(equals + 1));
    }
  }
  return null;
}

/** The first value of a query key in the request line. */
function queryValue(head: string, name: string): string | null {
  const lineEnd = head.indexOf('\n');
  const [target = ''] = head.slice(0, Math.max(0, head.lastIndexOf(' ', lineEnd))).split('#', 1);
  const query = target.indexOf('?') + 1;
  for (const pair of query === 0 ? [] : target.slice(query).split('&')) {
    const equals = pair.indexOf('=');
    if (equals > 0 && decodePercent(pair.slice(0, equals)) === name) return pair.slice(equals + 1);
  }
  return null;
}

function headerIn(head: string, lowerName: string): string | null {
  return headerValues(head, lowerName).find((value) => value !== '') ?? null;
}

function headerValues(head: string, lowerName: string): string[] {
  return Array.from(head.matchAll(headerPattern(lowerName)), ([, value = '']) => withoutOws(value));
}

/** Not `trim`: it also removes bytes that belong to UTF-8. Not a pattern: it would take quadratic time. */
function withoutOws(value: string): string {
  let [from, to] = [0, value.length];
  while (from < to && isOws(value.charCodeAt(from))) from += 1;
  while (to > from && isOws(value.charCodeAt(to - 1))) to -= 1;
  return value.slice(from, to);
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d;
}

/** Cached by name, because compiling a pattern takes longer than using it. */
const PATTERNS = new Map<string, RegExp>();

function headerPattern(lowerName: string): RegExp {
  let pattern = PATTERNS.get(lowerName);
  if (pattern === undefined) {
    pattern = new RegExp(`\\n${lowerName.replace(/[.*+?^$|]/g, '\\$&')}:([^\\n]*)`, 'gi');
    PATTERNS.set(lowerName, pattern);
  }
  return pattern;
}

function present(value: string | null | undefined): string | null {
  const trimmed = value?.trim() ?? '';
  return trimmed === '' ? null : trimmed;
}

/** A percent-encoded text as decoded bytes, one character per byte. */
function decodedBytes(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** A latin1 text decoded as UTF-8; the text itself if it is not UTF-8. */
function utf8(text: string): string {
  const bytes = Buffer.from(text, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : text;
}

function latin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A place in a request that names its session or client. */
export type KeySource =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'cookie'; readonly name: string }
  | { readonly kind: 'query'; readonly name: string }
  | JsonSource
  /** First address of `X-Forwarded-For` or `Forwarded`. */
  | { readonly kind: 'forwarded_for' }
  /** The address that the connection came from. */
  | { readonly kind: 'peer' };

interface JsonSource {
  readonly kind: 'json';
  /** Names and indices from the document root. */
  readonly steps: readonly string[];
  /** Whether the number 0 means none. */
  readonly zeroIsNone: boolean;
}

const json = (...steps: string[]): JsonSource => ({ kind: 'json', steps, zeroIsNone: false });

const PRESETS: Readonly<Record<string, readonly KeySource[]>> = {
  'x-session-id': [{ kind: 'header', name: 'x-session-id' }],
  // OpenAI's API names for an end user; the later ones replaced the first.
  'openai-user': [json('user'), json('safety_identifier'), json('metadata', 'session_id')],
  'oip-sequence': [{ ...json('parameters', 'sequence_id'), zeroIsNone: true }],
  'forwarded-for': [{ kind: 'forwarded_for' }],
  peer: [{ kind: 'peer' }],
};

const MAX_SOURCES = 16;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}$/;

/**
 * Reads places in the command line's format, in order of priority.
 * @param specs each `header:NAME`, `cookie:NAME`, `query:NAME`, `json:POINTER` or a preset; `none` alone for
 * none
 * @throws AppError OPTION_INVALID naming the wrong text and the problem
 */
export function parseKeySources(kind: 'session' | 'client', specs: readonly string[]): readonly KeySource[] {
  if (specs.length === 1 && specs[0] === 'none') return [];
  const sources = specs.flatMap((spec) => parseKeySource(kind, spec.trim()));
  if (sources.length > MAX_SOURCES) {
    throw new AppError('OPTION_INVALID', `${sources.length} ${kind} keys are more than ${MAX_SOURCES}`);
  }
  return sources;
}

function parseKeySource(key: 'session' | 'client', spec: string): readonly KeySource[] {
  const preset = Object.hasOwn(PRESETS, spec) ? PRESETS[spec] : undefined;
  if (preset !== undefined) return preset;
  const colon = spec.indexOf(':');
  const kind = spec.slice(0, Math.max(colon, 0));
  const name = spec.slice(colon + 1);
  if (kind === 'json') return [parseJsonSource(key, name)];
  if ((kind === 'header' || kind === 'cookie' || kind === 'query') && NAME.test(name)) {
    if (kind !== 'header') return [{ kind, name }];
    const lower = name.toLowerCase();
    if (key === 'session' && STEERING_HEADERS.has(lower)) {
      throw new AppError('OPTION_INVALID', `header ${lower} cannot be the session key`, {
        hint: 'a session key is stored as its hash, and this header steers the message itself',
      });
    }
    return [{ kind, name: lower }];
  }
  throw new AppError('OPTION_INVALID', `${JSON.stringify(spec)} is not a ${key} key`, {
    hint: `write header:NAME, cookie:NAME, query:NAME, json:/POINTER, or one of ${Object.keys(PRESETS).join(', ')}`,
  });
}

function parseJsonSource(key: string, pointer: string): JsonSource {
  const steps = parseJsonPointer(pointer);
  const named = steps.filter((step) => step !== ANY_MEMBER);
  if (steps.length === 0 || named.length < steps.length) {
    throw new AppError('OPTION_INVALID', `JSON pointer ${JSON.stringify(pointer)} is not a ${key} key`, {
      hint: 'name one value, such as json:/user or json:/metadata/session_id',
    });
  }
  return json(...named);
}

/** Longer than any address with brackets, port and zone. */
const ADDRESS_CHARS = 128;

const BRACKETED = /^\[([0-9a-f:.%]+)\](?::\d+)?$/;
const IPV4 = /^(\d+(?:\.\d+){3})(?::\d+)?$/;
/** An IPv4 address from a dual-stack socket, or in the shortest spelling of that form. */
const MAPPED = /^::ffff:(\d+(?:\.\d+){3})$/;
const MAPPED_HEX = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/;

/**
 * An address without port, brackets or quotes, normalised across families and spellings. So `2001:0db8:0::1`
 * and `2001:db8::1` are one client. Null for `unknown` and similar.
 */
export function addressOf(text: string): string | null {
  if (text.length > ADDRESS_CHARS) return null;
  const bare = text.trim().replace(/^"|"$/g, '').toLowerCase();
  const address = BRACKETED.exec(bare)?.[1] ?? IPV4.exec(bare)?.[1] ?? bare;
  const mapped = MAPPED.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!/^[0-9a-f:.%]*[.:][0-9a-f:.%]*$/.test(address)) return null;
  return address.includes(':') ? shortest(address) : address;
}

/** IPv6 in its shortest spelling (RFC 5952), or the IPv4 address it maps; null if invalid. */
function shortest(address: string): string | null {
  const [groups = '', ...zone] = address.split('%');
  // The platform's parser. Only hexadecimal digits, colons and points are between the brackets.
  const host = URL.parse(`http://[${groups}]/`)?.hostname.slice(1, -1);
  if (host === undefined) return null;
  const [, high, low] = MAPPED_HEX.exec(host) ?? [];
  if (high === undefined || low === undefined) return [host, ...zone].join('%');
  const bits = [high, low].map((group) => Number.parseInt(group, 16));
  return bits.flatMap((group) => [group >> 8, group & 0xff]).join('.');
}
