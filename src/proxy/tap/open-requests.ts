import { ASCII } from '../../core/ascii.ts';
import { LIMITS } from '../../core/limits.ts';

const { LF, CR, SPACE, SLASH, POINT, ONE, NINE } = ASCII;

/** Looked for instead of `HTTP/1.`, because few texts contain it: the search is ten times as fast. */
const RARE = '/1.';
/** A call into Node costs as much as reading some 100 bytes. So where it is not rare, the bytes are read. */
const MOST_SEARCHES = 100;
const BEFORE_RARE = Buffer.from(' HTTP');
const VERSION = Buffer.from('HTTP/1.');
/** A request line ends so: ` HTTP/1.1` and one byte of the line end. */
const LINE_END = / HTTP\/1\..[\r\n]/s;
const LINE_END_BYTES = 10;

/** A switch of protocols is final: what follows it is no answer. */
const FINAL_ANSWER = /^HTTP\/1\.\d (?:[2-9]\d|101)/;
const SWITCHED = /^HTTP\/1\.\d 101/;
const INTERIM_ANSWER = /^HTTP\/1\.\d 1(?!01)/;
const ANSWER_START = 'HTTP/1.1 200';
const BLANK_LINE = /\r?\n\r?\n/;
const NONE: number[] = [];

/**
 * Counts the requests of one connection that are not answered yet, without parsing messages. So it is known where a
 * recorder that missed the bytes before may begin: where none is open, the next answer belongs to the next request.
 *
 * Request lines are looked for in all client bytes, so none is overlooked; a body may look like one. An answer is seen
 * only where the server's bytes begin with it, and only if one request is open. So the count may be too high, which
 * costs recordings. It is too low only if a client sends a request before the end of an answer whose body is cut just
 * where it looks like a status line. As soon as several requests are open, the count holds until the recorder, which
 * parses messages, has settled all of them.
 *
 * A client chooses the bytes, so the work on a chunk is bounded: it grows with its length alone, and after as many
 * request lines as a recorder holds open the rest of the chunk is taken to have some too.
 */
export class OpenRequests {
  #count = 0;
  /** Client offset of the end of the last request line; 0 before the first one. */
  #lastLineOffset = 0;
  /** Whether the request line of the last turn was not seen yet. */
  #lineDue = false;
  /** The last client bytes, if a request line may continue after them. */
  #lineTail = '';
  /** The server's bytes so far, if it is not clear yet what answer begins with them. */
  #answerStart = '';

  /**
   * Whether client bytes after server bytes start a turn. Not if a request is open, or if its line was cut: a client
   * that has sent request lines continues it.
   */
  get none(): boolean {
    return this.#count === 0 && !(this.#lineDue && this.#lastLineOffset > 0);
  }

