import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Message } from '../../src/core/exchange.ts';
import { headerPairsOf, parseRequestHead } from '../../src/core/headers.ts';
import { openForReading } from '../../src/storage/capture/sqlite.ts';
import { captureOf } from '../support/captures.ts';
import {
  exchangeOf,
  partOfBody,
  type RequestParts,
  requestMessage,
  TEST_EPOCH_US,
} from '../support/exchanges.ts';
import { documentOf, replayHere, serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';

describe('a replay of every kind of request', () => {
  const random = Buffer.from(
    Array.from({ length: 40_000 }, (_, at) => createHash('md5').update(`${at}`).digest()[0] ?? 0),
  );
  const kinds: readonly RequestParts[] = [
    {
      method: 'GET',
      target: '/v2/health/live?a=1&a=%2F&b',
      headers: [
        ['Host', 'prod.internal'],
        ['accept', '*/*'],
      ],
      body: '',
    },
    {
      headers: [
        ['X-B', '1'],
        ['host', 'prod.internal'],
        ['x-a', '2'],
        ['X-B', '3'],
        ['X-Empty', ''],
        ['X-High', 'M\u00fcller'],
        ['Content-Length', '12'],
      ],
      body: 'twelve bytes',
    },
    {
      target: '/v1/bin',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Type', 'application/octet-stream'],
        ['Content-Length', String(random.length)],
        ['Inference-Header-Content-Length', '17'],
      ],
      body: random,
    },
    {
      headers: [
        ['Host', 'prod.internal'],
        ['Transfer-Encoding', 'chunked'],
        ['Content-Encoding', 'gzip'],
      ],
      body: gzipSync(random),
    },
    {
      method: 'PUT',
      headers: [
        ['Host', 'prod.internal'],
        ['Connection', 'keep-alive, X-Hop'],
        ['X-Hop', 'gone'],
        ['X-Stays', 'here'],
        ['Keep-Alive', 'timeout=4'],
        ['Content-Length', '2'],
      ],
      body: '{}',
    },
    { method: 'HEAD', target: '/x', headers: [['Host', 'prod.internal']], body: '' },
    {
      method: 'DELETE',
      target: '/x/y',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Length', '3'],
      ],
      body: 'abc',
    },
    {
      method: 'POST',
      target: '/empty',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Length', '0'],
      ],
      body: '',
    },
    {
      target: '/large',
      headers: [
        ['Host', 'prod.internal'],
        ['Content-Length', '1048576'],
      ],
      body: Buffer.alloc(1_048_576, 'large '),
    },
  ];
  /** Written by whoever sends a message, or belonging to one connection only. */
  const EXCEPTED = new Set([
    'host',
    'connection',
    'keep-alive',
    'content-length',
    'transfer-encoding',
    'x-hop',
    'x-reprise-run',
  ]);
  const kept = (pairs: readonly (readonly [string, string])[]) =>
    pairs.filter(([name]) => !EXCEPTED.has(name.toLowerCase()));

  it('sends method, target, body and the list of headers as they were recorded, once and in order', async () => {
    const server = await serverOf();
    const exchanges = kinds.map((parts, at) => {
      const headers = [...(parts.headers ?? []), ['X-Nth', `${at}`] as const];
      const request = requestMessage({ ...parts, headers });
      return exchangeOf({ arrivalUs: TEST_EPOCH_US + at * 20_000, request });
    });
    const result = await replayHere(captureOf(exchanges), server.url, ['--json']);
    const document = documentOf(result);
    expect(document).toMatchObject({
      planned: kinds.length,
      sent: kinds.length,
      completed: kinds.length,
      failed: 0,
      refused: 0,
      unreplayable: 0,
      fidelity: { unordered: 0 },
    });
    expect(server.requests).toHaveLength(kinds.length);
    // On a busy machine two connections are read in another order than they were written in.
    const nthOf = ({ headers }: LoggedRequest) => Number(headers.find(([name]) => name === 'X-Nth')?.[1]);
    const received = server.requests.toSorted((a, b) => nthOf(a) - nthOf(b));
    for (const [at, got] of received.entries()) {
      const message = exchanges[at]?.request as Message;
      const head = parseRequestHead(message.head);
      expect([got.method, got.target]).toEqual([head.method, head.target]);
      expect(kept(got.headers)).toEqual(kept(headerPairsOf(message.head)));
      expect(got.body.equals(message.body.kept ?? Buffer.alloc(0))).toBe(true);
      const names = got.headers.map(([name]) => name.toLowerCase());
      expect(names.includes('transfer-encoding')).toBe(
        head.headers.some(([name]) => /^transfer-encoding$/i.test(name)),
      );
      expect(got.headers.filter(([name]) => name === 'x-reprise-run')).toEqual([
        ['x-reprise-run', document.run],
      ]);
      expect(got.headers.filter(([name]) => /^host$/i.test(name))).toEqual([
        ['host', `127.0.0.1:${server.port}`],
      ]);
    }
  });

  it('puts the base path in front, the recorded host and added headers in, and masked values out', async () => {
    const server = await serverOf();
    const request: Message = {
      ...requestMessage({
        target: '/x?key=****&n=1',
        headers: [
          ['Authorization', '****'],
          ['Host', 'prod.internal:8000'],
          ['Cookie', '****'],
          ['Content-Length', '2'],
        ],
        body: '{}',
      }),
      redacted: ['authorization', 'cookie', '?key'],
    };
    const args = ['--json', '--host', 'recorded', '--header', 'authorization: env:STAGING_TOKEN'];
    const result = await replayHere(captureOf([exchangeOf({ request })]), `${server.url}/base/`, args, {
      env: { STAGING_TOKEN: 'Bearer s3cret' },
    });
    expect(server.requests[0]?.target).toBe('/base/x?key=****&n=1');
    const headers = server.requests[0]?.headers ?? [];
    expect(headers.filter(([name]) => /^(host|authorization|cookie)$/i.test(name))).toEqual(
      expect.arrayContaining([
        [expect.stringMatching(/host/i), 'prod.internal:8000'],
        ['authorization', 'Bearer s3cret'],
      ]),
    );
    expect(headers.some(([name]) => /^cookie$/i.test(name))).toBe(false);
    expect(JSON.parse(result.stdout)).toMatchObject({
      audit: {
        maskedHeaders: { authorization: 1, cookie: 1 },
        maskedQueryKeys: { key: 1 },
        maskedRequests: 1,
      },
      options: { addedHeaders: ['authorization'], host: 'recorded' },
    });
    const stored = readdirSync(result.out).map((file) => readFileSync(join(result.out, file), 'latin1'));
    expect(stored.length).toBeGreaterThan(1);
    expect(result.stdout + stored.join()).not.toContain('s3cret');
  });

  it('counts what it leaves out, by reason', async () => {
    const server = await serverOf();
    const whole = requestMessage();
    const exchanges = [
      exchangeOf({}),
      exchangeOf({ request: { ...whole, body: partOfBody(Buffer.alloc(100, 'x'), 10) } }),
      exchangeOf({ request: { ...whole, body: partOfBody(Buffer.alloc(100, 'x'), null) } }),
      exchangeOf({ outcome: 'client_aborted', requestEndOffsetUs: null, status: null }),
      exchangeOf({
        request: requestMessage({
          headers: [
            ['Expect', '100-continue'],
            ['Content-Length', '2'],
          ],
          body: '{}',
        }),
      }),
      exchangeOf({
        request: {
          ...requestMessage({ headers: [['Transfer-Encoding', 'chunked']], body: '{}' }),
          trailers: Buffer.from('X: 1\r\n'),
        },
      }),
      exchangeOf({ outcome: 'upstream_failed', status: null }),
      exchangeOf({ status: 500 }),
    ].map((exchange, at) => ({ ...exchange, arrivalUs: TEST_EPOCH_US + at * 1_000 }));
    const result = await replayHere(captureOf(exchanges), server.url, ['--json']);
    expect(documentOf(result)).toMatchObject({
      recorded: 8,
      planned: 3,
      sent: 3,
      unreplayable: 2,
      skipped: { truncated_request: 1, no_payload: 1, incomplete_request: 1 },
      audit: { unreplayableByReason: { expect_header: 1, trailers: 1 } },
    });
    expect(server.requests).toHaveLength(3);
  });
});

