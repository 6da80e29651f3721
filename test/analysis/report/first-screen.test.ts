import { describe, expect, test } from 'vitest';
import { reportPage } from '../../../src/analysis/report/page.ts';
import type { ReportDocument } from '../../../src/documents/report.ts';
import { mixedSends, recordedOf, reportOf } from '../../support/reported-runs.ts';
import { failed, refused, send } from '../../support/sends.ts';

const ASSETS = { script: 'var uPlot;', style: '' };
const MS = 1e6;

/** All in 10 ms but those of `slow`. */
const sendsOf = (count: number, slow: (index: number) => boolean) =>
  Array.from({ length: count }, (_, index) => {
    const intendedOffsetNs = index * 10 * MS;
    return send({
      index,
      intendedOffsetNs,
      lastByteOffsetNs: intendedOffsetNs + (slow(index) ? 500 : 10) * MS,
    });
  });

describe('the chart of the first screen', () => {
  test('shows the violated p99 of the preset realtime, not the p50 that it names first', () => {
    const sends = sendsOf(6_000, (index) => index % 50 === 0);
    const report = reportOf(sends, { slo: ['latency: p(50)<50', 'latency: p(99)<200'] });
    expect(report.latencySteps.percent).toBe(99);
    expect(reportPage(report, ASSETS)).toContain('Latency p99 and p50 over time');
  });

  test('shows the highest percentile where all are kept, and the violated one where a higher is kept', () => {
    const sends = sendsOf(6_000, () => false);
    const percentBy = (slo: string[]) => reportOf(sends, { slo }).latencySteps.percent;
    expect(percentBy(['latency: p(50)<50', 'latency: p(99)<200', 'latency: p(95)<100'])).toBe(99);
    expect(percentBy(['latency: p(99)<200', 'latency: p(95)<5', 'latency{model=x}: p(99)<1'])).toBe(95);
  });

  test('shows no other percentile beside the limit of one that has too few samples', () => {
    const report = reportOf(
      sendsOf(300, () => false),
      { slo: ['latency: p(99)<200'] },
    );
    expect(report.latencySteps.percent).not.toBe(99);
    const page = reportPage(report, ASSETS);
    expect(page).toContain('Latency p50 over time');
    expect(page).toContain('no step has enough for p99');
    expect(page).not.toContain('class="limit"');
  });

  test('names run, target, load and date above the verdict', () => {
    const page = reportPage(reportOf(sendsOf(300, () => false)), ASSETS);
    const line = /<p class="kicker"><span>(.*?)<\/span>/.exec(page)?.[1];
    expect(line).toMatch(/^Load test report · .+ → http.+ · 1\.5x · \d{4}-\d\d-\d\d [\d:]+$/);
  });

  const factsOf = (run: Partial<ReportDocument['run']>) => {
    const report = reportOf(sendsOf(300, () => false));
    const page = reportPage({ ...report, run: { ...report.run, ...run } }, ASSETS);
    return /<p class="kicker"><span>(.*?)<\/span>/.exec(page)?.[1]?.split(' · ').slice(1, 3);
  };

  test('showed whole paths above the verdict, so that the line broke', () => {
    expect(
      factsOf({
        directory: '/home/me/load tests/runs/tonight',
        capture: '/var/lib/reprise/captures/monday/',
        target: 'http://staging:8000',
      }),
    ).toEqual(['…/runs/tonight', '…/captures/monday → http://staging:8000']);
    expect(factsOf({ directory: 'runs/one', capture: './captures/monday', target: null })).toEqual([
      'runs/one',
      './captures/monday',
    ]);
  });

  test('said `null →` of a run whose capture is not known', () => {
    const directory = 'runs/one';
    expect(factsOf({ directory, capture: null, target: 'http://x' })).toEqual([directory, 'http://x']);
    expect(factsOf({ directory, capture: null, target: null, multiplier: null })?.[1]).toMatch(/^\d{4}-/);
  });

  test('has one line where its percentile is the median', () => {
    const page = reportPage(
      reportOf(
        sendsOf(6_000, () => false),
        { slo: ['latency: p(50)<50'] },
      ),
      ASSETS,
    );
    expect(page).toContain('Latency p50 over time');
  });
});

