import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { posix } from 'node:path';

/** Limits that the host sets for this process. Null is unknown. */
export interface HostLimits {
  /** Processors that the process may use at once. With a quota it may be a fraction, such as 0.5. */
  readonly cpus: number;
  /** Whether `cpus` is a quota. Beyond a quota, the process is stopped for the rest of each period. */
  readonly cpuQuota: boolean;
  readonly memoryBytes: number;
  /** Whether a control group limits the memory. Beyond the limit, the kernel kills the process. */
  readonly memoryLimited: boolean;
  readonly openFiles: number | null;
  /** Most bytes of a core dump. Our core dumps would contain payloads. */
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

/** The smallest quota of our control group and its parents. `max` and -1 mean none. */
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

/** @param constrained the limit that the runtime found, which may know more; 0 or a huge number means none */
function memoryLimit(read: ReadKernelFile, constrained: number): number | null {
  const group = controlGroupOf('memory', read);
  const file = group?.version === 2 ? 'memory.max' : 'memory.limit_in_bytes';
  const limits = (group?.directories ?? []).map((directory) =>
    Number(read(`${directory}/${file}`) ?? Number.NaN),
  );
  // Version 1 writes "no limit" as a number larger than any memory.
  return smallest([constrained, ...limits].filter((bytes) => bytes > 0 && bytes < totalmem()));
}

function smallest(numbers: readonly number[]): number | null {
  return numbers.length === 0 ? null : Math.min(...numbers);
}

/** The soft limit of a line of /proc/self/limits; Infinity for `unlimited`. */
function limitOf(limits: string, name: string): number | null {
  const line = limits.split('\n').find((one) => one.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0];
  if (soft === undefined) return null;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}

/** The control group that decides a process's share of the processors; null if unknown. */
export function shareGroupOf(pid: number, read: ReadKernelFile = readKernelFile): string | null {
  const ofProcess: ReadKernelFile = (path) => read(path.replace('/proc/self/', `/proc/${pid}/`));
  return controlGroupOf('cpu', ofProcess)?.directories[0] ?? null;
}

/** Whether our control group has no other process than us, an init and our parent. */
export function isAloneInGroup(read: ReadKernelFile = readKernelFile): boolean {
  const own = controlGroupOf('cpu', read)?.directories[0];
  const pids = read(`${own}/cgroup.procs`)?.trim().split('\n').map(Number);
  return pids?.every((pid) => pid === 1 || pid === process.pid || pid === process.ppid) ?? false;
}

/** Counters of throttling of a group: how often, and for how long in µs (version 2) or ns (version 1). */
const COUNTERS = /^(?:nr_throttled|throttled_usec|throttled_time) (\d+)$/gm;

/** Tells whether a CPU quota of our control group or a parent throttled it since this object was made. */
export class CpuThrottle {
  readonly #read: ReadKernelFile;
  readonly #group: ControlGroup | null;
  readonly #before: readonly number[] | null;

  constructor(read: ReadKernelFile = readKernelFile) {
    this.#read = read;
    this.#group = controlGroupOf('cpu', read);
    this.#before = this.#counters();
  }

  /** Null if unknown: no visible control group, no counters, or another group than before. */
  throttled(): boolean | null {
    const before = this.#before;
    const now = this.#counters();
    if (before === null || now === null || now.length !== before.length) return null;
    if (now.some((count, nth) => count > (before[nth] as number))) return true;
    const isMoved = controlGroupOf('cpu', this.#read)?.directories[0] !== this.#group?.directories[0];
    return isMoved ? null : false;
  }

  #counters(): readonly number[] | null {
    const [own, ...around] = (this.#group?.directories ?? []).map((directory) =>
      this.#read(`${directory}/cpu.stat`),
    );
    // Every group has this file. If ours has none, the directories are not those of our groups.
    if (typeof own !== 'string') return null;
    const texts = [own, ...around].join('\n');
    const counts = [...texts.matchAll(COUNTERS)].map(([, count]) => Number(count));
    return counts.length === 0 ? null : counts;
  }
}

type Controller = 'cpu' | 'memory';

/** The control group of this process for one controller. */
interface ControlGroup {
  readonly version: 1 | 2;
  /** The directories of the group and its parents, innermost first. Limits of parents apply too. */
  readonly directories: readonly string[];
}

/** One line of /proc/self/mountinfo that mounts a hierarchy of control groups. */
interface Mount {
  /** The group of the hierarchy that is mounted at `point`. */
  readonly root: string;
  readonly point: string;
}

const USUAL = '/sys/fs/cgroup';

/** The control group of a controller; null if the system has none or hides it. */
export function controlGroupOf(controller: Controller, read: ReadKernelFile): ControlGroup | null {
  const own = ownGroup(controller, read('/proc/self/cgroup') ?? '');
  if (own === null) return null;
  const { version, path } = own;
  const mounts = mountsOf(version, controller, read('/proc/self/mountinfo') ?? '');
  if (mounts.length === 0)
    mounts.push({ root: '/', point: version === 2 ? USUAL : `${USUAL}/${controller}` });
  // The mount that shows the most parents of the group. Of two mounts at the same point, the later hides the other.
  const within = mounts.filter(({ root }) => isWithin(path, root));
  const mount = within.reduce<Mount | null>(
    (best, one) => (best !== null && best.root.length < one.root.length ? best : one),
    null,
  );
  if (mount === null) return null;
  const directories: string[] = [];
  for (let at = path; isWithin(at, mount.root); at = posix.dirname(at)) {
    directories.push(posix.join(mount.point, posix.relative(mount.root, at)));
    if (at === '/') break;
  }
  return { version, directories };
}

/** A controller is in a hierarchy of version 1, or in the unnamed one of version 2: `0::/path`. */
function ownGroup(controller: Controller, text: string): { version: 1 | 2; path: string } | null {
  let unified: string | null = null;
  for (const line of text.split('\n')) {
    const [, id, controllers = '', path = ''] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers.split(',').includes(controller)) return seen(1, path);
    if (id === '0' && controllers === '') unified = path;
  }
  return unified === null ? null : seen(2, unified);
}

/** Null for a process that was moved out of its namespace: no mount inside shows its group `/../other`. */
function seen(version: 1 | 2, path: string): { version: 1 | 2; path: string } | null {
  return path.split('/').includes('..') ? null : { version, path };
}

function mountsOf(version: 1 | 2, controller: Controller, text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root = '', point = ''] = before.split(' ');
    const [type, , options = ''] = after.split(' ');
    const holds =
      version === 2 ? type === 'cgroup2' : type === 'cgroup' && options.split(',').includes(controller);
    if (holds) mounts.push({ root: unescaped(root), point: unescaped(point) });
  }
  return mounts;
}

/** Decodes a field of mountinfo, which has white space and backslashes in octal: `\040`. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function isWithin(path: string, root: string): boolean {
  return root === '/' || path === root || path.startsWith(`${root}/`);
}

/** Reads a file of the kernel; null if it cannot be read. */
type ReadKernelFile = (path: string) => string | null;

function readKernelFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The system is not Linux, the version of control groups differs, or a thread has ended.
    return null;
  }
}
