import type { MonitorSourceDocument, SeriesFacts } from '../documents/monitors.ts';

/** One value that a look found. */
export interface Reading extends SeriesFacts {
  readonly value: number;
  /** Of a mean: the count so far, `value` being the sum. */
  readonly base: number | null;
  /** When it was scraped, where a Prometheus between us and the server says so; null where it is of this instant. */
  readonly scrape: Scrape | null;
}

export interface Scrape {
  /** On the clock of the Prometheus, epoch milliseconds. */
  readonly atMs: number;
  /** By that clock, how long before the look. */
  readonly ageMs: number;
}

/** What one look at a source found. */
export interface Look {
  readonly readings: readonly Reading[];
  /** How old the oldest value is, milliseconds; null where the source does not say. */
  readonly ageMs: number | null;
  /** Names that are in no preset and that nobody asked for. */
  readonly unknown: number;
}

/** Something that can be looked at again and again. */
export interface MonitorSource {
  readonly name: string;
  readonly kind: MonitorSourceDocument['kind'];
  /** As it is shown: what is looked at. */
  readonly address: string | null;
  readonly intervalMs: number;
  /**
   * Looks once. Rejects for a look that failed.
   * @throws NoSuchSource where looking again is of no use
   */
  look(signal: AbortSignal): Promise<Look>;
}

/** What answers is no source of this kind: it is switched off, and one line says why. */
export class NoSuchSource extends Error {
  override readonly name = 'NoSuchSource';
}

export function readingOf(facts: Omit<Reading, 'labels' | 'base' | 'scrape'> & Partial<Reading>): Reading {
  return { labels: {}, base: null, scrape: null, ...facts };
}

/** Of the names of its series: they tell of our own side, so no objective is about them. */
export const GENERATOR = 'generator';

/** CPU and memory of our own process with all its threads, and the greatest lag of a send since the last look. */
export class GeneratorSource implements MonitorSource {
  readonly kind = 'generator';
  readonly name = GENERATOR;
  readonly address = null;
  readonly intervalMs: number;
  #lagNs: number | null = null;

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }

  /** A request left so much after its instant. */
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
