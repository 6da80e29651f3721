import { expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { afterAtLeast, afterHearing, atInstant, LoopTime } from '../../../src/replay/engine/loop-time.ts';
import { socketPair } from '../../support/socket-pair.ts';

test('a timer that is set late in a millisecond, in a loop that is awake, is not early', async () => {
  for (let turn = 0; turn < 10; turn++) {
    while (systemClock.nowNs() % 1e6 < 0.9e6);
    const fromNs = systemClock.nowNs();
    let over = false;
    const done = new Promise<number>((resolve) =>
      afterAtLeast(systemClock, () => resolve(systemClock.nowNs() - fromNs), 3),
    ).finally(() => {
      over = true;
    });
    const stayAwake = (): void => {
      if (!over) setImmediate(stayAwake);
    };
    stayAwake();
    expect(await done).toBeGreaterThanOrEqual(3e6);
  }
});

test('an instant is never early, however short the wait, and one that was cancelled never comes', async () => {
  for (const waitNs of [0, 300_000, 1_000_000, 2_700_000, 5_000_000]) {
    const dueNs = systemClock.nowNs() + waitNs;
    let isCancelled = true;
    atInstant(
      systemClock,
      () => {
        isCancelled = false;
      },
      dueNs,
    )();
    const atNs = await new Promise<number>((resolve) =>
      atInstant(systemClock, () => resolve(systemClock.nowNs()), dueNs),
    );
    expect(atNs).toBeGreaterThanOrEqual(dueNs);
    expect(isCancelled).toBe(true);
  }
});

test('what came before somebody is given up is read before it: both waited for a loop that did not turn', async () => {
  const [here, there] = await socketPair();
  const events: string[] = [];
  const given = Promise.withResolvers<void>();
  here.on('data', () => events.push('heard'));
  const giveUp = (): void => {
    events.push('given up');
    given.resolve();
  };
  there.write('answer');
  afterHearing(new LoopTime(systemClock), giveUp, 2);
  const untilNs = systemClock.nowNs() + 30e6;
  while (systemClock.nowNs() < untilNs);
  await given.promise;
  expect(events).toEqual(['heard', 'given up']);
  for (const socket of [here, there]) socket.destroy();
});
