import { Command } from 'commander';
import { documentFromThread } from '../app/document-thread.ts';
import type { ReportDocument } from '../documents/report.ts';
import { writeOutputs } from './document-outputs.ts';
import { addOptions } from './flags.ts';
import { askedOf } from './options.ts';
import { REPORT_OPTIONS, resolveReportOptions } from './report-options.ts';
import { reportForms } from './report-output.ts';
import type { ReportRequest } from './reporting.ts';
import { terminal } from './terminal.ts';

/** `reprise report RUN`: what a run showed, for whoever decides on a launch. */
export function reportCommand(): Command {
  const command = new Command('report')
    .description('Say what a run showed: the verdict, its reasons and what to do first.')
    .argument('<run>', 'the directory of a run, as replay or merge made it')
    .action(async (directory: string, _: object, command: Command) => {
      const { outputs, capture } = resolveReportOptions(askedOf(command, REPORT_OPTIONS));
      const request: ReportRequest = { directory, capture };
      const document = await documentFromThread<ReportDocument>('reporter', request);
      writeOutputs(reportForms(document), outputs, terminal);
    });
  return addOptions(command, REPORT_OPTIONS);
}
