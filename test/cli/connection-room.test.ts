import { describe, expect, test } from 'vitest';
import { connectionRoom } from '../../src/cli/connection-room.ts';
import type { HostLimits } from '../../src/monitors/host-limits.ts';

const host = (openFiles: number | null): HostLimits => ({
  cpus: 2,
  cpuQuota: false,
  memoryBytes: 1e9,
  memoryLimited: false,
  openFiles,
  coreBytes: 0,
});

describe('the room for connections', () => {
  test('is two descriptors each beside those kept free', () => {
    expect(connectionRoom(host(1_024), null)).toBe(462);
    expect(connectionRoom(host(1_023), null)).toBe(461);
  });

  test('of a gateway is what its requests in flight leave, and never less than that', () => {
    expect(connectionRoom(host(20_000), 1_024)).toBe(18_876);
    expect(connectionRoom(host(1_024), 1_024)).toBe(462);
  });

  test('is none where there is not even what is kept free', () => {
    expect(connectionRoom(host(64), null)).toBe(0);
    expect(connectionRoom(host(64), 10)).toBe(0);
  });

  test('is unknown where no limit is', () => {
    expect(connectionRoom(host(null), null)).toBeNull();
    expect(connectionRoom(host(Number.POSITIVE_INFINITY), null)).toBeNull();
  });
});
