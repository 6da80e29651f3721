import { describe, expect, test } from 'vitest';
import { capacityPublication, runPublication } from '../../../src/analysis/publication/build-publication.ts';
import { publicationSchema } from '../../../src/documents/publication.ts';
import { mixedSends, reportOf } from '../../support/reported-runs.ts';
import { playedAt, searched } from '../../support/searched.ts';

describe('a run for trackers', () => {
  test('has the figures of its document, and its document has no others', () => {
    const report = reportOf(mixedSends(600), { slo: ['latency: p(95)<200', 'errors: rate<0.5'] });
    const played = report.summary!;
    const summary = { ...played, itlMs: { ...played.itlMs, p50: 3 } };
    const { metrics, params, tags, series, ...run } = runPublication(report, summary);
    expect(run).toMatchObject({ id: summary.run, kind: 'replay', complete: true, children: [] });
    expect(metrics).toMatchObject({
      'request_latency.p99': summary.latencyMs.service.p99,
      'scheduled_latency.p95': summary.latencyMs.scheduled.p95,
      'time_to_first_token.p50': summary.ttftMs.p50,
      // As AIPerf means them.
      'inter_token_latency.p50': summary.tpotMs.p50,
      'inter_chunk_latency.p50': 3,
      'requests.refused': summary.refused,
      request_count: summary.completed,
      error_request_count: summary.failed,
      'objective.1.limit': 200,
    });
    expect(params).toMatchObject({ 'objective.1': 'latency: p(95)<200', scaling: 'compress' });
    expect(tags).toMatchObject({ 'reprise.run': summary.run, 'reprise.verdict': summary.verdict });
    expect(series['over_time/in_flight']).toHaveLength(report.overTime.at.length);
    expect(Object.values(metrics).every(Number.isFinite)).toBe(true);
    expect(publicationSchema.safeParse({ ...run, metrics, params, tags, series }).success).toBe(true);
  });

  test('could not be told from others: no name, no build, no dataset, and backslashes in its note', () => {
    const report = reportOf(mixedSends(600), { slo: ['latency: p(95)<0.001'] });
    const labels = { build: 'v1.4.2', commit: '0c1f3a' };
    const tested = { labels, captureDigest: '0123456789abcdef', multiplier: 2 };
    const summary = { ...report.summary!, ...tested, options: { name: 'nightly' } };
    const { name, tags, note, dataset } = runPublication({ ...report, summary }, summary);
    expect(name).toBe('nightly 2x');
    expect(dataset).toEqual({ name: 'monday', digest: '0123456789abcdef' });
    expect(tags).toMatchObject({
      'reprise.label.build': 'v1.4.2',
      'reprise.label.commit': '0c1f3a',
      'reprise.capture_digest': '0123456789abcdef',
    });
    expect(note).toContain('slo_violated');
    expect(note).not.toContain('\\');
    // A recorded text cannot leave its quotation.
    const quoted = { ...report, summary, headline: 'a ` b [c](http://d)' };
    expect(runPublication(quoted, summary).note).toContain("`a ' b [c](http://d)`");
  });

  test('has no number where most got no answer, and says so in a tag', () => {
    const report = reportOf(mixedSends(60), { slo: ['latency: p(99)<1'] });
    const line = { ...report.summary!.slo[0]!, observed: 'Infinity' as const, ok: false };
    const reasons = report.summary!.reasons;
    expect(reasons.map(({ code, about }) => [code, about])).toContainEqual([
      'slo_violated',
      [line.expression],
    ]);
    const { metrics, tags } = runPublication(report, { ...report.summary!, slo: [line] });
    expect(metrics).not.toHaveProperty(['objective.1.observed']);
    expect(tags['reprise.objective.1']).toBe('violated, most got no answer');
  });
});

test('a search for trackers has its steps as children', () => {
  const document = searched([1, 2, 4, 8, 8].map((at) => playedAt(at)));
  const { name, curve, metrics, children, kind } = capacityPublication(document);
  expect(kind).toBe('capacity');
  expect(name).toBe('nightly search');
  expect(children[0]?.name).toMatch(/^nightly search 1x /);
  expect(curve?.['by_load/scheduled_latency.p99']).toEqual(
    document.curve.map(({ multiplier, latencyMs }) => [multiplier * 100, latencyMs.p99]),
  );
  expect(publicationSchema.parse(capacityPublication(document))).toEqual(capacityPublication(document));
  expect(metrics['breaking_point.boundary']).toBe(document.breakingPoint.boundary!.multiplier);
  expect(children).toHaveLength(document.steps.length);
  expect(children[0]).toMatchObject({
    kind: 'step',
    params: { multiplier: String(document.steps[0]!.multiplier) },
    metrics: { 'scheduled_latency.p99': document.steps[0]!.latencyMs.p99 },
  });
  expect(capacityPublication({ ...document, directory: "/runs/o'hare s/" }).id).toMatch(/^o-hare-s-2/);
  expect(new Set(children.map(({ id }) => id)).size).toBe(children.length);
});
