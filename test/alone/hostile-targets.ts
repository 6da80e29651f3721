import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { createServer as createSecureServer } from 'node:tls';
import { gzipSync } from 'node:zlib';
import type { Exchange } from '../../src/core/exchange.ts';
import { LOCAL_CERTIFICATE_KEY_PEM, LOCAL_CERTIFICATE_PEM } from '../support/certificate.ts';
import { exchangeOf, requestMessage, responseMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { afterwards } from '../support/leftovers.ts';
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

/** From 0 to 40 ms, without an order. */
export const jitterOf = (number: number): number =>
  (createHash('md5').update(`${number}`).digest().readUInt32BE() / 2 ** 32) * 40;

export function numberOf({ target }: LoggedRequest): number {
  return Number(/n=(\d+)/.exec(target)?.[1]);
}

export const NO_CONTENT = { index: 0, message: { role: 'assistant', content: null }, finish_reason: 'stop' };
export const TOOL_CALL = {
  index: 0,
  message: {
    role: 'assistant',
    content: null,
    tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }],
  },
  finish_reason: 'tool_calls',
};

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

/** Answers with these headers too. */
export const withHeaders =
  (ms: number, headers: Record<string, string>, body: string | Buffer = ANSWER): Answer =>
  (_, response) =>
    void setTimeout(() => {
      response.writeHead(200, { 'content-type': 'application/json', ...headers });
      response.end(body);
    }, ms);

/** What is called compressed, and is not. */
export const falseGzip = withHeaders(8, { 'content-encoding': 'gzip' });
export const gzipped = withHeaders(8, { 'content-encoding': 'gzip' }, gzipSync(ANSWER));

const signIn = '<!doctype html><title>Sign in</title><form method="post"><input name="user"></form>';
export const signInPage = withHeaders(8, { 'content-type': 'text/html' }, signIn.padEnd(ANSWER.length));

/** A text as long as fills an answer to the recorded size. */
const filled = (build: (text: string) => unknown): string => {
  const empty = JSON.stringify(build('')).length;
  return JSON.stringify(build('the model is not loaded; '.repeat(80).slice(0, ANSWER.length - empty)));
};
/** How servers and clouds write an error, each of the recorded size. */
const DIALECTS = [
  filled((message) => [{ error: { code: 503, message, status: 'UNAVAILABLE' } }]),
  filled((message) => ({ __type: 'ThrottlingException', message })),
  filled((message) => ({ code: 503, type: 'InternalServerException', message })),
  filled((detail) => ({ detail })),
  filled((message) => ({ object: 'error', message, type: 'BadRequestError', param: null, code: 400 })),
  filled((message) => ({ type: 'error', error: { type: 'overloaded_error', message } })),
  filled((Message) => ({ ErrorCode: 'INTERNAL_FAILURE_FROM_MODEL', Message, OriginalStatusCode: 500 })),
  filled((message) => ({ code: 14, message, details: [] })),
];
export const errorInDialect: Answer = (number, response, request) =>
  after(8, DIALECTS[Math.floor(number / 5) % DIALECTS.length])(number, response, request);

/** The id of a job in place of its result. */
export const ticket = after(
  8,
  filled((id) => ({ id, status: 'queued' })),
  202,
);

/** A refusal, of the recorded size. */
export const filtered = completion([
  { index: 0, message: { role: 'assistant', content: 'I cannot help.' }, finish_reason: 'content_filter' },
]);

/** The recorded answer and one like it, each with the name of the model that made it. */
export const answerBy = (model: string): string =>
  COMPLETION.replace('"object"', `"model":"${model}","object"`);

/** A chat whose answer has so many tokens. */
export const chatOf = (number: number, tokens: number): Partial<Exchange> => ({
  ...wholeChat(number),
  outputTokens: tokens,
  response: responseMessage(200, completionOf(tokens)),
});
export function completionOf(tokens: number): string {
  const choice = { ...CHOICE, message: { role: 'assistant', content: 'word '.repeat(tokens) } };
  const usage = { prompt_tokens: 8, completion_tokens: tokens, total_tokens: 8 + tokens };
  return JSON.stringify({ id: 'a', object: 'chat.completion', choices: [choice], usage });
}