  /**
   * @param offset of the first of these bytes from the start of the connection
   * @param turnStart whether a turn starts with them
   * @returns where request lines end, except the first one of each such turn: every other request is a turn too
   */
  client(bytes: Buffer, offset: number, turnStart: boolean): readonly number[] {
    let further = NONE;
    let begun = 0;
    const begin = (at: number) => {
      begun += 1;
      this.#count += 1;
      this.#lastLineOffset = offset + at;
      this.#answerStart = '';
      if (!this.#lineDue) {
        if (further === NONE) further = [];
        further.push(at);
      }
      this.#lineDue = false;
    };
    if (turnStart) this.#lineDue = true;
    if (this.#lineTail !== '') {
      const seam = LINE_END.exec(this.#lineTail + bytes.toString('latin1', 0, LINE_END_BYTES - 1));
      if (seam !== null) begin(seam.index + LINE_END_BYTES - 1 - this.#lineTail.length);
    }
    let searches = 1;
    for (let at = rareFrom(bytes, 0, searches); at >= 0; at = rareFrom(bytes, at + 1, searches)) {
      searches += 1;
      if (!endsRequestLine(bytes, at)) continue;
      begin(at + RARE.length + 1);
      if (begun >= LIMITS.pipelinedRequests) {
        this.#lastLineOffset = offset + bytes.length - 1;
        break;
      }
    }
    this.#lineTail = lineTail(this.#lineTail, bytes);
    return further;
  }

  server(bytes: Buffer): void {
    if (this.#count !== 1) return;
    if (this.#answerStart === '' && beginsWithAnswer(bytes)) {
      this.#count = 0;
      return;
    }
    let start = this.#answerStart + bytes.toString('latin1', 0, ANSWER_START.length);
    if (INTERIM_ANSWER.test(start)) {
      start = afterInterim(this.#answerStart + bytes.toString('latin1', 0, LIMITS.interimHeadBytes));
    }
    if (FINAL_ANSWER.test(start)) this.#answered(SWITCHED.test(start));
    else this.#answerStart = mayBecomeAnswer(start) ? start : '';
  }

  /** @param switched whether another protocol follows, whose turns have no request lines */
  #answered(switched: boolean): void {
    this.#count = 0;
    if (switched) this.#lastLineOffset = 0;
  }

  /** The recorder has settled whole exchanges up to this offset of the client's bytes. */
  settled(clientEndOffset: number): void {
    if (clientEndOffset > this.#lastLineOffset) this.#count = 0;
  }
}

/** @returns the next position of `/1.`, or -1 */
function rareFrom(bytes: Buffer, from: number, searches: number): number {
  if (searches <= MOST_SEARCHES) return bytes.indexOf(RARE, from, 'latin1');
  const last = bytes.length - RARE.length;
  for (let at = from; at <= last; at += 1) {
    if (bytes[at] === SLASH && bytes[at + 1] === ONE && bytes[at + 2] === POINT) return at;
  }
  return -1;
}

/** @param at position of `/1.` */
function endsRequestLine(bytes: Buffer, at: number): boolean {
  const next = bytes[at + RARE.length + 1];
  if (next !== CR && next !== LF) return false;
  const version = at - BEFORE_RARE.length;
  if (version < 0 || !standsAt(bytes, version, BEFORE_RARE)) return false;
  // A method and a target stand before it, and not the name of a field. Both may be in earlier bytes.
  for (let before = version - 1; before >= 0; before -= 1) {
    if (bytes[before] === SPACE) return true;
    if (bytes[before] === LF) return false;
  }
  return true;
}

/** Whether a whole status line begins there, as it does nearly always. */
function beginsWithAnswer(bytes: Buffer): boolean {
  const statusClass = bytes[VERSION.length + 2] ?? 0;
  const isFinal = statusClass > ONE && statusClass <= NINE && bytes[VERSION.length + 1] === SPACE;
  return isFinal && standsAt(bytes, 0, VERSION);
}

/** In plain code: a call into Node costs more than these few bytes. */
function standsAt(bytes: Buffer, at: number, expected: Buffer): boolean {
  for (let index = 0; index < expected.length; index += 1) {
    if (bytes[at + index] !== expected[index]) return false;
  }
  return true;
}

/** The last bytes, if a request line may end in the bytes that follow. */
function lineTail(before: string, bytes: Buffer): string {
  let at = Math.max(0, bytes.length - LINE_END_BYTES + 1);
  if (at === 0) return (before + bytes.toString('latin1')).slice(1 - LINE_END_BYTES);
  while (at < bytes.length && bytes[at] !== SPACE) at += 1;
  return at < bytes.length ? bytes.toString('latin1', at) : '';
}

/** What follows the interim answers that are complete. */
function afterInterim(text: string): string {
  let rest = text;
  while (INTERIM_ANSWER.test(rest)) {
    const end = BLANK_LINE.exec(rest);
    if (end === null) break;
    rest = rest.slice(end.index + end[0].length);
  }
  return rest;
}

/** Whether this is the beginning of a status line, or an interim answer that goes on. */
function mayBecomeAnswer(start: string): boolean {
  if (start.length >= ANSWER_START.length)
    return INTERIM_ANSWER.test(start) && start.length < LIMITS.interimHeadBytes;
  return ANSWER_START.startsWith(start.slice(0, 'HTTP/1.'.length));
}
