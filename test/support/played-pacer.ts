import { DueRing } from '../../src/replay/due-ring.ts';
import { InFlight } from '../../src/replay/in-flight.ts';
import { type Descriptor, LaunchPad } from '../../src/replay/launch-pad.ts';
import { Launcher } from '../../src/replay/launcher.ts';
import { runPacer } from '../../src/replay/pacer-thread.ts';
import { TickingClock } from './ticking-clock.ts';

const MS = 1_000_000;
export const START_NS = 2_000 * MS;

export interface Due {
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

/** The pacer of some senders whose requests are due as said, and what comes of that. */
export class Played {
  readonly clock = new TickingClock();
  readonly ring: SleptRing;
  readonly pad: LaunchPad;
  readonly inFlight = InFlight.create({ maxRequests: 1_000, maxBodyBytes: 2 ** 30 });
  readonly written: { readonly fd: number; readonly atNs: number }[] = [];
  /** Senders as they were woken, each with how many had been written by then. */
  readonly woken: { readonly sender: number; readonly written: number; readonly atNs: number }[] = [];
  readonly #orders: number[];

  constructor(dues: readonly Due[], senders: number) {
    this.ring = new SleptRing(DueRing.create(dues.length + 1, senders).memory, this.clock);
    this.pad = LaunchPad.create(senders);
    this.#orders = Array.from({ length: senders }, () => 0);
    for (const { offsetNs, sender } of dues) this.ring.push(offsetNs, sender);
    this.ring.finish();
  }

  /** Lays out the next request of a sender. @param fd by which it is told from others */
  layOut(sender: number, fd: number, tells = false): void {
    const order = this.#orders[sender] as number;
    this.#orders[sender] = order + 1;
    this.pad.layOut(sender, order, { fd, inode: 1_000 + fd, bytes: 10, bodyBytes: 0, tells });
  }

  run(takes: (fd: number) => number = () => 10): ReturnType<typeof runPacer> {
    const write = ({ fd }: Descriptor): number => {
      // Its own time, and not that of a look at it.
      this.written.push({ fd, atNs: this.clock.anchor().monotonicNs });
      return takes(fd);
    };
    const launcher = new Launcher(this.pad, this.ring.senders, this.inFlight, this.clock, write);
    return runPacer(this.ring, launcher, START_NS, this.clock, (sender) =>
      this.woken.push({ sender, written: this.written.length, atNs: this.clock.anchor().monotonicNs }),
    );
  }

  get fds(): number[] {
    return this.written.map(({ fd }) => fd);
  }
}

/** So many at one instant, a millisecond after the start. */
export const tied = (count: number, sender = 0): Due[] =>
  Array.from({ length: count }, () => ({ offsetNs: MS, sender }));
