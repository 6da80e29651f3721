import { Command } from 'commander';
import type { ReportDocument } from '../analysis/report/report-document.ts';
import { writeOutputs } from './document-outputs.ts';
import { documentFromThread } from './document-thread.ts';
import { type RawReportOptions, resolveReportOptions } from './report-options.ts';
import { reportForms } from './report-output.ts';
import type { ReportRequest } from './reporting.ts';
import { terminal } from './terminal.ts';

/** `reprise report RUN`: what a run showed, for whoever decides on a launch. */
export function reportCommand(): Command {
  return new Command('report')
    .description('Say what a run showed: the verdict, its reasons and what to do first.')
    .argument('<run>', 'the directory of a run, as replay or merge made it')
    .option('--json', 'print one JSON document')
    .option('--html [file]', 'write one self-contained page; without a file, print it')
    .option('--md, --markdown [file]', 'write it as Markdown; without a file, print it')
    .option(
      '--capture <directory>',
      'the capture that was replayed, for its own latency (default: where the run says it lay)',
    )
    .action(async (directory: string, flags: RawReportOptions) => {
      const { outputs, capture } = resolveReportOptions(flags);
      const request: ReportRequest = { directory, capture };
      const document = await documentFromThread<ReportDocument>('reporter', request);
      writeOutputs(reportForms(document), outputs, terminal);
    });
}
