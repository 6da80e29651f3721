import { resolve } from 'node:path';
import {
  fileName,
  grouped,
  listOf,
  part,
  partsOf,
  type ResolvedOptions,
  requiredPart,
  text,
  value,
} from '../../core/options.ts';
import { refused } from '../../core/units.ts';
import { parseRetainRuns } from '../../replay/options/parsers.ts';
import { History } from '../../storage/history.ts';
import { clearFile } from '../staged-output.ts';

/** Verdict formats that a pipeline reads from a file. */
const IN_FILES = ['junit', 'gitlab'] as const;
type FileForm = (typeof IN_FILES)[number];
const FORMS = 'junit=FILE, gitlab=FILE or github';

/** A verdict format for a pipeline, and its file. GitHub names its files itself. */
type VerdictOutput = { readonly form: FileForm; readonly file: string } | { readonly form: 'github' };

/** Enough for a few years of nightly runs. */
export const KEPT_RUNS = '1000';

export const VERDICT_OPTIONS = grouped('Where the run is kept', {
  name: text('--name <text>', 'name of the test, equal for all runs that belong together'),
  history: value(
    '--history <file|parts>',
    'also keep the figures of the run in this SQLite file; retain=WHICH: runs of the same test to keep, the last 1000 or those of 180d',
    partsOf({ file: requiredPart(fileName), retain: part(parseRetainRuns, KEPT_RUNS) }, 'file'),
  ),
  ciReport: listOf('--ci-report <form>', `write the verdict for a pipeline: ${FORMS}`, parseVerdictOutput),
});

function parseVerdictOutput(stated: string, what: string): VerdictOutput {
  if (stated === 'github') return { form: 'github' };
  const [form = '', ...rest] = stated.split('=');
  const file = rest.join('=');
  const known = IN_FILES.find((each) => each === form);
  if (known === undefined || file === '') {
    throw refused(what, stated, `is not ${FORMS}`, 'Such as --ci-report junit=verdict.xml.');
  }
  return { form: known, file };
}

/** The outputs of a verdict besides the printed text. */
export type VerdictRequest = ResolvedOptions<typeof VERDICT_OPTIONS>;

/**
 * Called before a test begins: checks the output files, and removes those of an earlier verdict.
 * @throws AppError OUTPUT_UNWRITABLE if the directory of a file is missing; INPUT_INVALID if the history file is none
 */
export function makeReady({ ciReport, history }: Pick<VerdictRequest, 'ciReport' | 'history'>): void {
  if (history !== null) new History(history.file, 'write').close();
  for (const each of ciReport) {
    if (each.form !== 'github') clearFile(resolve(each.file));
  }
}
