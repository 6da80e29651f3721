import { readFileSync } from 'node:fs';

/** `getconf CLK_TCK`, the same on every Linux that Node supports. */
const TICKS_PER_SECOND = 100;

/** User and system time of processes so far, with their threads, µs. Linux only. */
export function cpuUsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuUs(pid), 0);
}

function cpuUs(pid: number): number {
  return cpuUsParts(pid).own;
}

function cpuUsParts(pid: number): { readonly own: number; readonly ended: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command's name may contain spaces and parentheses. The numbers follow the last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const us = (at: number): number => (Number(fields[at]) / TICKS_PER_SECOND) * 1e6;
  return { own: us(11) + us(12), ended: us(13) + us(14) };
}

/** The processes whose parent is `pid`. */
export function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? [] : children.split(' ').map(Number);
}

/** The CPU time of a process with all its descendants, including those that have ended. */
export function treeCpuUsOf(pid: number): number {
  for (let tries = 1; ; tries += 1) {
    try {
      return treeCpuUs(pid);
    } catch (error) {
      // One of them ended while it was read. Its time counts for its parent now, so try again.
      if (tries === 5) throw error;
    }
  }
}

function treeCpuUs(pid: number): number {
  const { own, ended } = cpuUsParts(pid);
  return own + ended + childrenOf(pid).reduce((sum, child) => sum + treeCpuUs(child), 0);
}
