import { expect, test } from 'vitest';
import { monitorCharts } from '../../../src/analysis/report/monitors.ts';
import { monitoredSteps } from '../../../src/analysis/report/over-time.ts';
import { reportPage } from '../../../src/analysis/report/page.ts';
import type { ReportDocument } from '../../../src/documents/report.ts';
import { reportOf } from '../../support/reported-runs.ts';
import { send } from '../../support/sends.ts';

const MS = 1e6;
const ASSETS = { script: 'var uPlot;', style: '' };
const SECONDS = 10;

type Line = NonNullable<ReportDocument['monitored']>[number];

function line(name: string, value: number, facts: Partial<Line> = {}): Line {
  const values = new Array<number>(SECONDS).fill(value);
  return { name, source: 'gpus', labels: {}, metric: name, kind: 'gauge', unit: 'share', values, ...facts };
}

/** The first figure of the page of ten seconds with this objective, held or not. */
function firstFigure(expression: string, monitored: readonly Line[], facts: { ok: boolean; limit: number }) {
  const sends = Array.from({ length: SECONDS * 100 }, (_, index) =>
    send({ index, intendedOffsetNs: index * 10 * MS }),
  );
  const report = reportOf(sends, { slo: ['latency: p(95)<200'] });
  const judged = { ...report.slo[0]!, expression, unit: 'number' as const, observed: null, ...facts };
  const page = reportPage({ ...report, slo: [judged, ...report.slo], monitored }, ASSETS);
  return page.split('</figure>')[0]!;
}

test('six of eight series are the worst ones, the one that broke its limit among them', () => {
  const gpus = [30, 31, 32, 33, 34, 35, 36, 99].map((percent, gpu) =>
    line('gpu_utilization', percent / 100, { labels: { gpu: String(gpu) } }),
  );
  const [chart] = monitorCharts(gpus, () => ({ source: 'looks' }));
  expect(chart!.lines.map(({ values }) => values[0])).toEqual([0.99, 0.36, 0.35, 0.34, 0.33, 0.32]);
  const [least] = monitorCharts(gpus, () => ({ source: 'looks' }), {
    series: 'gpu_utilization',
    operator: '>',
  });
  expect(least!.lines.map(({ values }) => values[0])).toEqual([0.3, 0.31, 0.32, 0.33, 0.34, 0.35]);
});

test('the series of a violated objective is the first chart, however many names come before it', () => {
  const many = Array.from({ length: 20 }, (_, at) => line(`series_${at}`, 0.1));
  const figure = firstFigure('kv_cache_utilization: max<95%', [...many, line('kv_cache_utilization', 0.99)], {
    ok: false,
    limit: 0.95,
  });
  expect(figure).toContain('Monitored: kv_cache_utilization');
  expect(figure).toContain('objective kv_cache_utilization: max&#60;95%');
});

test('a limit on the growth of a counter is not drawn across its rate', () => {
  const rate = line('preemptions', 0.3, { kind: 'counter', unit: 'count' });
  const figure = firstFigure('preemptions: count<1', [rate], { ok: false, limit: 1 });
  expect(figure).toContain('Monitored: preemptions');
  expect(figure).not.toContain('objective preemptions');
});

test('a violated objective has no limit in a chart that does not show where it was crossed', () => {
  const lines = [line('cache_hit_rate', 0.9)];
  const limitIn = (limit: number) => firstFigure(`cache_hit_rate: min>${limit}`, lines, { ok: false, limit });
  expect(limitIn(0.5)).not.toContain('objective cache_hit_rate');
  expect(limitIn(0.95)).toContain('objective cache_hit_rate');
});

test('no kept objective is shown first where one without a course is violated', () => {
  const figure = firstFigure('makespan: <1s', [], { ok: false, limit: 1_000 });
  expect(figure).toContain('Latency p95');
  expect(figure).not.toContain('objective latency');
  expect(firstFigure('makespan: <1h', [], { ok: true, limit: 3.6e6 })).toContain('objective latency');
});

test('a step of a series that may not fall below a limit has its least value', () => {
  const points = [0.9, 0.2, 0.8].map((value, at) => ({ fromNs: at * 5e8, toNs: at * 5e8, value }));
  expect(monitoredSteps(points, 5e8, 1, 2, Math.min)).toEqual([0.2, 0.8]);
  expect(monitoredSteps(points, 5e8, 1, 2)).toEqual([0.9, 0.8]);
});
