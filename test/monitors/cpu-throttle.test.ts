import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CpuThrottle } from '../../src/monitors/cpu-throttle.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

describe('CpuThrottle', () => {
  const write = (path: string, throttledUs: number) =>
    writeFileSync(path, `usage_usec 5\nnr_throttled 1\nthrottled_usec ${throttledUs}\n`);

  it('says whether the quota bit since it was made', () => {
    const path = join(temporaryDirectory(), 'cpu.stat');
    write(path, 1_000);
    const throttle = new CpuThrottle(path);
    expect(throttle.throttled()).toBe(false);
    write(path, 1_001);
    expect(throttle.throttled()).toBe(true);
  });

  it('does not know where the host does not say', () => {
    const directory = temporaryDirectory();
    expect(new CpuThrottle(join(directory, 'none')).throttled()).toBeNull();
    writeFileSync(join(directory, 'cpu.stat'), 'usage_usec 5\n');
    expect(new CpuThrottle(join(directory, 'cpu.stat')).throttled()).toBeNull();
  });
});
