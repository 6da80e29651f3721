import fc from 'fast-check';
import {
  type Body,
  type Exchange,
  FINISH_REASONS,
  type Message,
  OUTCOMES,
  type Place,
} from '../../src/core/exchange.ts';
import { buildRequestHead, type HeaderPair } from '../../src/core/headers.ts';
import { KeyedHash } from '../../src/core/keyed-hash.ts';

/** 2026-11-24T15:00:00Z, the hour at which test captures begin. */
export const TEST_EPOCH_US = 1_795_532_400_000_000;

/** The hash of test bodies, with a fixed key. */
export const testHash = new KeyedHash(Buffer.alloc(32, 7));

/** A body that is stored completely. */
export function wholeBody(content: string | Uint8Array): Body {
  const kept = typeof content === 'string' ? Buffer.from(content) : content;
  return {
    bytes: kept.byteLength,
    kept,
    truncated: false,
    hash: kept.byteLength === 0 ? null : testHash.ofBody(kept),
  };
}

/** A body of which only the first `keptBytes` are stored; null to store nothing. */
export function partOfBody(content: Uint8Array, keptBytes: number | null): Body {
  return {
    bytes: content.byteLength,
    kept: keptBytes === null ? null : content.subarray(0, keptBytes),
    truncated: keptBytes !== null && keptBytes < content.byteLength,
    hash: testHash.ofBody(content),
  };
}

export interface RequestParts {
  readonly method?: string;
  readonly target?: string;
  readonly headers?: readonly HeaderPair[];
  readonly body?: string | Uint8Array;
}

/** A request as assembly would produce it. Host and Content-Length are added unless headers are given. */
export function requestMessage(parts: RequestParts = {}): Message {
  const body = wholeBody(parts.body ?? '{"inputs":[]}');
  const headers = parts.headers ?? [
    ['Host', 'model.internal:8000'],
    ['Content-Type', 'application/json'],
    ['Content-Length', String(body.bytes)],
  ];
  return {
    head: buildRequestHead(parts.method ?? 'POST', parts.target ?? '/v2/models/resnet/infer', headers),
    redacted: [],
    body,
    trailers: null,
  };
}

/** A response with its head as on the wire. */
export function responseMessage(status = 200, content: string | Uint8Array = '{"outputs":[]}'): Message {
  const body = wholeBody(content);
  const head = `HTTP/1.1 ${status} Whatever\r\nContent-Type: application/json\r\nContent-Length: ${body.bytes}\r\n\r\n`;
  return { head: Buffer.from(head, 'latin1'), redacted: [], body, trailers: null };
}

/** An ordinary exchange with the given members. */
export function exchangeOf(parts: Partial<Exchange> = {}): Exchange {
  return {
    arrivalUs: TEST_EPOCH_US,
    outcome: 'completed',
    protocol: 'http/1.1',
    method: 'POST',
    route: 'POST /v2/models/{model}/infer',
    status: 200,
    connection: 1,
    client: null,
    session: null,
    model: 'resnet',
    streamed: false,
    requestEndOffsetUs: 150,
    firstByteOffsetUs: 4_000,
    lastByteOffsetUs: 5_000,
    clientLeftOffsetUs: null,
    firstTokenOffsetUs: null,
    promptTokens: null,
    cachedTokens: null,
    outputTokens: null,
    batch: null,
    finish: null,
    grpcStatus: null,
    requestMessages: null,
    responseMessages: null,
    answerError: null,
    traceId: null,
    request: requestMessage(),
    response: responseMessage(),
    requestChunks: [],
    responseChunks: [],
    linked: null,
    ...parts,
  };
}

/** An exchange with only an arrival, as from an import without payloads. */
export function arrivalAlone(arrivalUs: number, parts: Partial<Exchange> = {}): Exchange {
  return exchangeOf({
    arrivalUs,
    protocol: null,
    method: null,
    route: null,
    status: null,
    connection: null,
    model: null,
    streamed: null,
    requestEndOffsetUs: null,
    firstByteOffsetUs: null,
    lastByteOffsetUs: null,
    request: null,
    response: null,
    ...parts,
  });
}

