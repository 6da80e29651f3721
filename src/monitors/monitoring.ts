import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { NS_PER_MS } from '../core/units.ts';
import type { MonitorSample, MonitorSourceDocument, SeriesFacts } from '../documents/monitors.ts';
import { type Look, type MonitorSource, NoSuchSource, type Scrape } from './source.ts';

/** A stored value of one series. */
export interface KeptSample extends MonitorSample {
  /** Number of the series within the run. */
  readonly series: number;
}

/** Stores series and their values during a run. */
interface MonitorSink {
  /** Adds a series when it is seen for the first time. */
  addSeries(series: number, source: string, facts: SeriesFacts): void;
  addSamples(samples: readonly KeptSample[]): void;
}

interface MonitoringParts {
  readonly sources: readonly MonitorSource[];
  readonly sink: MonitorSink;
  readonly clock: Clock;
  /** The run's zero on the monotonic clock; null until it is known. */
  readonly startNs: () => number | null;
  /** Tells the user that a source was switched off. */
  readonly note: (line: string) => void;
}

/**
 * Looks at every source in its interval during a run. It also looks once before and once after the run, so that
 * counters have both edges. Sources do not wait for each other, and only the end of the run waits for looks. A look
 * that hangs is given up; looks of the source that came due meanwhile fail too.
 */
export class Monitoring {
  readonly #watches: readonly Watch[];

  constructor(parts: MonitoringParts) {
    const numbers = { series: 0, values: 0 };
    this.#watches = parts.sources.map((source) => new Watch(source, parts, numbers));
  }

