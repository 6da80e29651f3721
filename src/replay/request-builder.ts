import type { RequestPart } from '../core/exchange.ts';
import {
  type HeaderPair,
  HOP_BY_HOP,
  latin1,
  MARKER_HEADER,
  requestLineOf,
  startLineIn,
} from '../core/headers.ts';
import { type CopyIdentity, namesServerIssued, type PlayedAs } from './copy-identity.ts';
import type { PreparedRequest } from './engine/messages.ts';
import { type HeaderLine, HeaderLines } from './header-lines.ts';
import type { HostPolicy } from './options/parsers.ts';
import { mapPath, type PathMapping } from './path-map.ts';
import { COPY_HEADER } from './perturbation.ts';
import { type UnreplayableReason, unreplayableReason } from './unreplayable.ts';

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
      /** Played as somebody else, and its compressed body still says who it was. */
      readonly bodyUnread: boolean;
    }
  | { readonly kind: 'no_payload' }
  | { readonly kind: 'unreplayable'; readonly reason: UnreplayableReason | typeof SERVER_ISSUED_ID };

/** A copy cannot go on from an answer that somebody else was given. */
const SERVER_ISSUED_ID = 'server_issued_id';

export interface RequestRules {
  readonly basePath: string;
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
  readonly #lines = new HeaderLines();

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
    // A header that was masked is left out, and one of --header is everybody's: such a copy does not differ.
    const differs = (name: string) => !this.#added.has(name) && hasName(built.request.headers, name);
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
    const head = latin1(message.head);
    const { method, target } = requestLineOf(startLineIn(head));
    const lines = this.#lines.of(head);
    // Asked of the headers as recorded: a request without its Upgrade or Expect would be another request.
    const reason = unreplayableReason({
      method,
      target,
      headers: unsendableIn(lines),
      hasTrailers: message.trailers !== null && message.trailers.length > 0,
    });
    if (reason !== null) return { kind: 'unreplayable', reason };
    const chunked = listedBy(lines, 'transfer-encoding').includes('chunked');
    // undici would send a length of 0 in place of no chunk, and no second host.
    if (chunked && message.body.bytes === 0) return { kind: 'unreplayable', reason: 'empty_chunked' };
    if (this.#rules.host === 'recorded' && lines.filter(({ lower }) => lower === 'host').length > 1)
      return { kind: 'unreplayable', reason: 'duplicate_host' };
    const masked = maskedPartsOf(message.redacted);
    return {
      kind: 'ready',
      masked,
      recordedHost: lines.find(({ lower }) => lower === 'host')?.pair[1] ?? null,
      perturbed: false,
      bodyUnread: false,
      request: {
        method,
        path: this.#rules.basePath + mapPath(target, this.#rules.pathMappings ?? []),
        headers: this.#headersOf(lines, masked.headers, copy),
        body: message.body.bytes === 0 ? null : message.body.kept,
        chunked,
      },
    };
  }

  #headersOf(recorded: readonly HeaderLine[], masked: readonly string[], copy: number | null): string[] {
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
    for (const { pair, lower } of recorded) {
      // An added header stands where the recorded one stood, even where that one was masked.
      if (this.#added.has(lower)) place(lower);
      else if (lower === 'host' && host === 'recorded') {
        const authority = masked.includes(lower) ? unmaskedHost(pair[1]) : pair[1];
        if (authority !== null) flat.push(pair[0], authority);
      } else if (!this.#dropped.has(lower) && !nominated.includes(lower) && !masked.includes(lower))
        flat.push(pair[0], pair[1]);
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

/** Whether a flat list of names and values has a header. @param lower its name in lower case */
function hasName(flat: readonly string[], lower: string): boolean {
  return flat.some((text, at) => at % 2 === 0 && text.toLowerCase() === lower);
}

/** What all headers of one name list. */
function listedBy(lines: readonly HeaderLine[], lowerName: string): readonly string[] {
  let listed = NOTHING;
  for (const { lower, items } of lines) {
    if (lower === lowerName) listed = listed.length === 0 ? items : [...listed, ...items];
  }
  return listed;
}

/** Names and values of the headers that keep a request from being sent. */
function unsendableIn(lines: readonly HeaderLine[]): readonly string[] {
  return lines.every(({ sendable }) => sendable)
    ? NOTHING
    : lines.filter(({ sendable }) => !sendable).flatMap(({ pair }) => pair);
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
