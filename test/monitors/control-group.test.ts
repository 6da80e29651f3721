import { describe, expect, it } from 'vitest';
import { controlGroupOf } from '../../src/monitors/host.ts';

function readerOf(cgroup: string, mountinfo = '') {
  return (path: string) => ({ '/proc/self/cgroup': cgroup, '/proc/self/mountinfo': mountinfo })[path] ?? null;
}

const VERSION_2 = '35 30 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n';

describe('controlGroupOf', () => {
  it('finds a unit of systemd and the slices around it', () => {
    const read = readerOf('0::/a.slice/a-b.slice/job.service\n', VERSION_2);
    expect(controlGroupOf('memory', read)).toEqual({
      version: 2,
      directories: [
        '/sys/fs/cgroup/a.slice/a-b.slice/job.service',
        '/sys/fs/cgroup/a.slice/a-b.slice',
        '/sys/fs/cgroup/a.slice',
        '/sys/fs/cgroup',
      ],
    });
  });

  it('finds the root that a namespace shows', () => {
    const read = readerOf('0::/\n', VERSION_2);
    expect(controlGroupOf('cpu', read)?.directories).toEqual(['/sys/fs/cgroup']);
  });

  it('goes by the controller where a host has both versions', () => {
    const read = readerOf(
      '5:cpuset:/\n4:memory:/unit\n3:cpu,cpuacct:/docker/c1/inner\n1:name=systemd:/\n0::/other\n',
      '32 31 0:29 /docker/c1 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n' +
        '33 31 0:30 / /cg\\040mem rw - cgroup none rw,memory\n' +
        '41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n',
    );
    expect(controlGroupOf('cpu', read)).toEqual({
      version: 1,
      // What is around a container lies in no mount that it sees.
      directories: ['/sys/fs/cgroup/cpu,cpuacct/inner', '/sys/fs/cgroup/cpu,cpuacct'],
    });
    expect(controlGroupOf('memory', read)?.directories).toEqual(['/cg mem/unit', '/cg mem']);
  });

  it('takes the usual places where nobody says what is mounted', () => {
    expect(controlGroupOf('cpu', readerOf('0::/u\n'))?.directories).toEqual([
      '/sys/fs/cgroup/u',
      '/sys/fs/cgroup',
    ]);
    expect(controlGroupOf('memory', readerOf('4:memory:/u\n'))?.directories).toEqual([
      '/sys/fs/cgroup/memory/u',
      '/sys/fs/cgroup/memory',
    ]);
  });

  it('takes the mount that shows the most, and the later of two on one place', () => {
    const read = readerOf(
      '0::/a/b\n',
      '30 1 0:1 /a/b /part rw - cgroup2 cgroup2 rw\n' +
        '31 1 0:1 / /hidden rw - cgroup2 cgroup2 rw\n' +
        '32 1 0:1 / /all rw - cgroup2 cgroup2 rw\n',
    );
    expect(controlGroupOf('cpu', read)?.directories).toEqual(['/all/a/b', '/all/a', '/all']);
  });

  it.each([
    ['no control groups', '', ''],
    ['a process that was moved out of its namespace', '0::/../other\n', VERSION_2],
    ['a mount of another part', '0::/mine\n', VERSION_2.replace(' / ', ' /my ')],
    ['a mount from outside the namespace', '0::/\n', VERSION_2.replace(' / ', ' /../.. ')],
  ])('finds none: %s', (_, cgroup, mountinfo) => {
    expect(controlGroupOf('cpu', readerOf(cgroup, mountinfo))).toBeNull();
  });
});
