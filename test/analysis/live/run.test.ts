import { expect, test } from 'vitest';
import { RunWatch } from '../../../src/analysis/live/run.ts';
import type { SecondEvent } from '../../../src/documents/events.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';

const OBJECTIVES = parseObjectives(['latency: p(95)<200', 'latency{model=a}: p(95)<9']);
const NOTHING = { p50: null, p95: null, p99: null, max: null };

function second(changes: Partial<SecondEvent> = {}): SecondEvent {
  return {
    event: 'second',
    phase: 'run',
    elapsedS: 1,
    spanS: 1,
    offered: 100,
    achieved: 90,
    inFlight: 10,
    waiting: 0,
    lagP99Us: 100,
    errors: 0,
    refused: 0,
    statuses: {},
    latencyMs: { p50: 10, p95: 20, p99: 30, max: 40 },
    ttftMs: NOTHING,
    recentLatencyMs: { p50: 10, p95: 20, p99: null },
    recentTtftMs: { p50: null, p95: null, p99: null },
    slo: [],
    etaS: 9,
    ...changes,
  };
}

function watched(...seconds: readonly SecondEvent[]) {
  const watch = new RunWatch('Replay', OBJECTIVES);
  for (const [at, each] of seconds.entries()) watch.add(each, at);
  const view = watch.view();
  const fact = (key: string) => view.facts.find(([, each]) => each === key)?.[2];
  const chart = (key: string) => view.charts.find((each) => each.key === key);
  const line = (key: string, label: string) => chart(key)?.lines.find((each) => each.label === label)?.values;
  return { watch, view, fact, chart, line };
}

test('before anything is sent the page says that it is made ready', () => {
  expect(watched().view).toMatchObject({
    state: 'READY',
    word: 'starting',
    progress: null,
    facts: [],
    charts: [],
  });
});

test('a first reading after an instant is no rate that the plan never had', () => {
  const { line } = watched(second({ spanS: 0.013, offered: 1, achieved: 0 }), second(), second());
  expect(line('load', 'offered')).toEqual([101 / 1.013, 100]);
  const ending = watched(second(), second(), second({ spanS: 0.01, offered: 0, achieved: 9 }));
  expect(ending.line('load', 'completed')).toEqual([90, 99 / 1.01]);
});

test('a second is shown as rates, latency and what is left; what is sent is over or in flight', () => {
  const { fact, view, line } = watched(
    second(),
    second({ achieved: 40, spanS: 0.5, inFlight: 15, errors: 1, statuses: { 200: 39, 503: 1 } }),
  );
  expect(view).toMatchObject({ state: 'RUN', tone: 'plain', progress: { share: 0.1 } });
  expect(view.progress?.text).toBe('9.0 s left of 10.0 s');
  expect(line('load', 'offered')).toEqual([100, 200]);
  expect(fact('sent')).toBe('90/s');
  expect(line('load', 'completed')).toEqual([90, 78]);
  expect(line('in-flight', 'at the target')).toEqual([10, 15]);
  expect(line('latency', 'p95')).toEqual([20, 20]);
  expect(fact('completed')).toBe('129');
  expect(fact('errors')).toBe('1 (0.769 %)');
  expect(fact('refused')).toBe('');
});

test('the line of an objective lies in the chart of its metric, of all requests alone', () => {
  expect(watched(second()).chart('latency')?.limits).toEqual([{ label: 'latency: p(95)<200', at: 200 }]);
});

test('the p99 of a second with few requests, which is their maximum, is not drawn', () => {
  const { chart, line } = watched(second(), second());
  expect(chart('latency')?.lines.map(({ label }) => label)).toEqual(['p50', 'p95']);
  const later = second({ recentLatencyMs: { p50: 10, p95: 20, p99: 30 } });
  expect(watched(second(), later).line('latency', 'p99')).toEqual([null, 30]);
  expect(line('latency', 'p99')).toBeUndefined();
});

test('a first token has a line where streams were answered', () => {
  expect(watched(second()).line('latency', 'first token p95')).toBeUndefined();
  const streamed = second({ recentTtftMs: { p50: 1, p95: 2, p99: null } });
  expect(watched(second(), streamed).line('latency', 'first token p95')).toEqual([null, 2]);
});

test('each objective has its state so far, and one that is not met colours the page', () => {
  const slo = [
    { expression: 'errors: rate<0.01', unit: 'share', observed: 0, limit: 0.01, ok: true },
    { expression: 'latency: p(95)<200', unit: 'ms', observed: 'Infinity', limit: 200, ok: false },
    { expression: 'makespan: <10m', unit: 'ms', observed: null, limit: 600_000, ok: null },
  ] as const;
  const { view } = watched(second({ slo }));
  expect(view.tone).toBe('bad');
  expect(view.tiles.map(({ label, value, state }) => [label, value, state?.tone])).toEqual([
    ['errors: rate<0.01', '0 %', 'good'],
    ['latency: p(95)<200', 'most got no answer', 'bad'],
    ['makespan: <10m', '–', 'plain'],
  ]);
});

test('a run whose objectives are met is not shown as good over a third of 4xx', () => {
  const slo = [{ expression: 'latency: p(95)<200', unit: 'ms', observed: 9, limit: 200, ok: true }] as const;
  expect(watched(second({ slo, statuses: { 200: 90 } })).view.tone).toBe('good');
  const { view, line } = watched(second({ slo, statuses: { 200: 60, 404: 30 } }));
  expect(view.tone).toBe('warn');
  expect(line('answers', '4xx')).toEqual([30]);
  const table = view.tables.find(({ key }) => key === 'statuses');
  expect(table?.rows.map(([status = '']) => table.toneOf?.(status, 0))).toEqual(['good', 'warn']);
});

test('charts hold the whole run in bounded memory, and the counts are exact', () => {
  const { chart, fact, line } = watched(...Array.from({ length: 10_000 }, () => second()));
  const at = chart('load')?.at ?? [];
  expect(at.length).toBeLessThanOrEqual(600);
  expect([at[0], at.at(-1)]).toEqual([31, 9_999]);
  expect(new Set(line('load', 'offered'))).toEqual(new Set([100]));
  expect(fact('completed')).toBe('900,000');
});

test('requests of a calibration are no requests of the run', () => {
  const { watch } = watched(second({ phase: 'calibration', errors: 5 }));
  watch.add({ event: 'calibration', representative: false, differences: ['p50 3.1 times'] } as never, 1);
  watch.add(second(), 2);
  const view = watch.view();
  expect(view.facts.find(([, key]) => key === 'completed')?.[2]).toBe('90');
  expect(view.about).toEqual([]);
});
