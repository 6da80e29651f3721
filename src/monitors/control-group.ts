import { posix } from 'node:path';
import type { ReadKernelFile } from './kernel-file.ts';

export type Controller = 'cpu' | 'memory';

/** The control group that this process is in, as far as one controller goes. */
export interface ControlGroup {
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
