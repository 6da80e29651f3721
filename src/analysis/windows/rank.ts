import { AppError } from '../../core/errors.ts';
import type { ExchangeRow } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { TimeRange } from '../../core/ports.ts';
import { formatMs, HOUR_US, US_PER_S } from '../../core/units.ts';
import type { WindowDimension } from '../../documents/ranked-windows.ts';
import { Executors } from '../stats/queues.ts';
import { assumedServers, type ComparedServer, type FittedServer, fittedServer } from './server.ts';

/** The rows of a capture, and its arrivals by UTC second. */
export interface WindowSource {
  rows(range: TimeRange): Iterable<ExchangeRow>;
  seconds(range: TimeRange): Iterable<{ readonly second: number; readonly exchanges: number }>;
}

export interface RankingOptions {
  /**
   * The times in which windows lie, within what was recorded. The first and last window of each may lie in it only in
   * part.
   */
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
  /** What was recorded of each window: the first and the last one are seldom whole. */
  readonly recorded: readonly TimeRange[];
  /** Seconds of each window by which its rates are divided. */
  readonly recordedS: readonly number[];
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
  /** The longest time of an hour or more without a request, and the sum of all such times. */
  readonly silence: TimeRange | null;
  readonly silentUs: number;
  /** Requests that cannot be sent, because they are not stored whole. */
  readonly unstored: number;
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
/** A part of a window is counted as at least so long, unless less was recorded: a few requests make no rate. */
const LEAST_PART_US = 10 * US_PER_S;
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
  const statistics = new WindowStatistics(servers, ranges, lengthUs, options.multiplier);
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

/** The mean waits of all windows in the queue of one server, at several loads. */
class WindowWaits {
  readonly server: ComparedServer;
  /** The multiplier, and three doublings from where the server becomes busy. */
  readonly loads: readonly number[];
  /** For each load, of each window, seconds. */
  readonly #means: readonly number[][];
  #queues: readonly Executors[] = [];
  #waitS: number[] = [];
  #servedS = 0;
  #requests = 0;

  constructor(server: ComparedServer, multiplier: number) {
    this.server = server;
    const doublings = Math.ceil(Math.log2(HARDLY_BUSY / (server.busy * multiplier)));
    const first = multiplier * 2 ** (Number.isFinite(doublings) ? Math.max(0, doublings) : 0);
    this.loads = [...new Set([multiplier, first, 2 * first, 4 * first])];
    this.#means = this.loads.map(() => []);
  }

  /** Begins a window with empty queues. */
  begin(): void {
    this.#queues = this.loads.map(() => new Executors(this.server.executors));
    this.#waitS = this.loads.map(() => 0);
  }

  /** @returns the request's service time, seconds */
  add(row: ExchangeRow, offsetS: number): number {
    const serviceS = this.server.serviceS(row);
    this.#servedS += serviceS;
    this.#requests += 1;
    for (let load = 0; load < this.loads.length; load += 1) {
      const queue = this.#queues[load]!;
      const dueS = offsetS / this.loads[load]!;
      const startS = Math.max(dueS, queue.firstFree);
      queue.busyUntil(startS + serviceS);
      this.#waitS[load]! += startS - dueS;
    }
    return serviceS;
  }

  end(requests: number): void {
    for (const [load, means] of this.#means.entries()) means.push(this.#waitS[load]! / requests);
  }

  /** The least load at which requests of the hardest windows wait as long as one is served, and the waits there. */
  compared(): { readonly load: number; readonly waits: readonly number[] } {
    const meanS = this.#servedS / Math.max(1, this.#requests);
    const isLoaded = (waits: readonly number[]) =>
      waits.filter((wait) => wait > 0 && wait >= meanS).length >= Math.max(1, LOADED_SHARE * waits.length);
    const found = this.#means.findIndex(isLoaded);
    const at = found === -1 ? this.loads.length - 1 : found;
    return { load: this.loads[at]!, waits: this.#means[at]! };
  }
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
    const isFull = this.names.size >= LIMITS.rankedNames;
    const known = this.names.get(name);
    if (known === undefined && isFull) {
      this.left += 1;
      return;
    }
    const column = known ?? { values: [], total: { requests: 0, workS: 0 } };
    if (known === undefined) this.names.set(name, column);
    while (column.values.length <= at) column.values.push(0);
    column.values[at]! += 1;
    column.total.requests += 1;
    column.total.workS += workS;
  }
}

/** Figures that are sums over a window, per recorded second of it; `burst` is a maximum. */
const FIGURES = ['work', 'requests', 'burst', 'promptTokens', 'outputTokens', 'requestBytes'] as const;
type Figure = (typeof FIGURES)[number];

const NOTHING = {
  ...{ requests: 0, workS: 0, promptTokens: 0, outputTokens: 0, requestBytes: 0 },
  ...{ second: -1, inSecond: 0, burst: 0 },
};

/** The figures of one window while its rows are read. */
type OpenWindow = typeof NOTHING & {
  /** Its number, counted from the epoch. */
  readonly index: number;
  readonly fromUs: number;
};

class WindowStatistics {
  /** One for each server. */
  readonly #waits: readonly WindowWaits[];
  readonly #ranges: readonly TimeRange[];
  readonly #lengthUs: number;
  readonly #leastPartUs: number;
  readonly #starts: number[] = [];
  readonly #recorded: TimeRange[] = [];
  readonly #recordedS: number[] = [];
  readonly #requests: number[] = [];
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
  #silence: TimeRange | null = null;
  #silentUs = 0;
  #unstored = 0;

