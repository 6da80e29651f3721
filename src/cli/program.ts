import { Command, Help, type Option } from 'commander';
import { VERSION } from '../app/package.ts';
import { AppError } from '../core/errors.ts';
import { choice, text } from '../core/options.ts';
import type { CommandFacts } from './command-table.ts';
import { environmentSource, nearest, unknownVariables, variableOf } from './config/environment.ts';
import type { ConfigFile } from './config/file.ts';
import { addOptions, isRare, pathOf, setSources } from './options.ts';
import { LOG_FORMATS } from './terminal.ts';

/** A command by name. Its modules are loaded only if it runs. */
export interface CommandEntry extends CommandFacts {
  readonly load: () => Promise<Command>;
}

/** A program about to parse its command line. */
export interface Prepared {
  readonly program: Command;
  /** The configuration file in force; null without one. */
  readonly config: ConfigFile | null;
}

/** Options of every command. */
export const PROGRAM_OPTIONS = {
  logFormat: choice(
    '--log-format <format>',
    'log format on stderr (default: pretty on a terminal, else json)',
    LOG_FORMATS,
  ),
  config: text(
    '--config <file>',
    'YAML settings: one section per command, with flag names without dashes as keys',
    // An empty value counts as absent, like an empty variable.
    { mayBeEmpty: true },
  ),
};

/** Shows every flag. `--help` shows only flags that most runs need. */
const HELP_ALL = '--help-all';

/**
 * The program with the options of every command, but without its commands.
 * @param explains whether help shows every flag, in groups
 */
export function bareProgram(explains = false): Command {
  const program = new Command('reprise')
    .description(
      'Records the real traffic of a model server and plays it back against staging, ' +
        'with the arrival pattern and payload mix that production had.',
    )
    .version(VERSION)
    .configureHelp({
      showGlobalOptions: explains,
      subcommandTerm: (command) => command.name(),
      visibleOptions(command) {
        const visible = Help.prototype.visibleOptions.call(this, command);
        return explains ? visible : visible.filter((option) => !isRare(option));
      },
    })
    .addHelpText('afterAll', ({ command }) => {
      const rare = explains ? 0 : command.options.filter(isRare).length;
      const more = `\n${rare} more flags, by subject: reprise ${pathOf(command).join(' ')} ${HELP_ALL}`;
      return `${rare === 0 ? '' : more}\nEvery flag is also a variable (--max-disk is REPRISE_MAX_DISK), or a key of the\nfile of --config.`;
    })
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  if (explains) program.helpOption(HELP_ALL, 'show every flag of a command');
  return addOptions(program, PROGRAM_OPTIONS);
}

/**
 * The program for a command line. It has the named command in full, and the others by name only. Options are read from
 * the command line, the environment and the configuration file.
 * @throws AppError OPTION_INVALID for an invalid configuration
 */
export async function assemble(args: readonly string[], entries: readonly CommandEntry[]): Promise<Prepared> {
  const program = bareProgram(args.includes(HELP_ALL));
  const { operands } = program.parseOptions([...args]);
  const wanted = operands[0] === 'help' ? operands[1] : operands[0];
  for (const entry of entries) {
    if (entry.name === wanted) program.addCommand(inherit(await entry.load(), program));
    else program.command(entry.name).description(entry.summary);
  }
  refuseMistyped(program, args);
  const config = await configOf(program, entries);
  setSources(program, [environmentSource(process.env), ...(config === null ? [] : [config])]);
  return { program, config };
}

/**
 * Rejects an unknown flag before any other check, because a mistyped flag often causes other problems.
 * @throws AppError OPTION_INVALID naming the nearest flag
 */
