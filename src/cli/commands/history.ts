import { Command } from 'commander';
import { historyPage, historyView } from '../../analysis/history/view.ts';
import { exceptionText, viewMarkdown, viewText } from '../../analysis/render/table.ts';
import { ACCEPT_OPTIONS, acceptRun, HISTORY_OPTIONS, readHistory } from '../../app/history.ts';
import { pageAssets } from '../../app/package.ts';
import { systemClock } from '../../core/clock.ts';
import { Problems } from '../../core/errors.ts';
import { readOptions, resolveOptions, toggle } from '../../core/options.ts';
import { addOptions, askedOf, optionsOf } from '../options.ts';
import { formOption, outputsOf, writeOutputs } from '../output.ts';
import { terminal } from '../terminal.ts';

const OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  markdown: formOption('--markdown [file]', 'write Markdown'),
};
const FORMS = ['html', 'markdown'] as const;
const OPTIONS = { ...OUTPUTS, ...HISTORY_OPTIONS };

/** `reprise history FILE`: how the results of a test changed over its runs. */
export function historyCommand(): Command {
  return addOptions(new Command('history'), OPTIONS)
    .enablePositionalOptions()
    .addCommand(acceptCommand())
    .description('Show the runs that --history kept, by test, and name the run where a metric changed.')
    .argument('<file>', 'the SQLite file that --history named')
    .action((file: string, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), FORMS, problems);
      const document = readHistory(file, resolveOptions(HISTORY_OPTIONS, asked, problems));
      const forms = {
        json: document,
        text: () => viewText(historyView(document), 'brief'),
        rendered: {
          html: { called: 'page', render: () => historyPage(document, pageAssets()) },
          markdown: { called: 'Markdown', render: () => viewMarkdown(historyView(document)) },
        },
      };
      writeOutputs(forms, outputs, terminal);
    });
}

function acceptCommand(): Command {
  return addOptions(new Command('accept'), ACCEPT_OPTIONS)
    .description('accept the result of a run for a time; it is shown with later runs of the same test')
    .argument('<run>', 'the directory of the run, or its id in the history')
    .action((run: string, _: object, command: Command) => {
      const accepted = acceptRun(run, optionsOf(command, ACCEPT_OPTIONS), systemClock.epochUs());
      terminal.print(`${accepted.test}: ${exceptionText(accepted)}`);
    });
}
