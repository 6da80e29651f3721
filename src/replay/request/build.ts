import type { Place, RequestPart } from '../../core/exchange.ts';
import {
  type HeaderPair,
  HOP_BY_HOP,
  HTTP2_VERSION,
  headerValue,
  MARKER_HEADER,
  parseRequestHead,
  type RequestHead,
  TOKEN,
  WRITTEN_BY_US,
} from '../../core/headers.ts';
import { refused } from '../../core/units.ts';
import { isGrpc } from '../../inference/grpc.ts';
import type { PreparedRequest } from '../engine/messages.ts';
import type { HostPolicy } from '../options/parsers.ts';
import type { Target } from '../target.ts';
import {
  COPY_HEADER,
  type CopyIdentity,
  namesServerIssued,
  type PlayedAs,
  SERVER_ISSUED,
} from './copy-identity.ts';

/** A request to send, before it has a position in the schedule. */
export type BuiltRequest = Omit<PreparedRequest, 'index' | 'intendedOffsetNs' | 'answer'>;

/** The parts of a request that were masked during recording, and how they are sent. */
export interface MaskedParts {
  /** Lower-case names of headers that are left out because they were masked. For `host`, maybe only the user info. */
  readonly headers: readonly string[];
  /** Query keys whose masked value is sent as recorded. */
  readonly queryKeys: readonly string[];
  /** JSON pointers of masked values in the body, which are sent as recorded. */
  readonly bodyValues: readonly string[];
}

export type BuildResult =
  | {
      readonly kind: 'ready';
      readonly request: BuiltRequest;
      readonly masked: MaskedParts;
      /** The recorded `Host`, for the fence. */
      readonly recordedHost: string | null;
      readonly recorded: Pick<RequestHead, 'target' | 'headers'>;
      /** For a copy, whether it differs in a requested place. */
      readonly perturbed: boolean;
      /** Sent under another identity, but its compressed body still has the recorded one. */
      readonly bodyUnread: boolean;
      /** For a copy with a prompt, whether that begins otherwise than the original's; null if it need not. */
      readonly ownPrompt: boolean | null;
    }
  | { readonly kind: 'no_payload' }
  | { readonly kind: 'unreplayable'; readonly reason: UnreplayableReason | typeof SERVER_ISSUED_ID };

/** A copy cannot continue from an answer that the original session got. */
const SERVER_ISSUED_ID = 'server_issued_id';

export interface RequestRules {
  /** The target, whose base path is prepended to every path; null for none. */
  readonly target: Pick<Target, 'basePath'> | null;
  /** The target of gRPC calls; null or absent if it is the same. */
  readonly grpcTarget?: Pick<Target, 'basePath'> | null;
  readonly host: HostPolicy;
  readonly addedHeaders: readonly HeaderPair[];
  /** In lower case. */
  readonly removedHeaders?: readonly string[];
  /** Applied to the recorded path, before the base path is prepended. */
  readonly pathMappings?: readonly PathMapping[];
  readonly runId: string;
  /**
   * Whether requests of HTTP/2 are built. Sent by HTTP/1.1, as a mirror does, they would be other requests than the
   * recorded ones.
   */
  readonly http2?: boolean;
  /** Renames copies. Without it, every request keeps its recorded identity. */
  readonly identity?: CopyIdentity;
}

/** Headers that are left out besides the hop-by-hop ones, because the client or we write them again. */
const WRITTEN_ANEW: readonly string[] = ['host', 'content-length', MARKER_HEADER, COPY_HEADER];

const NOTHING: readonly string[] = [];
const NOTHING_MASKED: MaskedParts = { headers: NOTHING, queryKeys: NOTHING, bodyValues: NOTHING };

/** Builds the request to send from the recorded one. All changes are reported. */
export class RequestBuilder {
  readonly #rules: RequestRules;
  readonly #added: ReadonlyMap<string, readonly HeaderPair[]>;
  /** Headers that are never sent as recorded. */
  readonly #dropped: ReadonlySet<string>;

  constructor(rules: RequestRules) {
    this.#rules = rules;
    this.#dropped = new Set([...HOP_BY_HOP, ...WRITTEN_ANEW, ...(rules.removedHeaders ?? [])]);
    this.#added = Map.groupBy(rules.addedHeaders, ([name]) => name.toLowerCase());
  }

