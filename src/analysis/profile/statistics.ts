import {
  type ExchangeRow,
  FIRST_SERVER_ERROR,
  hasExchangeFailed,
  hasWholeAnswer,
  OUTCOMES,
  type Outcome,
} from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import type { TimeRange } from '../../core/ports.ts';
import { US_PER_S } from '../../core/units.ts';
import type { GroupFigures, InputSizeGroup, PartyFigures, RetryFigures } from '../../documents/profile.ts';
import { grpcStatusName } from '../../inference/grpc.ts';
import { ArrivalStatistics, WindowCounts } from '../stats/arrivals.ts';
import { sizeClassOf } from '../stats/distance.ts';
import { DistinctEstimate, DuplicateRatio, RequestKeys, wordAt } from '../stats/distinct.ts';
import { NamedGroups, Tally } from '../stats/tally.ts';
import { LocalHours } from './cycle.ts';
import { distributionOf } from './distribution.ts';
import { Concurrency, RateSeries } from './over-time.ts';

const TOO_MANY_REQUESTS = 429;
const PEAK_WINDOWS_S = [1, 60, 600, 3_600] as const;

/** A profiled window: the requested one, limited to the recorded time. */
interface ProfiledWindow extends TimeRange {
  requests: number;
}

/**
 * Statistics of the exchanges of one or several windows, at constant memory. Exchanges must come window by window, and
 * in order of arrival within each. For gaps and counts, the windows are placed edge to edge on one time axis.
 */
export class ProfileStatistics {
  readonly arrivals = new ArrivalStatistics(US_PER_S);
  readonly peaks = PEAK_WINDOWS_S.map((windowS) => ({
    windowS,
    counts: new WindowCounts(windowS * US_PER_S),
  }));
  readonly series: RateSeries;
  readonly hours: LocalHours;
  readonly concurrency = new Concurrency();
  readonly duplicates = new DuplicateRatio();
  readonly retries = new Retries();
  readonly sessions = new Parties();
  readonly clients = new Parties();
  readonly routes = new NamedGroups(() => new Group());
  readonly models = new NamedGroups(() => new Group());
  readonly inputSizes = new InputSizes();
  readonly requestBytes = new Histogram();
  readonly responseBytes = new Histogram();
  readonly latencyUs = new Histogram();
  readonly firstByteUs = new Histogram();
  readonly firstTokenUs = new Histogram();
  readonly promptTokens = new Histogram();
  readonly outputTokens = new Histogram();
  readonly batch = new Histogram();
  readonly statuses = new Tally<number | null>();
  readonly calls = {
    requests: 0,
    statuses: new Tally<string | null>(),
    requestMessages: new Histogram(),
    responseMessages: new Histogram(),
  };
  readonly methods = new TextCounts(STANDARD_METHODS);
  readonly protocols = new TextCounts();
  readonly outcomes: Record<Outcome, number> = Object.fromEntries(
    OUTCOMES.map((name) => [name, 0]),
  ) as Record<Outcome, number>;
  readonly errors = { serverErrors: 0, clientErrors: 0, tooManyRequests: 0, failed: 0 };
  readonly windows: ProfiledWindow[] = [];
  /** Requests of which it is known whether they failed: those with a status, or that the server did not answer. */
  ended = 0;
  /** Number of streamed answers; null if unknown for all requests. */
  streamed: number | null = null;
  /** 2xx answers for which it is known whether the body reports an error, and those that do. */
  readonly answerErrors = { answers: 0, told: 0 };

  /** @param windows all windows that will begin, in any order */
  constructor(timeZone: string, windows: readonly TimeRange[]) {
    this.hours = new LocalHours(timeZone);
    this.series = new RateSeries(windows);
  }

  get requests(): number {
    return this.arrivals.count;
  }

  /** Begins a window. Rows added later belong to it. */
  beginWindow({ fromUs, toUs }: TimeRange): void {
    this.concurrency.endWindow();
    this.windows.push({ fromUs, toUs, requests: 0 });
    this.hours.observe({ fromUs, toUs });
  }

