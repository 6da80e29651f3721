import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { ExchangeRow } from '../../core/exchange.ts';
import { LIMITS } from '../../core/limits.ts';
import type { Logger } from '../../core/ports.ts';
import {
  type CheckedSend,
  mismatch,
  SAME,
  type Send,
  type UncheckedReason,
  unchecked,
} from '../../core/run.ts';
import type { CheckDocument } from '../../documents/replay.ts';
import type { SendResult } from '../engine/messages.ts';
import type { CheckOptions } from '../options/replay-options.ts';
import type { PlannedRequest } from '../plan/plan.ts';
import {
  type AnswerToCheck,
  type CheckedAnswer,
  factsOf,
  KeepingBudget,
  type KeepingSetup,
  type KeptAnswer,
} from './answer-copy.ts';
import { type AnswerApi, apiOf, VARYING_POINTERS } from './compared-fields.ts';

/** Recorded facts that decide, without a body, whether an answer can be compared. */
interface RecordedAnswer extends Pick<ExchangeRow, 'status' | 'outcome' | 'streamed'> {
  readonly changed: boolean;
}

/** A send whose answer is being compared, and the number of its bytes in memory. */
type Waiting = Omit<CheckedSend, 'check'> & { readonly bytes: number };

/** Pause between two checks whether the last answers were compared. */
const LOOK_MS = 10;

interface AnswerChecksParts {
  readonly options: CheckOptions;
  /** Starts the checker thread. Not called if only statuses are compared. */
  readonly createChecker: CreateChecker;
  /** Called with comparison results of sends that were reported before, in batches. */
  readonly onChecked: (sends: readonly CheckedSend[]) => void;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Compares the answers of one run, on the command thread. It decides cases that need no body, passes the rest to the
 * checker within limits, and reports a result for every answer. It waits for the checker only at the end.
 */
export class AnswerChecks {
  readonly #parts: AnswerChecksParts;
  /** Null if no comparison needs a body. */
  readonly #budget: KeepingBudget | null;
  readonly #planned = new Map<number, RecordedAnswer>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #apis = new Set<AnswerApi>();
  #checker: Checker | null;

  constructor(parts: AnswerChecksParts) {
    this.#parts = parts;
    const needsBodies = parts.options.level !== 'status';
    this.#budget = needsBodies ? KeepingBudget.create(LIMITS.checkBytes, LIMITS.checkedAnswerBytes) : null;
    this.#checker = needsBodies ? parts.createChecker(this) : null;
  }

  /** The limits by which senders keep answers; null if they keep none. */
  get keeping(): KeepingSetup | null {
    return this.#budget?.setup ?? null;
  }

  planned({ index, row, warmup, changed }: PlannedRequest): void {
    if (warmup === true) return;
    const { status, outcome, streamed } = row;
    this.#planned.set(index, { status, outcome, streamed, changed: changed ?? false });
  }

