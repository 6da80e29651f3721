/** The lead begins here, and is never longer. */
const GREATEST_NS = 60_000;
/** By how much a wake that comes too late lengthens the lead, and one that comes in time shortens it. */
const STEP_NS = 1_000;

/**
 * How long before an instant a thread asks its timer to be woken: as late as wakes are at the median. Hosts differ:
 * where a processor is halted by a hypervisor it takes 50 µs and more, elsewhere 5. What is too long is spent
 * waiting awake at each send, what is too short is lag; half of the sends wait awake for a moment so, and the others
 * are as late as their wake was beyond the usual. The quantile of a stream, by steps that balance there (Robbins and
 * Monro, 1951).
 */
export class WakeLead {
  #ns = GREATEST_NS;

  get ns(): number {
    return this.#ns;
  }

  /** A wake came so much later than it was asked for. */
  learn(lateNs: number): void {
    const step = lateNs > this.#ns ? STEP_NS : -STEP_NS;
    this.#ns = Math.min(GREATEST_NS, Math.max(0, this.#ns + step));
  }
}
