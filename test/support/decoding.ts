import type { RecordedAnswer, Send } from '../../src/core/run.ts';
import type { PlantedAnswer, PlantedRequest } from './planted-sends.ts';

/** A server that decodes all requests at once, a token of each at a step. Times in milliseconds. */
export interface Decoding {
  readonly tokens: (request: PlantedRequest) => number;
  /** How long a step takes with so many requests in it. */
  readonly stepMs: (requests: number) => number;
  /** Requests that are decoded at one time; the others wait. */
  readonly most?: number;
  /** What the prompt of a request that enters the batch adds to its first step, for all in it. */
  readonly prefillMs?: (request: PlantedRequest) => number;
  readonly promptTokens?: (request: PlantedRequest) => number;
}

/** What such a server answers, by the index of the request. The requests are in the order of their arrival. */
export function decoded(
  requests: readonly PlantedRequest[],
  {
    tokens,
    stepMs,
    most = Number.POSITIVE_INFINITY,
    prefillMs = () => 0,
    promptTokens = () => 100,
  }: Decoding,
): PlantedAnswer[] {
  const batch: { request: PlantedRequest; left: number; tokens: number; firstAtMs: number }[] = [];
  const answers: PlantedAnswer[] = [];
  let [next, nowMs] = [0, 0];
  while (next < requests.length || batch.length > 0) {
    if (batch.length === 0) nowMs = Math.max(nowMs, requests[next]!.atMs);
    let enteredMs = 0;
    for (; batch.length < most && next < requests.length && requests[next]!.atMs <= nowMs; next += 1) {
      const request = requests[next]!;
      const count = tokens(request);
      batch.push({ request, left: count, tokens: count, firstAtMs: 0 });
      enteredMs += prefillMs(request);
    }
    nowMs += stepMs(batch.length) + enteredMs;
    for (const each of batch) {
      if (each.left === each.tokens) each.firstAtMs = nowMs;
      each.left -= 1;
      if (each.left > 0) continue;
      const { atMs, index } = each.request;
      const gapMs = each.tokens > 1 ? (nowMs - each.firstAtMs) / (each.tokens - 1) : 0;
      answers[index] = {
        ms: nowMs - atMs,
        facts: {
          ...streamed(atMs, each.firstAtMs - atMs, gapMs, promptTokens(each.request), each.tokens),
          recorded: recordedStream(each.tokens * stepMs(1)),
        },
      };
    }
    batch.splice(0, batch.length, ...batch.filter(({ left }) => left > 0));
  }
  return answers;
}

function recordedStream(tookMs: number): RecordedAnswer {
  return { status: 200, bytes: 20, streamed: true, tookNs: Math.round(tookMs * 1e6), tellsError: false };
}

/** A stream whose next token takes as long as the instant says, of a server that has room for all. */
export function paced(
  { atMs, draw }: PlantedRequest,
  tokens: number,
  gapMsAt: (atMs: number) => number,
): PlantedAnswer {
  const count = Math.round(tokens);
  const firstAtMs = atMs + 30;
  let nowMs = firstAtMs;
  for (let token = 1; token < count; token += 1) nowMs += gapMsAt(nowMs) * (0.9 + 0.2 * draw());
  const gapMs = (nowMs - firstAtMs) / (count - 1);
  return {
    ms: nowMs - atMs,
    facts: { ...streamed(atMs, 30, gapMs, 100, count), recorded: recordedStream(30 + 10 * count) },
  };
}

/** A stream of tokens with equal gaps. */
export function streamed(
  atMs: number,
  firstMs: number,
  gapMs: number,
  promptTokens: number,
  outputTokens = 10,
): Partial<Send> {
  const ns = (ms: number) => Math.round((atMs + ms) * 1e6);
  const lastMs = firstMs + (outputTokens - 1) * gapMs;
  return {
    streamed: true,
    firstByteOffsetNs: ns(firstMs),
    lastByteOffsetNs: ns(lastMs),
    answer: {
      firstTokenOffsetNs: ns(firstMs),
      lastTokenOffsetNs: ns(lastMs),
      contentEvents: outputTokens,
      gapMaxNs: null,
      gaps: null,
      promptTokens,
      outputTokens,
      finish: 'stop',
    },
  };
}
