import { reasonOf } from '../core/errors.ts';
import type { Logger } from '../core/ports.ts';

/** Seals finished segments, outside of this process. */
export interface SegmentSealer {
  /** Resolves when all of them have been tried. */
  seal(files: readonly string[]): Promise<void>;
  /** All that is still to be sealed gets so long. */
  stopWithin(limitMs: number): void;
}

/** Seals what is finished, beside everything else, and knows what of it is still under way. */
export class SealQueue {
  readonly #sealer: SegmentSealer;
  readonly #logger: Logger;
  readonly #sealing = new Set<Promise<void>>();

  constructor(sealer: SegmentSealer, logger: Logger) {
    this.#sealer = sealer;
    this.#logger = logger;
  }

  add(files: readonly string[]): void {
    if (files.length === 0) return;
    const sealing = this.#sealer
      .seal(files)
      .catch((error: unknown) => {
        const reason = reasonOf(error);
        this.#logger.error({ files, reason }, 'segment was not sealed; it stays readable');
      })
      .finally(() => this.#sealing.delete(sealing));
    this.#sealing.add(sealing);
  }

  /** Resolves when nothing is under way any more, which takes so long at most: what is not sealed by then stays. */
  async settle(limitMs: number): Promise<void> {
    this.#sealer.stopWithin(limitMs);
    await Promise.all(this.#sealing);
  }
}
