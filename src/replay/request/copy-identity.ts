import type { Message, RequestPart } from '../../core/exchange.ts';
import {
  buildRequestHead,
  type HeaderPair,
  HOP_BY_HOP,
  headerValue,
  MARKER_HEADER,
  parseRequestHead,
  type RequestHead,
} from '../../core/headers.ts';
import {
  asBuffer,
  jsonAfterElement,
  jsonElement,
  jsonLastMember,
  jsonStart,
} from '../../core/json-cursor.ts';
import { Routes } from '../../core/routes.ts';
import { isPlain, type PayloadApi, payloadApiOf } from '../../inference/features.ts';
import { Redaction } from '../../redaction/head-redaction.ts';
import type { KeySource } from '../../redaction/identities.ts';
import { parseSinglePlace, refused } from '../options/parsers.ts';
import {
  editBody,
  JSON_LENGTH,
  type JsonScalar,
  membersNamed,
  spliceJson,
  spliceJsonAt,
} from './edit-json.ts';
import { newDecimal, newHex, newName, newScalar, parsedText } from './new-ids.ts';

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
  if (body === null || !asBuffer(body).includes(`"${SERVER_ISSUED}"`)) return false;
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
    const { kept, jsonBytes, ...told } = this.#body(message, head, places, as);
    if (jsonBytes !== null) {
      headers = headers.map(([name, value]) => [
        name,
        name.toLowerCase() === JSON_LENGTH ? String(jsonBytes) : value,
      ]);
    }
    const request = {
      ...message,
      head: buildRequestHead(head.method, this.#target(head.target, as.sessionSalt), headers),
      body: { ...message.body, kept, bytes: kept?.length ?? message.body.bytes },
    };
    return {
      ...told,
      payload: { request },
      perturbedHeaders: places.flatMap((place) =>
        place.kind === 'header' ? [place.name.toLowerCase()] : [],
      ),
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
        return [name, pairsRenamed(value, ';', [source.name], (cookie) => newName(cookie, salt))];
    }
    return [name, value];
  }

  #target(target: string, salt: string): string {
    const keys = this.#session.flatMap((source) => (source.kind === 'query' ? [source.name] : []));
    const question = target.indexOf('?');
    if (keys.length === 0 || question < 0) return target;
    const rename = (value: string) => queryValueRenamed(value, salt);
    return `${target.slice(0, question)}?${pairsRenamed(target.slice(question + 1), '&', keys, rename)}`;
  }

  #body(message: Message, head: RequestHead, places: readonly PerturbedPlace[], as: PlayedAs): EditedBody {
    const { kept } = message.body;
    const untouched = { kept, jsonBytes: null, perturbedBody: false, bodyUnread: false };
    const named = this.#session.flatMap((source) => (source.kind === 'json' ? [source] : []));
    const tagged = places.flatMap((place) => (place.kind === 'json' ? [place.steps] : []));
    const ids = this.#requestIds.membersOf(head.method, head.target);
    if (kept === null || kept.length === 0 || named.length + tagged.length + ids.length === 0)
      return untouched;
    if (!isPlain(headerValue(head.headers, 'content-encoding'))) return { ...untouched, bodyUnread: true };
    let perturbedBody = false;
    const { body, jsonBytes } = editBody(kept, headerValue(head.headers, JSON_LENGTH), (recorded) => {
      let json = recorded;
      for (const { steps, zeroIsNone } of named) {
        json = spliceJson(json, steps, (value) => sessionRenamed(value, zeroIsNone, as.sessionSalt)) ?? json;
      }
      json = this.#requestIds.renew(json, ids, as.sessionSalt);
      for (const steps of tagged) {
        const next = spliceJson(json, steps, (value) => taggedValue(value, as.tag));
        perturbedBody ||= next !== null;
        json = next ?? json;
      }
      return json;
    });
    return { kept: body, jsonBytes, perturbedBody, bodyUnread: false };
  }
}

interface EditedBody extends Pick<Renamed, 'perturbedBody' | 'bodyUnread'> {
  readonly kept: Uint8Array | null;
  /** Length of the JSON in front of binary data; null without such. */
  readonly jsonBytes: number | null;
}

