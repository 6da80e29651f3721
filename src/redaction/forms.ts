import { ASCII, byteSet, seek } from '../core/ascii.ts';
import { UnreadableBody } from '../core/errors.ts';
import { describesPart, isAmbiguous, partsOf } from '../core/multipart.ts';
import { decodePercentBytes } from '../core/text.ts';
import { strongerOf, type Treatment } from './body-rules.ts';
import type { PointerState } from './pointer-states.ts';
import { JUDGED_NAME_CHARS, NameAllowance, type SecretNames } from './secret-names.ts';
import { isPartWord, isStructuralField } from './structural-fields.ts';
import { fieldUserInfo, hidesInName, holdsUserInfo } from './url-secrets.ts';
import { isLabel, type ValueCover } from './value-masking.ts';

const { LF, CR, SPACE, PLUS, ZERO, EQUALS, DELETE } = ASCII;

const FIELD_END = byteSet('&');
const NAME_END = byteSet('=');
/** A name may follow these: `;` for some servers, `?` and `#` in a URL value. */
const NAME_STARTS = byteSet(';?#');

/**
 * Masks the fields of a form (`a=1&b=2`) in place: by single-step rules, by secret names, and user info of
 * URLs. A name may also follow `;`, `?` and `#`, but a value ends only at `&`. So no secret remains, however
 * a server splits the form. Takes linear time, and memory of a few times the form's size.
 * @throws UnreadableBody for text that is no form: many clients send any text with that type
 */
export function coverForm(form: Buffer, root: PointerState, names: SecretNames, cover: ValueCover): void {
  const fields = new FormFields(form, new FieldTreatments(root, names), cover);
  const end = endOf(form);
  for (let from = 0; from < end; ) {
    const to = seek(form, from, end, FIELD_END);
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

  /** Masks the text between two `&`. */
  cover(from: number, to: number): void {
    const form = this.#form;
    assertField(form, from, to);
    const named = seek(form, from, to, NAME_END);
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

  /** Masks a field from its first secret value on. Returns that position. */
  #coverFirst(from: number, named: number, to: number, secret: boolean): number {
    const form = this.#form;
    for (let start = from; start < to; ) {
      const next = seek(form, start, to, NAME_STARTS);
      const equals = seek(form, start, next, NAME_END);
      const isNamed = equals < next;
      if (isNamed && start > named) this.#assertName(start, equals);
      const treatment = isNamed ? this.#treatmentOf(start, equals, next, to, secret) : null;
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

  #treatmentOf(from: number, equals: number, next: number, to: number, secret: boolean): Treatment | null {
    const name = decodedName(this.#form, from, equals);
    const known = this.#treatments.byName(name, this.#form.subarray(equals + 1, to));
    if (known !== null) return known;
    return secret || this.#hidesKey(equals + 1, next) ? this.#treatments.whole(name) : null;
  }

  #whole(from: number, equals: number): Treatment {
    return this.#treatments.whole(decodedName(this.#form, from, equals));
  }

  #hidesKey(from: number, to: number): boolean {
    return this.#treatments.valueHidesKey(this.#form.subarray(from, to));
  }

  /** Refuses a name that is a URL with a secret: such a form cannot be interpreted. */
  #assertName(from: number, to: number): void {
    if (this.#treatments.nameHidesKey(this.#form.subarray(from, to))) throw new UnreadableBody('bad_form');
  }
}

/** A field has an equals sign, no blank in its name, and nothing that form encoding would have replaced. */
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
  // Weighed as decoded text: a form writes blanks as plus signs.
  for (let at = from; at < to; at += 1) if (form[at] === PLUS) form[at] = SPACE;
  const isPlain = treatment.covering === 'hash' || treatment.covering === 'drop';
  const how = isPlain ? treatment : ({ ...treatment, covering: 'mask' } as const);
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

/** Some clients end a form with a line end. */
function endOf(form: Buffer): number {
  let end = form.length;
  while (end > 0 && (form[end - 1] === LF || form[end - 1] === CR)) end -= 1;
  return end;
}

const DISPOSITION = /^content-disposition:\s*form-data\b([^\r\n]*)/im;
const FIELD_NAME = /;\s*name="((?:[^"\\]|\\.)*)"/i;
/** A file name without its extension, which tells a server the file type. */
const FILE_NAME = /;\s*filename="((?:[^"\\]|\\.)*?)(\.[A-Za-z0-9]{1,5})?"/i;
/** A file name in any spelling, including the encoded one (`filename*=`). */
const ANY_FILE_NAME = /;\s*filename/i;
const ENCODED_FILE_NAME = /;\s*filename\*=/i;
/** A part with a type other than text: a file, with or without a file name. */
const OTHER_THAN_TEXT = /^content-type[ \t]*:[ \t]*(?!text\/)[^\s]/im;

