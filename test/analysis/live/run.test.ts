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
  for (const each of seconds) watch.add(each);
  const view = watch.view();
  const fact = (key: string) => view.facts.find(([, each]) => each === key)?.[2];
  return { watch, view, fact, chart: (key: string) => view.charts.find((each) => each.key === key) };
}

test('before anything is sent the page says that it is made ready', () => {
  expect(watched().view).toMatchObject({ state: 'READY', badge: 'making ready', facts: [], charts: [] });
});

test('a second is shown as rates, latency and what is left; what is sent is over or in flight', () => {
  const { fact, view } = watched(second(), second({ achieved: 40, spanS: 0.5, inFlight: 15, errors: 4 }));
  expect(view).toMatchObject({ state: 'RUN', tone: 'good' });
  expect(fact('offered')).toBe('200/s');
  expect(fact('sent')).toBe('90/s');
  expect(fact('achieved')).toBe('80/s');
  expect(fact('in-flight')).toBe('15');
  expect(fact('latency-p95')).toBe('20.0 ms');
  expect(fact('left')).toBe('9.0 s');
  expect(fact('ended')).toBe('130');
  expect(fact('errors')).toBe('4 (3.08 %)');
  expect(fact('refused')).toBe('');
});

test('the line of an objective lies in the chart of its metric, of all requests alone', () => {
  expect(watched(second()).chart('latency')?.limits).toEqual([{ label: 'latency: p(95)<200', at: 200 }]);
});

test('the p99 of a second with few requests, which is their maximum, is not drawn', () => {
  const { chart, fact } = watched(second(), second());
  expect(chart('latency')?.lines[2]?.values).toEqual([null, null]);
  expect(fact('latency-p99')).toBe('–');
});

test('a first token has a chart where streams were answered', () => {
  expect(watched(second()).chart('ttft')).toBeUndefined();
  const streamed = second({ recentTtftMs: { p50: 1, p95: 2, p99: null } });
  expect(watched(second(), streamed).chart('ttft')?.lines[1]?.values).toEqual([null, 2]);
});

test('an objective that is broken so far colours the page, and is told as not the verdict', () => {
  const slo = [
    { expression: 'latency: p(95)<200', unit: 'ms', observed: 'Infinity', limit: 200, ok: false },
  ] as const;
  const { view } = watched(second({ slo }));
  expect(view.tone).toBe('bad');
  expect(view.facts).toContainEqual([
    'latency: p(95)<200 so far',
    'objective-0',
    'most got no answer, broken',
  ]);
});

test('history is bounded, the counts are not', () => {
  const { chart, fact } = watched(...Array.from({ length: 1_000 }, () => second()));
  expect(chart('rates')?.lines[0]?.values).toHaveLength(300);
  expect(fact('ended')).toBe('90,000');
});

test('requests of a calibration are no requests of the run', () => {
  const { watch } = watched(second({ phase: 'calibration', errors: 5 }));
  watch.add({ event: 'calibration', representative: false, differences: ['p50 3.1 times'] } as never);
  watch.add(second());
  const view = watch.view();
  expect(view.facts.find(([, key]) => key === 'ended')?.[2]).toBe('90');
  expect(view.about).toEqual([]);
});
