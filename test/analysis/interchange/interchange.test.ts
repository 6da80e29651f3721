import { describe, expect, test } from 'vitest';
import { INTERCHANGE_FORMS, interchangeOf } from '../../../src/analysis/interchange/interchange.ts';
import { mixedSends, reportOf } from '../../support/reported-runs.ts';

const SLO = ['latency: p(95)<1000', 'errors: rate<0.0001', 'latency{model:llama-3.1-8b}: p(95)<1000'];
const report = reportOf(mixedSends(600), { slo: SLO });
const summary = report.summary!;
const { service, scheduled } = report.latencyMs;
const p95 = (ladder: typeof service) => ladder.steps.find(({ percent }) => percent === 95)!.ms;

test('a run that never came to its end has no form of another tool', () => {
  for (const form of INTERCHANGE_FORMS) {
    expect(() => interchangeOf(form, { ...report, summary: null })).toThrow(
      expect.objectContaining({ code: 'INPUT_INVALID' }),
    );
  }
});

test('a closed loop, which plans no instants, has no latency from them', () => {
  const closed = { ...report, summary: { ...summary, closedLoop: { concurrency: 4 } } };
  const [llmd, aiperf, k6] = INTERCHANGE_FORMS.map((form) => JSON.stringify(interchangeOf(form, closed)));
  expect(JSON.parse(llmd!).results.observability).toEqual({});
  expect(JSON.parse(aiperf!)).not.toHaveProperty('scheduled_latency');
  expect(JSON.parse(k6!).metrics).not.toHaveProperty('scheduled_latency');
});

describe('llm-d', () => {
  test('has the counts, lengths and times of the report, and the verdict among its keywords', () => {
    const form = interchangeOf('llm-d', report);
    const { sent, completed, failed, cancelled, tokens, durationS } = summary;
    expect(form).toMatchObject({
      version: '0.2.1',
      run: { uid: summary.run, keywords: ['reprise', report.verdict, report.valid ? 'valid' : 'not valid'] },
      scenario: { load: { standardized: { input_seq_len: { value: 20 }, parallelism: 1 } } },
      results: {
        request_performance: {
          aggregate: {
            requests: { total: sent, failures: failed, incomplete: cancelled, output_length: { mean: 10 } },
            latency: {
              request_latency: { units: 'ms', mean: service.meanMs, p95: p95(service), max: service.maxMs },
              time_per_output_token: { units: 'ms/token', p95: p95(report.streams.tpot) },
            },
            throughput: {
              output_token_rate: { mean: tokens.output / durationS },
              request_rate: { mean: completed / durationS },
            },
          },
        },
        observability: { scheduled_request_latency: { statistics: { p95: p95(scheduled) } } },
      },
    });
  });

  test('has no load, lengths and token rates without token counts', () => {
    const tokens = { answers: 0, prompt: 0, output: 0, finishReasons: {} };
    const form = interchangeOf('llm-d', { ...report, summary: { ...summary, tokens } });
    const { scenario, results } = JSON.parse(JSON.stringify(form));
    expect(scenario).toEqual({});
    expect(results.request_performance.aggregate.requests).not.toHaveProperty('input_length');
    expect(Object.keys(results.request_performance.aggregate.throughput)).toEqual(['request_rate']);
  });
});

describe('aiperf', () => {
  test('calls the time per output token as AIPerf calls it, and tells errors by status', () => {
    const form = interchangeOf('aiperf', report);
    const { tpot, itl } = report.streams;
    expect(form).toMatchObject({
      schema_version: '1.4',
      request_count: { unit: 'requests', avg: summary.completed },
      request_latency: { unit: 'ms', avg: service.meanMs, p95: p95(service), count: service.count },
      scheduled_latency: { p95: p95(scheduled) },
      inter_token_latency: { avg: tpot.meanMs, count: tpot.count },
      total_osl: { avg: summary.tokens.output },
      is_complete: true,
      reprise: { verdict: report.verdict },
    });
    expect(itl.count === 0).toBe(!('inter_chunk_latency' in JSON.parse(JSON.stringify(form))));
    const { error_summary: errors } = form as { error_summary: { error_details: object; count: number }[] };
    expect(errors).toContainEqual(
      expect.objectContaining({ error_details: expect.objectContaining({ code: 503 }) }),
    );
    expect(errors.reduce((sum, { count }) => sum + count, 0)).toBe(summary.failed);
  });
});

describe('k6', () => {
  interface Check {
    readonly name: string;
    readonly passes: number;
    readonly fails: number;
  }
  const checksOf = (form: object) =>
    Object.fromEntries(
      (form as { root_group: { checks: Check[] } }).root_group.checks.map(({ name, passes, fails }) => [
        name,
        passes - fails,
      ]),
    );

  test('has a check for each objective, and a threshold where one metric of all requests is limited', () => {
    const form = interchangeOf('k6', report);
    const [latency = '', errors = ''] = SLO;
    const checks = checksOf(form);
    expect(checks).toMatchObject({ [latency]: 1, [errors]: -1 });
    expect(Object.keys(checks)).toEqual(
      expect.arrayContaining(report.slo.map(({ expression }) => expression)),
    );
    const { completed, failed, sent } = summary;
    expect(form).toMatchObject({
      metrics: {
        http_reqs: { type: 'counter', values: { count: sent } },
        http_req_failed: {
          values: { passes: failed, fails: completed },
          thresholds: { 'rate<0.0001': { ok: false } },
        },
        scheduled_latency: {
          values: { 'p(95)': p95(scheduled), avg: scheduled.meanMs },
          thresholds: { 'p(95)<1000': { ok: true } },
        },
        http_req_duration: { type: 'trend', contains: 'time', values: { 'p(95)': p95(service) } },
      },
    });
  });

  test('passes no check for an objective whose result is not known, or a run that is not sure', () => {
    const slo = report.slo.map((line) => ({ ...line, ok: null }));
    const unsure = { ...report, slo, verdict: 'INCONCLUSIVE', valid: false } as const;
    expect(new Set(Object.values(checksOf(interchangeOf('k6', unsure))))).toEqual(new Set([-1]));
  });
});
