import { describe, expect, it } from 'vitest';
import { isAloneInGroup } from '../../src/monitors/host.ts';

const readerOf = (files: Readonly<Record<string, string>>) => (path: string) => files[path] ?? null;

const MOUNT_2 = '35 30 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
const ROOT_2 = { '/proc/self/cgroup': '0::/\n', '/proc/self/mountinfo': MOUNT_2 };

describe('a recording is alone in its group', () => {
  it.each([
    ['with an init and what started it', `1\n${process.ppid}\n${process.pid}\n`, true],
    ['not beside another program', `1\n${process.pid}\n${process.pid + 1}\n`, false],
  ])('%s', (_, pids, alone) => {
    const files = { ...ROOT_2, '/sys/fs/cgroup/cgroup.procs': pids };
    expect(isAloneInGroup(readerOf(files))).toBe(alone);
  });

  it('not where nothing is said', () => {
    expect(isAloneInGroup(readerOf({}))).toBe(false);
  });
});
