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

/** A proxy that takes this share of a processor is busy itself. */
const BUSY_SHARE = 0.25;
/** After this time of being less busy, it has its priority again. */
const CALM_NS = 2e9;

/**
 * The priority of the process that forwards. Each request waits for it twice, and what it does then is little: beside a
 * model server that takes every processor, clients would wait longer for it than for the model. nginx calls the same
 * `worker_priority`. A proxy that is busy itself has none: woken for each request alone, it would take a quarter more of
 * a processor for each.
 */
export class ProxyPriority {
  readonly #pid: number;
  readonly #niceness: number;
  #isRaised = true;
  #busyNs = Number.NEGATIVE_INFINITY;

  /** @throws what the system says when it refuses that niceness */
  constructor(pid: number, niceness: number) {
    this.#pid = pid;
    this.#niceness = niceness;
    setPriority(pid, niceness);
  }

  /** @param share of a processor, that the proxy took since the last call */
  follow(share: number, nowNs: number): void {
    if (share > BUSY_SHARE) this.#busyNs = nowNs;
    const isRaised = nowNs - this.#busyNs > CALM_NS;
    if (isRaised === this.#isRaised || this.#niceness >= 0) return;
    this.#isRaised = isRaised;
    try {
      setPriority(this.#pid, isRaised ? this.#niceness : 0);
    } catch {
      // The right to it was taken from us meanwhile: traffic flows at the usual priority.
    }
  }
}
