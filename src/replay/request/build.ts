import type { RequestPart } from '../../core/exchange.ts';
import {
  type HeaderPair,
  HOP_BY_HOP,
  MARKER_HEADER,
  parseRequestHead,
  type RequestHead,
  TOKEN,
  WRITTEN_BY_US,
} from '../../core/headers.ts';
import type { PreparedRequest } from '../engine/messages.ts';
import { type HostPolicy, refused } from '../options/parsers.ts';
import type { Target } from '../target.ts';
import { COPY_HEADER, type CopyIdentity, namesServerIssued, type PlayedAs } from './copy-identity.ts';

/** A request as it is to be sent, before it has a place in the schedule. */
export type BuiltRequest = Omit<PreparedRequest, 'index' | 'intendedOffsetNs' | 'answer'>;

/** What recording masked in a request, and what becomes of it here. */
export interface MaskedParts {
  /** Lower-case names of recorded headers left out, of `host` maybe only its user info, because it was masked. */
  readonly headers: readonly string[];
  /** Query keys whose masked value is sent as it was recorded. */
  readonly queryKeys: readonly string[];
  /** JSON pointers of the values in the body that are sent covered as they were recorded. */
  readonly bodyValues: readonly string[];
}

export type BuildResult =
  | {
      readonly kind: 'ready';
      readonly request: BuiltRequest;
      readonly masked: MaskedParts;
      /** The recorded `Host`, for the fence. */
      readonly recordedHost: string | null;
      /** Of a copy: it differs in a place that was asked for. */
      readonly perturbed: boolean;
      /** Sent under another identity, but its compressed body still has the recorded one. */
      readonly bodyUnread: boolean;
    }
  | { readonly kind: 'no_payload' }
  | { readonly kind: 'unreplayable'; readonly reason: UnreplayableReason | typeof SERVER_ISSUED_ID };

/** A copy cannot continue from an answer that another session got. */
const SERVER_ISSUED_ID = 'server_issued_id';

export interface RequestRules {
  /** Its base path stands in front of every path; null for none. */
  readonly target: Pick<Target, 'basePath'> | null;
  readonly host: HostPolicy;
  readonly addedHeaders: readonly HeaderPair[];
  /** In lower case. */
  readonly removedHeaders?: readonly string[];
  /** Applied to the recorded path, before the base path is put in front. */
  readonly pathMappings?: readonly PathMapping[];
  readonly runId: string;
  /** Who copies become; without it nothing is played as anybody else. */
  readonly identity?: CopyIdentity;
}

/** Left out besides the hop-by-hop names: written anew by the client, or by us. */
const WRITTEN_ANEW: readonly string[] = ['host', 'content-length', MARKER_HEADER, COPY_HEADER];

const NOTHING: readonly string[] = [];
const NOTHING_MASKED: MaskedParts = { headers: NOTHING, queryKeys: NOTHING, bodyValues: NOTHING };

/** Turns what was recorded of a request into what will be sent. Never alters anything in silence. */
export class RequestBuilder {
  readonly #rules: RequestRules;
  readonly #added: ReadonlyMap<string, readonly HeaderPair[]>;
  /** Never sent as recorded, whatever the request. */
  readonly #dropped: ReadonlySet<string>;

  constructor(rules: RequestRules) {
    this.#rules = rules;
    this.#dropped = new Set([...HOP_BY_HOP, ...WRITTEN_ANEW, ...(rules.removedHeaders ?? [])]);
    this.#added = Map.groupBy(rules.addedHeaders, ([name]) => name.toLowerCase());
  }

  /** @param as who the request is played as; null for who it was recorded from */
  build(payload: RequestPart | null, as: PlayedAs | null = null): BuildResult {
    const recorded = payload?.request ?? null;
    const identity = this.#rules.identity;
    if (payload === null || recorded === null || as === null || identity === undefined) {
      return this.#build(payload, null);
    }
    if (as.copy > 0 && namesServerIssued(payload)) return { kind: 'unreplayable', reason: SERVER_ISSUED_ID };
    const renamed = identity.rename(recorded, as);
    const built = this.#build(renamed.payload, as.copy === 0 ? null : as.copy);
    if (built.kind !== 'ready') return built;
    // A masked header is left out, and --header gives all requests one value: such a copy does not differ.
    const differs = (name: string) =>
      !this.#added.has(name) && flatValue(built.request.headers, name) !== null;
    return {
      ...built,
      perturbed: renamed.perturbedBody || renamed.perturbedHeaders.some(differs),
      bodyUnread: renamed.bodyUnread,
    };
  }

