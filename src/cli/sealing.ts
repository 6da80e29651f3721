import { spawn } from 'node:child_process';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import { entryPath } from '../app/workers.ts';
import { reasonOf } from '../core/errors.ts';
import type { Logger } from '../core/ports.ts';
import { NO_DEBUGGER } from '../proxy/managed-process.ts';

/** Yields to the traffic as the recorder does, and to the recorder. */
const NICENESS = 15;
/** A GiB takes seconds, a reader in the way half a minute each; what takes longer hangs, and is tried again. */
const ATTEMPT_LIMIT_MS = 600_000;
const RETRY_MS = 5_000;
const RETRY_MAX_MS = 300_000;
/** Segments given to one sealer. */
const BATCH_MAX = 16;
/** Of what a sealer says, so much is kept. */
const SAID_CHARS_MAX = 64 * 1024;

/** What a sealer says of one segment. */
interface SealedLine {
  readonly file: string;
  readonly outcome?: 'sealed' | 'recovered' | 'empty' | 'damaged' | 'gone';
  readonly problem?: string | null;
  readonly error?: string;
}

/** How a sealer ended: what it said of each segment, and why it said no more. */
export interface SealerEnd {
  readonly lines: readonly SealedLine[];
  /** Null when it ended by itself. */
  readonly failure: string | null;
}

export interface SealerOptions {
  readonly logger: Logger;
  /** Told of each segment that is sealed. */
  readonly onSealed: (file: string) => void;
  /** Runs one sealer, until the signal at the latest. Never rejects. */
  readonly attempt?: (files: readonly string[], signal: AbortSignal) => Promise<SealerEnd>;
  readonly retryMs?: number;
}

/**
 * Has finished segments sealed, one short-lived process at a time: checking and hashing a GiB takes a second or
 * more, and neither a heartbeat nor a commit may wait for it. What fails is tried again, later and later; a
 * segment that is not sealed stays readable, and the next start finds it.
 */
export class Sealer {
  readonly #options: SealerOptions;
  readonly #attempt;
  readonly #queue = new Set<string>();
  /** Segments that failed, how often, and the timer that queues them again. */
  readonly #failed = new Map<string, { times: number; timer: NodeJS.Timeout | null }>();
  #running: Promise<void> | null = null;
  #stopping = false;
  /** Nothing is left of the time of a stop. */
  #over = false;
  /** Ends the attempt that runs. */
  #cut = new AbortController();
  #lastFailure: string | null = null;

  constructor(options: SealerOptions) {
    this.#options = options;
    this.#attempt = options.attempt ?? runSealer;
  }

  /** Resolves when these, and what else waits by then, have been tried. Never rejects: what fails is logged. */
  async seal(files: readonly string[]): Promise<void> {
    for (const file of files) this.#queue.add(file);
    while (this.#queue.size > 0) {
      this.#running ??= this.#drain().finally(() => {
        this.#running = null;
      });
      await this.#running;
    }
  }

  /** Segments that wait, those that failed included. */
  get pending(): number {
    return new Set([...this.#queue, ...this.#failed.keys()]).size;
  }

  /** All that is still to be sealed gets so long, an attempt that runs included; the rest is left to the next start. */
  stopWithin(limitMs: number): void {
    this.#stopping = true;
    setTimeout(() => {
      this.#over = true;
      this.#cut.abort();
    }, limitMs).unref();
    for (const { timer } of this.#failed.values()) if (timer) clearTimeout(timer);
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
    this.#failed.delete(file);
    if (line.outcome === 'damaged') {
      logger.error({ file, problem: line.problem }, 'segment is damaged; it was set aside and is kept');
    } else if (line.outcome === 'sealed' || line.outcome === 'recovered') {
      this.#lastFailure = null;
      onSealed(file);
    }
  }

  #tryLater(file: string, reason: string): void {
    const times = (this.#failed.get(file)?.times ?? 0) + 1;
    // One line for a reason that stays the same, however many segments and attempts it costs.
    if (reason !== this.#lastFailure) {
      this.#options.logger.error({ file, reason }, 'segment was not sealed; it stays readable');
    }
    this.#lastFailure = reason;
    const delayMs = Math.min((this.#options.retryMs ?? RETRY_MS) * 2 ** (times - 1), RETRY_MAX_MS);
    const timer = this.#stopping ? null : setTimeout(() => void this.seal([file]), delayMs);
    timer?.unref();
    this.#failed.set(file, { times, timer });
  }
}

/** One sealer over some segments. */
export function runSealer(files: readonly string[], signal: AbortSignal): Promise<SealerEnd> {
  return new Promise((resolve) => {
    const sealer = spawn(
      process.execPath,
      [...process.execArgv, NO_DEBUGGER, entryPath('sealer'), ...files],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        // In a group of its own, Ctrl-C does not reach it: the recording that is stopped waits for its seal.
        detached: true,
      },
    );
    let said = '';
    const kill = () => sealer.kill('SIGKILL');
    signal.addEventListener('abort', kill);
    sealer.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (said.length < SAID_CHARS_MAX) said += text;
    });
    const end = (failure: string | null) => {
      signal.removeEventListener('abort', kill);
      resolve({ lines: linesOf(said), failure });
    };
    sealer.on('error', (error) => end(reasonOf(error)));
    sealer.on('close', (code, killedBy) => {
      end(code === 0 || code === 1 ? null : `the sealer ended with ${killedBy ?? code}`);
    });
    yieldProcessor(sealer.pid);
  });
}

/** Whole lines; the last one of a sealer that was killed may be none. */
function linesOf(said: string): SealedLine[] {
  return said
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as SealedLine);
}

/** Best effort: where the host does not allow it, the child competes for the processor. */
export function yieldProcessor(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, NICENESS);
  } catch {
    // It may also have ended already.
  }
}
