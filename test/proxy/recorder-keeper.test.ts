import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { RecorderKeeper } from '../../src/proxy/recorder-keeper.ts';
import { LogBook } from '../support/log-book.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('a recorder that died of the signal that ended the start is not started again', async () => {
  const entry = join(temporaryDirectory(), 'dies.mjs');
  writeFileSync(entry, 'process.exit(1);');
  const died = await new Promise<RecorderKeeper<null>>((resolve) => {
    const ignore = () => undefined;
    const keeper = new RecorderKeeper<null>({
      entry,
      settings: null,
      lifeOf: () => 'life',
      pipes: 1,
      clock: systemClock,
      logger: new LogBook(),
      events: {
        spawned: () =>
          vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] }),
        ready: ignore,
        beat: ignore,
        finished: ignore,
        feedEnded: ignore,
        estimated: ignore,
        fault: ignore,
        gone: ignore,
        died: () => setImmediate(() => resolve(keeper)),
      },
    });
    keeper.spawn();
    keeper.open();
  });
  expect(vi.getTimerCount()).toBe(2);
  await died.abort();
  expect(vi.getTimerCount()).toBe(0);
});
