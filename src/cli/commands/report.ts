import { Command } from 'commander';
import { reportOutcome } from '../../analysis/outcome/outcome.ts';
import { viewMarkdown, viewText } from '../../analysis/render/table.ts';
import { reportPage } from '../../analysis/report/page.ts';
import { reportView } from '../../analysis/report/view.ts';
import { pageAssets } from '../../app/package.ts';
import { REPORT_OPTIONS, reportInThread } from '../../app/report.ts';
import { makeReady, VERDICT_OPTIONS, writeVerdict } from '../../app/verdict-outputs.ts';
import { Problems } from '../../core/errors.ts';
import { readOptions, resolveOptions, toggle } from '../../core/options.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { addOptions, askedOf } from '../options.ts';
import { type DocumentForms, formOption, outputsOf, writeOutputs } from '../output.ts';
import { terminal } from '../terminal.ts';

export const REPORT_OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  markdown: formOption('--md, --markdown [file]', 'write Markdown'),
};
export const REPORT_FORMS = ['html', 'markdown'] as const;
const READ_OPTIONS = { ...REPORT_OPTIONS, output: VERDICT_OPTIONS.output };
const OPTIONS = { ...REPORT_OUTPUTS, ...READ_OPTIONS };

/** `reprise report RUN`: the results of a run, for a launch decision. */
export function reportCommand(): Command {
  return addOptions(new Command('report'), OPTIONS)
    .description('Report the results of a run: the verdict, its reasons and the first thing to do.')
    .argument('<run>', 'directory of a run, written by replay or merge')
    .action(async (directory: string, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(REPORT_OUTPUTS, asked, problems), REPORT_FORMS, problems);
      const { capture, output } = resolveOptions(READ_OPTIONS, asked, problems);
      makeReady({ output, history: null });
      const document = await reportInThread({ directory, capture });
      const outcome = reportOutcome(document, reportView(document));
      terminal.note(...writeVerdict(outcome, { output }, process.env));
      writeOutputs(reportForms(document), outputs, terminal);
    });
}

export function reportForms(document: ReportDocument): DocumentForms<(typeof REPORT_FORMS)[number]> {
  return {
    json: document,
    text: () => viewText(reportView(document)),
    rendered: {
      html: { called: 'page', render: () => reportPage(document, pageAssets()) },
      markdown: { called: 'report', render: () => viewMarkdown(reportView(document)) },
    },
  };
}
