import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { PrometheusSource } from '../../src/monitors/prometheus-api.ts';
import { parseMonitorQuery } from '../../src/monitors/query.ts';
import { serverOf } from '../support/replaying.ts';
import type { LoggedRequest } from '../support/request-log-server.ts';

/** A Prometheus whose clock says 1,000 s, and which scraped each pod at its own second. */
const SCRAPED = { a: 997.5, b: 990, gone: 980 } as const;

function api(asked: URLSearchParams[]) {
  return ({ target }: LoggedRequest, response: ServerResponse) => {
    const { searchParams } = new URL(target, 'http://api');
    asked.push(searchParams);
    const isStamped = searchParams.get('query')?.includes('timestamp(');
    const values = ['a', 'b'].map((pod, at) => ({
      metric: { __name__: 'depth', pod },
      value: [1_000, String(at + 5)],
    }));
    const stamps = Object.entries(SCRAPED).map(([pod, second]) => ({
      metric: { pod, reprise_scraped_at: '1' },
      value: [1_000, String(second)],
    }));
    const result = isStamped ? [...values, ...stamps] : values;
    response.end(JSON.stringify({ status: 'success', data: { resultType: 'vector', result } }));
  };
}

const sourceOf = (url: string, query: string) =>
  new PrometheusSource('prometheus', url, 1_000, [parseMonitorQuery(query, 'query')], []);

test('each value of a selector says when it was scraped, by one query: no scrape ends between value and time', async () => {
  const asked: URLSearchParams[] = [];
  const { url } = await serverOf(api(asked));
  const look = await sourceOf(url, 'depth=depth').look(AbortSignal.timeout(5_000));
  expect(look.readings.map(({ labels, value, scrape }) => [labels['pod'], value, scrape])).toEqual([
    ['a', 5, { atMs: 997_500, ageMs: 2_500 }],
    ['b', 6, { atMs: 990_000, ageMs: 10_000 }],
  ]);
  expect(look.ageMs).toBe(20_000);
  expect(asked.map((each) => each.get('query'))).toEqual([
    'depth or label_replace(timestamp(depth), "reprise_scraped_at", "1", "", "")',
  ]);
});

test('what a Prometheus computes is of the instant of the look', async () => {
  const asked: URLSearchParams[] = [];
  const { url } = await serverOf(api(asked));
  const look = await sourceOf(url, 'depth=sum by (pod) (depth)').look(AbortSignal.timeout(5_000));
  expect(look.readings.map(({ scrape }) => scrape)).toEqual([null, null]);
  expect(look.ageMs).toBeNull();
  expect(asked).toHaveLength(1);
});
