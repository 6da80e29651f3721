import { ASCII, byteSet } from '../core/ascii.ts';
import { latin1 } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { decodedRounds, decodePercent, ownText } from '../core/text.ts';
import { quotesCredential } from './credentials.ts';

/**
 * Which header names and query keys hold secrets, and which name the session. The built-in list can be extended but not
 * reduced. In doubt it masks, because a masked header is an inconvenience and a stored key is an incident. See
 * docs/adr/0008-redaction-default.md for the words and exceptions.
 */

/** The treatment of a named value: kept, masked, or hashed if it names the session. */
export type NameTreatment = 'keep' | 'mask' | 'hash';

/**
 * The same for a header. `url`: its value is one URL or several. `urls`: its value may contain URLs. `ask`: the same,
 * and it may be a credential, because its name does not tell.
 */
type HeaderTreatment = NameTreatment | 'url' | 'urls' | 'ask';

/** Additions to the built-in list, compared case-insensitively. */
export interface SecretNameAdditions {
  readonly headers?: readonly string[];
  readonly queryKeys?: readonly string[];
}

/** Headers (lower case) and query keys that name the session. */
export interface SessionNames {
  readonly headers: readonly string[];
  readonly queryKeys: readonly string[];
}

const NO_SESSION: SessionNames = { headers: [], queryKeys: [] };

/** Names that no word below matches. */
const SECRET_HEADERS = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'cookie2',
  'set-cookie',
  'set-cookie2',
  'x-api-key',
  'api-key',
  'x-auth-token',
  'x-amz-security-token',
  'x-goog-api-key',
  'x-amzn-oidc-data',
  'x-ms-client-principal',
  'dpop',
  // Browsers cannot send Authorization with a WebSocket and put their token here.
  'sec-websocket-protocol',
]);

/** Headers that hold URLs. Secrets in query keys and user info are masked, the rest is kept. */
const URL_HEADERS = new Set([
  'host',
  'origin',
  'referer',
  'location',
  'content-location',
  'destination',
  'link',
  'refresh',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
  'x-forwarded-uri',
  'x-forwarded-url',
  'x-envoy-original-path',
]);

