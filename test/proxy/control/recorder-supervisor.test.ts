import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { RecorderSupervisor } from '../../../src/proxy/control/recorder-supervisor.ts';
import { accountOf } from '../../support/accounts.ts';
import { LogBook } from '../../support/log-book.ts';
import { RETHROWING } from '../../support/tap-side.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

afterEach(() => {
  vi.useRealTimers();
});

/** Ends at once, or cannot be started: supervised until its end is reported. */
async function supervisedUntilDied(entry: string): Promise<{
  supervisor: RecorderSupervisor<null>;
  how: string;
}> {
  return new Promise((resolve) => {
    const ignore = () => undefined;
    const supervisor = new RecorderSupervisor<null>({
      entry,
      settings: null,
      accountOf,
      memory: { recorderHeapMib: 128, recorderBytes: Number.POSITIVE_INFINITY },
      priority: { niceness: 10, isAlone: false },
      queueFill: () => 0,
      clock: systemClock,
      logger: new LogBook(),
      guard: RETHROWING,
      events: {
        spawned: ignore,
        ready: ignore,
        beat: ignore,
        estimated: ignore,
        begun: ignore,
        fault: ignore,
        died: ({ how }) => {
          vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
          setImmediate(() => resolve({ supervisor, how }));
        },
      },
    });
    supervisor.start();
  });
}

it('a recorder that died of the signal that stops the recording is not started again', async () => {
  const entry = join(temporaryDirectory(), 'dies.mjs');
  writeFileSync(entry, 'process.exit(1);');
  const { supervisor, how } = await supervisedUntilDied(entry);
  expect(how).toBe('exit 1');
  expect(vi.getTimerCount()).toBe(1);
  await supervisor.stop('crash_gap', true);
  expect(vi.getTimerCount()).toBe(0);
});

it('a recorder that the system refuses to start at once is tried again, and raises nothing', async () => {
  // Refused by fork itself, as it does for want of memory.
  const { supervisor, how } = await supervisedUntilDied('no\0entry');
  expect(how).toBe('not started');
  expect(supervisor.pid).toBe(null);
  expect(vi.getTimerCount()).toBe(1);
  await supervisor.stop('crash_gap', true);
  expect(vi.getTimerCount()).toBe(0);
});
