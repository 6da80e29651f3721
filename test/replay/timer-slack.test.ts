import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { expect, test } from 'vitest';
import { tightenTimers } from '../../src/replay/timer-slack.ts';

const isThere = existsSync('/proc/thread-self') && existsSync(`/proc/${process.pid}/timerslack_ns`);

test.skipIf(!isThere)(
  'the timers of the calling thread are tightened where the host lets us (needs /proc)',
  () => {
    const thread = readlinkSync('/proc/thread-self').split('/').at(-1);
    const before = readFileSync(`/proc/${thread}/timerslack_ns`, 'utf8').trim();
    const after = tightenTimers() ? '1' : before;
    expect(readFileSync(`/proc/${thread}/timerslack_ns`, 'utf8').trim()).toBe(after);
  },
);
