import { readFileSync } from 'node:fs';
import { type Finished, type ProcessOptions, startReprise } from './process.ts';

/** Between two looks at the process: what it may take on after the last of them stays unseen. */
const LOOK_MS = 20;

/** A run of `reprise` with what it took. */
export interface MeasuredRun extends Finished {
  /** From its start to the first byte on stdout; Infinity when there was none. */
  readonly firstOutputMs: number;
  readonly totalMs: number;
  /** Processor time of all its threads, to 10 ms, up to the last look at it. */
  readonly cpuMs: number;
  /** The largest resident set it had: heap, SQLite's memory, code and threads. */
  readonly peakResidentBytes: number;
}

/** Runs `reprise ARGS` to its end and measures it. Linux only. */
export async function measureReprise(
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<MeasuredRun> {
  const startMs = performance.now();
  const run = startReprise(args, options);
  let firstOutputMs = Number.POSITIVE_INFINITY;
  run.child.stdout?.once('data', () => {
    firstOutputMs = performance.now() - startMs;
  });
  let peakResidentBytes = 0;
  let cpuMs = 0;
  const looks = setInterval(() => {
    cpuMs = Math.max(cpuMs, cpuMsOf(run.child.pid));
    peakResidentBytes = Math.max(peakResidentBytes, peakResidentBytesOf(run.child.pid));
  }, LOOK_MS);
  try {
    const finished = await run.finished;
    return { ...finished, firstOutputMs, totalMs: performance.now() - startMs, cpuMs, peakResidentBytes };
  } finally {
    clearInterval(looks);
  }
}

/** The kernel keeps the greatest value itself, so that no moment between two looks is missed; 0 once it is gone. */
export function peakResidentBytesOf(pid: number | undefined): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(processText(pid, 'status'))?.[1] ?? 0) * 1024;
}

/** User and system time, which Linux tells in hundredths of a second; 0 once the process is gone. */
function cpuMsOf(pid: number | undefined): number {
  // The name comes second, in parentheses, and may itself hold blanks.
  const fields = processText(pid, 'stat')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10;
}

function processText(pid: number | undefined, file: 'stat' | 'status'): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}
