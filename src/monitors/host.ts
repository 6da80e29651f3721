import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { posix } from 'node:path';

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

/** The control group whose share of the processors a process has; null where the host does not say. */
export function shareGroupOf(pid: number, read: ReadKernelFile = readKernelFile): string | null {
  const ofProcess: ReadKernelFile = (path) => read(path.replace('/proc/self/', `/proc/${pid}/`));
  return controlGroupOf('cpu', ofProcess)?.directories[0] ?? null;
}

/** Whether our control group holds nothing beside us, but for an init and what started us. */
export function isAloneInGroup(read: ReadKernelFile = readKernelFile): boolean {
  const own = controlGroupOf('cpu', read)?.directories[0];
  const pids = read(`${own}/cgroup.procs`)?.trim().split('\n').map(Number);
  return pids?.every((pid) => pid === 1 || pid === process.pid || pid === process.ppid) ?? false;
}

/** How often, and for how long, a group was held back so far: times, and µs (version 2) or ns (version 1). */
const COUNTERS = /^(?:nr_throttled|throttled_usec|throttled_time) (\d+)$/gm;

/** Tells whether a CPU quota of our control group, or of one around it, held its processes back since it was made. */
export class CpuThrottle {
  readonly #read: ReadKernelFile;
  readonly #group: ControlGroup | null;
  readonly #before: readonly number[] | null;

  constructor(read: ReadKernelFile = readKernelFile) {
    this.#read = read;
    this.#group = controlGroupOf('cpu', read);
    this.#before = this.#counters();
  }

  /** Null where the host does not say: no control group in sight, no counters, or another group than before. */
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
    // Every group has the file, if only with times: where ours has none, what is around it is not ours.
    if (typeof own !== 'string') return null;
    const texts = [own, ...around].join('\n');
    const counts = [...texts.matchAll(COUNTERS)].map(([, count]) => Number(count));
    return counts.length === 0 ? null : counts;
  }
}

type Controller = 'cpu' | 'memory';

/** The control group that this process is in, as far as one controller goes. */
interface ControlGroup {
  readonly version: 1 | 2;
  /** Its directory and those of the groups around it, whose limits hold for it too: innermost first. */
  readonly directories: readonly string[];
}

/** One line of /proc/self/mountinfo that mounts a hierarchy of control groups. */
interface Mount {
  /** Which group of the hierarchy lies at `point`. */
  readonly root: string;
  readonly point: string;
}

const USUAL = '/sys/fs/cgroup';

/** Null where the system has none, or keeps it out of our sight. */
export function controlGroupOf(controller: Controller, read: ReadKernelFile): ControlGroup | null {
  const own = ownGroup(controller, read('/proc/self/cgroup') ?? '');
  if (own === null) return null;
  const { version, path } = own;
  const mounts = mountsOf(version, controller, read('/proc/self/mountinfo') ?? '');
  if (mounts.length === 0)
    mounts.push({ root: '/', point: version === 2 ? USUAL : `${USUAL}/${controller}` });
  // The mount that shows the most of what is around the group; of two on one place, the later hides the other.
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

/** A controller is in a hierarchy of version 1 or in that of version 2, which has no name: `0::/path`. */
function ownGroup(controller: Controller, text: string): { version: 1 | 2; path: string } | null {
  let unified: string | null = null;
  for (const line of text.split('\n')) {
    const [, id, controllers = '', path = ''] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers.split(',').includes(controller)) return seen(1, path);
    if (id === '0' && controllers === '') unified = path;
  }
  return unified === null ? null : seen(2, unified);
}

/** A process that was moved out of its namespace is in `/../other`, which no mount within shows. */
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

/** White space and backslashes are written in octal there: `\040`. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function isWithin(path: string, root: string): boolean {
  return root === '/' || path === root || path.startsWith(`${root}/`);
}

/** Reads a file of the kernel, or gives null where there is none. */
type ReadKernelFile = (path: string) => string | null;

function readKernelFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Another system, another version of control groups, or a thread that has ended.
    return null;
  }
}
