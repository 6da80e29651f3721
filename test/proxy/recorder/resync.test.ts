import { describe, expect, it } from 'vitest';
import { Feed } from './harness.ts';

const GET = 'GET /a HTTP/1.1\r\nHost: m\r\n\r\n';
const POST = 'POST /b HTTP/1.1\r\nContent-Length: 30\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

describe('after a gap', () => {
  it('the open exchange is lost for the reason of the gap, and the next turn is recorded', () => {
    const feed = new Feed().client(GET).server(OK).client(GET).gap('queue_bytes', 100, 900);
    feed.client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded 200 completed', 'lost queue_bytes', 'recorded 200 completed']);
    expect(feed.settlements[1]).toMatchObject({
      exchanges: 1,
      turns: 1,
      clientEndOffset: 2 * GET.length + 100,
      serverEndOffset: OK.length + 900,
    });
  });

  it('the rest of the turn is lost with it, on both sides, as it comes', () => {
    const feed = new Feed().client(POST).gap('queue_bytes', 10, 0);
    feed.client(GET, false).server(OK).server(OK);
    expect(feed.fates).toEqual(Array(4).fill('lost queue_bytes'));
    feed.client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.fates.at(-1)).toBe('recorded 200 completed');
  });

  it('a turn that does not begin with a whole request line is not taken for one', () => {
    const cut = GET.slice(1);
    for (const start of ['rest of a body\r\n', 'GET /a HTT', 'GET /a\r\n', `\r\n${GET}`, ` ${GET}`, cut]) {
      const feed = new Feed()
        .gap('quota', 5, 5)
        .client(start, true)
        .server(OK)
        .client(GET)
        .server(OK)
        .close();
      feed.assertSettled();
      expect(feed.fates).toEqual(['lost quota', 'lost quota', 'lost quota', 'recorded 200 completed']);
    }
  });

  it('a turn whose answer is the rest of an earlier one is lost, and so is one with an open request before it', () => {
    const feed = new Feed().gap('quota', 5, 5).client(GET, true).server('tail').client(GET, true, false);
    feed.server(OK).server(OK).client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.exchanges).toHaveLength(1);
    expect(feed.settlements.at(-1)?.clientEndOffset).toBe(5 + 3 * GET.length);
  });

  it('a client that pipelines is recorded again from where nothing is open', () => {
    const feed = new Feed()
      .client(GET + GET)
      .server(OK)
      .server(OK);
    feed.gap('quota', 5, 5).client(GET, true, false).server(OK);
    feed
      .client(GET + GET, true, true)
      .server(OK)
      .server(OK)
      .close();
    feed.assertSettled();
    expect(feed.fates).toEqual([
      ...Array(2).fill('recorded 200 completed'),
      ...Array(3).fill('lost quota'),
      ...Array(2).fill('recorded 200 completed'),
    ]);
  });

  it('bytes that turn out to be no request cost the turn, not the connection', () => {
    const feed = new Feed().gap('quota', 0, 0).client('GET /a HTTP/1.1\r\nno colon\r\n\r\n', true);
    feed
      .client(GET, true)
      .server('HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n')
      .client(GET)
      .server(OK)
      .close();
    feed.assertSettled();
    expect(feed.protocol).toBe('http/1.1');
    expect(feed.fates.at(-1)).toBe('recorded 200 completed');
    expect(feed.exchanges).toHaveLength(1);
  });

  it('a connection that has proved itself is given up for good when it cannot be read', () => {
    const feed = new Feed()
      .gap('quota', 1, 1)
      .client(GET, true)
      .server(OK)
      .client('\0\0\n')
      .client(GET, true)
      .server(OK);
    feed.close();
    feed.assertSettled();
    expect(feed.protocol).toBe('unparsed');
    expect(feed.exchanges).toHaveLength(1);
  });

  it('an unanswered candidate is lost at the end, an answered one is recorded', () => {
    const unanswered = new Feed().gap('quota', 1, 1).client(GET, true).close('server_end');
    unanswered.assertSettled();
    expect(unanswered.fates).toEqual(['lost quota', 'lost quota']);
    const cut = new Feed()
      .gap('quota', 1, 1)
      .client(GET, true)
      .server('HTTP/1.1 200 OK\r\n')
      .close('server_end');
    cut.assertSettled();
    expect(cut.fates).toEqual(['lost quota', 'recorded - upstream_failed']);
  });

  it('forgets the doubt about a body that was withheld', () => {
    const ask = 'POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n';
    const feed = new Feed()
      .client(ask)
      .server('HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n')
      .gap('quota', 9, 9);
    feed.client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['recorded 417 completed', 'lost quota', 'recorded 200 completed']);
  });

  it('a gap without bytes loses what is open', () => {
    const feed = new Feed().client(GET).gap('crash_gap', 0, 0).close('shutdown');
    feed.assertSettled();
    expect(feed.settlements).toMatchObject([{ kind: 'lost', because: 'crash_gap', exchanges: 1, turns: 1 }]);
  });

  it('a later gap brings its own reason', () => {
    const feed = new Feed().gap('quota', 1, 0).server('x').gap('queue_age', 1, 0).server('y').close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['lost quota', 'lost quota', 'lost queue_age', 'lost queue_age']);
  });

  it('an opaque connection stays opaque, its shed bytes lost and the others omitted', () => {
    const feed = new Feed().client('\0\0\n').gap('queue_bytes', 50, 60).client(GET, true).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual([
      'omitted unparsed',
      'lost queue_bytes',
      'omitted unparsed',
      'omitted unparsed',
    ]);
  });
});

describe('a connection first heard of in its middle', () => {
  const start = { reason: 'writer_down', clientOffset: 1_000, serverOffset: 5_000 } as const;

  it('is settled from the offsets it was met at, and recorded from its next turn', () => {
    const feed = new Feed({}, start).server('tail').client(GET).server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['lost writer_down', 'recorded 200 completed']);
    expect(feed.settlements.map((settled) => [settled.clientEndOffset, settled.serverEndOffset])).toEqual([
      [1_000, 5_004],
      [1_000 + GET.length, 5_004 + OK.length],
    ]);
  });

  it('says nothing when nothing more comes', () => {
    const feed = new Feed({}, start).close();
    feed.assertSettled();
    expect(feed.settlements).toEqual([]);
  });
});