  /** @param offsetUs position on the time axis of all windows, 0 for the first arrival; never decreasing */
  add(row: ExchangeRow, offsetUs: number): void {
    this.arrivals.add(offsetUs);
    for (const { counts } of this.peaks) counts.add(offsetUs, row.arrivalUs);
    this.hours.add(row.arrivalUs);
    const window = this.windows.at(-1);
    if (window !== undefined) window.requests += 1;
    const failed = this.#countOutcome(row);
    const isWhole = hasWholeAnswer(row);
    const lastByteUs = row.lastByteOffsetUs === null ? null : Math.max(0, row.lastByteOffsetUs);
    const inFlight = this.concurrency.add(
      row.arrivalUs,
      lastByteUs === null ? null : row.arrivalUs + lastByteUs,
    );
    const entry: GroupEntry = {
      requestBytes: row.requestBytes,
      responseBytes: row.responseBytes,
      failed: failed || row.status !== null ? failed : null,
      latencyUs: isWhole ? lastByteUs : null,
    };
    this.series.add({ arrivalUs: row.arrivalUs, failed, latencyUs: entry.latencyUs, inFlight });
    this.routes.groupOf(row.route)?.add(entry);
    this.models.groupOf(row.model)?.add(entry);
    // An exchange with only an arrival has no sizes.
    if (row.protocol !== null) this.#addSizes(row, entry);
    this.#addTimes(row, entry, isWhole);
    this.#addCall(row);
    if (row.session !== null) this.sessions.add(row.session, row.arrivalUs);
    if (row.client !== null) this.clients.add(row.client, row.arrivalUs);
    // A client that left may repeat its request as well.
    this.#addBody(row, !isWhole || row.status === TOO_MANY_REQUESTS);
  }

  /** Call it after the last row. */
  finish(): void {
    this.concurrency.endWindow();
  }

  #countOutcome(row: ExchangeRow): boolean {
    const { outcome, status, method, protocol } = row;
    if (outcome !== null) this.outcomes[outcome] += 1;
    this.statuses.count(status);
    this.methods.count(method);
    this.protocols.count(protocol);
    if (status !== null && status >= FIRST_SERVER_ERROR) this.errors.serverErrors += 1;
    else if (status !== null && status >= 400) this.errors.clientErrors += 1;
    if (status === TOO_MANY_REQUESTS) this.errors.tooManyRequests += 1;
    const failed = hasExchangeFailed(row);
    if (failed) this.errors.failed += 1;
    // An imported request may have no known end.
    if (failed || status !== null) this.ended += 1;
    return failed;
  }

  #addSizes(row: ExchangeRow, entry: GroupEntry): void {
    this.inputSizes.add(entry);
    if (row.requestBytes !== null) this.requestBytes.record(row.requestBytes);
    // Null for an imported request without an answer. An empty answer has size 0.
    if (row.responseBytes !== null) this.responseBytes.record(row.responseBytes);
    if (row.streamed !== null) this.streamed = (this.streamed ?? 0) + (row.streamed ? 1 : 0);
    if (row.answerError !== null) this.answerErrors.answers += 1;
    if (row.answerError === true) this.answerErrors.told += 1;
  }

  #addTimes(row: ExchangeRow, { latencyUs }: GroupEntry, isWhole: boolean): void {
    if (latencyUs !== null) this.latencyUs.record(latencyUs);
    if (row.firstByteOffsetUs !== null && isWhole)
      this.firstByteUs.record(Math.max(0, row.firstByteOffsetUs));
    if (row.firstTokenOffsetUs !== null && isWhole)
      this.firstTokenUs.record(Math.max(0, row.firstTokenOffsetUs));
    if (row.promptTokens !== null) this.promptTokens.record(Math.max(0, row.promptTokens));
    if (row.outputTokens !== null) this.outputTokens.record(Math.max(0, row.outputTokens));
    if (row.batch !== null) this.batch.record(Math.max(0, row.batch));
  }

  #addCall({ grpcStatus = null, requestMessages = null, responseMessages = null }: ExchangeRow): void {
    if (grpcStatus === null && requestMessages === null && responseMessages === null) return;
    this.calls.requests += 1;
    this.calls.statuses.count(grpcStatus === null ? null : grpcStatusName(grpcStatus));
    if (requestMessages !== null) this.calls.requestMessages.record(requestMessages);
    if (responseMessages !== null) this.calls.responseMessages.record(responseMessages);
  }

  #addBody(row: ExchangeRow, failed: boolean): void {
    const isKnown = row.requestHash !== null || (row.requestStored && row.requestBytes === 0);
    if (!isKnown) return;
    this.duplicates.add(row.route, row.requestHash);
    const endUs = row.arrivalUs + Math.max(0, row.lastByteOffsetUs ?? 0);
    this.retries.add(row.route, row.requestHash, row.arrivalUs, failed ? endUs : null);
  }
}

