import { isUtf8 } from 'node:buffer';
import { addressOf } from './client-address.ts';
import { jsonElement, jsonMember, jsonNumberLiteral, jsonStart, jsonText } from './json-cursor.ts';
import { type JsonSource, type KeySource, parseKeySources } from './key-source.ts';
import type { KeyedHash } from './keyed-hash.ts';
import { ownText } from './own-text.ts';
import { decodePercent } from './percent-encoding.ts';
import type { SessionNames } from './secret-names.ts';

/** What a request's head says of one of its keys. */
export interface HeadKey {
  /** Places in the body that come before what the head says. */
  readonly inBody: readonly JsonSource[];
  /** What holds where none of those has it. */
  readonly hash: Uint8Array | null;
  /** Whether, the head having nothing, the connection's peer is the key. */
  readonly peer: boolean;
}

/** Hashes remembered of each kind, of values up to a length: clients and sessions come again and again. */
const REMEMBERED = 4_096;
const REMEMBERED_CHARS = 200;

type KeyKind = 'session' | 'client';

/** From the first character to after the last. */
type Range = readonly [from: number, to: number];

/**
 * Which exchanges belong together: reads the configured places of a request and answers keyed hashes. The values
 * themselves are stored nowhere; what names the session is hashed in what is stored of heads too, by Redaction.
 */
export class ExchangeKeys {
  readonly #hash: KeyedHash;
  readonly #sources: Readonly<Record<KeyKind, readonly KeySource[]>>;
  /** Where a session's key stands in heads in plain text. */
  readonly sessionNames: SessionNames;
  /** Begun anew when full, and not cleared: what a map was cleared of stays until the next full collection. */
  readonly #hashes: Record<KeyKind, Map<string, Uint8Array>> = {
    session: new Map(),
    client: new Map(),
  };

  /** Of peers: each exchange of a connection has the same. */
  #addresses = new Map<string, string>();

  /**
   * @param specs places as the command line writes them
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

  /** What the head says of this key. `head` is latin1 and was accepted as a request. */
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
   * The key of a request whose head is known.
   * @param body the beginning of its body, not content-encoded; null where nothing is to be found in it
   */
  of(kind: KeyKind, head: HeadKey, body: Uint8Array | null, peer: string | null): Uint8Array | null {
    if (body !== null) {
      for (const source of head.inBody) {
        const value = valueInBody(source, asBuffer(body));
        if (value !== null) return this.#identity(kind, value);
      }
    }
    if (!head.peer || peer === null) return head.hash;
    return this.#identity(kind, this.#addressOf(peer));
  }

  #addressOf(peer: string): string {
    const known = this.#addresses.get(peer);
    if (known !== undefined) return known;
    const address = addressOf(peer) ?? peer;
    if (this.#addresses.size >= REMEMBERED) this.#addresses = new Map();
    if (peer.length <= REMEMBERED_CHARS) this.#addresses.set(peer, address);
    return address;
  }

  #identity(kind: KeyKind, text: string): Uint8Array {
    const known = this.#hashes[kind].get(text);
    if (known !== undefined) return known;
    const hash = this.#hash.ofIdentity(kind, text);
    if (text.length <= REMEMBERED_CHARS) {
      if (this.#hashes[kind].size >= REMEMBERED) this.#hashes[kind] = new Map();
      this.#hashes[kind].set(ownText(text), hash);
    }
    return hash;
  }
}

/**
 * The texts that somebody who is called `text` may have been hashed as: values are trimmed, and addresses brought
 * into one form.
 */
export function identityTexts(text: string): readonly string[] {
  const trimmed = text.trim();
  return [...new Set([trimmed, addressOf(trimmed) ?? trimmed])];
}

type HeadSource = Exclude<KeySource, JsonSource | { readonly kind: 'peer' }>;

