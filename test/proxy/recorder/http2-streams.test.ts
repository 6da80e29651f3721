import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { ANSWER_HEAD, callHead, fedData, fedEnd, grpcMessage } from '../../support/grpc.ts';
import { Feed, latin1 } from './harness.ts';

const INFER = '/inference.GRPCInferenceService/ModelInfer';
const OK = fedEnd('grpc-status: 0', 'grpc-message: ');
const ONE = grpcMessage('one');

/** The one exchange of a stream, which is settled completely. */
function only(feed: Feed) {
  feed.close().assertSettled();
  const [exchange, ...others] = feed.exchanges;
  if (exchange === undefined || others.length > 0) throw new Error(feed.fates.join());
  return exchange;
}

/** A call that has sent its request; each piece comes a microsecond after the one before it. */
function call(...lines: string[]): Feed {
  return new Feed()
    .client(callHead(INFER, ...lines))
    .client(fedData(ONE))
    .client(fedEnd());
}

describe('a stream of HTTP/2', () => {
  it('is an exchange with its DATA as body, whatever length and method its heads say', () => {
    const feed = new Feed()
      .client('HEAD /v1/models HTTP/2\r\nhost: m\r\ncontent-length: 9\r\n\r\n0\r\n\r\n')
      .server('HTTP/2 103\r\nlink: </a>\r\n\r\n')
      .server('HTTP/2 200\r\ncontent-length: 12\r\n\r\n0\r\n\r\n');
    expect(only(feed)).toMatchObject({
      protocol: 'h2',
      method: 'HEAD',
      status: 200,
      outcome: 'completed',
      grpcStatus: null,
      requestMessages: null,
      responseMessages: null,
      response: { body: { bytes: 0 } },
    });
    const get = new Feed()
      .client('GET /v2/models/resnet HTTP/2\r\nhost: m\r\n\r\n0\r\n\r\n')
      .server('HTTP/2 204\r\n\r\n')
      .server(fedData(Buffer.from('even here')))
      .server(fedEnd('x-checksum: 7'));
    const { response, model } = only(get);
    expect(model).toBe('resnet');
    expect(latin1(response?.body.kept ?? null)).toBe('even here');
    expect(latin1(response?.trailers ?? null)).toBe('x-checksum: 7\r\n');
  });

  it('is not read on when the answer is one of HTTP/1', () => {
    const feed = new Feed()
      .client('GET / HTTP/2\r\nhost: m\r\n\r\n')
      .server('HTTP/1.1 505 No\r\n\r\n')
      .close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['omitted unparsed']);
  });
});

describe('a call whose head promises OK', () => {
  const promised = 'HTTP/2 200\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\n\r\n';

  it('has the status of its trailers, and none without', () => {
    const failed = call().server(promised).server(fedData(ONE)).server(fedEnd('grpc-status: 14'));
    expect(only(failed)).toMatchObject({ status: 503, grpcStatus: 14 });
    const none = call().server(promised).server(fedData(ONE)).server(fedEnd());
    expect(only(none)).toMatchObject({ outcome: 'upstream_failed', status: null, grpcStatus: null });
  });

  it('and is all of its answer has that status', () => {
    expect(only(call().server(promised).server(fedEnd()))).toMatchObject({ status: 200, grpcStatus: 0 });
  });
});

describe('a call whose client ended the connection', () => {
  it('was aborted, whatever error the server then answers with', () => {
    const after = call()
      .server(ANSWER_HEAD)
      .server(fedData(ONE))
      .clientEnd()
      .server(fedEnd('grpc-status: 14'));
    expect(only(after)).toMatchObject({ outcome: 'client_aborted', status: null, grpcStatus: null });
    const atOnce = call()
      .clientEnd()
      .server('HTTP/2 200\r\ncontent-type: application/grpc\r\ngrpc-status: 1\r\n\r\n');
    expect(only(atOnce.server(fedEnd()))).toMatchObject({ outcome: 'client_aborted', status: null });
  });

  it('is answered if all of the answer came, as that of HTTP/1 is', () => {
    const whole = call().server(ANSWER_HEAD).clientEnd().server(fedData(ONE)).server(OK);
    expect(only(whole)).toMatchObject({ outcome: 'completed', status: 200, grpcStatus: 0 });
  });
});

