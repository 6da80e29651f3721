import { describe, expect, it } from 'vitest';
import { priorityMeans } from '../../src/monitors/host.ts';

const readerOf = (files: Readonly<Record<string, string>>) => (path: string) => files[path] ?? null;

const AUTOGROUPS = { '/proc/sys/kernel/sched_autogroup_enabled': '1\n' };
const MOUNT_2 = '35 30 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
const MOUNT_1 = '32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n';
const ROOT_2 = { ...AUTOGROUPS, '/proc/self/cgroup': '0::/\n', '/proc/self/mountinfo': MOUNT_2 };
const UNIT_2 = { ...ROOT_2, '/proc/self/cgroup': '0::/system.slice/rec.service\n' };
const ROOT_1 = { ...AUTOGROUPS, '/proc/self/cgroup': '1:cpu:/\n', '/proc/self/mountinfo': MOUNT_1 };

describe('a session has a share of the processors of its own', () => {
  it.each([
    ['in the root of all groups', ROOT_2, true],
    ['in a unit that has no share itself', UNIT_2, true],
    ['in the root of version 1', { ...ROOT_1, '/sys/fs/cgroup/cpu/release_agent': '' }, true],
    ['not in a unit with a share', { ...UNIT_2, '/sys/fs/cgroup/system.slice/cpu.weight': '100' }, false],
    [
      'not in a container, which sees its group as the root',
      { ...ROOT_2, '/sys/fs/cgroup/cgroup.events': '' },
      false,
    ],
    ['not in a container of version 1', ROOT_1, false],
    ['not without autogroups', { ...ROOT_2, '/proc/sys/kernel/sched_autogroup_enabled': '0\n' }, false],
    ['not where no group is in sight', AUTOGROUPS, false],
  ])('%s', (_, files, ownShare) => {
    expect(priorityMeans(readerOf(files)).ownShare).toBe(ownShare);
  });
});

describe('a niceness can be taken back', () => {
  const limits = (nice: number) =>
    `Limit                     Soft Limit           Hard Limit           Units\nMax nice priority         ${nice}                    ${nice}\n`;

  it.each([
    ['by root', { '/proc/self/status': 'CapEff:\t000001ffffffffff\n' }, true],
    ['by the capability alone', { '/proc/self/status': 'CapEff:\t0000000000800000\n' }, true],
    ['by the limit', { '/proc/self/limits': limits(20) }, true],
    ['not by any other capability', { '/proc/self/status': 'CapEff:\t000001ffff7fffff\n' }, false],
    ['not by a lower limit', { '/proc/self/limits': limits(10) }, false],
    ['not where nothing is said', {}, false],
  ])('%s', (_, files, mayRaise) => {
    expect(priorityMeans(readerOf(files)).mayRaise).toBe(mayRaise);
  });
});

describe('a recording is alone in its group', () => {
  it.each([
    ['with an init and what started it', `1\n${process.ppid}\n${process.pid}\n`, true],
    ['not beside another program', `1\n${process.pid}\n${process.pid + 1}\n`, false],
  ])('%s', (_, pids, alone) => {
    const files = { ...ROOT_2, '/sys/fs/cgroup/cgroup.procs': pids };
    expect(priorityMeans(readerOf(files)).alone).toBe(alone);
  });

  it('not where nothing is said', () => {
    expect(priorityMeans(readerOf({})).alone).toBe(false);
  });
});