function refuseMistyped(program: Command, args: readonly string[]): void {
  let command = program;
  let known = optionsIn(program);
  // `config print` checks the command line in its arguments itself, as one of the named command.
  for (let at = 0; at < args.length && args[at] !== '--' && command.name() !== 'config'; at += 1) {
    const [name = ''] = (args[at] ?? '').split('=');
    const option = known.get(name);
    if (option?.required) {
      const next = args[at + 1] ?? '';
      if (args[at] !== name) continue;
      if (known.has(next) && next.startsWith('--'))
        throw new AppError('OPTION_INVALID', `${name} has no value: ${next} follows it`);
      if (!/^--[a-z][\w-]*(?:=|$)/.test(next)) at += 1;
    } else if (option === undefined && name.startsWith('--')) {
      const meant = MEANT[name]?.find((each) => known.has(each));
      const near = meant ?? nearest(name, [...known.keys()], '--');
      const help = `reprise ${[...pathOf(command), HELP_ALL].join(' ')} lists the flags.`;
      throw new AppError('OPTION_INVALID', `unknown option '${name}'`, {
        hint: near === null ? help : `Did you mean ${near}?`,
      });
    } else if (option === undefined) {
      const named = command.commands.find((each) => each.name() === name);
      // With an unknown command, its flags are unknown too. Commander reports the command.
      if (named === undefined && command === program) return;
      command = named ?? command;
      known = new Map([...known, ...optionsIn(command)]);
    }
  }
}

/** The flags of other commands or tools, and what they are here: the first that the command has. */
const MEANT: Readonly<Record<string, readonly string[]>> = {
  '--dir': ['--out'],
  '--out': ['--dir', '--html'],
  '--output': ['--out', '--dir', '--html'],
  '--port': ['--listen'],
  '--url': ['--target'],
  '--host': ['--target'],
  '--upstream': ['--target'],
  '--window': ['--from'],
  '--qps': ['--rate', '--max-rate'],
  '--rps': ['--rate', '--max-rate'],
  '--vus': ['--concurrency'],
  '--users': ['--concurrency'],
  '--threshold': ['--slo'],
  '--time': ['--duration'],
};

/** The flags of a command by each of their names. */
function optionsIn(command: Command): Map<string, Option> {
  const all = [...command.options, ...command.createHelp().visibleOptions(command)];
  return new Map(
    all.flatMap((option) => (option.flags.match(/--?[\w-]+/g) ?? []).map((name) => [name, option])),
  );
}

export function everyCommand(entries: readonly CommandEntry[]): Promise<Command[]> {
  return Promise.all(entries.map((entry) => entry.load()));
}

/** The file named by `--config` or its variable, checked against all commands. */
async function configOf(program: Command, entries: readonly CommandEntry[]): Promise<ConfigFile | null> {
  const path = program.opts<{ config?: string }>().config ?? process.env[variableOf('--config')] ?? '';
  if (path === '') return null;
  // Imported only here, because a small command would load more modules for YAML than for itself.
  const { ConfigFile } = await import('./config/file.ts');
  return ConfigFile.read(path, program, await everyCommand(entries));
}

/** Makes a command that was built elsewhere, and its subcommands, handle errors and help as the program does. */
function inherit(command: Command, program: Command): Command {
  command.copyInheritedSettings(program);
  command.exitOverride((error) => {
    if (error.code !== 'commander.missingArgument') throw error;
    throw withUsage(error.message, command);
  });
  for (const child of command.commands) inherit(child, program);
  return command;
}

/** The error for an argument that is missing. */
function withUsage(message: string, command: Command): AppError {
  const wanted = command.registeredArguments.filter(({ required }) => required);
  const names = wanted.map((each) => each.name().toUpperCase()).join(' ');
  const means = wanted.map((each) => `${each.name().toUpperCase()} is ${each.description}`).join('; ');
  return new AppError('OPTION_INVALID', message.replace(/^error: /, ''), {
    hint: `reprise ${[...pathOf(command), names].join(' ')}: ${means}.`,
  });
}

/** Logs each variable that belongs to no flag of any command. */
export async function warnOfUnknownVariables(
  program: Command,
  command: Command,
  entries: readonly CommandEntry[],
): Promise<void> {
  // If all variables belong to flags of the program, no other command has to be loaded.
  if (unknownVariables([program], process.env).length === 0) return;
  const { loggerOf } = await import('./logger.ts');
  const all = [program, ...(await everyCommand(entries))];
  for (const { name, suggestion } of unknownVariables(all, process.env)) {
    const advice = suggestion === null ? {} : { didYouMean: suggestion };
    loggerOf(command).warn({ variable: name, ...advice }, 'unknown variable is ignored');
  }
}
