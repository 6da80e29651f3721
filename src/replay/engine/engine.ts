import { setImmediate, setTimeout } from 'node:timers/promises';
import { MessageChannel, type MessagePort, type ResourceLimits, Worker } from 'node:worker_threads';
import type { Clock, ClockAnchor } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { formatMs } from '../../core/units.ts';
import {
  type ConnectionUse,
  Durations,
  type DurationsNs,
  type EngineHealth,
  mergedStalls,
  type SenderHealth,
} from './health.ts';
import {
  type BatchKind,
  type FromPacer,
  type FromSender,
  notSentResult,
  type PacerSetup,
  type PreparedRequest,
  type SendBatch,
  type SenderOver,
  type SenderSetup,
  type SendingOptions,
  type SendResult,
  type ToPacer,
  type ToSender,
  transferListOf,
  unpacked,
} from './messages.ts';
import { type HeldBounds, ReadAhead } from './read-ahead.ts';
import { DueRing, InFlight } from './shared-memory.ts';

export type { ConnectionUse, DurationsNs, EngineHealth, Stall } from './health.ts';
export type { PreparedRequest, SendResult } from './messages.ts';

/** Resolved options of one engine; nothing below applies a default. */
export interface EngineOptions extends SendingOptions {
  /** Threads that send. All requests of a session go to the same one. */
  readonly senders: number;
  /** Over all senders: requests under way, and bytes of bodies that are not wholly written. */
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
  /** After a stall overdue requests go no tighter than this rate, unless the plan itself is tighter there. */
  readonly peakRatePerSecond: number;
  readonly readAheadBytes: number;
  readonly readAheadRequests: number;
  /** What may wait for another request; null or left out where no request follows another. */
  readonly held?: HeldBounds | null;
  /** The run's zero by the wall clock, epoch microseconds; without it, as soon as everything is ready. */
  readonly startAtUs?: number | null;
  /** Requests are pulled only once the run's zero is known, because they depend on it. */
  readonly startBeforeReading?: boolean;
}

interface EngineDeps {
  readonly clock: Clock;
  /** Entry files of the worker threads. */
  readonly pacerEntry: URL;
  readonly senderEntry: URL;
}

/** Requests that were due and have not ended. */
interface UnderWayCounts {
  /** Sent, and not answered yet. */
  readonly atTarget: number;
  /** Not sent: their recorded connection is not free. */
  readonly waiting: number;
}

/** What plans a replay needs of an engine. */
export type Engine = Pick<ReplayEngine, 'run' | 'startNs' | 'underWay'>;

/**
 * How often it is checked whether senders have room again. Each check hands requests over and wakes threads, so it
 * is rare; what is read ahead lasts ten times as long, even at 10,000/s.
 */
const POLL_MS = 40;
/** From everything being ready to the first instant: the first requests must reach their senders. */
const RUN_UP_NS = 250_000_000;
/** A run that misses the start that was set by more than this is refused. */
const MAX_LATE_START_US = 5_000_000;

/**
 * Sends requests at their instants: a pacer thread that keeps time, sender threads that own the sockets, and this
 * thread, which reads ahead. Open loop: nothing a target does delays a send. One engine, one run.
 */
export class ReplayEngine {
  readonly #options: EngineOptions;
  readonly #deps: EngineDeps;
  #startNs: number | null = null;
  #threads: EngineThreads | null = null;

