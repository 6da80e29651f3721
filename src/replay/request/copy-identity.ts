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
  parseSinglePlace,
} from '../../core/json-cursor.ts';
import { Routes } from '../../core/routes.ts';
import { refused } from '../../core/units.ts';
import { generatesText, isPlain, type PayloadApi, payloadApiOf } from '../../inference/features.ts';
import { isGrpc } from '../../inference/grpc.ts';
import { knownCall } from '../../inference/protobuf/known-services.ts';
import { Redaction } from '../../redaction/head-redaction.ts';
import type { KeySource } from '../../redaction/identities.ts';
import { type CopyPrompts, withOwnPrompt } from './copy-prompt.ts';
import {
  editBody,
  JSON_LENGTH,
  type JsonScalar,
  membersNamed,
  spliceJson,
  spliceJsonAt,
} from './edit-json.ts';
import { editMessages } from './edit-messages.ts';
import { newDecimal, newHex, newName, newScalar, parsedText } from './new-ids.ts';

/** An identity other than the recorded one, under which a request is replayed. */
export interface PlayedAs {
  /** The same for all requests of one copy of a session; different for each copy. */
  readonly sessionSalt: string;
  /** Different for each request of each copy. */
  readonly tag: string;
  /** Number of the copy; 0 for a session that is replayed once, but under another name. */
  readonly copy: number;
}

/** A request with another identity. */
export interface Renamed {
  readonly payload: RequestPart;
  /** Whether its body differs from the original in a requested place. */
  readonly perturbedBody: boolean;
  /** Headers that differ, in lower case. They may still be left out later. */
  readonly perturbedHeaders: readonly string[];
  /** Whether its body is compressed or of an unknown gRPC service, so that identities in it stay. */
  readonly bodyUnread: boolean;
  /** Whether its prompt begins otherwise than that of its original; null if it has none, or need not. */
  readonly ownPrompt: boolean | null;
}

/** Headers with the id of one request or trace. A server may reject or merge requests with the same id. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  ...['x-request-id', 'request-id', 'x-correlation-id', 'correlation-id', 'x-client-request-id'],
  ...['x-ms-client-request-id', 'triton-request-id', 'ce-id', 'idempotency-key', 'x-idempotency-key'],
  ...['x-datadog-trace-id', 'x-datadog-parent-id'],
]);
/**
 * Headers with hexadecimal ids, even if one has only digits. They may also have a version, a time or flags. The span id
 * after the slash in Google's header is decimal.
 */
const TRACE_HEADERS: ReadonlySet<string> = new Set([
  ...['traceparent', 'b3', 'uber-trace-id', 'x-cloud-trace-context', 'x-amzn-trace-id'],
  ...['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid'],
]);
const TRACE_IDS = /(?<=\/)(?<decimal>\d+)|(?<![0-9a-f])[0-9a-f]{9,32}(?![0-9a-f])/gi;
/** The member that continues an earlier answer. */
export const SERVER_ISSUED = 'previous_response_id';

/** Whether a request refers to an earlier answer of the recorded server. */
export function namesServerIssued({ request }: RequestPart): boolean {
  const body = request?.body.kept ?? null;
  if (body === null || !asBuffer(body).includes(`"${SERVER_ISSUED}"`)) return false;
  const at = jsonLastMember(body, jsonStart(body), SERVER_ISSUED);
  return at >= 0 && body[at] === 0x22;
}

/** Gives requests another identity: session, trace and request ids are replaced, everything else stays. */
export class CopyIdentity {
  readonly #session: readonly KeySource[];
  readonly #perturb: readonly PerturbedPlace[];
  readonly #prompts: CopyPrompts;
  readonly #requestIds = new RequestIds();

