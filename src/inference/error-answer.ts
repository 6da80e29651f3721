import { ASCII } from '../core/ascii.ts';
import { isRecord, tellsOfError } from './stream-events.ts';

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
const FIRST_NAME = /^\s*\{\s*"(?:errors?"|detail"|(?:object|type)"\s*:\s*"error")/;
/** A long document whose first member is a non-empty error. */
const BEGINS_WITH_ERROR = /^\s*\{\s*"(?:error|errors|detail)"\s*:\s*(?:"[^"]|\{\s*"|\[\s*[^\]\s]|true)/;

/**
 * Detects an error in an answer that is not streamed, while its bytes pass. Some servers answer 200 with a JSON
 * document that has `error`, `errors` or `detail` at its top level, and no result. Recorder and replay use the same
 * test, so that their shares of errors can be compared.
 */
export class ErrorAnswerScan {
  readonly #expectedBytes: number | null;
  #held = EMPTY;
  #passed = false;
  /** Whether a document that came in one piece reports an error. */
  #tells = false;

  /** @param expectedBytes the announced length, null if absent */
  constructor(expectedBytes: number | null = null) {
    this.#expectedBytes = expectedBytes;
  }

  /** Upper bound of the memory of one scan. @param expectedBytes the announced length, null if unknown */
  static heldBytes(expectedBytes: number | null): number {
    return Math.min(HELD_BYTES + 1, expectedBytes ?? HELD_BYTES + 1);
  }

  /** Takes bytes without a content coding; they are copied or dropped. */
  write(bytes: Buffer): void {
    if (this.#passed || bytes.length === 0) return;
    const isFirst = this.#held.length === 0;
    if (isFirst && !startsDocument(bytes)) {
      this.#passed = true;
      return;
    }
    if (isFirst && bytes.length === this.#expectedBytes) {
      this.#passed = true;
      this.#tells = tellsOfErrorIn(bytes);
      return;
    }
    const room = HELD_BYTES + 1 - this.#held.length;
    this.#held = Buffer.concat([this.#held, bytes.subarray(0, room)]);
    this.#passed = bytes.length >= room;
  }

  /** To be called once, when the answer is complete. */
  finish(): boolean {
    return this.#tells || tellsOfErrorIn(this.#held);
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

/** Whether a document without a content coding reports an error. A long one is judged by its beginning. */
export function tellsOfErrorIn(document: Buffer): boolean {
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
  if (tellsOfError(document)) return true;
  if (Array.isArray(errors)) return errors.length > 0;
  if (errors !== undefined && errors !== null && errors !== '' && errors !== false && errors !== 0)
    return true;
  return detail !== undefined && detail !== null && Object.keys(document).length === 1;
}
