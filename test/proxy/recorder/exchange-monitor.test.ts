import { describe, expect, it } from 'vitest';
import type { RecordedTraffic } from '../../../src/core/accounting.ts';
import { LIMITS } from '../../../src/core/limits.ts';
import { ExchangeMonitor } from '../../../src/proxy/recorder/exchange-monitor.ts';
import { CountingSink } from '../../support/counting-sink.ts';
import { exchangeOf, requestMessage, responseMessage } from '../../support/exchanges.ts';
import { ManualClock } from '../../support/manual-clock.ts';

function monitor(onFirstCommit?: () => void, earlier?: RecordedTraffic) {
  const sink = new CountingSink();
  const clock = new ManualClock();
  return { sink, clock, monitor: new ExchangeMonitor(sink, clock, earlier, onFirstCommit) };
}

function countOf(counts: ReturnType<ExchangeMonitor['traffic']>['durationSeconds']): number {
  return counts.counts.reduce((sum, count) => sum + count, 0);
}

describe('what is said of exchanges that pass', () => {
  it('counts them by method and class of status, whatever the wire called them', () => {
    const { monitor: watched } = monitor();
    for (const status of [200, 204, 503]) watched.append(exchangeOf({ method: 'POST', status }));
    watched.append(exchangeOf({ method: 'BREW"\n', status: 999 }));
    watched.append(exchangeOf({ method: 'GET', status: null }));
    expect(watched.traffic().requests).toEqual([
      { method: 'POST', codeClass: '2xx', count: 2 },
      { method: 'POST', codeClass: '5xx', count: 1 },
      { method: 'other', codeClass: 'none', count: 1 },
      { method: 'GET', codeClass: 'none', count: 1 },
    ]);
  });

  it('counts bodies that redaction dropped, by why, over recorders that follow each other', () => {
    const { monitor: watched } = monitor();
    const request = { ...requestMessage(), redacted: ['authorization', '!not_json'] };
    const response = { ...responseMessage(200), redacted: ['!too_large'] };
    watched.append(exchangeOf({ request, response }));
    watched.append(exchangeOf({ request, response: null }));
    watched.append(exchangeOf());
    expect(watched.traffic().bodiesDropped).toEqual({ not_json: 2, too_large: 1 });
    const next = monitor(undefined, watched.traffic()).monitor;
    next.append(exchangeOf({ request, response }));
    expect(next.traffic().bodiesDropped).toEqual({ not_json: 3, too_large: 2 });
  });

  it('counts limits on the search for links, over recorders that follow each other', () => {
    const { monitor: watched } = monitor();
    watched.noteMissedLinks('forgotten', 3);
    const next = monitor(undefined, watched.traffic()).monitor;
    next.noteMissedLinks('forgotten', 2);
    next.noteMissedLinks('long_body', 1);
    expect(next.traffic().linksMissed).toEqual({ forgotten: 5, long_body: 1 });
  });

  it('counts connections by protocol from a closed list, over recorders that follow each other', () => {
    const { sink, monitor: watched } = monitor();
    const uses = ['http/1.1', 'h2', 'http/1.1', 'upgrade:mqtt"\n', 'upgrade:x'].map((protocol, bytes) => ({
      protocol,
      connections: 1,
      bytes,
    }));
    for (const use of uses) watched.addProtocolUse(use);
    expect(sink.protocolUses).toEqual(uses);
    const counted = {
      'http/1.1': { connections: 2, bytes: 2 },
      h2: { connections: 1, bytes: 1 },
      other: { connections: 2, bytes: 7 },
    };
    expect(watched.traffic().protocols).toEqual(counted);
    const next = monitor(undefined, watched.traffic()).monitor;
    next.addProtocolUse({ protocol: 'h2', connections: 1, bytes: 10 });
    expect(next.traffic().protocols).toEqual({
      ...counted,
      h2: { connections: 2, bytes: 11 },
    });
  });

  it('counts none that the sink could not take', () => {
    const { sink, monitor: watched } = monitor();
    sink.encodes = false;
    expect(watched.append(exchangeOf())).toBe(false);
    expect([watched.traffic().requests, watched.recent()]).toEqual([[], []]);
  });

  it('keeps the facts of the last ones, newest first, and nothing of their payload', () => {
    const { monitor: watched } = monitor();
    expect(watched.recent()).toEqual([]);
    const total = LIMITS.recentExchanges + 7;
    for (let at = 0; at < total; at += 1) {
      watched.append(exchangeOf({ arrivalUs: at, response: responseMessage(200, 'secret answer') }));
    }
    const recent = watched.recent();
    expect(recent.map(({ arrivalUs }) => arrivalUs)).toEqual(
      Array.from({ length: LIMITS.recentExchanges }, (_, back) => total - 1 - back),
    );
    expect(JSON.stringify(recent)).not.toContain('secret');
    expect(recent[0]?.responseBytes).toBe('secret answer'.length);
  });

  it('has each duration in its bucket, the slowest beyond the last bound', () => {
    const { monitor: watched } = monitor();
    for (const lastByteOffsetUs of [900, 1_000, 1_001, 400e6])
      watched.append(exchangeOf({ lastByteOffsetUs }));
    watched.append(exchangeOf({ lastByteOffsetUs: null }));
    const { bounds, counts, sum } = watched.traffic().durationSeconds;
    expect([bounds[0], counts[0], counts[1], counts.at(-1)]).toEqual([0.001, 2, 1, 1]);
    expect(sum).toBeCloseTo(400.002901, 6);
  });

  it('tells of the first commit once, and times those that wrote something', () => {
    let told = 0;
    const { monitor: watched } = monitor(() => {
      told += 1;
    });
    watched.commit();
    expect([told, countOf(watched.traffic().writeSeconds)]).toEqual([0, 0]);
    for (let at = 0; at < 3; at += 1) {
      watched.append(exchangeOf());
      watched.commit();
    }
    expect([told, countOf(watched.traffic().writeSeconds)]).toEqual([1, 3]);
  });

  it('goes on from what recorders before it have counted', () => {
    const one = monitor().monitor;
    one.append(exchangeOf({ method: 'POST', status: 200, lastByteOffsetUs: 2_000 }));
    const before = one.traffic();
    const two = monitor(undefined, before).monitor;
    two.append(exchangeOf({ method: 'POST', status: 201, lastByteOffsetUs: 2_000 }));
    two.append(exchangeOf({ method: 'GET', status: 404, lastByteOffsetUs: 2_000 }));
    const sum = two.traffic();
    expect(sum.requests).toContainEqual({ method: 'POST', codeClass: '2xx', count: 2 });
    expect([countOf(sum.durationSeconds), countOf(before.durationSeconds)]).toEqual([3, 1]);
    expect(sum.requestBytes).toBe(3 * before.requestBytes);
  });
});
