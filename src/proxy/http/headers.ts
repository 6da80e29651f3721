import { HOP_BY_HOP, MARKER_HEADER } from '../../core/headers.ts';

/** Header lines as they were on the wire: name, value, name, value …, in order, with case and duplicates. */
export type RawHeaders = readonly string[];

/** Why a request was answered by the gateway itself; counted under these names. */
export const REFUSALS = [
  /** Not HTTP/1.x as we read it; head too large; not complete in time. */
  'unreadable',
  'head_too_large',
  'too_slow',
  'http2_preface',
  'version',
  'target',
  'host',
  'framing',
  'expectation',
  'connect_method',
  'upgrade',
  'replay_marked',
  'in_flight',
] as const;
export type RefusalReason = (typeof REFUSALS)[number];

interface Refusal {
  readonly reason: RefusalReason;
  readonly status: number;
}

interface JudgedRequest {
  readonly method: string;
  readonly target: string;
  readonly httpVersion: string;
  readonly headers: RawHeaders;
}

/** What one walk over a request's header lines finds. */
export interface InspectedRequest {
  readonly refusal: Refusal | null;
  readonly host: string;
  readonly marked: boolean;
  /** Whether a body was announced, and in chunks. */
  readonly hasBody: boolean;
  readonly chunked: boolean;
  /** Names that `Connection` claims for this hop; null if no relevant name is listed. */
  readonly nominated: ReadonlySet<string> | null;
}

/** Never removed, even if `Connection` names them: without them a message would have another meaning. */
const PROTECTED = new Set(['content-length', 'transfer-encoding', 'host', 'authorization', 'cookie']);
const FORWARDED = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
]);

/**
 * Many servers pass both spellings to programs under one name. So a client's `X_Forwarded_For` would pass as the
 * gateway's.
 */
function isForwarded(lower: string): boolean {
  return FORWARDED.has(lower.replaceAll('_', '-'));
}

/**
 * Checks a request that Node's parser accepted, before any library sees it. Refuses requests that two servers could
 * read differently, and requests that are not addressed to an origin server.
 */
export function inspectRequest(request: JudgedRequest): InspectedRequest {
  const { headers } = request;
  let hosts = 0;
  let host = '';
  let lengths = 0;
  let length = '';
  let codings = 0;
  let coding = '';
  let marked = false;
  let nominated: Set<string> | null = null;
  for (let at = 0; at < headers.length; at += 2) {
    const value = headers[at + 1] as string;
    switch ((headers[at] as string).toLowerCase()) {
      case 'host':
        hosts += 1;
        host = value;
        break;
      case 'content-length':
        lengths += 1;
        length = value;
        break;
      case 'transfer-encoding':
        codings += 1;
        coding = value;
        break;
      case 'connection':
        nominated = nominatedBy(value, nominated);
        break;
      case MARKER_HEADER:
        marked = true;
        break;
    }
  }
  const chunked = codings > 0;
  return {
    refusal: refusalOf(request, { hosts, lengths, codings, coding }),
    host,
    marked,
    hasBody: chunked || (lengths > 0 && length !== '0'),
    chunked,
    nominated,
  };
}

function refusalOf(
  { method, target, httpVersion }: JudgedRequest,
  found: { hosts: number; lengths: number; codings: number; coding: string },
): Refusal | null {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return { reason: 'version', status: 505 };
  const isOrigin = target.charCodeAt(0) === 0x2f || (target === '*' && method === 'OPTIONS');
  if (!isOrigin || target.includes('#')) return { reason: 'target', status: 400 };
  if (found.hosts !== 1) return { reason: 'host', status: 400 };
  if (found.lengths > 1) return { reason: 'framing', status: 400 };
  if (found.codings === 0) return null;
  if (found.codings > 1 || found.lengths > 0 || httpVersion === '1.0')
    return { reason: 'framing', status: 400 };
  return found.coding.toLowerCase() === 'chunked' ? null : { reason: 'framing', status: 501 };
}

/** The names that a `Connection` line nominates, except those that are hop-by-hop anyway. */
function nominatedBy(value: string, known: Set<string> | null): Set<string> | null {
  let names = known;
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase();
    if (name === 'close' || HOP_BY_HOP.has(name) || PROTECTED.has(name) || name === '') continue;
    names ??= new Set();
    names.add(name);
  }
  return names;
}

/** The client and the host of a request, for headers that tell them to the target. */
interface Forwarded {
  readonly peer: string | null;
  readonly proto: 'http' | 'https';
  readonly host: string;
}

