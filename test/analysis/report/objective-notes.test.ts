import { describe, expect, test } from 'vitest';
import { viewMarkdown, viewText } from '../../../src/analysis/render/table.ts';
import { headlineOf } from '../../../src/analysis/report/build-report.ts';
import { reportPage } from '../../../src/analysis/report/page.ts';
import { runScreen } from '../../../src/analysis/report/screen.ts';
import { reportView } from '../../../src/analysis/report/view.ts';
import type { Send } from '../../../src/core/run.ts';
import { reportOf, summaryOf } from '../../support/reported-runs.ts';
import { failed, refused, send } from '../../support/sends.ts';

const GOODPUT = 'goodput: rate>0.9 where latency<100';

/** The forms of a report, each in one line. */
const formsOf = (sends: readonly Send[], slo: readonly string[]) => {
  const report = reportOf(sends, { slo });
  const view = reportView(report);
  const page = reportPage(report, { script: '', style: '' });
  return [
    viewText(view).join('\n'),
    viewMarkdown(view).replaceAll('\\', ''),
    page.replaceAll('&#60;', '<').replaceAll('&#62;', '>'),
  ];
};

const screenOf = (sends: readonly Send[], slo: readonly string[]) =>
  runScreen(summaryOf(sends, { slo }), 'runs/one').map(String);

describe('what goodput lacks', () => {
  const turnedAway = (index: number, status: number) => send({ index, status });
  const sends = Array.from({ length: 1_000 }, (_, index) => {
    if (index % 3 === 0) return turnedAway(index, 404);
    if (index % 100 === 1) return failed(index);
    if (index % 100 === 2) return refused(index);
    if (index % 20 === 5) return send({ index, lastByteOffsetNs: index * 100e6 + 200e6 });
    return send({ index });
  });

  test('a third of 404 lowered goodput, and no form told the reason', () => {
    const both = [GOODPUT, 'latency: p(95)<100'];
    const { throughput, slo } = summaryOf(sends, { slo: both });
    const { good = 0, of = 0, missing } = throughput?.goodput ?? {};
    expect(missing).toEqual({ late: 34, failed: 7, turnedAway: 334, whole: 0, unsent: 7 });
    expect(good + 34 + 7 + 334 + 7).toBe(of);
    expect(slo.find(({ expression }) => expression === GOODPUT)?.goodput?.missing).toEqual({
      ...missing,
      cancelled: 0,
    });
    const lacks = 'lacks 38.2 %: 33.4 % status 404, 3.4 % too late, 0.7 % failed, 0.7 % not sent';
    expect(formsOf(sends, [GOODPUT]).map((form) => form.includes(`where latency<100 ${lacks}.`))).toEqual([
      true,
      true,
      true,
    ]);
    for (const objectives of [[GOODPUT], both])
      expect(screenOf(sends, objectives)).toContainEqual(
        expect.stringMatching(/Goodput lacks 38.2 %: 33.4 % status 404, 3.4 % too late, 0.7 % failed/),
      );
  });

  test('other statuses are named by their class', () => {
    const of = (...statuses: number[]) =>
      screenOf(
        Array.from({ length: 600 }, (_, index) =>
          turnedAway(index, statuses[index % statuses.length] ?? 200),
        ),
        [GOODPUT],
      ).find((line) => /lacks \d/.test(line));
    expect(of(200, 404, 429)).toMatch(/status 4xx$/);
    expect(of(200, 404, 302)).toMatch(/status not 2xx$/);
  });

  test('nothing is said where nothing is missing', () => {
    const all = Array.from({ length: 600 }, (_, index) => send({ index }));
    for (const form of [...formsOf(all, [GOODPUT]), ...screenOf(all, [GOODPUT])])
      expect(form).not.toMatch(/\blacks \d/);
  });
});

describe('percentiles of objectives beside those of completed requests', () => {
  const SLO = ['latency: p(95)<100'];
  const sends = (share: number) =>
    Array.from({ length: 1_000 }, (_, index) =>
      index % share === 0
        ? failed(index)
        : send({ index, lastByteOffsetNs: index * 100e6 + (index % 100) * 1e6 + 1 }),
    );

  test('the same percentile had two values, and no form told why', () => {
    const document = summaryOf(sends(25), { slo: SLO });
    expect(document.slo[0]?.observed).not.toBe(document.latencyMs.scheduled.p95);
    const completed =
      'Objectives count failed requests as infinitely slow. Of completed requests alone, latency p95 is ';
    expect(formsOf(sends(25), SLO).map((form) => form.includes(completed))).toEqual([true, true, true]);
    expect(screenOf(sends(25), SLO)).toContain('  Objectives count failed requests as infinitely slow.');
  });

  test('nothing is said where both are the same', () => {
    const none = Array.from({ length: 1_000 }, (_, index) => send({ index }));
    for (const form of [...formsOf(none, SLO), ...screenOf(none, SLO)])
      expect(form).not.toContain('Objectives count');
  });
});

test('a PASS by observed values alone was headed like one with confidence', () => {
  const sends = Array.from({ length: 1_000 }, (_, index) => send({ index }));
  const summary = summaryOf(sends, { slo: ['latency: p(95)<10000'] });
  const headed = (confidence: number | null) => {
    const judged = { ...summary, verdict: 'PASS', bounds: { ...summary.bounds, confidence } } as const;
    return headlineOf({ verdict: 'PASS', valid: true, summary: judged, differs: false });
  };
  expect(headed(null)).toContain('--confidence point');
  expect(headed(0.95)).not.toContain('--confidence point');
});
