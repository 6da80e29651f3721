import type { Clock } from '../../core/clock.ts';
import { SERVER_DETAILS } from '../../core/limits.ts';
import { Durations, type SenderConnections } from '../engine/health.ts';

/** Connection counts over the life of a run. */
export class Use {
  failed = 0;
  openedAhead = 0;
  /** Opened because all others had as many streams as the target allows. */
  openedAtLimit = 0;
  /** Parts of request streams that left before an answer that they had followed when they were recorded. */
  overtaken = 0;
  readonly #connectTimes = new Durations();
  #opened = 0;
  #open = 0;
  #openMax = 0;
  #used = 0;
  #requests = 0;
  /** The most requests on one connection. */
  requestsMax = 0;
  readonly #byAddress = new Map<string, { connections: number; requests: number; firstNs: number | null }>();
  readonly #software = new Set<string>();

  noteOpened(address: string, tookNs: number): void {
    this.#connectTimes.record(tookNs);
    this.#opened += 1;
    this.#open += 1;
    this.#openMax = Math.max(this.#openMax, this.#open);
    this.#useOf(address).connections += 1;
  }

  noteClosed(): void {
    this.#open -= 1;
  }

  /** A request was written. `nth` is its number on its connection, from 1. */
  noteRequest(address: string, nth: number, clock: Clock): void {
    if (nth === 1) this.#used += 1;
    this.#requests += 1;
    this.requestsMax = Math.max(this.requestsMax, nth);
    const use = this.#useOf(address);
    use.requests += 1;
    use.firstNs ??= clock.nowNs();
  }

  /** An answer names the software of its server. */
  noteSoftware(name: string): void {
    if (this.#software.size < SERVER_DETAILS.servers)
      this.#software.add(name.slice(0, SERVER_DETAILS.valueChars));
  }

  figures(): SenderConnections {
    const mean = this.#used === 0 ? 0 : this.#requests / this.#used;
    return {
      opened: this.#opened,
      openedAhead: this.openedAhead,
      openedAtLimit: this.openedAtLimit,
      overtaken: this.overtaken,
      failed: this.failed,
      openMax: this.#openMax,
      used: this.#used,
      connect: this.#connectTimes.packed(),
      requestsPerConnection: { mean, max: this.requestsMax },
      byAddress: [...this.#byAddress].map(([address, use]) => ({ address, ...use })),
      software: [...this.#software],
    };
  }

  #useOf(address: string) {
    const use = this.#byAddress.get(address) ?? { connections: 0, requests: 0, firstNs: null };
    this.#byAddress.set(address, use);
    return use;
  }
}