  /** The sends of these results, with the result of the check if it is known already. */
  take(results: readonly SendResult[], sends: readonly Send[]): Send[] {
    const handed: AnswerToCheck[] = [];
    const checked = sends.map((send, at) => {
      const kept = results[at]?.kept ?? null;
      const recorded = this.#planned.get(send.index);
      this.#planned.delete(send.index);
      const check = recorded === undefined ? null : this.#checkWithoutBody(send, recorded, kept);
      if (recorded !== undefined && check === 'needs_body') {
        handed.push(this.#handOver(send, recorded.streamed ?? false, kept));
        return send;
      }
      if (kept !== null) this.#budget?.free(kept.bytes.length);
      return check === null || check === 'needs_body' ? send : { ...send, check };
    });
    if (handed.length > 0) this.#checker?.check(handed);
    return checked;
  }

  checked(answers: readonly CheckedAnswer[]): void {
    const sends = answers.flatMap(({ index, check }) => {
      const waiting = this.#waiting.get(index);
      if (waiting === undefined) return [];
      this.#waiting.delete(index);
      const { bytes, ...send } = waiting;
      this.#budget?.free(bytes);
      return [{ ...send, check }];
    });
    if (sends.length > 0) this.#parts.onChecked(sends);
  }

  /** The checker failed. Its answers become unchecked. It compares later ones only if it `goesOn`. */
  failed(goesOn: boolean, reason: string): void {
    this.#parts.logger.warn(
      { reason, goesOn, answers: this.#waiting.size },
      'the checker of responses failed',
    );
    if (!goesOn) this.#checker = null;
    this.#giveUp('checker_failed');
  }

  /** Waits a limited time for open comparisons, and ends the checker. The rest is reported as unchecked. */
  async finish(): Promise<void> {
    for (let waitedMs = 0; this.#waiting.size > 0 && waitedMs < LIMITS.checkDrainMs; waitedMs += LOOK_MS)
      await setTimeout(LOOK_MS);
    await this.close();
    this.#giveUp('backlog');
  }

  /** Ends the checker immediately. */
  async close(): Promise<void> {
    const checker = this.#checker;
    this.#checker = null;
    await checker?.close();
  }

  /** Pointers that were not compared: those from the options, and those of each protocol in the run. */
  ignored(): CheckDocument['ignored'] {
    const byProtocol = [...this.#apis].sort().map((api) => [api, VARYING_POINTERS[api]] as const);
    return { asked: this.#parts.options.ignore, byProtocol: Object.fromEntries(byProtocol) };
  }

  /** The result if it is known without comparing bodies: from the facts, or because the body cannot be passed on. */
  #checkWithoutBody(send: Send, recorded: RecordedAnswer, kept: KeptAnswer | null) {
    const check = checkByFacts(send, recorded, this.#parts.options.level === 'status');
    if (check !== 'needs_body') return check;
    if (kept?.dropped != null) return unchecked(kept.dropped);
    if (this.#checker === null) return unchecked('checker_failed');
    return this.#waiting.size >= LIMITS.checkQueue ? unchecked('backlog') : check;
  }

  #handOver(send: Send, streamed: boolean, kept: KeptAnswer | null): AnswerToCheck {
    const { index, segment, exchangeId, route, answer } = send;
    this.#waiting.set(index, { index, segment, exchangeId, bytes: kept?.bytes.length ?? 0 });
    this.#apis.add(apiOf(route));
    const facts = answer === null ? null : factsOf(answer);
    return { index, segment, exchangeId, route, streamed, facts, kept };
  }

  /** Reports all waiting answers as unchecked, in any order. */
  #giveUp(reason: UncheckedReason): void {
    this.checked([...this.#waiting.keys()].map((index) => ({ index, check: unchecked(reason) })));
  }
}

/** The result from the facts of a send and its recorded exchange; null for a send without an answer to compare. */
function checkByFacts(send: Send, recorded: RecordedAnswer, statusOnly: boolean) {
  // A request that we did not send, or ended ourselves, tells nothing about the server.
  if (send.actualOffsetNs === null || send.refused || send.cancelled || send.error === 'stopped') return null;
  if (send.status === null) return unchecked('no_answer');
  if (recorded.status === null) return unchecked('no_recorded_answer');
  if (send.status !== recorded.status) return mismatch('status');
  if (recorded.outcome !== 'completed') return unchecked('recorded_incomplete');
  // The recorded answer was complete, and this one is not.
  if (send.error !== null) return mismatch('finish');
  if (statusOnly) return SAME;
  return recorded.changed ? unchecked('request_changed') : 'needs_body';
}

/** Compares answers on another thread. */
type Checker = Pick<CheckerThread, 'check' | 'close'>;

/** Callbacks of a checker. */
export type CheckerListener = Pick<AnswerChecks, 'checked' | 'failed'>;

export type CreateChecker = (listener: CheckerListener) => Checker;

/**
 * Heap limits of the checker: enough for two parsed documents of the largest size. Only a thread can have limits, and
 * if it exceeds them, only that thread ends.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 256 } as const;

/** The checker thread. After a failure it is restarted, a limited number of times. */
export class CheckerThread {
  readonly #entry: URL;
  readonly #setup: object;
  readonly #listener: CheckerListener;
  #thread: Worker | null;
  #restarts = 0;
  #closing = false;
  /** The code of the failure. The message is not used, because it may contain captured text. */
  #reason = 'ended early';

  /** @param setup plain data with which its entry file reads the capture */
  constructor(entry: URL, setup: object, listener: CheckerListener) {
    this.#entry = entry;
    this.#setup = setup;
    this.#listener = listener;
    this.#thread = this.#start();
  }

  /** Passes answers to the thread. */
  check(answers: readonly AnswerToCheck[]): void {
    this.#thread?.postMessage(answers);
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#thread?.terminate();
  }

  #start(): Worker {
    const thread = new Worker(this.#entry, { workerData: this.#setup, resourceLimits: HEAP_LIMITS });
    thread.on('message', (checked: readonly CheckedAnswer[]) => this.#listener.checked(checked));
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
