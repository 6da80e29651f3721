import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { RecorderSupervisor } from '../../../src/proxy/control/recorder-supervisor.ts';
import { accountOf } from '../../support/accounts.ts';
import { LogBook } from '../../support/log-book.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('a recorder that died of the signal that stops the recording is not started again', async () => {
  const entry = join(temporaryDirectory(), 'dies.mjs');
  writeFileSync(entry, 'process.exit(1);');
  const died = await new Promise<RecorderSupervisor<null>>((resolve) => {
    const ignore = () => undefined;
    const supervisor = new RecorderSupervisor<null>({
      entry,
      settings: null,
      accountOf,
      memory: { recorderHeapMib: 128, recorderBytes: Number.POSITIVE_INFINITY },
      priority: { niceness: 10, mayRaise: false, alone: false },
      queueFill: () => 0,
      clock: systemClock,
      logger: new LogBook(),
      events: {
        spawned: () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }),
        ready: ignore,
        beat: ignore,
        estimated: ignore,
        fault: ignore,
        died: () => setImmediate(() => resolve(supervisor)),
      },
    });
    supervisor.start();
  });
  expect(vi.getTimerCount()).toBe(1);
  await died.stop('crash_gap', true);
  expect(vi.getTimerCount()).toBe(0);
});