  /** @param session the places where the recorder looked for the session key */
  constructor(
    session: readonly KeySource[],
    perturb: readonly PerturbedPlace[],
    prompts: CopyPrompts = 'same',
  ) {
    this.#prompts = prompts;
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
      head: buildRequestHead(head.method, this.#target(head.target, as.sessionSalt), headers, head.version),
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
    const untouched = { kept, jsonBytes: null, perturbedBody: false, bodyUnread: false, ownPrompt: null };
    const named = this.#session.flatMap((source) => (source.kind === 'json' ? [source] : []));
    const tagged = places.flatMap((place) => (place.kind === 'json' ? [place.steps] : []));
    const ids = this.#requestIds.membersOf(head.method, head.target);
    const isPrompted = as.copy > 0 && this.#prompts === 'own' && this.#requestIds.isPrompted(head);
    if (kept === null || kept.length === 0) return untouched;
    if (named.length + tagged.length + ids.length === 0 && !isPrompted) return untouched;
    if (isGrpc(headerValue(head.headers, 'content-type'))) {
      const ofSession = named.map(({ steps, zeroIsNone }) => ({
        steps,
        change: (value: JsonScalar) => sessionRenamed(value, zeroIsNone, as.sessionSalt),
      }));
      const ofRequest = ids.map((id) => ({
        steps: [id],
        change: (value: JsonScalar) => idRenewed(value, as.sessionSalt),
      }));
      const ofCopy = tagged.map((steps) => ({
        steps,
        change: (value: JsonScalar) => taggedValue(value, as.tag),
      }));
      const edits = [...ofSession, ...ofRequest, ...ofCopy];
      const edited = editMessages(knownCall(head.target)?.request ?? null, kept, edits);
      if (edited === null) return { ...untouched, bodyUnread: true };
      return {
        ...untouched,
        kept: edited.body,
        perturbedBody: ofCopy.some((edit) => edited.changed.has(edit)),
      };
    }
    if (!isPlain(headerValue(head.headers, 'content-encoding'))) return { ...untouched, bodyUnread: true };
    let perturbedBody = false;
    let ownPrompt: boolean | null = null;
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
      const own = isPrompted ? withOwnPrompt(json, as.copy) : null;
      if (isPrompted) ownPrompt = own !== null;
      return own ?? json;
    });
    return { kept: body, jsonBytes, perturbedBody, bodyUnread: false, ownPrompt };
  }
}

interface EditedBody extends Pick<Renamed, 'perturbedBody' | 'bodyUnread' | 'ownPrompt'> {
  readonly kept: Uint8Array | null;
  /** Length of the JSON before binary data; null without binary data. */
  readonly jsonBytes: number | null;
}

/** An empty id is not an id and stays. */
function idRenewed(value: JsonScalar, salt: string): string | null {
  return value.literal === '""' ? null : newScalar(value, salt);
}

function sessionRenamed(value: JsonScalar, zeroIsNone: boolean, salt: string): string | null {
  const isNone = value.isText ? value.literal === '""' : zeroIsNone && Number(value.literal) === 0;
  return isNone ? null : newScalar(value, salt);
}

/** Renames a query value. It is decoded first, so that escapes are not treated as letters. */
function queryValueRenamed(value: string, salt: string): string {
  if (!value.includes('%')) return newName(value, salt);
  try {
    return encodeURIComponent(newName(decodeURIComponent(value), salt));
  } catch {
    // The escaped bytes are no valid text.
    return newName(Buffer.from(value).toString('hex'), salt);
  }
}

/** Pairs of a query or of cookies, with new values for these names. An empty value is no id and stays. */
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
 * Top-level members with the id of a request, by API. `request_id` is used by vLLM, and `rid` by SGLang, with one for
 * each prompt of a batch. `id` is used by the Open Inference Protocol, by Triton's generate, and by `/invocations` with
 * either of these APIs. In other APIs, members with these names are input of the model.
 */
const ID_MEMBERS: Readonly<Partial<Record<PayloadApi, readonly string[]>>> = {
  openai: ['request_id', 'rid'],
  generate: ['id', 'request_id', 'rid'],
  v2: ['id'],
};
const NONE: readonly string[] = [];
/** Matches inference targets whose model name has slashes, because these get another route. */
const INFERENCE_TARGET = /^\/v2\/models\/[^?]*\/(?:infer|generate|generate_stream)(?:\?|$)/;
const INFERENCE_MEMBERS: readonly string[] = ['id'];

