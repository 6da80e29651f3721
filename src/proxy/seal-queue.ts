import { reasonOf } from '../core/errors.ts';
import type { Logger } from '../core/ports.ts';

/** Seals what is finished, beside everything else, and knows what of it is still under way. */
export class SealQueue {
  readonly #seal: (files: readonly string[]) => Promise<void>;
  readonly #logger: Logger;
  readonly #sealing = new Set<Promise<void>>();

  constructor(seal: (files: readonly string[]) => Promise<void>, logger: Logger) {
    this.#seal = seal;
    this.#logger = logger;
  }

  add(files: readonly string[]): void {
    if (files.length === 0) return;
    const sealing = this.#seal(files)
      .catch((error: unknown) => {
        const reason = reasonOf(error);
        this.#logger.error({ files, reason }, 'segment was not sealed; it stays readable');
      })
      .finally(() => this.#sealing.delete(sealing));
    this.#sealing.add(sealing);
  }

  async settled(): Promise<void> {
    await Promise.all(this.#sealing);
  }
}
