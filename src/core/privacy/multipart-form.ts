import { boundaryIn } from './multipart-type.ts';
import { describesPart, isAmbiguous } from './part-head.ts';
import { UnreadableBody } from './unreadable-body.ts';

const BLANK_LINE = '\r\n\r\n';
const MAX_PARTS = 1_000;
const MAX_PART_HEAD_BYTES = 8 * 1024;
/** A field that says its name and nothing else, so that it is no file to anybody. */
const PLAIN_FIELD = /^content-disposition[ \t]*:[ \t]*form-data[ \t]*;[ \t]*name="([^"\\;]*)"[ \t]*$/im;

/** @throws UnreadableBody when a type names no boundary that is one for certain */
export function boundaryOf(contentType: string): string {
  const boundary = boundaryIn(contentType);
  if (boundary === null) throw new UnreadableBody('bad_multipart');
  return boundary;
}

/** A part: where its head begins, and where its content lies. */
export interface Part {
  readonly headFrom: number;
  readonly from: number;
  readonly to: number;
}

/** What servers that take a line of any end would divide a part at. */
class HiddenDelimiter {
  readonly #begins: Buffer;
  /** With the line end before it, which is rare: dashes alone would be found at every one of a megabyte of them. */
  readonly #lines: readonly Buffer[];

  constructor(boundary: string) {
    this.#begins = Buffer.from(`--${boundary}`, 'latin1');
    this.#lines = ['\n', '\r'].map((end) => Buffer.from(`${end}--${boundary}`, 'latin1'));
  }

  isIn(form: Buffer, { from, to }: Part): boolean {
    const content = form.subarray(from, to);
    if (content.subarray(0, this.#begins.length).equals(this.#begins)) return true;
    return this.#lines.some((line) => content.includes(line));
  }
}

/** @throws UnreadableBody when the parts cannot be told apart for certain */
export function partsOf(form: Buffer, boundary: string): Part[] {
  const delimiter = delimiterOf(boundary);
  const hidden = new HiddenDelimiter(boundary);
  const parts: Part[] = [];
  let at = firstHead(form, delimiter);
  while (at >= 0 && form.toString('latin1', at, at + 2) === '\r\n') {
    const part = partAt(form, delimiter, at);
    if (part === null || parts.length >= MAX_PARTS || hidden.isIn(form, part))
      throw new UnreadableBody('bad_multipart');
    parts.push(part);
    at = part.next;
  }
  const end = at < 0 ? null : form.toString('latin1', at).trimEnd();
  if (end !== '--') throw new UnreadableBody('bad_multipart');
  return parts;
}

/**
 * What the first field of this name says, in a form or the beginning of one; null where there is none that is whole,
 * or none that can be told for certain from a file or from what another part says.
 * @param mostBytes longer ones are not what was looked for
 */
export function fieldOf(form: Buffer, contentType: string, name: string, mostBytes: number): string | null {
  const boundary = boundaryIn(contentType);
  if (boundary === null) return null;
  const delimiter = delimiterOf(boundary);
  let at = firstHead(form, delimiter);
  for (let passed = 0; at >= 0 && passed < MAX_PARTS; passed += 1) {
    const part = partAt(form, delimiter, at);
    if (part === null) return null;
    const head = form.toString('latin1', part.headFrom, part.from);
    if (PLAIN_FIELD.exec(head)?.[1] === name && describesPart(head) && !isAmbiguous(head))
      return part.to - part.from > mostBytes ? null : form.toString('utf8', part.from, part.to);
    at = part.next;
  }
  return null;
}

function delimiterOf(boundary: string): Buffer {
  return Buffer.from(`\r\n--${boundary}`, 'latin1');
}

/** The first delimiter stands at the very beginning; text before it is nobody's. */
function firstHead(form: Buffer, delimiter: Buffer): number {
  const begins = form.subarray(0, delimiter.length - 2).equals(delimiter.subarray(2));
  return begins ? delimiter.length - 2 : -1;
}

/** The part whose head begins here, after a delimiter; null where there is none, or none that is whole. */
function partAt(form: Buffer, delimiter: Buffer, at: number): (Part & { readonly next: number }) | null {
  if (form.toString('latin1', at, at + 2) !== '\r\n') return null;
  const headEnd = form.indexOf(BLANK_LINE, at, 'latin1');
  const to = form.indexOf(delimiter, at);
  const from = headEnd + BLANK_LINE.length;
  if (headEnd < 0 || to < from - 2 || from - at > MAX_PART_HEAD_BYTES) return null;
  return { headFrom: at, from, to: Math.max(from, to), next: to + delimiter.length };
}
