import { isUtf8 } from 'node:buffer';
import { AppError } from '../core/errors.ts';
import { jsonElement, jsonMember, jsonNumberLiteral, jsonStart, jsonText } from '../core/json-cursor.ts';
import { ANY_MEMBER, parseJsonPointer } from '../core/json-pointer.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { decodePercent, ownText } from '../core/text.ts';
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

/** A place in a request that names its session or its client. */
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
  /** Names and indices from the document down. */
  readonly steps: readonly string[];
  /** Whether the number 0 says that there is none. */
  readonly zeroIsNone: boolean;
}

const json = (...steps: string[]): JsonSource => ({ kind: 'json', steps, zeroIsNone: false });

const PRESETS: Readonly<Record<string, readonly KeySource[]>> = {
  'x-session-id': [{ kind: 'header', name: 'x-session-id' }],
  // What OpenAI's API calls an end user; the later names took the place of the first.
  'openai-user': [json('user'), json('safety_identifier'), json('metadata', 'session_id')],
  'oip-sequence': [{ ...json('parameters', 'sequence_id'), zeroIsNone: true }],
  'forwarded-for': [{ kind: 'forwarded_for' }],
  peer: [{ kind: 'peer' }],
};

/** Their values say where a message goes or ends: replaced by a hash, it would be another message. */
const NO_SESSION = new Set([
  'host',
  'connection',
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'inference-header-content-length',
  'trailer',
  'te',
  'upgrade',
  'expect',
  'x-reprise-run',
]);

const MAX_SOURCES = 16;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}$/;

/**
 * Reads places as the command line writes them, in the order in which they are asked.
 * @param specs each `header:NAME`, `cookie:NAME`, `query:NAME`, `json:POINTER` or a preset; `none` alone for none
 * @throws AppError OPTION_INVALID saying which text is wrong, and how
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
    if (key === 'session' && NO_SESSION.has(lower)) {
      throw new AppError('OPTION_INVALID', `header ${lower} cannot be the session's key`, {
        hint: 'a session key is stored as its hash, and this header steers the message itself',
      });
    }
    return [{ kind, name: lower }];
  }
  throw new AppError('OPTION_INVALID', `${JSON.stringify(spec)} is no ${key} key`, {
    hint: `write header:NAME, cookie:NAME, query:NAME, json:/POINTER, or one of ${Object.keys(PRESETS).join(', ')}`,
  });
}

function parseJsonSource(key: string, pointer: string): JsonSource {
  const steps = parseJsonPointer(pointer);
  const named = steps.filter((step) => step !== ANY_MEMBER);
  if (steps.length === 0 || named.length < steps.length) {
    throw new AppError('OPTION_INVALID', `JSON pointer ${JSON.stringify(pointer)} is no ${key} key`, {
      hint: 'name one value, such as json:/user or json:/metadata/session_id',
    });
  }
  return json(...named);
}

/** More than any address takes, with brackets, port and zone. */
const ADDRESS_CHARS = 128;

const BRACKETED = /^\[([0-9a-f:.%]+)\](?::\d+)?$/;
const IPV4 = /^(\d+(?:\.\d+){3})(?::\d+)?$/;
/** IPv4 as a socket for both families shows it, and as the shortest spelling of the same has it. */
const MAPPED = /^::ffff:(\d+(?:\.\d+){3})$/;
const MAPPED_HEX = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/;

/**
 * An address without port, brackets or quotes, in one form for both families and all spellings: a client whose
 * proxies write `2001:0db8:0::1` and `2001:db8::1` is one. Null for `unknown` and the like.
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

/** IPv6 in its shortest spelling (RFC 5952), or the IPv4 address that it stands for; null where it is none. */
function shortest(address: string): string | null {
  const [groups = '', ...zone] = address.split('%');
  // The platform's own reader; only hexadecimal digits, colons and points can be between the brackets.
  const host = URL.parse(`http://[${groups}]/`)?.hostname.slice(1, -1);
  if (host === undefined) return null;
  const [, high, low] = MAPPED_HEX.exec(host) ?? [];
  if (high === undefined || low === undefined) return [host, ...zone].join('%');
  const bits = [high, low].map((group) => Number.parseInt(group, 16));
  return bits.flatMap((group) => [group >> 8, group & 0xff]).join('.');
}