describe('the chart of an objective that is not on latency', () => {
  /** Fifty seconds of streams, whose first token takes longer from the thirtieth on. */
  const streams = Array.from({ length: 5_000 }, (_, index) => {
    const intendedOffsetNs = index * 10 * MS;
    const tokenNs = intendedOffsetNs + (index < 3_000 ? 20 : 400) * MS;
    const lastByteOffsetNs = tokenNs + 90 * MS;
    return send({
      index,
      intendedOffsetNs,
      lastByteOffsetNs,
      streamed: true,
      model: index % 2 === 0 ? 'even' : 'odd',
      answer: {
        firstTokenOffsetNs: tokenNs,
        lastTokenOffsetNs: lastByteOffsetNs,
        contentEvents: 10,
        gapMaxNs: MS,
        gaps: null,
        promptTokens: 20,
        outputTokens: 10,
        finish: 'stop' as const,
      },
    });
  });
  const titlesOf = (page: string) => [...page.matchAll(/<h3>([^<]+)<\/h3>/g)].map(([, title]) => title);

  test('shows the violated time to first token, its limit and what was recorded, not the latency that was kept', () => {
    const report = reportOf(
      streams,
      { slo: ['latency: p(95)<2000', 'ttft: p(95)<200'] },
      recordedOf(streams, 200),
    );
    expect(report.objectiveSteps).toMatchObject({ metric: 'ttft', unit: 'ms', percent: 95, stepS: 2 });
    const { at, values } = report.objectiveSteps ?? { at: [], values: [] };
    expect(values.slice(0, -1)).toEqual(
      at.slice(0, -1).map((second) => expect.closeTo(second < 30 ? 20 : 400, -1)),
    );
    const page = reportPage(report, ASSETS);
    expect(
      titlesOf(page)
        .filter((title) => title?.includes('over time'))
        .slice(0, 2),
    ).toEqual(['Time to first token p95 and p50 over time', 'Latency p95 and p50 over time']);
    const [figure] = page.split('</figure>');
    expect(figure).toContain('recorded p50 to p95');
    expect(figure).toContain('objective ttft: p(95)&#60;200');
    expect(page).toContain('limit 200.0 ms; recorded 50.0 ms');
  });

  test('shows only the requests that the objective names', () => {
    const slo = ['ttft{model=odd}: p(50)<200'];
    const slow = streams.map((each) =>
      each.model === 'even'
        ? { ...each, answer: { ...each.answer!, firstTokenOffsetNs: each.intendedOffsetNs } }
        : each,
    );
    const { objectiveSteps } = reportOf(slow, { slo });
    expect(objectiveSteps?.samples.slice(0, -1).every((count) => count === 50)).toBe(true);
    expect(objectiveSteps?.values[0]).toBeCloseTo(20, -1);
  });

  test('shows a violated share of errors, in percent, step by step', () => {
    const half = streams.map((each) =>
      each.index >= 2_000 && each.index < 3_000 && each.index % 2 === 0
        ? failed(each.index, { intendedOffsetNs: each.intendedOffsetNs })
        : each,
    );
    const report = reportOf(half, { slo: ['latency: p(50)<2000'] });
    expect(report.objectiveSteps).toMatchObject({ metric: 'errors', unit: 'share', stepS: 1, median: null });
    const { at, values } = report.objectiveSteps ?? { at: [], values: [] };
    expect(values.slice(0, 50)).toEqual(
      at.slice(0, 50).map((second) => (second >= 20 && second < 30 ? 0.5 : 0)),
    );
    expect(titlesOf(reportPage(report, ASSETS))[0]).toBe('Failed requests over time');
  });

  test('shows the share of requests that kept their limits', () => {
    const slo = ['goodput: rate>0.9 where ttft<200'];
    const { objectiveSteps } = reportOf(streams, { slo });
    expect(objectiveSteps?.values.slice(0, 50)).toEqual([...new Array(30).fill(1), ...new Array(20).fill(0)]);
  });

  test('shows the latency where the objective has no course over time', () => {
    const report = reportOf(streams, { slo: ['makespan: <1s'] });
    expect([report.objectiveSteps, titlesOf(reportPage(report, ASSETS))[0]]).toEqual([
      null,
      'Latency p95 and p50 over time',
    ]);
  });
});