/**
 * Masks the parts of a multipart form in place, like form fields. Masks the names of masked files up to the
 * extension. A field with URL credentials, encoded or not, is masked completely. A file that no rule names
 * was not examined, so the body is not stored.
 * @throws UnreadableBody for such a file, and when the parts are ambiguous
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
    // A name that is a URL with a secret, as in other forms.
    if (treatments.nameHasCredential(Buffer.from(sent, 'latin1'))) throw new UnreadableBody('bad_multipart');
    const isFile = ANY_FILE_NAME.test(head);
    const mayBeUrl = !isFile && !OTHER_THAN_TEXT.test(head);
    const hasCredential = () => treatments.valueHasCredential(form.subarray(from, to));
    // A rule for the whole body covers the heads too.
    const headTreatment = root.treatment === null ? null : treatments.whole(name);
    if (headTreatment !== null) coverPartType(form, headFrom, head, to - from, headTreatment, cover);
    const treatment =
      treatments.byName(name, form.subarray(from, to)) ??
      (mayBeUrl && hasCredential() ? treatments.whole(name) : null);
    if (treatment === null && isFile) throw new UnreadableBody('unknown_type');
    if (treatment === null) continue;
    if (ENCODED_FILE_NAME.test(head)) throw new UnreadableBody('bad_multipart');
    if (isFile) coverFileName(form, headFrom, head, treatment, headTreatment !== null, cover);
    cover.string(form, from, to, treatment, () => form.subarray(from, to));
  }
}

/** @param listed whether an extension stays only if it is on the list of the preset `llm` */
function coverFileName(
  form: Buffer,
  at: number,
  head: string,
  treatment: Treatment,
  listed: boolean,
  cover: ValueCover,
): void {
  const match = FILE_NAME.exec(head);
  if (match === null) throw new UnreadableBody('bad_multipart');
  const [whole, name = '', extension = ''] = match;
  const from = at + match.index + whole.indexOf('"') + 1;
  const kept = listed && !isPartWord(extension.slice(1)) ? '' : extension;
  const to = from + name.length + extension.length - kept.length;
  cover.string(form, from, to, { ...treatment, covering: 'mask' }, () => Buffer.alloc(0));
}

const PART_TYPE = /^content-type[ \t]*:/im;
const PART_LENGTH = /^content-length[ \t]*:[ \t]*([0-9]+)/im;
/** The types and the values of parameters. `describesPart` has checked their form. */
const TYPE_WORDS = /(?<=[:/=][ \t]*"?)(?:(?<=")[^"\r\n]+(?=")|[^"\s;/=]+)/g;

/** Masks what is not on the list of the preset `llm` in a part's type. */
function coverPartType(
  form: Buffer,
  at: number,
  head: string,
  bytes: number,
  treatment: Treatment,
  cover: ValueCover,
): void {
  const length = PART_LENGTH.exec(head)?.[1];
  // A length is a number of the client's choice, unless it is the length.
  if (length !== undefined && Number(length) !== bytes) throw new UnreadableBody('bad_multipart');
  const type = PART_TYPE.exec(head);
  if (type === null) return;
  const end = head.indexOf('\r\n', type.index);
  for (const { 0: word, index } of head.slice(type.index, end).matchAll(TYPE_WORDS)) {
    if (isPartWord(word)) continue;
    const from = at + type.index + index;
    // Its plus signs are allowed in a type; blanks are not.
    coverValue(form, from, from + word.length, treatment, cover);
  }
}

/** How much of a field's name is noted beside the message. */
const NOTED_CHARS = 64;
/** No preset lists a longer field value. */
const LISTED_BYTES = 64;

/**
 * The treatments of one form's fields, for both form types: by single-step rules, by secret names, and by URL
 * credentials. The time is bounded. A form with too many names is not read, and a value with too many is
 * masked.
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
   * The treatment by name, and by value if a preset keeps labels or listed words there. A field whose members have
   * rules is masked completely, because it is plain text here.
   * @throws UnreadableBody when the form has too many names
   */
  byName(name: string, value: Buffer): Treatment | null {
    if (!this.#fields.take()) throw new UnreadableBody('too_large');
    const state = this.#root.member(name);
    const asked = strongerOf(this.#root.treatment, state.treatment);
    if (asked?.covering === 'keep') return isLabel(value, 0, value.length) ? null : this.whole(name);
    if (asked?.covering === 'mask_unlisted') {
      const text = value.toString('latin1', 0, LISTED_BYTES + 1);
      return text.length <= LISTED_BYTES && isStructuralField(name, text) ? null : this.whole(name);
    }
    if (asked !== null) return asked;
    return this.#names.queryKey(name) === 'mask' || !state.idle ? this.whole(name) : null;
  }

  whole(name: string): Treatment {
    // A name that is a URL may itself be secret, even if it is cut after its user info.
    const noted = holdsUserInfo(Buffer.from(`${name}@`)) ? '@' : name.slice(0, NOTED_CHARS);
    return { covering: 'mask', strength: 0, name: `/${noted}` };
  }

  /** Whether a percent-decoded value has keys with secret names. */
  valueHidesKey(value: Uint8Array): boolean {
    return this.#names.hiddenIn(value, this.#inValues) === 'mask';
  }

  /** The same for a name. */
  nameHidesKey(name: Uint8Array): boolean {
    return this.#names.hiddenIn(name, this.#inNames) === 'mask';
  }

  /** Whether a value that needs no decoding has URL credentials, plain or encoded. */
  valueHasCredential(value: Uint8Array): boolean {
    return this.#hasCredential(value, this.#inValues);
  }

  /** The same for a name. */
  nameHasCredential(name: Uint8Array): boolean {
    return this.#hasCredential(name, this.#inNames);
  }

  #hasCredential(text: Uint8Array, allowance: NameAllowance): boolean {
    if (holdsUserInfo(text) || this.#names.within(text, allowance) === 'mask') return true;
    return this.#names.hiddenIn(text, allowance) === 'mask';
  }
}
