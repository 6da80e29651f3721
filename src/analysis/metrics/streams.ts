import { FINISH_REASONS, type FinishReason } from '../../core/exchange.ts';
import { addGaps } from '../../core/gap-counts.ts';
import { Histogram } from '../../core/histogram.ts';
import { isTurnedAway, type Send } from '../../core/run.ts';
import type { StreamsDocument, TokensDocument } from '../../documents/replay.ts';
import { isRefusal, type SendCategory } from '../run/outcomes.ts';
import { WindowPercentiles } from '../stats/percentiles.ts';
import { among, Tally } from '../stats/tally.ts';
import { kindOf, leftOffsetNs } from './answer-times.ts';

/** Counts of streams, and distributions in nanoseconds. A cancelled stream counts as far as it was received. */
export interface StreamFigures extends Omit<StreamsDocument, 'gaps'> {
  /** First token minus intended send, and minus actual send. */
  readonly ttft: Histogram;
  readonly ttftService: Histogram;
  /** Time between neighbouring events with content, over all streams. */
  readonly itl: Histogram;
  /**
   * The time from the first to the last token, divided by the number of tokens minus 1. Only for streams with a known
   * number.
   */
  readonly tpot: Histogram;
  /** The times from the actual send, without pauses of the sender: lower bounds of the times of the target. */
  readonly unpaused: Readonly<Record<'ttft' | 'itl' | 'tpot', Histogram>>;
  /** The times by windows of the run, for the confidence of their percentiles. */
  readonly byWindow: Readonly<Record<'ttft' | 'itl' | 'tpot', WindowPercentiles>>;
  /** The missing tokens of cancelled streams, with the time until the cancellation, which is a lower bound. */
  readonly censored: CensoredStreams;
  /** Failed streams that the stop of the run ended. */
  readonly stopped: number;
  readonly tokens: TokensDocument;
}

interface CensoredStreams {
  /** Before the first token, from the planned instant and from the actual send. */
  readonly ttft: Histogram;
  readonly ttftService: Histogram;
  /** After the last received token. */
  readonly itl: Histogram;
  /** Number of cancelled streams. The end of none is known. */
  streams: number;
}

/** The result of a completed request for a stream. If production refused the request too, no stream is missing. */
export function completedStream({
  status,
  recorded,
  unstreamed,
}: Send): 'stream' | 'whole' | 'turnedAway' | 'refusedAsRecorded' {
  if (status !== null && isTurnedAway(status))
    return recorded != null && isRefusal(recorded.status) ? 'refusedAsRecorded' : 'turnedAway';
  return unstreamed ? 'whole' : 'stream';
}

