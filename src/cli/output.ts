import { resolve } from 'node:path';
import { writeWhole } from '../app/staged-output.ts';
import type { Problems } from '../core/errors.ts';
import { switchOrValue } from '../core/options.ts';
import type { Terminal } from './terminal.ts';

/** In place of a file: stdout. */
const STDOUT = '-';

/** `--html [file]`: a form of a document, written to a file, or printed where none is named. */
export function formOption(flags: string, description: string) {
  return switchOrValue(flags, `${description}; without a file, print it`, (path) => path, STDOUT);
}

/** What was asked for: a file for each form, or stdout. */
export type RawOutputs<Form extends string> = { readonly json: boolean } & {
  readonly [form in Form]: string | null;
};

/** Where one form of a document goes: a file, or stdout where the path is null. */
export interface DocumentOutput<Form extends string> {
  readonly form: Form | 'json' | 'text';
  readonly path: string | null;
}

/** A document in each of its forms; what is not asked for is not rendered. */
export interface DocumentForms<Form extends string> {
  readonly json: object;
  readonly text: () => readonly string[];
  /** `called`: what a note calls the file. */
  readonly rendered: Readonly<Record<Form, { readonly called: string; readonly render: () => string }>>;
}

/** What runs, captures and profiles are kept in: a slip of the finger must not write a page over one. */
const DATA = /\.(?:sqlite|json)$/i;

/** The outputs that were requested. At most one is printed; if none is, text is printed. */
export function outputsOf<Form extends string>(
  raw: RawOutputs<Form>,
  forms: readonly Form[],
  problems: Problems,
): DocumentOutput<Form>[] {
  const outputs: DocumentOutput<Form>[] = [];
  if (raw.json) outputs.push({ form: 'json', path: null });
  for (const form of forms) {
    const path = raw[form];
    if (path !== null) outputs.push({ form, path: path === STDOUT ? null : path });
  }
  const printed = outputs.filter(({ path }) => path === null);
  if (printed.length > 1) {
    const flags = printed.map(({ form }) => `--${form}`).join(' and ');
    problems.add(`${flags} would both be printed: give a file for all but one`);
  }
  const paths = outputs.flatMap(({ path }) => (path === null ? [] : resolve(path)));
  if (new Set(paths).size < paths.length) {
    problems.add(`${forms.map((form) => `--${form}`).join(' and ')} name the same file`);
  }
  for (const { form, path } of outputs) {
    if (path !== null && DATA.test(path))
      problems.add(`--${form} ${path}: this file extension is reserved for data`);
  }
  return printed.length === 0 ? [{ form: 'text', path: null }, ...outputs] : outputs;
}

/**
 * Prints a document and writes its files, the files first: where one cannot be written, nothing was printed as if all
 * were well. @throws AppError OUTPUT_UNWRITABLE
 */
export function writeOutputs<Form extends string>(
  { json, text, rendered }: DocumentForms<Form>,
  outputs: readonly DocumentOutput<Form>[],
  terminal: Terminal,
): void {
  for (const { form, path } of outputs.toSorted(
    (a, b) => Number(a.path === null) - Number(b.path === null),
  )) {
    if (form === 'json') terminal.json(json);
    else if (form === 'text') terminal.print(...text());
    else if (path === null) terminal.document(rendered[form].render());
    else {
      writeWhole(path, rendered[form].render());
      terminal.note(`${rendered[form].called} written to ${path}`);
    }
  }
}
