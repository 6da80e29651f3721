import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Abilities of the host that some suites need, each found by trying it. A sandbox may refuse even root. */
const CONTROL_GROUPS = '/sys/fs/cgroup';

/** Whether a file system of our own can be mounted. */
export const canMount: boolean = (() => {
  const directory = mkdtempSync(join(tmpdir(), 'reprise-ability-'));
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', directory]);
  if (status === 0) spawnSync('umount', ['-l', directory]);
  rmSync(directory, { recursive: true, force: true });
  return status === 0;
})();

/** Whether a file can be given to another user. */
export const canGive: boolean = process.geteuid?.() === 0;

/** Whether our processes may set this niceness, and return to it. */
export function mayHaveNiceness(niceness: number): boolean {
  const sleeper = spawn('sleep', ['5'], { stdio: 'ignore' });
  try {
    for (const each of [niceness, niceness + 1, niceness]) setPriority(sleeper.pid ?? 0, each);
    return sleeper.pid !== undefined;
  } catch {
    return false;
  } finally {
    sleeper.kill('SIGKILL');
  }
}

/** Whether strace is installed and may attach to our processes. */
export const canTrace: boolean = (() => {
  const sleeper = spawn('sleep', ['5'], { stdio: 'ignore' });
  const { status, error } = spawnSync('timeout', [
    '1',
    'strace',
    '-qq',
    '-o',
    '/dev/null',
    '-p',
    String(sleeper.pid),
  ]);
  sleeper.kill('SIGKILL');
  // 124 means that it was still attached at its time-out.
  return error === undefined && status === 124;
})();

/** Whether control groups of version 1 can be made: memory and processor. */
export const canGroup: boolean = ['memory/memory.limit_in_bytes', 'cpu/cpu.cfs_quota_us'].every((file) => {
  const [controller = '', setting = ''] = file.split('/');
  const group = join(CONTROL_GROUPS, controller, `reprise-ability-${process.pid}`);
  try {
    mkdirSync(group);
    const able = existsSync(join(group, setting));
    if (able) writeFileSync(join(group, setting), controller === 'cpu' ? '100000' : String(64 * 1024 * 1024));
    rmdirSync(group);
    return able;
  } catch {
    // Control groups are not mounted, have another version, or are not allowed.
    return false;
  }
});
