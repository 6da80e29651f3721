import { Command, Option } from 'commander';
import { LOG_FORMATS } from './log-formats.ts';
import { VERSION } from './version.ts';

/** The name of the command that a command line means; empty where it names none. */
export function commandOf(args: readonly string[]): string {
  return bareProgram().parseOptions([...args]).operands[0] ?? '';
}

/** The program with what holds for every command, and without its commands. */
export function bareProgram(): Command {
  return new Command('reprise')
    .description(
      'Records the real traffic of a model server and plays it back against staging, ' +
        'with the arrival pattern and payload mix that production had.',
    )
    .version(VERSION)
    .addOption(
      new Option(
        '--log-format <format>',
        'form of the logs on stderr (default: pretty on a terminal, else json)',
      ).choices(LOG_FORMATS),
    )
    .configureHelp({ showGlobalOptions: true })
    .option(
      '--config <file>',
      'settings as YAML: a section for each command, its flags without dashes as keys',
    )
    .addHelpText(
      'afterAll',
      '\nEvery option can also be given as a variable (--max-disk is REPRISE_MAX_DISK) or in a file (--config).',
    )
    .exitOverride()
    .configureOutput({ outputError: () => {} });
}
