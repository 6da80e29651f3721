import { setPriority } from 'node:os';

/** What the system allows with the priority of a recorder. */
export interface PriorityMeans {
  /** A niceness that was given can be taken back. */
  readonly mayRaise: boolean;
  /** No other program has a part in our share of the processors. */
  readonly alone: boolean;
}

/** At this share of the queue, or after this silence, the recorder has the priority of the traffic. */
const EASED_FILL = 1 / 32;
const EASED_SILENCE_MS = 3_000;

/**
 * The priority of a recorder. Traffic comes first wherever both want a processor: on a host of two cores a commit would
 * make the proxy wait. But a recorder that gets no processor loses what it is there for. So it starts without niceness,
 * gets it once it records, and loses it as its queue fills or its word is late. A niceness that cannot be taken back is
 * not given beside other programs: a busy model server would keep the recorder from the processor for ever.
 */
export class RecorderPriority {
  readonly #pid: number;
  readonly #niceness: number;
  readonly #means: PriorityMeans;
  #now = 0;

  constructor(pid: number, niceness: number, means: PriorityMeans) {
    this.#pid = pid;
    this.#niceness = niceness;
    this.#means = means;
  }

  /**
   * @param fill the share of the queue that is in use
   * @param silentMs since the recorder said something
   */
  follow(fill: number, silentMs: number): void {
    if (!this.#means.mayRaise && !this.#means.alone) return;
    const need = Math.min(1, Math.max(fill / EASED_FILL, silentMs / EASED_SILENCE_MS - 0.5));
    const niceness = Math.round(this.#niceness * (1 - Math.max(0, need)));
    if (niceness === this.#now) return;
    this.#now = niceness;
    try {
      setPriority(this.#pid, niceness);
    } catch {
      // Not ours to insist on: everything works without it, and a process that has ended has no priority.
    }
  }
}
