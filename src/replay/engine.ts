import { setImmediate, setTimeout } from 'node:timers/promises';
import type { Clock, ClockAnchor } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { formatMs } from '../core/units.ts';
import type { ArenaSetup } from './check/answer-arena.ts';
import { DueRing } from './due-ring.ts';
import type { EngineHealth } from './engine-health.ts';
import { engineHealthOf } from './engine-report.ts';
import { EngineThreads, type ThreadsReport } from './engine-threads.ts';
import type { FencedAddresses } from './guards.ts';
import type { HeldBounds } from './held-budget.ts';
import type { PreparedRequest } from './prepared-request.ts';
import { ReadAhead } from './read-ahead.ts';
import { refusedResult, type SendResult } from './send-result.ts';

export type { AddressUse, ConnectionUse, DurationsNs, EngineHealth, Stall } from './engine-health.ts';
export type { PreparedRequest } from './prepared-request.ts';
export type { SendResult } from './send-result.ts';

/** Resolved options of one engine; nothing below applies a default. */
export interface EngineOptions {
  /** `http://host:port` or `https://host:port`, without a path. */
  readonly origin: string;
  /** Path of a unix socket that is connected to in place of the origin's host; null without one. */
  readonly socketPath: string | null;
  /** Threads that send; what belongs together goes to one of them. */
  readonly senders: number;
  /** Over all senders: requests under way, and bytes of bodies that are not wholly written. */
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
  /** Connection set-up, TLS included. */
  readonly connectTimeoutMs: number;
  /** From the request being written to the response head. */
  readonly firstByteTimeoutMs: number;
  /** Between two pieces of a response body. */
  readonly idleTimeoutMs: number;
  /** From the actual send to the last byte. */
  readonly totalTimeoutMs: number;
  /** After the last send, or a stop, how long requests in flight may still finish. */
  readonly drainDeadlineMs: number;
  /** After a stall overdue requests go no tighter than this rate, unless the plan itself is tighter there. */
  readonly peakRatePerSecond: number;
  readonly readAheadBytes: number;
  readonly readAheadRequests: number;
  /** What may wait for another request; null or left out where no request follows another. */
  readonly held?: HeldBounds | null;
  /** Connections opened before the start, spread over the target's addresses. */
  readonly warmConnections: number;
  /** A connection older than this is closed when it next falls idle; null for no limit. */
  readonly maxConnectionAgeMs: number | null;
  /** TLS targets: extra trusted certificates (PEM), and whether an unverifiable one is accepted. */
  readonly caPem: string | null;
  readonly acceptAnyCertificate: boolean;
  /** Addresses that no connection goes to, whatever the target's name means; left out for none. */
  readonly fenced?: FencedAddresses;
  /** The run's zero by the wall clock, epoch microseconds; without it, as soon as everything is ready. */
  readonly startAtUs?: number | null;
  /** Sends intended before this instant of the run, of a warm-up, are in no count of what we did wrong. */
  readonly judgedFromNs?: number;
  /** Requests are pulled only once the run's zero is known, because they depend on it. */
  readonly startBeforeReading?: boolean;
  /** Complete answers are kept within these limits and come with their results; null or left out: none is. */
  readonly keeping?: ArenaSetup | null;
}

export interface EngineDeps {
  readonly clock: Clock;
  /** Entry files of the worker threads. */
  readonly pacerEntry: URL;
  readonly senderEntry: URL;
}

/** Requests that were due and have not ended. */
export interface UnderWayCounts {
  /** Sent, and not answered yet. */
  readonly atTarget: number;
  /** Not sent: their recorded connection is not free. */
  readonly waiting: number;
}

/** What plans a replay needs of an engine. */
export interface Engine {
  /**
   * Sends every request once and reports each exactly once, in batches, in order of completion. `requests` is
   * pulled on the calling thread in small slices, at most about two seconds of schedule and the read-ahead
   * bounds before it is due, and is closed at the end. When `signal` aborts, sending stops at once and what is
   * in flight has `drainDeadlineMs` to finish; requests not reached by then have no result.
   * @throws what the iterator or `onResults` throws, and AppError INTERNAL when a thread dies.
   */
  run(
    requests: Iterator<PreparedRequest>,
    onResults: (batch: SendResult[]) => void,
    signal: AbortSignal,
  ): Promise<EngineHealth>;

  /** The run's zero on the monotonic clock; null until the threads are ready and the first instant is set. */
  readonly startNs: number | null;

  /** What is under way at this moment. */
  readonly underWay: UnderWayCounts;
}

