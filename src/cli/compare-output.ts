import type { ComparisonDocument } from '../analysis/compare/comparison-document.ts';
import { comparisonMarkdown } from '../analysis/compare/comparison-markdown.ts';
import { comparisonText } from '../analysis/compare/comparison-text.ts';
import { comparisonPage } from '../analysis/pages/comparison-page.ts';
import type { CompareOutput } from './compare-options.ts';
import { pageAssets } from './page-assets.ts';
import type { Terminal } from './terminal.ts';
import { writeWhole } from './whole-file.ts';

/** Prints the comparison and writes its files. @throws AppError OUTPUT_UNWRITABLE */
export function writeComparison(
  document: ComparisonDocument,
  outputs: readonly CompareOutput[],
  terminal: Terminal,
): void {
  for (const { form, path } of outputs) {
    if (form === 'json') terminal.json(document);
    else if (form === 'text') terminal.print(...comparisonText(document));
    else if (path === null) terminal.document(render(form, document));
    else {
      writeWhole(path, render(form, document));
      terminal.note(`${form === 'html' ? 'page' : 'Markdown'} written to ${path}`);
    }
  }
}

function render(form: 'html' | 'md', document: ComparisonDocument): string {
  return form === 'md' ? comparisonMarkdown(document) : comparisonPage(document, pageAssets());
}
