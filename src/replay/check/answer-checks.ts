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

/** What decides, before a body is looked at, whether an answer can be compared. */
interface RecordedAnswer extends Pick<ExchangeRow, 'status' | 'outcome' | 'streamed'> {
  readonly changed: boolean;
}

/** A send whose answer is being compared, and the bytes that are held of it. */
type Waiting = Omit<CheckedSend, 'check'> & { readonly bytes: number };

/** Between two looks at whether the last answers were compared. */
const LOOK_MS = 10;

interface AnswerChecksParts {
  readonly options: CheckOptions;
  /** Begins the thread that compares; not called where statuses are all that is compared. */
  readonly createChecker: CreateChecker;
  /** Told of what was compared after its send was told of; in batches. */
  readonly onChecked: (sends: readonly CheckedSend[]) => void;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Compares the answers of one run, on the thread that reads. It decides what needs no body, hands the rest to the
 * checker within bounds, and reports a result for every answer. It waits for the checker only at the end.
 */
export class AnswerChecks {
  readonly #parts: AnswerChecksParts;
  /** Null where nothing needs a body. */
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

  /** What senders keep answers by; null where they need not. */
  get keeping(): KeepingSetup | null {
    return this.#budget?.setup ?? null;
  }

  planned({ index, row, warmup, changed }: PlannedRequest): void {
    if (warmup === true) return;
    const { status, outcome, streamed } = row;
    this.#planned.set(index, { status, outcome, streamed, changed: changed ?? false });
  }

  /** The sends of these results, with their check where it is known already. */
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

  /** The checker failed: the answers it holds are given up. It compares later ones only if it `goesOn`. */
  failed(goesOn: boolean, reason: string): void {
    this.#parts.logger.warn(
      { reason, goesOn, answers: this.#waiting.size },
      'the checker of responses failed',
    );
    if (!goesOn) this.#checker = null;
    this.#giveUp('checker_failed');
  }

  /** Waits for what is being compared, for a while, and ends the checker. The rest is reported as unchecked. */
  async finish(): Promise<void> {
    for (let waitedMs = 0; this.#waiting.size > 0 && waitedMs < LIMITS.checkDrainMs; waitedMs += LOOK_MS)
      await setTimeout(LOOK_MS);
    await this.close();
    this.#giveUp('backlog');
  }

  /** Ends the checker whatever it does. */
  async close(): Promise<void> {
    const checker = this.#checker;
    this.#checker = null;
    await checker?.close();
  }

  /** Pointers that were not compared: those of the options, and those of each protocol that was seen. */
  ignored(): CheckDocument['ignored'] {
    const byProtocol = [...this.#apis].sort().map((api) => [api, VARYING_POINTERS[api]] as const);
    return { asked: this.#parts.options.ignore, byProtocol: Object.fromEntries(byProtocol) };
  }

  /** What is known before a body is looked at: by the facts, or because it cannot be handed over. */
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

  /** In no order. */
  #giveUp(reason: UncheckedReason): void {
    this.checked([...this.#waiting.keys()].map((index) => ({ index, check: unchecked(reason) })));
  }
}

/** What the facts of a send and of its recorded exchange decide; null for a send that is no answer to compare. */
function checkByFacts(send: Send, recorded: RecordedAnswer, statusOnly: boolean) {
  // What we did not send, or ended ourselves, says nothing of the server.
  if (send.actualOffsetNs === null || send.refused || send.cancelled || send.error === 'stopped') return null;
  if (send.status === null) return unchecked('no_answer');
  if (recorded.status === null) return unchecked('no_recorded_answer');
  if (send.status !== recorded.status) return mismatch('status');
  if (recorded.outcome !== 'completed') return unchecked('recorded_incomplete');
  // The recorded one came to its end.
  if (send.error !== null) return mismatch('finish');
  if (statusOnly) return SAME;
  return recorded.changed ? unchecked('request_changed') : 'needs_body';
}

/** Compares answers somewhere else: never on the calling thread. */
type Checker = Pick<CheckerThread, 'check' | 'close'>;

/** What a checker tells. */
export type CheckerListener = Pick<AnswerChecks, 'checked' | 'failed'>;

export type CreateChecker = (listener: CheckerListener) => Checker;

/**
 * Two documents of the largest size that are parsed, as objects. Only a thread can be held to limits, and one
 * that comes to them ends without taking anything else with it.
 */
const HEAP_LIMITS = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 256 } as const;

/** The thread that compares, begun anew when it fails, and not for ever. */
export class CheckerThread {
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

  /** Takes answers over. */
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
