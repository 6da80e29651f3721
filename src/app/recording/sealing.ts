import { existsSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import { Worker } from 'node:worker_threads';
import { systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import type { Logger } from '../../core/ports.ts';
import { settleSegment } from '../../storage/capture/sealing.ts';

/** Yields to the traffic, and to the recorder. */
const NICENESS = 15;
/** A GiB takes seconds, a reader in the way half a minute each; what takes longer hangs, and is tried again. */
const ATTEMPT_LIMIT_MS = 600_000;
const RETRY_MS = 5_000;
const RETRY_MAX_MS = 300_000;
/** Segments given to one sealer. */
const BATCH_MAX = 16;
/** What a sealer says of one segment. */
interface SealedLine {
  readonly file: string;
  readonly outcome?: 'sealed' | 'recovered' | 'empty' | 'damaged' | 'gone';
  readonly problem?: string | null;
  readonly error?: string;
}

/** How a sealer ended: its result for each segment, and the reason it stopped. */
export interface SealerEnd {
  readonly lines: readonly SealedLine[];
  /** Null when it ended by itself. */
  readonly failure: string | null;
}

/** Runs one sealer, until the signal at the latest. Never rejects. */
type Attempt = (files: readonly string[], signal: AbortSignal) => Promise<SealerEnd>;

interface SealerOptions {
  readonly logger: Logger;
  /** Told of each segment that is sealed. */
  readonly onSealed: (file: string) => void;
  readonly attempt: Attempt;
  readonly retryMs?: number;
}

/**
 * Has finished segments sealed, by one short-lived thread at a time. What fails is tried again, later and later; a
 * segment that is not sealed stays readable, and the next start finds it.
 */
export class Sealer {
  readonly #options: SealerOptions;
  readonly #attempt;
  readonly #queue = new Set<string>();
  /** Segments that failed and are queued again together. */
  readonly #failed = new Set<string>();
  #failures = 0;
  #retry: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #stopping = false;
  /** Nothing is left of the time of a stop. */
  #over = false;
  /** Ends the attempt that runs. */
  #cut = new AbortController();
  #lastFailure: string | null = null;

  constructor(options: SealerOptions) {
    this.#options = options;
    this.#attempt = options.attempt;
  }

  /** Resolves when these, and what else waits by then, have been tried. Never rejects: what fails is logged. */
  async seal(files: readonly string[]): Promise<void> {
    for (const file of files) {
      this.#failed.delete(file);
      this.#queue.add(file);
    }
    while (this.#queue.size > 0) {
      this.#running ??= this.#drain().finally(() => {
        this.#running = null;
      });
      await this.#running;
    }
  }

  /** Segments that wait, those that failed included. */
  get pending(): number {
    return this.#queue.size + this.#failed.size;
  }

  /** All that is still to be sealed gets so long, an attempt that runs included; the rest is left to the next start. */
  async stopWithin(limitMs: number): Promise<void> {
    this.#stopping = true;
    const timer = setTimeout(() => {
      this.#over = true;
      this.#cut.abort();
    }, limitMs);
    if (this.#retry) clearTimeout(this.#retry);
    await this.seal([]);
    clearTimeout(timer);
  }

  async #drain(): Promise<void> {
    while (this.#queue.size > 0) {
      const files = [...this.#queue].slice(0, BATCH_MAX);
      const { lines, failure } = await this.#try(files);
      const said = new Map(lines.map((line) => [basename(line.file), line]));
      for (const file of files) {
        this.#queue.delete(file);
        this.#settle(file, said.get(basename(file)), failure);
      }
    }
  }

  async #try(files: readonly string[]): Promise<SealerEnd> {
    if (this.#over) return { lines: [], failure: 'the recording ended first' };
    const cut = new AbortController();
    this.#cut = cut;
    const timer = setTimeout(() => cut.abort(), ATTEMPT_LIMIT_MS);
    try {
      return await this.#attempt(files, cut.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  #settle(file: string, line: SealedLine | undefined, failure: string | null): void {
    const { logger, onSealed } = this.#options;
    if (line?.outcome === undefined) {
      this.#tryLater(file, line?.error ?? failure ?? 'the sealer said nothing of it');
      return;
    }
    if (line.outcome === 'damaged') {
      logger.error({ file, problem: line.problem }, 'segment is damaged; it was set aside and is kept');
    } else if (line.outcome === 'sealed' || line.outcome === 'recovered') {
      this.#lastFailure = null;
      this.#failures = 0;
      onSealed(file);
    }
  }

  #tryLater(file: string, reason: string): void {
    // One line for a reason that stays the same, however many segments and attempts it costs.
    if (reason !== this.#lastFailure) {
      this.#options.logger.error({ file, reason }, 'segment was not sealed; it stays readable');
    }
    this.#lastFailure = reason;
    this.#failed.add(file);
    if (this.#stopping || this.#retry) return;
    const delayMs = Math.min((this.#options.retryMs ?? RETRY_MS) * 2 ** this.#failures, RETRY_MAX_MS);
    this.#failures += 1;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      void this.seal([...this.#failed]);
    }, delayMs).unref();
  }
}

/**
 * One sealer over some segments: a thread, because checking and hashing a GiB takes a second or more, and neither a
 * heartbeat nor a commit may wait for it.
 * @param entry the file of the thread
 */
export function sealerThread(entry: URL): Attempt {
  return (files, signal) =>
    new Promise((resolve) => {
      const lines: SealedLine[] = [];
      const worker = new Worker(entry, { workerData: files });
      let failure: string | null = null;
      const cut = () => void worker.terminate();
      signal.addEventListener('abort', cut);
      worker.on('message', (line: SealedLine) => lines.push(line));
      worker.on('error', (error) => {
        failure = reasonOf(error);
      });
      worker.on('exit', () => {
        signal.removeEventListener('abort', cut);
        resolve({ lines, failure: failure ?? (signal.aborted ? 'there was no time left for it' : null) });
      });
    });
}

/** What the thread says of one segment that it settles. */
export function settleOne(path: string): SealedLine {
  // Retention took it, or an earlier sealer removed it because it was empty.
  if (!existsSync(path)) return { file: basename(path), outcome: 'gone', problem: null };
  try {
    const { file, outcome, problem } = settleSegment(path, systemClock);
    return { file, outcome, problem };
  } catch (error) {
    return { file: path, error: reasonOf(error) };
  }
}

/** Best effort: if the host does not allow it, this process, or that one, competes for the processor. */
export function yieldProcessor(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, NICENESS);
  } catch {
    // It may also have ended already.
  }
}
