import { expect, test } from 'vitest';
import { Problems } from '../../src/core/errors.ts';
import { addressedHeader } from '../../src/core/headers.ts';
import { byProgram, readOptions } from '../../src/core/options.ts';
import { ScrapeSource } from '../../src/monitors/metrics-scrape.ts';
import {
  MONITOR_OPTIONS,
  type MonitorOptions,
  monitorOptionsOf,
  monitorSources,
} from '../../src/monitors/options.ts';
import { serverOf } from '../support/replaying.ts';
import type { RequestLogServer } from '../support/request-log-server.ts';

const KEY = ['authorization', 'Bearer key'] as const;

/** Headers of these names that a server got, of each request. */
const tokensAt = ({ requests }: RequestLogServer, name = 'authorization') =>
  requests.map(({ headers }) => headers.find(([each]) => each.toLowerCase() === name)?.[1] ?? null);

const metrics = () => serverOf((_, response) => response.end('nv_gpu_utilization 0.5\n'));

test('credentials go to the origin of the target, and to no port that is only guessed', async () => {
  const target = await serverOf((_, response) => response.writeHead(404).end());
  const other = await metrics();
  const places = [`${target.url}/metrics`, `${target.url}/prometheus/metrics`, `${other.url}/metrics`];
  const source = new ScrapeSource('target', places, 1_000, [], [KEY], () => 0);
  await source.look(AbortSignal.timeout(5_000));
  await source.look(AbortSignal.timeout(5_000));
  expect(tokensAt(target)).toEqual([KEY[1], KEY[1]]);
  expect(tokensAt(other)).toEqual([null, null]);
});

function optionsOf(monitor: readonly string[], headers: readonly string[]) {
  const problems = new Problems();
  const options = monitorOptionsOf(
    readOptions(
      MONITOR_OPTIONS,
      byProgram(MONITOR_OPTIONS, { monitor: [...monitor, 'interval=100ms'] }),
      problems,
    ),
    headers.map((each) => {
      const { to, text } = addressedHeader(each, ['monitor']);
      return { to: to ?? '', header: text.split(': ') as [string, string] };
    }),
    problems,
    () => false,
  );
  return { problems, options };
}

async function lookAtAll(options: MonitorOptions): Promise<void> {
  const { all } = monitorSources(options, 'http://127.0.0.1:1', () => 0);
  await Promise.all(all.map((source) => source.look(AbortSignal.timeout(5_000))));
}

test('a header that names its source goes to no other, and comes after those of all', async () => {
  const [a, b] = [await metrics(), await metrics()];
  const places = [`${a.url}/metrics`, `${b.url}/metrics`];
  const { options } = optionsOf(places, [
    `monitor=${places[1]} X-Key: b`,
    'monitor X-Key: all',
    `monitor=${places[0]} X-Own: a`,
  ]);
  await lookAtAll(options);
  expect([tokensAt(a, 'x-key'), tokensAt(b, 'x-key')]).toEqual([['all'], ['b']]);
  expect([tokensAt(a, 'x-own'), tokensAt(b, 'x-own')]).toEqual([['a'], [null]]);
});

test('a header of a source that is not watched is refused', () => {
  const { problems } = optionsOf(
    ['http://127.0.0.1:1/metrics'],
    ['monitor=http://127.0.0.1:2/metrics X-Key: b'],
  );
  expect(() => problems.throwIfAny()).toThrow('--header: http://127.0.0.1:2/metrics is no --monitor');
});
