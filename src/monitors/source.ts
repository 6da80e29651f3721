import type { MonitorSourceDocument, SeriesFacts } from '../documents/monitors.ts';

/** One value that a look found. */
export interface Reading extends SeriesFacts {
  readonly value: number;
  /** For a mean, the count so far; `value` is the sum. */
  readonly base: number | null;
  /** When a Prometheus between us and the server scraped it; null if the value is current. */
  readonly scrape: Scrape | null;
}

export interface Scrape {
  /** On the clock of the Prometheus, epoch milliseconds. */
  readonly atMs: number;
  /** Time from the scrape to the look, on the same clock. */
  readonly ageMs: number;
}

/** The result of one look at a source. */
export interface Look {
  readonly readings: readonly Reading[];
  /** Age of the oldest value, milliseconds; null if unknown. */
  readonly ageMs: number | null;
  /** Number of names that are neither in a preset nor requested. */
  readonly unknown: number;
}

/** A source that can be looked at repeatedly. */
export interface MonitorSource {
  readonly name: string;
  readonly kind: MonitorSourceDocument['kind'];
  /** What is looked at, for display. */
  readonly address: string | null;
  readonly intervalMs: number;
  /**
   * Looks once. Rejects if the look fails.
   * @throws NoSuchSource if another look would fail too
   */
  look(signal: AbortSignal): Promise<Look>;
}

/** The server that answers is no source of this kind. The source is switched off, and a note says why. */
export class NoSuchSource extends Error {
  override readonly name = 'NoSuchSource';
}

export function readingOf(facts: Omit<Reading, 'labels' | 'base' | 'scrape'> & Partial<Reading>): Reading {
  return { labels: {}, base: null, scrape: null, ...facts };
}

/** Name of our own source. Its series describe the load generator, so objectives cannot use them. */
export const GENERATOR = 'generator';

/** CPU and memory of our own process with all its threads, and the largest lag of a send since the last look. */
export class GeneratorSource implements MonitorSource {
  readonly kind = 'generator';
  readonly name = GENERATOR;
  readonly address = null;
  readonly intervalMs: number;
  #lagNs: number | null = null;

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }

  /** Notes how late a request was sent. */
  noteLag(lagNs: number): void {
    this.#lagNs = Math.max(this.#lagNs ?? 0, lagNs);
  }

  async look(): Promise<Look> {
    const { user, system } = process.cpuUsage();
    const lagNs = this.#lagNs;
    this.#lagNs = null;
    const gauge = { kind: 'gauge', metric: 'process' } as const;
    return {
      readings: [
        readingOf({
          name: 'generator_cpu',
          metric: 'process',
          kind: 'counter',
          unit: 's',
          value: (user + system) / 1e6,
        }),
        readingOf({ ...gauge, name: 'generator_memory', unit: 'bytes', value: process.memoryUsage.rss() }),
        ...(lagNs === null
          ? []
          : [readingOf({ ...gauge, name: 'generator_lag', unit: 's', value: lagNs / 1e9 })]),
      ],
      ageMs: 0,
      unknown: 0,
    };
  }
}
