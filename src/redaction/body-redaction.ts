import { ASCII, byteSet, seek } from '../core/ascii.ts';
import { decodeContent } from '../core/content-coding.ts';
import { BODY_DROP_REASONS, type BodyDropReason, UnreadableBody } from '../core/errors.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS } from '../core/limits.ts';
import { boundaryOf } from '../core/multipart.ts';
import type { MessageType } from '../core/protobuf.ts';
import { coverTensors } from './binary-tensors.ts';
import { type BodyRules, bodyTreatments } from './body-rules.ts';
import { coverForm, coverParts } from './forms.ts';
import { JsonWalk } from './json-walk.ts';
import { PointerState } from './pointer-states.ts';
import { ProtobufWalk } from './protobuf-walk.ts';
import { type SecretNameAdditions, SecretNames } from './secret-names.ts';
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
  /** Set for the messages of a gRPC call. */
  readonly call?: CallBody | null;
}

/** What the body of one side of a gRPC call is made of. */
export interface CallBody {
  /** What its messages are; null if that is not known. */
  readonly type: MessageType | null;
  /** `grpc-encoding`: how the compressed ones among its messages are compressed. */
  readonly coding: string | null;
  /** Where each message is, after its prefix of five bytes. */
  readonly messages: readonly { readonly compressed: boolean; readonly from: number; readonly to: number }[];
  readonly end: 'whole' | 'inside' | 'broken' | 'limit';
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
  /** Our own error that made us drop it (`failed`). */
  readonly error?: unknown;
}

const NOTHING: readonly string[] = Object.freeze([]);

