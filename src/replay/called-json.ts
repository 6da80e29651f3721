import { StreamEnd } from './stream-end.ts';

/** The longest document over several lines that is put together: one that tells of an error is short. */
const HELD_CHARS = 16 * 1024;

/** Lines of a stream, one document, or one that tells of an error where there should have been a stream. */
export type CalledForm = 'lines' | 'document' | 'failed';

/**
 * An answer that is called JSON where a stream was asked for, and has no length: some servers stream JSON lines and
 * call them so, others answer whole, on one line or on many. Its first line tells, or its end.
 */
export class CalledJson {
  #lines = 0;
  /** What its first line says by itself; undefined where that is no JSON. */
  #first: unknown;
  /** The lines so far, where they may be those of one document. */
  #text = '';

  /**
   * @param data of a line
   * @param document what that is by itself; undefined where it is no JSON
   * @returns what the answer is for certain; null while it may be either
   */
  line(data: string, document: unknown): 'lines' | 'document' | null {
    this.#lines += 1;
    if (this.#lines === 1) this.#first = document;
    else if (this.#first !== undefined) return 'lines';
    if (this.#first !== undefined) return null;
    this.#text += `${data}\n`;
    return this.#text.length > HELD_CHARS ? 'document' : null;
  }

  /**
   * What it was, now that it is over: one document is a whole answer, unless it tells of an error or says that more
   * was to come; and one that was cut short is none.
   * @param passedOver lines that were too long to be read: longer than a piece of a stream ever is
   */
  atEnd(passedOver: number): CalledForm {
    if (passedOver > 0) return this.#first === undefined ? 'document' : 'lines';
    const document = this.#first ?? parsedJson(this.#text);
    if (document === undefined) return 'lines';
    const end = new StreamEnd(false);
    end.see(document);
    if (end.failed) return 'failed';
    return end.broken ? 'lines' : 'document';
  }
}

/** Undefined for what is no JSON. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
