import { Worker } from 'node:worker_threads';

/** Seals segments in a separate thread, like the recorder, and measures the disk usage meanwhile. */
export class SealingThread {
  readonly #worker = new Worker(new URL('./sealing-worker.ts', import.meta.url));
  readonly #peaks = new Map<string, number>();
  #open = 0;
  #failure: string | null = null;
  #wake: (() => void) | null = null;

  constructor() {
    this.#worker.on('message', (message: { directory: string; peakBytes: number; error: string | null }) => {
      this.#open -= 1;
      this.#failure ??= message.error;
      this.#peaks.set(
        message.directory,
        Math.max(this.#peaks.get(message.directory) ?? 0, message.peakBytes),
      );
      if (this.#open === 0) this.#wake?.();
    });
  }

  seal(file: string): void {
    this.#open += 1;
    this.#worker.postMessage(file);
  }

  /** Peak disk usage of a directory while one of its segments was being sealed. */
  peakOf(directory: string): number {
    return this.#peaks.get(directory) ?? 0;
  }

  /** Resolves when no segment waits to be sealed. */
  async idle(): Promise<void> {
    if (this.#open > 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure !== null) throw new Error(this.#failure);
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
