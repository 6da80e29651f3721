import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import { yieldProcessor } from './sealing.ts';

/** The end of what a command said, for the log. */
const SAID_CHARS = 500;

/**
 * One run of a user's command by `sh -c`, without input and at low priority. Its processes are a group of their
 * own: Ctrl-C does not reach them, and what it left running in the background ends with it.
 *
 * A process that it put into a session of its own is out of our reach, and may hold the output open for as long as
 * it lives. So the run is over with the command; what was said until then is waited for a moment.
 */
export class CommandRun {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #over: Promise<string | null>;
  #resolve: (failure: string | null) => void = () => undefined;
  #said = '';
  #grace: NodeJS.Timeout | null = null;

  /** @param words what the command finds in `$1`, `$2` … */
  constructor(command: string, words: readonly string[], environment: Readonly<Record<string, string>>) {
    this.#child = spawn('sh', ['-c', command, 'reprise', ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
      detached: true,
    });
    this.#over = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#said = (this.#said + text).slice(-SAID_CHARS);
      });
    }
    this.#child.on('error', (error) => this.#settle(reasonOf(error)));
    this.#child.on('exit', () => this.#exited());
    this.#child.on('close', (code, signal) => this.#ended(code, signal));
    yieldProcessor(this.#child.pid);
  }

  /** Null when the command ended with 0 in time; else why not, with the end of what it said. Never rejects. */
  async failureWithin(limitMs: number): Promise<string | null> {
    let late = false;
    const timer = setTimeout(() => {
      late = !this.#hasExited;
      this.end();
    }, limitMs);
    const failure = await this.#over;
    clearTimeout(timer);
    if (!late) return failure;
    return [`it took longer than ${limitMs} ms`, this.#said.trim()].filter(Boolean).join(': ');
  }

  /** Tells all its processes to end, and after a moment ends them. */
  end(): void {
    // What is left after its end is not waited for anyhow, and its number may be somebody else's by then.
    if (this.#hasExited) return;
    this.#signal('SIGTERM');
    this.#grace ??= setTimeout(() => this.#signal('SIGKILL'), SUPERVISION.commandGraceMs);
  }

  get #hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #exited(): void {
    this.#signal('SIGKILL');
    if (this.#grace) clearTimeout(this.#grace);
    // `close` comes with the end of the output, which a process of another session may hold.
    this.#grace = setTimeout(() => {
      this.#child.stdout.destroy();
      this.#child.stderr.destroy();
    }, SUPERVISION.commandGraceMs);
  }

  #ended(code: number | null, signal: NodeJS.Signals | null): void {
    const how = `it ended with ${signal ?? code}`;
    this.#settle(code === 0 ? null : [how, this.#said.trim()].filter(Boolean).join(': '));
  }

  #settle(failure: string | null): void {
    if (this.#grace) clearTimeout(this.#grace);
    this.#resolve(failure);
  }

  /** To all of the command's processes; those that ended already, or became another user's, hear nothing. */
  #signal(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && /^(ESRCH|EPERM)$/.test(String(error.code))))
        throw error;
    }
  }
}
