import { isRecord, tellsOfError } from './stream-events.ts';

/** A document that tells of an error is short; of a longer one the beginning tells. */
const HELD_BYTES = 8 * 1024;
const OPEN_BRACE = 0x7b;
/** A long document whose first member is an error that is not empty. */
const BEGINS_WITH_ERROR = /^\s*\{\s*"(?:error|errors|detail)"\s*:\s*(?:"[^"]|\{\s*"|\[\s*[^\]\s]|true)/;
const MAY_TELL = ['"error', '"detail"'] as const;

/**
 * Looks at an answer that came whole as its bytes pass: some servers answer 200 with a JSON document whose top level
 * has an `error`, `errors` or `detail`, and nothing else that they were asked for.
 */
export class ErrorAnswerScan {
  #held = EMPTY;
  #passed = false;

  /** Takes bytes without a content coding; they are copied or dropped. */
  write(bytes: Buffer): void {
    if (this.#passed || bytes.length === 0) return;
    const isFirst = this.#held.length === 0;
    if (isFirst && !startsDocument(bytes)) {
      this.#passed = true;
      return;
    }
    const room = HELD_BYTES - this.#held.length;
    this.#held = Buffer.concat([this.#held, bytes.subarray(0, room)]);
    this.#passed = bytes.length > room;
  }

  /** To be called once, when the answer is complete. */
  finish(): boolean {
    if (this.#held.length === 0 || !MAY_TELL.some((name) => this.#held.includes(name))) return false;
    const text = this.#held.toString('utf8');
    if (this.#passed) return BEGINS_WITH_ERROR.test(text);
    try {
      const document: unknown = JSON.parse(text);
      return isRecord(document) && hasError(document);
    } catch {
      return false;
    }
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

function startsDocument(bytes: Buffer): boolean {
  const first = bytes.find((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09);
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
