import { MessageChannel, type MessagePort, type Transferable, Worker } from 'node:worker_threads';
import { AppError, reasonOf } from '../core/errors.ts';
import type { EngineDeps, EngineOptions } from './engine.ts';
import type { ConnectionUse, DurationsNs } from './engine-health.ts';
import { unpackResults } from './result-batch.ts';
import { type SendBatch, transferListOf } from './send-batch.ts';
import type { SendResult } from './send-result.ts';
import type { SenderHealth } from './sender.ts';
import type { FromPacer, FromSender, PacerSetup, SenderSetup, ToPacer, ToSender } from './thread-messages.ts';

/**
 * Young generation of the sender's heap. Smaller means more collections, greater means longer ones, and each is
 * lag: of 8, 16, 32, 64 and V8's own choice, 16 had the least sum at half the pause (0.6 ms) of 64.
 */
const SENDER_YOUNG_GENERATION_MIB = 16;

/** What the threads say at the end. */
export interface ThreadsReport {
  readonly sender: SenderHealth;
  readonly connections: ConnectionUse;
  readonly pacerLateness: DurationsNs;
}

/** The pacer's and the sender's thread as the main thread sees them. Any fault of one ends both. */
export class EngineThreads {
  readonly #sender: Worker;
  readonly #pacer: Worker;
  readonly #ready = Promise.withResolvers<void>();
  readonly #report = Promise.withResolvers<ThreadsReport>();
  /** Batches that were read before the run's zero was known; null from then on. */
  #beforeStart: SendBatch[] | null = [];
  #threadsReady = 0;
  #senderOver: Extract<FromSender, { kind: 'over' }> | null = null;
  #pacerLateness: DurationsNs | null = null;

  constructor(
    options: EngineOptions,
    deps: EngineDeps,
    ringMemory: SharedArrayBuffer,
    onResults: (results: SendResult[]) => void,
  ) {
    const channel = new MessageChannel();
    const { peakRatePerSecond, readAheadBytes: _bytes, readAheadRequests: _requests, ...shared } = options;
    const senderSetup: SenderSetup = {
      ...shared,
      ringMemory,
      wakePort: channel.port2,
      catchUpGapNs: 1e9 / peakRatePerSecond,
    };
    const pacerSetup: PacerSetup = { ringMemory, wakePort: channel.port1 };
    this.#sender = startThread(deps.senderEntry, senderSetup, channel.port2, SENDER_YOUNG_GENERATION_MIB);
    this.#pacer = startThread(deps.pacerEntry, pacerSetup, channel.port1);
    this.#sender.on('message', (message: FromSender) => this.#fromSender(message, onResults));
    this.#pacer.on('message', (message: FromPacer) => this.#fromPacer(message));
    this.#watch(this.#sender, 'sender', () => this.#senderOver !== null);
    this.#watch(this.#pacer, 'pacer', () => this.#pacerLateness !== null);
    // Whoever waits for one of the two hears of a failure; the other must not be reported as unhandled.
    this.#ready.promise.catch(() => undefined);
    this.#report.promise.catch(() => undefined);
  }

  /** Both threads are up and connections are warm. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Both threads have ended in order. Rejects as soon as one fails, or `onResults` throws. */
  get report(): Promise<ThreadsReport> {
    return this.#report.promise;
  }

  start(startNs: number): void {
    this.#toSender({ kind: 'start', startNs });
    this.#pacer.postMessage({ startNs } satisfies ToPacer);
    const batches = this.#beforeStart ?? [];
    this.#beforeStart = null;
    for (const batch of batches) this.hand(batch);
  }

  hand(batch: SendBatch): void {
    if (this.#beforeStart) this.#beforeStart.push(batch);
    else this.#toSender({ kind: 'batch', batch }, transferListOf(batch));
  }

  finish(): void {
    this.#toSender({ kind: 'finish' });
  }

  stop(): void {
    this.#toSender({ kind: 'stop' });
  }

  /** Ends both threads whatever they do. */
  async terminate(): Promise<void> {
    await Promise.all([this.#sender.terminate(), this.#pacer.terminate()]);
  }

  #toSender(message: ToSender, transfer: Transferable[] = []): void {
    this.#sender.postMessage(message, transfer);
  }

  #fromSender(message: FromSender, onResults: (results: SendResult[]) => void): void {
    switch (message.kind) {
      case 'ready':
        this.#countReady();
        break;
      case 'results':
        try {
          onResults(unpackResults(message.rows));
        } catch (error) {
          this.#fail(error);
        }
        break;
      case 'over':
        this.#senderOver = message;
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
    if (this.#threadsReady === 2) this.#ready.resolve();
  }

  #reportWhenOver(): void {
    if (this.#senderOver === null || this.#pacerLateness === null) return;
    const { health, connections } = this.#senderOver;
    this.#report.resolve({ sender: health, connections, pacerLateness: this.#pacerLateness });
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
  port: MessagePort,
  youngGenerationMib?: number,
): Worker {
  return new Worker(entry, {
    workerData: setup,
    transferList: [port],
    ...(youngGenerationMib === undefined
      ? {}
      : { resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMib } }),
  });
}
