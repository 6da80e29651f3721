import { describe, expect, it } from 'vitest';
import { Feed, HASH } from './harness.ts';

const GET = 'GET /v2/health/ready HTTP/1.1\r\nHost: m\r\n\r\n';
const POST = 'POST /v2/models/bert/infer HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('the end of a connection', () => {
  const CUT = 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok';
  const STREAM = 'HTTP/1.1 200 OK\r\n\r\nok';

  it.each([
    ['the client left before any answer', `${GET}`, '', 'client_reset', 'recorded - client_aborted'],
    ['the client left before the answer ended', GET, CUT, 'client_end', 'recorded 200 client_aborted'],
    [
      'the client left in a body of unknown length',
      GET,
      STREAM,
      'client_reset',
      'recorded 200 client_aborted',
    ],
    ['the client left in its own body', `${POST}he`, '', 'client_end', 'recorded - client_aborted'],
    ['the upstream left before it answered', GET, '', 'server_end', 'recorded - upstream_failed'],
    ['the upstream left in its head', GET, 'HTTP/1.1 200 O', 'server_end', 'recorded - upstream_failed'],
    ['the upstream cut its answer', GET, CUT, 'server_reset', 'recorded 200 upstream_failed'],
    [
      'the upstream reset a body of unknown length',
      GET,
      STREAM,
      'server_reset',
      'recorded 200 upstream_failed',
    ],
    ['the upstream ended a body of unknown length', GET, STREAM, 'server_end', 'recorded 200 completed'],
    ['half a head was all there was', 'GET / HT', '', 'client_end', 'omitted unparsed'],
    ['we cut it at the drain deadline', GET, CUT, 'shutdown', 'lost shutdown_timeout'],
  ] as const)('when %s', (_, client, server, how, fate) => {
    const feed = new Feed().client(client);
    if (server !== '') feed.server(server);
    feed.close(how);
    feed.assertSettled();
    expect(feed.fates).toEqual([fate]);
  });

  it('marks a body that was cut, with what came of it', () => {
    const feed = new Feed().client(`${POST}he`).close('client_reset');
    expect(feed.exchanges[0]?.requestEndOffsetUs).toBeNull();
    expect(feed.exchanges[0]?.response).toBeNull();
    expect(feed.exchanges[0]?.request?.body).toMatchObject({ bytes: 2, truncated: true });
    expect(feed.exchanges[0]?.request?.body.hash).toEqual(HASH.ofBody(Buffer.from('he')));
  });

  it('goes by who ended it first, whoever closed it in the end', () => {
    const left = new Feed().client(GET).server(CUT).clientEnd().close('server_reset');
    expect(left.fates).toEqual(['recorded 200 client_aborted']);
    const failed = new Feed().client(GET).server(CUT).serverEnd().close('client_end');
    expect(failed.fates).toEqual(['recorded 200 upstream_failed']);
  });

  it('lets a client that half-closed have its answer', () => {
    const feed = new Feed().client(GET).clientEnd().server(OK).close('server_end');
    expect(feed.fates).toEqual(['recorded 200 completed']);
    const stream = new Feed().client(GET).clientEnd().server(STREAM).close('server_end');
    expect(stream.fates).toEqual(['recorded 200 completed']);
  });

  it('counts an early answer as one, and an answer to a half request as the abort it was', () => {
    const refused = 'HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n';
    const early = new Feed().client(`${POST}he`).server(refused).close('client_end');
    expect(early.fates).toEqual(['recorded 413 completed']);
    expect(early.exchanges[0]?.request?.body.truncated).toBe(true);
    const untold = new Feed()
      .client(`${POST}he`)
      .server('HTTP/1.1 413 Too Large\r\n\r\nno')
      .close('server_end');
    expect(untold.fates).toEqual(['recorded 413 completed']);
    const half = new Feed().client(`${POST}he`).clientEnd().server(refused).close('server_end');
    expect(half.fates).toEqual(['recorded 413 client_aborted']);
  });

  it('settles every request that was still waiting, each with its own bytes', () => {
    const feed = new Feed().client(`${GET}${GET}${POST}he`).server(`${OK}HTTP/1.1 500`).close('server_end');
    feed.assertSettled();
    expect(feed.fates).toEqual([
      'recorded 200 completed',
      'recorded - upstream_failed',
      'recorded - upstream_failed',
    ]);
    expect(feed.settlements.map((settled) => settled.clientEndOffset)).toEqual([
      GET.length,
      2 * GET.length,
      2 * GET.length + POST.length + 2,
    ]);
  });

  it('says nothing of a connection on which nothing was said, nor after it', () => {
    const feed = new Feed().close('client_end');
    feed.client(GET).server(OK).gap('quota', 1, 1).close('server_end');
    expect(feed.settlements).toEqual([]);
  });
});

describe('a client that left in the middle of its answer', () => {
  it('is recorded with when it left, and not with the last byte that it got', () => {
    const begun =
      'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n';
    const feed = new Feed()
      .at(0)
      .client(GET)
      .at(4_000_000)
      .server(begun)
      .at(2_002_000_000)
      .close('client_reset');
    expect(feed.exchanges[0]).toMatchObject({
      outcome: 'client_aborted',
      lastByteOffsetUs: 4_000,
      clientLeftOffsetUs: 2_002_000,
    });
  });

  it('left no exchange that was over before', () => {
    const feed = new Feed().client(`${GET}${GET}`).server(OK).close('client_end');
    expect(feed.exchanges.map(({ clientLeftOffsetUs }) => clientLeftOffsetUs !== null)).toEqual([
      false,
      true,
    ]);
  });
});

describe('a client that left before there was an answer', () => {
  it('is recorded with when it left, since that is all that tells how long it waited', () => {
    const feed = new Feed().client(GET).close('client_reset');
    expect(feed.exchanges[0]).toMatchObject({
      outcome: 'client_aborted',
      firstByteOffsetUs: null,
      lastByteOffsetUs: 1,
      clientLeftOffsetUs: 1,
    });
    const failed = new Feed().client(GET).close('server_reset');
    expect(failed.exchanges[0]).toMatchObject({
      outcome: 'upstream_failed',
      lastByteOffsetUs: null,
      clientLeftOffsetUs: null,
    });
  });
});
