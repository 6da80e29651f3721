import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { AppError, reasonOf } from '../core/errors.ts';
import type { HeldAnswer } from './check/answer-to-check.ts';
import type { EngineDeps, EngineOptions, UnderWayCounts } from './engine.ts';
import type { DurationsNs } from './engine-health.ts';
import { InFlight } from './in-flight.ts';
import { unpackResults } from './result-batch.ts';
import { type SendBatch, transferListOf } from './send-batch.ts';
import type { SendResult } from './send-result.ts';
import type {
  BatchKind,
  FromPacer,
  FromSender,
  PacerSetup,
  SenderOver,
  SenderSetup,
  ToPacer,
  ToSender,
} from './thread-messages.ts';

/**
 * Young generation of the sender's heap. Smaller means more collections, greater means longer ones, and each is
 * lag: of 8, 16, 32, 64 and V8's own choice, 16 had the least sum at half the pause (0.6 ms) of 64.
 */
const SENDER_YOUNG_GENERATION_MIB = 16;

/** What the threads say at the end. */
export interface ThreadsReport {
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
export class EngineThreads {
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
        // Together they go no tighter than the peak.
        catchUpGapNs: (1e9 / peakRatePerSecond) * senders,
      };
      return startThread(deps.senderEntry, senderSetup, [port2], SENDER_YOUNG_GENERATION_MIB);
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
    // Whoever waits for one of the two hears of a failure; the other must not be reported as unhandled.
    this.#ready.promise.catch(() => undefined);
    this.#report.promise.catch(() => undefined);
  }

  /** All threads are up and connections are warm. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** As all senders together have it. Of two counts one is read first, so that one may be ahead of the other. */
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
          onResults(withKept(unpackResults(message.rows), message.kept ?? []));
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

/** Results with the answers that were kept of some of them. */
function withKept(results: SendResult[], kept: readonly HeldAnswer[]): SendResult[] {
  if (kept.length === 0) return results;
  const byIndex = new Map(kept.map((answer) => [answer.index, answer]));
  return results.map((result) => ({ ...result, kept: byIndex.get(result.index) ?? null }));
}

function startThread(
  entry: URL,
  setup: SenderSetup | PacerSetup,
  ports: readonly MessagePort[],
  youngGenerationMib?: number,
): Worker {
  return new Worker(entry, {
    workerData: setup,
    transferList: [...ports],
    ...(youngGenerationMib === undefined
      ? {}
      : { resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMib } }),
  });
}
