import type { ExchangePayload } from '../core/exchange.ts';
import {
  type HeaderPair,
  HOP_BY_HOP,
  headerValue,
  MARKER_HEADER,
  parseRequestHead,
} from '../core/headers.ts';
import { type CopyIdentity, namesServerIssued, type PlayedAs } from './copy-identity.ts';
import type { HostPolicy } from './options.ts';
import { mapPath, type PathMapping } from './path-map.ts';
import { COPY_HEADER } from './perturbation.ts';
import type { PreparedRequest } from './prepared-request.ts';
import { type UnreplayableReason, unreplayableReason } from './unreplayable.ts';

/** A request as it is to be sent, before it has a place in the schedule. */
export type BuiltRequest = Omit<PreparedRequest, 'index' | 'intendedOffsetNs' | 'answer'>;

/** What recording masked in a request, and what becomes of it here. */
export interface MaskedParts {
  /** Lower-case names of recorded headers left out because their value was masked. */
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
const WRITTEN_ANEW: ReadonlySet<string> = new Set(['host', 'content-length', MARKER_HEADER, COPY_HEADER]);

/** Turns what was recorded of a request into what will be sent. Never alters anything in silence. */
export class RequestBuilder {
  readonly #rules: RequestRules;
  readonly #added: ReadonlyMap<string, readonly HeaderPair[]>;

  constructor(rules: RequestRules) {
    this.#rules = rules;
    this.#added = Map.groupBy(rules.addedHeaders, ([name]) => name.toLowerCase());
  }

  /** @param as who the request is played as; null for who it was recorded from */
  build(payload: ExchangePayload | null, as: PlayedAs | null = null): BuildResult {
    const recorded = payload?.request ?? null;
    const identity = this.#rules.identity;
    if (payload === null || recorded === null || as === null || identity === undefined) {
      return this.#build(payload, null);
    }
    if (as.copy > 0 && namesServerIssued(payload)) return { kind: 'unreplayable', reason: SERVER_ISSUED_ID };
    const renamed = identity.rename(payload, recorded, as);
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

  #build(payload: ExchangePayload | null, copy: number | null): BuildResult {
    const message = payload?.request ?? null;
    if (message === null || message.body.truncated) return { kind: 'no_payload' };
    if (message.body.kept === null && message.body.bytes > 0) return { kind: 'no_payload' };
    const head = parseRequestHead(message.head);
    // Asked of the headers as recorded: a request without its Upgrade or Expect would be another request.
    const reason = unreplayableReason({
      method: head.method,
      target: head.target,
      headers: head.headers.flat(),
      hasTrailers: message.trailers !== null && message.trailers.length > 0,
    });
    if (reason !== null) return { kind: 'unreplayable', reason };
    const masked = maskedPartsOf(message.redacted);
    return {
      kind: 'ready',
      masked,
      recordedHost: headerValue(head.headers, 'host'),
      perturbed: false,
      bodyUnread: false,
      request: {
        method: head.method,
        path: this.#rules.basePath + mapPath(head.target, this.#rules.pathMappings ?? []),
        headers: this.#headersOf(head.headers, masked.headers, copy),
        body: message.body.bytes === 0 ? null : message.body.kept,
        chunked: isChunked(head.headers),
      },
    };
  }

  #headersOf(recorded: readonly HeaderPair[], masked: readonly string[], copy: number | null): string[] {
    const { host, removedHeaders = [] } = this.#rules;
    const dropped = new Set([...nominatedBy(recorded), ...masked, ...removedHeaders]);
    const placed = new Set<string>();
    const flat: string[] = [];
    const place = (lower: string): void => {
      if (placed.has(lower)) return;
      placed.add(lower);
      for (const [name, value] of this.#added.get(lower) ?? []) flat.push(name, value);
    };
    for (const [name, value] of recorded) {
      const lower = name.toLowerCase();
      // An added header stands where the recorded one stood, even where that one was masked.
      if (this.#added.has(lower)) place(lower);
      else if (lower === 'host' && host === 'recorded') flat.push(name, value);
      else if (!HOP_BY_HOP.has(lower) && !WRITTEN_ANEW.has(lower) && !dropped.has(lower))
        flat.push(name, value);
    }
    if (host !== 'target' && host !== 'recorded') flat.push('Host', host);
    for (const lower of this.#added.keys()) place(lower);
    flat.push(MARKER_HEADER, this.#rules.runId);
    if (copy !== null) flat.push(COPY_HEADER, String(copy));
    return flat;
  }
}

/** Whether a flat list of names and values has a header. @param lower its name in lower case */
function hasName(flat: readonly string[], lower: string): boolean {
  return flat.some((text, at) => at % 2 === 0 && text.toLowerCase() === lower);
}

function isChunked(headers: readonly HeaderPair[]): boolean {
  return listOf(headers, 'transfer-encoding').includes('chunked');
}

/** Names a `Connection` header declares to belong to its connection. */
function nominatedBy(headers: readonly HeaderPair[]): readonly string[] {
  return listOf(headers, 'connection');
}

function listOf(headers: readonly HeaderPair[], lowerName: string): string[] {
  return headers
    .filter(([name]) => name.toLowerCase() === lowerName)
    .flatMap(([, value]) => value.split(','))
    .map((item) => item.trim().toLowerCase())
    .filter((item) => item !== '');
}

function maskedPartsOf(redacted: readonly string[]): MaskedParts {
  const isPointer = (name: string) => name === '' || name.startsWith('/');
  return {
    headers: redacted.filter((name) => !name.startsWith('?') && !isPointer(name)),
    queryKeys: redacted.filter((name) => name.startsWith('?')).map((name) => name.slice(1)),
    bodyValues: redacted.filter(isPointer),
  };
}
