import {
  type ExchangeRow,
  FIRST_SERVER_ERROR,
  hasExchangeFailed,
  OUTCOMES,
  type Outcome,
} from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import type { TimeRange } from '../../core/ports.ts';
import { ArrivalStatistics } from '../stats/arrivals.ts';
import { DuplicateRatio } from '../stats/distinct.ts';
import { Concurrency } from './concurrency.ts';
import { type GroupEntry, Groups } from './groups.ts';
import { InputSizes } from './input-sizes.ts';
import { LocalHours } from './local-hours.ts';
import { Parties } from './parties.ts';
import { PeakCounts } from './peak-counts.ts';
import { RateSeries } from './rate-series.ts';
import { Retries } from './retries.ts';
import { STANDARD_METHODS, TextCounts } from './text-counts.ts';

const US_PER_S = 1e6;
const TOO_MANY_REQUESTS = 429;
const PEAK_WINDOWS_S = [1, 60, 600, 3_600] as const;

/** A window that is profiled: what was asked for, cut to what there is. */
export interface ProfiledWindow extends TimeRange {
  requests: number;
}

/**
 * Follows the exchanges of one or several windows, window by window and in order of arrival within each, at constant
 * memory. Where windows follow each other, gaps and counts are those on the time on which they lie edge to edge.
 */
export class ProfileStatistics {
  readonly arrivals = new ArrivalStatistics(US_PER_S);
  readonly peaks = PEAK_WINDOWS_S.map((windowS) => new PeakCounts(windowS));
  readonly series = new RateSeries();
  readonly hours: LocalHours;
  readonly concurrency = new Concurrency();
  readonly duplicates = new DuplicateRatio();
  readonly retries = new Retries();
  readonly sessions = new Parties();
  readonly clients = new Parties();
  readonly routes = new Groups();
  readonly models = new Groups();
  readonly inputSizes = new InputSizes();
  readonly requestBytes = new Histogram();
  readonly responseBytes = new Histogram();
  readonly latencyUs = new Histogram();
  readonly firstByteUs = new Histogram();
  readonly firstTokenUs = new Histogram();
  readonly promptTokens = new Histogram();
  readonly outputTokens = new Histogram();
  readonly batch = new Histogram();
  readonly statuses = new Map<number | null, number>();
  readonly methods = new TextCounts(STANDARD_METHODS);
  readonly protocols = new TextCounts();
  readonly outcomes: Record<Outcome, number> = Object.fromEntries(
    OUTCOMES.map((name) => [name, 0]),
  ) as Record<Outcome, number>;
  readonly errors = { serverErrors: 0, clientErrors: 0, tooManyRequests: 0, failed: 0 };
  readonly windows: ProfiledWindow[] = [];
  /** Requests of which it is known how they ended: by a status, or by breaking off. */
  ended = 0;
  /** Null where it is known of none whether it was. */
  streamed: number | null = null;
  truncatedRequests = 0;
  storedRequests = 0;

  constructor(timeZone: string) {
    this.hours = new LocalHours(timeZone);
  }

  get requests(): number {
    return this.arrivals.count;
  }

  /** Begins a window; rows that follow lie in it. */
  beginWindow({ fromUs, toUs }: TimeRange): void {
    this.concurrency.endWindow();
    this.windows.push({ fromUs, toUs, requests: 0 });
    this.hours.observe({ fromUs, toUs });
  }

  /** @param offsetUs on the time of all windows, 0 for the first arrival; never less than the one before */
  add(row: ExchangeRow, offsetUs: number): void {
    this.arrivals.add(offsetUs);
    for (const peak of this.peaks) peak.add(offsetUs, row.arrivalUs);
    this.hours.add(row.arrivalUs);
    const window = this.windows.at(-1);
    if (window !== undefined) window.requests += 1;
    const failed = this.#countOutcome(row);
    const lastByteUs = row.lastByteOffsetUs === null ? null : Math.max(0, row.lastByteOffsetUs);
    const inFlight = this.concurrency.add(
      row.arrivalUs,
      lastByteUs === null ? null : row.arrivalUs + lastByteUs,
    );
    const entry: GroupEntry = {
      requestBytes: row.requestBytes,
      responseBytes: row.responseBytes,
      failed: failed || row.status !== null ? failed : null,
      latencyUs: failed ? null : lastByteUs,
    };
    this.series.add({ arrivalUs: row.arrivalUs, failed, latencyUs: entry.latencyUs, inFlight });
    this.routes.add(row.route, entry);
    this.models.add(row.model, entry);
    // Of an arrival that is known alone there is no size to count.
    if (row.protocol !== null) this.#addSizes(row, entry);
    this.#addTimes(row, entry);
    if (row.session !== null) this.sessions.add(row.session, row.arrivalUs);
    if (row.client !== null) this.clients.add(row.client, row.arrivalUs);
    this.#addBody(row, failed || row.status === TOO_MANY_REQUESTS);
  }

  /** To be called when the last row was added. */
  finish(): void {
    this.concurrency.endWindow();
  }

  #countOutcome(row: ExchangeRow): boolean {
    const { outcome, status, method, protocol } = row;
    this.outcomes[outcome] += 1;
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
    this.methods.add(method);
    this.protocols.add(protocol);
    if (status !== null && status >= FIRST_SERVER_ERROR) this.errors.serverErrors += 1;
    else if (status !== null && status >= 400) this.errors.clientErrors += 1;
    if (status === TOO_MANY_REQUESTS) this.errors.tooManyRequests += 1;
    const failed = hasExchangeFailed(row);
    if (failed) this.errors.failed += 1;
    // Of an import nobody knows how a request ended.
    if (failed || status !== null) this.ended += 1;
    return failed;
  }

  #addSizes(row: ExchangeRow, entry: GroupEntry): void {
    this.inputSizes.add(entry);
    if (row.requestBytes !== null) this.requestBytes.record(row.requestBytes);
    // An import has requests without any answer; an empty answer has its size.
    if (row.responseBytes !== null) this.responseBytes.record(row.responseBytes);
    if (row.streamed !== null) this.streamed = (this.streamed ?? 0) + (row.streamed ? 1 : 0);
    if (row.requestTruncated) this.truncatedRequests += 1;
    if (row.requestStored) this.storedRequests += 1;
  }

  #addTimes(row: ExchangeRow, { failed, latencyUs }: GroupEntry): void {
    if (latencyUs !== null) this.latencyUs.record(latencyUs);
    if (row.firstByteOffsetUs !== null && !failed)
      this.firstByteUs.record(Math.max(0, row.firstByteOffsetUs));
    if (row.firstTokenOffsetUs !== null && !failed)
      this.firstTokenUs.record(Math.max(0, row.firstTokenOffsetUs));
    if (row.promptTokens !== null) this.promptTokens.record(Math.max(0, row.promptTokens));
    if (row.outputTokens !== null) this.outputTokens.record(Math.max(0, row.outputTokens));
    if (row.batch !== null) this.batch.record(Math.max(0, row.batch));
  }

  #addBody(row: ExchangeRow, failed: boolean): void {
    const isKnown = row.requestHash !== null || (row.requestStored && row.requestBytes === 0);
    if (!isKnown) return;
    this.duplicates.add(row.route, row.requestHash);
    const endUs = row.arrivalUs + Math.max(0, row.lastByteOffsetUs ?? 0);
    this.retries.add(row.route, row.requestHash, row.arrivalUs, failed ? endUs : null);
  }
}
