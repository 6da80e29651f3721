import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { inspectCapture } from '../../src/storage/capture/inspect.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { leastOf } from '../support/readings.ts';
import { startRecording } from '../support/recording.ts';
import { documentOf, replay, requestsOf, serverOf } from '../support/replaying.ts';
import { storedIds } from '../support/stored-ids.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const REQUESTS = 300;
const LAG_P50_US = 5_000;

/** The account of a recording as its last line has it. */
interface Account {
  readonly seen: { readonly turns: number };
  readonly recorded: { readonly turns: number };
  readonly pending: { readonly turns: number };
  readonly omitted: Readonly<Record<string, { readonly turns: number }>>;
  readonly exchanges: number;
}

/** Replays into a recorder in front of a server, as when somebody aims at production by mistake. */
async function replayInto(flags: readonly string[]) {
  const server = await serverOf();
  const directory = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(server.port, directory, flags);
  const result = await replay(captureOf(requestsOf(REQUESTS)), `http://127.0.0.1:${recording.port}`, [
    '--json',
  ]);
  const { end } = await recording.stop();
  return { server, directory, result, account: end as unknown as Account };
}

describe('a replay into a recorder of production', () => {
  test('is refused by the gateway, request by request, and none reaches the server', async () => {
    const { server, directory, result, account } = await replayInto([
      '--mode',
      'gateway',
      '--gateway',
      'refuse-marked',
    ]);
    expect(documentOf(result)).toMatchObject({ sent: REQUESTS, statuses: { '403': REQUESTS } });
    expect(documentOf(result).reasons.map(({ code }) => code)).toContain('not_comparable');
    expect(result.status).toBe(4);
    expect(server.requests).toHaveLength(0);
    // Answered before its body had come, a refused request is two turns of its connection, and one exchange.
    expect(account).toMatchObject({ exchanges: 0, recorded: { turns: 0 }, lost: {}, pending: { turns: 0 } });
    expect(account.seen.turns).toBe(account.omitted['replay_marked']?.turns);
    expect(inspectCapture(directory).omitted.byCause).toEqual({
      replay_marked: { exchanges: REQUESTS, bytes: expect.any(Number) },
    });
    expect(storedIds(directory)).toEqual([]);
  });

  test('passes the wire, which refuses nothing, and not one of its requests is recorded', async () => {
    const { server, directory, result, account } = await replayInto([]);
    expect(documentOf(result)).toMatchObject({ sent: REQUESTS, completed: REQUESTS });
    expect(server.requests).toHaveLength(REQUESTS);
    expect(account).toMatchObject({
      exchanges: 0,
      seen: { turns: REQUESTS },
      recorded: { turns: 0 },
      pending: { turns: 0 },
      omitted: { replay_marked: { turns: REQUESTS } },
    });
    expect(storedIds(directory)).toEqual([]);
  });
});

describe('every recorded request', () => {
  /** Every tenth was cut while recording, every fifteenth cannot be sent by an HTTP client. */
  const recorded = Array.from({ length: 600 }, (_, at) => {
    const request = requestMessage({ target: `/v2/models/m/infer?n=${at}` });
    const cut = { ...request, body: { ...request.body, truncated: true } };
    const upgrade = requestMessage({
      target: `/ws?n=${at}`,
      headers: [
        ['Host', 'm'],
        ['Upgrade', 'websocket'],
      ],
    });
    return exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 3_000,
      request: at % 10 === 0 ? cut : at % 15 === 1 ? upgrade : request,
    });
  });
  const sendable = recorded.map((_, at) => at).filter((at) => at % 10 !== 0 && at % 15 !== 1);

  test.each(['1', '1.5', '2'])('is sent once or counted, at %sx', async (multiplier) => {
    // A stall of the machine delays half of so short a run; a sender that is late by itself is so in every run.
    expect(await leastOf(LAG_P50_US, () => lagP50OfPlay(multiplier))).toBeLessThan(LAG_P50_US);
  });

  /** Every play sends all there is, once and in its order; its median lag is answered. */
  async function lagP50OfPlay(multiplier: string): Promise<number> {
    const server = await serverOf();
    const result = await replay(captureOf(recorded), server.url, ['--json', '--multiplier', multiplier]);
    const document = documentOf(result);
    const numbers = server.requests.map(({ target }) => Number(target.split('n=')[1]));
    expect(numbers.toSorted((a, b) => a - b)).toEqual(sendable);
    expect(document).toMatchObject({
      recorded: 600,
      planned: sendable.length,
      sent: sendable.length,
      completed: sendable.length,
      skipped: { truncated_request: 60 },
      unreplayable: 600 - 60 - sendable.length,
    });
    const reader = new RunReader(result.out);
    const rows = [...reader.sends()];
    reader.close();
    expect(new Set(rows.map(({ exchangeId }) => exchangeId)).size).toBe(sendable.length);
    expect(rows.every((send) => (send.actualOffsetNs ?? -1) >= send.intendedOffsetNs)).toBe(true);
    return document.lagUs.p50 ?? Number.NaN;
  }
});

