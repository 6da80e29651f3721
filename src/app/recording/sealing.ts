import { existsSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import { Worker } from 'node:worker_threads';
import { systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import type { Logger } from '../../core/ports.ts';
import { settleSegment } from '../../storage/capture/sealing.ts';
import { RetryQueue } from './retry-queue.ts';

/** Yields to the traffic, and to the recorder. */
const NICENESS = 15;
/** A GiB takes seconds, a reader in the way half a minute each; what takes longer hangs, and is tried again. */
const ATTEMPT_LIMIT_MS = 600_000;
const RETRY_MS = 5_000;
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
 * Has finished segments sealed, by one short-lived thread at a time. A segment that is not sealed stays readable, and
 * the next start finds it.
 */
export function sealingQueue({ logger, onSealed, attempt, retryMs = RETRY_MS }: SealerOptions): RetryQueue {
  /** Why a segment is not sealed; null where it needs no sealing any more. */
  const failureOf = (file: string, line: SealedLine | undefined, failure: string | null): string | null => {
    if (line?.outcome === undefined) return line?.error ?? failure ?? 'the sealer said nothing of it';
    if (line.outcome === 'damaged') {
      logger.error({ file, problem: line.problem }, 'segment is damaged; it was set aside and is kept');
    } else if (line.outcome === 'sealed' || line.outcome === 'recovered') onSealed(file);
    return null;
  };
  return new RetryQueue({
    batch: BATCH_MAX,
    pausesAll: false,
    retryMs,
    attempt: async (files, signal) => {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_LIMIT_MS)]);
      const { lines, failure } = await attempt(files, limit);
      const said = new Map(lines.map((line) => [basename(line.file), line]));
      return files.map((file) => failureOf(file, said.get(basename(file)), failure));
    },
    failed: (file, reason) => logger.error({ file, reason }, 'segment was not sealed; it stays readable'),
    recovered: () => undefined,
  });
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
