import { spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import { reasonOf } from '../core/errors.ts';
import type { Logger } from '../core/ports.ts';
import { isMissing } from '../storage/durable-files.ts';
import { markHanded, sealMark, unhandedSegments } from '../storage/handed-over.ts';
import { MANIFEST_SUFFIX } from '../storage/segment-name.ts';
import { yieldProcessor } from './sealing.ts';

const COMMAND_LIMIT_MS = 600_000;
const RETRY_MS = 1_000;
const RETRY_MAX_MS = 300_000;
/** How long a command that is told to end may take to do so. */
const GRACE_MS = 1_000;
/** The end of what a command said, for the log. */
const SAID_CHARS = 500;

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
  /** In the order of handing over; one that failed goes to the end. */
  readonly #queue = new Set<string>();
  #running: Promise<void> | null = null;
  #kill: (() => void) | null = null;
  #wake: (() => void) | null = null;
  #failures = 0;
  #lastFailure: string | null = null;
  #settling = false;
  #ended = false;

  constructor(options: SealHookOptions) {
    this.#options = options;
  }

  /** Segments that wait for the command, the one it works on included. */
  get pending(): number {
    return this.#queue.size;
  }

  /** Queues a sealed segment. Once. */
  handOver(file: string): void {
    if (this.#ended) return;
    this.#queue.add(file);
    this.#start();
  }

  /** Queues what an earlier life sealed in `directory` and did not get handed over. Never rejects. */
  async resume(directory: string): Promise<void> {
    try {
      for (const file of await unhandedSegments(directory)) this.handOver(file);
    } catch (error) {
      this.#options.logger.error(
        { directory, reason: reasonOf(error) },
        'cannot look for segments to hand over',
      );
    }
  }

  /** Tries what waits once more and ends the command that runs when time is up. The rest is for the next start. */
  async settle(deadlineMs: number): Promise<void> {
    this.#settling = true;
    this.#wake?.();
    const timer = setTimeout(() => {
      this.#ended = true;
      this.#kill?.();
    }, deadlineMs);
    await this.#running;
    clearTimeout(timer);
    this.#ended = true;
    if (this.#queue.size > 0) {
      const { logger } = this.#options;
      logger.warn({ segments: this.#queue.size }, 'segments were not handed over; the next start does it');
    }
  }

  #start(): void {
    this.#running ??= this.#drain().finally(() => {
      this.#running = null;
      // One that came at the very end of it.
      if (!this.#settling && this.#queue.size > 0) this.#start();
    });
  }

  async #drain(): Promise<void> {
    // While settling each gets one more try; in between a failure is a reason to wait.
    const left = new Set<string>();
    for (;;) {
      const file = [...this.#queue].find((queued) => !(this.#settling && left.has(queued)));
      if (file === undefined || this.#ended) return;
      const failure = await this.#handOne(file);
      this.#queue.delete(file);
      if (failure === null) {
        this.#succeeded();
        continue;
      }
      this.#queue.add(file);
      left.add(file);
      this.#failed(file, failure);
      if (this.#settling) continue;
      await this.#pause();
      left.clear();
    }
  }

  /** Null when there is nothing more to do for the segment. */
  async #handOne(file: string): Promise<string | null> {
    try {
      if (!(await isThere(file))) {
        this.#options.logger.warn({ file }, 'segment expired before it was handed over');
        return null;
      }
      const seal = await sealMark(file);
      const failure = await this.#run(file);
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

  #run(file: string): Promise<string | null> {
    const { command, commandLimitMs = COMMAND_LIMIT_MS } = this.#options;
    const manifest = `${file}${MANIFEST_SUFFIX}`;
    return new Promise((resolve) => {
      const child = spawn('sh', ['-c', command, 'reprise', file, manifest], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, REPRISE_SEGMENT: file, REPRISE_MANIFEST: manifest },
        // A group of its own: Ctrl-C does not reach it, and what it started ends with it.
        detached: true,
      });
      let said = '';
      let late = false;
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          said = (said + text).slice(-SAID_CHARS);
        });
      }
      let grace: NodeJS.Timeout | null = null;
      this.#kill = () => {
        signalGroup(child.pid, 'SIGTERM');
        grace ??= setTimeout(() => signalGroup(child.pid, 'SIGKILL'), GRACE_MS);
      };
      const timer = setTimeout(() => {
        late = true;
        this.#kill?.();
      }, commandLimitMs);
      const end = (failure: string | null) => {
        clearTimeout(timer);
        if (grace) clearTimeout(grace);
        this.#kill = null;
        resolve(failure);
      };
      child.on('error', (error) => end(reasonOf(error)));
      // What it left running in the background ends with it; it would hold the output open for ever.
      child.on('exit', () => signalGroup(child.pid, 'SIGKILL'));
      child.on('close', (code, signal) => {
        const how = late ? `it took longer than ${commandLimitMs} ms` : `it ended with ${signal ?? code}`;
        end(code === 0 && !late ? null : [how, said.trim()].filter(Boolean).join(': '));
      });
      yieldProcessor(child.pid);
    });
  }

  #succeeded(): void {
    if (this.#lastFailure !== null) {
      this.#options.logger.info({ pending: this.pending }, 'segments are handed over again');
    }
    this.#failures = 0;
    this.#lastFailure = null;
  }

  /** One line for a reason that stays the same. */
  #failed(file: string, reason: string): void {
    this.#failures += 1;
    if (reason !== this.#lastFailure) {
      this.#options.logger.error({ file, reason }, 'segment was not handed over; trying again');
    }
    this.#lastFailure = reason;
  }

  #pause(): Promise<void> {
    const delayMs = Math.min((this.#options.retryMs ?? RETRY_MS) * 2 ** (this.#failures - 1), RETRY_MAX_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake?.(), delayMs);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
    });
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

/** To all of a command's processes; those that ended already hear nothing. */
function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