/** Finds and replaces the ids of requests in bodies. */
class RequestIds {
  /** Routes of recorded targets. They need no redaction, because it was already applied. */
  readonly #routes = new Routes(new Redaction());

  /** Members of a body that may have the request's id, for this method and target. */
  membersOf(method: string, target: string): readonly string[] {
    const api = payloadApiOf(this.#routes.of(method, target));
    if (api === null) return INFERENCE_TARGET.test(target) ? INFERENCE_MEMBERS : NONE;
    return ID_MEMBERS[api] ?? NONE;
  }

  /** Whether the body of a request may have a prompt. */
  isPrompted({ method, target }: RequestHead): boolean {
    return generatesText(this.#routes.of(method, target).route);
  }

  /** The document with other ids; every other byte is unchanged. An empty id is not an id and stays. */
  renew(json: Uint8Array, members: readonly string[], salt: string): Uint8Array {
    let renewed = json;
    const change = (value: JsonScalar) => idRenewed(value, salt);
    for (const member of members) {
      // A fast search first, because prompts are long and ids are rare.
      if (!asBuffer(renewed).includes(`"${member}"`)) continue;
      renewed = spliceJsonAt(renewed, idsUnder(renewed, member), change) ?? renewed;
    }
    return renewed;
  }
}

/** Positions of the ids under a member, in order. If the member is repeated, those of each repeat. */
function* idsUnder(json: Uint8Array, member: string): Generator<number> {
  for (const at of membersNamed(json, jsonStart(json), member)) {
    let element = jsonElement(json, at, 0);
    if (element < 0) yield at;
    for (; element >= 0; element = jsonAfterElement(json, element)) yield element;
  }
}

/** A place where a copy is changed to differ from its original. Plain data. */
export type PerturbedPlace =
  | { readonly kind: 'header'; readonly name: string }
  | { readonly kind: 'json'; readonly pointer: string; readonly steps: readonly string[] };

/** Header with the number of a copy, so that logs of the target can distinguish it from the original. */
export const COPY_HEADER = 'x-reprise-copy';

/** Headers that cannot be changed, because the replay or the HTTP client writes them: routing and framing. */
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
export function parsePerturbedPlace(text: string, what: string): PerturbedPlace {
  const colon = text.indexOf(':');
  const kind = text.slice(0, Math.max(0, colon));
  const rest = text.slice(colon + 1);
  if (kind === 'header' && /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(rest)) {
    if (!NOT_TO_CHANGE.has(rest.toLowerCase())) return { kind, name: rest };
    throw refused(what, rest, 'controls the HTTP message and cannot be changed');
  }
  if (kind === 'json') {
    const steps = parseSinglePlace(rest, what);
    if (steps !== null) return { kind, pointer: rest, steps };
  }
  const hint =
    'Write header:NAME, or json:/POINTER naming one text or number, such as json:/messages/0/content.';
  throw refused(what, text, 'is not a place', hint);
}

export function placeText(place: PerturbedPlace): string {
  return place.kind === 'header' ? `header:${place.name}` : `json:${place.pointer}`;
}

/** Adds a copy's tag to a header: after its value, or alone if the header was absent. */
function perturbHeaders(headers: readonly HeaderPair[], name: string, tag: string): HeaderPair[] {
  const lower = name.toLowerCase();
  const at = headers.findIndex(([each]) => each.toLowerCase() === lower);
  if (at < 0) return [...headers, [name, tag]];
  return headers.map(([each, value], index) => [
    each,
    index === at ? `${value}${value === '' ? '' : '-'}${tag}` : value,
  ]);
}

/** A text with the tag in front, so that no prefix cache matches it; or another number. */
function taggedValue(value: JsonScalar, tag: string): string {
  return value.isText ? JSON.stringify(`${tag} ${parsedText(value.literal)}`) : newScalar(value, tag);
}
