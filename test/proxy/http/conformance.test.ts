import { describe, expect, it } from 'vitest';
import { ServerWithin } from '../../support/accepted-clients.ts';
import { attackAsClient, attackAsUpstream, startHostileUpstream } from '../../support/conformance.ts';
import { imbalance } from '../../support/imbalance.ts';
import { afterwards } from '../../support/leftovers.ts';
import { Oracle } from '../../support/oracle.ts';
import { startGateway } from './support.ts';

function attacked(port: number): ServerWithin {
  const server = new ServerWithin(port);
  afterwards(() => server.close());
  return server;
}

describe('a short attack on the gateway', () => {
  it('by clients: the upstream sees whole requests, as many as were recorded, and honest clients notice nothing', async () => {
    const oracle = await Oracle.start();
    afterwards(() => oracle.close());
    const gateway = await startGateway(oracle.port);
    const { faults, requests } = await attackAsClient(oracle, attacked(gateway.port), 500, 7);
    expect(faults).toEqual([]);
    const reading = await gateway.settle();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading.lost).toEqual({});
    expect(gateway.gateway.counts.inFlight).toBe(0);
    const completed = gateway.sink.exchanges.filter(({ outcome }) => outcome === 'completed').length;
    expect(requests).toBeGreaterThan(150);
    expect(requests).toBeGreaterThanOrEqual(completed);
    expect(requests).toBeLessThanOrEqual(gateway.sink.exchanges.length);
  });

  it('by an upstream: one answer at most for a request, and none that was meant for another', async () => {
    const { oracle, cases } = await startHostileUpstream(500, 8);
    afterwards(() => oracle.close());
    const gateway = await startGateway(oracle.port);
    const { faults, requests } = await attackAsUpstream(oracle, attacked(gateway.port), cases);
    expect(faults).toEqual([]);
    expect(requests).toBeGreaterThanOrEqual(cases);
    const reading = await gateway.settle();
    expect(imbalance(reading)).toEqual({ bytes: 0, turns: 0 });
    expect(reading.lost).toEqual({});
  });
});
