import type { SecretNames } from '../secret-names.ts';
import { FieldTreatments } from './field-treatments.ts';
import { boundaryIn } from './multipart-type.ts';
import { describesPart, isAmbiguous } from './part-head.ts';
import type { PointerState } from './pointer-states.ts';
import type { Treatment } from './treatment.ts';
import { UnreadableBody } from './unreadable-body.ts';
import type { ValueCover } from './value-cover.ts';

const SPACE = 0x20;
const BLANK_LINE = '\r\n\r\n';
const MAX_PARTS = 1_000;
const MAX_PART_HEAD_BYTES = 8 * 1024;

const DISPOSITION = /^content-disposition:\s*form-data\b([^\r\n]*)/im;
const FIELD_NAME = /;\s*name="((?:[^"\\]|\\.)*)"/i;
/** A field that says its name and nothing else, so that it is no file to anybody. */
const PLAIN_FIELD = /^content-disposition[ \t]*:[ \t]*form-data[ \t]*;[ \t]*name="([^"\\;]*)"[ \t]*$/im;
/** The name of a file up to its extension, which tells a server what it gets. */
const FILE_NAME = /;\s*filename="((?:[^"\\]|\\.)*?)(?:\.[A-Za-z0-9]{1,5})?"/i;
/** A file by any spelling, the encoded one (`filename*=`) included. */
const ANY_FILE_NAME = /;\s*filename/i;
const ENCODED_FILE_NAME = /;\s*filename\*=/i;

/** A part of a type that is no text: a file, whether it has a file's name or not. */
const OTHER_THAN_TEXT = /^content-type[ \t]*:[ \t]*(?!text\/)[^\s]/im;

/** @throws UnreadableBody when a type names no boundary that is one for certain */
export function boundaryOf(contentType: string): string {
  const boundary = boundaryIn(contentType);
  if (boundary === null) throw new UnreadableBody('bad_multipart');
  return boundary;
}

/**
 * Covers the parts of a form with files in place, as a form's fields, and the names of covered files up to
 * their extension. A field that holds credentials of URLs, encoded or not, is masked whole. A file that no rule names
 * is something nobody looked into: then the body is not kept.
 * @throws UnreadableBody for that, and when the parts cannot be told apart for certain
 */
export function coverParts(
  form: Buffer,
  boundary: string,
  root: PointerState,
  names: SecretNames,
  cover: ValueCover,
): void {
  const treatments = new FieldTreatments(root, names);
  for (const { headFrom, from, to } of partsOf(form, boundary)) {
    const head = form.toString('latin1', headFrom, from);
    if (!describesPart(head)) throw new UnreadableBody('bad_multipart');
    const disposition = DISPOSITION.exec(head);
    const sent = FIELD_NAME.exec(disposition?.[1] ?? '')?.[1];
    if (sent === undefined || isAmbiguous(head)) throw new UnreadableBody('bad_multipart');
    const name = Buffer.from(sent, 'latin1').toString('utf8');
    // A URL with a secret in the place of a name, as in other forms.
    if (treatments.nameHasCredential(Buffer.from(sent, 'latin1'))) throw new UnreadableBody('bad_multipart');
    const isFile = ANY_FILE_NAME.test(head);
    const mayBeUrl = !isFile && !OTHER_THAN_TEXT.test(head);
    const hasCredential = () => treatments.valueHasCredential(form.subarray(from, to));
    const treatment =
      treatments.byName(name) ?? (mayBeUrl && hasCredential() ? treatments.whole(name) : null);
    if (treatment === null && isFile) throw new UnreadableBody('unknown_type');
    if (treatment === null) continue;
    if (ENCODED_FILE_NAME.test(head)) throw new UnreadableBody('bad_multipart');
    if (isFile) coverFileName(form, headFrom, head, treatment, cover);
    coverContent(form, from, to, treatment, cover);
  }
}

function coverContent(form: Buffer, from: number, to: number, treatment: Treatment, cover: ValueCover): void {
  if (treatment.covering === 'drop') {
    cover.note(treatment);
    form.fill(SPACE, from, to);
    return;
  }
  cover.string(form, from, to, treatment, () => form.subarray(from, to));
}

function coverFileName(
  form: Buffer,
  at: number,
  head: string,
  treatment: Treatment,
  cover: ValueCover,
): void {
  const match = FILE_NAME.exec(head);
  const name = match?.[1];
  if (match === null || name === undefined) throw new UnreadableBody('bad_multipart');
  const from = at + match.index + match[0].indexOf('"') + 1;
  cover.string(form, from, from + name.length, { ...treatment, covering: 'mask' }, () => Buffer.alloc(0));
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
