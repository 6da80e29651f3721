import { addGaps } from '../../core/gap-counts.ts';
import { Histogram } from '../../core/histogram.ts';
import { FINISH_REASONS, type FinishReason, isTurnedAway, type Send } from '../../core/run.ts';
import type { StreamsDocument, TokensDocument } from '../../documents/replay.ts';
import { among, Tally } from '../stats/tally.ts';
import type { SendOutcome } from './outcomes.ts';

/** Counts of streams, and distributions in nanoseconds over those that completed. */
export interface StreamFigures extends Omit<StreamsDocument, 'gaps'> {
  /** First token minus intended send, and minus actual send. */
  readonly ttft: Histogram;
  readonly ttftService: Histogram;
  /** Between neighbouring events with content, all streams together. */
  readonly itl: Histogram;
  /** Last token minus first over the tokens but one, of streams that said how many there were. */
  readonly tpot: Histogram;
  /** Of those that failed, the ones that our own stop ended. */
  readonly stopped: number;
  readonly tokens: TokensDocument;
}

/** Gathers what is measured of answers that come piece by piece, at constant memory. */
export class StreamStatistics {
  readonly #figures = {
    completed: 0,
    withoutContent: 0,
    unread: 0,
    turnedAway: 0,
    whole: 0,
    ttft: new Histogram(),
    ttftService: new Histogram(),
    itl: new Histogram(),
    tpot: new Histogram(),
    failed: 0,
    stopped: 0,
    refused: 0,
  };
  readonly #tokens = { answers: 0, prompt: 0, output: 0 };
  readonly #finishes = new Tally<FinishReason>();

  /** Takes every send that is over, whether it streams or not. */
  add(send: Send, outcome: SendOutcome): void {
    const figures = this.#figures;
    if (outcome === 'completed') this.#countTokens(send);
    if (!send.streamed && !send.unstreamed) return;
    if (outcome === 'refused') figures.refused += 1;
    if (outcome === 'failed') {
      figures.failed += 1;
      if (send.error === 'stopped') figures.stopped += 1;
    }
    if (outcome !== 'completed') return;
    if (send.status !== null && isTurnedAway(send.status)) figures.turnedAway += 1;
    else if (send.unstreamed) figures.whole += 1;
    else this.#addCompleted(send);
  }

  figures(): StreamFigures {
    const finishReasons = among(FINISH_REASONS, this.#finishes);
    return { ...this.#figures, tokens: { ...this.#tokens, finishReasons } };
  }

  #addCompleted({ intendedOffsetNs, actualOffsetNs, answer }: Send): void {
    const figures = this.#figures;
    figures.completed += 1;
    if (answer === null) figures.unread += 1;
    else if (answer.contentEvents === 0) figures.withoutContent += 1;
    const { firstTokenOffsetNs = null, lastTokenOffsetNs = null, gaps = null } = answer ?? {};
    if (firstTokenOffsetNs === null || lastTokenOffsetNs === null) return;
    figures.ttft.record(Math.max(0, firstTokenOffsetNs - intendedOffsetNs));
    figures.ttftService.record(Math.max(0, firstTokenOffsetNs - (actualOffsetNs ?? intendedOffsetNs)));
    if (gaps !== null) addGaps(gaps, figures.itl);
    const tokens = answer?.outputTokens ?? null;
    if (tokens !== null && tokens > 1)
      figures.tpot.record(Math.round((lastTokenOffsetNs - firstTokenOffsetNs) / (tokens - 1)));
  }

  #countTokens({ answer }: Send): void {
    if (answer === null) return;
    const { finish, promptTokens, outputTokens } = answer;
    if (finish !== null) this.#finishes.count(finish);
    if (promptTokens === null && outputTokens === null) return;
    this.#tokens.answers += 1;
    this.#tokens.prompt += promptTokens ?? 0;
    this.#tokens.output += outputTokens ?? 0;
  }
}
