import { readFileSync } from 'node:fs';
import { type Finished, type ProcessOptions, startReprise } from './process.ts';

/** Interval of measurements. Memory used after the last one is not seen. */
const LOOK_MS = 20;

/** A run of `reprise` with its times and memory. */
export interface MeasuredRun extends Finished {
  /** From its start to the first byte on stdout; Infinity without output. */
  readonly firstOutputMs: number;
  readonly totalMs: number;
  /** Peak resident memory: heap, SQLite's memory, code and threads. */
  readonly peakResidentBytes: number;
}

/** Runs `reprise ARGS` to its end and measures it. Linux only. */
export async function measureReprise(
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<MeasuredRun> {
  const startMs = performance.now();
  // With the cache that the program keeps itself, not with that of the tests: what a user's second start takes.
  const run = startReprise(args, { ...options, env: { ...options.env, NODE_COMPILE_CACHE: undefined } });
  let firstOutputMs = Number.POSITIVE_INFINITY;
  run.child.stdout?.once('data', () => {
    firstOutputMs = performance.now() - startMs;
  });
  let peakResidentBytes = 0;
  const looks = setInterval(() => {
    peakResidentBytes = Math.max(peakResidentBytes, peakResidentBytesOf(run.child.pid));
  }, LOOK_MS);
  try {
    const finished = await run.finished;
    return { ...finished, firstOutputMs, totalMs: performance.now() - startMs, peakResidentBytes };
  } finally {
    clearInterval(looks);
  }
}

/**
 * Peak resident memory as the kernel counts it, so that no moment between two measurements is missed. 0 after its end.
 */
export function peakResidentBytesOf(pid: number | undefined): number {
  try {
    return (
      Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
    );
  } catch (error) {
    if (
      (error as NodeJS.ErrnoException).code === 'ENOENT' ||
      (error as NodeJS.ErrnoException).code === 'ESRCH'
    )
      return 0;
    throw error;
  }
}
