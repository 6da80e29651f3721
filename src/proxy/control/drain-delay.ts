/** The time in which a recording that is to end goes on accepting; somebody in a hurry ends it. */
export class DrainDelay {
  #hurried = false;
  #end: (() => void) | null = null;

  /** Somebody does not want to wait. */
  get hurried(): boolean {
    return this.#hurried;
  }

  wait(delayMs: number): Promise<void> {
    if (delayMs === 0 || this.#hurried) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#end = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  hurry(): void {
    this.#hurried = true;
    this.#end?.();
  }
}
