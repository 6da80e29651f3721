import { type ChildProcess, spawn } from 'node:child_process';
import { getPriority, setPriority } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { ForwardingPriority, RecorderPriority, ThreadPriority } from '../../../src/proxy/control/priority.ts';
import { mayHaveNiceness } from '../../support/host-abilities.ts';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function sleeper(): number {
  const child = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  children.push(child);
  return child.pid as number;
}

const mayRaise = mayHaveNiceness(0);
const mayBeBefore = mayHaveNiceness(-10);
/** The traffic's: that of the process that tests. */
const own = Math.max(0, getPriority());
const IDLE = [0, 0] as const;
const EASED = [1, 0] as const;

describe.runIf(process.platform === 'linux')('the priority of a recorder', () => {
  it('is lowered by a step at most beside other programs where it could not be raised again', ({ skip }) => {
    skip(mayRaise, 'this user may raise a niceness');
    const pid = sleeper();
    const priority = new RecorderPriority(pid, 10, false);
    priority.follow(...IDLE);
    priority.follow(...EASED);
    expect(getPriority(pid)).toBe(1);
  });

  it('is lowered for good where the traffic alone competes with it', () => {
    const pid = sleeper();
    new RecorderPriority(pid, 10, true).follow(...IDLE);
    expect(getPriority(pid)).toBe(10);
  });

  it.runIf(mayRaise)('eases as the queue fills, and when its word is late', () => {
    const pid = sleeper();
    const priority = new RecorderPriority(pid, 10, false);
    const at = (fill: number, silentMs: number) => {
      priority.follow(fill, silentMs);
      return getPriority(pid);
    };
    const atLeastOwn = (niceness: number) => Math.max(own, niceness);
    expect([at(0, 0), at(1 / 64, 0), at(1 / 32, 0), at(1.5, 0)]).toEqual([10, 5, 0, 0].map(atLeastOwn));
    expect([at(0, 1_000), at(0, 3_000), at(0, 60_000)]).toEqual([10, 5, 0].map(atLeastOwn));
  });

  it.runIf(mayBeBefore)('is the usual one from the start, whatever the traffic has', () => {
    const pid = sleeper();
    setPriority(pid, -10);
    const priority = new RecorderPriority(pid, 10, false);
    expect(getPriority(pid)).toBe(0);
    priority.follow(...IDLE);
    priority.follow(...EASED);
    expect(getPriority(pid)).toBe(own);
  });

  it.runIf(mayRaise)('is never above that of the traffic', () => {
    const before = getPriority();
    setPriority(7);
    try {
      const pid = sleeper();
      const priority = new RecorderPriority(pid, 10, true);
      priority.follow(...IDLE);
      expect(getPriority(pid)).toBe(10);
      priority.follow(...EASED);
      expect(getPriority(pid)).toBe(7);
    } finally {
      setPriority(before);
    }
  });

  it('does nothing to a process that has ended', () => {
    expect(() => setPriority(2 ** 30, 10)).toThrow();
    new RecorderPriority(2 ** 30, 10, true).follow(...IDLE);
  });
});

describe.runIf(process.platform === 'linux')('the priority of a proxy', () => {
  it.runIf(mayBeBefore)('goes while it is busy itself, and comes back when it has been calm', () => {
    const pid = sleeper();
    const priority = new ForwardingPriority(pid, -10);
    const at = (share: number, second: number) => {
      priority.follow(share, second * 1e9);
      return getPriority(pid);
    };
    expect([at(0.02, 1), at(0.9, 2), at(0.02, 3), at(0.02, 4), at(0.02, 4.1)]).toEqual([-10, 0, 0, 0, -10]);
  });

  it('that is lower than that of others stays as it is', () => {
    const pid = sleeper();
    const priority = new ForwardingPriority(pid, 5);
    priority.follow(0.9, 1e9);
    expect(getPriority(pid)).toBe(5);
  });

  it('says when the system refuses', () => {
    expect(() => new ForwardingPriority(2 ** 30, -10)).toThrow();
  });
});

describe.runIf(process.platform === 'linux')('the priority of a thread', () => {
  /** Takes it on this thread, and gives it back. Between two looks, the thread works for 20 ms of its own. */
  function taken(
    before: number,
    looks: readonly { share: number; afterMs: number }[] = [],
  ): { had: number; now: number[] } {
    const own = getPriority();
    try {
      setPriority(before);
      const priority = new ThreadPriority(-10);
      const now = [getPriority()];
      let atMs = 0;
      priority.follow(0, atMs);
      for (const { share, afterMs } of looks) {
        const { user, system } = process.cpuUsage();
        for (;;) {
          const used = process.cpuUsage();
          if (used.user + used.system - user - system > 20_000) break;
        }
        atMs += afterMs;
        priority.follow(share, atMs * 1e6);
        now.push(getPriority());
      }
      return { had: priority.highest, now };
    } finally {
      setPriority(own);
    }
  }

  it.runIf(mayBeBefore)('is taken where the system allows it', () => {
    expect(taken(0)).toEqual({ had: -10, now: [-10] });
  });

  it.runIf(mayBeBefore)('goes while it is busy, and comes back when it has been calm', () => {
    const calm = { share: 0.2, afterMs: 1_000 };
    const looks = [calm, { share: 0.9, afterMs: 25 }, calm, { ...calm, afterMs: 900 }, calm];
    expect(taken(0, looks)).toEqual({ had: 0, now: [-10, -10, 0, 0, 0, -10] });
  });

  it.runIf(mayBeBefore)('stays while it waits for a processor that others have', () => {
    expect(taken(0, [{ share: 0.9, afterMs: 1_000 }])).toEqual({ had: -10, now: [-10, -10] });
  });

  it('is the usual one where the system refuses', ({ skip }) => {
    skip(mayBeBefore, 'this user may have a niceness below 0');
    const own = getPriority();
    expect(taken(own)).toEqual({ had: own, now: [own] });
  });

  it.runIf(mayRaise)('stays as it was if the user started us with another', () => {
    expect(taken(7, [{ share: 0.9, afterMs: 25 }])).toEqual({ had: 7, now: [7, 7] });
  });
});
