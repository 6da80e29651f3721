import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { EPOCH_US, Feed, HASH, readRequest, readResponse } from './harness.ts';

const GET = 'GET /v2/health/ready HTTP/1.1\r\nHost: m\r\n\r\n';
const POST = 'POST /v2/models/bert/infer HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('an exchange', () => {
  it('has its facts, its raw heads, its bodies and its times', () => {
    const feed = new Feed();
    feed.at(1_000_000).client(`${POST}he`).at(3_000_000).client('llo');
    feed
      .at(7_000_000)
      .server('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n');
    feed.at(8_000_000).server('\r\n2\r\nab\r\n').at(9_500_000).server('0\r\n\r\n').close();
    feed.assertSettled();
    expect(feed.exchanges).toHaveLength(1);
    expect(feed.exchanges[0]).toMatchObject({
      arrivalUs: EPOCH_US + 1_000,
      outcome: 'completed',
      protocol: 'http/1.1',
      method: 'POST',
      route: 'POST /v2/models/{model}/infer',
      status: 200,
      connection: 5,
      model: 'bert',
      streamed: true,
      requestEndOffsetUs: 2_000,
      firstByteOffsetUs: 6_000,
      lastByteOffsetUs: 8_500,
      requestChunks: [0, 2, 2_000, 3],
      responseChunks: [7_000, 7, 8_500, 5],
    });
    const { request, response } = feed.exchanges[0] ?? {};
    expect(Buffer.from(request?.head ?? []).toString()).toBe(POST);
    expect(request?.body).toMatchObject({ bytes: 5, truncated: false });
    expect(Buffer.from(request?.body.kept ?? []).toString()).toBe('hello');
    expect(request?.body.hash).toEqual(HASH.ofBody(Buffer.from('hello')));
    expect(Buffer.from(response?.body.kept ?? []).toString()).toBe('ab');
    expect(response?.body.hash).toEqual(HASH.ofBody(Buffer.from('ab')));
  });

  it('of HTTP/1.0 says so', () => {
    const feed = new Feed().client('GET /a HTTP/1.0\r\n\r\n').server('HTTP/1.0 200 OK\r\n\r\nok');
    feed.close('server_end');
    const newer = new Feed().client(GET).server('HTTP/1.0 200 OK\r\n\r\nok').close('server_end');
    expect(feed.exchanges[0]).toMatchObject({ protocol: 'http/1.0', outcome: 'completed' });
    expect(newer.exchanges[0]?.protocol).toBe('http/1.1');
  });

  it('without a body has an empty one, no hash and no chunk times', () => {
    const feed = new Feed().client(GET).server('HTTP/1.1 204 No Content\r\n\r\n');
    expect(feed.exchanges[0]?.request?.body).toEqual({
      bytes: 0,
      kept: Buffer.alloc(0),
      truncated: false,
      hash: null,
    });
    expect(feed.exchanges[0]?.requestChunks).toEqual([]);
    expect(feed.exchanges[0]?.streamed).toBe(false);
  });

  it('names the model of an OpenAI request from its body, unless that is compressed', () => {
    const body = '{"messages":[],"model":"llama-3"}';
    const head = `POST /v1/chat/completions HTTP/1.1\r\nContent-Length: ${body.length}\r\n`;
    const feed = new Feed().client(`${head}\r\n${body}`).server(OK);
    feed.client(`${head}Content-Encoding: gzip\r\n\r\n${body}`).server(OK);
    expect(feed.exchanges.map((exchange) => exchange.model)).toEqual(['llama-3', null]);
  });

  it('keeps high bytes of heads and bodies as they were', () => {
    const head = 'POST /\xe9 HTTP/1.1\r\nX-Name: caf\xe9 \xff\x80\r\nContent-Length: 3\r\n\r\n';
    const feed = new Feed()
      .client(`${head}\x00\xff\x80`)
      .server('HTTP/1.1 200 \xdcber\r\nContent-Length: 1\r\n\r\n\xfe');
    const exchange = feed.exchanges[0];
    expect(Buffer.from(exchange?.request?.head ?? []).toString('latin1')).toBe(head);
    expect(exchange && readRequest(exchange).body).toBe('\x00\xff\x80');
    expect(exchange && readResponse(exchange)).toMatchObject({
      start: ['HTTP/1.1', 200, '\xdcber'],
      body: '\xfe',
    });
  });

  it('of the next request on the connection begins where the one before it ended', () => {
    const feed = new Feed().client(GET).server(OK).client(`\r\n${GET}`).server(OK).close();
    feed.assertSettled();
    expect(
      feed.settlements.map((settled) => [settled.clientEndOffset, settled.serverEndOffset, settled.turns]),
    ).toEqual([
      [GET.length, OK.length, 1],
      [2 * GET.length + 2, 2 * OK.length, 1],
    ]);
  });
});

