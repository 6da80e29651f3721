import { describe, expect, it } from 'vitest';
import { CpuThrottle } from '../../src/monitors/host.ts';

/** A host of version 2 groups, whose root has no quota. */
const ROOT = { '/sys/fs/cgroup/cpu.stat': 'usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n' };
const STAT = '/sys/fs/cgroup/job.slice/job.service/cpu.stat';

function statOf(nrThrottled: number, throttledUs: number): string {
  return `usage_usec 5\nnr_periods 9\nnr_throttled ${nrThrottled}\nthrottled_usec ${throttledUs}\n`;
}

/** The files may be changed meanwhile. */
function throttleOn(files: Record<string, string>, cgroup = '0::/job.slice/job.service\n') {
  files['/proc/self/cgroup'] = cgroup;
  return new CpuThrottle((path) => files[path] ?? null);
}

describe('CpuThrottle', () => {
  it('says whether the quota of a unit bit since it was made', () => {
    const files: Record<string, string> = { ...ROOT, [STAT]: statOf(1, 1_000) };
    const throttle = throttleOn(files);
    expect(throttle.throttled()).toBe(false);
    files[STAT] = statOf(1, 1_001);
    expect(throttle.throttled()).toBe(true);
  });

  it('says that the quota of a slice around the unit bit', () => {
    const slice = '/sys/fs/cgroup/job.slice/cpu.stat';
    const files: Record<string, string> = { ...ROOT, [STAT]: 'usage_usec 5\n', [slice]: statOf(0, 0) };
    const throttle = throttleOn(files);
    files[slice] = statOf(1, 0);
    expect(throttle.throttled()).toBe(true);
  });

  it('reads the counters of version 1', () => {
    const path = '/sys/fs/cgroup/cpu/job/cpu.stat';
    const files: Record<string, string> = {
      [path]: 'nr_periods 2\nnr_throttled 1\nthrottled_time 1800949203\n',
    };
    const throttle = throttleOn(files, '2:cpu,cpuacct:/job\n0::/\n');
    expect(throttle.throttled()).toBe(false);
    files[path] = 'nr_periods 3\nnr_throttled 2\nthrottled_time 1800949203\n';
    expect(throttle.throttled()).toBe(true);
  });

  it.each([
    ['no control groups', '', ROOT],
    ['a group that no mount shows, whatever its root says', '0::/elsewhere\n', ROOT],
    ['no counters', '0::/\n', { '/sys/fs/cgroup/cpu.stat': 'usage_usec 5\n' }],
  ])('does not know where the host does not say: %s', (_, cgroup, files) => {
    expect(throttleOn({ ...files }, cgroup).throttled()).toBeNull();
  });

  it('does not know once the process was moved to another group', () => {
    const files: Record<string, string> = { ...ROOT, [STAT]: statOf(1, 1_000) };
    const throttle = throttleOn(files);
    files['/proc/self/cgroup'] = '0::/\n';
    expect(throttle.throttled()).toBeNull();
  });
});
