import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatMs, HOUR_US, US_PER_S } from '../../core/units.ts';
import type { WindowDimension } from '../../documents/ranked-windows.ts';
import { Executors } from '../capacity/queue-model.ts';
import { assumedServers, type ComparedServer, type FittedServer, fittedServer } from './server.ts';

/** The rows of a capture, and its arrivals by UTC second. */
export interface WindowSource {
  rows(range: TimeRange): Iterable<ExchangeRow>;
  seconds(range: TimeRange): Iterable<{ readonly second: number; readonly exchanges: number }>;
}

export interface RankingOptions {
  /** The times in which windows lie. The first and last window of each may lie in it only in part. */
  readonly ranges: readonly TimeRange[];
  /** Whole seconds. Windows lie side by side, counted from the epoch: those of 15 minutes begin at quarters of hours. */
  readonly lengthS: number;
  readonly multiplier: number;
}

/** One thing that makes windows hard, with its figure for each window. */
export interface Dimension {
  readonly dimension: WindowDimension;
  readonly subject: string | null;
  readonly values: readonly number[];
}

/** Windows with requests, ranked by how hard they are for a server. */
export interface RankedWindows {
  /** Begin of each window, epoch microseconds, ascending. Other arrays have the same positions. */
  readonly starts: readonly number[];
  readonly requests: readonly number[];
  /** Positions, the hardest window first. */
  readonly order: readonly number[];
  readonly dimensions: readonly Dimension[];
  /** Null if too few latencies were recorded. */
  readonly fitted: FittedServer | null;
  /** The load at which windows were compared. */
  readonly multiplier: number;
  /** Windows without a request. */
  readonly empty: number;
  readonly silences: readonly TimeRange[];
  readonly silentUs: number;
  /** Requests by UTC hour, counted from the epoch. */
  readonly hours: ReadonlyMap<number, number>;
  readonly otherNames: number;
}

/** Requests to fit a server to: at most, and enough to stop after an hour. */
const MOST_SAMPLE = 50_000;
const ENOUGH_SAMPLE = 5_000;
/** Windows are compared at the least load where requests wait in this share of them: in one they may wait by chance. */
const LOADED_SHARE = 0.01;
/** The share of time in which executors are busy, below which hardly a request waits. */
const HARDLY_BUSY = 0.25;
const LEAST_SILENCE_US = HOUR_US;
const MOST_SILENCES = 20;
/** Names with a smaller share of requests and of work are not compared, nor is one with almost all requests. */
const LEAST_SHARE = 0.01;
const MOST_SHARE = 0.9;

/**
 * Ranks all windows by the time that their requests would wait in the queue of a server, each window from an empty
 * queue. If hardly a request waits at the multiplier, a greater one is used. Without recorded latencies it is not known
 * what a request costs. Then a window is as hard as the least hard of its ranks by several assumptions. Reads every row
 * once, at constant memory for each window, and those of the busiest hour twice.
 * @throws AppError OPTION_INVALID for too many windows; CAPTURE_EMPTY without a request
 */
export function rankWindows(source: WindowSource, options: RankingOptions): RankedWindows {
  const lengthUs = options.lengthS * US_PER_S;
  const ranges = inOrder(options.ranges, lengthUs);
  const hours = hoursOf(source, ranges);
  const servers = serversOf(source, ranges, hours, options.multiplier);
  const statistics = new WindowStatistics(servers, lengthUs, options.multiplier);
  for (const range of ranges) {
    statistics.begin(range);
    for (const row of source.rows(range)) statistics.add(row);
  }
  return { ...statistics.finish(), hours };
}

/** The ranges in ascending order, without what two of them share. @throws AppError OPTION_INVALID for too many windows */
function inOrder(ranges: readonly TimeRange[], lengthUs: number): TimeRange[] {
  const ordered: TimeRange[] = [];
  let windows = 0;
  for (const range of ranges.toSorted((a, b) => a.fromUs - b.fromUs)) {
    const fromUs = Math.max(range.fromUs, ordered.at(-1)?.toUs ?? 0);
    if (range.toUs <= fromUs) continue;
    windows += (range.toUs - fromUs) / lengthUs;
    ordered.push({ fromUs, toUs: range.toUs });
  }
  if (windows <= LIMITS.rankedWindows) return ordered;
  throw new AppError(
    'OPTION_INVALID',
    `${Math.ceil(windows)} windows of ${formatMs(lengthUs / 1e3)} are more than the ${LIMITS.rankedWindows} that are ranked`,
    { hint: 'Use longer windows, or a part of the capture (--window FROM..TO).' },
  );
}

