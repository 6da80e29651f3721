import { assemble, type CommandEntry, type Prepared, warnOfUnknownVariables } from '../program.ts';

/** Every command, in the order in which help lists them. */
export const COMMANDS: readonly CommandEntry[] = [
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
    name: 'show',
    summary: 'show requests of a capture or a run, with their answers and times',
    load: async () => (await import('./show.ts')).showCommand(),
  },
  {
    name: 'profile',
    summary: 'describe the traffic of a capture in numbers that are safe to share',
    load: async () => (await import('./profile.ts')).profileCommand(),
  },
  {
    name: 'replay',
    summary: 'play a capture back against a target',
    load: async () => (await import('./replay.ts')).replayCommand(),
  },
  {
    name: 'run',
    summary: 'run a named test: a scenario file, or a preset on a capture',
    load: async () => (await import('./run.ts')).runCommand(COMMANDS),
  },
  {
    name: 'capacity',
    summary: 'find how many times the recorded traffic a target can take',
    load: async () => (await import('./capacity.ts')).capacityCommand(),
  },
  {
    name: 'merge',
    summary: 'merge the runs of all shards and judge them as one',
    load: async () => (await import('./merge.ts')).mergeCommand(),
  },
  {
    name: 'report',
    summary: 'report the results of a run, as text, Markdown, JSON or one page',
    load: async () => (await import('./report.ts')).reportCommand(),
  },
  {
    name: 'compare',
    summary: 'compare two runs, a run and its recording, or two profiles',
    load: async () => (await import('./compare.ts')).compareCommand(),
  },
  {
    name: 'gate',
    summary: 'answer Argo Rollouts and Flagger whether a deployment may go on',
    load: async () => (await import('./gate.ts')).gateCommand(COMMANDS),
  },
  {
    name: 'history',
    summary: 'show the runs of a history, and where a metric changed',
    load: async () => (await import('./history.ts')).historyCommand(),
  },
  {
    name: 'publish',
    summary: 'put a run into MLflow, W&B or ClearML, or into one JSON file',
    load: async () => (await import('./publish.ts')).publishCommand(),
  },
  {
    name: 'import',
    summary: "build a capture from another tool's files",
    load: async () => (await import('./import.ts')).importCommand(),
  },
  {
    name: 'selftest',
    summary: 'measure the highest rate at which this machine sends on time',
    load: async () => (await import('./selftest.ts')).selftestCommand(),
  },
  {
    name: 'export',
    summary: "turn a capture into another tool's file",
    load: async () => (await import('./export.ts')).exportCommand(),
  },
  {
    name: 'mock',
    summary: 'answer requests with the recorded answers of a capture',
    load: async () => (await import('./mock.ts')).mockCommand(),
  },
  {
    name: 'doctor',
    summary: 'check whether this host is ready to record and replay',
    load: async () => (await import('./doctor.ts')).doctorCommand(),
  },
  {
    name: 'verify',
    summary: 'check the integrity of a capture',
    load: async () => (await import('./verify.ts')).verifyCommand(),
  },
  {
    name: 'forget',
    summary: 'remove the exchanges of a session, a client or a time range',
    load: async () => (await import('./forget.ts')).forgetCommand(),
  },
  {
    name: 'status',
    summary: 'show the state of a running recording, as text or as a live page',
    load: async () => (await import('./status.ts')).statusCommand(),
  },
  {
    name: 'drain',
    summary: 'stop a recording gracefully and wait for its end',
    load: async () => (await import('./control.ts')).drainCommand(),
  },
  {
    name: 'pause',
    summary: 'pause recording; forwarding continues',
    load: async () => (await import('./control.ts')).changeCommand('pause'),
  },
  {
    name: 'resume',
    summary: 'resume recording after a pause',
    load: async () => (await import('./control.ts')).changeCommand('resume'),
  },
  {
    name: 'faults',
    summary: 'make a dependency of a server slow, cut, refuse or answer errors',
    load: async () => (await import('./faults.ts')).faultsCommand(),
  },
  {
    name: 'completion',
    summary: 'print a script that completes commands and flags in bash, zsh or fish',
    load: async () => (await import('../completion.ts')).completionCommand(COMMANDS),
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
 * @throws AppError OPTION_INVALID for an invalid configuration or variable.
 */
export async function prepare(args: readonly string[]): Promise<Prepared> {
  const prepared = await assemble(args, COMMANDS);
  const { program } = prepared;
  program.hook('preAction', (_, command) => warnOfUnknownVariables(program, command, COMMANDS));
  return prepared;
}
