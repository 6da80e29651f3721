import { expect, test } from 'vitest';
import { RecorderWatch } from '../../../src/analysis/live/recorder.ts';
import type { RecorderStatus } from '../../../src/core/accounting.ts';
import { someStatus } from '../../support/some-status.ts';

const { traffic } = someStatus();
const FIRST_US = someStatus().atUs;

/** A recorder after so many seconds: of each, nine quick answers and a slow one, every second of those a 503. */
function after(seconds: number, changes: Partial<RecorderStatus> = {}): RecorderStatus {
  const counts = traffic.durationSeconds.counts.map((_, at) =>
    at === 4 ? 9 * seconds : at === 8 ? seconds : 0,
  );
  return someStatus({
    atUs: FIRST_US + seconds * 1e6,
    exchanges: 10 * seconds,
    traffic: {
      ...traffic,
      durationSeconds: { ...traffic.durationSeconds, counts },
      requests: [
        { method: 'POST', codeClass: '2xx', count: 9 * seconds },
        { method: 'GET', codeClass: '5xx', count: seconds },
      ],
    },
    ...changes,
  });
}

function watched(...statuses: readonly RecorderStatus[]) {
  const watch = new RecorderWatch();
  for (const status of statuses) watch.add(status);
  const view = watch.view();
  const fact = (key: string) => view?.facts.find(([, each]) => each === key)?.[2];
  const table = (key: string) => view?.tables.find((each) => each.key === key);
  const line = (key: string, label: string) =>
    view?.charts.find((each) => each.key === key)?.lines.find((each) => each.label === label)?.values;
  const tile = (label: string) => view?.tiles.find((each) => each.label === label);
  return { view, fact, table, line, tile };
}

test('nothing is shown before the first reading', () => {
  expect(new RecorderWatch().view()).toBeNull();
});

test('rates, statuses and percentiles are those of the last minute', () => {
  const { line, table, tile } = watched(...Array.from({ length: 200 }, (_, second) => after(second)));
  expect([line('rates', '2xx, 3xx')?.at(-1), line('rates', '5xx or no answer')?.at(-1)]).toEqual([9, 1]);
  const latest = ['p50', 'p95', 'p99'].map((label) => line('latency', label)?.at(-1));
  expect(latest).toEqual([50, 1_000, 1_000]);
  expect(tile('latency p95')?.value).toBe('1.0 s');
  expect(table('statuses')?.rows).toEqual([
    ['2xx', '540', '1,791'],
    ['5xx', '60', '199'],
  ]);
  expect(line('rates', '2xx, 3xx')).toHaveLength(199);
});

test('the page was served for 24 s, and called its figures those of the last minute', () => {
  const headings = (last: number) => {
    const { tile, table } = watched(...Array.from({ length: last + 1 }, (_, second) => after(second)));
    return [tile('latency p95')?.note, table('statuses')?.columns[1]?.title];
  };
  expect(headings(24)).toEqual(['upper bound, last 24 s', 'last 24 s']);
  expect(headings(0)).toEqual(['upper bound, since the start', 'since the start']);
  expect(headings(90)).toEqual(['upper bound, last minute', 'last minute']);
});

test('what took longer than the last bound is not given that bound', () => {
  const counts = traffic.durationSeconds.counts.map((_, at, { length }) => (at === length - 1 ? 1 : 0));
  const slow = { ...traffic, durationSeconds: { ...traffic.durationSeconds, counts } };
  expect(watched(someStatus({ traffic: slow })).tile('latency p95')?.value).toBe('over 5.0 min');
});

test('a recorder that was started anew, or was silent, begins anew', () => {
  const anew = after(3, { startedUs: FIRST_US, exchanges: 0 });
  expect(watched(after(1), after(2)).line('rates', '2xx, 3xx')).toEqual([9]);
  expect(watched(after(1), after(2), anew).view?.charts).toEqual([]);
  expect(watched(after(1), after(2), after(60)).view?.charts).toEqual([]);
});

test('bodies that were cut are shown where there are any, and where a gateway sends some paths', () => {
  expect(watched(someStatus()).fact('bodies-cut')).toBe('');
  const routes = [{ path: '/b*', target: 'https://10.0.0.2:8443' }];
  const { fact, view } = watched(someStatus({ bodiesCut: 7, mode: 'gateway', routes }));
  expect(fact('bodies-cut')).toBe('7');
  expect(view?.about[0]).toBe('gateway 127.0.0.1:8080 → 127.0.0.1:8000, /b* → https://10.0.0.2:8443');
});

test('a healthy recorder is not shown as good over a third of 4xx', () => {
  expect(watched(someStatus()).view).toMatchObject({ state: 'HEALTHY', tone: 'good' });
  const requests = [
    { method: 'POST', codeClass: '2xx', count: 200 },
    { method: 'POST', codeClass: '4xx', count: 100 },
  ];
  const { view, tile } = watched(someStatus({ traffic: { ...traffic, requests } }));
  expect(view).toMatchObject({ state: 'HEALTHY', tone: 'warn' });
  expect(tile('4xx')).toMatchObject({ value: '33.3 %', state: { tone: 'warn' } });
});
