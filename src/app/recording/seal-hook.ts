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

/** The length of a command's last output that goes to the log. */
const SAID_CHARS = 500;

/**
 * One run of a user's command by `sh -c`, without input and at low priority. Its processes have a process group of
 * their own: Ctrl-C does not reach them, and background processes end with the command.
 *
 * A process that the command moved to another session cannot be stopped, and may keep the output open for its lifetime.
 * So the run ends with the command, after a short wait for the remaining output.
 */
class CommandRun {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;
  readonly #over: Promise<string | null>;
  #resolve: (failure: string | null) => void = () => undefined;
  #said = '';
  #grace: NodeJS.Timeout | null = null;

  /** @param words the arguments `$1`, `$2` … of the command */
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

  /** Null if the command ended with 0 in time. Otherwise the reason, with the end of its output. Never rejects. */
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

  /** Asks all its processes to end, and kills them after a moment. */
  end(): void {
    // After the command's exit its children are not waited for, and its process id may belong to another process.
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
    // `close` is emitted at the end of the output, which a process in another session may keep open.
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

  /**
   * Signals all of the command's processes. Errors for processes that have ended, or belong to another user, are
   * ignored.
   */
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
  /** Command for `sh -c`. The segment is in `$1` and its manifest in `$2`. */
  readonly command: string;
  readonly logger: Logger;
  readonly commandLimitMs?: number;
  readonly retryMs?: number;
}

/**
 * Passes sealed segments to a user's command, which ships them: one at a time, at low priority, until it ends with 0. A
 * mark beside the segment records the success. Segments without a mark are passed again after the next start, so a
 * command may get a segment twice.
 */
export class SealHook {
  readonly #options: SealHookOptions;
  readonly #queue: RetryQueue;

  constructor(options: SealHookOptions) {
    this.#options = options;
    const { logger, retryMs = RETRY_MS } = options;
    this.#queue = new RetryQueue({
      batch: 1,
      // If shipping fails for one segment, for example because a bucket is unreachable, it fails for all.
      pausesAll: true,
      retryMs,
      attempt: async ([file = ''], signal) => [await this.#handOne(file, signal)],
      failed: (file, reason) => logger.error({ file, reason }, 'segment was not handed over; trying again'),
      recovered: () => logger.info({ pending: this.pending }, 'segments are handed over again'),
    });
  }

  /** Number of segments that wait for the command, including the current one. */
  get pending(): number {
    return this.#queue.pending;
  }

  /** Queues a sealed segment. Call it once for each. */
  handOver(file: string): void {
    void this.#queue.add([file]);
  }

  /** Queues segments in `directory` that an earlier life sealed but did not ship. Never rejects. */
  async resume(directory: string): Promise<void> {
    try {
      for (const file of await unhandedSegments(directory)) this.handOver(file);
    } catch (error) {
      const fields = { directory, reason: reasonOf(error) };
      this.#options.logger.error(fields, 'cannot look for segments to hand over');
    }
  }

  /** Tries waiting segments once more, and ends the running command when the time is over. The next start continues. */
  async settle(deadlineMs: number): Promise<void> {
    await this.#queue.stopWithin(deadlineMs);
    if (this.pending === 0) return;
    this.#options.logger.warn(
      { segments: this.pending },
      'segments were not handed over; the next start hands over those that still exist',
    );
  }

  /** Null if nothing is left to do for the segment. */
  async #handOne(file: string, signal: AbortSignal): Promise<string | null> {
    try {
      if (!(await isThere(file))) {
        this.#options.logger.warn({ file }, 'segment expired before it was handed over');
        return null;
      }
      const seal = await sealMark(file);
      // The time may have run out during the disk access. Then nothing would stop a command started now.
      if (signal.aborted) return 'the recorder ends';
      const failure = await this.#run(file, signal);
      if (failure !== null) return failure;
      // Retention has removed the segment meanwhile, so it needs no mark.
      if (!(await isThere(file))) return null;
      // The segment was rewritten meanwhile, so the shipped copy may contain forgotten exchanges.
      if (seal === null || (await sealMark(file)) !== seal) return 'it was written again meanwhile';
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

/** Asynchronous, because the disk may hang. Throws errors of the file system. */
async function isThere(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