/**
 * Between two looks at whether the sender has room again. Each hands over what has become near enough and wakes
 * both threads for it, so a few are better than many; the read-ahead lasts ten times as long at 10,000/s.
 */
const POLL_MS = 40;
/** From everything being ready to the first instant: time for what was read ahead to reach the sender. */
const RUN_UP_NS = 250_000_000;
/** A run that would begin later than this after the start that was set does not begin. */
const MAX_LATE_START_US = 5_000_000;

/**
 * Sends requests at their instants: a pacer thread that keeps time, sender threads that own the sockets, and this
 * thread, which reads ahead. Open loop: nothing a target does delays a send. One engine, one run.
 */
export class ReplayEngine implements Engine {
  readonly #options: EngineOptions;
  readonly #deps: EngineDeps;
  #startNs: number | null = null;
  #threads: EngineThreads | null = null;

  constructor(options: EngineOptions, deps: EngineDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  get startNs(): number | null {
    return this.#startNs;
  }

  get underWay(): UnderWayCounts {
    return this.#threads?.underWay ?? { atTarget: 0, waiting: 0 };
  }

  /** See Engine. */
  async run(
    requests: Iterator<PreparedRequest>,
    onResults: (batch: SendResult[]) => void,
    signal: AbortSignal,
  ): Promise<EngineHealth> {
    const ring = DueRing.create(this.#options.readAheadRequests, this.#options.senders);
    const threads = new EngineThreads(this.#options, this.#deps, ring.memory, onResults);
    this.#threads = threads;
    const stop = (): void => {
      ring.stop();
      threads.stop();
    };
    try {
      const { clock } = this.#deps;
      const { readAheadBytes: maxBytes, readAheadRequests: maxRequests, held = null } = this.#options;
      let notHeld = 0;
      const readAhead = new ReadAhead(requests, ring, { maxBytes, maxRequests, held }, clock, {
        hand: (kind, batch, sender) => threads.hand(kind, batch, sender),
        refuse: ({ index, intendedOffsetNs }) => {
          notHeld++;
          onResults([refusedResult(index, intendedOffsetNs)]);
        },
      });
      if (this.#options.startBeforeReading !== true) readAhead.fill(-RUN_UP_NS);
      await threads.ready;
      const anchor = clock.anchor();
      const startNs = zeroOf(anchor, this.#options.startAtUs ?? null);
      this.#startNs = startNs;
      threads.start(startNs);
      signal.addEventListener('abort', stop, { once: true });
      if (signal.aborted) stop();
      const finished = await this.#feed(readAhead, startNs, threads.report, signal);
      if (finished) {
        ring.finish();
        threads.finish();
      }
      const report = await threads.report;
      const startedAtUs = anchor.epochUs + Math.round((startNs - anchor.monotonicNs) / 1000);
      return engineHealthOf(report, { startNs, startedAtUs, prepared: readAhead.handed, finished, notHeld });
    } finally {
      signal.removeEventListener('abort', stop);
      ring.stop();
      await threads.terminate();
      requests.return?.();
    }
  }

  /** Reads ahead until everything is handed over (true), or `signal` aborts or a thread fails (false). */
  async #feed(
    readAhead: ReadAhead,
    startNs: number,
    report: Promise<ThreadsReport>,
    signal: AbortSignal,
  ): Promise<boolean> {
    // Asked of once: a race with the report in each turn would leave something with it, for as long as it is open.
    let ended = false;
    const end = (): void => {
      ended = true;
    };
    report.then(end, end);
    while (!signal.aborted && !ended) {
      const state = readAhead.fill(this.#deps.clock.nowNs() - startNs);
      if (state === 'done') return true;
      await (state === 'full' ? setTimeout(POLL_MS) : setImmediate());
    }
    return false;
  }
}

/**
 * The run's zero on the monotonic clock. One that was set stays what it is, however late we are: what was due by
 * then leaves late, and its lag says so.
 */
function zeroOf({ monotonicNs, epochUs }: ClockAnchor, startAtUs: number | null): number {
  if (startAtUs === null) return monotonicNs + RUN_UP_NS;
  const lateUs = epochUs - startAtUs;
  if (lateUs <= MAX_LATE_START_US) return monotonicNs - lateUs * 1e3;
  throw new AppError(
    'OPTION_INVALID',
    `--start-at was missed by ${formatMs(lateUs / 1e3)}: nothing was ready before, and nothing was sent`,
    { hint: 'Give a later instant; reading a long capture and connecting take their time.' },
  );
}
