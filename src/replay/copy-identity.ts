import type { Message, RequestPart } from '../core/exchange.ts';
import {
  buildRequestHead,
  type HeaderPair,
  headerValue,
  parseRequestHead,
  type RequestHead,
} from '../core/headers.ts';
import { jsonLastMember, jsonStart } from '../core/json-cursor.ts';
import type { KeySource } from '../redaction/identities.ts';
import { spliceJson } from './json-splice.ts';
import { newDecimal, newHex, newName, newScalar } from './new-names.ts';
import { type PerturbedPlace, perturbHeaders, perturbJson } from './perturbation.ts';
import { RequestIds } from './request-ids.ts';

/** Who a request is played as, where not as who it was recorded. */
export interface PlayedAs {
  /** The same for everything that one session is played as; another for each of its copies. */
  readonly sessionSalt: string;
  /** Its own for each request of each copy. */
  readonly tag: string;
  /** Number of the copy; 0 for what is played once, and only under another name. */
  readonly copy: number;
}

/** What became of a request that is somebody else's now. */
export interface Renamed {
  readonly payload: RequestPart;
  /** Its body differs from what it is a copy of in a place that was asked for. */
  readonly perturbedBody: boolean;
  /** Headers that differ, in lower case; whether they are sent is not decided here. */
  readonly perturbedHeaders: readonly string[];
  /** Its body is compressed: who it names in there stays. */
  readonly bodyUnread: boolean;
}

/** Names of one request or one trace; a server may refuse or merge what carries them twice. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  ...['x-request-id', 'request-id', 'x-correlation-id', 'correlation-id', 'x-client-request-id'],
  ...['x-ms-client-request-id', 'triton-request-id', 'ce-id', 'idempotency-key', 'x-idempotency-key'],
  ...['x-datadog-trace-id', 'x-datadog-parent-id'],
]);
/**
 * Ids here are hexadecimal even where one has digits only, and a version, a time or flags may stand beside them. The
 * span of Google's header, behind a slash, is decimal.
 */
const TRACE_HEADERS: ReadonlySet<string> = new Set([
  ...['traceparent', 'b3', 'uber-trace-id', 'x-cloud-trace-context', 'x-amzn-trace-id'],
  ...['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid'],
]);
const TRACE_IDS = /(?<=\/)(?<decimal>\d+)|(?<![0-9a-f])[0-9a-f]{9,32}(?![0-9a-f])/gi;
const SERVER_ISSUED = 'previous_response_id';

/** Whether a request goes on from an answer that the recorded server gave to somebody else. */
export function namesServerIssued({ request }: RequestPart): boolean {
  const body = request?.body.kept ?? null;
  if (
    body === null ||
    !Buffer.from(body.buffer, body.byteOffset, body.byteLength).includes(`"${SERVER_ISSUED}"`)
  ) {
    return false;
  }
  const at = jsonLastMember(body, jsonStart(body), SERVER_ISSUED);
  return at >= 0 && body[at] === 0x22;
}

/** Makes requests somebody else's: names of session, trace and request are made new, all else stays. */
export class CopyIdentity {
  readonly #session: readonly KeySource[];
  readonly #perturb: readonly PerturbedPlace[];
  readonly #requestIds = new RequestIds();

  /** @param session where the capture looked for the key of a session */
  constructor(session: readonly KeySource[], perturb: readonly PerturbedPlace[]) {
    this.#session = session;
    this.#perturb = perturb;
  }

