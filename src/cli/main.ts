import { inspect } from 'node:util';
import { Command, Option } from 'commander';
import { bindEnvironment, unknownVariables } from './environment.ts';
import { EXIT, failureOf } from './exit.ts';
import { LOG_FORMATS, loggerOf } from './logger.ts';
import { terminal } from './terminal.ts';
import { VERSION } from './version.ts';

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
    name: 'replay',
    summary: 'play a capture back against a target',
    load: async () => (await import('./replay.ts')).replayCommand(),
  },
  {
    name: 'import',
    summary: "build a capture from another tool's files",
    load: async () => (await import('./import.ts')).importCommand(),
  },
];

/** Runs one command line (without `node` and the script) and leaves its status in `process.exitCode`. */
export async function main(args: readonly string[]): Promise<void> {
  surviveClosedPipes();
  process.on('uncaughtException', (thrown) => {
    fail(thrown);
    process.exit();
  });
  try {
    const program = await programFor(args);
    bindEnvironment(program, process.env);
    program.hook('preAction', (_, command) => warnOfUnknownVariables(program, command));
    await program.parseAsync(args, { from: 'user' });
  } catch (thrown) {
    fail(thrown);
  }
}

/** The program, holding the command that `args` names in full and the others by name alone. */
async function programFor(args: readonly string[]): Promise<Command> {
  const program = new Command('reprise')
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
    .addHelpText(
      'afterAll',
      '\nEvery option can also be given as a variable: --max-disk is REPRISE_MAX_DISK.',
    )
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  const { operands } = program.parseOptions([...args]);
  const wanted = operands[0] === 'help' ? operands[1] : operands[0];
  for (const entry of COMMANDS) {
    if (entry.name === wanted) program.addCommand(inherit(await entry.load(), program));
    else program.command(entry.name).description(entry.summary);
  }
  return program;
}

/** Errors and help of a command built elsewhere, and of those below it, take the program's way. */
function inherit(command: Command, program: Command): Command {
  command.copyInheritedSettings(program);
  for (const child of command.commands) inherit(child, program);
  return command;
}

async function warnOfUnknownVariables(program: Command, command: Command): Promise<void> {
  if (unknownVariables([program], process.env).length === 0) return;
  const everyCommand = await Promise.all(COMMANDS.map((entry) => entry.load()));
  for (const { name, suggestion } of unknownVariables([program, ...everyCommand], process.env)) {
    const advice = suggestion === null ? {} : { didYouMean: suggestion };
    loggerOf(command).warn({ variable: name, ...advice }, 'unknown variable is ignored');
  }
}

function fail(thrown: unknown): void {
  const { status, message, hint } = failureOf(thrown);
  process.exitCode = status;
  if (message === null) return;
  terminal.note(`reprise: ${message}`);
  if (hint !== null) terminal.note(`  hint: ${hint}`);
  if (process.env['REPRISE_DEBUG']) terminal.note(...inspect(thrown).split('\n'));
}

/**
 * `reprise inspect DIR | head -1` closes our stdout while we write. What was asked for still runs to its end,
 * with its own exit status; only the printing stops.
 */
function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED') return;
      process.exitCode = EXIT.unexpected;
    });
  }
}
