import { decodeContent } from '../core/content-coding.ts';
import { BODY_DROP_REASONS, type BodyDropReason, UnreadableBody } from '../core/errors.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { boundaryOf } from '../core/multipart.ts';
import { type BodyRules, bodyTreatments } from './body-rules.ts';
import { coverEvents } from './event-stream.ts';
import { coverForm, coverParts } from './forms.ts';
import { JsonWalk } from './json-walk.ts';
import { PointerState } from './pointer-states.ts';
import { type SecretNameAdditions, SecretNames } from './secret-names.ts';
import { coverTensors } from './tensor-parts.ts';
import { UrlSecrets } from './url-secrets.ts';
import { isLabel, ValueCover } from './value-masking.ts';

/** What redaction needs to know about a body besides its bytes. */
export interface BodyAbout {
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  /** Only a prefix is there, so the body cannot be judged. */
  readonly truncated: boolean;
  /** `Inference-Header-Content-Length`: bytes of JSON before Triton's binary tensors; null without them. */
  readonly inferenceHeaderLength: number | null;
  /** The keyed hash of all these bytes, if already computed. */
  readonly hash?: Uint8Array | null;
}

/** Prefix of the drop reason among the names of masked items. */
const DROP_MARK = '!';

export function dropNote(reason: BodyDropReason): string {
  return `${DROP_MARK}${reason}`;
}

/** Why a message's body was dropped, from its list of names; null if it was not. */
export function dropReasonOf(redacted: readonly string[]): BodyDropReason | null {
  if (!redacted.some((name) => name.startsWith(DROP_MARK))) return null;
  return BODY_DROP_REASONS.find((reason) => redacted.includes(dropNote(reason))) ?? null;
}

/** What may be stored of a body. */
export interface RedactedBody {
  /** The body with masked secrets; the given bytes if no rule applied; null if dropped. */
  readonly kept: Uint8Array | null;
  /** Pointers of the rules that masked something. */
  readonly names: readonly string[];
  /** Why nothing may be stored; null if `kept` may be. */
  readonly dropped: BodyDropReason | null;
}

const NOTHING: readonly string[] = Object.freeze([]);

const JSON_TYPE = /^(?:application|text)\/(?:json|[a-z0-9.!#$&^_-]+\+json)$/;
const JSON_LINES_TYPE = /^(?:application|text)\/(?:x-)?(?:ndjson|jsonl|jsonlines|json-lines)$/;
const EVENT_STREAM_TYPE = 'text/event-stream';
const FORM_TYPE = 'application/x-www-form-urlencoded';
const MULTIPART_TYPE = 'multipart/form-data';
/** Start of a body that is treated as JSON although its type does not say so. */
const JSON_BEGINNING = /^(?:\xef\xbb\xbf)?[ \t\r\n]*[[{]/;
const BEGINNING_BYTES = 256;

/**
 * Masks what rules name in bodies before anything is stored. Lengths stay equal byte for byte, except for
 * coded bodies, which are recompressed. Never throws: a body that cannot be read reliably is dropped.
 */
export class BodyRedaction {
  readonly #hash: KeyedHash;
  readonly #root: PointerState;
  readonly #names: SecretNames;
  readonly #urls: UrlSecrets;
  /** The rules as stored in the capture. */
  readonly policy: BodyRules;
  /** Whether there is any rule. Without rules bodies pass unchanged at no cost. */
  readonly active: boolean;

  /** @param additions names of secret fields of forms and of URLs besides the built-in ones, as for queries */
  constructor(rules: BodyRules, hash: KeyedHash, additions: SecretNameAdditions = {}) {
    const treatments = bodyTreatments(rules);
    this.#hash = hash;
    this.#root = PointerState.root(treatments);
    this.#names = new SecretNames(additions);
    this.#urls = new UrlSecrets(this.#names);
    this.policy = rules;
    this.active = treatments.length > 0;
  }

  /** What may be stored of a request or response body; the same rules apply to both. */
  redact(bytes: Uint8Array, about: BodyAbout): RedactedBody {
    if (!this.active || bytes.length === 0) return { kept: bytes, names: NOTHING, dropped: null };
    try {
      if (about.truncated) throw new UnreadableBody('truncated');
      return this.#covered(bytes, about);
    } catch (error) {
      // Whatever the error: a body that could not be judged is not stored.
      const dropped = error instanceof UnreadableBody ? error.reason : 'failed';
      return { kept: null, names: NOTHING, dropped };
    }
  }

  /** A model as a body names it, for its row; null where a preset keeps only labels there and it is none. */
  shownModel(model: string): string | null {
    if (this.#root.member('model').treatment?.covering !== 'keep') return model;
    const name = Buffer.from(model);
    return isLabel(name, 0, name.length) ? model : null;
  }

  #covered(bytes: Uint8Array, about: BodyAbout): RedactedBody {
    const decoded = decodeContent(bytes, about.contentEncoding);
    if (decoded.bytes.length > LIMITS.maskedBodyBytes) throw new UnreadableBody('too_large');
    const plain = decoded.coded
      ? Buffer.from(decoded.bytes.buffer, decoded.bytes.byteOffset, decoded.bytes.length)
      : Buffer.from(decoded.bytes);
    const cover = new ValueCover(this.#hash, about.hash ?? this.#hash.ofBody(bytes), this.#urls);
    this.#cover(plain, about, cover);
    const { names } = cover;
    // Recompress even if nothing was masked: file names in gzip headers, and skippable zstd frames, were not
    // examined.
    if (names.length === 0 && !decoded.coded) return { kept: bytes, names: NOTHING, dropped: null };
    return { kept: decoded.encode(plain), names, dropped: null };
  }

  #cover(plain: Buffer, about: BodyAbout, cover: ValueCover): void {
    if (about.inferenceHeaderLength !== null) {
      this.#coverInference(plain, about.inferenceHeaderLength, cover);
      return;
    }
    const type = mediaType(about.contentType);
    const lines = JSON_LINES_TYPE.test(type);
    if (lines || JSON_TYPE.test(type)) {
      new JsonWalk(plain, 0, plain.length, cover).run(this.#root, lines);
    } else if (type === EVENT_STREAM_TYPE) {
      coverEvents(
        plain,
        (text, from, to) => new JsonWalk(text, from, to, cover).run(this.#root),
        (text, from, to, field) => cover.text(text, from, to, `/${field || 'comment'}`),
      );
    } else if (type === MULTIPART_TYPE) {
      coverParts(plain, boundaryOf(about.contentType ?? ''), this.#root, this.#names, cover);
    } else if (JSON_BEGINNING.test(plain.toString('latin1', 0, BEGINNING_BYTES))) {
      // Model servers accept JSON under any type, and many clients (curl) send a form's type.
      new JsonWalk(plain, 0, plain.length, cover).run(this.#root);
    } else if (type === FORM_TYPE) {
      coverForm(plain, this.#root, this.#names, cover);
    } else {
      throw new UnreadableBody('unknown_type');
    }
  }

  #coverInference(plain: Buffer, jsonBytes: number, cover: ValueCover): void {
    if (!(jsonBytes > 0 && jsonBytes <= plain.length)) throw new UnreadableBody('bad_tensors');
    const json = plain.subarray(0, jsonBytes);
    coverTensors(json, plain.subarray(jsonBytes), this.#root, cover);
    new JsonWalk(plain, 0, jsonBytes, cover).run(this.#root);
  }
}

function mediaType(contentType: string | null): string {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}
