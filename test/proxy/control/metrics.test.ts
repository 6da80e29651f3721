import { describe, expect, it } from 'vitest';
import { LOSS_REASONS, OMISSION_CAUSES } from '../../../src/core/accounting.ts';
import { metricsOf } from '../../../src/proxy/control/metrics.ts';
import { samplesOf, scrapeImbalance } from '../../support/metrics.ts';
import { someStatus } from '../../support/some-status.ts';

describe('metrics', () => {
  it('hold the equation', async () => {
    const samples = samplesOf(await metricsOf(someStatus()));
    expect(samples.get('reprise_seen_bytes_total')).toBe(1_000);
    expect(samples.get('reprise_lost_turns_total{reason="quota"}')).toBe(1);
    expect(scrapeImbalance(samples)).toEqual({ bytes: 0, turns: 0 });
  });

  it('have every label of the closed lists from the start', async () => {
    const names = [...samplesOf(await metricsOf(someStatus({ lost: {}, omitted: {} }))).keys()];
    for (const unit of ['bytes', 'turns']) {
      for (const reason of LOSS_REASONS)
        expect(names).toContain(`reprise_lost_${unit}_total{reason="${reason}"}`);
      for (const cause of OMISSION_CAUSES) {
        expect(names).toContain(`reprise_omitted_${unit}_total{cause="${cause}"}`);
      }
    }
    expect(names).toContain('reprise_proxy_requests_total{method="POST",code_class="5xx"}');
    expect(names).toContain('reprise_restarts_total{process="recorder"}');
  });

  it('have the same series whatever happened', async () => {
    const before = samplesOf(await metricsOf(someStatus({ lost: {}, omitted: {} })));
    const after = samplesOf(
      await metricsOf(someStatus({ state: 'OFF', why: 'x', paused: true, draining: true })),
    );
    expect([...after.keys()]).toEqual([...before.keys()]);
    expect(after.get('reprise_state{state="OFF"}')).toBe(1);
    expect(after.get('reprise_state{state="HEALTHY"}')).toBe(0);
  });

  it('have no sample for what is not known', async () => {
    const unknown = samplesOf(await metricsOf(someStatus()));
    expect(unknown.has('reprise_store_bytes')).toBe(false);
    const disk = { directory: '/capture', bytes: 7, maxBytes: 9, freeBytes: 11 };
    const known = samplesOf(await metricsOf(someStatus({ disk, recorderResidentBytes: 13 })));
    expect(known.get('reprise_store_bytes')).toBe(7);
    expect(known.get('reprise_recorder_resident_bytes')).toBe(13);
  });

  it('count connections and bytes by protocol, those that nobody spoke as well', async () => {
    const { traffic } = someStatus();
    const protocols = { h2: { connections: 2, bytes: 30 } };
    const samples = samplesOf(await metricsOf(someStatus({ traffic: { ...traffic, protocols } })));
    expect(samples.get('reprise_capture_connections_total{protocol="h2"}')).toBe(2);
    expect(samples.get('reprise_capture_connection_bytes_total{protocol="h2"}')).toBe(30);
    expect(samples.get('reprise_capture_connections_total{protocol="unparsed"}')).toBe(0);
  });

  it('count limits on the search for links, those never reached as well', async () => {
    const { traffic } = someStatus();
    const linksMissed = { forgotten: 4 };
    const samples = samplesOf(await metricsOf(someStatus({ traffic: { ...traffic, linksMissed } })));
    expect(samples.get('reprise_capture_links_missed_total{limit="forgotten"}')).toBe(4);
    expect(samples.get('reprise_capture_links_missed_total{limit="budget"}')).toBe(0);
  });

  it('cumulate the buckets of a histogram', async () => {
    const durationSeconds = { bounds: [0.1, 1], counts: [3, 2, 1], sum: 12.5 };
    const { traffic } = someStatus();
    const samples = samplesOf(await metricsOf(someStatus({ traffic: { ...traffic, durationSeconds } })));
    const name = 'reprise_proxy_request_duration_seconds';
    expect(['0.1', '1', '+Inf'].map((le) => samples.get(`${name}_bucket{le="${le}"}`))).toEqual([3, 5, 6]);
    expect([samples.get(`${name}_count`), samples.get(`${name}_sum`)]).toEqual([6, 12.5]);
  });

  it('say nothing of routes, models or paths', async () => {
    const recent = [
      {
        arrivalUs: 1,
        route: 'POST /secret/{id}',
        model: 'hidden-model',
        status: 200,
        outcome: 'completed',
        requestBytes: 1,
        responseBytes: 1,
        durationUs: 1,
      },
    ];
    const text = await metricsOf(someStatus({ recent }));
    expect(text).not.toMatch(/secret|hidden|\/capture/);
  });
});