  /** Starts the look before the run and the looks during it. */
  begin(): void {
    for (const watch of this.#watches) watch.begin();
  }

  /**
   * Looks once after the run and stores everything. Takes at most the time limit of a look.
   * @param waits also to wait, for a limited time, until each Prometheus scraped its counters after the run
   * @throws AppError OUTPUT_UNWRITABLE if values could not be stored
   */
  async end(waits = true): Promise<void> {
    await Promise.all(this.#watches.map((watch) => watch.end(waits)));
  }

  /** Ends all looks without another one. */
  stop(): void {
    for (const watch of this.#watches) watch.stop();
  }

  get sources(): readonly MonitorSourceDocument[] {
    return this.#watches.map((watch) => watch.document());
  }
}

/** A finished look. Its instant on the monotonic clock is the middle of its duration. */
interface Finished {
  readonly atNs: number;
  /** Null for a look that failed. */
  readonly look: Look | null;
}

interface Known {
  readonly series: number;
  readonly name: string;
  readonly isLabelled: boolean;
  /** The newest stored scrape on the clock of its Prometheus, and the longest time between two scrapes. */
  scrapedMs: number | null;
  gapMs: number | null;
  /** When a counter in the last answer was scraped, from the start of the run. Null for other series. */
  countedNs: number | null;
}

/** A scrape is stale after this many times the longest time between two scrapes, or the default of Prometheus. */
const STALE_GAPS = 2;
const DEFAULT_GAP_MS = 60_000;
/** Pause between two looks for the scrape after the run. */
const SCRAPE_POLL_MS = 250;

/** Failed looks of a source that are remembered. A series that appears later counts the others as unstored. */
const MOST_FAILED = 10_000;

class Watch {
  readonly #source: MonitorSource;
  readonly #parts: MonitoringParts;
  readonly #numbers: { series: number; values: number };
  readonly #series = new Map<string, Known>();
  /** Instants of failed looks, from the start of the run. A series that appears later was missed in them. */
  readonly #failedAtNs: number[] = [];
  #forgotten = 0;
  readonly #beyond = new Set<string>();
  readonly #stop = new AbortController();
  readonly #took = new Spread();
  readonly #age = new Spread();
  /** The last look before the run's zero was known. */
  #held: Finished | null = null;
  /** Instant of the last successful look, from the start of the run. */
  #goodAtNs: number | null = null;
  #timer: NodeJS.Timeout | undefined;
  #underWay: Promise<void> | null = null;
  readonly #skipped: number[] = [];
  /** The error of storing values. `end` throws it. */
  #broken: unknown = null;
  #looks = 0;
  #failed = 0;
  #lastError: string | null = null;
  #off: string | null = null;
  #hasAnswered = false;
  #unknown = 0;
  #unstored = 0;

  constructor(source: MonitorSource, parts: MonitoringParts, numbers: { series: number; values: number }) {
    this.#source = source;
    this.#parts = parts;
    this.#numbers = numbers;
  }

  begin(): void {
    this.#due();
    this.#timer = setInterval(() => this.#due(), this.#source.intervalMs).unref();
  }

  async end(waits: boolean): Promise<void> {
    const endNs = this.#parts.clock.nowNs();
    clearInterval(this.#timer);
    await this.#underWay;
    if (this.#off === null) await this.#look();
    if (waits) await this.#awaitScrapes(endNs);
    if (this.#held !== null) this.#keep(this.#held, this.#held.atNs);
    if (this.#broken !== null) throw this.#broken;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#stop.abort();
  }

  /** Looks until every counter was scraped after the run, so that it has both edges. The time is limited. */
  async #awaitScrapes(endNs: number): Promise<void> {
    const { clock, startNs } = this.#parts;
    const zeroNs = startNs();
    if (zeroNs === null) return;
    const isOpen = () =>
      [...this.#series.values()].some(({ countedNs }) => countedNs !== null && countedNs < endNs - zeroNs);
    while (isOpen() && clock.nowNs() - endNs < LIMITS.monitorScrapeMs * NS_PER_MS) {
      await setTimeout(SCRAPE_POLL_MS);
      if (this.#stop.signal.aborted) return;
      await this.#look();
    }
  }

  #due(): void {
    if (this.#off !== null) return;
    if (this.#underWay === null) {
      this.#underWay = this.#look().finally(() => {
        this.#underWay = null;
      });
      return;
    }
    this.#skipped.push(this.#parts.clock.nowNs());
  }

  /** Counts looks that came due during another look as failed. If that one succeeded, it replaces the first of them. */
  #missSkipped(found: boolean): void {
    for (const atNs of this.#skipped.splice(0).slice(found ? 1 : 0)) {
      this.#looks += 1;
      this.#failed += 1;
      this.#lastError ??= `the reading before took longer than ${this.#source.intervalMs} ms`;
      this.#take({ atNs, look: null });
    }
  }

  async #look(): Promise<void> {
    const { clock } = this.#parts;
    const limitMs = Math.min(
      LIMITS.monitorLookMaxMs,
      Math.max(LIMITS.monitorLookMs, this.#source.intervalMs),
    );
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(limitMs)]);
    const fromNs = clock.nowNs();
    this.#looks += 1;
    let look: Look | null = null;
    try {
      look = await this.#source.look(signal);
      this.#hasAnswered = true;
      this.#unknown = Math.max(this.#unknown, look.unknown);
      if (look.ageMs !== null) this.#age.add(look.ageMs);
    } catch (thrown) {
      if (this.#stop.signal.aborted) return;
      this.#failed += 1;
      this.#lastError = signal.aborted ? `no answer within ${limitMs} ms` : reasonOf(thrown);
      // A source that answered before stays on, even if this answer looks like no source.
      if (thrown instanceof NoSuchSource && !this.#hasAnswered) this.#switchOff(thrown.message);
    }
    this.#missSkipped(look !== null);
    const tookNs = clock.nowNs() - fromNs;
    this.#took.add(tookNs / NS_PER_MS);
    this.#take({ atNs: fromNs + tookNs / 2, look });
  }

  #switchOff(why: string): void {
    this.#off = why;
    clearInterval(this.#timer);
    this.#parts.note(`Monitor ${this.#source.name} is switched off: ${why}`);
  }

  #take(finished: Finished): void {
    const startNs = this.#parts.startNs();
    if (startNs === null) {
      this.#held = finished;
      return;
    }
    const held = this.#held;
    this.#held = null;
    if (held !== null) this.#keep(held, startNs);
    this.#keep(finished, startNs);
  }

  #keep({ atNs, look }: Finished, startNs: number): void {
    if (this.#broken !== null) return;
    const offsetNs = Math.round(atNs - startNs);
    if (look === null) {
      if (this.#failedAtNs.length < MOST_FAILED) this.#failedAtNs.push(offsetNs);
      else this.#forgotten += 1;
    }
    try {
      const samples = look === null ? this.#absent(offsetNs, new Set()) : this.#samplesOf(look, offsetNs);
      const room = Math.max(0, LIMITS.monitoredValues - this.#numbers.values);
      this.#unstored += Math.max(0, samples.length - room);
      this.#numbers.values += Math.min(room, samples.length);
      this.#parts.sink.addSamples(samples.slice(0, room));
    } catch (thrown) {
      this.#broken = thrown;
    }
  }

  #samplesOf({ readings }: Look, offsetNs: number): KeptSample[] {
    const seen = new Set<number>();
    const samples: KeptSample[] = [];
    for (const each of this.#series.values()) each.countedNs = null;
    for (const { value, base, scrape, ...facts } of readings) {
      const before = this.#series.size;
      const known = this.#seriesOf(facts);
      if (known === null || seen.has(known.series)) continue;
      const { series } = known;
      seen.add(series);
      if (this.#series.size > before) samples.push(...this.#startOf(series, facts, base));
      const atNs = offsetNs - Math.round((scrape?.ageMs ?? 0) * NS_PER_MS);
      if (scrape !== null && facts.kind !== 'gauge') known.countedNs = atNs;
      if (scrape === null || isNew(known, scrape)) samples.push({ series, offsetNs: atNs, value, base });
      else if (isStale(known, scrape)) samples.push(missedAt(offsetNs, series));
    }
    this.#goodAtNs = offsetNs;
    return [...samples, ...this.#absent(offsetNs, seen)];
  }

  /**
   * The samples of a new series before its first value. It was missed in the failed looks so far. If other series have
   * its name (such as other pods), it did not exist before the last successful look, so only later failures count.
   * A server exposes a counter only after its first event, so the counter was 0 at the last successful look.
   */
  #startOf(series: number, { name, kind }: SeriesFacts, base: number | null): KeptSample[] {
    const offsetNs = this.#goodAtNs;
    const isFirst = [...this.#series.values()].every((each) => each.series === series || each.name !== name);
    const fromNs = isFirst || offsetNs === null ? Number.NEGATIVE_INFINITY : offsetNs;
    if (isFirst) this.#unstored += this.#forgotten;
    const missed = this.#failedAtNs.filter((atNs) => atNs > fromNs).map((atNs) => missedAt(atNs, series));
    if (offsetNs === null || this.#source.kind !== 'scrape' || kind === 'gauge') return missed;
    return [...missed, { series, offsetNs, value: 0, base: base === null ? null : 0 }];
  }

  /** Null samples for known series that the answer lacks. A pod that is gone while others remain is no failure. */
  #absent(offsetNs: number, seen: ReadonlySet<number>): KeptSample[] {
    if (this.#source.kind === 'generator') return [];
    const all = [...this.#series.values()];
    const names = new Set(all.filter(({ series }) => seen.has(series)).map(({ name }) => name));
    const isGone = ({ name, isLabelled }: Known) =>
      this.#source.kind === 'prometheus' && isLabelled && names.has(name);
    return all
      .filter((each) => !seen.has(each.series) && !isGone(each))
      .map(({ series }) => missedAt(offsetNs, series));
  }

  #seriesOf(facts: SeriesFacts): Known | null {
    const key = JSON.stringify([facts.name, facts.metric, Object.entries(facts.labels).sort()]);
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    if (this.#series.size >= LIMITS.monitoredSeries) {
      if (this.#beyond.size < LIMITS.monitoredSeries) this.#beyond.add(key);
      return null;
    }
    const series = this.#numbers.series++;
    const isLabelled = Object.keys(facts.labels).length > 0;
    const added = { series, name: facts.name, isLabelled, scrapedMs: null, gapMs: null, countedNs: null };
    this.#series.set(key, added);
    this.#parts.sink.addSeries(series, this.#source.name, facts);
    return added;
  }

  document(): MonitorSourceDocument {
    const { name, kind, address, intervalMs } = this.#source;
    return {
      name,
      kind,
      address,
      intervalS: intervalMs / 1e3,
      looks: this.#looks,
      failed: this.#failed,
      lastError: this.#lastError,
      off: this.#off,
      tookMs: this.#took.figures(),
      ageMs: this.#age.figures(),
      unknown: this.#unknown,
      beyond: this.#beyond.size,
      unstored: this.#unstored,
    };
  }
}

/** Whether a scrape was not seen before. Each scrape counts once, even if several looks return it. */
function isNew(known: Known, { atMs }: Scrape): boolean {
  if (known.scrapedMs !== null && atMs <= known.scrapedMs) return false;
  if (known.scrapedMs !== null) known.gapMs = Math.max(known.gapMs ?? 0, atMs - known.scrapedMs);
  known.scrapedMs = atMs;
  return true;
}

function isStale({ gapMs }: Known, { ageMs }: Scrape): boolean {
  return ageMs > STALE_GAPS * (gapMs ?? DEFAULT_GAP_MS);
}

function missedAt(offsetNs: number, series: number): KeptSample {
  return { series, offsetNs, value: null, base: null };
}

/** Remembered values: enough for the median of a long run. The maximum is exact. */
const REMEMBERED = 4_096;

class Spread {
  readonly #values: number[] = [];
  #count = 0;
  #max: number | null = null;

  add(value: number): void {
    this.#max = Math.max(this.#max ?? 0, value);
    // Replaces the oldest value.
    this.#values[this.#count++ % REMEMBERED] = value;
  }

  figures() {
    const sorted = [...this.#values].sort((a, b) => a - b);
    return { p50: sorted[Math.ceil(sorted.length / 2) - 1] ?? null, max: this.#max };
  }
}
