import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { leastMemoryBytes, memoryBudget } from '../../../src/app/recording/memory-budget.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import type { HostLimits } from '../../../src/monitors/host.ts';
import { heapFlags } from '../../../src/proxy/control/recorder-supervisor.ts';

const MIB = 1_024 * 1_024;
const full = {
  queueBytes: LIMITS.queueBytes,
  assemblyBytes: LIMITS.assemblyBudgetBytes,
  recorderHeapMib: LIMITS.recorderHeapMib,
  recorderBytes: LIMITS.recorderResidentBytes,
};

function host(memoryMib: number, memoryLimited: boolean): HostLimits {
  const memoryBytes = memoryMib * MIB;
  return { cpus: 1, cpuQuota: false, memoryBytes, memoryLimited, openFiles: null, coreBytes: 0 };
}

describe('the memory budget of a recording', () => {
  test('is whole where no control group limits it, however small the host', () => {
    expect(memoryBudget(host(256, false))).toEqual(full);
  });

  test('is whole in a large limit', () => {
    expect(memoryBudget(host(1_024, true))).toEqual(full);
  });

  test('leaves the proxy a quarter of a small limit', () => {
    const { queueBytes, recorderBytes } = memoryBudget(host(256, true));
    expect([queueBytes, recorderBytes]).toEqual([32 * MIB, 160 * MIB]);
  });

  test('does not shrink below what a recorder needs to work at all', () => {
    expect(memoryBudget(host(64, true))).toEqual(memoryBudget(host(192, true)));
  });

  test('fits a thousand connections into 256 MiB', () => {
    expect(leastMemoryBytes(1_000)).toBeLessThanOrEqual(256 * MIB);
  });

  test.each([192, 300, 431, 512])(
    'gives V8 sizes of heap that it takes, in a limit of %i MiB',
    (limitMib) => {
      const flags = heapFlags(memoryBudget(host(limitMib, true)).recorderHeapMib);
      expect(spawnSync(process.execPath, [...flags, '-e', ''], { encoding: 'utf8' })).toMatchObject({
        status: 0,
        stderr: '',
      });
    },
  );
});
