import { profilePage } from '../analysis/pages/profile-page.ts';
import { profileCsv } from '../analysis/profile/profile-csv.ts';
import type { ProfileDocument } from '../analysis/profile/profile-document.ts';
import { profileText } from '../analysis/profile/profile-text.ts';
import { pageAssets } from './page-assets.ts';
import type { ProfileOutput } from './profile-options.ts';
import type { Terminal } from './terminal.ts';
import { writeWhole } from './whole-file.ts';

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
