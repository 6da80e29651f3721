import { Command } from 'commander';
import { PUBLISH_OPTIONS, type PublishedTo, publish } from '../../app/publish/publish.ts';
import { toggle } from '../../core/options.ts';
import { countOf } from '../../core/units.ts';
import { addOptions, optionsOf } from '../options.ts';
import { terminal } from '../terminal.ts';

const OPTIONS = { ...PUBLISH_OPTIONS, json: toggle('--json', 'print one JSON document') };

/** `reprise publish RUN --to …`: copies a run into an experiment tracker. */
export function publishCommand(): Command {
  return addOptions(new Command('publish'), OPTIONS)
    .description(
      'Put a run, or a search with its steps, into an experiment tracker. Addresses of machines are left out. ' +
        'Credentials of MLflow come from MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD.',
    )
    .argument('<run>', 'directory of a run, or of a search by capacity')
    .action(async (directory: string, _: object, command: Command) => {
      const { json, ...request } = optionsOf(command, OPTIONS);
      const published: PublishedTo[] = [];
      try {
        await publish(directory, request, process.env, (each) => {
          published.push(each);
          terminal.note(...each.notes.map((note) => `${each.to}: ${note}`));
          if (!json) terminal.print(lineOf(each));
        });
      } finally {
        if (json && published.length > 0) terminal.json(published);
      }
    });
}

function lineOf({ to, run, children }: PublishedTo): string {
  return `${to}: ${run}${children === 0 ? '' : ` with ${countOf(children, 'step')}`}`;
}
