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
