import { availableParallelism, totalmem } from 'node:os';
import { controlGroupOf } from './control-group.ts';
import { type ReadKernelFile, readKernelFile } from './kernel-file.ts';

/** What the host allows this process. Null where it does not say. */
export interface HostLimits {
  /** Processors that may be used at once; a quota counts as its share, such as 0.5. */
  readonly cpus: number;
  /** Whether `cpus` is a quota: work beyond it stands still for the rest of each period. */
  readonly cpuQuota: boolean;
  readonly memoryBytes: number;
  /** Whether the memory is a control group's: beyond it the kernel kills. */
  readonly memoryLimited: boolean;
  readonly openFiles: number | null;
  /** Bytes a core dump may have; one of ours would hold payloads. */
  readonly coreBytes: number | null;
}

export function readHostLimits(
  read: ReadKernelFile = readKernelFile,
  constrainedBytes: number = process.constrainedMemory(),
): HostLimits {
  const quota = cpuQuota(read);
  const memory = memoryLimit(read, constrainedBytes);
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

/** The smallest quota of our control group and those around it. `max` and -1 mean none. */
function cpuQuota(read: ReadKernelFile): number | null {
  const group = controlGroupOf('cpu', read);
  const quotas = (group?.directories ?? []).map((directory) => {
    const text =
      group?.version === 2
        ? read(`${directory}/cpu.max`)
        : `${read(`${directory}/cpu.cfs_quota_us`)} ${read(`${directory}/cpu.cfs_period_us`)}`;
    const [quota = 0, period = 0] = (text ?? '').trim().split(/\s+/).map(Number);
    return quota / period;
  });
  return smallest(quotas.filter((quota) => quota > 0 && quota < Number.POSITIVE_INFINITY));
}

/** @param constrained what the runtime found, which may see what we do not; 0 or a number beyond any machine for none */
function memoryLimit(read: ReadKernelFile, constrained: number): number | null {
  const group = controlGroupOf('memory', read);
  const file = group?.version === 2 ? 'memory.max' : 'memory.limit_in_bytes';
  const limits = (group?.directories ?? []).map((directory) =>
    Number(read(`${directory}/${file}`) ?? Number.NaN),
  );
  // Version 1 writes "no limit" as a number beyond any machine.
  return smallest([constrained, ...limits].filter((bytes) => bytes > 0 && bytes < totalmem()));
}

function smallest(numbers: readonly number[]): number | null {
  return numbers.length === 0 ? null : Math.min(...numbers);
}

/** The soft limit of a line of /proc/self/limits; Infinity where it says `unlimited`. */
function limitOf(limits: string, name: string): number | null {
  const line = limits.split('\n').find((one) => one.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0];
  if (soft === undefined) return null;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}
