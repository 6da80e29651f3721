interface Lane<T> {
  /** In the order they came; the one that has the lane is not among them. */
  readonly waiting: T[];
}

/**
 * Recorded connections, each of which carries one request at a time, as it did when it was recorded. Memory is
 * that of the lanes in use: one that nothing is on and nothing waits for is forgotten.
 */
export class ConnectionLanes<T> {
  readonly #lanes = new Map<number, Lane<T>>();

  /** Takes the lane for something, or has it wait behind what came before it: false then. */
  enter(lane: number, item: T): boolean {
    const taken = this.#lanes.get(lane);
    if (taken === undefined) {
      this.#lanes.set(lane, { waiting: [] });
      return true;
    }
    taken.waiting.push(item);
    return false;
  }

  /** What was on the lane is over. @returns what has the lane now; null when nothing waited */
  leave(lane: number): T | null {
    const next = this.#lanes.get(lane)?.waiting.shift() ?? null;
    if (next === null) this.#lanes.delete(lane);
    return next;
  }

  /** Takes everything that waits, of all lanes: those of a lane in their order, the lanes in none. What has a lane keeps it. */
  takeWaiting(): T[] {
    return [...this.#lanes.values()].flatMap(({ waiting }) => waiting.splice(0));
  }
}
