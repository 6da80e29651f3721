import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { profilePage } from '../analysis/pages/profile-page.ts';
import { profileCsv } from '../analysis/profile/profile-csv.ts';
import type { ProfileDocument } from '../analysis/profile/profile-document.ts';
import { profileText } from '../analysis/profile/profile-text.ts';
import { AppError, reasonOf } from '../core/errors.ts';
import { pageAssets } from './page-assets.ts';
import type { ProfileOutput } from './profile-options.ts';
import type { Terminal } from './terminal.ts';

/** Prints the profile and writes its files. @throws AppError OUTPUT_UNWRITABLE */
export function writeProfile(
  document: ProfileDocument,
  outputs: readonly ProfileOutput[],
  terminal: Terminal,
): void {
  for (const { form, path } of outputs) {
    if (form === 'json') terminal.json(document);
    else if (form === 'text') terminal.print(...profileText(document));
    else if (path === null) terminal.document(render(form, document));
    else {
      writeWhole(path, render(form, document));
      terminal.note(`${form === 'html' ? 'page' : 'table'} written to ${path}`);
    }
  }
}

function render(form: 'html' | 'csv', document: ProfileDocument): string {
  return form === 'csv' ? profileCsv(document) : profilePage(document, pageAssets());
}

/** A file is there whole or not at all; one of that name is replaced, as a report of a pipeline is each night. */
function writeWhole(path: string, text: string): void {
  const building = `${path}.${randomBytes(4).toString('hex')}.part`;
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile()) throw new Error('something that is no file lies there');
    writeFileSync(building, text, { flag: 'wx' });
    renameSync(building, path);
  } catch (cause) {
    rmSync(building, { force: true });
    throw new AppError('OUTPUT_UNWRITABLE', `${path} cannot be written: ${reasonOf(cause)}`, {
      hint: 'The directory it lies in must exist and be writable for this user.',
      cause,
    });
  }
}
