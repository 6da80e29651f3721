import { describe, expect, it } from 'vitest';
import { replayEventSchema } from '../../src/documents/events.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { documentOf, replay, serverOf } from '../support/replaying.ts';

const CONNECTIONS = 4;
const EACH = 40;
const GAP_US = 25_000;
const TOOK_US = 5_000;
const SLOW_MS = 100;

/** A second of requests on four connections, each answered in 5 ms: none waited for its connection. */
function capture(): string {
  return captureOf(
    Array.from({ length: CONNECTIONS * EACH }, (_, at) => {
      const [connection, turn] = [at % CONNECTIONS, Math.floor(at / CONNECTIONS)];
      return exchangeOf({
        arrivalUs: TEST_EPOCH_US + turn * GAP_US + connection * 6_000,
        firstByteOffsetUs: TOOK_US,
        lastByteOffsetUs: TOOK_US,
        connection,
        request: requestMessage({ target: `/v2/models/m/infer?n=${at}` }),
      });
    }),
  );
}

const SLOS = ['--slo', 'service: p(90)<1000; errors: rate<0.5'];

/** A server of 100 ms, what it counted: the most at once, and the requests of each second from the first on. */
async function slowServer() {
  const arrivalsMs: number[] = [];
  let [inFlight, most] = [0, 0];
  const server = await serverOf((_, response) => {
    arrivalsMs.push(performance.now());
    inFlight += 1;
    most = Math.max(most, inFlight);
    setTimeout(() => {
      inFlight -= 1;
      response.end('{}');
    }, SLOW_MS);
  });
  const counted = () => {
    const first = arrivalsMs[0] ?? 0;
    const seconds = Map.groupBy(arrivalsMs, (at) => Math.floor((at - first) / 1_000));
    return {
      requests: arrivalsMs.length,
      spanS: ((arrivalsMs.at(-1) ?? 0) - first) / 1e3,
      peak1s: Math.max(...[...seconds.values()].map(({ length }) => length)),
      most,
    };
  };
  return { url: server.url, counted };
}

/**
 * Waits for connections, by the rows: of each connection those in sum that no answer before it explains, and the
 * longest that one explains.
 */
function waitsOf(runDirectory: string): { beyondMs: readonly number[]; inFlightMs: number } {
  const reader = new RunReader(runDirectory);
  const sends = [...reader.sends()].sort((one, other) => one.index - other.index);
  reader.close();
  let inFlightMs = 0;
  const beyondMs = Array.from({ length: CONNECTIONS }, () => 0);
  for (const [at, { intendedOffsetNs, connectionWaitNs }] of sends.entries()) {
    const freeNs = sends[at - CONNECTIONS]?.lastByteOffsetNs ?? 0;
    const busyMs = Math.max(0, freeNs - intendedOffsetNs) / 1e6;
    const waitMs = (connectionWaitNs ?? 0) / 1e6;
    inFlightMs = Math.max(inFlightMs, Math.min(waitMs, busyMs));
    beyondMs[at % CONNECTIONS] = (beyondMs[at % CONNECTIONS] ?? 0) + Math.max(0, waitMs - busyMs);
  }
  return { beyondMs, inFlightMs };
}

describe('a replay on recorded connections against a target that is slower than was recorded', () => {
  it('says it sent what the target counted, when it counted it, and passes nothing for the planned load', async () => {
    const target = await slowServer();
    const args = ['--json', '--connections', 'recorded', ...SLOS];
    const run = await replay(capture(), target.url, args);
    const { requests, spanS, peak1s } = target.counted();
    const document = documentOf(run);
    const { sent, planned, resolved, waitsFor } = document.fidelity;
    expect([requests, document.sent, sent.count]).toEqual([160, 160, 160]);
    expect(spanS).toBeGreaterThan(3);
    expect(Math.abs(sent.spanS - spanS)).toBeLessThan(0.2);
    expect((sent.ratePerSecond ?? 0) / (requests / spanS)).toBeCloseTo(1, 1);
    expect(Math.abs(sent.peak1s - peak1s)).toBeLessThanOrEqual(CONNECTIONS);
    expect(planned.spanS).toBeLessThan(1.1);
    expect(waitsFor).toBe('connections');
    expect(resolved?.spanS).toBeGreaterThan(3);
    expect(document.effectiveMultiplier ?? 1).toBeLessThan(0.5);
    expect(document).toMatchObject({ verdict: 'INCONCLUSIVE', valid: false });
    const codes = document.reasons.map(({ code }) => code);
    expect(codes).toEqual(expect.arrayContaining(['connection_wait', 'multiplier_not_reached']));
    // Figures leave out what suffered from a standstill of ours; rows do not.
    const reader = new RunReader(run.out);
    const waitsMs = [...reader.sends()].map(({ connectionWaitNs }) => (connectionWaitNs ?? 0) / 1e6);
    reader.close();
    expect(waitsMs.filter((ms) => ms > 0).length).toBeGreaterThan(140);
    expect(Math.max(...waitsMs)).toBeGreaterThan(2_000);
    expect(document.connectionWaits?.late).toBeGreaterThan(0);
    // Lag is what is left without that wait, however busy this machine is.
    expect((document.lagUs.max ?? 0) / 1e3).toBeLessThan(Math.max(...waitsMs) / 2);
    expect(run.status).toBe(4);
  });

  it('tells in its events what the target has from what waits at our end, and ends no sending before its end', async () => {
    const target = await slowServer();
    const run = await replay(capture(), target.url, ['--ndjson', '--connections', 'recorded', ...SLOS]);
    const events = run.stdout
      .trim()
      .split('\n')
      .map((line) => replayEventSchema.parse(JSON.parse(line)))
      .filter((each) => each.event === 'second');
    const { requests, most } = target.counted();
    expect(events.reduce((sum, { achieved }) => sum + Number(achieved), 0)).toBe(requests);
    expect(Math.max(...events.map(({ inFlight }) => Number(inFlight)))).toBeLessThanOrEqual(most);
    const behind = events.filter(({ waiting }) => Number(waiting) > 0);
    expect(behind.length).toBeGreaterThan(1);
    expect(behind.every(({ phase }) => phase === 'run')).toBe(true);
  });

  it('sends in the time of the plan where connections are as free as they were: waits would add two seconds', async () => {
    const server = await serverOf();
    const run = await replay(capture(), server.url, ['--json', '--connections', 'recorded']);
    const { connectionWaits, fidelity, lagUs } = documentOf(run);
    expect(fidelity.sent.count).toBe(CONNECTIONS * EACH);
    // On a busy machine answers take longer: a wait for one that is under way is no wait beyond that.
    const { beyondMs, inFlightMs } = waitsOf(run.out);
    expect(Math.max(...beyondMs)).toBeLessThan(1_500);
    const lateS = (lagUs.max ?? 0) / 1e6 + inFlightMs / 1e3;
    expect(Math.abs(fidelity.sent.spanS - fidelity.planned.spanS) - lateS).toBeLessThan(1.5);
    expect(connectionWaits?.waited).toBeLessThan(CONNECTIONS * EACH);
  });
});