describe('pairing', () => {
  it('pairs pipelined requests with their responses in order, whatever piece they come in', () => {
    const feed = new Feed();
    feed.client(`HEAD /a HTTP/1.1\r\n\r\n${POST}helloGET /b HTTP/1.1\r\n\r\n`);
    feed.server(
      'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0',
    );
    feed.server('\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n').close();
    feed.assertSettled();
    expect(feed.exchanges.map((exchange) => [exchange.method, exchange.status])).toEqual([
      ['HEAD', 200],
      ['POST', 201],
      ['GET', 404],
    ]);
  });

  it('reads 304 with a Content-Length as without a body, where http-parser-js swallows the next response', () => {
    const feed = new Feed()
      .client(GET)
      .server(`HTTP/1.1 304 Not Modified\r\nContent-Length: ${OK.length}\r\n\r\n`);
    feed.client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded 304 completed', 'recorded 200 completed']);
  });

  it('counts interim responses to the exchange and takes its status and times from the final one', () => {
    const feed = new Feed();
    feed.client('POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n');
    feed.server('HTTP/1.1 100 Continue\r\n\r\n').client('hello');
    feed.server('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n').at(90_000).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded 200 completed']);
    expect(feed.exchanges[0]?.firstByteOffsetUs).toBe(90);
    expect(feed.settlements[0]?.turns).toBe(2);
  });

  it('waits for the rest of a request that was answered early', () => {
    const feed = new Feed().client(`${POST}he`).server('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n');
    expect(feed.fates).toEqual([]);
    feed.client(`llo${GET}`).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded 413 completed', 'recorded 200 completed']);
    expect(feed.exchanges[0]?.request?.body).toMatchObject({ bytes: 5, truncated: false });
  });

  it('waits for it also when its sender had asked first and then sent some of it', () => {
    const ask = 'POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n';
    const feed = new Feed().client(`${ask}he`).server('HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n');
    feed.client(`llo${GET}`).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded 413 completed', 'recorded 200 completed']);
  });

  it('reads heads of bare LFs, in one piece or byte by byte', () => {
    const head = 'GET /lf HTTP/1.1\nHost: m\n\n';
    const feed = new Feed().client(head).server('HTTP/1.1 200 OK\nContent-Length: 2\n\nok');
    for (const byte of head) feed.client(byte);
    feed.server(OK).close();
    feed.assertSettled();
    expect(feed.exchanges.map((exchange) => [exchange.route, exchange.status])).toEqual(
      Array(2).fill(['GET /lf', 200]),
    );
  });

  it('does not guess whether a body follows that was refused before it was sent', () => {
    const ask = 'POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n';
    const feed = new Feed()
      .client(ask)
      .server('HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n');
    expect(feed.fates).toEqual(['recorded 417 completed']);
    expect(feed.exchanges[0]?.request?.body).toEqual({
      bytes: 0,
      kept: Buffer.alloc(0),
      truncated: true,
      hash: null,
    });
    feed.client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.protocol).toBe('unparsed');
    expect(feed.exchanges).toHaveLength(1);
  });

  it('bounds how many requests may wait for their answer', () => {
    const feed = new Feed();
    for (let count = 0; count < LIMITS.pipelinedRequests; count += 1) feed.client(GET);
    expect(feed.fates).toEqual([]);
    feed.client(GET).close();
    feed.assertSettled();
    expect(feed.settlements[0]).toMatchObject({
      kind: 'omitted',
      because: 'unparsed',
      exchanges: LIMITS.pipelinedRequests,
    });
  });
});

describe('what cannot be read with certainty', () => {
  it.each([
    [
      'a request with two framings',
      [`POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
      [],
    ],
    [
      'a chunk size of -5 in a request',
      ['POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello'],
      [],
    ],
    ['a TLS hello', ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n'], []],
    ['another protocol', ['*1\r\n$4\r\nPING\r\n'], ['+PONG\r\n']],
    ['a server that speaks first', [], ['220 mail ESMTP\r\n']],
    ['an answer nobody asked for', [GET], [OK, 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n']],
    [
      'a response with two lengths',
      [GET],
      ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    ],
    ['an answer that began before it was asked for', [], ['HTTP/1.1 200 OK\r\nConte']],
    [
      'a second answer to a request still being sent',
      [`${POST}he`],
      ['HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n', OK],
    ],
    ['a response that is none', [GET], ['ICY 200 OK\r\n\r\n']],
    ['a switch of protocols nobody asked for', [GET], ['HTTP/1.1 101 Switching Protocols\r\n\r\n']],
  ])('ends assembly: %s', (_, client, server) => {
    const feed = new Feed();
    for (const bytes of client) feed.client(bytes);
    for (const bytes of server) feed.server(bytes);
    expect(feed.protocol).toBe('unparsed');
    feed.client(GET).server(OK).client('more').close();
    feed.assertSettled();
    expect(feed.fates.at(-1)).toBe('omitted unparsed');
    expect(feed.exchanges.length).toBeLessThan(2);
  });

  it('leaves what was read before it recorded, and counts the requests it takes down', () => {
    const feed = new Feed()
      .client(GET)
      .server(OK)
      .client(`${GET}${GET}`)
      .server('HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n');
    feed.close();
    feed.assertSettled();
    expect(feed.settlements.map((settled) => [settled.kind, settled.turns])).toEqual([
      ['recorded', 1],
      ['omitted', 1],
    ]);
    expect(feed.settlements[1]).toMatchObject({ exchanges: 2 });
  });

  it('bounds a head by its size and by its lines, in one piece or many', () => {
    const long = `GET / HTTP/1.1\r\nX: ${'a'.repeat(LIMITS.headBytes)}`;
    const many = `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(LIMITS.headerLines + 1)}\r\n`;
    for (const head of [long, `${long}\r\n\r\n`, many]) {
      const feed = new Feed().client(head).close();
      feed.assertSettled();
      expect(feed.protocol).toBe('unparsed');
    }
    const dripping = new Feed();
    for (let at = 0; at < long.length; at += 1_000) dripping.client(long.slice(at, at + 1_000));
    expect(dripping.protocol).toBe('unparsed');
    expect(dripping.context.budget.usedBytes).toBe(0);
  });
});