/** Masking these would change the message itself or its end, or hide the mark of replayed traffic. */
export const STEERING_HEADERS: ReadonlySet<string> = new Set([
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

/** Requests for credentials and permissions to use some. They have the same words, and no credentials. */
const DEMANDS = new Set(['www-authenticate', 'proxy-authenticate', 'permissions-policy']);

/** Names, without a leading `x-` and separators, that contain a secret word but hold no secret. */
const NOT_SECRET = new Set([
  'secwebsocketkey',
  'idempotencykey',
  'surrogatekey',
  'cachekey',
  'signaturename',
  'tokencount',
  'accesscontrolallowprivatenetwork',
  'accesscontrolrequestprivatenetwork',
]);

/** Words that mark a secret anywhere in a name without separators. */
const WORDS =
  /token|secret|passw|passphrase|passcode|accesscode|saml|macaroon|signature|credential|authorization|apikey|accesskey|secretkey|privatekey|(?:client|peer|user|ssl|tls)cert/;

/** Words that mark a secret as a whole segment of a name. */
const SEGMENTS =
  /^(?:.*(?:keys?|creds|tkn)|cred|sig|auth|authentication|jwt|bearer|assertion|pwd|t?otp|[cx]srf|cookies?)$/;

/** Words that mark a secret only as the last segment: `user_pass` is one; `pass_through` and `pin_memory` are not. */
const LAST_SEGMENTS = /^(?:pass|pw|pin)$/;

/** Segments that servers use for session keys that log a client in. */
const SESSION_SEGMENTS = /^(?:j?sessionid|(?:php)?sessid)$/;

/** With `tokens`, one of these means that the header counts tokens. A single `token` never does. */
const COUNTS =
  /^(?:max|min|num|new|n|prompt|completion|output|input|total|limit|remaining|reset|count|budget|ratelimit|used|cached|reasoning)$/;

const CACHED_NAMES = 2_048;
const CACHED_NAME_CHARS = 128;

/** How much of a sent name is examined. The rest does not matter and may be megabytes. */
export const JUDGED_NAME_CHARS = 4_096;

const { PERCENT, EQUALS, QUOTE } = ASCII;
const KEY_STARTS = byteSet('?&;#');

/** Bounds how many client-chosen names are examined. Beyond that, every value is treated as secret. */
export class NameAllowance {
  #left: number = LIMITS.judgedNames;

  take(): boolean {
    this.#left -= 1;
    return this.#left >= 0;
  }
}

/** Decides by name, with a cache: a service uses the same few dozen names. */
export class SecretNames {
  readonly #addedHeaders: ReadonlySet<string>;
  readonly #addedQueryKeys: ReadonlySet<string>;
  readonly #sessionHeaders: ReadonlySet<string>;
  readonly #sessionQueryKeys: ReadonlySet<string>;
  readonly #headers = new Map<string, HeaderTreatment>();
  readonly #queryKeys = new Map<string, NameTreatment>();

  constructor(additions: SecretNameAdditions = {}, session: SessionNames = NO_SESSION) {
    this.#addedHeaders = new Set(additions.headers?.map((name) => name.toLowerCase()));
    this.#addedQueryKeys = new Set(additions.queryKeys?.map((key) => key.toLowerCase()));
    this.#sessionHeaders = new Set(session.headers);
    this.#sessionQueryKeys = new Set(session.queryKeys);
  }

  /** The treatment of the value of this header, in any case. */
  header(name: string): HeaderTreatment {
    return remembered(this.#headers, name, () => this.#judgeHeader(name));
  }

  /** The treatment of the value of this query key. `sent`: still percent-encoded. */
  queryKey(sent: string): NameTreatment {
    const key = sent.length > JUDGED_NAME_CHARS ? sent.slice(0, JUDGED_NAME_CHARS) : sent;
    return remembered(this.#queryKeys, key, () => this.#judgeQueryKey(key));
  }

  /** Whether a name, in a text that is no URL, has a secret value. */
  isSecret(name: string, allowance: NameAllowance): boolean {
    return !allowance.take() || this.queryKey(name) !== 'keep';
  }

  /**
   * The same for a value that is itself a percent-encoded URL or query (`next=%2Fx%3Ftoken%3Dabc`), or JSON, encoded or
   * not.
   */
  hiddenIn(value: Uint8Array, allowance: NameAllowance = new NameAllowance()): NameTreatment {
    if (this.#quotesSecret(value, allowance)) return 'mask';
    if (!value.includes(PERCENT)) return 'keep';
    if (!allowance.take()) return 'mask';
    let treatment: NameTreatment = 'keep';
    for (const plain of decodedRounds(value)) {
      const named = this.within(plain, allowance);
      if (named === 'mask') return named;
      if (named === 'hash') treatment = named;
    }
    return treatment;
  }

  /** The same for a text that may be a URL, query or JSON, unencoded. A key may follow any of `? & ; #`. */
  within(text: Uint8Array, allowance: NameAllowance): NameTreatment {
    if (this.#quotesSecret(text, allowance)) return 'mask';
    let treatment: NameTreatment = 'keep';
    // Start of the current key. None starts between an equals sign and the next delimiter.
    let from = 0;
    for (let at = 0; at < text.length; at += 1) {
      const code = text[at]!;
      if (KEY_STARTS[code] === 1) from = at + 1;
      if (code !== EQUALS) continue;
      if (at > from) {
        const named = allowance.take() ? this.queryKey(keyIn(text, from, at)) : 'mask';
        if (named === 'mask') return named;
        if (named === 'hash') treatment = named;
      }
      from = text.length;
    }
    return treatment;
  }

  #quotesSecret(text: Uint8Array, allowance: NameAllowance): boolean {
    return text.includes(QUOTE) && quotesCredential(latin1(text), (name) => this.isSecret(name, allowance));
  }

  #judgeHeader(name: string): HeaderTreatment {
    const lower = name.toLowerCase();
    if (STEERING_HEADERS.has(lower)) return URL_HEADERS.has(lower) ? 'url' : 'keep';
    if (this.#addedHeaders.has(lower) || SECRET_HEADERS.has(lower)) return 'mask';
    // The end of a name of binary metadata in gRPC, which is no word of the name.
    const meant = name.replace(/-bin$/i, '');
    if ((hasSecretWord(meant) || holdsPrivate(meant)) && !URL_HEADERS.has(lower)) return 'mask';
    if (this.#sessionHeaders.has(lower)) return 'hash';
    if (namesSession(name)) return 'mask';
    if (DEMANDS.has(lower)) return 'urls';
    return URL_HEADERS.has(lower) ? 'url' : 'ask';
  }

  #judgeQueryKey(key: string): NameTreatment {
    const plain = decodePercent(key);
    if (this.#addedQueryKeys.has(plain.toLowerCase()) || hasSecretWord(plain)) return 'mask';
    if (this.#sessionQueryKeys.has(plain)) return 'hash';
    return namesSession(plain) ? 'mask' : 'keep';
  }
}

function keyIn(text: Uint8Array, from: number, to: number): string {
  const key = text.subarray(from, Math.min(to, from + JUDGED_NAME_CHARS));
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

function remembered<Judgement>(
  judged: Map<string, Judgement>,
  name: string,
  judge: () => Judgement,
): Judgement {
  const known = judged.get(name);
  if (known !== undefined) return known;
  const judgement = judge();
  if (judged.size < CACHED_NAMES && name.length <= CACHED_NAME_CHARS) judged.set(ownText(name), judgement);
  return judgement;
}

function isListedAsHarmless(segments: readonly string[]): boolean {
  return NOT_SECRET.has((segments[0] === 'x' ? segments.slice(1) : segments).join(''));
}

/** Only in a header's name: as a query key, `private` is a setting. */
function holdsPrivate(name: string): boolean {
  const segments = segmentsOf(name);
  return segments.some((segment) => segment.startsWith('private')) && !isListedAsHarmless(segments);
}

function hasSecretWord(name: string): boolean {
  const segments = segmentsOf(name);
  if (isListedAsHarmless(segments)) return false;
  const counted = segments.includes('tokens') && segments.some((segment) => COUNTS.test(segment));
  const judged = segments.filter(
    (segment) => !(counted && segment === 'tokens') && !/^tokeni[sz]/.test(segment),
  );
  if (LAST_SEGMENTS.test(judged.at(-1) ?? '')) return true;
  return judged.some((segment) => SEGMENTS.test(segment)) || WORDS.test(judged.join(''));
}

/** A session key under such a name is hashed instead of masked. */
function namesSession(name: string): boolean {
  return segmentsOf(name).some((segment) => SESSION_SEGMENTS.test(segment));
}

/** `x-api-key`, `x_api_key` and `xApiKey` are equal names. */
function segmentsOf(name: string): string[] {
  return name
    .slice(0, 256)
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((segment) => segment !== '');
}
