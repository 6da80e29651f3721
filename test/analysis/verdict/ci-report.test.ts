import { describe, expect, test } from 'vitest';
import { capacityView } from '../../../src/analysis/capacity/view.ts';
import { comparisonView } from '../../../src/analysis/compare/view.ts';
import { reportView, runView } from '../../../src/analysis/report/view.ts';
import {
  type CiReport,
  ciReportOfCapacity,
  ciReportOfComparison,
  ciReportOfReport,
  ciReportOfRun,
  githubReport,
  junitXml,
  openMetrics,
} from '../../../src/analysis/verdict/ci-report.ts';
import { reason } from '../../../src/analysis/verdict/reasons.ts';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../../src/app/compare.ts';
import { byProgram } from '../../../src/core/options.ts';
import type { CapacityDocument } from '../../../src/documents/capacity.ts';
import { calmSends, comparedRun } from '../../support/compared-runs.ts';
import { type RunFacts, reportOf, summaryOf } from '../../support/reported-runs.ts';
import { good } from '../../support/run-contexts.ts';
import { searched } from '../../support/searched.ts';

const outcomeOf = (count: number, facts: RunFacts): CiReport => {
  const document = summaryOf(good(count), facts);
  return ciReportOfRun(document, runView(document));
};
const results = ({ cases }: CiReport) => cases.map(({ kind, name, result }) => [kind, name, result]);

const KEPT = outcomeOf(200, { slo: ['latency: p(95)<60s'], run: { options: { name: 'nightly' } } });
const BROKEN = outcomeOf(200, { slo: ['latency: p(95)<0.001', 'service: p(50)<60s'] });
const OPEN = outcomeOf(20, { slo: ['latency: p(99)<60s'] });

const UNNAMED = /^monday at 1\.5x by compress against http:\/\/\S+ with [0-9a-f]{8}$/;

describe('the outcome of a run', () => {
  test('has a case for each objective, and one for each reason that leaves it open', () => {
    expect({ test: KEPT.test, result: KEPT.result, cases: results(KEPT) }).toEqual({
      test: 'nightly',
      result: 'passed',
      cases: [
        ['objective', 'latency: p(95)<60s', 'passed'],
        ['objective', 'errors: rate<0.01', 'passed'],
        ['objective', 'rejected: rate<0.01', 'passed'],
      ],
    });
    expect(BROKEN.result).toBe('failed');
    expect(results(BROKEN).slice(0, 2)).toEqual([
      ['objective', 'latency: p(95)<0.001', 'failed'],
      ['objective', 'service: p(50)<60s', 'passed'],
    ]);
    expect(OPEN.result).toBe('undecided');
    expect(results(OPEN)).toContainEqual(['reason', 'too_few_samples', 'undecided']);
    expect(results(OPEN).map(([, , result]) => result)).not.toContain('failed');
  });

  test('a slow recovery, which no objective has a line for, is a case that failed in each form', () => {
    const slow = reason('recovery_too_slow', { name: 'outage', seconds: 14, limitS: 10, by: [] });
    const kept = summaryOf(good(200), { slo: ['latency: p(95)<60s'] });
    const document = { ...kept, verdict: 'FAIL' as const, reasons: [slow] };
    const outcome = ciReportOfRun(document, runView(document));
    expect(results(outcome).filter(([, , result]) => result === 'failed')).toEqual([
      ['reason', 'recovery_too_slow', 'failed'],
    ]);
    expect(junitXml(outcome)).toMatch(/failures="1" errors="0" skipped="0"/);
    expect(openMetrics(outcome)).toMatch(/_failed_checks\{.*\} 1$/m);
    expect(githubReport(outcome)).toMatchObject({
      annotations: [expect.stringContaining('recovery_too_slow')],
      outputs: 'verdict=FAIL\nresult=failed\nreasons=recovery_too_slow\n',
    });
    expect(results(BROKEN).filter(([, name]) => name === 'slo_violated')).toEqual([]);
  });

  test('names an unnamed run by what sets it apart, and has a case without any objective', () => {
    const bare = outcomeOf(200, { run: { capture: '/captures/monday/' } });
    expect(bare).toMatchObject({ test: expect.stringMatching(UNNAMED), result: 'passed', verdict: null });
    expect(results(bare)).toEqual([['run', 'the run is valid', 'passed']]);
  });

  test('takes runs against another target, or of another plan, for no runs of one test', () => {
    const options = { fromUs: 1, seed: 1 };
    const nameOf = (facts: object) => outcomeOf(200, { run: { options, ...facts } }).test;
    expect(nameOf({})).toBe(nameOf({ options: { ...options, retainRuns: 5, name: null } }));
    const others = [
      nameOf({ target: 'http://b' }),
      nameOf({ options: { ...options, seed: 2 } }),
      nameOf({ options: { ...options, fromUs: 2 } }),
    ];
    expect(new Set([nameOf({}), ...others]).size).toBe(4);
  });

  test('has the figures of the run, and leaves out what was not measured', () => {
    const figures = Object.fromEntries(KEPT.figures.map(({ name, value }) => [name, value]));
    expect(figures).toMatchObject({ sent: 200, failed: 0, achieved: 1 });
    expect(figures['latency_p99']).toBeGreaterThan(0);
    expect(figures).not.toHaveProperty('ttft_p50');
  });

  test('a report of rows that are not those of the run passes nothing', () => {
    const report = reportOf(good(200), { slo: ['latency: p(95)<60s'] });
    const damaged = { ...report, valid: false };
    expect(ciReportOfReport(report, reportView(report)).result).toBe('passed');
    expect(ciReportOfReport(damaged, reportView(damaged)).result).toBe('undecided');
  });
});

