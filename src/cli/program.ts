import type { Command } from 'commander';
import { AppError } from '../core/errors.ts';
import { bareProgram } from './bare-program.ts';
import type { ConfigFile } from './config-file.ts';
import { bindEnvironment, unknownVariables, variableOf } from './environment.ts';

interface Entry {
  readonly name: string;
  readonly summary: string;
  /** Loads the command with all it needs; `reprise --help` needs none of it. */
  readonly load: () => Promise<Command>;
}

const COMMANDS: readonly Entry[] = [
  {
    name: 'record',
    summary: 'record the traffic of a model server while it passes through',
    load: async () => (await import('./record.ts')).recordCommand(),
  },
  {
    name: 'inspect',
    summary: 'show what a capture holds',
    load: async () => (await import('./inspect.ts')).inspectCommand(),
  },
  {
    name: 'profile',
    summary: 'describe the traffic of a capture in numbers that may be handed on',
    load: async () => (await import('./profile.ts')).profileCommand(),
  },
  {
    name: 'replay',
    summary: 'play a capture back against a target',
    load: async () => (await import('./replay.ts')).replayCommand(),
  },
  {
    name: 'merge',
    summary: 'put the runs of all shards together and judge them as one',
    load: async () => (await import('./merge.ts')).mergeCommand(),
  },
  {
    name: 'report',
    summary: 'say what a run showed, as text, Markdown, JSON or one page',
    load: async () => (await import('./report.ts')).reportCommand(),
  },
  {
    name: 'compare',
    summary: 'say whether a run, or the traffic, is better or worse than another',
    load: async () => (await import('./compare.ts')).compareCommand(),
  },
  {
    name: 'import',
    summary: "build a capture from another tool's files",
    load: async () => (await import('./import.ts')).importCommand(),
  },
  {
    name: 'selftest',
    summary: 'say up to which rate this machine keeps a schedule',
    load: async () => (await import('./selftest.ts')).selftestCommand(),
  },
  {
    name: 'export',
    summary: "turn a capture into another tool's file",
    load: async () => (await import('./export.ts')).exportCommand(),
  },
  {
    name: 'doctor',
    summary: 'check what this host offers to a recording and a replay',
    load: async () => (await import('./doctor.ts')).doctorCommand(),
  },
  {
    name: 'verify',
    summary: 'check that a capture is what was written',
    load: async () => (await import('./verify.ts')).verifyCommand(),
  },
  {
    name: 'forget',
    summary: 'remove what a session, a client or a time left behind',
    load: async () => (await import('./forget.ts')).forgetCommand(),
  },
  {
    name: 'status',
    summary: 'say how a running recording fares, or show it as a page',
    load: async () => (await import('./status.ts')).statusCommand(),
  },
  {
    name: 'drain',
    summary: 'stop a recording in good order and wait for its end',
    load: async () => (await import('./drain.ts')).drainCommand(),
  },
  {
    name: 'pause',
    summary: 'stop recording and go on forwarding',
    load: async () => (await import('./pause.ts')).pauseCommand(),
  },
  {
    name: 'resume',
    summary: 'record again after a pause',
    load: async () => (await import('./resume.ts')).resumeCommand(),
  },
  {
    name: 'config',
    summary: 'print the settings in force and where each comes from',
    load: async () => (await import('./config.ts')).configCommand(SETTINGS),
  },
];

/** The commands and their settings, for the command that explains them. */
const SETTINGS: Settings = {
  everyCommand: () => everyCommand(true),
  bareProgram: () => bareProgram(),
  prepare: (args) => assemble(args),
};

/** What explaining the settings takes. */
export interface Settings {
  /** All commands, loaded. */
  everyCommand(): Promise<Command[]>;
  /** The program without its commands. */
  bareProgram(): Command;
  prepare(args: readonly string[]): Promise<Prepared>;
}

/** A program about to parse its command line. */
export interface Prepared {
  readonly program: Command;
  /** The configuration file in force; null without one. */
  readonly config: ConfigFile | null;
}

/**
 * The program that runs a command line.
 * @param args Without `node` and the script.
 * @throws AppError OPTION_INVALID for a configuration or a variable that cannot be meant.
 */
export async function prepare(args: readonly string[]): Promise<Prepared> {
  const prepared = await assemble(args);
  const { program } = prepared;
  program.hook('preAction', (_, command) => warnOfUnknownVariables(program, command));
  return prepared;
}

/**
 * The program for a command line, holding the named command in full and the others by name alone, with the
 * configuration file applied and the variables bound.
 */
async function assemble(args: readonly string[]): Promise<Prepared> {
  const program = bareProgram();
  const { operands } = program.parseOptions([...args]);
  const wanted = operands[0] === 'help' ? operands[1] : operands[0];
  for (const entry of COMMANDS) {
    if (entry.name === wanted) program.addCommand(inherit(await entry.load(), program));
    else program.command(entry.name).description(entry.summary);
  }
  const config = await configOf(program);
  if (config !== null) {
    config.apply(program);
    for (const command of program.commands) config.apply(command, [command.name()]);
  }
  bindEnvironment(program, process.env);
  program.hook('preAction', (_, command) => refuseEmptyPaths(command));
  return { program, config };
}

/** The file that `--config` or its variable names, checked against every command there is. */
async function configOf(program: Command): Promise<ConfigFile | null> {
  const path = program.opts<{ config?: string }>().config ?? process.env[variableOf('--config')] ?? '';
  if (path === '') return null;
  // Most modules of a small command would be those that read and check YAML.
  const { ConfigFile } = await import('./config-file.ts');
  return ConfigFile.read(path, program, await everyCommand(true));
}

function everyCommand(withConfig: boolean): Promise<Command[]> {
  const entries = COMMANDS.filter((entry) => withConfig || entry.name !== 'config');
  return Promise.all(entries.map((entry) => entry.load()));
}

/** Errors and help of a command built elsewhere, and of those below it, take the program's way. */
function inherit(command: Command, program: Command): Command {
  command.copyInheritedSettings(program);
  for (const child of command.commands) inherit(child, program);
  return command;
}

/** What only the recording of `record` needs: without it none is made, which is loud, and traffic flows. */
const KEEPS_NO_TRAFFIC_AWAY: ReadonlySet<string> = new Set(['dir', 'hashKeyFile', 'encryptionKeyFile']);

/**
 * `--dir "$CAPTURE"` without that variable names no place at all.
 * @throws AppError OPTION_INVALID
 */
function refuseEmptyPaths(command: Command): void {
  for (const option of command.options) {
    if (command.name() === 'record' && KEEPS_NO_TRAFFIC_AWAY.has(option.attributeName())) continue;
    const [, kind] = /<(directory|file)>/.exec(option.flags) ?? [];
    if (kind === undefined || command.getOptionValue(option.attributeName()) !== '') continue;
    throw new AppError('OPTION_INVALID', `${option.long}: the name of the ${kind} is empty`, {
      hint: 'Is a variable in the command line set?',
    });
  }
}

async function warnOfUnknownVariables(program: Command, command: Command): Promise<void> {
  if (unknownVariables([program], process.env).length === 0) return;
  const { loggerOf } = await import('./logger.ts');
  for (const { name, suggestion } of unknownVariables(
    [program, ...(await everyCommand(true))],
    process.env,
  )) {
    const advice = suggestion === null ? {} : { didYouMean: suggestion };
    loggerOf(command).warn({ variable: name, ...advice }, 'unknown variable is ignored');
  }
}
