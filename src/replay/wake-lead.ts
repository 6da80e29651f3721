/** Bounds of the lead; it begins at the greatest. */
const LEAST_NS = 8_000;
const GREATEST_NS = 60_000;
/** Share of wakes that come in time. */
const IN_TIME = 0.9;
/** By how much a wake that comes too late lengthens the lead, less a tenth; one that comes in time shortens it by that. */
const STEP_NS = 2_000;

/**
 * How long before an instant a thread has to be woken by its timer to be awake when it comes. Hosts differ: where
 * a processor is halted by a hypervisor that takes 50 µs and more, elsewhere 5. What is too long is spent waiting
 * awake at each send, what is too short is lag; so the lead follows what wakes take: the quantile of a stream,
 * by steps that balance there (Robbins and Monro, 1951).
 */
export class WakeLead {
  #ns = GREATEST_NS;

  get ns(): number {
    return this.#ns;
  }

  /** A wake came so much later than it was asked for. */
  learn(lateNs: number): void {
    const step = lateNs > this.#ns ? IN_TIME : IN_TIME - 1;
    this.#ns = Math.min(GREATEST_NS, Math.max(LEAST_NS, this.#ns + step * STEP_NS));
  }
}
