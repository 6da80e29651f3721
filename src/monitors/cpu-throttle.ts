import { readFileSync } from 'node:fs';

const CGROUP_CPU_STAT = '/sys/fs/cgroup/cpu.stat';

/** Tells whether a CPU quota held the processes of this container back since it was made. */
export class CpuThrottle {
  readonly #path: string;
  readonly #before: number | null;

  /** `path`: the `cpu.stat` of a version 2 control group. */
  constructor(path: string = CGROUP_CPU_STAT) {
    this.#path = path;
    this.#before = throttledUs(path);
  }

  /** Null where the host does not say: no control group, or no quota. */
  throttled(): boolean | null {
    const now = throttledUs(this.#path);
    return now === null || this.#before === null ? null : now > this.#before;
  }
}

/** Microseconds of throttling so far; null where the file or the line is not there. */
function throttledUs(path: string): number | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    // Other systems, and hosts with version 1 groups, have no such file: that is an answer, not a fault.
    return null;
  }
  const match = /^throttled_usec (\d+)$/m.exec(text);
  return match ? Number(match[1]) : null;
}
