import { basename, dirname, join } from 'node:path';
import { Command } from 'commander';
import { capacityPage } from '../../analysis/capacity/page.ts';
import { capacityView } from '../../analysis/capacity/view.ts';
import { explanationPage, explanationView } from '../../analysis/explain/view.ts';
import { INTERCHANGE_FORMS, interchangeOf } from '../../analysis/interchange/interchange.ts';
import { viewMarkdown, viewText } from '../../analysis/render/table.ts';
import { reportPage } from '../../analysis/report/page.ts';
import { reportView } from '../../analysis/report/view.ts';
import { ciReportOfCapacity, ciReportOfReport } from '../../analysis/verdict/ci-report.ts';
import { readCapacityDocument } from '../../app/capacity/state.ts';
import { pageAssets } from '../../app/package.ts';
import { explainRun, REPORT_OPTIONS, reportInThread } from '../../app/report.ts';
import { writeVerdict } from '../../app/verdict/delivery.ts';
import { makeReady, VERDICT_OPTIONS } from '../../app/verdict/options.ts';
import { Problems } from '../../core/errors.ts';
import { choice, readOptions, toggle } from '../../core/options.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { CAPACITY_FILE, kindOf } from '../../storage/capture/directory.ts';
import { addOptions, askedOf } from '../options.ts';
import {
  calledAs,
  type DocumentForms,
  type DocumentOutput,
  formOption,
  outputsOf,
  SHOWN_ZONE,
  writeOutputs,
} from '../output.ts';
import { terminal } from '../terminal.ts';

export const REPORT_OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  markdown: formOption('--markdown [file]', 'write Markdown'),
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
};
const OPTIONS = { ...REPORT_OUTPUTS, ...READ_OPTIONS };

/** `reprise report RUN`: the results of a run, for a launch decision. */
export function reportCommand(): Command {
  return addOptions(new Command('report'), OPTIONS)
    .description(
      'Report the results of a run or a search: the verdict, its reasons and the first thing to do.',
    )
    .argument('<run>', 'directory of a run by replay or merge, or of a search by capacity')
    .action(async (directory: string, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const raw = readOptions(REPORT_OUTPUTS, asked, problems);
      const { format, capture, tz, ciReport } = readOptions(READ_OPTIONS, asked, problems);
      const outputs = writtenOf(
        outputsOf({ ...raw, json: raw.json || format !== null }, REPORT_FORMS, problems),
      );
      const search = searchAt(directory);
      if (search !== null && (format !== null || capture !== null))
        problems.add(
          `--${format === null ? 'capture' : 'format'} has no effect on a search`,
          `Report one of its steps: reprise report ${join(search, 'steps', '01')}.`,
        );
      problems.throwIfAny();
      makeReady({ ciReport, history: null });
      if (search !== null) {
        const found = readCapacityDocument(search);
        const view = capacityView(found);
        terminal.note(...writeVerdict(ciReportOfCapacity(found, view, null), { ciReport }, process.env));
        writeOutputs(searchForms(found, view), outputs, terminal);
        return;
      }
      const document = await reportInThread({ directory, capture });
      const json = format === null ? document : interchangeOf(format, document);
      const outcome = ciReportOfReport(document, reportView(document, tz));
      terminal.note(...writeVerdict(outcome, { ciReport }, process.env));
      writeOutputs({ ...reportForms(document, tz), json }, outputs, terminal);
    });
}

/** Only the files, if there are some: the text of a report is long. */
function writtenOf<Form extends string>(outputs: readonly DocumentOutput<Form>[]): DocumentOutput<Form>[] {
  return outputs.filter(({ form }) => form !== 'text' || outputs.length === 1);
}

/** The directory of a search, if the path is that or its document; null for any other. */
function searchAt(path: string): string | null {
  const directory = basename(path) === CAPACITY_FILE ? dirname(path) : path;
  return kindOf(directory) === 'search' ? directory : null;
}

function searchForms(
  document: CapacityDocument,
  view: ReturnType<typeof capacityView>,
): DocumentForms<(typeof REPORT_FORMS)[number]> {
  return {
    json: document,
    text: () => viewText(view),
    rendered: {
      html: { called: 'page', render: () => capacityPage(document, pageAssets()) },
      markdown: { called: 'report', render: () => viewMarkdown(view) },
    },
  };
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

/** `reprise explain RUN`: why a run violated its objectives. */
export function explainCommand(): Command {
  return addOptions(new Command('explain'), REPORT_OUTPUTS)
    .description(
      'Explain why a run violated its objectives: causes by their share, and requests that show them.',
    )
    .argument('<run>', 'directory of a run by replay or merge')
    .action((directory: string, _: object, command: Command) => {
      const problems = new Problems();
      const raw = readOptions(REPORT_OUTPUTS, askedOf(command, REPORT_OUTPUTS), problems);
      const outputs = outputsOf(raw, REPORT_FORMS, problems);
      problems.throwIfAny();
      const document = explainRun(directory);
      const view = explanationView(document, calledAs());
      const forms = {
        json: document,
        text: () => viewText(view, 'brief'),
        rendered: {
          html: { called: 'page', render: () => explanationPage(document, pageAssets()) },
          markdown: { called: 'explanation', render: () => viewMarkdown(view) },
        },
      };
      writeOutputs(forms, outputs, terminal);
    });
}
