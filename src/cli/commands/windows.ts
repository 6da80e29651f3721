import { Command } from 'commander';
import { windowsPage, windowsText } from '../../analysis/windows/view.ts';
import { pageAssets } from '../../app/package.ts';
import { RANKING_OPTIONS, rankedWindows } from '../../app/windows.ts';
import { Problems } from '../../core/errors.ts';
import { readOptions, toggle } from '../../core/options.ts';
import { addOptions, askedOf } from '../options.ts';
import { formOption, outputsOf, writeOutputs } from '../output.ts';
import { terminal } from '../terminal.ts';

const OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
};
const OPTIONS = { ...RANKING_OPTIONS, ...OUTPUTS };

/** `reprise windows DIR`: which window of a capture is the hardest for a server. */
export function windowsCommand(): Command {
  return addOptions(new Command('windows'), OPTIONS)
    .description('Rank the windows of a capture by how hard they are for a server, and name the hardest.')
    .argument('<capture>', 'the directory of a capture')
    .action((directory: string, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), ['html'], problems);
      const document = rankedWindows(directory, asked, problems);
      const forms = {
        json: document,
        text: () => windowsText(document),
        rendered: { html: { called: 'page', render: () => windowsPage(document, pageAssets()) } },
      };
      writeOutputs(forms, outputs, terminal);
    });
}
