import { addGaps } from '../core/gap-counts.ts';
import { Histogram } from '../core/histogram.ts';
import { FINISH_REASONS, type FinishReason, isTurnedAway, type Send, type Stretch } from '../core/run.ts';
import type { SendOutcome } from './outcome-counts.ts';
import { type AsideLimits, StreamsAside } from './streams-aside.ts';
import { StretchSet } from './stretch-set.ts';

/** A stream over sooner than this can have had no stall in it. */
const LONG_NS = 250e6;
/** Kept aside until stalls are known; beyond, streams count as they are. */
const MAX_ASIDE: AsideLimits = { streams: 131_072, bytes: 32 * 1024 * 1024 };
/** The loop that wakes up may learn how long it slept before it has stamped all that piled up meanwhile. */
const PILED_UP_NS = 50e6;

/** What answers said of their tokens, whichever way they came. */
export interface TokenFigures {
  /** Completed answers that said how many tokens they had. */
  readonly answers: number;
  readonly prompt: number;
  readonly output: number;
  /** Of answers that said why they ended. */
  readonly finishReasons: Readonly<Partial<Record<FinishReason, number>>>;
}

/** Distributions in nanoseconds over streams that completed, those that suffered from our own stalls left out. */
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
  /** Streams that failed outside our stalls, and of these the ones that our own stop ended; refused are neither. */
  readonly failed: number;
  readonly stopped: number;
  readonly refused: number;
  /** In none of the distributions, nor among the failed, because of our own stalls. */
  readonly leftOut: number;
  readonly tokens: TokenFigures;
}

/** What is left of a stream that is over, offsets after the start of the run. */
export interface StreamTimes {
  readonly completed: boolean;
  readonly stopped: boolean;
  readonly intendedNs: number;
  readonly actualNs: number;
  readonly endNs: number;
  readonly firstNs: number | null;
  readonly lastNs: number | null;
  readonly gaps: Uint8Array | null;
  readonly outputTokens: number | null;
  readonly content: 'some' | 'none' | 'unread';
}

/**
 * Gathers what is measured of answers that come piece by piece, at bounded memory. Stalls are told at the end, so
 * a stream that was long enough for one waits aside until then.
 */
export class StreamStatistics {
  readonly #ttft = new Histogram();
  readonly #ttftService = new Histogram();
  readonly #itl = new Histogram();
  readonly #tpot = new Histogram();
  readonly #finishes = new Map<FinishReason, number>();
  readonly #aside = new StreamsAside(MAX_ASIDE);
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
    if (outcome === 'completed') this.#completed += 1;
    const times = timesOf(send, outcome === 'completed');
    const isLong = times.endNs - times.intendedNs > LONG_NS;
    if (!isLong || !this.#aside.add(times)) this.#record(times);
  }

  /** Ends the gathering: streams within which we stood still are left out, failed ones that ended in a stall. */
  finish(stalls: readonly Stretch[]): StreamFigures {
    const stalled = new StretchSet(stalls);
    let leftOut = 0;
    for (const times of this.#aside.takeAll()) {
      if (hasSuffered(times, stalled)) leftOut += 1;
      else this.#record(times);
    }
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
      leftOut,
      tokens: this.#tokenFigures(),
    };
  }

  #record({
    completed,
    stopped,
    intendedNs,
    actualNs,
    firstNs,
    lastNs,
    gaps,
    outputTokens,
    content,
  }: StreamTimes): void {
    if (!completed) {
      this.#failed += 1;
      if (stopped) this.#stopped += 1;
      return;
    }
    if (content === 'none') this.#withoutContent += 1;
    if (content === 'unread') this.#unread += 1;
    if (firstNs === null || lastNs === null) return;
    this.#ttft.record(Math.max(0, firstNs - intendedNs));
    this.#ttftService.record(Math.max(0, firstNs - actualNs));
    if (gaps !== null) addGaps(gaps, this.#itl);
    if (outputTokens !== null && outputTokens > 1)
      this.#tpot.record(Math.round((lastNs - firstNs) / (outputTokens - 1)));
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

function hasSuffered({ completed, intendedNs, endNs }: StreamTimes, stalled: StretchSet): boolean {
  if (completed) return stalled.overlaps(intendedNs, endNs);
  return stalled.has(intendedNs) || stalled.has(endNs) || stalled.has(endNs - PILED_UP_NS);
}

function timesOf(send: Send, completed: boolean): StreamTimes {
  const { answer, intendedOffsetNs, lastByteOffsetNs } = send;
  const actualNs = send.actualOffsetNs ?? intendedOffsetNs;
  return {
    completed,
    stopped: send.error === 'stopped',
    intendedNs: intendedOffsetNs,
    actualNs,
    endNs: lastByteOffsetNs ?? actualNs,
    firstNs: answer?.firstTokenOffsetNs ?? null,
    lastNs: answer?.lastTokenOffsetNs ?? null,
    gaps: answer?.gaps ?? null,
    outputTokens: answer?.outputTokens ?? null,
    content: contentOf(send),
  };
}

function contentOf({ answer }: Send): StreamTimes['content'] {
  if (answer === null) return 'unread';
  return answer.contentEvents > 0 ? 'some' : 'none';
}

/** The figures of several runs of one plan as those of one: distributions are merged value by value. */
export function mergedStreams(each: readonly StreamFigures[]): StreamFigures {
  const merged = new StreamStatistics().finish([]);
  const finishReasons: Partial<Record<FinishReason, number>> = {};
  for (const { ttft, ttftService, itl, tpot, tokens } of each) {
    merged.ttft.merge(ttft);
    merged.ttftService.merge(ttftService);
    merged.itl.merge(itl);
    merged.tpot.merge(tpot);
    for (const reason of FINISH_REASONS) {
      const count = tokens.finishReasons[reason] ?? 0;
      if (count > 0) finishReasons[reason] = (finishReasons[reason] ?? 0) + count;
    }
  }
  const sum = (count: (figures: StreamFigures) => number) =>
    each.reduce((total, figures) => total + count(figures), 0);
  return {
    ...merged,
    completed: sum(({ completed }) => completed),
    withoutContent: sum(({ withoutContent }) => withoutContent),
    unread: sum(({ unread }) => unread),
    turnedAway: sum(({ turnedAway }) => turnedAway),
    whole: sum(({ whole }) => whole),
    failed: sum(({ failed }) => failed),
    stopped: sum(({ stopped }) => stopped),
    refused: sum(({ refused }) => refused),
    leftOut: sum(({ leftOut }) => leftOut),
    tokens: {
      answers: sum(({ tokens }) => tokens.answers),
      prompt: sum(({ tokens }) => tokens.prompt),
      output: sum(({ tokens }) => tokens.output),
      finishReasons,
    },
  };
}