const JSON_TYPE = /^(?:application|text)\/(?:json|[a-z0-9.!#$&^_-]+\+json)$/;
const JSON_LINES_TYPE = /^(?:application|text)\/(?:x-)?(?:ndjson|jsonl|jsonlines|json-lines)$/;
const EVENT_STREAM_TYPE = 'text/event-stream';
const FORM_TYPE = 'application/x-www-form-urlencoded';
const MULTIPART_TYPE = 'multipart/form-data';
/** Start of a body that is treated as JSON although its type is another one. */
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
      // For any error, a body that could not be judged is not stored.
      if (error instanceof UnreadableBody) return { kept: null, names: NOTHING, dropped: error.reason };
      return { kept: null, names: NOTHING, dropped: 'failed', error };
    }
  }

  /** The model that a body names, for the exchange's row. Null if a preset keeps only labels there and this is none. */
  shownModel(model: string): string | null {
    if (this.#root.member('model').treatment?.covering !== 'keep') return model;
    const name = Buffer.from(model);
    return isLabel(name, 0, name.length) ? model : null;
  }

  #covered(bytes: Uint8Array, about: BodyAbout): RedactedBody {
    if (about.call != null) return this.#coveredCall(bytes, about.call, about);
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

  /** Messages of gRPC one by one. Compressed ones are compressed again, as bodies under a content coding are. */
  #coveredCall(bytes: Uint8Array, { type, coding, messages, end }: CallBody, about: BodyAbout): RedactedBody {
    if (bytes.length > LIMITS.maskedBodyBytes || end === 'limit') throw new UnreadableBody('too_large');
    if (type === null) throw new UnreadableBody('unknown_type');
    if (end !== 'whole') throw new UnreadableBody(end === 'inside' ? 'truncated' : 'not_protobuf');
    const cover = new ValueCover(this.#hash, about.hash ?? this.#hash.ofBody(bytes), this.#urls);
    const walk = (message: Buffer, from: number, to: number) =>
      new ProtobufWalk(message, cover).run(type, from, to, this.#root);
    const plain = Buffer.from(bytes);
    if (!messages.some(({ compressed }) => compressed)) {
      for (const { from, to } of messages) walk(plain, from, to);
      const { names } = cover;
      return { kept: names.length === 0 ? bytes : plain, names, dropped: null };
    }
    const parts: Uint8Array[] = [];
    let room = LIMITS.maskedBodyBytes;
    for (const { compressed, from, to } of messages) {
      const decoded = decodeContent(plain.subarray(from, to), compressed ? coding : null);
      // The flag of a message is set, and its head does not say how it is compressed.
      if (compressed && !decoded.coded) throw new UnreadableBody('bad_coding');
      room -= decoded.bytes.length;
      if (room < 0) throw new UnreadableBody('too_large');
      const message = Buffer.from(decoded.bytes);
      walk(message, 0, message.length);
      const prefix = Buffer.of(compressed ? 1 : 0, 0, 0, 0, 0);
      const content = decoded.encode(message);
      prefix.writeUInt32BE(content.length, 1);
      parts.push(prefix, content);
    }
    return { kept: Buffer.concat(parts), names: cover.names, dropped: null };
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

const { LF, CR, SPACE, OPEN_BRACKET } = ASCII;
const LINE_END = byteSet('\r\n');
const NAME_END = byteSet(':');
const BYTE_ORDER_MARK = 0xfeff;

/** The last event of OpenAI-style servers. */
const DONE = '[DONE]';
/** Its length, with trailing blanks. */
const DONE_BYTES = 16;
/** An event's kind, number or identifier, which is safe to keep. */
const LABEL = /^[A-Za-z0-9_.:/-]{0,64}$/;
/** Values to keep in fields besides `data`, by field name. Comments have the empty name. */
const KEPT: ReadonlyMap<string, RegExp> = new Map([
  ['', /^[A-Za-z_-]{0,16}$/],
  ['event', LABEL],
  ['id', LABEL],
  ['retry', /^[0-9]{0,16}$/],
]);
const LABEL_BYTES = 64;
const LONGEST_FIELD = 5;

/** Masks JSON in place. */
type CoverText = (text: Buffer, from: number, to: number) => void;

/** Masks another field's value in place. */
type CoverField = (stream: Buffer, from: number, to: number, name: string) => void;

/** The position of one field's value. */
interface Value {
  readonly from: number;
  readonly to: number;
}

/**
 * Passes the data of each event to `cover`, which changes it in place. Data with several lines is masked in a
 * copy that is written back. Other fields and comments go to `coverField` unless they are only a label.
 * @throws UnreadableBody for an unknown field
 */
function coverEvents(stream: Buffer, cover: CoverText, coverField: CoverField): void {
  let event: Value[] = [];
  const finish = () => {
    coverEvent(stream, event, cover);
    event = [];
  };
  for (let at = startOf(stream); at < stream.length; ) {
    const end = seek(stream, at, stream.length, LINE_END);
    if (end === at) finish();
    else addLine(stream, at, end, event, coverField);
    at = stream[end] === CR && stream[end + 1] === LF ? end + 2 : end + 1;
  }
  // The unfinished last event of a broken stream also holds text.
  finish();
}

function addLine(stream: Buffer, from: number, to: number, event: Value[], coverField: CoverField): void {
  const nameEnd = seek(stream, from, Math.min(to, from + LONGEST_FIELD + 1), NAME_END);
  const name = stream.toString('latin1', from, nameEnd);
  const value = valueAt(stream, nameEnd, to);
  if (name === 'data') {
    if (event.length >= LIMITS.eventLines) throw new UnreadableBody('bad_event_stream');
    event.push(value);
    return;
  }
  const kept = KEPT.get(name);
  if (kept === undefined) throw new UnreadableBody('bad_event_stream');
  const beginning = stream.toString('latin1', value.from, Math.min(value.to, value.from + LABEL_BYTES + 1));
  if (!kept.test(beginning)) coverField(stream, value.from, value.to, name);
}

/** The value after the colon, without one leading space. */
function valueAt(stream: Buffer, colon: number, to: number): Value {
  const value = Math.min(to, colon + 1);
  return { from: stream[value] === SPACE && value < to ? value + 1 : value, to };
}

function coverEvent(stream: Buffer, lines: readonly Value[], cover: CoverText): void {
  const [only] = lines;
  if (only === undefined) return;
  if (lines.length === 1) {
    if (!saysNothing(stream, only.from, only.to)) cover(stream, only.from, only.to);
    return;
  }
  const text = lines.map(({ from, to }) => stream.toString('latin1', from, to)).join('\n');
  const data = Buffer.from(text, 'latin1');
  if (saysNothing(data, 0, data.length)) return;
  cover(data, 0, data.length);
  let at = 0;
  for (const { from, to } of lines) {
    data.copy(stream, from, at, at + to - from);
    at += to - from + 1;
  }
}

/** Whether data is blank or the end marker. */
function saysNothing(data: Buffer, from: number, to: number): boolean {
  let start = from;
  while (start < to && (data[start] as number) <= SPACE) start += 1;
  if (start === to) return true;
  if (data[start] !== OPEN_BRACKET || to - start > DONE_BYTES) return false;
  return data.toString('latin1', start, to).trimEnd() === DONE;
}

function startOf(stream: Buffer): number {
  return stream.toString('utf8', 0, 3).codePointAt(0) === BYTE_ORDER_MARK ? 3 : 0;
}
