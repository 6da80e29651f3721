import { reportPage } from '../analysis/pages/report-page.ts';
import { reportMarkdown } from '../analysis/report/report-markdown.ts';
import { reportText } from '../analysis/report/report-text.ts';
import type { ReportDocument } from '../documents/report.ts';
import type { DocumentForms } from './document-outputs.ts';
import { pageAssets } from './page-assets.ts';
import type { ReportForm } from './report-options.ts';

/** A report in all its forms. */
export function reportForms(document: ReportDocument): DocumentForms<ReportForm> {
  return {
    json: document,
    text: () => reportText(document),
    rendered: {
      html: { called: 'page', render: () => reportPage(document, pageAssets()) },
      markdown: { called: 'report', render: () => reportMarkdown(document) },
    },
  };
}
