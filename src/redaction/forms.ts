import { UnreadableBody } from '../core/errors.ts';
import { describesPart, isAmbiguous, partsOf } from '../core/multipart.ts';
import { decodePercentBytes } from '../core/text.ts';
import { strongerOf, type Treatment } from './body-rules.ts';
import type { PointerState } from './pointer-states.ts';
import { JUDGED_NAME_CHARS, NameAllowance, type SecretNames } from './secret-names.ts';
import { fieldUserInfo, hidesInName, holdsUserInfo } from './url-secrets.ts';
import type { ValueCover } from './value-cover.ts';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const HASH = 0x23;
const PERCENT = 0x25;
const AMPERSAND = 0x26;
const PLUS = 0x2b;
const ZERO = 0x30;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUESTION = 0x3f;
const DELETE = 0x7f;

/**
 * Covers the fields of a form (`a=1&b=2`) in place: by rules of one step, by names that are secret, and user info
 * of URLs. A name may follow `;`, `?` and `#` as well, a value ends at `&` only: whichever way a server divides, and
 * whatever URL a value is, nothing secret is left over. Takes time linear in any form, and memory of a few times its
 * size.
 * @throws UnreadableBody for what is no form: many clients give any text that type
 */
export function coverForm(form: Buffer, root: PointerState, names: SecretNames, cover: ValueCover): void {
  const fields = new FormFields(form, new FieldTreatments(root, names), cover);
  const end = endOf(form);
  for (let from = 0; from < end; ) {
    const to = indexOr(form, AMPERSAND, from, end);
    if (to > from) fields.cover(from, to);
    from = to + 1;
  }
}

class FormFields {
  readonly #form: Buffer;
  readonly #treatments: FieldTreatments;
  readonly #cover: ValueCover;

  constructor(form: Buffer, treatments: FieldTreatments, cover: ValueCover) {
    this.#form = form;
    this.#treatments = treatments;
    this.#cover = cover;
  }

  /** What stands between two `&`. */
  cover(from: number, to: number): void {
    const form = this.#form;
    assertField(form, from, to);
    const named = indexOr(form, EQUALS, from, to);
    const { plain, more } = fieldUserInfo(form.subarray(from, to));
    this.#assertName(from, named);
    if (more && hidesInName(form.subarray(from, named))) throw new UnreadableBody('bad_form');
    const kept = this.#coverFirst(from, named, to, more);
    if (plain.length === 0) return;
    const masked = this.#whole(from, named);
    for (const [start, end] of plain) {
      coverValue(form, from + start, Math.min(from + end, kept), masked, this.#cover);
    }
  }

  /** Covers a field from the first value on that is not kept; answers where that is. */
  #coverFirst(from: number, named: number, to: number, secret: boolean): number {
    const form = this.#form;
    for (let start = from; start < to; ) {
      const next = nextName(form, start, to);
      const equals = indexOr(form, EQUALS, start, next);
      const isNamed = equals < next;
      if (isNamed && start > named) this.#assertName(start, equals);
      const treatment = isNamed ? this.#treatmentOf(start, equals, next, secret) : null;
      const hidden = !isNamed && start > named && this.#hidesKey(start, next);
      if (treatment !== null || hidden) {
        const value = isNamed ? equals + 1 : start;
        coverValue(form, value, to, treatment ?? this.#whole(from, named), this.#cover);
        return value;
      }
      start = next + 1;
    }
    return to;
  }

  #treatmentOf(from: number, equals: number, next: number, secret: boolean): Treatment | null {
    const name = decodedName(this.#form, from, equals);
    const known = this.#treatments.byName(name);
    if (known !== null) return known;
    return secret || this.#hidesKey(equals + 1, next) ? this.#treatments.whole(name) : null;
  }

  #whole(from: number, equals: number): Treatment {
    return this.#treatments.whole(decodedName(this.#form, from, equals));
  }

  #hidesKey(from: number, to: number): boolean {
    return hasCode(this.#form, from, to) && this.#treatments.valueHidesKey(this.#form.subarray(from, to));
  }

