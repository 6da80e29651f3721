import type { ServerResponse } from 'node:http';
import type { Exchange } from '../../src/core/exchange.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';

/** The answer and the latency of production. */
export const ANSWER = JSON.stringify({ outputs: Array.from({ length: 60 }, (_, at) => at / 7) });
export const RECORDED_MS = 10;
const TOKENS = 5;
const STREAM = [
  ...Array.from(
    { length: TOKENS },
    (_, at) => `data: {"choices":[{"index":0,"delta":{"content":"token ${at}"}}]}\n\n`,
  ),
  'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
  'data: [DONE]\n\n',
];

export type Answer = (number: number, response: ServerResponse, request: LoggedRequest) => void;

/** A seeded generator of whole numbers from 0 to `bound` (exclusive). */
function drawing(seed: number): (bound: number) => number {
  let state = seed * 2_654_435_761;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state / 2 ** 32) * bound;
  };
}

/** Recorded requests with random gaps. Each target has the request's number. */
export function recordedRequests(
  { seed, count = 220, meanGapUs = 6_000 }: { seed: number; count?: number; meanGapUs?: number },
  parts: (number: number) => Partial<Exchange> = () => ({}),
): Exchange[] {
  const draw = drawing(seed);
  let arrivalUs = TEST_EPOCH_US;
  return Array.from({ length: count }, (_, number) => {
    arrivalUs += Math.round(-Math.log(1 - draw(1)) * meanGapUs);
    return exchangeOf({
      arrivalUs,
      firstByteOffsetUs: RECORDED_MS * 1e3 - 500,
      lastByteOffsetUs: RECORDED_MS * 1e3,
      request: requestMessage({ target: `/v2/models/m/infer?n=${number}` }),
      response: responseMessage(200, ANSWER),
      ...parts(number),
    });
  });
}

/** An exchange whose client left without an answer, this long after the arrival. */
export const left = (afterMs: number): Partial<Exchange> => ({
  outcome: 'client_aborted',
  status: null,
  response: null,
  streamed: null,
  firstByteOffsetUs: null,
  lastByteOffsetUs: afterMs * 1e3,
  clientLeftOffsetUs: afterMs * 1e3,
});

export const recordedStatus = (status: number): Partial<Exchange> => ({
  status,
  response: responseMessage(status, '{"error":"busy"}'),
});

/** A chat whose answer was a stream. */
export const chat = (number: number): Partial<Exchange> => ({
  route: 'POST /v1/chat/completions',
  streamed: true,
  firstTokenOffsetUs: 5_000,
  request: requestMessage({
    target: `/v1/chat/completions?n=${number}`,
    body: '{"model":"m","stream":true,"messages":[]}',
  }),
  response: responseMessage(200, STREAM.join('')),
});

/** A chat whose answer came whole. */
export const wholeChat = (number: number): Partial<Exchange> => ({
  ...chat(number),
  streamed: false,
  firstTokenOffsetUs: null,
  outputTokens: OUTPUT_TOKENS,
  request: requestMessage({
    target: `/v1/chat/completions?n=${number}`,
    body: '{"model":"m","messages":[]}',
  }),
  response: responseMessage(200, COMPLETION),
});

/** A whole answer to a chat, with these choices, as long as the recorded one. */
export function completion(choices: readonly unknown[], outputTokens = OUTPUT_TOKENS): string {
  const usage = { prompt_tokens: 8, completion_tokens: outputTokens, total_tokens: 8 + outputTokens };
  const text = JSON.stringify({ id: '', object: 'chat.completion', choices, usage });
  return text.replace('"id":""', `"id":"${'x'.repeat(Math.max(0, COMPLETION_BYTES - text.length))}"`);
}

const COMPLETION_BYTES = 600;
const OUTPUT_TOKENS = 40;
export const CHOICE = {
  index: 0,
  message: { role: 'assistant', content: 'word '.repeat(OUTPUT_TOKENS) },
  finish_reason: 'stop',
};
export const COMPLETION = completion([CHOICE]);

export function numberOf({ target }: LoggedRequest): number {
  return Number(/n=(\d+)/.exec(target)?.[1]);
}

/** Answers after a delay, by default with production's body. */
export const after =
  (ms: number, body = ANSWER, status = 200): Answer =>
  (_, response) =>
    void setTimeout(() => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(body);
    }, ms);

/** Answers over HTTP/1.0, without a length: the end of the connection ends the answer. */
export const untilClose =
  (ms: number, body: string): Answer =>
  (_, response) =>
    void setTimeout(() => {
      const head = 'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n';
      response.socket?.end(head + body);
    }, ms);

export const hangs: Answer = () => {};

/** Gives one kind of answer to some requests, and another to the rest. */
export const some =
  (isOne: (number: number) => boolean, one: Answer, other: Answer): Answer =>
  (number, response, request) =>
    (isOne(number) ? one : other)(number, response, request);

export const every = (nth: number) => (number: number) => number % nth === 0;

/** An answer of the recorded size to each request. */
export const answerTo = (number: number): string => ANSWER.replace('0,', `${100_000 + number},`);

export const answersEach =
  (ms: number): Answer =>
  (number, response, request) =>
    after(ms, answerTo(number))(number, response, request);

/** A stream of one token that ends in good order. */
export const oneToken =
  (ms: number): Answer =>
  (_, response) =>
    void setTimeout(() => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(`${STREAM[0]}${STREAM.at(-1)}`);
    }, ms);

/** A stream with its first token after a delay, and only `parts` of its parts. */
export const streams =
  (firstMs: number, parts = STREAM.length, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    void setTimeout(() => {
      response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
      for (const part of STREAM.slice(0, parts)) response.write(part);
      response.end();
    }, firstMs);

/** A server that serves one request at a time, each for `serviceMs`. */
export function oneAtATime(serviceMs: number): Answer {
  let freeAt = 0;
  return (_, response) => {
    const now = performance.now();
    freeAt = Math.max(now, freeAt) + serviceMs;
    setTimeout(() => response.end(ANSWER), freeAt - now);
  };
}
