import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { Logger } from '../../core/ports.ts';
import {
  isMissing,
  MANIFEST_SUFFIX,
  markHanded,
  sealMark,
  unhandedSegments,
} from '../../storage/capture/directory.ts';
import { RetryQueue } from './retry-queue.ts';
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
class CommandRun {
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
    // Remaining children are not waited for, and the process id may belong to another process by now.
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

const COMMAND_LIMIT_MS = 600_000;
const RETRY_MS = 1_000;

export interface SealHookOptions {
  /** For `sh -c`; it finds the segment in `$1` and its manifest in `$2`. */
  readonly command: string;
  readonly logger: Logger;
  readonly commandLimitMs?: number;
  readonly retryMs?: number;
}

/**
 * Hands sealed segments to a command of the user's, which ships them: one at a time, at low priority, until it
 * ends with 0. A mark beside the segment remembers that it did; what has none is handed over again by the next
 * start, so a command may see a segment twice and must not mind.
 */
export class SealHook {
  readonly #options: SealHookOptions;
  readonly #queue: RetryQueue;

  constructor(options: SealHookOptions) {
    this.#options = options;
    const { logger, retryMs = RETRY_MS } = options;
    this.#queue = new RetryQueue({
      batch: 1,
      // What fails for one segment, such as a bucket that is away, fails for all.
      pausesAll: true,
      retryMs,
      attempt: async ([file = ''], signal) => [await this.#handOne(file, signal)],
      failed: (file, reason) => logger.error({ file, reason }, 'segment was not handed over; trying again'),
      recovered: () => logger.info({ pending: this.pending }, 'segments are handed over again'),
    });
  }

  /** Segments that wait for the command, the one it works on included. */
  get pending(): number {
    return this.#queue.pending;
  }

  /** Queues a sealed segment. Once. */
  handOver(file: string): void {
    void this.#queue.add([file]);
  }

  /** Queues what an earlier life sealed in `directory` and did not get handed over. Never rejects. */
  async resume(directory: string): Promise<void> {
    try {
      for (const file of await unhandedSegments(directory)) this.handOver(file);
    } catch (error) {
      const fields = { directory, reason: reasonOf(error) };
      this.#options.logger.error(fields, 'cannot look for segments to hand over');
    }
  }

  /** Tries what waits once more and ends the command that runs when time is up. The rest is for the next start. */
  async settle(deadlineMs: number): Promise<void> {
    await this.#queue.stopWithin(deadlineMs);
    if (this.pending === 0) return;
    this.#options.logger.warn(
      { segments: this.pending },
      'segments were not handed over; the next start hands over those that still exist',
    );
  }

  /** Null when there is nothing more to do for the segment. */
  async #handOne(file: string, signal: AbortSignal): Promise<string | null> {
    try {
      if (!(await isThere(file))) {
        this.#options.logger.warn({ file }, 'segment expired before it was handed over');
        return null;
      }
      const seal = await sealMark(file);
      // The time to settle may have run out during the disk access: nothing would stop a command started now.
      if (signal.aborted) return 'the recorder ends';
      const failure = await this.#run(file, signal);
      if (failure !== null) return failure;
      // Retention has taken it since: there is nothing left to put a mark beside.
      if (!(await isThere(file))) return null;
      // What was taken may still hold what was forgotten meanwhile.
      if (seal === null || (await sealMark(file)) !== seal) return 'it was written anew meanwhile';
      await markHanded(file);
      return null;
    } catch (error) {
      return `whether it was taken cannot be noted: ${reasonOf(error)}`;
    }
  }

  async #run(file: string, signal: AbortSignal): Promise<string | null> {
    const { command, commandLimitMs = COMMAND_LIMIT_MS } = this.#options;
    const manifest = `${file}${MANIFEST_SUFFIX}`;
    const run = new CommandRun(command, [file, manifest], {
      REPRISE_SEGMENT: file,
      REPRISE_MANIFEST: manifest,
    });
    const end = () => run.end();
    signal.addEventListener('abort', end);
    const failure = await run.failureWithin(commandLimitMs);
    signal.removeEventListener('abort', end);
    return failure;
  }
}

/** Not by a call that waits: the disk may hang. Throws what the file system throws. */
async function isThere(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