  constructor(
    servers: readonly ComparedServer[],
    ranges: readonly TimeRange[],
    lengthUs: number,
    multiplier: number,
  ) {
    this.#waits = servers.map((server) => new WindowWaits(server, multiplier));
    this.#ranges = ranges;
    this.#lengthUs = lengthUs;
    const allUs = sumOf(ranges.map(({ fromUs, toUs }) => toUs - fromUs));
    this.#leastPartUs = Math.max(US_PER_S, Math.min(LEAST_PART_US, lengthUs, allUs));
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
      for (const waits of this.#waits) waits.begin();
      this.#open = { index, fromUs: index * this.#lengthUs, ...NOTHING };
    }
    const window = this.#open!;
    const offsetS = (arrivalUs - window.fromUs) / US_PER_S;
    let workS = 0;
    for (const waits of this.#waits) workS = waits.add(row, offsetS);
    window.requests += 1;
    if (!row.requestStored || row.requestTruncated) this.#unstored += 1;
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
    const compared = this.#waits.map((waits) => waits.compared());
    const ranks = compared.map(({ waits }) => this.#ranksBy(waits));
    // The worst rank of each window: it is at least so hard, whatever requests cost.
    const hardness = this.#starts.map((_, at) => Math.max(...ranks.map((each) => each[at]!)));
    const sums = this.#starts.map((_, at) => sumOf(ranks.map((each) => each[at]!)));
    const [only] = this.#waits;
    const fitted = only !== undefined && 'isOpen' in only.server ? (only.server as FittedServer) : null;
    return {
      starts: this.#starts,
      recorded: this.#recorded,
      recordedS: this.#recordedS,
      requests: this.#requests,
      order: this.#starts
        .map((_, at) => at)
        .sort((a, b) => hardness[a]! - hardness[b]! || sums[a]! - sums[b]!),
      dimensions: this.#dimensions(fitted === null ? null : compared[0]!.waits),
      fitted,
      multiplier: compared[0]!.load,
      empty: this.#windows - this.#starts.length,
      silence: this.#silence,
      silentUs: this.#silentUs,
      unstored: this.#unstored,
      otherNames: this.#models.left + this.#routes.left,
    };
  }

  /** The rank of each window by its waits, 0 for the hardest. */
  #ranksBy(waits: readonly number[]): number[] {
    // Not the rate of work: the few requests of a short part would be harder than all of a window.
    const work = this.#columns.work.map((each, at) => each * this.#recordedS[at]!);
    const harder = (a: number, b: number) =>
      waits[b]! - waits[a]! || work[b]! - work[a]! || this.#requests[b]! - this.#requests[a]! || a - b;
    const ranks: number[] = [];
    for (const [rank, at] of [...this.#starts.keys()].sort(harder).entries()) ranks[at] = rank;
    return ranks;
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
    const lengths = this.#recordedS;
    const workS = sumOf(this.#columns.work.map((work, at) => work * lengths[at]!));
    return [...names]
      .filter(([, { total }]) => {
        const share = total.requests / requests;
        return share <= MOST_SHARE && (share >= LEAST_SHARE || total.workS >= LEAST_SHARE * workS);
      })
      .map(([subject, { values }]) => ({
        dimension,
        subject,
        values: this.#starts.map((_, at) => (values[at] ?? 0) / lengths[at]!),
      }));
  }

  #close(): void {
    const window = this.#open;
    if (window === null) return;
    this.#open = null;
    const recorded = this.#recordedOf(window.fromUs);
    const recordedUs = sumOf(recorded.map(({ fromUs, toUs }) => toUs - fromUs));
    const recordedS = Math.max(recordedUs, this.#leastPartUs) / US_PER_S;
    this.#starts.push(window.fromUs);
    this.#recorded.push({ fromUs: recorded[0]!.fromUs, toUs: recorded.at(-1)!.toUs });
    this.#recordedS.push(recordedS);
    this.#requests.push(window.requests);
    for (const waits of this.#waits) waits.end(window.requests);
    const { workS, requests, burst, promptTokens, outputTokens, requestBytes } = window;
    const sums = {
      work: workS,
      requests,
      burst: burst * recordedS,
      promptTokens,
      outputTokens,
      requestBytes,
    };
    for (const name of FIGURES) this.#columns[name].push(sums[name] / recordedS);
  }

  /** The parts of a window within the ranges. */
  #recordedOf(windowUs: number): TimeRange[] {
    const endUs = windowUs + this.#lengthUs;
    return this.#ranges
      .filter(({ fromUs, toUs }) => fromUs < endUs && toUs > windowUs)
      .map(({ fromUs, toUs }) => ({ fromUs: Math.max(windowUs, fromUs), toUs: Math.min(endUs, toUs) }));
  }

  #addSilence(toUs: number): void {
    const fromUs = this.#lastUs;
    if (toUs - fromUs < HOUR_US || fromUs === 0) return;
    this.#silentUs += toUs - fromUs;
    const longest = this.#silence;
    if (longest === null || toUs - fromUs > longest.toUs - longest.fromUs) this.#silence = { fromUs, toUs };
  }
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
