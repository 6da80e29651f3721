import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { AssemblyBudget } from '../../../src/http1/budget.ts';
import type { BodyPolicy } from '../../../src/redaction/recording-policy.ts';
import { Feed, HASH, latin1 } from './harness.ts';

const OPEN = LIMITS.openExchangeBytes;
const ALL: BodyPolicy = { bodies: 'all', requestBodyBytes: 1_000, responseBodyBytes: 100 };

function post(body: string | Buffer, extra = ''): string {
  return `POST /p HTTP/1.1\r\n${extra}Content-Length: ${body.length}\r\n\r\n`;
}

const answer = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** Bytes that differ from their neighbours, so that a swapped piece would show. */
function pattern(bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 1) buffer[at] = (at * 31 + (at >> 8)) & 0xff;
  return buffer;
}

describe('what is kept of bodies', () => {
  it.each([
    ['requests', 'ask', '<none>'],
    ['all', 'ask', 'told'],
    ['none', '<none>', '<none>'],
  ] as const)('under policy %s', (bodies, request, response) => {
    const feed = new Feed({ policy: { ...ALL, bodies } })
      .client(`${post('ask')}ask`)
      .server(answer('told'))
      .close();
    feed.assertSettled();
    const exchange = feed.exchanges[0];
    expect(latin1(exchange?.request?.body.kept ?? null)).toBe(request);
    expect(latin1(exchange?.response?.body.kept ?? null)).toBe(response);
    // Size, hash and times are taken whatever is kept, and nothing was cut.
    expect(exchange?.request?.body).toMatchObject({
      bytes: 3,
      truncated: false,
      hash: HASH.ofBody(Buffer.from('ask')),
    });
    expect(exchange?.response?.body).toMatchObject({
      bytes: 4,
      truncated: false,
      hash: HASH.ofBody(Buffer.from('told')),
    });
    expect(exchange?.requestChunks).toEqual([0, 3]);
    expect(exchange?.responseChunks).toEqual([1, 4]);
  });

  it.each(['none', 'requests'] as const)(
    'under policy %s, the rest is counted and hashed, and not copied',
    (bodies) => {
      const body = pattern(4_000_000);
      const feed = new Feed({ policy: { ...ALL, bodies } }).client(post(body)).client(body);
      feed.server(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`).server(body.subarray(0, -1));
      const stored = bodies === 'none' ? 0 : ALL.requestBodyBytes;
      expect(feed.context.budget.usedBytes).toBeLessThan(stored + OPEN + 16_000);
      feed.server(body.subarray(-1)).close();
      feed.assertSettled();
      const whole = { bytes: body.length, hash: HASH.ofBody(body) };
      expect(feed.exchanges[0]).toMatchObject({ request: { body: whole }, response: { body: whole } });
    },
  );

  it('is a prefix up to the cap, with true size, hash of all and the mark', () => {
    for (const [bytes, truncated] of [
      [1_000, false],
      [1_001, true],
      [70_000, true],
    ] as const) {
      const body = pattern(bytes);
      const feed = new Feed({ policy: ALL }).client(post(body)).client(body).server(answer('')).close();
      feed.assertSettled();
      const kept = feed.exchanges[0]?.request?.body;
      expect(kept).toMatchObject({ bytes, truncated, hash: HASH.ofBody(body) });
      expect(Buffer.from(kept?.kept ?? []).equals(body.subarray(0, 1_000))).toBe(true);
    }
  });

  it.each([
    ['a small body of known length', 3_000, false, 7],
    ['a large body of known length', 3_000_000, false, 65_536],
    ['a body of unknown length', 700_000, true, 4_099],
    ['a body dripping in', 20_000, true, 1],
  ])('is the same bytes for %s, in few buffers and none left over', (_, bytes, chunked, pieceBytes) => {
    const body = pattern(bytes);
    const feed = new Feed({ policy: { ...ALL, requestBodyBytes: LIMITS.requestBodyBytes } });
    feed.client(chunked ? 'POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n' : post(body));
    for (let at = 0; at < bytes; at += pieceBytes) {
      const piece = body.subarray(at, at + pieceBytes);
      feed.client(
        chunked
          ? Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')])
          : piece,
      );
    }
    if (chunked) feed.client('0\r\n\r\n');
    const times = 16 * Math.min(LIMITS.chunkTimesPerBody, Math.ceil(bytes / pieceBytes));
    // Kept in blocks, not chunk by chunk: what is held is near what came.
    expect(feed.context.budget.usedBytes).toBeLessThan(2 * bytes + OPEN + 8_192 + times);
    feed.server(answer('')).close();
    feed.assertSettled();
    const kept = feed.exchanges[0]?.request?.body;
    expect(kept).toMatchObject({ bytes, truncated: false, hash: HASH.ofBody(body) });
    expect(Buffer.from(kept?.kept ?? []).equals(body)).toBe(true);
  });

  it('does not reserve what a length only announces', () => {
    const feed = new Feed({ policy: { ...ALL, requestBodyBytes: LIMITS.requestBodyBytes } });
    feed.client(`POST /p HTTP/1.1\r\nContent-Length: ${2 ** 40}\r\n\r\nabc`);
    expect(feed.context.budget.usedBytes).toBeLessThan(10_000);
    feed.close();
    feed.assertSettled();
    expect(feed.exchanges[0]?.request?.body).toMatchObject({ bytes: 3, truncated: true });
  });
});

describe('chunk times', () => {
  it('count wire bytes by arrival, those of one instant together', () => {
    const feed = new Feed().client('GET / HTTP/1.1\r\n\r\n').at(10_000);
    feed
      .server('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n')
      .at(20_000)
      .server('1\r\nb')
      .at(20_000);
    feed.server('\r\n').at(35_000).server('0\r\nT: v\r\n\r\n');
    expect(feed.exchanges[0]?.responseChunks).toEqual([10, 6, 20, 6, 35, 11]);
  });

  it('are bounded, the last one noted taking the rest', () => {
    const feed = new Feed().client('GET / HTTP/1.1\r\n\r\n').server('HTTP/1.1 200 OK\r\n\r\n');
    for (let count = 0; count < LIMITS.chunkTimesPerBody + 100; count += 1) feed.server('x');
    feed.serverEnd();
    const times = feed.exchanges[0]?.responseChunks ?? [];
    expect(times).toHaveLength(2 * LIMITS.chunkTimesPerBody);
    expect(times.at(-1)).toBe(101);
    expect(feed.exchanges[0]?.response?.body.bytes).toBe(LIMITS.chunkTimesPerBody + 100);
  });
});

describe('the shared budget', () => {
  it('cuts a body when it is spent, counts that, and is whole again afterwards', () => {
    const budget = new AssemblyBudget(OPEN + 2_000);
    const feed = new Feed({ budget }).client(`${post('a'.repeat(5_000))}`);
    for (let count = 0; count < 5; count += 1) feed.client('a'.repeat(1_000));
    feed.server(answer('')).close();
    feed.assertSettled();
    expect(budget.refusals).toBe(1);
    expect(feed.exchanges[0]?.request?.body).toMatchObject({ bytes: 5_000, truncated: true });
  });

  it('is charged for each request in a pipeline, and for the times of a body past the first few', () => {
    const budget = new AssemblyBudget(20 * OPEN);
    const feed = new Feed({ budget });
    for (let count = 0; count < 30; count += 1) feed.client('GET / HTTP/1.1\r\n\r\n');
    expect(feed.settlements[0]).toMatchObject({ kind: 'lost', because: 'body_budget' });
    const timed = new Feed({ budget });
    timed.client('GET / HTTP/1.1\r\n\r\n').server('HTTP/1.1 200 OK\r\n\r\n');
    const before = budget.usedBytes;
    for (let count = 0; count < 5_000; count += 1) timed.server('x');
    expect(budget.usedBytes - before).toBeGreaterThanOrEqual(2 * 5_000);
    for (const one of [timed, feed]) one.close('server_end');
    timed.assertSettled();
    // Where the budget ended, later chunks count for the last one noted: none is forgotten.
    const times = timed.exchanges[0]?.responseChunks ?? [];
    expect(times.filter((_, at) => at % 2 === 1).reduce((sum, bytes) => sum + bytes, 0)).toBe(5_000);
    expect(times.length).toBeLessThan(2 * 5_000);
  });

  it('loses an exchange whose head it has no room for, and reads on behind it', () => {
    const feed = new Feed({ budget: new AssemblyBudget(OPEN + 200) });
    feed.client(`GET /x HTTP/1.1\r\nX: ${'a'.repeat(300)}\r\n\r\n`).server(answer('ok'));
    feed.client('GET /y HTTP/1.1\r\n\r\n').server(answer('ok')).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['lost body_budget', 'recorded 200 completed']);
    expect(feed.settlements[0]).toMatchObject({ exchanges: 1, turns: 1 });
  });

  it('loses a head that comes in pieces it has no room for, and picks up at a later turn', () => {
    const feed = new Feed({ budget: new AssemblyBudget(OPEN + 1_500) });
    feed
      .client(`GET /x HTTP/1.1\r\nX: ${'a'.repeat(2_000)}`)
      .client('a'.repeat(2_000))
      .server(answer('ok'));
    feed.client('GET /y HTTP/1.1\r\n\r\n').server(answer('ok'));
    expect(feed.fates).toEqual(['lost body_budget', 'lost body_budget', 'recorded 200 completed']);
    // What is unreadable later on is that, and not for want of room.
    feed.client('no request line\r\n\r\n').close();
    feed.assertSettled();
    expect(feed.protocol).toBe('unparsed');
  });
});

describe('what is not recorded although it was read', () => {
  it('is a replay of ours, told by its marker in whatever case', () => {
    const feed = new Feed().client(`${post('ask', 'X-Reprise-Run: r1\r\n')}ask`).server(answer('told'));
    feed.client(`${post('ask', 'x-reprise-runner: r1\r\n')}ask`).server(answer('told'));
    feed.client(post('ask', 'x-reprise-run:\r\n')).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['omitted replay_marked', 'recorded 200 completed', 'omitted replay_marked']);
    expect(feed.settlements.map((settled) => settled.turns)).toEqual([1, 1, 1]);
  });

  it('takes nothing from the budget for a replay', () => {
    const feed = new Feed({ budget: new AssemblyBudget(OPEN + 10) }).client(
      `${post('ask', 'X-Reprise-Run: r1\r\n')}ask`,
    );
    feed.server(answer('told')).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['omitted replay_marked']);
  });

  it('is an exchange whose redaction failed: nothing of it is stored', () => {
    const failing = {
      nameable: (target: string) => target,
      requestHead: (head: Uint8Array) => {
        if (Buffer.from(head).includes('/bad')) throw new TypeError('broken rule');
        return { bytes: Buffer.from(head), names: [] };
      },
      responseHead: (head: Uint8Array) => ({ bytes: Buffer.from(head), names: [] }),
      trailers: () => {
        throw new Error('broken rule');
      },
    };
    const failures: string[] = [];
    const onFailure = (what: string, error: unknown) => failures.push(`${what} ${(error as Error).name}`);
    const feed = new Feed({ redaction: failing as never, onFailure })
      .client('GET /bad HTTP/1.1\r\n\r\n')
      .server(answer('a'));
    feed.client('GET /good HTTP/1.1\r\n\r\n').server(answer('b'));
    feed
      .client('GET /good HTTP/1.1\r\n\r\n')
      .server('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\r\n\r\n');
    feed.close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['lost redaction_failed', 'recorded 200 completed', 'lost redaction_failed']);
    expect(failures).toEqual(['a head TypeError', 'a head Error']);
  });

  it('masks what redaction masks, in heads and trailers, and says so', () => {
    const feed = new Feed().client('GET /?api_key=abc HTTP/1.1\r\nAuthorization: Bearer abc\r\n\r\n');
    feed
      .server(
        'HTTP/1.1 200 OK\r\nSet-Cookie: s=abc\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Token: abc\r\n\r\n',
      )
      .close();
    feed.assertSettled();
    const { request, response } = feed.exchanges[0] ?? {};
    expect(request?.redacted).toEqual(['?api_key', 'authorization']);
    expect(response?.redacted).toEqual(['set-cookie', 'x-token']);
    for (const bytes of [request?.head, response?.head, response?.trailers]) {
      expect(latin1(bytes ?? null)).not.toContain('abc');
    }
  });
});
