import { Worker } from 'node:worker_threads';
import { LIMITS } from '../../core/limits.ts';
import type { ArenaSetup } from './answer-arena.ts';
import type { AnswerToCheck } from './answer-to-check.ts';
import type { CheckedAnswer, FromChecker, ToChecker } from './checker-messages.ts';

/** Compares answers somewhere else: never on the calling thread. */
export interface Checker {
  /** Takes answers over; their slabs stay taken until it told of them. */
  check(answers: readonly AnswerToCheck[]): void;
  close(): Promise<void>;
}

/** What a checker tells. */
export interface CheckerListener {
  checked(answers: readonly CheckedAnswer[]): void;
  /** It failed: nothing will come of what it was handed; of what it will be, only where it `goesOn`. */
  failed(goesOn: boolean, reason: string): void;
}

/** Begins a checker that reads answers from this memory. */
export type CreateChecker = (listener: CheckerListener, arena: ArenaSetup) => Checker;

/**
 * Two documents of the largest size that are parsed, as objects. Only a thread can be held to limits, and one
 * that comes to them ends without taking anything else with it.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 256 } as const;

/** The thread that compares, begun anew when it fails, and not for ever. */
export class CheckerThread implements Checker {
  readonly #entry: URL;
  readonly #setup: object;
  readonly #listener: CheckerListener;
  #thread: Worker | null;
  #restarts = 0;
  #closing = false;
  /** Why it fails, by a code: what an error says may be anybody's text. */
  #reason = 'ended early';

  /** @param setup plain data that its entry reads the capture by */
  constructor(entry: URL, setup: object, listener: CheckerListener) {
    this.#entry = entry;
    this.#setup = setup;
    this.#listener = listener;
    this.#thread = this.#start();
  }

  check(answers: readonly AnswerToCheck[]): void {
    this.#thread?.postMessage({ answers } satisfies ToChecker);
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#thread?.terminate();
  }

  #start(): Worker {
    const thread = new Worker(this.#entry, { workerData: this.#setup, resourceLimits: HEAP_LIMITS });
    thread.on('message', ({ checked }: FromChecker) => this.#listener.checked(checked));
    // `exit` follows.
    thread.on('error', (error: Error & { readonly code?: string }) => {
      this.#reason = error.code ?? error.name;
    });
    thread.on('exit', () => this.#ended());
    return thread;
  }

  #ended(): void {
    if (this.#closing) return;
    this.#restarts += 1;
    const goesOn = this.#restarts <= LIMITS.checkRestarts;
    this.#thread = goesOn ? this.#start() : null;
    this.#listener.failed(goesOn, this.#reason);
  }
}
