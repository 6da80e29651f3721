import { COMMAND_TABLE, type CommandFacts, type CommandName } from '../command-table.ts';
import { assemble, type CommandEntry, type Prepared, warnOfUnknownVariables } from '../program.ts';

/** Loads the modules of a command. */
const LOADS: Readonly<Record<CommandName, CommandEntry['load']>> = {
  record: async () => (await import('./record.ts')).recordCommand(),
  inspect: async () => (await import('./inspect.ts')).inspectCommand(),
  show: async () => (await import('./show.ts')).showCommand(),
  profile: async () => (await import('./profile.ts')).profileCommand(),
  windows: async () => (await import('./profile.ts')).windowsCommand(),
  replay: async () => (await import('./replay.ts')).replayCommand(),
  init: async () => (await import('./run.ts')).initCommand(),
  run: async () => (await import('./run.ts')).runCommand(COMMANDS),
  capacity: async () => (await import('./capacity.ts')).capacityCommand(),
  statement: async () => (await import('./statement.ts')).statementCommand(),
  merge: async () => (await import('./merge.ts')).mergeCommand(),
  report: async () => (await import('./report.ts')).reportCommand(),
  explain: async () => (await import('./report.ts')).explainCommand(),
  compare: async () => (await import('./compare.ts')).compareCommand(),
  gate: async () => (await import('./gate.ts')).gateCommand(COMMANDS),
  history: async () => (await import('./history.ts')).historyCommand(),
  publish: async () => (await import('./publish.ts')).publishCommand(),
  import: async () => (await import('./import.ts')).importCommand(),
  selftest: async () => (await import('./selftest.ts')).selftestCommand(),
  export: async () => (await import('./export.ts')).exportCommand(),
  mock: async () => (await import('./mock.ts')).mockCommand(),
  doctor: async () => (await import('./selftest.ts')).doctorCommand(),
  verify: async () => (await import('./verify.ts')).verifyCommand(),
  forget: async () => (await import('./forget.ts')).forgetCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  drain: async () => (await import('./control.ts')).drainCommand(),
  pause: async () => (await import('./control.ts')).changeCommand('pause'),
  resume: async () => (await import('./control.ts')).changeCommand('resume'),
  faults: async () => (await import('./faults.ts')).faultsCommand(),
  completion: async () => (await import('../completion.ts')).completionCommand(COMMANDS),
  config: async () => (await import('./config.ts')).configCommand(COMMANDS),
};

export const COMMANDS: readonly CommandEntry[] = COMMAND_TABLE.map((facts: CommandFacts) => ({
  ...facts,
  load: LOADS[facts.name as CommandName],
}));

/**
 * The program that runs a command line.
 * @param args Without `node` and the script.
 * @throws AppError OPTION_INVALID for an invalid configuration or variable.
 */
export async function prepare(args: readonly string[]): Promise<Prepared> {
  const prepared = await assemble(args, COMMANDS);
  const { program } = prepared;
  program.hook('preAction', (_, command) => warnOfUnknownVariables(program, command, COMMANDS));
  return prepared;
}
