import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { SUPERVISION } from '../../../src/core/limits.ts';
import { HangWatch, readMainThread, type ThreadReading } from '../../../src/proxy/control/hang-watch.ts';
import { msUntil } from '../../support/recorder-watch.ts';

/** Looks once a second until it is judged to hang. @returns after how many seconds; null if not within ten minutes */
function secondsUntilHung(
  at: (second: number) => ThreadReading | null,
  starting = false,
  wordsUntil = 0,
): number | null {
  let second = 0;
  const watch = new HangWatch(() => at(second), 0);
  for (second = 1; second <= 600; second += 1) {
    if (second <= wordsUntil) watch.heard(second * 1e9 - 1);
    if (watch.look(second * 1e9, starting).hung) return second;
  }
  return null;
}

const limitS = SUPERVISION.heartbeatLimitMs / 1000;

describe('a recorder that says nothing', () => {
  it('is no hang while it waits for a processor, however long', () => {
    // One of 32 busy neighbours leaves it 7 ms a second.
    expect(secondsUntilHung((second) => ({ state: 'runnable', cpuMs: second * 7 }))).toBeNull();
  });

  it('is no hang while a commit waits for a slow disk', () => {
    const at = (second: number): ThreadReading => ({ state: 'asleep', cpuMs: second });
    expect(secondsUntilHung(at)).toBe(SUPERVISION.asleepLimitMs / 1000);
    expect(SUPERVISION.asleepLimitMs).toBeGreaterThan(60_000);
  });

  it('hangs when it got processor time without end', () => {
    const busy = (second: number): ThreadReading => ({ state: 'runnable', cpuMs: second * 1_000 });
    expect(secondsUntilHung(busy)).toBe(limitS + 1);
    expect(secondsUntilHung(busy, true)).toBe(SUPERVISION.startLimitMs / 1000 + 1);
    expect(secondsUntilHung(busy, false, 100)).toBe(100 + limitS);
  });

  it('hangs when it is stopped', () => {
    expect(secondsUntilHung(() => ({ state: 'stopped', cpuMs: 0 }))).toBe(limitS);
  });

  it('is judged by its silence where the system says nothing of it', () => {
    expect(secondsUntilHung(() => null)).toBe(SUPERVISION.asleepLimitMs / 1000);
  });
});

describe.runIf(process.platform === 'linux')('the main thread of a process', () => {
  it('is read: asleep, stopped, runnable, gone', async () => {
    const child = spawn('sh', ['-c', 'read line; while :; do :; done'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    const pid = child.pid as number;
    const state = () => readMainThread(pid)?.state;
    try {
      await msUntil(10_000, 'it waits', () => state() === 'asleep');
      const { cpuMs: before = Number.NaN } = readMainThread(pid) ?? {};
      process.kill(pid, 'SIGSTOP');
      await msUntil(10_000, 'it is stopped', () => state() === 'stopped');
      process.kill(pid, 'SIGCONT');
      child.stdin.write('go\n');
      await msUntil(10_000, 'it got time', () => (readMainThread(pid)?.cpuMs ?? 0) > before + 50);
      expect(state()).toBe('runnable');
    } finally {
      child.kill('SIGKILL');
    }
    await once(child, 'exit');
    expect(readMainThread(pid)).toBeNull();
  });
});
