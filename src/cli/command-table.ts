/** Facts about a command that are needed before its modules are loaded, or instead of them. It imports nothing. */
export interface CommandFacts {
  readonly name: string;
  readonly summary: string;
  /** What its process must do on time, which decides how V8 starts; absent for nothing. */
  readonly process?: 'forwards' | 'sends';
  /**
   * Whether it runs in a thread: it reads millions of exchanges, only a thread can be held to a small heap, and the
   * main thread must never wait for a thread of a run.
   */
  readonly inThread?: boolean;
  /** Whether a scenario can run it. */
  readonly inScenario?: boolean;
}

/** Every command, in the order in which help lists them. */
export const COMMAND_TABLE = [
  {
    name: 'record',
    summary: 'record the traffic of a model server while it passes through',
    process: 'forwards',
  },
  { name: 'inspect', summary: 'show what a capture holds' },
  { name: 'show', summary: 'show exchanges of a capture or requests of a run, with answers and times' },
  { name: 'profile', summary: 'describe the traffic of a capture in numbers that are safe to share' },
  {
    name: 'windows',
    summary: 'rank the windows of a capture by how hard they are for a server',
    inThread: true,
  },
  {
    name: 'replay',
    summary: 'replay a capture against a target',
    process: 'sends',
    inThread: true,
    inScenario: true,
  },
  {
    name: 'init',
    summary: 'write a first scenario for a capture, with objectives from its recorded latencies',
  },
  { name: 'run', summary: 'run a named test: a scenario file, or a preset on a capture', process: 'sends' },
  {
    name: 'capacity',
    summary: 'find how many times the recorded traffic a target can take',
    process: 'sends',
    inThread: true,
    inScenario: true,
  },
  {
    name: 'statement',
    summary: 'say on one page what load a service holds, and where it breaks',
    process: 'sends',
    inThread: true,
    inScenario: true,
  },
  { name: 'merge', summary: 'merge the runs of all shards and judge them as one' },
  { name: 'report', summary: 'report the results of a run, as text, Markdown, JSON or one page' },
  {
    name: 'explain',
    summary: 'explain why a run violated its objectives, with the requests that show it',
    inThread: true,
  },
  { name: 'compare', summary: 'compare two runs, a run and its recording, or two profiles' },
  {
    name: 'gate',
    summary: 'answer Argo Rollouts and Flagger whether a deployment may go on',
    process: 'sends',
  },
  { name: 'history', summary: 'show the runs of a history, and where a metric changed' },
  { name: 'publish', summary: 'put a run into MLflow, W&B or ClearML, or into one JSON file' },
  { name: 'import', summary: "build a capture from another tool's files" },
  {
    name: 'selftest',
    summary: 'measure the highest rate at which this machine sends on time',
    process: 'sends',
    inThread: true,
  },
  { name: 'export', summary: "turn a capture into another tool's file" },
  { name: 'mock', summary: 'answer requests with the recorded answers of a capture' },
  { name: 'doctor', summary: 'check whether this host is ready to record and replay' },
  { name: 'verify', summary: 'check the integrity of a capture' },
  { name: 'forget', summary: 'remove the exchanges of a session, a client or a time range' },
  { name: 'status', summary: 'show the state of a running recording, as text or as a live page' },
  { name: 'drain', summary: 'stop a recording gracefully and wait for its end' },
  { name: 'pause', summary: 'pause recording; forwarding continues' },
  { name: 'resume', summary: 'resume recording after a pause' },
  { name: 'faults', summary: 'make a dependency of a server slow, cut, refuse or answer errors' },
  { name: 'completion', summary: 'print a script that completes commands and flags in bash, zsh or fish' },
  { name: 'config', summary: 'print the settings in force and where each comes from' },
] as const satisfies readonly CommandFacts[];
export type CommandName = (typeof COMMAND_TABLE)[number]['name'];

/** The facts of a command; null if there is none with this name. */
export function commandNamed(name: string | undefined): CommandFacts | null {
  return COMMAND_TABLE.find((each) => each.name === name) ?? null;
}
