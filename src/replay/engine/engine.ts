import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { MessageChannel, type ResourceLimits, Worker, type WorkerOptions } from 'node:worker_threads';
import type { Clock, ClockAnchor } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import type { RunPosition } from '../../core/run.ts';
import { formatMs } from '../../core/units.ts';
import { collectGarbage } from './garbage.ts';
import {
  type AddressUse,
  type ConnectionUse,
  Durations,
  type DurationsNs,
  type EngineHealth,
  type LiveCounts,
  mergedStalls,
  type SenderConnections,
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
import { ReadAhead } from './read-ahead.ts';
import { DueRing, InFlight, type InFlightLimits } from './shared-memory.ts';

export type { ConnectionUse, DurationsNs, EngineHealth, Stall } from './health.ts';
export type { PreparedRequest, SendResult } from './messages.ts';

/** Resolved options of one engine; nothing below applies a default. */
export interface EngineOptions extends SendingOptions {
  /** Threads that send. All requests of a session go to the same one. */
  readonly senders: number;
  /** Over all senders: requests in flight, and bytes of bodies that are not completely written. */
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
  /** After a stall, overdue requests are sent at most at this rate, unless the plan itself is faster there. */
  readonly peakRatePerSecond: number;
  readonly readAheadBytes: number;
  readonly readAheadRequests: number;
  /** Limits of requests that wait for another request; null or absent if no request follows another. */
  readonly held?: InFlightLimits | null;
  /** The run's zero on the wall clock, epoch microseconds. Without it, the run starts when everything is ready. */
  readonly startAtUs?: number | null;
  /** Whether requests are pulled only after the run's zero is known, because they depend on it. */
  readonly startBeforeReading?: boolean;
}

interface EngineDeps {
  readonly clock: Clock;
  /** Entry files of the worker threads. */
  readonly pacerEntry: URL;
  readonly senderEntry: URL;
}

/** Requests that were due and have not ended. */
type InFlightCounts = Pick<RunPosition, 'inFlight' | 'waiting'>;

/** The part of an engine that a replay uses. */
export type Engine = Pick<ReplayEngine, 'run' | 'startNs' | 'inFlightCounts' | 'hasServed'>;

/**
 * Pause between two checks whether senders have room again. Each check passes on requests and wakes threads, so it is
 * rare. The read-ahead lasts ten times as long, even at 10,000/s.
 */
const POLL_MS = 40;
/** Pause between two slices of reading ahead, if there is time. */
const PAUSE_MS = 1;
/** The same for a closed loop, which reads little ahead so that few requests are left over. */
const CLOSED_POLL_MS = 2;
/** Time from readiness to the run's zero, in which the first requests reach their senders. */
const RUN_UP_NS = 250_000_000;
/** A run that misses its set start by more than this is an error. */
const MAX_LATE_START_US = 5_000_000;

/**
 * Sends requests at their instants. A pacer thread keeps time, sender threads own the sockets, and this thread reads
 * ahead. In an open loop, the target cannot delay a send. An engine is used for one run.
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

  get inFlightCounts(): InFlightCounts {
    return this.#threads?.inFlightCounts ?? { inFlight: 0, waiting: 0 };
  }

  /** Whether an answer below status 400 has begun. */
  get hasServed(): boolean {
    return this.#threads?.hasServed ?? false;
  }

  /**
   * Sends every request once and reports each exactly once, in batches, in order of completion. `requests` is pulled on
   * the calling thread in small slices, and closed at the end. Requests are pulled at most about two seconds before
   * they are due, within the read-ahead limits. When `signal` aborts, sending stops at once, and requests in flight
   * have `drainDeadlineMs` to finish. Requests that were not sent by then have no result.
   * @throws errors of the iterator and of `onResults`, and AppError INTERNAL if a thread dies
   */
  async run(
    requests: Iterator<PreparedRequest>,
    onResults: (batch: SendResult[]) => void,
    signal: AbortSignal,
  ): Promise<EngineHealth> {
    const ring = DueRing.create(this.#options.readAheadRequests, this.#options.senders);
    const { readAheadBytes: maxBytes, readAheadRequests: maxRequests } = this.#options;
    const held = this.#options.held == null ? null : InFlight.create(this.#options.held);
    const threads = new EngineThreads(this.#options, this.#deps, ring, held, onResults);
    this.#threads = threads;
    const stop = (): void => {
      ring.stop();
      threads.end('stop');
    };
    try {
      const { clock } = this.#deps;
      let notHeld = 0;
      const readAhead = new ReadAhead(requests, ring, { maxBytes, maxRequests, held }, clock, {
        hand: (kind, batch, sender) => threads.hand(kind, batch, sender),
        refuse: (request) => {
          notHeld++;
          onResults([notSentResult(request, 'refused')]);
        },
      });
      if (this.#options.startBeforeReading !== true) readAhead.fill(-RUN_UP_NS);
      collectGarbage();
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
        threads.end('finish');
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

  /** Reads ahead until all requests are passed on (true), or `signal` aborts or a thread fails (false). */
  async #feed(
    readAhead: ReadAhead,
    startNs: number,
    report: Promise<ThreadsReport>,
    signal: AbortSignal,
  ): Promise<boolean> {
    // A flag, because Promise.race in each turn would add another listener to the report.
    let ended = false;
    const end = (): void => {
      ended = true;
    };
    report.then(end, end);
    const pollMs = this.#options.closed == null ? POLL_MS : CLOSED_POLL_MS;
    while (!signal.aborted && !ended) {
      const state = readAhead.fill(this.#deps.clock.nowNs() - startNs);
      if (state === 'done') return true;
      await (state === 'more' ? setImmediate() : sleep(state === 'full' ? pollMs : PAUSE_MS));
    }
    return false;
  }
}

/**
 * The run's zero on the monotonic clock. A set start is not moved if we are late. Overdue requests are then sent late,
 * and their lag shows it.
 */
function zeroOf({ monotonicNs, epochUs }: ClockAnchor, startAtUs: number | null): number {
  if (startAtUs === null) return monotonicNs + RUN_UP_NS;
  const lateUs = epochUs - startAtUs;
  if (lateUs <= MAX_LATE_START_US) return monotonicNs - lateUs * 1e3;
  throw new AppError(
    'OPTION_INVALID',
    `--shard start was missed by ${formatMs(lateUs / 1e3)}: nothing was ready before, and nothing was sent`,
    { hint: 'Give a later instant; reading a long capture and connecting take their time.' },
  );
}

/**
 * Limits of a sender's heap. A smaller young generation is collected more often; a larger one takes longer each time.
 * Of 8, 16, 32, 64 MB and V8's own choice, 16 had the smallest sum of pauses (0.6 ms each). The old generation is
 * limited, because V8 sizes it by the host's memory: it grew to 67 MB, bodies included, with only 14 MB alive. 10,000
 * requests in flight need about 100 MB.
 */
const SENDER_HEAP: ResourceLimits = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 512 };

/** The reports of the threads at the end. */
interface ThreadsReport {
  /** In the order of the senders. */
  readonly senders: readonly SenderOver[];
  readonly pacerLateness: DurationsNs;
  /** The highest of all threads. */
  readonly niceness: number;
}

/** The command thread's view of the pacer and sender threads. If one fails, all end. */
class EngineThreads {
  readonly #senders: readonly EngineThread<FromSender>[];
  readonly #pacer: EngineThread<FromPacer>;
  readonly #inFlight: InFlight;
  /** Batches that were read before the run's zero was known; null after that. */
  #beforeStart: Parameters<EngineThreads['hand']>[] | null = [];
  /** Resolves when all threads are ready and connections are warm. */
  readonly ready: Promise<unknown>;
  /** Resolves when all threads have ended normally. Rejects as soon as one fails or `onResults` throws. */
  readonly report: Promise<ThreadsReport>;

  /** @param held counts waiting follow-ups over all threads @param onResults receives the results */
  constructor(
    options: EngineOptions,
    { pacerEntry, senderEntry }: EngineDeps,
    ring: DueRing,
    held: InFlight | null,
    onResults: (results: SendResult[]) => void,
  ) {
    const { peakRatePerSecond, readAheadBytes: _b, readAheadRequests: _r, held: _h, ...rest } = options;
    const { senders, maxInFlight, maxInFlightBytes, warmConnections, ...setup } = rest;
    this.#inFlight = InFlight.create({ maxRequests: maxInFlight, maxBodyBytes: maxInFlightBytes });
    const channels = Array.from({ length: senders }, () => new MessageChannel());
    this.#senders = channels.map(({ port2 }, sender) => {
      const workerData: SenderSetup = {
        ...setup,
        sender,
        ringMemory: ring.memory,
        inFlight: this.#inFlight.setup,
        held: held?.setup ?? null,
        wakePort: port2,
        warmConnections: Math.ceil(warmConnections / senders),
        // So that all senders together do not exceed the peak rate.
        catchUpGapNs: (1e9 / peakRatePerSecond) * senders,
      };
      const options = { workerData, transferList: [port2], resourceLimits: SENDER_HEAP };
      return new EngineThread<FromSender>('sender', senderEntry, options, (message) => {
        if (message.kind === 'results') onResults(unpacked<SendResult[]>(message.results));
      });
    });
    const wakePorts = channels.map(({ port1 }) => port1);
    const workerData: PacerSetup = { ringMemory: ring.memory, wakePorts };
    this.#pacer = new EngineThread('pacer', pacerEntry, { workerData, transferList: wakePorts });
    this.ready = Promise.all([this.#pacer, ...this.#senders].map((thread) => thread.ready));
    this.report = this.#reportOfAll(ring);
    // Maybe only one of the two is awaited. The other must not become an unhandled rejection.
    this.ready.catch(() => undefined);
    this.report.catch(() => undefined);
  }

  /** The counts over all senders. They are read one after the other, so they may not match exactly. */
  get inFlightCounts(): InFlightCounts {
    const { waiting, requests } = this.#inFlight;
    return { inFlight: Math.max(0, requests - waiting), waiting };
  }

  get hasServed(): boolean {
    return this.#inFlight.hasServed;
  }

  start(startNs: number): void {
    this.#toSenders({ kind: 'start', startNs });
    this.#pacer.worker.postMessage({ startNs } satisfies ToPacer);
    const batches = this.#beforeStart ?? [];
    this.#beforeStart = null;
    for (const batch of batches) this.hand(...batch);
  }

  hand(kind: BatchKind, batch: SendBatch, sender: number): void {
    if (this.#beforeStart) {
      this.#beforeStart.push([kind, batch, sender]);
      return;
    }
    const message: ToSender = { kind, batch };
    this.#senders[sender]?.worker.postMessage(message, transferListOf(batch));
  }

  /** `finish`: no more requests follow. `stop`: no more requests are sent. */
  end(kind: 'finish' | 'stop'): void {
    this.#toSenders({ kind });
  }

  /** Ends all threads immediately. */
  async terminate(): Promise<void> {
    await Promise.all([this.#pacer, ...this.#senders].map(({ worker }) => worker.terminate()));
    // Their last messages are handled before the run counts as over.
    await sleep(AFTER_MESSAGE_MS);
  }

  async #reportOfAll(ring: DueRing): Promise<ThreadsReport> {
    const overs = Promise.all(this.#senders.map(({ over }) => over));
    // A closed loop ends by itself. Then the pacer has no sender left to wake.
    overs.then(
      () => ring.stop(),
      () => undefined,
    );
    const [senders, { lateness, niceness }] = await Promise.all([overs, this.#pacer.over]);
    const nicenesses = [niceness, ...senders.map((sender) => sender.niceness)];
    return { senders, pacerLateness: lateness, niceness: Math.max(...nicenesses) };
  }

  #toSenders(message: ToSender): void {
    for (const { worker } of this.#senders) worker.postMessage(message);
  }
}

/**
 * Delay before a message is handled. On a host with two processors, a woken thread often runs on the processor of the
 * thread that woke it. Counting results there would stop the sender for 1 to 4 ms. So the work begins a moment later,
 * by a timer.
 */
const AFTER_MESSAGE_MS = 2;

/** One thread. Its first message is `ready`, its last is `over`. */
class EngineThread<Message extends { readonly kind: string }> {
  readonly worker: Worker;
  readonly #ready = Promise.withResolvers<void>();
  readonly #over = Promise.withResolvers<Extract<Message, { kind: 'over' }>>();
  readonly ready = this.#ready.promise;
  readonly over = this.#over.promise;

  /** @param onMessage called with the messages in between; an error that it throws ends the run */
  constructor(name: string, entry: URL, options: WorkerOptions, onMessage?: (message: Message) => void) {
    this.worker = new Worker(entry, options);
    // Timers with the same delay keep their order, so messages of a thread are handled before its end.
    const afterMessage = (handle: () => void): void => void setTimeout(handle, AFTER_MESSAGE_MS);
    this.worker.on('message', (message: Message) => afterMessage(() => this.#receive(message, onMessage)));
    this.worker.on('error', (cause) => {
      this.#fail(new AppError('INTERNAL', `the ${name} thread failed: ${reasonOf(cause)}`, { cause }));
    });
    // Has no effect after `over`.
    this.worker.on('exit', (code) => {
      const ended = new AppError('INTERNAL', `the ${name} thread ended early with code ${code}`);
      afterMessage(() => this.#fail(ended));
    });
  }

  #receive(message: Message, onMessage?: (message: Message) => void): void {
    try {
      if (message.kind === 'ready') this.#ready.resolve();
      else if (message.kind === 'over') this.#over.resolve(message as Extract<Message, { kind: 'over' }>);
      else onMessage?.(message);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#ready.reject(error);
    this.#over.reject(error);
  }
}

/** Facts about a run that the command thread knows, besides the reports of the other threads. */
interface RunFacts extends Pick<EngineHealth, 'startNs' | 'startedAtUs' | 'prepared'> {
  /** Whether the whole schedule was passed on. */
  readonly finished: boolean;
  /** Follow-ups that were refused before they were passed on. */
  readonly notHeld: number;
}

/** The members that are plain numbers. */
type CountOf<T> = { [Key in keyof T]: T[Key] extends number ? Key : never }[keyof T];

/** Merges the reports of all threads: sums of counts, merged distributions, and the worst sender's busy share. */
function engineHealthOf({ senders, pacerLateness, niceness }: ThreadsReport, run: RunFacts): EngineHealth {
  const healths = senders.map(({ health }) => health);
  const sum = (key: CountOf<SenderHealth>) => sumOf(healths.map((health) => health[key]));
  const worst = (key: CountOf<SenderHealth>) => Math.max(...healths.map((health) => health[key]));
  const { finished, notHeld, ...facts } = run;
  const [sent, refused] = [sum('sent'), sum('refused')];
  return {
    ...facts,
    sent,
    refused,
    pacerLateness,
    niceness,
    endOffsetNs: worst('endOffsetNs'),
    refusedForBytes: sum('refusedForBytes'),
    stopped: sum('stopped'),
    aborted: !finished || sent + refused + sum('unreached') < facts.prepared,
    lag: Durations.merged(healths.map(({ lag }) => lag)).summary(),
    senderBusyShare: worst('busyShare'),
    senderBusyShareMax10s: worst('busyShareMax10s'),
    starved: sum('starved'),
    stalls: mergedStalls(healths.flatMap(({ stalls }) => stalls)),
    inFlightMax: worst('inFlightMax'),
    followUps: { heldBack: sum('heldBack'), notHeld },
    live: sumOfLive(healths.map(({ live }) => live)),
    connections: connectionsOf(senders, facts.startNs),
    software: [...new Set(senders.flatMap(({ connections }) => connections.flatMap((use) => use.software)))],
  };
}

function sumOfLive(parts: readonly (LiveCounts | null)[]): LiveCounts | null {
  const counts = parts.filter((part) => part !== null);
  const sum = (key: keyof LiveCounts) => sumOf(counts.map((each) => each[key]));
  if (counts.length === 0) return null;
  const [linked, waited, diverged] = [sum('linked'), sum('waited'), sum('diverged')];
  return { linked, waited, diverged, skipped: sum('skipped'), forgotten: sum('forgotten') };
}

function connectionsOf(senders: readonly SenderOver[], startNs: number): ConnectionUse {
  const uses = senders.flatMap(({ connections }) => connections);
  const sum = (key: CountOf<SenderConnections>) => sumOf(uses.map((use) => use[key]));
  const used = sum('used');
  const byAddress = uses.flatMap((use) => use.byAddress);
  return {
    opened: sum('opened'),
    openedAhead: sum('openedAhead'),
    openedAtLimit: sum('openedAtLimit'),
    overtaken: sum('overtaken'),
    failed: sum('failed'),
    openMax: sum('openMax'),
    used,
    connect: Durations.merged(uses.map(({ connect }) => connect)).summary(),
    requestsPerConnection: {
      mean: used === 0 ? 0 : sumOf(byAddress.map(({ requests }) => requests)) / used,
      max: Math.max(0, ...uses.map(({ requestsPerConnection }) => requestsPerConnection.max)),
    },
    byAddress: [...Map.groupBy(byAddress, ({ address }) => address)].map(([address, parts]) => ({
      address,
      connections: sumOf(parts.map(({ connections }) => connections)),
      requests: sumOf(parts.map(({ requests }) => requests)),
      firstRequestS: firstOf(parts, startNs),
    })),
  };
}

/** When an address got its first request, seconds after the start; null if it got none. */
function firstOf(parts: readonly AddressUse[], startNs: number): number | null {
  const firsts = parts.flatMap(({ firstNs }) => (firstNs === null ? [] : [firstNs]));
  return firsts.length === 0 ? null : (Math.min(...firsts) - startNs) / 1e9;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
