import { existsSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import { Worker } from 'node:worker_threads';
import { systemClock } from '../../core/clock.ts';
import { reasonOf } from '../../core/errors.ts';
import type { Logger } from '../../core/ports.ts';
import { settleSegment } from '../../storage/capture/sealing.ts';
import { RetryQueue } from './retry-queue.ts';

/** A lower priority than the traffic and the recorder. */
const NICENESS = 15;
/**
 * The longest attempt. A GiB takes seconds, and a reader may block for half a minute each. A longer attempt hangs and
 * is tried again.
 */
const ATTEMPT_LIMIT_MS = 600_000;
const RETRY_MS = 5_000;
/** Most segments for one sealer. */
const BATCH_MAX = 16;
/** A sealer's result for one segment. */
interface SealedLine {
  readonly file: string;
  readonly outcome?: 'sealed' | 'recovered' | 'empty' | 'damaged' | 'gone';
  readonly problem?: string | null;
  readonly error?: string;
}

/** How a sealer ended: its result for each segment, and the reason it stopped. */
export interface SealerEnd {
  readonly lines: readonly SealedLine[];
  /** Null if it ended by itself. */
  readonly failure: string | null;
}

/** Runs one sealer until it is done or the signal aborts. Never rejects. */
type Attempt = (files: readonly string[], signal: AbortSignal) => Promise<SealerEnd>;

interface SealerOptions {
  readonly logger: Logger;
  /** Called for each sealed segment. */
  readonly onSealed: (file: string) => void;
  readonly attempt: Attempt;
  readonly retryMs?: number;
}

/**
 * Seals finished segments, with one short-lived thread at a time. A segment that is not sealed stays readable, and the
 * next start finds it.
 */
export function sealingQueue({ logger, onSealed, attempt, retryMs = RETRY_MS }: SealerOptions): RetryQueue {
  /** Why a segment is not sealed; null if no sealing is needed any more. */
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
 * Runs one sealer for some segments. It is a thread, because checking and hashing a GiB takes a second or more. No
 * heartbeat or commit may wait for it.
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

/** Seals one segment. Called in the thread. */
export function settleOne(path: string): SealedLine {
  // Retention removed it, or an earlier sealer removed it because it was empty.
  if (!existsSync(path)) return { file: basename(path), outcome: 'gone', problem: null };
  try {
    const { file, outcome, problem } = settleSegment(path, systemClock);
    return { file, outcome, problem };
  } catch (error) {
    return { file: path, error: reasonOf(error) };
  }
}

/** Best effort: without permission, the process keeps its priority. */
export function yieldProcessor(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, NICENESS);
  } catch {
    // It may also have ended already.
  }
}
