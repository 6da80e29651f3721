import { fstatSync, writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { rehearseLaunches } from '../../src/replay/launch-rehearsal.ts';

test('launching is rehearsed with a file of its own that keeps nothing, and leaves none open', () => {
  const taken = new Map<string, number>();
  rehearseLaunches(systemClock, ({ fd, inode }, bytes, length) => {
    expect(fstatSync(fd).isCharacterDevice()).toBe(true);
    const key = `${fd} ${inode}`;
    taken.set(key, (taken.get(key) ?? 0) + 1);
    return writeSync(fd, bytes, 0, length);
  });
  expect([...taken.values()]).toEqual([2_000]);
  const [fd = '', inode] = [...taken.keys()][0]?.split(' ') ?? [];
  let open = true;
  try {
    open = fstatSync(Number(fd)).ino === Number(inode);
  } catch {
    open = false;
  }
  expect(open).toBe(false);
});
