import { type Look, type MonitorSource, readingOf } from './source.ts';

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
