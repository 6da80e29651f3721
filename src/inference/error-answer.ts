import { ASCII } from '../core/ascii.ts';
import { isRecord, tellsOfError } from './stream-events.ts';

/** A document that tells of an error is short; of a longer one the beginning tells. */
const HELD_BYTES = 8 * 1024;
/** A document up to this size is searched whole. A longer one has more than an error, or names it near its start. */
const SHORT_BYTES = 1024;
const SEARCHED_BYTES = 256;
const { LF, CR, TAB, SPACE, OPEN_BRACE } = ASCII;
const ERROR = 'error';
/** The names that tell by being the first one. `detail` counts only alone, so it is the first. */
const FIRST_NAME = /^\s*\{\s*"(?:errors?"|detail"|(?:object|type)"\s*:\s*"error")/;
/** A long document whose first member is an error that is not empty. */
const BEGINS_WITH_ERROR = /^\s*\{\s*"(?:error|errors|detail)"\s*:\s*(?:"[^"]|\{\s*"|\[\s*[^\]\s]|true)/;

/**
 * Looks at an answer that came whole as its bytes pass: some servers answer 200 with a JSON document whose top level
 * has an `error`, `errors` or `detail`, and nothing else that they were asked for. Recorder and replay ask the same
 * question, so that their shares can be held against each other.
 */
export class ErrorAnswerScan {
  readonly #expectedBytes: number | null;
  #held = EMPTY;
  #passed = false;
  /** Of a document that came in one piece. */
  #tells = false;

  /** @param expectedBytes the announced length, null if absent */
  constructor(expectedBytes: number | null = null) {
    this.#expectedBytes = expectedBytes;
  }

  /** Upper bound of the memory of a scan of so many bytes; null if their number is unknown. */
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

/** Whether a document without a content coding tells of an error. Of one that is cut off the beginning tells. */
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

/** Quick for an answer that does not tell: this is asked of every answer that is recorded. */
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

/** A `detail` beside other members is one of an answer, as OpenAI's pictures have it. */
function hasError(document: Readonly<Record<string, unknown>>): boolean {
  const { errors, detail } = document;
  if (tellsOfError(document)) return true;
  if (Array.isArray(errors)) return errors.length > 0;
  if (errors !== undefined && errors !== null && errors !== '' && errors !== false && errors !== 0)
    return true;
  return detail !== undefined && detail !== null && Object.keys(document).length === 1;
}