const count = fc.nat({ max: 2 ** 40 });
const nullable = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const word = fc.string({ unit: 'grapheme', maxLength: 12 });

/** Bodies from a small set, so that equal ones are common; sometimes one that is too large for a shared block. */
const content = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 8 }).map((seed) => Buffer.alloc(seed * 37, `body ${seed} `)) },
  { weight: 3, arbitrary: bytes(600) },
  { weight: 1, arbitrary: fc.nat({ max: 3 }).map((seed) => Buffer.alloc(300_000 + seed, seed + 1)) },
);

const bodies: fc.Arbitrary<Body> = content.chain((whole) =>
  whole.byteLength === 0
    ? fc.constant(wholeBody(whole))
    : fc.oneof(
        { weight: 5, arbitrary: fc.constant(wholeBody(whole)) },
        { weight: 1, arbitrary: fc.constant(partOfBody(whole, null)) },
        {
          weight: 1,
          arbitrary: fc.nat({ max: whole.byteLength - 1 }).map((kept) => partOfBody(whole, kept)),
        },
        { weight: 1, arbitrary: fc.constant({ ...wholeBody(whole), hash: null }) },
      ),
);

const messages: fc.Arbitrary<Message> = fc.record({
  head: bytes(300),
  redacted: fc.array(word, { maxLength: 3 }),
  body: bodies,
  trailers: nullable(bytes(40)),
});

const chunkTimes = fc
  .array(fc.tuple(count, fc.nat({ max: 65_536 })), { maxLength: 20 })
  .map((pairs) => pairs.flat());

const places: fc.Arbitrary<Place> = fc.oneof(
  fc.record({ in: fc.constantFrom('header', 'cookie', 'query', 'form'), name: word }),
  fc.record({ in: fc.constant('path'), segment: fc.nat({ max: 9 }) }),
  fc.record({ in: fc.constant('json'), pointer: word }),
  fc.record({ in: fc.constant('event'), event: word, pointer: word, nth: fc.nat({ max: 99 }) }),
);
const links = fc.record({ from: count, place: places, to: places });

/** Any exchange that assembly or an import could produce. Arrivals are within two hours, and often equal. */
export const anyExchange: fc.Arbitrary<Exchange> = fc.record({
  arrivalUs: fc
    .oneof(fc.nat({ max: 20 }), fc.nat({ max: 7_200_000_000 }))
    .map((offsetUs) => TEST_EPOCH_US + offsetUs),
  outcome: fc.constantFrom(...OUTCOMES),
  protocol: nullable(fc.constantFrom('http/1.1', 'http/1.0', 'h2')),
  method: nullable(word),
  route: nullable(word),
  status: nullable(fc.integer({ min: 100, max: 999 })),
  connection: nullable(count),
  client: nullable(bytes(8)),
  session: nullable(bytes(8)),
  model: nullable(word),
  streamed: nullable(fc.boolean()),
  requestEndOffsetUs: nullable(count),
  firstByteOffsetUs: nullable(count),
  lastByteOffsetUs: nullable(count),
  clientLeftOffsetUs: nullable(count),
  firstTokenOffsetUs: nullable(count),
  promptTokens: nullable(count),
  cachedTokens: nullable(count),
  outputTokens: nullable(count),
  batch: nullable(count),
  finish: nullable(fc.constantFrom(...FINISH_REASONS)),
  grpcStatus: nullable(fc.nat({ max: 16 })),
  requestMessages: nullable(count),
  responseMessages: nullable(count),
  answerError: nullable(fc.boolean()),
  traceId: nullable(fc.uint8Array({ minLength: 16, maxLength: 16 }).map((array) => Buffer.from(array))),
  request: nullable(messages),
  response: nullable(messages),
  requestChunks: chunkTimes,
  responseChunks: chunkTimes,
  linked: nullable(fc.record({ number: count, links: fc.array(links, { maxLength: 3 }) })),
});