/** The header lines for the target: as received, without those that belong to the client's connection. */
export function forwardedHeaders(
  headers: RawHeaders,
  look: InspectedRequest,
  forwarded: Forwarded | null,
): string[] {
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    const value = headers[at + 1] as string;
    const lower = name.toLowerCase();
    if (lower === 'te') {
      if (/(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i.test(value)) kept.push(name, 'trailers');
      continue;
    }
    // Node has already requested the body from the client. The target must not do so again.
    if (lower === 'expect' || look.nominated?.has(lower)) continue;
    if (HOP_BY_HOP.has(lower) && !isFraming(lower, look.chunked)) continue;
    if (forwarded !== null && isForwarded(lower)) continue;
    kept.push(name, value);
  }
  if (forwarded === null) return kept;
  if (forwarded.peer !== null) kept.push('X-Forwarded-For', forwarded.peer);
  kept.push('X-Forwarded-Proto', forwarded.proto, 'X-Forwarded-Host', forwarded.host);
  if (forwarded.peer !== null) kept.push('X-Real-IP', forwarded.peer);
  kept.push('Forwarded', forwardedValue(forwarded));
  return kept;
}

/** RFC 7239 section 4: an IPv6 address is in brackets and quotes, and a host may contain a colon. */
function forwardedValue({ peer, host, proto }: Forwarded): string {
  const node = peer === null ? 'unknown' : peer.includes(':') ? `"[${peer}]"` : peer;
  return `for=${node};host="${host.replaceAll(/["\\]/g, '\\$&')}";proto=${proto}`;
}

/**
 * `Transfer-Encoding: chunked` is passed on because the body stays chunked. A `Trailer` line is passed on only with it.
 */
function isFraming(lower: string, chunked: boolean): boolean {
  return chunked && (lower === 'transfer-encoding' || lower === 'trailer');
}

interface JudgedResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
}

/** Node silently drops the header lines of an answer beyond this number. */
const HEADER_LINES = 1_000;
const UNCLEAN = /[^\t\x20-\x7e\x80-\xff]/;

interface PassableResponse {
  readonly headers: string[];
  readonly body: 'none' | 'length' | 'chunked' | 'until_close';
  /** Whether the client can tell a complete body from a broken one. */
  readonly delimited: boolean;
}

/** The parts of an answer that are passed on. Null if it must not be passed on: the client gets a 502 instead. */
export function passableResponse(
  response: JudgedResponse,
  towards: { readonly method: string; readonly httpVersion: string },
): PassableResponse | null {
  const { status, reason, headers } = response;
  if (status < 200 || status > 599 || UNCLEAN.test(reason) || headers.length >= HEADER_LINES * 2) return null;
  let nominated: Set<string> | null = null;
  let chunked = false;
  let lengths = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const lower = (headers[at] as string).toLowerCase();
    const value = headers[at + 1] as string;
    if (lower === 'content-length') lengths += 1;
    else if (lower === 'connection') nominated = nominatedBy(value, nominated);
    else if (lower === 'transfer-encoding') {
      if (chunked || value.toLowerCase() !== 'chunked') return null;
      chunked = true;
    }
  }
  if (lengths > 1 || (lengths > 0 && chunked)) return null;
  const passesChunks = chunked && towards.httpVersion !== '1.0' && status !== 204 && status !== 304;
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    const lower = name.toLowerCase();
    if (nominated?.has(lower)) continue;
    if (HOP_BY_HOP.has(lower) && !isFraming(lower, passesChunks)) continue;
    kept.push(name, headers[at + 1] as string);
  }
  const isBodyless = towards.method === 'HEAD' || status === 204 || status === 304;
  const body = isBodyless ? 'none' : chunked ? 'chunked' : lengths > 0 ? 'length' : 'until_close';
  // To an HTTP/1.1 client, Node sends a body of unknown length in chunks.
  const delimited = body === 'none' || body === 'length' || towards.httpVersion !== '1.0';
  return { headers: kept, body, delimited };
}

/**
 * Trailer lines as pairs, without those that must not come late: a length or a host after the body is an attack.
 * @param tellsPeer whether the gateway, and not the client, tells who sent a request
 */
export function passableTrailers(trailers: RawHeaders, tellsPeer: boolean): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < trailers.length; at += 2) {
    const name = trailers[at] as string;
    const lower = name.toLowerCase();
    if (PROTECTED.has(lower) || HOP_BY_HOP.has(lower) || (tellsPeer && isForwarded(lower))) continue;
    pairs.push([name, trailers[at + 1] as string]);
  }
  return pairs;
}

/** Node's error for bytes that it cannot read as a request; `rawPacket` is their chunk. */
interface ParseError extends NodeJS.ErrnoException {
  readonly rawPacket?: Buffer;
}

const PREFACE = 'PRI * HTTP/2.0\r\n';

/** The response to a client whose bytes Node could not parse; null if the client is gone. */
export function reasonOfClientError(error: ParseError): Refusal | null {
  const { code = '', rawPacket } = error;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return { reason: 'too_slow', status: 408 };
  if (code === 'HPE_HEADER_OVERFLOW') return { reason: 'head_too_large', status: 431 };
  if (!code.startsWith('HPE_')) return null;
  const isPreface = rawPacket?.subarray(0, PREFACE.length).toString('latin1') === PREFACE;
  return { reason: isPreface ? 'http2_preface' : 'unreadable', status: 400 };
}