/** The value a head has in this place, latin1; null where it has none. */
function valueInHead(source: HeadSource, head: string): string | null {
  if (source.kind === 'header') return headerIn(head, source.name);
  if (source.kind === 'cookie') return cookieIn(head, source.name);
  if (source.kind === 'query') {
    const [range] = queryRanges(head, source.name);
    return range === undefined ? null : present(decodedBytes(head.slice(...range)));
  }
  const forwarded = headerIn(head, 'x-forwarded-for');
  if (forwarded !== null) return addressOf(forwarded.split(',', 1)[0] ?? '');
  const standard = headerIn(head, 'forwarded')?.split(',', 1)[0] ?? '';
  return addressOf(/(?:^|;)[ \t]*for=("[^"]*"|[^;]*)/i.exec(standard)?.[1] ?? '');
}

function valueInBody({ steps, zeroIsNone }: JsonSource, body: Buffer): string | null {
  const last = steps.at(-1) ?? '';
  // Most bodies do not have it at all, which this tells without reading them.
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
  // Rounded, ids of 64 bits would be the same for several sessions.
  return Number.isSafeInteger(number) || !/^-?\d+$/.test(literal) ? String(number) : literal;
}

function cookieIn(head: string, name: string): string | null {
  for (const range of headerRanges(head, 'cookie')) {
    for (const pair of head.slice(...range).split(';')) {
      const equals = pair.indexOf('=');
      if (equals > 0 && pair.slice(0, equals).trim() === name) return present(pair.slice(equals + 1));
    }
  }
  return null;
}

/** Where the values of a query key lie in the request line. */
function queryRanges(head: string, name: string): Range[] {
  const lineEnd = head.indexOf('\n');
  const targetEnd = head.lastIndexOf(' ', lineEnd);
  const fragment = head.indexOf('#');
  const end = fragment >= 0 && fragment < targetEnd ? fragment : targetEnd;
  const ranges: Range[] = [];
  let at = head.indexOf('?') + 1;
  while (at > 0 && at < end) {
    const ampersand = head.indexOf('&', at);
    const to = ampersand < 0 || ampersand > end ? end : ampersand;
    const pair = head.slice(at, to);
    const equals = pair.indexOf('=');
    if (equals > 0 && decodePercent(pair.slice(0, equals)) === name) ranges.push([at + equals + 1, to]);
    at = to + 1;
  }
  return ranges;
}

function headerIn(head: string, lowerName: string): string | null {
  for (const range of headerRanges(head, lowerName)) if (range[1] > range[0]) return head.slice(...range);
  return null;
}

/** Where the values of a header lie, without the white space around them. */
function headerRanges(head: string, lowerName: string): Range[] {
  const pattern = headerPattern(lowerName);
  const ranges: Range[] = [];
  pattern.lastIndex = 0;
  for (let line = pattern.exec(head); line !== null; line = pattern.exec(head)) {
    let to = head.indexOf('\n', pattern.lastIndex);
    let from = pattern.lastIndex;
    while (from < to && isOws(head.charCodeAt(from))) from += 1;
    while (to > from && isOws(head.charCodeAt(to - 1))) to -= 1;
    ranges.push([from, to]);
  }
  return ranges;
}

/** One for each configured name, since compiling a pattern takes longer than using it. */
const PATTERNS = new Map<string, RegExp>();

function headerPattern(lowerName: string): RegExp {
  let pattern = PATTERNS.get(lowerName);
  if (pattern === undefined) {
    pattern = new RegExp(`\\n${lowerName.replace(/[.*+?^$|]/g, '\\$&')}:`, 'gi');
    PATTERNS.set(lowerName, pattern);
  }
  return pattern;
}

function isOws(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d;
}

function present(value: string | null | undefined): string | null {
  const trimmed = value?.trim() ?? '';
  return trimmed === '' ? null : trimmed;
}

/** A percent-encoded text as the bytes it stands for, each a character. */
function decodedBytes(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Of a text that was read as latin1, what it says in UTF-8; the text itself where it is none. */
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
