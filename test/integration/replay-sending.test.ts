import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { headerValue } from '../../src/core/headers.ts';
import type { ConnectionsDocument } from '../../src/documents/connections.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { answer, RawServer } from '../support/raw-server.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

describe('a replay against a unix socket, by two senders, on connections as recorded', () => {
  it('sends what it was told to, waits for connections in scheduled latency alone, and reports both sides', async () => {
    const path = join(temporaryDirectory(), 'model.sock');
    const server = await RawServer.start((_request, socket) => {
      setTimeout(() => socket.write(answer()), 15);
    }, path);
    const exchanges = Array.from({ length: 40 }, (_, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + at * 1_000,
        connection: at % 5,
        request: requestMessage({
          target: `/v1/models/m/infer?n=${at}`,
          headers: [
            ['Host', 'prod.internal'],
            ['X-Debug', '1'],
            ['Content-Length', '13'],
          ],
          body: '{"inputs":[]}',
        }),
      }),
    );
    const result = await replayHere(captureOf(exchanges), `unix:${path}`, [
      ...['--json', '--threads', '2', '--connections', 'recorded,max-age=1h'],
      ...['--rewrite', 'path=/v1=/v2', '--header', 'x-debug:', '--host', 'models.staging:8000'],
    ]);
    await server.close();
    const document = documentOf(result) as ReplayDocument & { connections: ConnectionsDocument };
    expect(document).toMatchObject({ target: `unix:${path}`, planned: 40, sent: 40, completed: 40 });
    const ns = server.requests.map(({ target, headers }) => {
      expect(headerValue(headers, 'host')).toBe('models.staging:8000');
      expect(headerValue(headers, 'x-debug')).toBeNull();
      return Number(/^\/v2\/models\/m\/infer\?n=(\d+)$/.exec(target)?.[1]);
    });
    expect(ns.toSorted((a, b) => a - b)).toEqual(exchanges.map((_, at) => at));
    for (const { connection, target } of server.requests) {
      const others = server.requests.filter((each) => each.connection === connection);
      const lane = (text: string) => Number(text.split('n=')[1]) % 5;
      expect(others.every((each) => lane(each.target) === lane(target))).toBe(true);
    }
    expect(document.connections).toMatchObject({
      policy: 'recorded',
      used: 5,
      requestsPerConnection: { mean: 8, max: 8 },
      byAddress: [{ address: `unix:${path}`, requests: 40 }],
      recorded: { connections: 5, requestsPerConnection: { mean: 8, max: 8 }, unknown: 0 },
    });
    expect(document.connectMs.max).not.toBeNull();
    // Eight answers of 15 ms each, due within 40 ms: the last waits for most of that.
    expect(document.connectionWaitMs.max).toBeGreaterThan(50);
    const { scheduled, service } = document.latencyMs;
    expect((scheduled.max ?? 0) - (service.max ?? 0)).toBeGreaterThan(30);
    const reader = new RunReader(result.out);
    const sends = [...reader.sends()];
    reader.close();
    expect(Math.max(...sends.map(({ connectionWaitNs }) => connectionWaitNs ?? 0)) / 1e6).toBe(
      document.connectionWaitMs.max,
    );
  });
});

describe('credentials of --header', () => {
  it('go to the target alone: a redirect is an answer, and nobody follows it', async () => {
    const elsewhere = await serverOf();
    const target = await serverOf((_request, response) =>
      response.writeHead(307, { Location: `${elsewhere.url}/v2/models/m/infer` }).end(),
    );
    const result = await replayHere(
      captureOf(requestsOf(5)),
      target.url,
      ['--json', '--header', 'Authorization: env:STAGING_TOKEN', '--host', 'recorded'],
      { env: { STAGING_TOKEN: 'Bearer only-for-staging' } },
    );
    expect(documentOf(result)).toMatchObject({ sent: 5, completed: 5, statuses: { 307: 5 } });
    expect(target.requests).toHaveLength(5);
    for (const { headers } of target.requests) {
      expect(headers).toContainEqual(['Authorization', 'Bearer only-for-staging']);
    }
    expect(elsewhere.requests).toEqual([]);
    expect(`${result.stdout}${result.stderr}`).not.toContain('only-for-staging');
  });
});
