import type { Shard } from '../options/parsers.ts';
import { drawKeyOf, type SeededDraws } from './draws.ts';
import { identityOf } from './scaling.ts';
import type { PlannedSend } from './schedule.ts';

/**
 * Which sends of a schedule one shard plays. Everything else was decided before, the same on every host; so every
 * send is played by exactly one shard, without a word between them. A session stays whole and so does each of its
 * copies, which is somebody else and may go elsewhere; an exchange without a session goes by its place.
 */
export class Stripe {
  readonly #shard: Shard | null;
  readonly #draws: SeededDraws;
  #place = -1;

  /** @param shard null for the whole schedule */
  constructor(shard: Shard | null, draws: SeededDraws) {
    this.#shard = shard;
    this.#draws = draws;
  }

  /** To be asked of every send of the schedule, in order, each once. */
  holds({ row, copy, layer }: PlannedSend): boolean {
    this.#place += 1;
    if (this.#shard === null) return true;
    const { index, count } = this.#shard;
    if (row.session === null) return this.#place % count === index;
    const drawn = this.#draws.draw(drawKeyOf(row), 'stripe', identityOf(layer, copy));
    return Math.floor(drawn * count) === index;
  }
}
