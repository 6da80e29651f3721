import type { BusyMeter } from './busy-meter.ts';
import type { Activity } from './pending-send.ts';

/** A turn of the loop that did nothing takes some microseconds; what it took beyond this was not waiting. */
const EMPTY_TURN_NS = 20_000;

/** Tells turns of the loop that only waited for an instant from work. */
export class SpinAccount {
  readonly #busy: BusyMeter;
  readonly #activity: Activity;
  #lastTurnNs: number | null = null;
  #eventsAtLastTurn = 0;

  constructor(busy: BusyMeter, activity: Activity) {
    this.#busy = busy;
    this.#activity = activity;
  }

  /** A turn begins, at a monotonic instant. */
  turn(nowNs: number): void {
    if (this.#lastTurnNs !== null && this.#activity.events === this.#eventsAtLastTurn) {
      this.#busy.addSpin(Math.min(nowNs - this.#lastTurnNs, EMPTY_TURN_NS));
    }
    this.#lastTurnNs = nowNs;
    this.#eventsAtLastTurn = this.#activity.events;
  }

  /** No turn follows for now. */
  end(): void {
    this.#lastTurnNs = null;
  }
}
