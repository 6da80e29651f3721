import { totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { readHostLimits } from '../../src/monitors/host.ts';

function limitsWith(files: Readonly<Record<string, string>>, constrainedBytes = 0) {
  return readHostLimits((path) => files[path] ?? null, constrainedBytes);
}

const MIB = 1024 * 1024;

test('reads the limits of a version 2 control group', () => {
  const limits = limitsWith({
    '/proc/self/cgroup': '0::/\n',
    '/sys/fs/cgroup/cpu.max': '50000 100000\n',
    '/sys/fs/cgroup/memory.max': '536870912\n',
    '/proc/self/limits':
      'Limit                     Soft Limit           Hard Limit           Units     \n' +
      'Max core file size        unlimited            unlimited            bytes     \n' +
      'Max open files            1024                 524288               files     \n',
  });
  expect(limits).toEqual({
    cpus: 0.5,
    cpuQuota: true,
    memoryBytes: 536870912,
    memoryLimited: true,
    openFiles: 1024,
    coreBytes: Number.POSITIVE_INFINITY,
  });
});

test('reads the limits of a version 1 control group', () => {
  const limits = limitsWith({
    '/proc/self/cgroup': '4:memory:/\n3:cpu,cpuacct:/\n',
    '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '150000\n',
    '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '1073741824\n',
  });
  expect(limits).toMatchObject({ cpus: 1.5, cpuQuota: true, memoryBytes: 1073741824, memoryLimited: true });
});

test('finds the limits of a unit of systemd and of the slice around it', () => {
  const limits = limitsWith({
    '/proc/self/cgroup': '0::/job.slice/job.service\n',
    '/sys/fs/cgroup/job.slice/cpu.max': '50000 100000\n',
    '/sys/fs/cgroup/job.slice/memory.max': 'max\n',
    '/sys/fs/cgroup/job.slice/job.service/cpu.max': '200000 100000\n',
    '/sys/fs/cgroup/job.slice/job.service/memory.max': `${200 * MIB}\n`,
  });
  expect(limits).toMatchObject({ cpus: 0.5, cpuQuota: true, memoryBytes: 200 * MIB, memoryLimited: true });
});

test('finds the limits of a group of version 1 that is not the root', () => {
  const limits = limitsWith({
    '/proc/self/cgroup': '4:memory:/nu\n1:cpu:/nu\n0::/\n',
    '/sys/fs/cgroup/cpu/nu/cpu.cfs_quota_us': '20000\n',
    '/sys/fs/cgroup/cpu/nu/cpu.cfs_period_us': '100000\n',
    '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
    '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    '/sys/fs/cgroup/memory/nu/memory.limit_in_bytes': `${200 * MIB}\n`,
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
  });
  expect(limits).toMatchObject({ cpus: 0.2, cpuQuota: true, memoryBytes: 200 * MIB, memoryLimited: true });
});

test('takes the limit that the runtime found where it is the smaller one', () => {
  const files = { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.max': `${200 * MIB}\n` };
  expect(limitsWith(files, 100 * MIB)).toMatchObject({ memoryBytes: 100 * MIB, memoryLimited: true });
  expect(limitsWith(files, 2 ** 64)).toMatchObject({ memoryBytes: 200 * MIB, memoryLimited: true });
  expect(limitsWith({}, 2 ** 64)).toMatchObject({ memoryLimited: false });
});

test.each([
  [
    'version 2',
    {
      '/proc/self/cgroup': '0::/\n',
      '/sys/fs/cgroup/cpu.max': 'max 100000\n',
      '/sys/fs/cgroup/memory.max': 'max\n',
    },
  ],
  [
    'version 1',
    {
      '/proc/self/cgroup': '4:memory:/\n3:cpu:/\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    },
  ],
  ['no control group', {}],
])('takes no limit for none: %s', (_, files) => {
  const limits = limitsWith(files);
  expect(limits).toMatchObject({ cpuQuota: false, memoryBytes: totalmem(), memoryLimited: false });
  expect(limits.cpus).toBeGreaterThanOrEqual(1);
});