describe('a tunnel in a stream of HTTP/2 is no exchange', () => {
  it.each([
    ['CONNECT db:5432', ''],
    ['CONNECT /chat', 'sec-websocket-version: 13\r\n'],
  ])('%s', (line, more) => {
    const feed = new Feed()
      .client(`${line} HTTP/2\r\nhost: m\r\n${more}\r\n`)
      .server('HTTP/2 200\r\n\r\n')
      .client(fedData(Buffer.from('what a frame of WebSocket says')))
      .server(fedData(Buffer.from('and its answer')))
      .client(fedEnd())
      .server(fedEnd());
    feed.close().assertSettled();
    expect(feed.exchanges).toEqual([]);
    expect(new Set(feed.fates)).toEqual(new Set(['omitted unparsed']));
  });
});

describe('a gRPC call', () => {
  it('has the HTTP status of its grpc-status, its messages and their times', () => {
    const feed = new Feed()
      .client(callHead(INFER))
      .client(fedData(ONE.subarray(0, 3)))
      .client(fedData(ONE.subarray(3)))
      .client(Buffer.concat([fedData(grpcMessage('gzipped', true)), fedData(grpcMessage('')), fedEnd()]))
      .server(ANSWER_HEAD)
      .server(fedData(Buffer.concat([grpcMessage('first'), grpcMessage('second').subarray(0, 4)])))
      .server(fedData(grpcMessage('second').subarray(4)))
      .server(OK);
    const exchange = only(feed);
    expect(exchange).toMatchObject({
      protocol: 'h2',
      method: 'POST',
      route: `POST ${INFER}`,
      status: 200,
      grpcStatus: 0,
      outcome: 'completed',
      streamed: true,
      requestMessages: 3,
      responseMessages: 2,
      requestEndOffsetUs: 3,
      firstByteOffsetUs: 4,
      firstTokenOffsetUs: 5,
      lastByteOffsetUs: 7,
      answerError: false,
      model: null,
      // The first byte of each message of the request, the last byte of each of the answer.
      requestChunks: [1, 8, 3, 12, 3, 5],
      responseChunks: [5, 10, 6, 11],
    });
    expect(latin1(exchange.request?.head ?? null)).toBe(latin1(callHead(INFER)));
    expect(latin1(exchange.response?.trailers ?? null)).toBe('grpc-status: 0\r\ngrpc-message: \r\n');
    expect(exchange.request?.body).toMatchObject({ bytes: 25, truncated: false });
  });

  it.each([
    [8, 429, false],
    [14, 503, false],
    [4, 504, true],
    [12, 501, true],
    [3, 400, false],
  ])('of grpc-status %i has the status %i, also with trailers only', (code, status, trailersOnly) => {
    const feed = trailersOnly
      ? call().server(`HTTP/2 200\r\ncontent-type: application/grpc\r\ngrpc-status: ${code}\r\n\r\n0\r\n\r\n`)
      : call()
          .server(ANSWER_HEAD)
          .server(fedEnd(`grpc-status: ${code}`));
    expect(only(feed)).toMatchObject({
      status,
      grpcStatus: code,
      outcome: 'completed',
      streamed: false,
      firstTokenOffsetUs: null,
      responseMessages: 0,
    });
  });

  it('without a status has no complete answer', () => {
    const message = fedData(grpcMessage('x'));
    expect(only(call().server(ANSWER_HEAD).server(message).server(fedEnd()))).toMatchObject({
      outcome: 'upstream_failed',
      status: null,
      grpcStatus: null,
      responseMessages: 1,
    });
    expect(only(call().server(ANSWER_HEAD).server(fedEnd('grpc-status: ok')))).toMatchObject({
      outcome: 'upstream_failed',
      status: null,
    });
    expect(only(call().server(ANSWER_HEAD).server(message).close('server_reset'))).toMatchObject({
      outcome: 'upstream_failed',
      status: null,
      responseMessages: 1,
    });
  });

  it('that a proxy answered with an error of HTTP has that status', () => {
    const page = 'HTTP/2 503\r\ncontent-type: text/html\r\n\r\n';
    expect(
      only(
        call()
          .server(page)
          .server(fedData(Buffer.from('<p>busy')))
          .server(fedEnd()),
      ),
    ).toMatchObject({
      outcome: 'completed',
      status: 503,
      grpcStatus: null,
      responseMessages: null,
    });
  });

  it.each([
    ['100m', 99_999, 'client_aborted'],
    // A client may leave before arrival and timeout: the field is rounded up to three digits.
    ['1010m', 1_001_000, 'timed_out'],
    ['100m', 100_000, 'timed_out'],
    ['1H', 100_000, 'client_aborted'],
    ['no timeout', 100_000, 'client_aborted'],
  ])('with timeout %s that its client leaves after %i µs is %s', (timeout, afterUs, outcome) => {
    const feed = call(`grpc-timeout: ${timeout}`)
      .server(ANSWER_HEAD)
      .at((outcome === 'client_aborted' ? afterUs - 10_000 : afterUs) * 1_000)
      .close('client_reset');
    const left = outcome === 'client_aborted' ? afterUs - 10_000 : afterUs;
    expect(only(feed)).toMatchObject({
      outcome,
      status: null,
      clientLeftOffsetUs: left,
      requestMessages: 1,
      responseMessages: 0,
    });
  });

  it('that is answered early is complete, though its request never ends', () => {
    const feed = new Feed()
      .client(callHead(INFER))
      .client(fedData(ONE))
      .server(ANSWER_HEAD)
      .server(fedEnd('grpc-status: 8'))
      .close('server_reset');
    expect(only(feed)).toMatchObject({ outcome: 'completed', status: 429, requestMessages: 1 });
  });

  it('streams if its method does, even with one message', () => {
    const feed = new Feed()
      .client(callHead('/inference.GRPCInferenceService/ModelStreamInfer'))
      .client(fedEnd())
      .server(ANSWER_HEAD)
      .server(fedData(grpcMessage('one')))
      .server(OK);
    expect(only(feed)).toMatchObject({ streamed: true, firstTokenOffsetUs: 3, responseMessages: 1 });
  });

  it('keeps a body that is no row of messages, without facts', () => {
    const feed = new Feed()
      .client(callHead(INFER))
      .client(fedData(Buffer.from('{"inputs":[]}')))
      .client(fedEnd());
    feed
      .server(ANSWER_HEAD)
      .server(fedData(Buffer.from([0, 0, 0, 0, 9, 1])))
      .server(OK);
    const { request, requestMessages, responseMessages } = only(feed);
    expect(latin1(request?.body.kept ?? null)).toBe('{"inputs":[]}');
    expect([requestMessages, responseMessages]).toEqual([null, null]);
  });

  it('is named by service and method, though they look like ids', () => {
    const path = '/acme.v2.RecognitionServiceV2Alpha1/Detect2';
    const feed = new Feed().client(callHead(path)).client(fedEnd()).server(ANSWER_HEAD).server(OK);
    expect(only(feed).route).toBe(`POST ${path}`);
  });

  it('is cut by the cap on bodies, with all its messages counted', () => {
    const feed = new Feed({
      policy: { bodies: 'all', requestBodyBytes: 10, responseBodyBytes: LIMITS.responseBodyBytes },
    });
    feed.client(callHead(INFER));
    for (let nth = 0; nth < 5; nth += 1) feed.client(fedData(ONE));
    feed.client(fedEnd()).server(ANSWER_HEAD).server(OK);
    expect(only(feed)).toMatchObject({
      requestMessages: 5,
      request: { body: { bytes: 40, truncated: true } },
    });
  });

  it('has as many times as a body may have, and the rest in the last', () => {
    const many = LIMITS.chunkTimesPerBody + 10;
    const feed = new Feed().client(callHead(INFER));
    feed.client(fedData(Buffer.concat(Array.from({ length: many }, () => grpcMessage(''))))).client(fedEnd());
    feed.server(ANSWER_HEAD).server(OK);
    const { requestChunks, requestMessages } = only(feed);
    expect(requestMessages).toBe(many);
    expect(requestChunks).toHaveLength(2 * LIMITS.chunkTimesPerBody);
    expect(requestChunks.at(-1)).toBe(11 * 5);
  });
});
