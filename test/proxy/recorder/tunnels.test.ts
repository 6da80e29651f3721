import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { AssemblyBudget } from '../../../src/http1/budget.ts';
import { Feed } from './harness.ts';

const UPGRADE = 'GET /chat HTTP/1.1\r\nHost: m\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const CONNECT = 'CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n';
const GET = 'GET /next HTTP/1.1\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('another protocol', () => {
  it.each([
    ['a WebSocket', UPGRADE, SWITCH, 'websocket', 'recorded 101 completed'],
    [
      'HTTP/2 by upgrade',
      UPGRADE.replace('websocket', 'h2c'),
      SWITCH.replace('websocket', 'h2c'),
      'h2c',
      'recorded 101 completed',
    ],
    [
      'anything else',
      UPGRADE.replace('websocket', 'TLS/1.0, x'),
      SWITCH.replace('websocket', 'TLS/1.0'),
      'upgrade:tls',
      'recorded 101 completed',
    ],
    ['a tunnel', CONNECT, 'HTTP/1.1 200 Connection established\r\n\r\n', 'connect', 'recorded 200 completed'],
  ])('%s is recorded as far as it was HTTP, and counted from there', (_, ask, answer, protocol, fate) => {
    const feed = new Feed().client(ask).server(`${answer}\x81\x05hello`);
    expect(feed.protocol).toBe(protocol);
    feed.client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual([fate, 'omitted unparsed', 'omitted unparsed', 'omitted unparsed']);
    expect(feed.settlements[0]).toMatchObject({
      clientEndOffset: ask.length,
      serverEndOffset: answer.length,
      turns: 1,
    });
  });

  it('HTTP/2 with prior knowledge is told by its preface, in one piece or byte by byte', () => {
    const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0';
    const whole = new Feed().client(preface);
    const dripped = new Feed();
    for (const byte of preface) dripped.client(byte);
    for (const feed of [whole, dripped]) {
      expect(feed.protocol).toBe('h2');
      feed.server('\0\0\0\x04\0\0\0\0\0').close();
      feed.assertSettled();
      expect(new Set(feed.fates)).toEqual(new Set(['omitted unparsed']));
    }
  });
});

describe('what a client says before its upgrade is answered', () => {
  it('is never read as HTTP when the answer is yes', () => {
    const feed = new Feed().client(`${UPGRADE}${GET}`).client(GET).server(SWITCH).close();
    feed.assertSettled();
    expect(feed.exchanges).toHaveLength(1);
    expect(feed.fates).toEqual(['recorded 101 completed', 'omitted unparsed']);
  });

  it('is read with its own times, turns and offsets when the answer is no', () => {
    const feed = new Feed();
    feed
      .at(5_000)
      .client(`${UPGRADE}GET /a HTTP/1.1\r\n\r\nGET /b HT`)
      .at(9_000)
      .client('TP/1.1\r\n\r\n', true);
    feed.at(20_000).server(`${OK}${OK}${OK}`).close();
    feed.assertSettled();
    expect(feed.exchanges.map((exchange) => exchange.route)).toEqual(['GET /chat', 'GET /a', 'GET /b']);
    expect(feed.exchanges.map((exchange) => exchange.requestEndOffsetUs)).toEqual([0, 0, 4]);
    expect(feed.settlements.map((settled) => settled.turns)).toEqual([1, 0, 1]);
  });

  it('is held again when it asks for an upgrade itself', () => {
    const feed = new Feed()
      .client(`${UPGRADE}${UPGRADE}`)
      .client('\x81\x02hi')
      .server(OK)
      .server(SWITCH)
      .close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded 200 completed', 'recorded 101 completed', 'omitted unparsed']);
    expect(feed.protocol).toBe('websocket');
  });

  it('is held up to a limit, and no longer than the budget has room', () => {
    const flood = Buffer.alloc(LIMITS.heldClientBytes - LIMITS.heldPieceBytes, 0x61);
    const full = new Feed().client(UPGRADE).client(flood).client('b').close();
    full.assertSettled();
    expect(full.protocol).toBe('unparsed');
    const dripping = new Feed().client(UPGRADE);
    for (let count = 0; count < LIMITS.heldClientBytes / LIMITS.heldPieceBytes; count += 1)
      dripping.client('a');
    expect(dripping.protocol).toBe('unparsed');
    const poor = new Feed({ budget: new AssemblyBudget(10_000) }).client(UPGRADE).client(flood).close();
    poor.assertSettled();
    expect(poor.fates).toEqual(['lost body_budget']);
  });

  it('ends with the connection', () => {
    const feed = new Feed().client(`${UPGRADE}GET / HT`).close('client_end');
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded - client_aborted', 'omitted unparsed']);
  });
});