/** One request of a group. */
interface GroupEntry {
  readonly requestBytes: number | null;
  readonly responseBytes: number | null;
  /** Null if its end was not recorded. */
  readonly failed: boolean | null;
  /** Null if it did not complete, or the time was not recorded. */
  readonly latencyUs: number | null;
}

/** Statistics of a group of requests. */
export class Group {
  #requests = 0;
  #failed: number | null = null;
  readonly #requestBytes = new Histogram();
  readonly #responseBytes = new Histogram();
  readonly #latencyUs = new Histogram();

  get requests(): number {
    return this.#requests;
  }

  add({ requestBytes, responseBytes, failed, latencyUs }: GroupEntry): void {
    this.#requests += 1;
    if (requestBytes !== null) this.#requestBytes.record(requestBytes);
    if (responseBytes !== null) this.#responseBytes.record(responseBytes);
    if (failed !== null) this.#failed = (this.#failed ?? 0) + (failed ? 1 : 0);
    if (latencyUs !== null) this.#latencyUs.record(latencyUs);
  }

  figures(of: number): GroupFigures {
    return {
      requests: this.#requests,
      share: of === 0 ? 0 : this.#requests / of,
      failed: this.#failed,
      meanRequestBytes: this.#requestBytes.mean,
      meanResponseBytes: this.#responseBytes.mean,
      latencyMs: distributionOf(this.#latencyUs, 1e-3),
    };
  }
}

/** Groups by the size of the request body, one class for each doubling. */
class InputSizes {
  readonly #classes = new Map<number, Group>();

  /** Adds a request. If its size is unknown, it is in no class. */
  add(entry: GroupEntry): void {
    if (entry.requestBytes === null) return;
    const index = sizeClassOf(entry.requestBytes);
    const group = this.#classes.get(index) ?? new Group();
    this.#classes.set(index, group);
    group.add(entry);
  }

  /** The classes in ascending order; empty classes are left out. */
  figures(of: number): InputSizeGroup[] {
    const ordered = [...this.#classes].sort(([a], [b]) => a - b);
    return ordered.map(([index, group]) => ({
      fromBytes: index === 0 ? 0 : 2 ** (index - 1),
      toBytes: index === 0 ? 0 : 2 ** index - 1,
      ...group.figures(of),
    }));
  }
}

const WINDOW_S = 60;
const WINDOW_US = WINDOW_S * 1e6;
/** Failures remembered; the oldest go first. */
const REMEMBERED = 65_536;

/** Detects retries, at bounded memory. Requests must come in order of arrival. */
export class Retries {
  readonly #keys = new RequestKeys();
  /** When a failed request ended, by its route and body; the latest failure last. */
  readonly #failures = new Map<number, number>();
  #likely = 0;
  #watched = 0;

