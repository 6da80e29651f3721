import { reportPage } from '../analysis/pages/report-page.ts';
import type { ReportDocument } from '../analysis/report/report-document.ts';
import { reportMarkdown } from '../analysis/report/report-markdown.ts';
import { reportText } from '../analysis/report/report-text.ts';
import { pageAssets } from './page-assets.ts';
import type { ReportOutput } from './report-options.ts';
import type { Terminal } from './terminal.ts';
import { writeWhole } from './whole-file.ts';

/** Prints the report and writes its files. @throws AppError OUTPUT_UNWRITABLE */
export function writeReport(
  document: ReportDocument,
  outputs: readonly ReportOutput[],
  terminal: Terminal,
): void {
  // Files first: where one cannot be written, nothing was printed as if all were well.
  const filesFirst = outputs.toSorted((a, b) => Number(a.path === null) - Number(b.path === null));
  for (const { form, path } of filesFirst) {
    if (form === 'json') terminal.json(document);
    else if (form === 'text') terminal.print(...reportText(document));
    else if (path === null) terminal.document(render(form, document));
    else {
      writeWhole(path, render(form, document));
      terminal.note(`${form === 'html' ? 'page' : 'report'} written to ${path}`);
    }
  }
}

function render(form: 'html' | 'markdown', document: ReportDocument): string {
  return form === 'html' ? reportPage(document, pageAssets()) : reportMarkdown(document);
}
