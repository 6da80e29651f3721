import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { reasonOf } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { NS_PER_MS } from '../core/units.ts';
import type { MonitorSample, MonitorSourceDocument, SeriesFacts } from '../documents/monitors.ts';
import { type Look, type MonitorSource, NoSuchSource, type Scrape } from './source.ts';

/** A value of one series, as it is kept. */
export interface KeptSample extends MonitorSample {
  /** Number of the series within the run. */
  readonly series: number;
}

/** Where series and their values are kept while a run goes on. */
interface MonitorSink {
  /** A series that was seen for the first time. */
  addSeries(series: number, source: string, facts: SeriesFacts): void;
  addSamples(samples: readonly KeptSample[]): void;
}

interface MonitoringParts {
  readonly sources: readonly MonitorSource[];
  readonly sink: MonitorSink;
  readonly clock: Clock;
  /** The run's zero on the monotonic clock; null until it is known. */
  readonly startNs: () => number | null;
  /** Tells people that a source was switched off. */
  readonly note: (line: string) => void;
}

/**
 * Looks at every source in its interval while a run goes on: once before it, and once after it, so that counters have
 * both edges. Looks wait for each other nowhere, and nothing waits for them but the end. A look that hangs is given up,
 * and those that came due meanwhile have failed with it.
 */
export class Monitoring {
  readonly #watches: readonly Watch[];

  constructor(parts: MonitoringParts) {
    const numbers = { series: 0, values: 0 };
    this.#watches = parts.sources.map((source) => new Watch(source, parts, numbers));
  }

  /** The look before the run, and those in it. */
  begin(): void {
    for (const watch of this.#watches) watch.begin();
  }

  /**
   * The look after the run; then everything is kept. Takes at most as long as a look may.
   * @param waits for the scrapes after the run too, where a Prometheus counts something: bounded
   * @throws AppError OUTPUT_UNWRITABLE where values could not be kept
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

/** A look that is over, on the monotonic clock. Its instant is the middle of the time it took. */
interface Finished {
  readonly atNs: number;
  /** Null for a look that failed. */
  readonly look: Look | null;
}

interface Known {
  readonly series: number;
  readonly name: string;
  readonly isLabelled: boolean;
  /** The newest scrape that was kept, by the clock of its Prometheus, and the longest time between two. */
  scrapedMs: number | null;
  gapMs: number | null;
  /** Of a counter in the last answer: when it was scraped, from the start of the run. */
  countedNs: number | null;
}

/** A scrape is stale after so many times the longest time between two, or the time that a Prometheus has by default. */
const STALE_GAPS = 2;
const DEFAULT_GAP_MS = 60_000;
/** Between two looks for the scrape after the run. */
const SCRAPE_POLL_MS = 250;

/** Failed looks of a source whose instants are remembered. Others are unstored in a series that is seen later. */
const MOST_FAILED = 10_000;

class Watch {
  readonly #source: MonitorSource;
  readonly #parts: MonitoringParts;
  readonly #numbers: { series: number; values: number };
  readonly #series = new Map<string, Known>();
  /** Instants of the looks that failed, from the start of the run: a series that is seen later was missed in them. */
  readonly #failedAtNs: number[] = [];
  #forgotten = 0;
  readonly #beyond = new Set<string>();
  readonly #stop = new AbortController();
  readonly #took = new Spread();
  readonly #age = new Spread();
  /** The last look before the run's zero was known. */
  #held: Finished | null = null;
  /** Instant of the last look that was answered, from the start of the run. */
  #goodAtNs: number | null = null;
  #timer: NodeJS.Timeout | undefined;
  #underWay: Promise<void> | null = null;
  readonly #skipped: number[] = [];
  /** What keeping threw: it ends the run where somebody waits for it. */
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

  /** Looks until every counter was scraped after the run, so that it has both edges; bounded. */
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

  /** Looks that came due while another one went on: it stands for the first of them, if it found anything. */
  #missSkipped(found: boolean): void {
    for (const atNs of this.#skipped.splice(0).slice(found ? 1 : 0)) {
      this.#looks += 1;
      this.#failed += 1;
      this.#lastError ??= `the look before took longer than ${this.#source.intervalMs} ms`;
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
      // What has answered as a source before is one, whatever it says now.
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
   * A series that is seen for the first time was missed in the looks that failed before. Beside others of its name, such
   * as those of other pods, it was not there in the answer before, and those others were missed until then. Servers tell
   * of a counter from its first event on: in the answer before, it had counted nothing.
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

  /** Null for series that a source gave before and does not give now; a pod that is gone beside others is no failure. */
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

/** Each scrape counts once, however often it is looked at. */
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

/** Enough of a long run for its median; the greatest is exact. */
const REMEMBERED = 4_096;

class Spread {
  readonly #values: number[] = [];
  #count = 0;
  #max: number | null = null;

  add(value: number): void {
    this.#max = Math.max(this.#max ?? 0, value);
    // The oldest goes first.
    this.#values[this.#count++ % REMEMBERED] = value;
  }

  figures() {
    const sorted = [...this.#values].sort((a, b) => a - b);
    return { p50: sorted[Math.ceil(sorted.length / 2) - 1] ?? null, max: this.#max };
  }
}
