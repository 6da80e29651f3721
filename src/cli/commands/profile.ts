import { Command } from 'commander';
import { profileCsv } from '../../analysis/profile/csv.ts';
import { profilePage } from '../../analysis/profile/page.ts';
import { profileText } from '../../analysis/profile/view.ts';
import { windowsPage, windowsText } from '../../analysis/windows/view.ts';
import { encryptionKeyOf } from '../../app/open-capture.ts';
import { pageAssets } from '../../app/package.ts';
import { PROFILE_OPTIONS, profileNamed, resolveProfileOptions } from '../../app/profile.ts';
import { RANKING_OPTIONS, rankedWindows } from '../../app/windows.ts';
import { Problems } from '../../core/errors.ts';
import { readOptions, toggle } from '../../core/options.ts';
import { picked } from '../../core/picked.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { addOptions, askedOf } from '../options.ts';
import { type DocumentForms, formOption, outputsOf, writeOutputs } from '../output.ts';
import { terminal } from '../terminal.ts';

const OUTPUTS = {
  json: toggle('--json', 'print one JSON document'),
  html: formOption('--html [file]', 'write one self-contained page'),
  csv: formOption('--csv [file]', 'write the numbers as a table'),
};
const FORMS = ['html', 'csv'] as const;
const OPTIONS = { ...OUTPUTS, ...PROFILE_OPTIONS };
const COMMON = [...(['window', 'filter', 'omitNames', 'html', 'csv', 'json'] as const)];

/** `reprise profile DIR`: the traffic of a capture, or of a dataset's document, in numbers. */
export function profileCommand(): Command {
  return addOptions(new Command('profile'), OPTIONS, COMMON)
    .description('Describe the traffic of a capture in numbers: no payload and no secret is in them.')
    .argument('[capture]', 'the directory of a capture; none with --document')
    .action(async (directory: string | undefined, _: object, command: Command) => {
      const asked = askedOf(command, OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(OUTPUTS, asked, problems), FORMS, problems);
      const options = resolveProfileOptions(asked, problems);
      // A profile needs no key, but an invalid one is an error as in other commands.
      encryptionKeyOf(options);
      const document = await profileNamed(directory, asked, options);
      writeOutputs(profileForms(document), outputs, terminal);
    });
}

function profileForms(document: ProfileDocument): DocumentForms<(typeof FORMS)[number]> {
  return {
    json: document,
    text: () => profileText(document),
    rendered: {
      html: { called: 'page', render: () => profilePage(document, pageAssets()) },
      csv: { called: 'table', render: () => profileCsv(document) },
    },
  };
}

const RANKING_OUTPUTS = picked(OUTPUTS, 'json', 'html');
const WINDOWS_OPTIONS = { ...RANKING_OPTIONS, ...RANKING_OUTPUTS };

/** `reprise windows DIR`: which window of a capture is the hardest for a server. */
export function windowsCommand(): Command {
  return addOptions(new Command('windows'), WINDOWS_OPTIONS)
    .description('Rank the windows of a capture by how hard they are for a server, and name the hardest.')
    .argument('<capture>', 'the directory of a capture')
    .action((directory: string, _: object, command: Command) => {
      const asked = askedOf(command, WINDOWS_OPTIONS);
      const problems = new Problems();
      const outputs = outputsOf(readOptions(RANKING_OUTPUTS, asked, problems), ['html'], problems);
      const document = rankedWindows(directory, asked, problems);
      const forms = {
        json: document,
        text: () => windowsText(document),
        rendered: { html: { called: 'page', render: () => windowsPage(document, pageAssets()) } },
      };
      writeOutputs(forms, outputs, terminal);
    });
}
