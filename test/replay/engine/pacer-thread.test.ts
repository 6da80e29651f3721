import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RESTED_AFTER_NS, RESTED_LEAD_NS, runPacer, WAKE_LEAD_NS } from '../../../src/replay/engine/pacer.ts';
import { DueRing } from '../../../src/replay/engine/shared-memory.ts';
import { TickingClock } from './ticking-clock.ts';

const MS = 1_000_000;
const START_NS = 2_000 * MS;

interface Due {
  readonly offsetNs: number;
  readonly sender: number;
}

/** A ring on which to sleep takes no time but that of a clock. */
class SleptRing extends DueRing {
  readonly slept: number[] = [];
  readonly #clock: TickingClock;
  /** How much later than it asked for a sleeper is up. */
  lateNs = 0;

  constructor(memory: SharedArrayBuffer, clock: TickingClock) {
    super(memory);
    this.#clock = clock;
  }

  override sleep(changes: number, waitMs: number): void {
    if (changes !== this.changes()) return;
    if (!Number.isFinite(waitMs)) throw new Error('nobody would ever end this sleep');
    this.slept.push(waitMs);
    this.#clock.pass(waitMs * MS + this.lateNs);
  }
}

/** The pacer of some senders whose requests are due as said, and whom it woke when. */
class Played {
  readonly clock = new TickingClock();
  readonly ring: SleptRing;
  readonly woken: { readonly sender: number; readonly atNs: number }[] = [];

  constructor(dues: readonly Due[], senders: number) {
    this.ring = new SleptRing(DueRing.create(dues.length + 1, senders).memory, this.clock);
    for (const { offsetNs, sender } of dues) this.ring.push(offsetNs, sender);
    this.ring.finish();
  }

  run() {
    return runPacer(this.ring, START_NS, this.clock, (sender) =>
      this.woken.push({ sender, atNs: this.clock.nowNs() }),
    );
  }
}

const tied = (count: number, sender = 0): Due[] =>
  Array.from({ length: count }, () => ({ offsetNs: MS, sender }));

describe('the pacer', () => {
  test('wakes the sender of each request ahead of its instant, and not long before', () => {
    const due = fc.record({
      gapNs: fc.oneof(fc.integer({ min: 1, max: 3 * MS }), fc.integer({ min: 1, max: 20 * MS })),
      sender: fc.nat(2),
    });
    fc.assert(
      fc.property(fc.array(due, { minLength: 1, maxLength: 20 }), (gaps) => {
        let offsetNs = 0;
        const dues = gaps.map(({ gapNs, sender }) => {
          offsetNs += gapNs;
          return { offsetNs, sender };
        });
        const played = new Played(dues, 3);
        played.run();
        const slackNs = 4 * dues.length * played.clock.tickNs;
        const [lastNs, restedNs] = [new Map<number, number>(), new Map<number, number>()];
        for (const { offsetNs, sender } of dues) {
          if (offsetNs - (lastNs.get(sender) ?? -Infinity) > RESTED_AFTER_NS) restedNs.set(sender, offsetNs);
          lastNs.set(sender, offsetNs);
          // After a pause it is woken earlier, also for what comes until it would be woken without a pause.
          const sinceNs = offsetNs - (restedNs.get(sender) ?? -Infinity);
          const isRested = sinceNs <= RESTED_LEAD_NS - WAKE_LEAD_NS;
          const mostNs = isRested ? RESTED_LEAD_NS + sinceNs : WAKE_LEAD_NS;
          const wokenNs = played.woken
            .filter((woken) => woken.sender === sender)
            .map(({ atNs }) => START_NS + offsetNs - atNs);
          expect(wokenNs.some((aheadNs) => aheadNs <= mostNs && aheadNs >= WAKE_LEAD_NS - slackNs)).toBe(
            true,
          );
        }
      }),
    );
  });

  test('wakes a sender earlier after a pause', () => {
    const played = new Played(
      [MS, 2 * MS, 12 * MS].map((offsetNs) => ({ offsetNs, sender: 0 })),
      1,
    );
    played.run();
    const aheadUs = played.woken.map(({ atNs }, index) => (START_NS + [1, 2, 12][index]! * MS - atNs) / 1e3);
    const leadsUs = [RESTED_LEAD_NS, WAKE_LEAD_NS, RESTED_LEAD_NS].map((ns) => ns / 1e3);
    expect(aheadUs.map((us, index) => Math.abs(us - leadsUs[index]!) < 50)).toEqual([true, true, true]);
  });

  test('wakes a sender once for all that is due at once', () => {
    const played = new Played([...tied(5, 0), ...tied(3, 2), { offsetNs: 5 * MS, sender: 1 }], 3);
    played.run();
    expect(played.woken.map(({ sender }) => sender)).toEqual([0, 2, 1]);
  });

  test('wakes no sender that is awake', () => {
    const played = new Played([...tied(2, 0), ...tied(2, 1)], 2);
    played.ring.signalsOf(0).setSenderAwake(true);
    played.run();
    expect(played.woken.map(({ sender }) => sender)).toEqual([1]);
  });

  test('says how late it woke itself', () => {
    const played = new Played(
      [MS, 5 * MS].map((offsetNs) => ({ offsetNs, sender: 0 })),
      1,
    );
    played.ring.lateNs = 70_000;
    const { count, maxNs } = played.run();
    expect(count).toBe(2);
    expect(maxNs).toBeGreaterThanOrEqual(70_000);
  });

  test('ends at once when it is stopped, whatever is due', () => {
    const played = new Played(tied(1), 1);
    played.ring.stop();
    expect(played.run().count).toBe(0);
    expect(played.woken).toEqual([]);
  });
});