function hoursOf(source: WindowSource, ranges: readonly TimeRange[]): Map<number, number> {
  const hours = new Map<number, number>();
  for (const range of ranges) {
    for (const { second, exchanges } of source.seconds(range)) {
      const hour = Math.floor(second / 3_600);
      hours.set(hour, (hours.get(hour) ?? 0) + exchanges);
    }
  }
  return hours;
}

/** The server that fits the busiest hour, where requests waited most. If that has too few answers, the begin. */
function serversOf(
  source: WindowSource,
  ranges: readonly TimeRange[],
  hours: ReadonlyMap<number, number>,
  multiplier: number,
): readonly [FittedServer] | readonly ComparedServer[] {
  const [first] = ranges;
  if (hours.size === 0 || first === undefined) {
    throw new AppError('CAPTURE_EMPTY', 'No exchange lies in these windows', {
      hint: 'reprise inspect shows when exchanges were recorded.',
    });
  }
  const [busiest] = [...hours].reduce((most, each) => (each[1] > most[1] ? each : most));
  const toUs = ranges.at(-1)!.toUs;
  const sample = sampleOf(source, { fromUs: busiest * HOUR_US, toUs });
  const fitted = fittedServer(sample) ?? fittedServer(sampleOf(source, { fromUs: first.fromUs, toUs }));
  if (fitted !== null) return [fitted];
  return assumedServers(sample, multiplier);
}

function sampleOf(source: WindowSource, range: TimeRange): ExchangeRow[] {
  const sample: ExchangeRow[] = [];
  for (const row of source.rows(range)) {
    if (sample.length >= ENOUGH_SAMPLE && row.arrivalUs >= range.fromUs + HOUR_US) break;
    sample.push(row);
    if (sample.length === MOST_SAMPLE) break;
  }
  return sample;
}

/** The loads at which a queue is simulated: the multiplier, and three doublings from where it becomes busy. */
function loadsOf({ busy }: ComparedServer, multiplier: number): number[] {
  const doublings = Math.max(0, Math.ceil(Math.log2(HARDLY_BUSY / (busy * multiplier))));
  const first = multiplier * 2 ** (Number.isFinite(doublings) ? doublings : 0);
  return [...new Set([multiplier, first, 2 * first, 4 * first])];
}

/** Requests by name, in columns of windows. */
class NameColumns {
  readonly names = new Map<
    string,
    { readonly values: number[]; readonly total: { requests: number; workS: number } }
  >();
  left = 0;

  add(name: string | null, at: number, workS: number): void {
    if (name === null) return;
    let column = this.names.get(name);
    if (column === undefined) {
      if (this.names.size >= LIMITS.rankedNames) {
        this.left += 1;
        return;
      }
      column = { values: [], total: { requests: 0, workS: 0 } };
      this.names.set(name, column);
    }
    while (column.values.length <= at) column.values.push(0);
    column.values[at]! += 1;
    column.total.requests += 1;
    column.total.workS += workS;
  }
}

/** Figures that are sums over a window, per second of it; `burst` is a maximum. */
const FIGURES = ['work', 'requests', 'burst', 'promptTokens', 'outputTokens', 'requestBytes'] as const;
type Figure = (typeof FIGURES)[number];

/** The figures of one window while its rows are read. */
interface OpenWindow {
  /** Its number, counted from the epoch. */
  readonly index: number;
  readonly fromUs: number;
  /** For each server, and in it for each load. */
  readonly queues: readonly (readonly Executors[])[];
  readonly waitS: readonly number[][];
  requests: number;
  workS: number;
  promptTokens: number;
  outputTokens: number;
  requestBytes: number;
  second: number;
  inSecond: number;
  burst: number;
}