  #build(payload: RequestPart | null, copy: number | null): BuildResult {
    const message = payload?.request ?? null;
    if (message === null || message.body.truncated) return { kind: 'no_payload' };
    if (message.body.kept === null && message.body.bytes > 0) return { kind: 'no_payload' };
    const { method, target, headers } = parseRequestHead(message.head);
    const hasTrailers = message.trailers !== null && message.trailers.length > 0;
    // Asked of the headers as recorded: a request without its Upgrade or Expect would be another request.
    const reason = unreplayableReason({ method, target, headers, hasTrailers });
    if (reason !== null) return { kind: 'unreplayable', reason };
    const chunked = listedBy(headers, 'transfer-encoding').includes('chunked');
    // undici would send a length of 0 in place of no chunk, and no second host.
    if (chunked && message.body.bytes === 0) return { kind: 'unreplayable', reason: 'empty_chunked' };
    const hosts = headers.filter(([name]) => name.toLowerCase() === 'host');
    if (this.#rules.host === 'recorded' && hosts.length > 1)
      return { kind: 'unreplayable', reason: 'duplicate_host' };
    const masked = maskedPartsOf(message.redacted);
    return {
      kind: 'ready',
      masked,
      recordedHost: hosts[0]?.[1] ?? null,
      perturbed: false,
      bodyUnread: false,
      request: {
        method,
        path: (this.#rules.target?.basePath ?? '') + mapPath(target, this.#rules.pathMappings ?? []),
        headers: this.#headersOf(headers, masked.headers, copy),
        body: message.body.bytes === 0 ? null : message.body.kept,
        chunked,
      },
    };
  }

  #headersOf(recorded: readonly HeaderPair[], masked: readonly string[], copy: number | null): string[] {
    const { host } = this.#rules;
    // Names a `Connection` header declares to belong to its connection.
    const nominated = listedBy(recorded, 'connection');
    const placed: string[] = [];
    const flat: string[] = [];
    const place = (lower: string): void => {
      if (placed.includes(lower)) return;
      placed.push(lower);
      for (const [name, value] of this.#added.get(lower) ?? []) flat.push(name, value);
    };
    for (const [name, value] of recorded) {
      const lower = name.toLowerCase();
      // An added header stands where the recorded one stood, even where that one was masked.
      if (this.#added.has(lower)) place(lower);
      else if (lower === 'host' && host === 'recorded') {
        const authority = masked.includes(lower) ? unmaskedHost(value) : value;
        if (authority !== null) flat.push(name, authority);
      } else if (!this.#dropped.has(lower) && !nominated.includes(lower) && !masked.includes(lower))
        flat.push(name, value);
    }
    if (host !== 'target' && host !== 'recorded') flat.push('Host', host);
    for (const lower of this.#added.keys()) place(lower);
    flat.push(MARKER_HEADER, this.#rules.runId);
    if (copy !== null) flat.push(COPY_HEADER, String(copy));
    return flat;
  }
}

/** What is left of a recorded `Host` without its user info; null where that is masked too: the target's is sent then. */
function unmaskedHost(authority: string): string | null {
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  return host === '' || host.includes('*') ? null : host;
}

/** Value of a header in a flat list of names and values; null without it. @param lower its name in lower case */
export function flatValue(flat: readonly string[], lower: string): string | null {
  const at = flat.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === lower);
  return at < 0 ? null : (flat[at + 1] ?? null);
}

/** What all headers of one name list, in lower case. */
function listedBy(headers: readonly HeaderPair[], lower: string): readonly string[] {
  const values = headers.flatMap(([name, value]) => (name.toLowerCase() === lower ? value.split(',') : []));
  return values.map((item) => item.trim().toLowerCase()).filter((item) => item !== '');
}

function maskedPartsOf(redacted: readonly string[]): MaskedParts {
  if (redacted.length === 0) return NOTHING_MASKED;
  const isPointer = (name: string) => name === '' || name.startsWith('/');
  return {
    headers: redacted.filter((name) => !name.startsWith('?') && !isPointer(name)),
    queryKeys: redacted.filter((name) => name.startsWith('?')).map((name) => name.slice(1)),
    bodyValues: redacted.filter(isPointer),
  };
}

/**
 * Why a recorded request is not sent, or null when it can be as it was. A closed list: reports group by it. What
 * asks for more than an answer (a tunnel, an upgrade, a word before the body) is none of a replay's.
 */
const UNREPLAYABLE_REASONS = [
  'connect_method',
  'invalid_method',
  'invalid_target',
  'invalid_header',
  'expect_header',
  'upgrade_header',
  'transfer_coding',
  'trailers',
  'empty_chunked',
  'duplicate_host',
] as const;
type UnreplayableReason = (typeof UNREPLAYABLE_REASONS)[number];

const TARGET = /^\/[\u0021-\u00ff]*$/;
const HEADER_VALUE = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;

/** @param request with its headers as recorded: before hop-by-hop and framing names are taken out */
export function unreplayableReason({
  method,
  target,
  headers,
  hasTrailers,
}: Omit<RequestHead, 'version'> & { readonly hasTrailers: boolean }): UnreplayableReason | null {
  if (method === 'CONNECT') return 'connect_method';
  if (!TOKEN.test(method)) return 'invalid_method';
  // Asterisk form and absolute form: the first is refused, the second names the production host.
  if (!TARGET.test(target)) return 'invalid_target';
  if (hasTrailers) return 'trailers';
  for (const header of headers) {
    const reason = headerReason(header);
    if (reason !== null) return reason;
  }
  return null;
}

/** Why a request with this header is not sent. */
function headerReason([name, value]: HeaderPair): UnreplayableReason | null {
  if (!TOKEN.test(name) || !HEADER_VALUE.test(value)) return 'invalid_header';
  const lower = name.toLowerCase();
  if (lower === 'expect') return 'expect_header';
  if (lower === 'upgrade') return 'upgrade_header';
  const isCoded = lower === 'transfer-encoding' && value.trim().toLowerCase() !== 'chunked';
  return isCoded ? 'transfer_coding' : null;
}

/** Replaces the path prefix `from` with `to`. */
export interface PathMapping {
  readonly from: string;
  readonly to: string;
}

/** Characters of a request target. */
const PATH = /^\/[!$-;=@-Z\\[\]^_a-z|~]*$/;

/**
 * Reads `FROM=TO`, two path prefixes.
 * @throws AppError OPTION_INVALID
 */
export function parsePathMapping(text: string): PathMapping {
  const equals = text.indexOf('=');
  const [from, to] = [text.slice(0, Math.max(0, equals)), text.slice(equals + 1)];
  if (equals > 0 && PATH.test(from) && (to === '' || PATH.test(to))) return { from, to };
  const hint = 'Give two path prefixes without a query, such as /v1/models=/v2/models.';
  throw refused('--map-path', text, 'is not FROM=TO', hint);
}

/**
 * The target a recorded one is sent to: the first mapping that fits is applied, once. A prefix ends where a part
 * of the path does: `/v1` fits `/v1`, `/v1/x` and `/v1?x`, and not `/v10`.
 */
export function mapPath(target: string, mappings: readonly PathMapping[]): string {
  for (const { from, to } of mappings) {
    if (!target.startsWith(from)) continue;
    const rest = target.slice(from.length);
    if (!from.endsWith('/') && !/^(?:$|[/?])/.test(rest)) continue;
    const mapped = to + rest;
    return mapped.startsWith('/') ? mapped : `/${mapped}`;
  }
  return target;
}

/**
 * Reads the name of a header that no request is sent with, in lower case.
 * @throws AppError OPTION_INVALID
 */
export function parseRemovedHeader(text: string): string {
  const name = text.trim().toLowerCase();
  if (!TOKEN.test(name)) throw refused('--remove-header', text, 'is not the name of a header');
  if (WRITTEN_BY_US.has(name)) throw refused('--remove-header', name, 'is set by the replay itself');
  return name;
}
