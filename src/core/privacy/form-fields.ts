import { decodePercent } from '../percent-encoding.ts';
import type { SecretNames } from '../secret-names.ts';
import { fieldUserInfo, hidesUserInfo, holdsUserInfo } from '../user-info.ts';
import type { PointerState } from './pointer-states.ts';
import { strongerOf, type Treatment } from './treatment.ts';
import { UnreadableBody } from './unreadable-body.ts';
import type { ValueCover } from './value-cover.ts';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const HASH = 0x23;
const AMPERSAND = 0x26;
const PLUS = 0x2b;
const ZERO = 0x30;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUESTION = 0x3f;
const DELETE = 0x7f;

/** Of a field's name, noted beside the message. */
const NOTED_CHARS = 64;

/**
 * Covers the fields of a form (`a=1&b=2`) in place: by rules of one step, by names that are secret, and user info
 * of URLs. A name may follow `;`, `?` and `#` as well, a value ends at `&` only: whichever way a server divides, and
 * whatever URL a value is, nothing secret is left over.
 * @throws UnreadableBody for what is no form: many clients give any text that type
 */
export function coverForm(form: Buffer, root: PointerState, names: SecretNames, cover: ValueCover): void {
  const end = endOf(form);
  for (let from = 0; from < end; ) {
    const to = indexOr(form, AMPERSAND, from, end);
    assertField(form, from, to);
    coverField(form, from, to, root, names, cover);
    from = to + 1;
  }
}

function coverField(
  form: Buffer,
  from: number,
  to: number,
  root: PointerState,
  names: SecretNames,
  cover: ValueCover,
): void {
  const { plain, hidden } = fieldUserInfo(form.toString('latin1', from, to));
  const name = form.toString('latin1', from, indexOr(form, EQUALS, from, to));
  // A URL in the place of a name: whoever reads it, it is no form that we understand.
  if (hidden && hidesUserInfo(name)) throw new UnreadableBody('bad_form');
  let kept = to;
  for (let start = from; start < kept; ) {
    const next = nextName(form, start, to);
    const equals = indexOr(form, EQUALS, start, next);
    const treatment = equals < next ? treatmentOf(form, start, equals, next, root, names, hidden) : null;
    if (treatment !== null) {
      coverValue(form, equals + 1, to, treatment, cover);
      kept = equals + 1;
    }
    start = next + 1;
  }
  if (plain.length === 0) return;
  const masked = wholeField(decodedName(name));
  for (const [start, end] of plain) coverValue(form, from + start, Math.min(from + end, kept), masked, cover);
}

/** A field has an equals sign, no blank in its name, and nothing that its encoding would have replaced. */
function assertField(form: Buffer, from: number, to: number): void {
  let named = from === to;
  for (let at = from; at < to; at += 1) {
    const byte = form[at] as number;
    if (byte === EQUALS) named = true;
    if (byte < SPACE || byte === DELETE || (byte === SPACE && !named)) throw new UnreadableBody('bad_form');
  }
  if (!named) throw new UnreadableBody('bad_form');
}

function treatmentOf(
  form: Buffer,
  from: number,
  equals: number,
  next: number,
  root: PointerState,
  names: SecretNames,
  hidden: boolean,
): Treatment | null {
  const name = decodedName(form.toString('latin1', from, equals));
  const known = fieldTreatment(name, root, names);
  if (known !== null) return known;
  const secret = hidden || names.hiddenIn(form.toString('latin1', equals + 1, next)) === 'mask';
  return secret ? wholeField(name) : null;
}

/** What becomes of a form's field; one that rules look into is masked whole, for it is text to us. */
export function fieldTreatment(name: string, root: PointerState, names: SecretNames): Treatment | null {
  const state = root.member(name);
  const asked = strongerOf(root.treatment, state.treatment);
  if (asked !== null) return asked;
  return names.queryKey(name) === 'mask' || !state.idle ? wholeField(name) : null;
}

function wholeField(name: string): Treatment {
  // A name that is a URL may be a secret itself.
  const noted = holdsUserInfo(name) ? '@' : name.slice(0, NOTED_CHARS);
  return { covering: 'mask', strength: 0, name: `/${noted}` };
}

function coverValue(form: Buffer, from: number, to: number, treatment: Treatment, cover: ValueCover): void {
  if (to <= from) return;
  if (treatment.covering === 'drop') {
    cover.note(treatment);
    form.fill(PLUS, from, to);
    return;
  }
  const value = form.toString('latin1', from, to);
  // To be weighed as what it says: a form writes its blanks as plus signs.
  for (let at = from; at < to; at += 1) if (form[at] === PLUS) form[at] = SPACE;
  const how = treatment.covering === 'hash' ? treatment : ({ ...treatment, covering: 'mask' } as const);
  cover.string(form, from, to, how, () => plainText(value.replaceAll('+', ' ')));
  for (let at = from; at < to; at += 1) {
    if (form[at] === SPACE) form[at] = PLUS;
    else if (form[at] === EQUALS) form[at] = ZERO;
  }
}

function decodedName(encoded: string): string {
  return plainText(encoded.replaceAll('+', ' ')).toString('utf8');
}

/** A field without its percent-encoding, as bytes. */
function plainText(encoded: string): Buffer {
  try {
    return Buffer.from(decodeURIComponent(encoded), 'utf8');
  } catch {
    // Not UTF-8 after all: ASCII is decoded, the rest stays as it is.
    return Buffer.from(decodePercent(encoded), 'latin1');
  }
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

function indexOr(form: Buffer, byte: number, from: number, end: number): number {
  const found = form.subarray(from, end).indexOf(byte);
  return found < 0 ? end : from + found;
}