class WindowStatistics {
  readonly #servers: readonly ComparedServer[];
  readonly #lengthUs: number;
  /** For each server. */
  readonly #loads: readonly (readonly number[])[];
  readonly #starts: number[] = [];
  readonly #requests: number[] = [];
  /** Total service time by each server. */
  readonly #servedS: number[];
  /** Mean waits of each window, for each server and load. */
  readonly #waits: readonly (readonly number[][])[];
  readonly #columns: Readonly<Record<Figure, number[]>> = {
    ...{ work: [], requests: [], burst: [] },
    ...{ promptTokens: [], outputTokens: [], requestBytes: [] },
  };
  readonly #models = new NameColumns();
  readonly #routes = new NameColumns();
  #open: OpenWindow | null = null;
  #windows = 0;
  /** One past the last window so far. */
  #endIndex = 0;
  #lastUs = 0;
  #endUs = 0;
  #silences: TimeRange[] = [];
  #silentUs = 0;

  constructor(servers: readonly ComparedServer[], lengthUs: number, multiplier: number) {
    this.#servers = servers;
    this.#servedS = servers.map(() => 0);
    this.#loads = servers.map((server) => loadsOf(server, multiplier));
    this.#waits = this.#loads.map((loads) => loads.map(() => []));
    this.#lengthUs = lengthUs;
  }

  begin({ fromUs, toUs }: TimeRange): void {
    this.#addSilence(this.#endUs);
    const first = Math.max(Math.floor(fromUs / this.#lengthUs), this.#endIndex);
    this.#endIndex = Math.max(first, Math.ceil(toUs / this.#lengthUs));
    this.#windows += this.#endIndex - first;
    this.#lastUs = fromUs;
    this.#endUs = toUs;
  }

  add(row: ExchangeRow): void {
    const { arrivalUs } = row;
    this.#addSilence(arrivalUs);
    this.#lastUs = arrivalUs;
    const index = Math.floor(arrivalUs / this.#lengthUs);
    if (this.#open?.index !== index) {
      this.#close();
      this.#open = this.#opened(index);
    }
    const window = this.#open!;
    const workS = this.#serve(row, window);
    window.requests += 1;
    window.workS += workS;
    window.promptTokens += row.promptTokens ?? 0;
    window.outputTokens += row.outputTokens ?? 0;
    window.requestBytes += row.requestBytes ?? 0;
    const second = Math.floor(arrivalUs / US_PER_S);
    window.inSecond = second === window.second ? window.inSecond + 1 : 1;
    window.second = second;
    window.burst = Math.max(window.burst, window.inSecond);
    this.#models.add(row.model, this.#starts.length, workS);
    this.#routes.add(row.route, this.#starts.length, workS);
  }

  finish(): Omit<RankedWindows, 'hours'> {
    this.#close();
    this.#addSilence(this.#endUs);
    const ranked = this.#servers.map((_, server) => this.#rankedBy(server));
    const [first] = ranked;
    // The worst rank of each window: it is at least so hard, whatever requests cost.
    const hardness = this.#starts.map((_, at) => Math.max(...ranked.map(({ ranks }) => ranks[at]!)));
    const sums = this.#starts.map((_, at) => sumOf(ranked.map(({ ranks }) => ranks[at]!)));
    const fitted = this.#servers.find((server): server is FittedServer => 'isOpen' in server) ?? null;
    const load = fitted === null ? 0 : (first?.load ?? 0);
    return {
      starts: this.#starts,
      requests: this.#requests,
      order: this.#starts
        .map((_, at) => at)
        .sort((a, b) => hardness[a]! - hardness[b]! || sums[a]! - sums[b]!),
      dimensions: this.#dimensions(fitted === null ? null : this.#waits[0]![load]!),
      fitted,
      multiplier: this.#loads[0]![load]!,
      empty: this.#windows - this.#starts.length,
      silences: this.#silences.sort(longestFirst),
      silentUs: this.#silentUs,
      otherNames: this.#models.left + this.#routes.left,
    };
  }

  /** Adds the request to the queues of all servers. @returns its service by the first server, seconds */
  #serve(row: ExchangeRow, { fromUs, queues, waitS }: OpenWindow): number {
    const offsetS = (row.arrivalUs - fromUs) / US_PER_S;
    let ofFirst = 0;
    for (let server = 0; server < queues.length; server += 1) {
      const serviceS = this.#servers[server]!.serviceS(row);
      this.#servedS[server]! += serviceS;
      if (server === 0) ofFirst = serviceS;
      const loads = this.#loads[server]!;
      for (let load = 0; load < loads.length; load += 1) {
        const queue = queues[server]![load]!;
        const dueS = offsetS / loads[load]!;
        const startS = Math.max(dueS, queue.firstFree);
        queue.busyUntil(startS + serviceS);
        waitS[server]![load]! += startS - dueS;
      }
    }
    return ofFirst;
  }

  /** The rank of each window by one server, 0 for the hardest, and the load at which it was compared. */
  #rankedBy(server: number): { readonly ranks: readonly number[]; readonly load: number } {
    const load = this.#comparedLoad(server);
    const wait = this.#waits[server]![load]!;
    const { work } = this.#columns;
    const harder = (a: number, b: number) =>
      wait[b]! - wait[a]! || work[b]! - work[a]! || this.#requests[b]! - this.#requests[a]! || a - b;
    const ranks: number[] = [];
    for (const [rank, at] of [...this.#starts.keys()].sort(harder).entries()) ranks[at] = rank;
    return { ranks, load };
  }

  /** The least load at which requests of the hardest windows wait as long as a request is served on average. */
  #comparedLoad(server: number): number {
    const meanS = this.#servedS[server]! / Math.max(1, sumOf(this.#requests));
    const enough = Math.max(1, LOADED_SHARE * this.#starts.length);
    const found = this.#waits[server]!.findIndex(
      (waits) => waits.filter((wait) => wait > 0 && wait >= meanS).length >= enough,
    );
    return found === -1 ? this.#loads[server]!.length - 1 : found;
  }

  #dimensions(wait: readonly number[] | null): Dimension[] {
    const plain = (dimension: WindowDimension, values: readonly number[]) => ({
      dimension,
      subject: null,
      values,
    });
    return [
      ...(wait === null ? [] : [plain('wait', wait)]),
      // Without a fitted server, work has no unit.
      ...FIGURES.filter((name) => wait !== null || name !== 'work').map((name) =>
        plain(name, this.#columns[name]),
      ),
      ...this.#named('model', this.#models),
      ...this.#named('route', this.#routes),
    ].filter(({ values }) => values.some((value) => value > 0));
  }

  #named(dimension: 'model' | 'route', { names }: NameColumns): Dimension[] {
    const requests = sumOf(this.#requests);
    const lengthS = this.#lengthUs / US_PER_S;
    const workS = sumOf(this.#columns.work) * lengthS;
    return [...names]
      .filter(([, { total }]) => {
        const share = total.requests / requests;
        return share <= MOST_SHARE && (share >= LEAST_SHARE || total.workS >= LEAST_SHARE * workS);
      })
      .map(([subject, { values }]) => ({
        dimension,
        subject,
        values: this.#starts.map((_, at) => (values[at] ?? 0) / lengthS),
      }));
  }

  #opened(index: number): OpenWindow {
    return {
      index,
      fromUs: index * this.#lengthUs,
      queues: this.#servers.map(({ executors }, server) =>
        this.#loads[server]!.map(() => new Executors(executors)),
      ),
      waitS: this.#loads.map((loads) => loads.map(() => 0)),
      ...{ requests: 0, workS: 0, promptTokens: 0, outputTokens: 0, requestBytes: 0 },
      ...{ second: -1, inSecond: 0, burst: 0 },
    };
  }

  #close(): void {
    const window = this.#open;
    if (window === null) return;
    this.#open = null;
    const lengthS = this.#lengthUs / US_PER_S;
    this.#starts.push(window.fromUs);
    this.#requests.push(window.requests);
    for (const [server, loads] of this.#waits.entries()) {
      for (const [load, waits] of loads.entries()) waits.push(window.waitS[server]![load]! / window.requests);
    }
    const { workS, requests, burst, promptTokens, outputTokens, requestBytes } = window;
    const sums = { work: workS, requests, burst: burst * lengthS, promptTokens, outputTokens, requestBytes };
    for (const name of FIGURES) this.#columns[name].push(sums[name] / lengthS);
  }

  /** Keeps the longest times without a request. */
  #addSilence(toUs: number): void {
    const lengthUs = toUs - this.#lastUs;
    if (lengthUs < LEAST_SILENCE_US || this.#lastUs === 0) return;
    this.#silentUs += lengthUs;
    this.#silences.push({ fromUs: this.#lastUs, toUs });
    if (this.#silences.length <= MOST_SILENCES) return;
    this.#silences.sort(longestFirst).pop();
  }
}

function longestFirst(a: TimeRange, b: TimeRange): number {
  return b.toUs - b.fromUs - (a.toUs - a.fromUs);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
