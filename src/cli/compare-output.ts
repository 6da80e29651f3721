import { comparisonMarkdown } from '../analysis/compare/comparison-markdown.ts';
import { comparisonText } from '../analysis/compare/comparison-text.ts';
import { comparisonPage } from '../analysis/pages/comparison-page.ts';
import type { ComparisonDocument } from '../documents/comparison.ts';
import type { CompareForm } from './compare-options.ts';
import type { DocumentForms } from './document-outputs.ts';
import { pageAssets } from './page-assets.ts';

/** A comparison in all its forms. */
export function comparisonForms(document: ComparisonDocument): DocumentForms<CompareForm> {
  return {
    json: document,
    text: () => comparisonText(document),
    rendered: {
      html: { called: 'page', render: () => comparisonPage(document, pageAssets()) },
      md: { called: 'Markdown', render: () => comparisonMarkdown(document) },
    },
  };
}