/** A stream of parts, each after a pause, that ends in good order. */
export const streamOf =
  (parts: readonly (readonly [pauseMs: number, text: string])[]): Answer =>
  async (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const [pauseMs, text] of parts) {
      if (pauseMs > 0) await pause(pauseMs);
      response.write(text);
    }
    response.end();
  };

const [FIRST = '', SECOND = ''] = STREAM;
const OVERLOADED = '{"error":{"message":"no GPU is left","type":"server_error","code":500}}';
const errorEvents = [
  [
    [8, FIRST],
    [1, SECOND],
    [1, `data: ${OVERLOADED}\n\n`],
    [0, 'data: [DONE]\n\n'],
  ],
  [
    [8, FIRST],
    [1, SECOND],
    [1, `event: error\ndata: {"type":"error",${OVERLOADED.slice(1)}\n\n`],
  ],
] as const;
/** Streams that say in their middle that the server has failed. */
export const brokenByEvent: Answer = (number, response, request) =>
  streamOf(errorEvents[Math.floor(number / 10) % 2] ?? [])(number, response, request);

const ROLE = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n';
/** Says at once that it begins, and is silent until its first word. */
export const emptyStart = (ms: number): Answer =>
  streamOf([
    [1, ': ping\n\n'],
    [1, ROLE],
    [ms, STREAM.join('')],
  ]);

/** Slow tokens, counted as many more than there are. */
export const boastful = (pauseMs: number, tokens: number): Answer =>
  streamOf([
    [8, FIRST],
    ...STREAM.slice(1, -1).map((part) => [pauseMs, part] as const),
    [0, `data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":${tokens}}}\n\n`],
    [0, 'data: [DONE]\n\n'],
  ]);

/** The whole JSON in chunks; the one that ends the answer never comes. */
export const withoutLastChunk: Answer = (_, response) =>
  void setTimeout(() => {
    const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n';
    response.socket?.end(`${head}${ANSWER.length.toString(16)}\r\n${ANSWER}\r\n`);
  }, 8);

/** Says early that an answer will come; the answer comes in chunks, with trailers. */
export const hinted =
  (ms: number): Answer =>
  (_, response) => {
    response.writeEarlyHints({ link: '</model.json>; rel=preload' });
    setTimeout(() => {
      response.writeHead(200, { 'content-type': 'application/json', trailer: 'grpc-status' });
      response.write(ANSWER.slice(0, 100));
      response.write(ANSWER.slice(100));
      response.addTrailers({ 'grpc-status': '0' });
      response.end();
    }, ms);
  };

/** Closes a connection without notice when nothing came for so long. */
export const closesIdle =
  (idleMs: number): Answer =>
  (number, response, request) => {
    const { socket } = response;
    if (socket?.listenerCount('timeout') === 1) socket.setTimeout(idleMs, () => socket.destroy());
    after(8)(number, response, request);
  };

/** Ends each connection after one answer, by a reset. */
export const resetsAfter: Answer = (_, response) =>
  void setTimeout(() => {
    const { socket } = response;
    response.writeHead(200, { 'content-type': 'application/json', connection: 'close' });
    response.end(ANSWER, () => setTimeout(() => socket?.resetAndDestroy(), 1));
  }, 8);

/** Slower with each request from this one on. */
export const slowerFrom =
  (from: number, msEach: number): Answer =>
  (number, response, request) =>
    after(8 + Math.max(0, number - from) * msEach)(number, response, request);

/** The same outputs, otherwise written. */
export const REORDERED = JSON.stringify({ name: 'm', ...JSON.parse(ANSWER) }, null, 2);

/** TLS in front of a server, with handshakes that take so long. */
export async function slowHandshakes(port: number, ms: number): Promise<string> {
  const secured = createSecureServer(
    { cert: LOCAL_CERTIFICATE_PEM, key: LOCAL_CERTIFICATE_KEY_PEM },
    (stream) => {
      const onward = connect(port, '127.0.0.1');
      for (const each of [stream, onward]) {
        each.on('error', () => {
          stream.destroy();
          onward.destroy();
        });
      }
      stream.pipe(onward).pipe(stream);
    },
  );
  // Before the first byte, because a session that is resumed needs no certificate.
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    setTimeout(() => secured.emit('connection', socket), ms);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterwards(() => server.close());
  return `https://localhost:${(server.address() as AddressInfo).port}`;
}
