import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { runReprise } from './process.ts';

/** The members of `reprise status --json` that tests read. */
export interface WatchedStatus {
  readonly state: string;
  readonly exchanges: number;
  readonly atUs: number;
  readonly pids: { readonly proxy: number; readonly recorder: number | null };
  readonly seen: Amounts;
  readonly recorded: Amounts;
  readonly pending: Amounts;
  readonly lost: Readonly<Record<string, Amounts>>;
  readonly omitted: Readonly<Record<string, Amounts>>;
}
interface Amounts {
  readonly bytes: number;
  readonly turns: number;
}

/** Scrapes metrics and account of a running recorder over HTTP, at its probe port, as Prometheus does. */
export async function scrape(probePort: number): Promise<ReadonlyMap<string, number>> {
  const series = new Map<string, number>();
  for (const line of (await textAt(probePort, '/metrics')).split('\n')) {
    const match = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line);
    if (match) series.set(match[1] as string, Number(match[2]));
  }
  return series;
}

/** Uses a new connection for each request, because the probe port may close connections. */
function textAt(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', port, path, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      answer.on('end', () => resolve(text));
      answer.on('error', reject);
    });
    asked.on('error', reject);
  });
}

/** The sum of a metric over its labels. */
export function totalOf(series: ReadonlyMap<string, number>, family: string): number {
  let sum = 0;
  for (const [name, value] of series) if (name === family || name.startsWith(`${family}{`)) sum += value;
  return sum;
}

/** The difference of the account's two sides in one scrape; 0 and 0 if it is balanced. */
export function scrapedImbalance(series: ReadonlyMap<string, number>): { bytes: number; turns: number } {
  const of = (unit: string) =>
    totalOf(series, `reprise_seen_${unit}_total`) -
    totalOf(series, `reprise_recorded_${unit}_total`) -
    totalOf(series, `reprise_lost_${unit}_total`) -
    totalOf(series, `reprise_omitted_${unit}_total`) -
    totalOf(series, `reprise_pending_${unit}`);
  return { bytes: of('bytes'), turns: of('turns') };
}

export async function statusOf(directory: string): Promise<WatchedStatus> {
  const { stdout, stderr, status } = await runReprise(['status', '--dir', directory, '--json']);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return JSON.parse(stdout) as WatchedStatus;
}

/** Scrapes until it is stopped, and checks the account's balance in every answer. */
export class EquationWatch {
  readonly imbalances: { bytes: number; turns: number }[] = [];
  readonly states = new Set<number>();
  scrapes = 0;
  #stopped = false;
  readonly #loop: Promise<void>;

  constructor(probePort: number, everyMs = 100) {
    this.#loop = this.#watch(probePort, everyMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
  }

  async #watch(probePort: number, everyMs: number): Promise<void> {
    while (!this.#stopped) {
      const balance = scrapedImbalance(await scrape(probePort));
      if (balance.bytes !== 0 || balance.turns !== 0) this.imbalances.push(balance);
      this.scrapes += 1;
      await sleep(everyMs);
    }
  }
}

/** Waits until `reached` is true. @returns the time in ms; fails after the limit */
export async function msUntil(
  limitMs: number,
  what: string,
  reached: () => boolean | Promise<boolean>,
): Promise<number> {
  const sinceMs = performance.now();
  while (!(await reached())) {
    if (performance.now() - sinceMs > limitMs) expect.fail(`${what}: not within ${limitMs} ms`);
    await sleep(50);
  }
  return performance.now() - sinceMs;
}
