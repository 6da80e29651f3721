import { ASCII } from '../core/ascii.ts';
import { decodeContent } from '../core/content-coding.ts';
import { UnreadableBody } from '../core/errors.ts';
import { asBuffer } from '../core/json-cursor.ts';
import { isPlain } from './features.ts';
import { JsonScan } from './json-scan.ts';
import { holdsResult, isRecord, tellsOfError } from './stream-events.ts';

/** Documents that report an error are short. A longer one is judged by its beginning. */
const HELD_BYTES = 8 * 1024;
/**
 * A document up to this size is searched completely. A longer one has more content than an error, or names the error
 * near its start.
 */
const SHORT_BYTES = 1024;
const SEARCHED_BYTES = 256;
const { LF, CR, TAB, SPACE, OPEN_BRACE } = ASCII;
const ERROR = 'error';
/** Names that may report an error if they come first. `detail` counts only as the single member, so it is the first. */
const FIRST_NAME = /^\s*\{\s*"(?:errors?"|detail"|code"|__type"|ErrorCode"|(?:object|type)"\s*:\s*"error")/;
/** A long document whose first member is a non-empty error. */
const BEGINS_WITH_ERROR = /^\s*\{\s*"(?:error|errors|detail)"\s*:\s*(?:"[^"]|\{\s*"|\[\s*[^\]\s]|true)/;

/** A member for results that has none: a quick test before a document is parsed. */
const WITHOUT_RESULT =
  /"(?:choices|outputs|predictions|candidates|content|text|data|embedding)"\s*:\s*(?:null|""|\[(?:\s*\]|[\s[]*null))/;

/**
 * Detects an answer that is none among those that are not streamed, while its bytes pass. Some servers answer 200 with
 * a JSON document that has `error`, `errors` or `detail` at its top level, and no result. Others send JSON without a
 * result, or JSON that is cut off or has NaN, or what their content coding cannot unpack. Recorder and replay use the
 * same test, so that their shares can be compared.
 */
export class ErrorAnswerScan {
  readonly #expectedBytes: number | null;
  /** Null for an answer that is not declared as JSON. */
  readonly #json: JsonScan | null;
  /** Null for an answer without a content coding. */
  readonly #coding: string | null;
  #held = EMPTY;
  #passed = false;
  /** Whether a document that came in one piece reports an error. */
  #tells = false;

  /**
   * @param expectedBytes the announced length, null if absent
   * @param isJson whether the complete body must be JSON
   */
  constructor(expectedBytes: number | null, isJson: boolean, contentEncoding: string | null = null) {
    this.#expectedBytes = expectedBytes;
    this.#coding = isPlain(contentEncoding) ? null : contentEncoding;
    this.#json = isJson ? new JsonScan() : null;
  }

  /** Upper bound of the memory of one scan. @param expectedBytes the announced length, null if unknown */
  static heldBytes(expectedBytes: number | null): number {
    return Math.min(HELD_BYTES + 1, expectedBytes ?? HELD_BYTES + 1);
  }

  /** Takes the next bytes; they are copied or dropped. */
  write(bytes: Buffer): void {
    if (this.#coding !== null) {
      this.#hold(bytes);
      return;
    }
    this.#json?.write(bytes);
    if (this.#passed || bytes.length === 0) return;
    const isFirst = this.#held.length === 0;
    if (isFirst && !startsDocument(bytes)) {
      this.#passed = true;
      return;
    }
    if (isFirst && bytes.length === this.#expectedBytes) {
      this.#passed = true;
      this.#tells = this.#isNone(bytes);
      return;
    }
    this.#hold(bytes);
  }

  #hold(bytes: Buffer): void {
    if (this.#passed) return;
    const room = HELD_BYTES + 1 - this.#held.length;
    this.#held = Buffer.concat([this.#held, bytes.subarray(0, room)]);
    this.#passed = bytes.length >= room;
  }

  /** To be called once, when the answer is complete. Null if it cannot be known. */
  finish(): boolean | null {
    if (this.#coding !== null) return this.#isNoneUnpacked(this.#coding);
    return this.#json?.isBroken === true || this.#tells || this.#isNone(this.#held);
  }

  /** A long one is not unpacked, because that would delay what is sent meanwhile. */
  #isNoneUnpacked(coding: string): boolean | null {
    if (this.#held.length === 0) return false;
    if (this.#passed) return GZIP.test(coding) && !this.#held.subarray(0, 2).equals(GZIP_START) ? true : null;
    try {
      return isErrorAnswer(asBuffer(decodeContent(this.#held, coding).bytes), this.#json !== null);
    } catch (thrown) {
      if (!(thrown instanceof UnreadableBody)) throw thrown;
      return thrown.reason === 'bad_coding' ? true : null;
    }
  }

  #isNone(document: Buffer): boolean {
    return tellsOfErrorIn(document) || (this.#json?.mayHoldNothing === true && lacksResult(document));
  }
}

const EMPTY: Buffer = Buffer.alloc(0);
const GZIP = /^\s*(?:x-)?gzip\s*$/i;
const GZIP_START = Buffer.of(0x1f, 0x8b);

/** The same for an answer that is complete in memory, without a content coding. */
export function isErrorAnswer(body: Buffer, isJson: boolean): boolean {
  const scan = new ErrorAnswerScan(body.length, isJson);
  scan.write(body);
  return scan.finish() === true;
}

function lacksResult(document: Buffer): boolean {
  if (document.length > HELD_BYTES) return false;
  const text = document.toString('utf8');
  if (!WITHOUT_RESULT.test(text)) return false;
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) && !holdsResult(value);
  } catch {
    return false;
  }
}

/** Whether a document without a content coding reports an error. A long one is judged by its beginning. */
function tellsOfErrorIn(document: Buffer): boolean {
  if (!mayTell(document)) return false;
  if (document.length > HELD_BYTES) return BEGINS_WITH_ERROR.test(document.toString('utf8', 0, HELD_BYTES));
  try {
    const value: unknown = JSON.parse(document.toString('utf8'));
    return isRecord(value) && hasError(value);
  } catch {
    return false;
  }
}

/** A quick first test for answers without an error, because every recorded answer is tested. */
function mayTell(document: Buffer): boolean {
  const { length } = document;
  if (length === 0 || !startsDocument(document)) return false;
  const start = document.toString('latin1', 0, Math.min(length, SEARCHED_BYTES));
  if (FIRST_NAME.test(start) || start.includes(ERROR)) return true;
  return (
    length > SEARCHED_BYTES &&
    length <= SHORT_BYTES &&
    document.includes(ERROR, SEARCHED_BYTES - ERROR.length)
  );
}

function startsDocument(bytes: Buffer): boolean {
  if (bytes[0] === OPEN_BRACE) return true;
  const first = bytes.find((byte) => byte !== SPACE && byte !== LF && byte !== CR && byte !== TAB);
  return first === undefined || first === OPEN_BRACE;
}

/** A `detail` beside other members is part of a normal answer, as in OpenAI's images. */
function hasError(document: Readonly<Record<string, unknown>>): boolean {
  const { errors, detail } = document;
  if (tellsOfError(document) || isCodeWithMessage(document)) return true;
  if (Array.isArray(errors)) return errors.length > 0;
  if (errors !== undefined && errors !== null && errors !== '' && errors !== false && errors !== 0)
    return true;
  return detail !== undefined && detail !== null && Object.keys(document).length === 1;
}

/** Members of errors of gRPC's gateway, TorchServe, AWS and SageMaker. */
const OF_MESSAGE =
  /^(?:code|type|message|details|status|__type|Message|(?:Error|OriginalStatus)Code|OriginalMessage|LogStreamArn)$/;

/** Whether it is a code or type of an error with a message, and nothing else. Codes 0 and 200 mean success. */
function isCodeWithMessage(document: Readonly<Record<string, unknown>>): boolean {
  const { code, message, Message, ErrorCode, __type } = document;
  const isCode = typeof code === 'number' && code !== 0 && code !== 200;
  if (!isCode && typeof (ErrorCode ?? __type) !== 'string') return false;
  return (
    typeof (message ?? Message) === 'string' && Object.keys(document).every((name) => OF_MESSAGE.test(name))
  );
}