  /**
   * @param as the identity under which the request is replayed; null for the recorded one
   * @param live places that get values of live answers later
   */
  build(payload: RequestPart | null, as: PlayedAs | null = null, live: readonly Place[] = []): BuildResult {
    const recorded = payload?.request ?? null;
    const identity = this.#rules.identity;
    if (payload === null || recorded === null || as === null || identity === undefined) {
      return this.#build(payload, null);
    }
    if (as.copy > 0 && !live.some(isPreviousId) && namesServerIssued(payload))
      return { kind: 'unreplayable', reason: SERVER_ISSUED_ID };
    const renamed = identity.rename(recorded, as);
    const built = this.#build(renamed.payload, as.copy === 0 ? null : as.copy);
    if (built.kind !== 'ready') return built;
    // A copy does not differ by a header that was masked (and left out), or that --header sets for all requests.
    const differs = (name: string) =>
      !this.#added.has(name) && flatValue(built.request.headers, name) !== null;
    return {
      ...built,
      perturbed: renamed.perturbedBody || renamed.perturbedHeaders.some(differs),
      bodyUnread: renamed.bodyUnread,
      ownPrompt: renamed.ownPrompt,
    };
  }

  #build(payload: RequestPart | null, copy: number | null): BuildResult {
    const message = payload?.request ?? null;
    if (message === null || message.body.truncated) return { kind: 'no_payload' };
    if (message.body.kept === null && message.body.bytes > 0) return { kind: 'no_payload' };
    const { method, target, version, headers } = parseRequestHead(message.head);
    const isHttp2 = version === HTTP2_VERSION;
    if (isHttp2 && this.#rules.http2 !== true) return { kind: 'unreplayable', reason: 'http2' };
    const hasTrailers = message.trailers !== null && message.trailers.length > 0;
    // Checks the recorded headers, because a request without its Upgrade or Expect would be a different request.
    const reason = unreplayableReason({ method, target, headers, hasTrailers });
    if (reason !== null) return { kind: 'unreplayable', reason };
    const chunked = isHttp2
      ? !headers.some(([name]) => name.toLowerCase() === 'content-length')
      : listedBy(headers, 'transfer-encoding').includes('chunked');
    // For a chunked body without chunks, undici would send a length of 0. It refuses a second host.
    if (chunked && !isHttp2 && message.body.bytes === 0)
      return { kind: 'unreplayable', reason: 'empty_chunked' };
    const hosts = headers.filter(([name]) => name.toLowerCase() === 'host');
    if (this.#rules.host === 'recorded' && hosts.length > 1)
      return { kind: 'unreplayable', reason: 'duplicate_host' };
    const masked = maskedPartsOf(message.redacted);
    return {
      kind: 'ready',
      masked,
      recordedHost: hosts[0]?.[1] ?? null,
      recorded: { target, headers },
      perturbed: false,
      bodyUnread: false,
      ownPrompt: null,
      request: {
        method,
        path: this.#basePathOf(headers, isHttp2) + mapPath(target, this.#rules.pathMappings ?? []),
        headers: this.#headersOf(headers, masked.headers, copy, isHttp2),
        body: message.body.bytes === 0 ? null : message.body.kept,
        chunked,
      },
    };
  }

  #basePathOf(headers: readonly HeaderPair[], isHttp2: boolean): string {
    const { target, grpcTarget = null } = this.#rules;
    const isElsewhere = grpcTarget !== null && isHttp2 && isGrpc(headerValue(headers, 'content-type'));
    return (isElsewhere ? grpcTarget : target)?.basePath ?? '';
  }