function sessionRenamed(value: JsonScalar, zeroIsNone: boolean, salt: string): string | null {
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

/** Pairs of a query or of cookies, with other values under these names. An empty value names nobody and stays. */
function pairsRenamed(
  text: string,
  separator: string,
  names: readonly string[],
  rename: (value: string) => string,
): string {
  const pairs = text.split(separator).map((pair) => {
    const [, name, value] = /^([^=]+)=(.+)$/s.exec(pair) ?? [];
    return value === undefined || !names.includes(name?.trim() ?? '') ? pair : `${name}=${rename(value)}`;
  });
  return pairs.join(separator);
}

/**
 * Top-level members of a body that name its request, by how it asks: `request_id` is vLLM's, `rid` SGLang's, which
 * has one for each prompt of a batch, `id` that of the Open Inference Protocol, of Triton's generate, and of what
 * speaks either at `/invocations`. Elsewhere members of these names are the model's input.
 */
const ID_MEMBERS: Readonly<Partial<Record<PayloadApi, readonly string[]>>> = {
  openai: ['request_id', 'rid'],
  generate: ['id', 'request_id', 'rid'],
  v2: ['id'],
};
const NONE: readonly string[] = [];
/** Also where the name of a model has slashes, which makes another route of it. */
const INFERENCE_TARGET = /^\/v2\/models\/[^?]*\/(?:infer|generate|generate_stream)(?:\?|$)/;
const INFERENCE_MEMBERS: readonly string[] = ['id'];

/** The same for people. */
export const ID_MEMBERS_TEXT = 'request_id and rid of chat, completions and generate, id of v2 and generate';

/** Finds the ids of requests in bodies, and makes them new. */
class RequestIds {
  /** Of targets as they were recorded: what was to be hidden in them is hidden. */
  readonly #routes = new Routes(new Redaction());

  /** Members of its body that may name a request that goes there. */
  membersOf(method: string, target: string): readonly string[] {
    const api = payloadApiOf(this.#routes.of(method, target));
    if (api === null) return INFERENCE_TARGET.test(target) ? INFERENCE_MEMBERS : NONE;
    return ID_MEMBERS[api] ?? NONE;
  }

  /** The document with other ids; every other byte is unchanged. An empty id is not an id and stays. */
  renew(json: Uint8Array, members: readonly string[], salt: string): Uint8Array {
    let renewed = json;
    const change = (value: JsonScalar) => (value.literal === '""' ? null : newScalar(value, salt));
    for (const member of members) {
      // Prompts are long and ids are rare: what is not there at all is known at the speed of memory.
      if (!asBuffer(renewed).includes(`"${member}"`)) continue;
      renewed = spliceJsonAt(renewed, idsUnder(renewed, member), change) ?? renewed;
    }
    return renewed;
  }
}

/** Where the ids under a member stand, in order, of each repeat of it. */
function* idsUnder(json: Uint8Array, member: string): Generator<number> {
  for (const at of membersNamed(json, jsonStart(json), member)) {
    let element = jsonElement(json, at, 0);
    if (element < 0) yield at;
    for (; element >= 0; element = jsonAfterElement(json, element)) yield element;
  }
}

/** Where a copy is made to differ from what it is a copy of. Plain data. */
export type PerturbedPlace =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'json'; readonly pointer: string; readonly steps: readonly string[] };

/** Says of a copy which one it is, so that its target's logs tell it from what was recorded. */
export const COPY_HEADER = 'x-reprise-copy';

/** Written by the replay or by the HTTP client: they say where a message goes and where it ends. */
const NOT_TO_CHANGE: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'inference-header-content-length',
  'expect',
  MARKER_HEADER,
  COPY_HEADER,
]);

/**
 * Reads `header:NAME` or `json:/POINTER`.
 * @throws AppError OPTION_INVALID
 */
export function parsePerturbedPlace(text: string): PerturbedPlace {
  const colon = text.indexOf(':');
  const kind = text.slice(0, Math.max(0, colon));
  const rest = text.slice(colon + 1);
  if (kind === 'header' && /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(rest)) {
    if (!NOT_TO_CHANGE.has(rest.toLowerCase())) return { kind, name: rest };
    throw refused('--perturb', rest, 'controls the HTTP message and cannot be changed');
  }
  if (kind === 'json') {
    const steps = parseSinglePlace(rest, '--perturb');
    if (steps !== null) return { kind, pointer: rest, steps };
  }
  const hint =
    'Write header:NAME, or json:/POINTER naming one text or number, such as json:/messages/0/content.';
  throw refused('--perturb', text, 'is not a place', hint);
}

export function placeText(place: PerturbedPlace): string {
  return place.kind === 'header' ? `header:${place.name}` : `json:${place.pointer}`;
}

/** The header with a tag of the copy's own: behind its value, or alone where it was not there. */
function perturbHeaders(headers: readonly HeaderPair[], name: string, tag: string): HeaderPair[] {
  const lower = name.toLowerCase();
  const at = headers.findIndex(([each]) => each.toLowerCase() === lower);
  if (at < 0) return [...headers, [name, tag]];
  return headers.map(([each, value], index) => [
    each,
    index === at ? `${value}${value === '' ? '' : '-'}${tag}` : value,
  ]);
}

/** A text with a tag in front, so that no cache of its beginning serves it; or another number. */
function taggedValue(value: JsonScalar, tag: string): string {
  return value.isText ? JSON.stringify(`${tag} ${parsedText(value.literal)}`) : newScalar(value, tag);
}
