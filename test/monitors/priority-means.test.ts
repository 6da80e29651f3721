import { describe, expect, it } from 'vitest';
import { priorityMeans } from '../../src/monitors/host.ts';

const readerOf = (files: Readonly<Record<string, string>>) => (path: string) => files[path] ?? null;

const MOUNT_2 = '35 30 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
const ROOT_2 = { '/proc/self/cgroup': '0::/\n', '/proc/self/mountinfo': MOUNT_2 };

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
