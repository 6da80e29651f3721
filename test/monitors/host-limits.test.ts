import { totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { readHostLimits } from '../../src/monitors/host-limits.ts';

function limitsWith(files: Readonly<Record<string, string>>) {
  return readHostLimits((path) => files[path] ?? null);
}

test('reads the limits of a version 2 control group', () => {
  const limits = limitsWith({
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
    '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '150000\n',
    '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '1073741824\n',
  });
  expect(limits).toMatchObject({ cpus: 1.5, cpuQuota: true, memoryBytes: 1073741824, memoryLimited: true });
});

test.each([
  ['version 2', { '/sys/fs/cgroup/cpu.max': 'max 100000\n', '/sys/fs/cgroup/memory.max': 'max\n' }],
  [
    'version 1',
    {
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
