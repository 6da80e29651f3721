import { addGaps } from '../../core/gap-counts.ts';
import { Histogram } from '../../core/histogram.ts';
import { FINISH_REASONS, type FinishReason, isTurnedAway, type Send } from '../../core/run.ts';
import type { SendOutcome } from './outcomes.ts';

/** What answers said of their tokens, whichever way they came. */
interface TokenFigures {
  /** Completed answers that said how many tokens they had. */
  readonly answers: number;
  readonly prompt: number;
  readonly output: number;
  /** Of answers that said why they ended. */
  readonly finishReasons: Readonly<Partial<Record<FinishReason, number>>>;
}

/** Distributions in nanoseconds over streams that completed. */
export interface StreamFigures {
  readonly completed: number;
  /** Read to their end, and without any content: they never reached a first token. */
  readonly withoutContent: number;
  /** Completed, and not to be read (a content coding): whether and when there was a first token is not known. */
  readonly unread: number;
  /** Wanted as streams and answered by a status that says no model ran: neither completed nor failed. */
  readonly turnedAway: number;
  /** Wanted as streams and answered whole by a 2xx: neither completed nor failed. */
  readonly whole: number;
  /** First token minus intended send, and minus actual send. */
  readonly ttft: Histogram;
  readonly ttftService: Histogram;
  /** Between neighbouring events with content, all streams together. */
  readonly itl: Histogram;
  /** Last token minus first over the tokens but one, of streams that said how many there were. */
  readonly tpot: Histogram;
  /** Streams that failed, and of these the ones that our own stop ended; refused are neither. */
  readonly failed: number;
  readonly stopped: number;
  readonly refused: number;
  readonly tokens: TokenFigures;
}

/** Gathers what is measured of answers that come piece by piece, at constant memory. */
export class StreamStatistics {
  readonly #ttft = new Histogram();
  readonly #ttftService = new Histogram();
  readonly #itl = new Histogram();
  readonly #tpot = new Histogram();
  readonly #finishes = new Map<FinishReason, number>();
  #completed = 0;
  #withoutContent = 0;
  #unread = 0;
  #turnedAway = 0;
  #whole = 0;
  #failed = 0;
  #stopped = 0;
  #refused = 0;
  #answers = 0;
  #promptTokens = 0;
  #outputTokens = 0;

  /** Takes every send that is over, whether it streams or not. */
  add(send: Send, outcome: SendOutcome): void {
    if (outcome === 'completed') this.#countTokens(send);
    if (!send.streamed && !send.unstreamed) return;
    if (outcome === 'refused') this.#refused += 1;
    if (outcome !== 'completed' && outcome !== 'failed') return;
    if (outcome === 'completed' && send.status !== null && isTurnedAway(send.status)) {
      this.#turnedAway += 1;
      return;
    }
    if (outcome === 'completed' && send.unstreamed) {
      this.#whole += 1;
      return;
    }
    if (outcome === 'completed') this.#addCompleted(send);
    else {
      this.#failed += 1;
      if (send.error === 'stopped') this.#stopped += 1;
    }
  }

  figures(): StreamFigures {
    return {
      completed: this.#completed,
      withoutContent: this.#withoutContent,
      unread: this.#unread,
      turnedAway: this.#turnedAway,
      whole: this.#whole,
      ttft: this.#ttft,
      ttftService: this.#ttftService,
      itl: this.#itl,
      tpot: this.#tpot,
      failed: this.#failed,
      stopped: this.#stopped,
      refused: this.#refused,
      tokens: this.#tokenFigures(),
    };
  }

  #addCompleted({ intendedOffsetNs, actualOffsetNs, answer }: Send): void {
    this.#completed += 1;
    if (answer === null) this.#unread += 1;
    else if (answer.contentEvents === 0) this.#withoutContent += 1;
    const { firstTokenOffsetNs = null, lastTokenOffsetNs = null, gaps = null } = answer ?? {};
    if (firstTokenOffsetNs === null || lastTokenOffsetNs === null) return;
    this.#ttft.record(Math.max(0, firstTokenOffsetNs - intendedOffsetNs));
    this.#ttftService.record(Math.max(0, firstTokenOffsetNs - (actualOffsetNs ?? intendedOffsetNs)));
    if (gaps !== null) addGaps(gaps, this.#itl);
    const tokens = answer?.outputTokens ?? null;
    if (tokens !== null && tokens > 1)
      this.#tpot.record(Math.round((lastTokenOffsetNs - firstTokenOffsetNs) / (tokens - 1)));
  }

  #countTokens({ answer }: Send): void {
    if (answer === null) return;
    const { finish, promptTokens, outputTokens } = answer;
    if (finish !== null) this.#finishes.set(finish, (this.#finishes.get(finish) ?? 0) + 1);
    if (promptTokens === null && outputTokens === null) return;
    this.#answers += 1;
    this.#promptTokens += promptTokens ?? 0;
    this.#outputTokens += outputTokens ?? 0;
  }

  #tokenFigures(): TokenFigures {
    const finishes = FINISH_REASONS.filter((reason) => this.#finishes.has(reason));
    return {
      answers: this.#answers,
      prompt: this.#promptTokens,
      output: this.#outputTokens,
      finishReasons: Object.fromEntries(finishes.map((reason) => [reason, this.#finishes.get(reason)])),
    };
  }
}
