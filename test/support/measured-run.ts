import { readFileSync } from 'node:fs';
import { type Finished, type ProcessOptions, startReprise } from './process.ts';

/** Between two looks at the process: what it may take on after the last of them stays unseen. */
const LOOK_MS = 20;

/** A run of `reprise` with what it took. */
export interface MeasuredRun extends Finished {
  /** From its start to the first byte on stdout; Infinity when there was none. */
  readonly firstOutputMs: number;
  readonly totalMs: number;
  /** The largest resident set it had: heap, SQLite's memory, code and threads. */
  readonly peakResidentBytes: number;
}

/** Runs `reprise ARGS` to its end and measures it. Linux only. */
export async function measureReprise(
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<MeasuredRun> {
  const startMs = performance.now();
  // What Node keeps of sources that it has compiled would make the start look quicker than it is.
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

/** The kernel keeps the greatest value itself, so that no moment between two looks is missed; 0 once it is gone. */
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
