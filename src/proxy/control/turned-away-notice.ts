import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/ports.ts';

const MINUTE_NS = 60e9;

/** Says that clients are turned away while they are: a line at once, and then one a minute at most. */
export class TurnedAwayNotice {
  readonly #clock: Clock;
  readonly #logger: Logger;
  #said = 0;
  #saidNs = Number.NEGATIVE_INFINITY;

  constructor(deps: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  /** @param turnedAway how many have been by now */
  look(turnedAway: number): void {
    const nowNs = this.#clock.nowNs();
    const since = turnedAway - this.#said;
    if (since <= 0 || nowNs - this.#saidNs < MINUTE_NS) return;
    this.#logger.warn(
      { connections: since, turnedAway },
      'client connections were turned away: as many are open as --max-connections and the limit of open files allow',
    );
    this.#said = turnedAway;
    this.#saidNs = nowNs;
  }
}
