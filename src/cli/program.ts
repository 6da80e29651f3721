import { Command, Help, type Option } from 'commander';
import { VERSION } from '../app/package.ts';
import { AppError } from '../core/errors.ts';
import { choice, text } from '../core/options.ts';
import { nearest } from '../core/text.ts';
import type { CommandFacts } from './command-table.ts';
import { environmentSource, unknownVariables, variableOf } from './config/environment.ts';
import type { ConfigFile } from './config/file.ts';
import { insteadOf, refuseRemovedVariables } from './config/removed.ts';
import { addOptions, isRare, optionsOf, pathOf, setSources } from './options.ts';
import { LOG_FORMATS } from './terminal.ts';
import { BEFORE_A_COMMAND, noValue, takesCommand, usageError } from './usage.ts';

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
      'Records the real traffic of a model server and replays it against staging, ' +
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
    .exitOverride((error) => {
      throw usageError(error, program);
    })
    .configureOutput({ outputError: () => {} });
  if (explains) program.helpOption(HELP_ALL, 'show every flag of a command');
  return addOptions(program, PROGRAM_OPTIONS);
}

/**
 * The program for a command line. It has the named command in full, and the others by name only. Options are read from
 * the command line, the environment and the configuration file.
 * @throws AppError OPTION_INVALID for an invalid configuration, or an invalid value of an option of every command
 */
export async function assemble(args: readonly string[], entries: readonly CommandEntry[]): Promise<Prepared> {
  const program = bareProgram(args.includes(HELP_ALL));
  const { operands } = program.parseOptions([...args]);
  const wanted = operands[0] === 'help' ? operands[1] : operands[0];
  for (const entry of entries) {
    if (entry.name === wanted) program.addCommand(inherit(await entry.load(), program));
    else program.command(entry.name).description(entry.summary);
  }
  const names = entries.map(({ name }) => name);
  if (operands[0] === 'help' && wanted !== undefined && !names.includes(wanted)) {
    const near = nearest(wanted, names);
    throw new AppError('OPTION_INVALID', `unknown command '${wanted}'`, {
      hint: near === null ? 'See reprise --help.' : `Did you mean reprise help ${near}?`,
    });
  }
  await refuseMistyped(program, args, entries);
  if (wanted !== undefined) refuseRemovedVariables(wanted, process.env);
  const config = await configOf(program, entries);
  setSources(program, [environmentSource(process.env), ...(config === null ? [] : [config])]);
  optionsOf(program, PROGRAM_OPTIONS);
  return { program, config };
}

/**
 * Rejects an unknown flag before any other check, because a mistyped flag often causes other problems.
 * @throws AppError OPTION_INVALID naming the nearest flag
 */
async function refuseMistyped(
  program: Command,
  args: readonly string[],
  entries: readonly CommandEntry[],
): Promise<void> {
  let command = program;
  let hasArguments = false;
  let known = optionsIn(program);
  // `config print` checks the command line in its arguments itself, as one of the named command.
  for (let at = 0; at < args.length && args[at] !== '--' && command.name() !== 'config'; at += 1) {
    const [name = ''] = (args[at] ?? '').split('=');
    const option = known.get(name);
    if (option?.required) {
      const next = args[at + 1] ?? '';
      if (args[at] !== name) continue;
      if (known.has(next) && next.startsWith('--')) throw noValue(option, next);
      if (!/^--[a-z][\w-]*(?:=|$)/.test(next)) at += 1;
    } else if (option === undefined && name.startsWith('--')) {
      const hint =
        hasArguments && takesCommand(command)
          ? BEFORE_A_COMMAND
          : (insteadOf(pathOf(command)[0] ?? '', name) ?? (await meantBy(name, known, command, entries)));
      throw new AppError('OPTION_INVALID', `unknown option '${name}'`, { hint });
    } else if (option === undefined) {
      const named = command.commands.find((each) => each.name() === name);
      // With an unknown command or format, its flags are unknown too. Commander reports it.
      if (named === undefined && command.commands.length > 0) return;
      if (named === undefined) hasArguments = true;
      command = named ?? command;
      known = new Map([...known, ...optionsIn(command)]);
    }
  }
}

/** What to type instead of an unknown flag. */
async function meantBy(
  name: string,
  known: ReadonlyMap<string, Option>,
  command: Command,
  entries: readonly CommandEntry[],
): Promise<string> {
  const names = [...known.keys()];
  const longer = names.find((each) => each.startsWith(`${name}-`));
  const near = MEANT[name]?.find((each) => known.has(each)) ?? longer ?? nearest(name, names, '--');
  if (near !== null) return `Did you mean ${near}?`;
  const help = `reprise ${[...pathOf(command), HELP_ALL].join(' ')} lists the flags.`;
  const others = (await everyCommand(entries)).filter((each) => optionsIn(each).has(name));
  if (others.length === 0) return help;
  return `It is a flag of ${others.map((each) => each.name()).join(', ')}. ${help}`;
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
  '--since': ['--window', '--from'],
  '--stage': ['--stages'],
  '--insecure-skip-tls-verify': ['--target-tls'],
  '--qps': ['--rate', '--max-rate'],
  '--rps': ['--rate', '--max-rate'],
  '--vus': ['--concurrency'],
  '--users': ['--concurrency'],
  '--at': ['--multiplier'],
  '--mask': ['--redact'],
  '--user': ['--client-name'],
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
    throw usageError(error, command);
  });
  for (const child of command.commands) inherit(child, program);
  return command;
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
