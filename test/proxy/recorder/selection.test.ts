import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { AssemblyBudget } from '../../../src/http1/budget.ts';
import { BodyRedaction } from '../../../src/redaction/body-redaction.ts';
import { parseBodyRules } from '../../../src/redaction/body-rules.ts';
import { ExchangeKeys } from '../../../src/redaction/identities.ts';
import { Sampling, SkipRules } from '../../../src/redaction/recording-policy.ts';
import { Feed, HASH, latin1 } from './harness.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

function post(body: string | Buffer, lines = 'Content-Type: application/json\r\n'): Buffer {
  const head = `POST /v1/x HTTP/1.1\r\nHost: m\r\n${lines}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.from(body)]);
}

const everything = new SkipRules([]);
const by = (session: readonly string[]) => new ExchangeKeys({ session, client: [] }, HASH);

/** Two sessions, the first in a sample of half and the second not. */
const half = new Sampling(0.5);
const names = Array.from({ length: 50 }, (_, index) => `session-${index}`);
const isIn = (name: string): boolean => half.keepsSession(HASH.ofIdentity('session', name));
const IN = names.find(isIn) ?? '';
const OUT = names.find((name) => !isIn(name)) ?? '';

describe('a request that a rule skips', () => {
  it('is counted with its bytes, and holds nothing', () => {
    const budget = new AssemblyBudget(1 << 20);
    const selection = { skip: new SkipRules(['health', 'path:/v1/x']), sampling: new Sampling(1) };
    const feed = new Feed({ selection, budget });
    feed.client('GET /healthz HTTP/1.1\r\nHost: m\r\n\r\n').server(OK);
    const request = post('x'.repeat(500_000));
    feed.client(request.subarray(0, 300_000));
    expect(budget.usedBytes).toBeLessThan(4_096);
    feed.client(request.subarray(300_000)).server(OK);
    feed.client('GET /other HTTP/1.1\r\nHost: m\r\n\r\n').server(OK).close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['omitted skip_rule', 'omitted skip_rule', 'recorded 200 completed']);
    expect(feed.settlements[1]).toMatchObject({ exchanges: 1, turns: 1 });
  });

  it('stays a replay’s request where it is one', () => {
    const feed = new Feed({
      selection: { skip: new SkipRules(['health']), sampling: new Sampling(0.000_001) },
    });
    feed.client('GET /healthz HTTP/1.1\r\nX-Reprise-Run: r\r\n\r\n').server(OK).close();
    expect(feed.fates).toEqual(['omitted replay_marked']);
  });
});

describe('a sample', () => {
  it('is of whole sessions, known by the head: nothing is held of those that are not in it', () => {
    const budget = new AssemblyBudget(1 << 20);
    const feed = new Feed({
      selection: { skip: everything, sampling: half },
      keys: by(['x-session-id']),
      budget,
    });
    for (const name of [IN, OUT, OUT, IN]) {
      const request = post('x'.repeat(400_000), `X-Session-Id: ${name}\r\n`);
      feed.client(request.subarray(0, 300_000));
      if (name === OUT) expect(budget.usedBytes).toBeLessThan(4_096);
      feed.client(request.subarray(300_000)).server(OK);
    }
    feed.close();
    feed.assertSettled();
    expect(feed.fates).toEqual([
      'recorded 200 completed',
      'omitted sampled_out',
      'omitted sampled_out',
      'recorded 200 completed',
    ]);
  });

  it('is of whole sessions, known by the body: what was held is let go of at the end of the request', () => {
    const budget = new AssemblyBudget(1 << 20);
    const feed = new Feed({
      selection: { skip: everything, sampling: half },
      keys: by(['json:/user']),
      budget,
    });
    for (const name of [OUT, IN]) {
      const padding = 'x'.repeat(100_000);
      feed.client(post(JSON.stringify({ user: name, padding })));
      if (name === OUT) expect(budget.usedBytes).toBeLessThan(4_096);
      else expect(budget.usedBytes).toBeGreaterThan(100_000);
      feed.server(OK);
    }
    feed.close();
    feed.assertSettled();
    expect(feed.fates).toEqual(['omitted sampled_out', 'recorded 200 completed']);
  });

  it('is of whole sessions where a request did not end as well: cut uploads were all recorded', () => {
    const early = 'HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n';
    const fates = (name: string, answer: string) => {
      const selection = { skip: everything, sampling: half };
      const feed = new Feed({ selection, keys: by(['json:/user', 'x-session-id']) });
      const request = post(JSON.stringify({ user: name, padding: 'x'.repeat(1_000) }));
      feed.client(request.subarray(0, -500));
      if (answer !== '') feed.server(answer);
      feed.close('client_reset');
      feed.assertSettled();
      return feed.fates;
    };
    expect(fates(OUT, '')).toEqual(['omitted sampled_out']);
    expect(fates(OUT, early)).toEqual(['omitted sampled_out']);
    expect(fates(IN, '')).toEqual(['recorded - client_aborted']);
    expect(fates(IN, early)).toEqual(['recorded 413 completed']);
  });

  it('is by the head, else of exchanges, where what came of a body says no session', () => {
    const fate = (lines: string, atNs = 0) => {
      const selection = { skip: everything, sampling: half };
      const feed = new Feed({ selection, keys: by(['json:/user', 'x-session-id']) }).at(atNs);
      feed.client(post('{"prompt":"x"}', lines).subarray(0, -4)).close('client_reset');
      feed.assertSettled();
      return feed.fates.join();
    };
    expect(fate(`X-Session-Id: ${OUT}\r\n`)).toBe('omitted sampled_out');
    expect(fate(`X-Session-Id: ${IN}\r\n`)).toBe('recorded - client_aborted');
    const alone = Array.from({ length: 400 }, (_, index) => fate('', index * 1_000));
    const kept = alone.filter((text) => text === 'recorded - client_aborted').length;
    expect(Math.abs(kept - 200)).toBeLessThan(50);
  });

  it('is of exchanges where there is no session', () => {
    const feed = new Feed({ selection: { skip: everything, sampling: new Sampling(0.2, 3) } });
    for (let index = 0; index < 2_000; index += 1) feed.client('GET / HTTP/1.1\r\n\r\n').server(OK);
    feed.close();
    feed.assertSettled();
    expect(Math.abs(feed.exchanges.length - 400)).toBeLessThan(72);
    expect(new Set(feed.fates)).toEqual(new Set(['recorded 200 completed', 'omitted sampled_out']));
  });
});

describe('a body that rules cover', () => {
  const rules = (...texts: string[]) => new BodyRedaction(parseBodyRules(texts), HASH);

  it('is stored covered, with the pointers that did, and with its true size and hash', () => {
    const feed = new Feed({ bodyRedaction: rules('/secret=mask', '/answer=drop') });
    const body = JSON.stringify({ user: 'u', secret: 'the launch code is 0000' });
    const said = '{"answer":"no such thing"}';
    feed.client(post(body, 'Content-Type: application/json\r\nX-Api-Key: k\r\n'));
    feed.server(
      `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${said.length}\r\n\r\n${said}`,
    );
    feed.close();
    const [exchange] = feed.exchanges;
    const stored = latin1(exchange?.request?.body.kept ?? null);
    expect(stored).toHaveLength(body.length);
    expect(stored).not.toContain('launch');
    expect(JSON.parse(stored)).toMatchObject({ user: 'u' });
    expect(exchange?.request?.redacted).toEqual(['x-api-key', '/secret']);
    expect(exchange?.request?.body).toMatchObject({
      bytes: body.length,
      hash: HASH.ofBody(Buffer.from(body)),
    });
    expect(latin1(exchange?.response?.body.kept ?? null)).not.toContain('no such thing');
    expect(exchange?.response?.redacted).toEqual(['/answer']);
  });

  it('is read for facts before it is covered', () => {
    const feed = new Feed({ bodyRedaction: rules('/user=mask', '/model=mask'), keys: by(['json:/user']) });
    feed.client(post('{"model":"llama-3.1","user":"somebody"}')).server(OK).close();
    const [exchange] = feed.exchanges;
    expect(exchange).toMatchObject({ model: 'llama-3.1', session: HASH.ofIdentity('session', 'somebody') });
    expect(latin1(exchange?.request?.body.kept ?? null)).not.toMatch(/llama-3\.1|somebody/);
  });

  it.each<[string, Buffer, string]>([
    ['no JSON', post('{"secret":"launch code'), '!not_json'],
    ['of a type nobody can read', post('launch code', 'Content-Type: image/png\r\n'), '!unknown_type'],
    [
      'coded as nobody knows',
      post('launch code', 'Content-Type: application/json\r\nContent-Encoding: zip\r\n'),
      '!',
    ],
  ])('is dropped when it is %s, and the exchange recorded without it', (_, request, reason) => {
    const feed = new Feed({ bodyRedaction: rules('/secret=mask') });
    feed.client(request).server(OK).close();
    feed.assertSettled();
    const [exchange] = feed.exchanges;
    expect(exchange?.request?.body.kept).toBeNull();
    expect(exchange?.request?.body.bytes).toBeGreaterThan(10);
    expect(exchange?.request?.redacted).toEqual([expect.stringContaining(reason)]);
  });

  it('is dropped when it was cut, by a cap or by the end of the connection', () => {
    const body = JSON.stringify({ secret: 'launch code'.repeat(1_000) });
    const policy = { bodies: 'all', requestBodyBytes: 100, responseBodyBytes: 100 } as const;
    const feed = new Feed({ bodyRedaction: rules('/secret=mask'), policy });
    feed.client(post(body)).server(OK);
    feed.client(post(body).subarray(0, 200)).close();
    feed.assertSettled();
    expect(feed.exchanges.map(({ request }) => request?.body)).toMatchObject([
      { kept: null, truncated: true, bytes: body.length },
      { kept: null, truncated: true },
    ]);
  });

  it('is packed again where it was compressed', () => {
    const feed = new Feed({ bodyRedaction: rules('/secret=mask') });
    const body = gzipSync(JSON.stringify({ secret: 'launch code' }));
    feed
      .client(post(body, 'Content-Type: application/json\r\nContent-Encoding: gzip\r\n'))
      .server(OK)
      .close();
    const [exchange] = feed.exchanges;
    expect(exchange?.request?.redacted).toEqual(['/secret']);
    expect(exchange?.request?.body.bytes).toBe(body.length);
  });
});
