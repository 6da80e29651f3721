import { assemble, type CommandEntry, type Prepared, warnOfUnknownVariables } from '../program.ts';

/** Every command, in the order in which help lists them. */
const COMMANDS: readonly CommandEntry[] = [
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
    load: async () => (await import('./control.ts')).pauseCommand(),
  },
  {
    name: 'resume',
    summary: 'record again after a pause',
    load: async () => (await import('./control.ts')).resumeCommand(),
  },
  {
    name: 'config',
    summary: 'print the settings in force and where each comes from',
    load: async () => (await import('./config.ts')).configCommand(COMMANDS),
  },
];

/**
 * The program that runs a command line.
 * @param args Without `node` and the script.
 * @throws AppError OPTION_INVALID for a configuration or a variable that cannot be meant.
 */
export async function prepare(args: readonly string[]): Promise<Prepared> {
  const prepared = await assemble(args, COMMANDS);
  const { program } = prepared;
  program.hook('preAction', (_, command) => warnOfUnknownVariables(program, command, COMMANDS));
  return prepared;
}
