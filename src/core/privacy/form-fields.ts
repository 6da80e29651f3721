import { decodePercent } from '../percent-encoding.ts';
import type { SecretNames } from '../secret-names.ts';
import type { PointerState } from './pointer-states.ts';
import { strongerOf, type Treatment } from './treatment.ts';
import { UnreadableBody } from './unreadable-body.ts';
import type { ValueCover } from './value-cover.ts';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const AMPERSAND = 0x26;
const PLUS = 0x2b;
const ZERO = 0x30;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const DELETE = 0x7f;

/** Of a field's name, noted beside the message. */
const NOTED_CHARS = 64;

/**
 * Covers the fields of a form (`a=1&b=2`) in place: by rules of one step, and by names that are secret. A name
 * may follow `;` as well, a value ends at `&` only: whichever way a server divides, nothing secret is left over.
 * @throws UnreadableBody for what is no form: many clients give any text that type
 */
export function coverForm(form: Buffer, root: PointerState, names: SecretNames, cover: ValueCover): void {
  const end = endOf(form);
  for (let from = 0; from < end; ) {
    const to = indexOr(form, AMPERSAND, from, end);
    assertField(form, from, to);
    // Stretches between semicolons may be fields of their own, to some.
    for (let start = from; start < to; ) {
      const next = indexOr(form, SEMICOLON, start, to);
      const equals = indexOr(form, EQUALS, start, next);
      const treatment = equals < next ? treatmentOf(form, start, equals, next, root, names) : null;
      if (treatment !== null) coverField(form, equals + 1, to, treatment, cover);
      start = treatment === null ? next + 1 : to;
    }
    from = to + 1;
  }
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
): Treatment | null {
  const name = plainText(form.toString('latin1', from, equals).replaceAll('+', ' ')).toString('utf8');
  const known = fieldTreatment(name, root, names);
  if (known !== null || names.hiddenIn(form.toString('latin1', equals + 1, next)) !== 'mask') return known;
  return wholeField(name);
}

/** What becomes of a form's field; one that rules look into is masked whole, for it is text to us. */
export function fieldTreatment(name: string, root: PointerState, names: SecretNames): Treatment | null {
  const state = root.member(name);
  const asked = strongerOf(root.treatment, state.treatment);
  if (asked !== null) return asked;
  return names.queryKey(name) === 'mask' || !state.idle ? wholeField(name) : null;
}

function wholeField(name: string): Treatment {
  return { covering: 'mask', strength: 0, name: `/${name.slice(0, NOTED_CHARS)}` };
}

function coverField(form: Buffer, from: number, to: number, treatment: Treatment, cover: ValueCover): void {
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

/** A field without its percent-encoding, as bytes. */
function plainText(encoded: string): Buffer {
  try {
    return Buffer.from(decodeURIComponent(encoded), 'utf8');
  } catch {
    // Not UTF-8 after all: ASCII is decoded, the rest stays as it is.
    return Buffer.from(decodePercent(encoded), 'latin1');
  }
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
