import type { SecretNames } from '../secret-names.ts';
import { FieldTreatments } from './field-treatments.ts';
import { partsOf } from './multipart-form.ts';
import { describesPart, isAmbiguous } from './part-head.ts';
import type { PointerState } from './pointer-states.ts';
import type { Treatment } from './treatment.ts';
import { UnreadableBody } from './unreadable-body.ts';
import type { ValueCover } from './value-cover.ts';

const SPACE = 0x20;
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
