import { relative, resolve } from 'node:path';
import { assertWritable, writeWhole } from '../app/staged-output.ts';
import { parseTimeZone } from '../core/calendar.ts';
import type { Problems } from '../core/errors.ts';
import { grouped, type ResolvedOptions, switchOrValue, toggle, value } from '../core/options.ts';
import { LogCommand, type TonedLine } from '../core/text.ts';
import type { Terminal } from './terminal.ts';

/** How much a command prints at its end. */
export const DETAIL_OPTIONS = grouped('Output', {
  quiet: toggle('-q, --quiet', 'print the verdict only, and no progress'),
  verbose: toggle('-v, --verbose', 'print every table and note, not one screen'),
});

type Lines = readonly (string | TonedLine)[];

/** The end of a command: `verdict` is its first lines, `screen` fits a terminal, `all` is everything. */
export function detailed(
  { quiet, verbose }: ResolvedOptions<typeof DETAIL_OPTIONS>,
  forms: { readonly verdict: () => Lines; readonly screen: () => Lines; readonly all: () => Lines },
): Lines {
  if (quiet) return forms.verdict();
  return verbose ? forms.all() : forms.screen();
}

/**
 * How this program was called, for a line to copy: `reprise`, `npx reprise` or `node bin/reprise.js`. Outside of a
 * checkout or a project that has it, npx would install whatever package is called `reprise`: there the whole name.
 */
export function calledAs(
  script = process.argv[1] ?? '',
  npm = process.env['npm_command'],
  directory = process.cwd(),
  home = import.meta.dirname,
): string {
  if (npm === 'exec') return home.includes('/_npx/') ? 'npx @reprise-load/reprise' : 'npx reprise';
  const path = relative(directory, script);
  return /^[\w./-]+\.js$/.test(path) ? `node ${path}` : 'reprise';
}

/** How a command reports progress. With `--quiet`, only output for a pipeline remains. */
export function watchedBy(terminal: Terminal, { quiet }: ResolvedOptions<typeof DETAIL_OPTIONS>) {
  return {
    interactive: terminal.interactive,
    note: (...lines: readonly (string | LogCommand)[]) =>
      terminal.note(...lines.filter((line) => !quiet || line instanceof LogCommand)),
    progress: (parts: readonly string[]) => {
      if (!quiet) terminal.progress(...parts);
    },
    endProgress: () => terminal.endProgress(),
  };
}

/** The time zone of times in results. Pages name it. */
export const SHOWN_ZONE = value('--tz <zone>', 'time zone of the times that are shown', parseTimeZone, {
  default: 'UTC',
});

/** Stands for stdout instead of a file. */
const STDOUT = '-';

/** `--html [file]`: writes a form of a document to a file, or prints it if no file is named. */
export function formOption(flags: string, description: string) {
  return switchOrValue(flags, `${description}; without a file, print it`, (path) => path, STDOUT);
}

/** The requested outputs: a file or stdout for each form. */
type RawOutputs<Form extends string> = { readonly json: boolean } & {
  readonly [form in Form]: string | null;
};

/** The output of one form of a document: a file, or stdout if the path is null. */
export interface DocumentOutput<Form extends string> {
  readonly form: Form | 'json' | 'text';
  readonly path: string | null;
}

/** A document in each of its forms. Only requested forms are rendered. */
export interface DocumentForms<Form extends string> {
  readonly json: object;
  readonly text: () => Lines;
  /** `called`: the name of the file in a note. */
  readonly rendered: Readonly<Record<Form, { readonly called: string; readonly render: () => string }>>;
}

/** Files of runs, captures and profiles. A typing error must not overwrite one with a page. */
const DATA = /\.(?:sqlite|json)$/i;

/**
 * The outputs that were requested. At most one is printed; if none is, text is printed.
 * @throws AppError OUTPUT_UNWRITABLE before any work is done for a file that cannot be written
 */
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
    if (path === null) continue;
    if (DATA.test(path)) problems.add(`--${form} ${path}: this file extension is reserved for data`);
    else assertWritable(path);
  }
  return printed.length === 0 ? [{ form: 'text', path: null }, ...outputs] : outputs;
}

/**
 * Prints a document and writes its files. The files come first, so that nothing is printed if one cannot be written.
 * @throws AppError OUTPUT_UNWRITABLE
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
