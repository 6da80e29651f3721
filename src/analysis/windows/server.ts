import type { ExchangeRow } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import { US_PER_S } from '../../core/units.ts';
import { fitQueue, servedRequestOf } from '../capacity/fit-queue.ts';
import { Executors } from '../stats/queues.ts';

/** A server in whose queue the requests of windows wait, so that windows can be compared. */
export interface ComparedServer {
  readonly executors: number;
  /** Share of time that its executors are busy with the sample at 1x. */
  readonly busy: number;
  /** The time that an executor needs for a request, seconds. Call it for each request, in order of arrival. */
  serviceS(row: ExchangeRow): number;
}

/** The queue of the recorded server. */
export interface FittedServer extends ComparedServer {
  /** Any greater number of executors explains the recording as well. */
  readonly isOpen: boolean;
  readonly requests: number;
}

/** The tokens of a request and its answer; null if neither is known. */
function tokensOf({ promptTokens, outputTokens }: ExchangeRow): number | null {
  return promptTokens === null && outputTokens === null ? null : (promptTokens ?? 0) + (outputTokens ?? 0);
}

/**
 * The recorded server, as `capacity --simulate` fits it to a sample. Null if too few requests of the sample have a
 * recorded answer.
 * @param sample in the order of arrival
 */
export function fittedServer(sample: readonly ExchangeRow[]): FittedServer | null {
  const served = sample.flatMap((row) => servedRequestOf(row, sample[0]!.arrivalUs) ?? []);
  const fit = fitQueue(served);
  if (fit === null) return null;
  const { executors } = fit.model;
  const services = new ExpectedServices(executors);
  const busyS = sample.reduce((sum, row) => sum + services.of(row), 0);
  services.beginAgain();
  return {
    executors,
    busy: busyS / executors / spanOf(sample),
    serviceS: (row) => services.of(row),
    isOpen: fit.executors.isOpen,
    requests: fit.requests,
  };
}

/**
 * Servers for arrivals without latencies. What requests cost is then unknown, so there is a server for each answer: the
 * same time for each request, or for each token of the prompt or of the answer. Each is one executor that is just busy
 * all the time with the sample at this multiplier.
 */
export function assumedServers(sample: readonly ExchangeRow[], multiplier: number): ComparedServer[] {
  const costs: ((row: ExchangeRow) => number)[] = [
    () => 1,
    ({ promptTokens }) => promptTokens ?? 0,
    ({ outputTokens }) => outputTokens ?? 0,
  ];
  return costs.flatMap((costOf) => {
    const sum = sample.reduce((total, row) => total + costOf(row), 0);
    const secondsEach = spanOf(sample) / multiplier / sum;
    const serviceS = (row: ExchangeRow) => costOf(row) * secondsEach;
    return sum === 0 ? [] : [{ executors: 1, busy: 1 / multiplier, serviceS }];
  });
}

/** Seconds from the first arrival to the last, at least one. */
function spanOf(sample: readonly ExchangeRow[]): number {
  return Math.max(1, ((sample.at(-1)?.arrivalUs ?? 0) - (sample[0]?.arrivalUs ?? 0)) / US_PER_S);
}

/** Requests of one route, model and size. */
interface Kind {
  requests: number;
  sumS: number;
}

function add(kind: Kind, serviceS: number): void {
  kind.requests += 1;
  kind.sumS += Math.max(0, serviceS);
}

/**
 * Expected service times: the mean of what requests of the same route, model and size took so far, without their
 * waiting time. A period in which the server itself was slow hardly changes them, so it is not taken for a hard load.
 */
class ExpectedServices {
  readonly #executors: number;
  readonly #kinds = new Map<string, Kind>();
  readonly #all: Kind = { requests: 0, sumS: 0 };
  #recorded: Executors;
  #firstUs: number | null = null;

  constructor(executors: number) {
    this.#executors = executors;
    this.#recorded = new Executors(executors);
  }

  /** The next request may be earlier than the last one. What was learned is kept. */
  beginAgain(): void {
    this.#recorded = new Executors(this.#executors);
    this.#firstUs = null;
  }

  of(row: ExchangeRow): number {
    this.#firstUs ??= row.arrivalUs;
    const kind = this.#kindOf(row);
    const served = servedRequestOf(row, this.#firstUs);
    if (served !== null) {
      const end = served.offsetS + served.latencyS;
      const start = Math.max(served.offsetS, this.#recorded.firstFree);
      this.#recorded.busyUntil(Math.max(start, end));
      add(this.#all, end - start);
      if (kind !== this.#all) add(kind, end - start);
    }
    const { requests, sumS } = kind.requests === 0 ? this.#all : kind;
    return requests === 0 ? 0 : sumS / requests;
  }

  #kindOf(row: ExchangeRow): Kind {
    // Half a doubling of size: finer classes of a month would have too few requests.
    const size = Math.round(2 * Math.log2(1 + (tokensOf(row) ?? row.requestBytes ?? 0)));
    const name = `${size} ${row.model} ${row.route}`;
    const known = this.#kinds.get(name);
    if (known !== undefined) return known;
    if (this.#kinds.size >= LIMITS.requestKinds) return this.#all;
    const kind = { requests: 0, sumS: 0 };
    this.#kinds.set(name, kind);
    return kind;
  }
}