  /** A URL with a secret in the place of a name: whoever reads it, it is no form that we understand. */
  #assertName(from: number, to: number): void {
    if (!hasCode(this.#form, from, to)) return;
    if (this.#treatments.nameHidesKey(this.#form.subarray(from, to))) throw new UnreadableBody('bad_form');
  }
}

/** A field has an equals sign, no blank in its name, and nothing that its encoding would have replaced. */
function assertField(form: Buffer, from: number, to: number): void {
  let named = false;
  for (let at = from; at < to; at += 1) {
    const byte = form[at] as number;
    if (byte === EQUALS) named = true;
    if (byte < SPACE || byte === DELETE || (byte === SPACE && !named)) throw new UnreadableBody('bad_form');
  }
  if (!named) throw new UnreadableBody('bad_form');
}

function coverValue(form: Buffer, from: number, to: number, treatment: Treatment, cover: ValueCover): void {
  if (to <= from) return;
  if (treatment.covering === 'drop') {
    cover.note(treatment);
    form.fill(PLUS, from, to);
    return;
  }
  // To be weighed as what it says: a form writes its blanks as plus signs.
  for (let at = from; at < to; at += 1) if (form[at] === PLUS) form[at] = SPACE;
  const how = treatment.covering === 'hash' ? treatment : ({ ...treatment, covering: 'mask' } as const);
  cover.string(form, from, to, how, () => decodePercentBytes(form.subarray(from, to)));
  for (let at = from; at < to; at += 1) {
    if (form[at] === SPACE) form[at] = PLUS;
    else if (form[at] === EQUALS) form[at] = ZERO;
  }
}

function decodedName(form: Buffer, from: number, to: number): string {
  const encoded = Buffer.from(form.subarray(from, Math.min(to, from + JUDGED_NAME_CHARS)));
  for (let at = 0; at < encoded.length; at += 1) if (encoded[at] === PLUS) encoded[at] = SPACE;
  return decodePercentBytes(encoded).toString('utf8');
}

/** Where another name may begin, less one: at `;` to some servers, at `?` and `#` in a value that is a URL. */
function nextName(form: Buffer, from: number, to: number): number {
  for (let at = from; at < to; at += 1) {
    const byte = form[at];
    if (byte === SEMICOLON || byte === QUESTION || byte === HASH) return at;
  }
  return to;
}

/** Some clients end a form with a line end. */
function endOf(form: Buffer): number {
  let end = form.length;
  while (end > 0 && (form[end - 1] === LF || form[end - 1] === CR)) end -= 1;
  return end;
}

function hasCode(form: Buffer, from: number, to: number): boolean {
  return indexOr(form, PERCENT, from, to) < to;
}

/** By hand: most of what a field is divided into is short, and calls of the runtime would take longer than it. */
function indexOr(form: Buffer, byte: number, from: number, end: number): number {
  for (let at = from; at < end; at += 1) if (form[at] === byte) return at;
  return end;
}

const DISPOSITION = /^content-disposition:\s*form-data\b([^\r\n]*)/im;
const FIELD_NAME = /;\s*name="((?:[^"\\]|\\.)*)"/i;
/** The name of a file up to its extension, which tells a server what it gets. */
const FILE_NAME = /;\s*filename="((?:[^"\\]|\\.)*?)(?:\.[A-Za-z0-9]{1,5})?"/i;
/** A file by any spelling, the encoded one (`filename*=`) included. */
const ANY_FILE_NAME = /;\s*filename/i;
const ENCODED_FILE_NAME = /;\s*filename\*=/i;
/** A part of a type that is no text: a file, whether it has a file's name or not. */
const OTHER_THAN_TEXT = /^content-type[ \t]*:[ \t]*(?!text\/)[^\s]/im;

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

/** Of a field's name, noted beside the message. */
const NOTED_CHARS = 64;

/**
 * What becomes of the fields of one form, of whatever type: by rules of one step, by names that are secret, and by
 * credentials of the URLs that they hold. Its time has a bound: past so many names a form is not read, and a value
 * that has so many in it is masked.
 */
class FieldTreatments {
  readonly #root: PointerState;
  readonly #names: SecretNames;
  readonly #fields = new NameAllowance();
  readonly #inNames = new NameAllowance();
  readonly #inValues = new NameAllowance();

  constructor(root: PointerState, names: SecretNames) {
    this.#root = root;
    this.#names = names;
  }

  /**
   * By a field's name alone; one that rules look into is masked whole, for it is text to us.
   * @throws UnreadableBody where the form has too many
   */
  byName(name: string): Treatment | null {
    if (!this.#fields.take()) throw new UnreadableBody('too_large');
    const state = this.#root.member(name);
    const asked = strongerOf(this.#root.treatment, state.treatment);
    if (asked !== null) return asked;
    return this.#names.queryKey(name) === 'mask' || !state.idle ? this.whole(name) : null;
  }

  whole(name: string): Treatment {
    // A name that is a URL may be a secret itself, also where the sign after its user info was cut off.
    const noted = holdsUserInfo(Buffer.from(`${name}@`)) ? '@' : name.slice(0, NOTED_CHARS);
    return { covering: 'mask', strength: 0, name: `/${noted}` };
  }

  /** Whether a value has keys with names of secrets once its percent-encoding is taken off. */
  valueHidesKey(value: Uint8Array): boolean {
    return this.#names.hiddenIn(value, this.#inValues) === 'mask';
  }

  /** The same of a name. */
  nameHidesKey(name: Uint8Array): boolean {
    return this.#names.hiddenIn(name, this.#inNames) === 'mask';
  }

  /** Whether a value that needs no decoding has credentials of URLs, as it stands or encoded. */
  valueHasCredential(value: Uint8Array): boolean {
    return this.#hasCredential(value, this.#inValues);
  }

  /** The same of a name. */
  nameHasCredential(name: Uint8Array): boolean {
    return this.#hasCredential(name, this.#inNames);
  }

  #hasCredential(text: Uint8Array, allowance: NameAllowance): boolean {
    if (holdsUserInfo(text) || this.#names.within(text, allowance) === 'mask') return true;
    return this.#names.hiddenIn(text, allowance) === 'mask';
  }
}