/** Collects the figures of streamed answers, with constant memory. */
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
    unpaused: { ttft: new Histogram(), itl: new Histogram(), tpot: new Histogram() },
    censored: { ttft: new Histogram(), ttftService: new Histogram(), itl: new Histogram(), streams: 0 },
    failed: 0,
    stopped: 0,
    refused: 0,
  };
  readonly #byWindow;
  readonly #tokens = { answers: 0, prompt: 0, output: 0 };
  readonly #isRun: boolean;
  readonly #finishes = new Tally<FinishReason>();

  /**
   * @param originNs start of the judged part of the run
   * @param ofRun figures of the complete run, if this is a part of it
   */
  constructor(originNs = 0, ofRun: Pick<StreamFigures, 'byWindow'> | null = null) {
    this.#isRun = ofRun === null;
    const ttft = new WindowPercentiles(originNs, true, ofRun?.byWindow.ttft);
    // Gaps of one stream are not independent samples, and a time per token is not a time in a queue.
    const [itl, tpot] = [new WindowPercentiles(originNs, false), new WindowPercentiles(originNs, false)];
    this.#byWindow = { ttft, itl, tpot };
  }

  /** Adds every finished send, streamed or not. */
  add(send: Send, outcome: SendCategory): void {
    const figures = this.#figures;
    if (outcome === 'completed') this.#countTokens(send);
    if (!send.streamed && !send.unstreamed) return;
    if (outcome === 'refused') figures.refused += 1;
    if (outcome === 'failed') {
      figures.failed += 1;
      if (send.error === 'stopped') figures.stopped += 1;
    }
    if (outcome === 'cancelled') this.#addCancelled(send);
    if (outcome !== 'completed') return;
    const completed = completedStream(send);
    if (completed === 'stream') this.#addCompleted(send);
    else if (completed !== 'refusedAsRecorded') figures[completed] += 1;
  }

  figures(): StreamFigures {
    const finishReasons = among(FINISH_REASONS, this.#finishes);
    return { ...this.#figures, byWindow: this.#byWindow, tokens: { ...this.#tokens, finishReasons } };
  }

  #addCompleted(send: Send): void {
    const { answer } = send;
    const figures = this.#figures;
    figures.completed += 1;
    if (answer === null) figures.unread += 1;
    else if (answer.contentEvents === 0) figures.withoutContent += 1;
    const tokenTimes = this.#addTokens(send);
    const tokens = answer?.outputTokens ?? null;
    if (tokenTimes === null || tokens === null || tokens <= 1) return;
    const tpotNs = Math.round((tokenTimes.lastNs - tokenTimes.firstNs) / (tokens - 1));
    figures.tpot.record(tpotNs);
    const leastNs = tokenTimes.lastNs - (answer?.lastTokenPausedNs ?? 0) - tokenTimes.firstNs;
    figures.unpaused.tpot.record(
      send.pausedNs === null ? 0 : Math.max(0, Math.round(leastNs / (tokens - 1))),
    );
    this.#byWindow.tpot.record(send.intendedOffsetNs, tpotNs);
  }

  /** Adds the received tokens, and the wait for the next one until the cancellation as a lower bound. */
  #addCancelled(send: Send): void {
    const { intendedOffsetNs, actualOffsetNs, lastByteOffsetNs } = send;
    if (lastByteOffsetNs === null) return;
    const { censored } = this.#figures;
    censored.streams += 1;
    const tokenTimes = this.#addTokens(send);
    if (tokenTimes !== null) {
      censored.itl.record(Math.max(0, lastByteOffsetNs - tokenTimes.lastNs));
      return;
    }
    censored.ttft.record(Math.max(0, lastByteOffsetNs - intendedOffsetNs));
    censored.ttftService.record(Math.max(0, lastByteOffsetNs - (actualOffsetNs ?? intendedOffsetNs)));
  }

  /** Null for a stream without a token. */
  #addTokens(send: Send): { firstNs: number; lastNs: number } | null {
    const { intendedOffsetNs, actualOffsetNs, answer } = send;
    const { ttft, ttftService, itl } = this.#figures;
    const {
      firstTokenOffsetNs: firstNs = null,
      lastTokenOffsetNs: lastNs = null,
      gaps = null,
    } = answer ?? {};
    if (firstNs === null || lastNs === null) return null;
    ttft.record(Math.max(0, firstNs - intendedOffsetNs));
    ttftService.record(Math.max(0, firstNs - (actualOffsetNs ?? intendedOffsetNs)));
    const ttftNs = Math.max(0, firstNs - intendedOffsetNs);
    this.#byWindow.ttft.record(intendedOffsetNs, ttftNs, 1, this.#isRun ? kindOf(send) : '');
    this.#addUnpaused(send, firstNs);
    if (gaps !== null) {
      const windows = this.#byWindow.itl;
      addGaps(gaps, {
        record(gapNs, times) {
          itl.record(gapNs, times);
          windows.record(intendedOffsetNs, gapNs, times);
        },
      });
    }
    return { firstNs, lastNs };
  }

  /** If the pauses are unknown, any time is possible. */
  #addUnpaused({ intendedOffsetNs, actualOffsetNs, writeNs, pausedNs, answer }: Send, firstNs: number): void {
    const { ttft, itl } = this.#figures.unpaused;
    const leftNs = leftOffsetNs({ actualOffsetNs: actualOffsetNs ?? intendedOffsetNs, writeNs });
    const ttftNs = firstNs - (answer?.firstTokenPausedNs ?? 0) - leftNs;
    ttft.record(pausedNs === null ? 0 : Math.max(0, ttftNs));
    const gaps = answer?.unpausedGaps ?? answer?.gaps ?? null;
    if (gaps === null) return;
    if (pausedNs !== null) addGaps(gaps, itl);
    else addGaps(gaps, { record: (_, times) => itl.record(0, times) });
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