  constructor(options: EngineOptions, deps: EngineDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** The run's zero on the monotonic clock; null until the threads are ready and the first instant is set. */
  get startNs(): number | null {
    return this.#startNs;
  }

  /** What is under way at this moment. */
  get underWay(): UnderWayCounts {
    return this.#threads?.underWay ?? { atTarget: 0, waiting: 0 };
  }

  /**
   * Sends every request once and reports each exactly once, in batches, in order of completion. `requests` is
   * pulled on the calling thread in small slices, at most about two seconds of schedule and the read-ahead
   * bounds before it is due, and is closed at the end. When `signal` aborts, sending stops at once and what is
   * in flight has `drainDeadlineMs` to finish; requests not reached by then have no result.
   * @throws what the iterator or `onResults` throws, and AppError INTERNAL when a thread dies.
   */
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
        refuse: (request) => {
          notHeld++;
          onResults([notSentResult(request, 'refused')]);
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
    // Promise.race in each turn would add a listener to the report each time.
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
 * The run's zero on the monotonic clock. A start that was set is not moved when we are late: requests that are overdue
 * then leave late, and their lag shows it.
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

/**
 * A sender's heap. A smaller young generation is collected more often, a larger one takes longer each time: of 8, 16,
 * 32, 64 and V8's own choice, 16 had the least sum of pauses; each was 0.6 ms. The old generation is bounded because
 * V8 sizes it by the memory of the host: 14 MB were alive when it had grown to 67, and bodies with it. 10,000
 * requests under way need about 100.
 */
const SENDER_HEAP: ResourceLimits = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 512 };

/** What the threads say at the end. */
interface ThreadsReport {
  /** In the order of the senders. */
  readonly senders: readonly SenderOver[];
  readonly pacerLateness: DurationsNs;
}

interface BatchFor {
  readonly kind: BatchKind;
  readonly batch: SendBatch;
  readonly sender: number;
}

/** The pacer's and the senders' threads as the main thread sees them. Any fault of one ends all. */
class EngineThreads {
  readonly #senders: readonly Worker[];
  readonly #pacer: Worker;
  readonly #inFlight: InFlight;
  readonly #ready = Promise.withResolvers<void>();
  readonly #report = Promise.withResolvers<ThreadsReport>();
  /** Batches that were read before the run's zero was known; null from then on. */
  #beforeStart: BatchFor[] | null = [];
  #threadsReady = 0;
  readonly #sendersOver: (SenderOver | null)[];
  #pacerLateness: DurationsNs | null = null;

  constructor(
    options: EngineOptions,
    deps: EngineDeps,
    ringMemory: SharedArrayBuffer,
    onResults: (results: SendResult[]) => void,
  ) {
    const { peakRatePerSecond, readAheadBytes: _b, readAheadRequests: _r, held: _h, ...shared } = options;
    const { senders, maxInFlight, maxInFlightBytes, warmConnections, ...setup } = shared;
    const inFlightLimits = { maxRequests: maxInFlight, maxBodyBytes: maxInFlightBytes };
    this.#inFlight = InFlight.create(inFlightLimits);
    const inFlightMemory = this.#inFlight.memory;
    const channels = Array.from({ length: senders }, () => new MessageChannel());
    this.#senders = channels.map(({ port2 }, sender) => {
      const senderSetup: SenderSetup = {
        ...setup,
        sender,
        ringMemory,
        inFlightMemory,
        inFlightLimits,
        wakePort: port2,
        warmConnections: Math.ceil(warmConnections / senders),
        // All senders together keep to the peak rate.
        catchUpGapNs: (1e9 / peakRatePerSecond) * senders,
      };
      return startThread(deps.senderEntry, senderSetup, [port2], SENDER_HEAP);
    });
    this.#sendersOver = this.#senders.map(() => null);
    const wakePorts = channels.map(({ port1 }) => port1);
    const pacerSetup: PacerSetup = { ringMemory, wakePorts };
    this.#pacer = startThread(deps.pacerEntry, pacerSetup, wakePorts);
    for (const [sender, thread] of this.#senders.entries()) {
      thread.on('message', (message: FromSender) => this.#fromSender(sender, message, onResults));
      this.#watch(thread, 'sender', () => this.#sendersOver[sender] !== null);
    }
    this.#pacer.on('message', (message: FromPacer) => this.#fromPacer(message));
    this.#watch(this.#pacer, 'pacer', () => this.#pacerLateness !== null);
    // Only one of the two may be awaited; the other must not become an unhandled rejection.
    this.#ready.promise.catch(() => undefined);
    this.#report.promise.catch(() => undefined);
  }

  /** All threads are up and connections are warm. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Over all senders. The two counts are read one after the other, so they may differ by what happens in between. */
  get underWay(): UnderWayCounts {
    const { waiting, requests } = this.#inFlight;
    return { atTarget: Math.max(0, requests - waiting), waiting };
  }

  /** All threads have ended in order. Rejects as soon as one fails, or `onResults` throws. */
  get report(): Promise<ThreadsReport> {
    return this.#report.promise;
  }

  start(startNs: number): void {
    this.#toSenders({ kind: 'start', startNs });
    this.#pacer.postMessage({ startNs } satisfies ToPacer);
    const batches = this.#beforeStart ?? [];
    this.#beforeStart = null;
    for (const { kind, batch, sender } of batches) this.hand(kind, batch, sender);
  }

  hand(kind: BatchKind, batch: SendBatch, sender: number): void {
    if (this.#beforeStart) {
      this.#beforeStart.push({ kind, batch, sender });
      return;
    }
    const message: ToSender = { kind, batch };
    this.#senders[sender]?.postMessage(message, transferListOf(batch));
  }

  finish(): void {
    this.#toSenders({ kind: 'finish' });
  }

  stop(): void {
    this.#toSenders({ kind: 'stop' });
  }

  /** Ends all threads whatever they do. */
  async terminate(): Promise<void> {
    await Promise.all([this.#pacer, ...this.#senders].map((thread) => thread.terminate()));
  }

  #toSenders(message: ToSender): void {
    for (const sender of this.#senders) sender.postMessage(message);
  }

  #fromSender(sender: number, message: FromSender, onResults: (results: SendResult[]) => void): void {
    switch (message.kind) {
      case 'ready':
        this.#countReady();
        break;
      case 'results':
        try {
          onResults(unpacked<SendResult[]>(message.results));
        } catch (error) {
          this.#fail(error);
        }
        break;
      case 'over':
        this.#sendersOver[sender] = message;
        this.#reportWhenOver();
        break;
    }
  }

  #fromPacer(message: FromPacer): void {
    if (message.kind === 'ready') {
      this.#countReady();
    } else {
      this.#pacerLateness = message.lateness;
      this.#reportWhenOver();
    }
  }

  #countReady(): void {
    this.#threadsReady++;
    if (this.#threadsReady === this.#senders.length + 1) this.#ready.resolve();
  }

  #reportWhenOver(): void {
    const senders = this.#sendersOver.filter((over) => over !== null);
    if (senders.length < this.#senders.length || this.#pacerLateness === null) return;
    this.#report.resolve({ senders, pacerLateness: this.#pacerLateness });
  }

  #watch(thread: Worker, name: string, isOver: () => boolean): void {
    thread.on('error', (cause) => {
      this.#fail(new AppError('INTERNAL', `the ${name} thread failed: ${reasonOf(cause)}`, { cause }));
    });
    thread.on('exit', (code) => {
      if (!isOver()) this.#fail(new AppError('INTERNAL', `the ${name} thread ended early with code ${code}`));
    });
  }

