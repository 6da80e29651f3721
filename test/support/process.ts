import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { atFileEnd } from './leftovers.ts';
import { repositoryRoot } from './shared-data.ts';

export interface Finished {
  /** Exit status; null if a signal ended the process. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly cwd?: string;
  /** Added to the environment of the test run; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string;
  /** Whether it leads its own process group, like a command in a terminal. */
  readonly ownGroup?: boolean;
  /** Control groups of it and its children: directories with a `cgroup.procs`. */
  readonly controlGroups?: readonly string[];
  /** The limit of open files for it and its children. */
  readonly openFiles?: number;
  /** A command that runs the given command in its place, such as `nice -n 5`. */
  readonly through?: readonly string[];
}

/** A process under test. It ends with the test file at the latest. */
export class RunningProcess {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout = '';
  stderr = '';

  constructor(command: string, args: readonly string[], options: ProcessOptions = {}) {
    const spawnOptions: SpawnOptions = {
      stdio: 'pipe',
      env: environmentOf(options),
      detached: options.ownGroup ?? false,
    };
    if (options.cwd !== undefined) spawnOptions.cwd = options.cwd;
    const limit =
      options.openFiles === undefined ? [] : ['sh', '-c', `ulimit -n ${options.openFiles}; exec "$0" "$@"`];
    const [first = command, ...rest] = [...limit, ...(options.through ?? []), command, ...args];
    this.child = spawn(first, rest, spawnOptions);
    for (const group of options.controlGroups ?? []) {
      writeFileSync(join(group, 'cgroup.procs'), String(this.child.pid));
    }
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    // Ignored, because a process may end without reading its input.
    this.child.stdin?.on('error', () => {});
    this.child.stdin?.end(options.stdin ?? '');
    this.finished = this.#end();
    atFileEnd(() => this.kill('SIGKILL'));
  }

  /** Waits until the output matches `pattern`, and returns the match. Fails if the process ends first. */
  async waitFor(stream: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this[stream]);
      if (match) return match;
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        await this.finished;
        const late = pattern.exec(this[stream]);
        if (late) return late;
        throw new Error(
          `process ended before ${pattern} was seen on ${stream}\n${this.stdout}\n${this.stderr}`,
        );
      }
      await Promise.race([once(this.child[stream] as NodeJS.ReadableStream, 'data'), this.finished]);
    }
  }

  async kill(signal: NodeJS.Signals): Promise<Finished> {
    this.child.kill(signal);
    return await this.finished;
  }

  async #end(): Promise<Finished> {
    const [status, signal] = (await once(this.child, 'close')) as [number | null, NodeJS.Signals | null];
    return { status, signal, stdout: this.stdout, stderr: this.stderr };
  }
}

/** Starts `reprise ARGS` from this checkout directly, without a launcher in between. */
export function startReprise(args: readonly string[], options: ProcessOptions = {}): RunningProcess {
  return new RunningProcess(process.execPath, [join(repositoryRoot, 'bin', 'reprise.js'), ...args], options);
}

/** Starts any command. */
export function startProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): RunningProcess {
  return new RunningProcess(command, args, options);
}

/** Runs `reprise ARGS` to its end. */
export async function runReprise(args: readonly string[], options: ProcessOptions = {}): Promise<Finished> {
  return await startReprise(args, options).finished;
}

/** Runs any command to its end. */
export async function runProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<Finished> {
  return await new RunningProcess(command, args, options).finished;
}

function environmentOf(options: ProcessOptions): NodeJS.ProcessEnv {
  // Variables of the test run itself must not reach the command, which reads REPRISE_* as its flags.
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(REPRISE_|VITEST|NODE_OPTIONS)/.test(name),
  );
  const environment: NodeJS.ProcessEnv = Object.fromEntries(inherited);
  for (const [name, value] of Object.entries(options.env ?? {})) {
    if (value === undefined) delete environment[name];
    else environment[name] = value;
  }
  return environment;
}