  rename(message: Message, as: PlayedAs): Renamed {
    const head = parseRequestHead(message.head);
    const places = as.copy === 0 ? [] : this.#perturb;
    let headers: readonly HeaderPair[] = head.headers.map((pair) => this.#header(pair, as.sessionSalt));
    for (const place of places) {
      if (place.kind === 'header') headers = perturbHeaders(headers, place.name, as.tag);
    }
    const edited = this.#body(message, head, places, as);
    if (edited.jsonBytes !== null) {
      headers = headers.map(([name, value]) => [
        name,
        name.toLowerCase() === JSON_LENGTH ? String(edited.jsonBytes) : value,
      ]);
    }
    const request = {
      ...message,
      head: buildRequestHead(head.method, this.#target(head.target, as.sessionSalt), headers),
      body: { ...message.body, kept: edited.kept, bytes: edited.kept?.length ?? message.body.bytes },
    };
    return {
      payload: { request },
      perturbedBody: edited.perturbed,
      perturbedHeaders: places.flatMap((place) =>
        place.kind === 'header' ? [place.name.toLowerCase()] : [],
      ),
      bodyUnread: edited.unread,
    };
  }

  #header([name, value]: HeaderPair, salt: string): HeaderPair {
    const lower = name.toLowerCase();
    if (TRACE_HEADERS.has(lower)) {
      const renew = (id: string, decimal?: string) =>
        decimal === undefined ? newHex(id, salt) : newDecimal(decimal, salt);
      return [name, value.replace(TRACE_IDS, renew)];
    }
    if (OWN_HEADERS.has(lower)) return [name, newName(value, salt)];
    for (const source of this.#session) {
      if (source.kind === 'header' && source.name === lower && value !== '')
        return [name, newName(value, salt)];
      if (source.kind === 'cookie' && lower === 'cookie')
        return [name, cookieRenamed(value, source.name, salt)];
    }
    return [name, value];
  }

  #target(target: string, salt: string): string {
    const keys = this.#session.flatMap((source) => (source.kind === 'query' ? [source.name] : []));
    const question = target.indexOf('?');
    if (keys.length === 0 || question < 0) return target;
    const pairs = target.slice(question + 1).split('&');
    const renamed = pairs.map((pair) => {
      const equals = pair.indexOf('=');
      if (equals <= 0 || equals === pair.length - 1 || !keys.includes(pair.slice(0, equals))) return pair;
      const value = pair.slice(equals + 1);
      return `${pair.slice(0, equals)}=${queryValueRenamed(value, salt)}`;
    });
    return `${target.slice(0, question)}?${renamed.join('&')}`;
  }

  #body(message: Message, head: RequestHead, places: readonly PerturbedPlace[], as: PlayedAs): EditedBody {
    const { kept } = message.body;
    const untouched = { kept, jsonBytes: null, perturbed: false, unread: false };
    const named = this.#session.flatMap((source) => (source.kind === 'json' ? [source] : []));
    const tagged = places.flatMap((place) => (place.kind === 'json' ? [place.steps] : []));
    const ids = this.#requestIds.membersOf(head.method, head.target);
    if (kept === null || kept.length === 0 || named.length + tagged.length + ids.length === 0)
      return untouched;
    const coding = headerValue(head.headers, 'content-encoding');
    if (coding !== null && coding.toLowerCase() !== 'identity') return { ...untouched, unread: true };
    // A binary request begins with so much JSON; what follows it stays as it is.
    const stated = Number(headerValue(head.headers, JSON_LENGTH) ?? Number.NaN);
    const split = Number.isInteger(stated) && stated > 0 && stated <= kept.length ? stated : null;
    let json: Uint8Array = split === null ? kept : kept.subarray(0, split);
    for (const { steps, zeroIsNone } of named) {
      json = spliceJson(json, steps, (value) => sessionRenamed(value, zeroIsNone, as.sessionSalt)) ?? json;
    }
    json = this.#requestIds.renew(json, ids, as.sessionSalt);
    let perturbed = false;
    for (const steps of tagged) {
      const next = perturbJson(json, steps, as.tag);
      perturbed ||= next !== null;
      json = next ?? json;
    }
    if (split === null) return { kept: json, jsonBytes: null, perturbed, unread: false };
    const whole = Buffer.concat([json, kept.subarray(split)]);
    return { kept: whole, jsonBytes: json.length, perturbed, unread: false };
  }
}

const JSON_LENGTH = 'inference-header-content-length';

interface EditedBody {
  readonly kept: Uint8Array | null;
  /** Length of the JSON in front of binary data; null without such. */
  readonly jsonBytes: number | null;
  readonly perturbed: boolean;
  readonly unread: boolean;
}

function sessionRenamed(
  value: { readonly literal: string; readonly isText: boolean },
  zeroIsNone: boolean,
  salt: string,
): string | null {
  const isNone = value.isText ? value.literal === '""' : zeroIsNone && Number(value.literal) === 0;
  return isNone ? null : newScalar(value, salt);
}

/** Escapes in a value are no letters to be exchanged: what they stand for is renamed. */
function queryValueRenamed(value: string, salt: string): string {
  if (!value.includes('%')) return newName(value, salt);
  try {
    return encodeURIComponent(newName(decodeURIComponent(value), salt));
  } catch {
    // Escaped bytes that are no text.
    return newName(Buffer.from(value).toString('hex'), salt);
  }
}

function cookieRenamed(cookies: string, name: string, salt: string): string {
  return cookies
    .split(';')
    .map((pair) => {
      const equals = pair.indexOf('=');
      if (equals <= 0 || pair.slice(0, equals).trim() !== name || equals === pair.length - 1) return pair;
      return `${pair.slice(0, equals)}=${newName(pair.slice(equals + 1), salt)}`;
    })
    .join(';');
}