  #headersOf(
    recorded: readonly HeaderPair[],
    masked: readonly string[],
    copy: number | null,
    isHttp2: boolean,
  ): string[] {
    const { host } = this.#rules;
    // Headers that a `Connection` header declares as hop-by-hop.
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
      // An added header takes the position of the recorded one, even if that was masked.
      if (this.#added.has(lower)) place(lower);
      else if (lower === 'host' && host === 'recorded') {
        const authority = masked.includes(lower) ? unmaskedHost(value) : value;
        if (authority !== null) flat.push(name, authority);
      } else if (lower === 'te' && value === 'trailers' && isHttp2) flat.push(name, value);
      else if (!this.#dropped.has(lower) && !nominated.includes(lower) && !masked.includes(lower))
        flat.push(name, value);
    }
    if (host !== 'target' && host !== 'recorded') flat.push('Host', host);
    for (const lower of this.#added.keys()) place(lower);
    flat.push(MARKER_HEADER, this.#rules.runId);
    if (copy !== null) flat.push(COPY_HEADER, String(copy));
    return flat;
  }
}

function isPreviousId(place: Place): boolean {
  return place.in === 'json' && place.pointer === `/${SERVER_ISSUED}`;
}

/** A recorded `Host` without its user info. Null if the rest is masked too; then the target's host is sent. */
function unmaskedHost(authority: string): string | null {
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  return host === '' || host.includes('*') ? null : host;
}

/** Value of a header in a flat list of names and values; null without it. @param lower its name in lower case */
export function flatValue(flat: readonly string[], lower: string): string | null {
  const at = flat.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === lower);
  return at < 0 ? null : (flat[at + 1] ?? null);
}

/** The comma-separated items of all headers with a name, in lower case. */
function listedBy(headers: readonly HeaderPair[], lower: string): readonly string[] {
  const values = headers.flatMap(([name, value]) => (name.toLowerCase() === lower ? value.split(',') : []));
  return values.map((item) => item.trim().toLowerCase()).filter((item) => item !== '');
}

/** The masked parts of a recorded message. */
export function maskedPartsOf(redacted: readonly string[]): MaskedParts {
  if (redacted.length === 0) return NOTHING_MASKED;
  const isPointer = (name: string) => name === '' || name.startsWith('/');
  return {
    headers: redacted.filter((name) => !name.startsWith('?') && !isPointer(name)),
    queryKeys: redacted.filter((name) => name.startsWith('?')).map((name) => name.slice(1)),
    bodyValues: redacted.filter(isPointer),
  };
}

/**
 * Reasons why a recorded request is not sent. A closed list, because reports group by it. Requests that ask for more
 * than an answer (a tunnel, an upgrade, `100 Continue`) cannot be replayed.
 */
const UNREPLAYABLE_REASONS = [
  'http2',
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

/** Null if the request can be sent. @param request with headers as recorded, with hop-by-hop and framing headers */
export function unreplayableReason({
  method,
  target,
  headers,
  hasTrailers,
}: Omit<RequestHead, 'version'> & { readonly hasTrailers: boolean }): UnreplayableReason | null {
  if (method === 'CONNECT') return 'connect_method';
  if (!TOKEN.test(method)) return 'invalid_method';
  // Asterisk form is rejected by the client, and absolute form names the production host.
  if (!TARGET.test(target)) return 'invalid_target';
  if (hasTrailers) return 'trailers';
  for (const header of headers) {
    const reason = headerReason(header);
    if (reason !== null) return reason;
  }
  return null;
}

/** Why a request with this header cannot be sent; null if it can. */
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
export function parsePathMapping(text: string, what: string): PathMapping {
  const equals = text.indexOf('=');
  const [from, to] = [text.slice(0, Math.max(0, equals)), text.slice(equals + 1)];
  if (equals > 0 && PATH.test(from) && (to === '' || PATH.test(to))) return { from, to };
  const hint = 'Give two path prefixes without a query, such as /v1/models=/v2/models.';
  throw refused(what, text, 'is not FROM=TO', hint);
}

/**
 * The target for a recorded one. The first matching mapping is applied, once. A prefix matches only whole path
 * segments: `/v1` matches `/v1`, `/v1/x` and `/v1?x`, but not `/v10`.
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
 * Parses the name of a header that is removed from all requests. @returns it in lower case
 * @throws AppError OPTION_INVALID
 */
export function parseRemovedHeader(text: string, what: string): string {
  const name = text.trim().toLowerCase();
  if (!TOKEN.test(name)) throw refused(what, text, 'is not the name of a header');
  if (WRITTEN_BY_US.has(name)) throw refused(what, name, 'is set by the replay itself');
  return name;
}
