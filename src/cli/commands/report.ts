import { Command } from 'commander';
import { INTERCHANGE_FORMS, interchangeOf } from '../../analysis/interchange/interchange.ts';
import { viewMarkdown, viewText } from '../../analysis/render/table.ts';
import { reportPage } from '../../analysis/report/page.ts';
import { reportView } from '../../analysis/report/view.ts';
import { ciReportOfReport } from '../../analysis/verdict/ci-report.ts';
import { pageAssets } from '../../app/package.ts';
import { REPORT_OPTIONS, reportInThread } from '../../app/report.ts';
import { writeVerdict } from '../../app/verdict/delivery.ts';
import { makeReady, VERDICT_OPTIONS } from '../../app/verdict/options.ts';
import { Problems } from '../../core/errors.ts';
import { choice, readOptions, toggle } from '../../core/options.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { addOptions, askedOf } from '../options.ts';
import { calledAs, type DocumentForms, formOption, outputsOf, SHOWN_ZONE, writeOutputs } from '../output.ts';
import { terminal } from '../terminal.ts';

export const REPORT_OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  markdown: formOption('--md, --markdown [file]', 'write Markdown'),
};
export const REPORT_FORMS = ['html', 'markdown'] as const;
const READ_OPTIONS = {
  format: choice(
    '--format <tool>',
    'print JSON as llm-d, AIPerf or k6 writes its results',
    INTERCHANGE_FORMS,
  ),
  ...REPORT_OPTIONS,
  tz: SHOWN_ZONE,
  ciReport: VERDICT_OPTIONS.ciReport,
  verbose: toggle('-v, --verbose', 'no effect: a report always prints everything'),
};
const OPTIONS = { ...REPORT_OUTPUTS, ...READ_OPTIONS };

/** `reprise report RUN`: the results of a run, for a launch decision. */
export function reportCommand(): Command {
  return addOptions(new Command('report'), OPTIONS)
    .description('Report the results of a run: the verdict, its reasons and the first thing to do.')
    .argument('<run>', 'directory of a run, written by replay or merge')
    .action(async (directory: string, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const raw = readOptions(REPORT_OUTPUTS, asked, problems);
      const { format, capture, tz, ciReport } = readOptions(READ_OPTIONS, asked, problems);
      const outputs = outputsOf({ ...raw, json: raw.json || format !== null }, REPORT_FORMS, problems);
      problems.throwIfAny();
      makeReady({ ciReport, history: null });
      const document = await reportInThread({ directory, capture });
      const json = format === null ? document : interchangeOf(format, document);
      const outcome = ciReportOfReport(document, reportView(document, tz));
      terminal.note(...writeVerdict(outcome, { ciReport }, process.env));
      writeOutputs({ ...reportForms(document, tz), json }, outputs, terminal);
    });
}

export function reportForms(
  document: ReportDocument,
  timeZone = 'UTC',
): DocumentForms<(typeof REPORT_FORMS)[number]> {
  const view = reportView(document, timeZone, calledAs());
  return {
    json: document,
    text: () => viewText(view),
    rendered: {
      html: { called: 'page', render: () => reportPage(document, pageAssets(), timeZone) },
      markdown: { called: 'report', render: () => viewMarkdown(view) },
    },
  };
}