it('keeps of each request the size of the body that was sent, whatever was changed in it', async () => {
  const capture = captureOf(
    Array.from({ length: 20 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 1_000,
        request: requestMessage({
          target: '/v1/chat/completions',
          body: JSON.stringify({
            messages: [{ content: `prompt ${at}` }],
            request_id: `r${at}`,
            stream: true,
            sent_at: '2020-01-01T00:00:00Z',
          }),
        }),
      }),
    ),
  );
  const server = await serverOf();
  const changes = ['--rewrite', 'time=/sent_at,usage'];
  const run = await replayHere(capture, server.url, [
    ...[
      '--json',
      '--scaling',
      'amplify,jitter=10ms,perturb=json:/messages/0/content',
      '--multiplier',
      '2.5',
      ...changes,
    ],
  ]);
  const sentBytes = server.requests.reduce((sum, { body }) => sum + body.length, 0);
  const rows = openForReading(join(run.out, 'run.sqlite'));
  const kept = rows.prepare<[], { bytes: number }>('SELECT sum(request_bytes) AS bytes FROM send').get();
  rows.close();
  expect(server.requests.length).toBeGreaterThan(40);
  expect(kept).toEqual({ bytes: sentBytes });
  expect(documentOf(run).fidelity.mixDistance).toBe(0);
  const ids = server.requests.map(
    ({ body }) => (JSON.parse(String(body)) as { request_id: string }).request_id,
  );
  expect(new Set(ids).size).toBe(ids.length);
});