describe('each fence alone', () => {
  const recordedUnder = (host: string, upstream: string) =>
    captureOf(requestsOf(20, 1_000, { request: requestMessage({ headers: [['Host', host]] }) }), {
      origin: { kind: 'recorded', target: upstream },
    });

  test.each([
    ['the name that requests were recorded under', 'prod.invalid', '127.0.0.1:8000', []],
    ['the upstream of the recorder', '127.0.0.1:8080', 'prod.invalid:8000', []],
    ['a declared host of production', '127.0.0.1', '127.0.0.1', ['--production-host', 'prod.invalid']],
  ])('refuses %s, before anything is made or sent', async (_, host, upstream, flags) => {
    const result = await replay(recordedUnder(host, upstream), 'http://prod.invalid', flags);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain('a replay must not hit production');
    expect(existsSync(result.out)).toBe(false);
    const allowed = [...flags, '--production-host', 'allow=prod.invalid'];
    const opened = await replay(recordedUnder(host, upstream), 'http://prod.invalid', allowed);
    expect(opened.status).toBe(5);
    expect(opened.stderr).toContain('cannot be reached');
  });

  const HELD_BACK = 'in_flight_cap';

  test.each([
    ['rate', ['--max-rate', '10'], { planned: 100, sent: 10, refused: 90 }, [HELD_BACK]],
    ['requests in flight', ['--max-in-flight', '5'], { planned: 100, sent: 5, refused: 95 }, [HELD_BACK]],
    // A total is asked for: what lies behind it is not planned, and nothing that was due is held back.
    ['the total', ['--max-requests', '7'], { planned: 7, sent: 7, refused: 0 }, []],
  ])('keeps the ceiling on %s', async (_, flags, counts, heldBack) => {
    // Never answered: what is in flight stays there.
    const server = await serverOf(() => {});
    const limits = ['--json', '--timeout', '2s,drain=0s', ...flags];
    const result = await replay(captureOf(requestsOf(100)), server.url, limits);
    const document = documentOf(result);
    expect(document).toMatchObject(counts);
    expect(server.requests.length).toBeLessThanOrEqual(counts.sent);
    const codes = document.reasons.map(({ code }) => code);
    expect(codes.filter((code) => code === HELD_BACK)).toEqual(heldBack);
    // Seven requests at a millisecond's distance are as planned on one machine and too late on another.
    expect(result.status).toBe(codes.length === 0 ? 0 : 4);
  });

  test.each([
    [500, 'by half a minute', 400, 800],
    [404, 'within seconds', 100, 400],
  ])('stops a run whose target answers %i alone, %s, and seals it', async (status, _, least, most) => {
    const server = await serverOf((_, response) => response.writeHead(status).end());
    const result = await replay(captureOf(requestsOf(800, 50_000)), server.url, ['--json']);
    expect(result.status).toBe(5);
    expect(result.stderr).toContain('RUN_ABORTED');
    const document = documentOf(result);
    expect(document.interrupted).toBe('RUN_ABORTED');
    expect(document.sent).toBeGreaterThanOrEqual(least);
    expect(document.sent).toBeLessThan(most);
    expect(server.requests).toHaveLength(document.sent);
    expect(existsSync(join(result.out, 'summary.json'))).toBe(true);
  });
});