  #fail(error: unknown): void {
    this.#ready.reject(error);
    this.#report.reject(error);
  }
}

function startThread(
  entry: URL,
  setup: SenderSetup | PacerSetup,
  ports: readonly MessagePort[],
  resourceLimits: ResourceLimits = {},
): Worker {
  return new Worker(entry, { workerData: setup, transferList: [...ports], resourceLimits });
}

/** What the main thread knows of a run beside what its threads report. */
interface RunFacts {
  readonly startNs: number;
  readonly startedAtUs: number;
  readonly prepared: number;
  /** The schedule was handed over to its end. */
  readonly finished: boolean;
  /** Follow-ups that were refused before they were handed over. */
  readonly notHeld: number;
}

/** Merges the reports of all threads: sums of counts, merged distributions, and the worst sender's busy share. */
function engineHealthOf({ senders, pacerLateness }: ThreadsReport, run: RunFacts): EngineHealth {
  const healths = senders.map(({ health }) => health);
  const sum = (of: (health: SenderHealth) => number) => sumOf(healths.map(of));
  const worst = (of: (health: SenderHealth) => number) => Math.max(...healths.map(of));
  const { startNs, startedAtUs, prepared } = run;
  const sent = sum((health) => health.sent);
  const refused = sum((health) => health.refused);
  return {
    ...{ startNs, startedAtUs, prepared, sent, refused, pacerLateness },
    endOffsetNs: worst((health) => health.endOffsetNs),
    refusedForBytes: sum((health) => health.refusedForBytes),
    stopped: sum((health) => health.stopped),
    aborted: !run.finished || sent + refused + sum((health) => health.unreached) < prepared,
    lag: Durations.merged(healths.map(({ lag }) => lag)).summary(),
    senderBusyShare: worst((health) => health.busyShare),
    senderBusyShareMax10s: worst((health) => health.busyShareMax10s),
    starved: sum((health) => health.starved),
    stalls: mergedStalls(healths.flatMap(({ stalls }) => stalls)),
    inFlightMax: worst((health) => health.inFlightMax),
    followUps: { heldBack: sum((health) => health.heldBack), notHeld: run.notHeld },
    connections: connectionsOf(senders),
  };
}

function connectionsOf(senders: readonly SenderOver[]): ConnectionUse {
  const uses = senders.map(({ connections }) => connections);
  const sum = (of: (use: ConnectionUse) => number) => sumOf(uses.map(of));
  const used = sum((use) => use.used);
  const byAddress = uses.flatMap((use) => use.byAddress);
  return {
    opened: sum((use) => use.opened),
    failed: sum((use) => use.failed),
    openMax: sum((use) => use.openMax),
    used,
    connect: Durations.merged(senders.map(({ connect }) => connect)).summary(),
    requestsPerConnection: {
      mean: used === 0 ? 0 : sumOf(byAddress.map(({ requests }) => requests)) / used,
      max: Math.max(...uses.map(({ requestsPerConnection }) => requestsPerConnection.max)),
    },
    byAddress: [...Map.groupBy(byAddress, ({ address }) => address)].map(([address, parts]) => ({
      address,
      connections: sumOf(parts.map(({ connections }) => connections)),
      requests: sumOf(parts.map(({ requests }) => requests)),
    })),
  };
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
