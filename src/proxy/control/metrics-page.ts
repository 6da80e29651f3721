import type { Clock } from '../../core/clock.ts';
import type { RecorderStatus } from '../../core/status.ts';
import { metricsOf } from './metrics.ts';

const SECOND_NS = 1e9;
/** More than any scraper and a person beside it ask for. Each takes a millisecond, and memory until it is collected. */
const FRESH_A_SECOND = 20;

/**
 * The text that a scrape is answered with: of this very moment, unless somebody asks without a pause. Then it is the
 * last one of the same second, so that who floods the probe port takes neither memory nor time from the traffic.
 */
export class MetricsPage {
  readonly #statusOf: () => RecorderStatus;
  readonly #clock: Clock;
  #secondNs = Number.NEGATIVE_INFINITY;
  #rendered = 0;
  #last: Promise<Buffer> | null = null;

  constructor(statusOf: () => RecorderStatus, clock: Clock) {
    this.#statusOf = statusOf;
    this.#clock = clock;
  }

  text(): Promise<Buffer> {
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#secondNs >= SECOND_NS) {
      this.#secondNs = nowNs;
      this.#rendered = 0;
    }
    if (this.#last === null || this.#rendered < FRESH_A_SECOND) {
      this.#rendered += 1;
      this.#last = metricsOf(this.#statusOf()).then((text) => Buffer.from(text, 'utf8'));
    }
    return this.#last;
  }
}
