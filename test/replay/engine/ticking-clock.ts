import type { Clock, ClockAnchor } from '../../../src/core/clock.ts';

/** A clock that moves a little with each reading, so that a spinning wait ends. Tests can schedule events on it. */
export class TickingClock implements Clock {
  readonly tickNs: number;
  #nowNs: number;
  #happens: { readonly atNs: number; readonly what: () => void }[] = [];

  constructor(nowNs = 1_000_000_000, tickNs = 1_000) {
    this.#nowNs = nowNs;
    this.tickNs = tickNs;
  }

  nowNs(): number {
    this.pass(this.tickNs);
    return this.#nowNs;
  }

  epochUs(): number {
    return this.#nowNs / 1_000;
  }

  anchor(): ClockAnchor {
    return { monotonicNs: this.#nowNs, epochUs: this.epochUs() };
  }

  /** Schedules an event at an instant. */
  at(atNs: number, what: () => void): void {
    this.#happens.push({ atNs, what });
  }

  /** Moves the time forward. */
  pass(ns: number): void {
    this.#nowNs += ns;
    const due = this.#happens.filter(({ atNs }) => atNs <= this.#nowNs);
    this.#happens = this.#happens.filter((each) => !due.includes(each));
    for (const { what } of due) what();
  }
}