describe('requests that were never answered', () => {
  /** A hundred a second; of the fifth to the ninth second every third fails or is refused. */
  const sends = Array.from({ length: 1_499 }, (_, index) => {
    const intendedOffsetNs = index * 10 * MS;
    const isBreach = index >= 500 && index < 1_000;
    if (isBreach && index % 6 === 0) return failed(index, { intendedOffsetNs });
    if (isBreach && index % 6 === 3) return refused(index, { intendedOffsetNs });
    return send({ index, intendedOffsetNs });
  });
  const report = reportOf(sends, { slo: ['latency: p(90)<200'] });

  test('are over every limit in the chart of the first screen, as in the verdict', () => {
    const { at, tailMs, p50Ms, samples, stepS } = report.latencySteps;
    const breach = at.map((second) => second >= 5 && second < 10);
    expect([stepS, report.slo[0]?.observed]).toEqual([1, 'Infinity']);
    expect(tailMs).toEqual(breach.map((isBreach) => (isBreach ? 'Infinity' : 10)));
    expect(new Set(p50Ms)).toEqual(new Set([10]));
    expect(new Set(samples.slice(0, -1))).toEqual(new Set([100]));
  });

  test('are red in the chart, whose limit is then not far above', () => {
    const page = reportPage(report, ASSETS);
    expect(page.match(/<rect class="mark bad" x=/g)).toHaveLength(5);
    expect(page).toContain('p90: never answered');
    expect(page).not.toContain('lies far above');
  });

  test('are no gap where they are most of a step', () => {
    const all = sends.map((each) =>
      each.index >= 500 && each.index % 100 > 3
        ? failed(each.index, { intendedOffsetNs: each.intendedOffsetNs })
        : each,
    );
    const { latencySteps } = reportOf(all, { slo: ['latency: p(90)<200'] });
    expect(latencySteps.tailMs.slice(5, 15)).toEqual(new Array(10).fill('Infinity'));
    expect(latencySteps.p50Ms.slice(5, 15)).toEqual(new Array(10).fill('Infinity'));
  });

  test('are not those that we ended ourselves when the run was stopped', () => {
    const stopped = sends.map((each) =>
      each.error === 'reset' ? { ...each, error: 'stopped' as const } : each,
    );
    const without = stopped.filter(({ refused: isRefused }) => !isRefused);
    const facts = { slo: ['latency: p(90)<200'], interrupted: 'by a signal' };
    const { latencySteps } = reportOf(without, facts);
    expect(latencySteps.tailMs).not.toContain('Infinity');
  });
});

describe('the tiles of the first screen', () => {
  const tilesOf = (slo: string[]) => {
    const page = reportPage(reportOf(mixedSends(1_500), { slo }), ASSETS);
    return /<ul class="tiles">.*?<\/ul>/s.exec(page)?.[0].match(/<li.*?<\/li>/gs) ?? [];
  };

  test('hold a violated objective that was stated last of six, and say how many more there are', () => {
    // With those on errors and on what was turned away, which every run has.
    const kept = [50, 55, 60, 65, 70].map((percent) => `latency: p(${percent})<100000`);
    const tiles = tilesOf([...kept, 'latency: p(95)<5']);
    expect(tiles).toHaveLength(6);
    expect(tiles[0]).toMatch(/class="bad".*p\(95\)/);
    expect(tiles.at(-2)).toMatch(/class="good".*and 4\smore/);
    expect(tiles.at(-1)).toContain('load sent');
  });

  test('said `kept` of an objective that was not decided, beside INCONCLUSIVE', () => {
    const sends = sendsOf(500, (index) => index % 25 === 7);
    const report = reportOf(sends, { slo: ['latency: p(95)<100'], multiplier: 1 });
    expect([report.verdict, report.slo[0]?.ok]).toEqual(['INCONCLUSIVE', true]);
    const page = reportPage(report, ASSETS);
    expect(page).toMatch(/<li class="warn"><span class="what">latency: p\(95\)&#60;100<\/span>.*?undecided/);
  });

  test('say that objectives are violated which have no room', () => {
    const tiles = tilesOf([50, 55, 60, 65, 70, 75].map((percent) => `latency: p(${percent})<5`));
    expect(tiles.at(-2)).toMatch(/class="bad".*and 4\smore.*violated/);
  });
});
