import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';

/** What the host allows this process. Null where it does not say. */
export interface HostLimits {
  /** Processors that may be used at once; a quota counts as its share, such as 0.5. */
  readonly cpus: number;
  /** Whether `cpus` is a quota: work beyond it stands still for the rest of each period. */
  readonly cpuQuota: boolean;
  readonly memoryBytes: number;
  /** Whether the memory is a container's: beyond it the kernel kills. */
  readonly memoryLimited: boolean;
  readonly openFiles: number | null;
  /** Bytes a core dump may have; one of ours would hold payloads. */
  readonly coreBytes: number | null;
}

/** @param read reads a file of the kernel, or gives null where there is none; for tests. */
export function readHostLimits(read: (path: string) => string | null = readText): HostLimits {
  const quota = cpuQuota(read);
  const memory = memoryLimit(read);
  const limits = read('/proc/self/limits') ?? '';
  return {
    cpus: quota ?? availableParallelism(),
    cpuQuota: quota !== null,
    memoryBytes: memory ?? totalmem(),
    memoryLimited: memory !== null,
    openFiles: limitOf(limits, 'Max open files'),
    coreBytes: limitOf(limits, 'Max core file size'),
  };
}

/** Control groups, version 2 first. `max` and -1 mean no limit. */
function cpuQuota(read: (path: string) => string | null): number | null {
  const [quota, period] = (read('/sys/fs/cgroup/cpu.max') ?? '').trim().split(' ').map(Number);
  if (quota && period) return quota / period;
  const quotaUs = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_quota_us') ?? Number.NaN);
  const periodUs = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_period_us') ?? Number.NaN);
  return quotaUs > 0 && periodUs > 0 ? quotaUs / periodUs : null;
}

function memoryLimit(read: (path: string) => string | null): number | null {
  const text = read('/sys/fs/cgroup/memory.max') ?? read('/sys/fs/cgroup/memory/memory.limit_in_bytes');
  const bytes = Number(text ?? Number.NaN);
  // Version 1 writes "no limit" as a number beyond any machine.
  return bytes > 0 && bytes < totalmem() ? bytes : null;
}

/** The soft limit of a line of /proc/self/limits; Infinity where it says `unlimited`. */
function limitOf(limits: string, name: string): number | null {
  const line = limits.split('\n').find((one) => one.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0];
  if (soft === undefined) return null;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Another system, or another version of control groups.
    return null;
  }
}