  /** Adds a request with a known body. @param failedUs when it failed; null if it did not */
  add(
    route: string | null,
    requestHash: Uint8Array | null,
    arrivalUs: number,
    failedUs: number | null,
  ): void {
    if (this.#failures.size === 0 && failedUs === null) return;
    this.#keys.take(route, requestHash);
    const key = this.#keys.number;
    const before = this.#failures.get(key);
    if (before !== undefined) {
      // A request that was sent before the other failed is no retry of it.
      if (arrivalUs >= before && arrivalUs - before <= WINDOW_US) this.#likely += 1;
      if (arrivalUs >= before) this.#failures.delete(key);
    }
    if (failedUs === null) return;
    this.#watched += 1;
    this.#failures.delete(key);
    this.#failures.set(key, failedUs);
    for (const [oldest, endUs] of this.#failures) {
      if (this.#failures.size <= REMEMBERED && arrivalUs - endUs <= WINDOW_US) break;
      this.#failures.delete(oldest);
    }
  }

  figures(): RetryFigures {
    return { likely: this.#likely, windowS: WINDOW_S, watched: this.#watched };
  }
}

/** The methods that services use: those of RFC 9110, and PATCH. */
export const STANDARD_METHODS: readonly string[] =
  'GET HEAD POST PUT DELETE PATCH OPTIONS CONNECT TRACE'.split(' ');

/** Most different texts that are counted. The limit is needed, because clients can invent methods. */
const MAX_TEXTS = 64;

/** Counts of requests by a text, such as the method: at most 64 different texts, plus all known ones. */
class TextCounts extends Tally<string | null> {
  readonly #known: ReadonlySet<string | null>;
  /** Requests with further texts. */
  unlisted = 0;

  constructor(known: readonly string[] = []) {
    super();
    this.#known = new Set([...known, null]);
  }

  override count(text: string | null): void {
    const isListed = this.has(text) || this.#known.has(text) || this.size < MAX_TEXTS;
    if (isListed) super.count(text);
    else this.unlisted += 1;
  }
}

interface Party {
  readonly id: Uint8Array;
  requests: number;
  firstUs: number;
  lastUs: number;
}

/** Parties kept when there are more than twice as many. The others sent too little to affect the top shares. */
const KEPT = 32_768;
const SHOWN = 10;

/**
 * Counts the requests of each client or session, at bounded memory. Beyond 65,536 of them, the busier half is kept, and
 * the count of the least busy one in it is subtracted from each (the summary of Misra and Gries, in batches). A count
 * is too low by at most the sum of these subtractions.
 */
export class Parties {
  readonly #parties = new Map<number, Party>();
  readonly #distinct = new DistinctEstimate();
  #requests = 0;
  #undercount = 0;
  #exact = true;

  /** @param id 8 bytes of a keyed hash, which is uniform */
  add(id: Uint8Array, arrivalUs: number): void {
    this.#requests += 1;
    const high = wordAt(id, 0);
    const low = wordAt(id, 4) >>> 0;
    const key = (high >>> 11) * 2 ** 32 + low;
    const known = this.#parties.get(key);
    if (known !== undefined) {
      known.requests += 1;
      known.lastUs = arrivalUs;
      return;
    }
    this.#distinct.add(high, low);
    // Copied, because the reader may pass a view of a database page.
    this.#parties.set(key, { id: Uint8Array.from(id), requests: 1, firstUs: arrivalUs, lastUs: arrivalUs });
    if (this.#parties.size > 2 * KEPT) this.#forget();
  }

  figures(): PartyFigures {
    const ordered = [...this.#parties.values()].sort((a, b) => b.requests - a.requests);
    // After some parties were forgotten, the exact counts of each are unknown.
    const each = new Histogram();
    const spans = new Histogram();
    for (const { requests, firstUs, lastUs } of this.#exact ? ordered : []) {
      each.record(requests);
      if (requests > 1) spans.record(Math.max(0, lastUs - firstUs));
    }
    return {
      count: this.#exact ? ordered.length : Math.round(this.#distinct.estimate()),
      exact: this.#exact,
      requests: this.#requests,
      undercount: this.#undercount,
      topShares: {
        top1: this.#share(ordered, 1),
        top10: this.#share(ordered, 10),
        top100: this.#share(ordered, 100),
      },
      requestsEach: distributionOf(each),
      spanS: distributionOf(spans, 1e-6),
      top: ordered.slice(0, SHOWN).map(({ id, requests }) => ({
        id: Buffer.from(id).toString('hex'),
        requests,
        share: requests / this.#requests,
      })),
    };
  }

  #share(ordered: readonly Party[], first: number): number | null {
    if (this.#requests === 0) return null;
    return ordered.slice(0, first).reduce((sum, { requests }) => sum + requests, 0) / this.#requests;
  }

  #forget(): void {
    this.#exact = false;
    const counts = Float64Array.from(this.#parties.values(), ({ requests }) => requests).sort();
    const least = counts[counts.length - KEPT] ?? 0;
    this.#undercount += least;
    for (const [key, party] of this.#parties) {
      party.requests -= least;
      if (party.requests <= 0) this.#parties.delete(key);
    }
  }
}