test('the outcome of a comparison has a case for each metric', async () => {
  const { a, b } = calmSends(900, 1.2);
  const options = resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}));
  const document = await compareNamed(comparedRun(a), comparedRun(b), options);
  const outcome = ciReportOfComparison(document, comparisonView(document));
  expect(outcome).toMatchObject({ verdict: 'WORSE', result: 'failed' });
  expect(outcome.cases.filter(({ result }) => result === 'failed').length).toBeGreaterThan(0);
  // The directories of runs are others each time, and a suite of another name has no history.
  const again = await compareNamed(comparedRun(a), comparedRun(b), options);
  expect(ciReportOfComparison(again, comparisonView(again)).test).toBe(outcome.test);
  // A metric says what its reason says, and that reason has no second case.
  const told = document.reasons.filter(({ about }) => about?.includes('latency_p95'));
  expect(told.map(({ text }) => text)).toEqual([
    outcome.cases.find(({ name }) => name === 'latency_p95')?.message,
  ]);
  expect(outcome.cases.filter(({ kind }) => kind === 'reason')).toEqual([]);
  const open = ciReportOfComparison({ ...document, verdict: 'INCONCLUSIVE' }, comparisonView(document));
  expect(open.cases.filter(({ result }) => result === 'failed')).toEqual([]);
});

test('two searches in directories of one name are two runs, and one that goes on is the same', () => {
  const search = searched([]);
  const outcome = (parts: Partial<CapacityDocument>) =>
    ciReportOfCapacity({ ...search, ...parts }, capacityView(search), null);
  const runOf = (parts: Partial<CapacityDocument>) => outcome(parts).facts?.run;
  const monday = runOf({ directory: '/monday/search' });
  expect(runOf({ directory: '/elsewhere/search', endedAt: '2026-11-25T00:00:00.000000Z' })).toBe(monday);
  expect(runOf({ directory: '/monday/search', startedAt: '2026-11-25T00:00:00.000000Z' })).not.toBe(monday);
  expect(outcome({ target: 'http://other' }).test).not.toBe(outcome({}).test);
});

const HOSTILE: CiReport = {
  ...BROKEN,
  test: 'a "test" of <b>\n& more\u0000\ufffe\ud800',
  cases: [
    {
      kind: 'objective',
      name: 'latency: p(50)<5',
      result: 'failed',
      message: '100% \r\nlate]]>',
      advice: 'x',
    },
    { kind: 'reason', name: 'too_close', result: 'undecided', message: 'a, b: c', advice: '' },
  ],
};

describe('JUnit', () => {
  test('counts what failed and skips what is undecided', () => {
    expect(junitXml(OPEN)).toMatch(
      /<testsuite name="[^"]+" timestamp="[^"]+" tests="\d+" failures="0" errors="0" skipped="[1-9]/,
    );
    expect(junitXml(BROKEN)).toMatch(/failures="1" errors="0" skipped="\d+"/);
    expect(junitXml(KEPT)).toMatch(
      /<testcase name="latency: p\(95\)&#60;60s" classname="replay\.objective" time="0"\/>/,
    );
  });

  test('has no character that XML has no place for', () => {
    for (const bad of ['\u0000', '\ufffe', '\ud800', '<b>']) expect(junitXml(HOSTILE)).not.toContain(bad);
  });
});

describe('GitHub', () => {
  test('is told an error for each check that did not pass, escaped, and the verdict as an output', () => {
    const { annotations, outputs, summary } = githubReport(HOSTILE);
    expect(annotations).toEqual([
      expect.stringMatching(
        /^::error title=FAIL%3A a "test"[^\n]*%0A[^\n]*::latency: p\(50\)<5: 100%25 %0D%0Alate\]\]>%0Ax$/,
      ),
      expect.stringMatching(/^::error title=[^\n]*::too_close: a, b: c$/),
    ]);
    expect(outputs).toBe('verdict=FAIL\nresult=failed\nreasons=latency: p(50)<5;too_close\n');
    expect(summary).toMatch(/^# Run: a "test" of \\<b\\>/);
    expect(githubReport(KEPT).annotations).toEqual([]);
  });

  test('takes ten annotations, those that failed before others, and a summary of a mebibyte', () => {
    const many = Array.from({ length: 30 }, (_, at) => ({
      ...HOSTILE.cases[at === 29 ? 0 : 1]!,
      message: 'x'.repeat(50),
    }));
    const view = { ...HOSTILE.view, lines: Array.from({ length: 20_000 }, () => 'ü'.repeat(60)) };
    const { annotations, summary } = githubReport({ ...HOSTILE, cases: many, view });
    expect(annotations).toHaveLength(10);
    expect(annotations[0]).toContain('::latency');
    expect(Buffer.byteLength(summary)).toBeLessThanOrEqual(1024 * 1024);
    expect(summary).toMatch(/30 checks did not pass/);
  });
});

test('OpenMetrics has base units, one sample a figure, and an end', () => {
  const lines = openMetrics({ ...HOSTILE, figures: [{ name: 'latency_p99', unit: 'ms', value: 250 }] }).split(
    '\n',
  );
  expect(lines.slice(0, 2)).toEqual([
    '# TYPE reprise_replay_latency_p99_seconds gauge',
    expect.stringMatching(
      /^reprise_replay_latency_p99_seconds\{test="a \\"test\\" of <b>\\n& more.*"\} 0\.25$/,
    ),
  ]);
  expect(lines.slice(-2)).toEqual(['# EOF', '']);
});
