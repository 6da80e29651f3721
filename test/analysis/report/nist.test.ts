import { describe, expect, test } from 'vitest';
import { nistEvidenceOf } from '../../../src/analysis/report/nist.ts';
import { reportPage } from '../../../src/analysis/report/page.ts';
import { pageAssets } from '../../../src/app/package.ts';
import type { MonitoredSeries } from '../../../src/documents/monitors.ts';
import type { ReplayDocument } from '../../../src/documents/replay.ts';
import { mixedSends, reportOf, summaryOf } from '../../support/reported-runs.ts';

const run = summaryOf(mixedSends(600), { slo: ['latency: p(95)<200'] });

function sentencesOf(document: ReplayDocument, id: string): { evidence: string; missing: string } {
  const found = nistEvidenceOf(document).measures.find((each) => each.id === id);
  return { evidence: found?.evidence.join('\n') ?? '', missing: found?.missing.join('\n') ?? '' };
}

function power(mean: number | null, source = 'gpu'): MonitoredSeries {
  return {
    ...{
      source,
      name: 'gpu_power',
      metric: 'DCGM_FI_DEV_POWER_USAGE',
      labels: {},
      kind: 'gauge',
      unit: 'W',
    },
    samples: 9,
    missing: 0,
    min: mean,
    mean,
    p50: mean,
    p95: mean,
    max: mean,
    change: null,
    resets: 0,
    recorded: null,
  };
}

describe('evidence for the NIST AI RMF', () => {
  test('is of each subcategory that a load test touches, and names those that it does not', () => {
    const { measures, outOfScope } = nistEvidenceOf(run);
    const numbers = (list: readonly { id: string }[]) => list.map(({ id }) => id.replace('MEASURE ', ''));
    expect(numbers(measures)).toEqual([
      '2.1',
      '2.3',
      '2.4',
      '2.5',
      '2.6',
      '2.7',
      '2.10',
      '2.12',
      '2.13',
      '3.1',
    ]);
    expect(numbers(outOfScope)).toEqual(['2.2', '2.8', '2.9', '2.11', '3.3']);
  });

  test('has the numbers of the run', () => {
    expect(sentencesOf(run, 'MEASURE 2.6').evidence).toContain(
      `${run.failed} requests of ${run.sent} failed`,
    );
    expect(sentencesOf(run, 'MEASURE 2.1').evidence).toContain('latency: p(95)<200');
    expect(sentencesOf(run, 'MEASURE 2.5').evidence).toContain(
      `${run.completed} of ${run.sent} requests completed`,
    );
    expect(sentencesOf(run, 'MEASURE 2.7').evidence).toContain('1.5 times the recorded load');
  });

  test('does not call an objective kept without doubt where the run decides nothing', () => {
    const [line] = run.slo;
    const kept = { ...run, slo: [{ ...line!, ok: true }], reasons: [], notes: [] };
    expect(sentencesOf({ ...kept, verdict: 'PASS' }, 'MEASURE 2.3').evidence).toMatch(/: met$/m);
    expect(sentencesOf({ ...kept, verdict: 'INCONCLUSIVE' }, 'MEASURE 2.3').evidence).toMatch(
      /: met, .*doubt$/m,
    );
  });

  test('has the energy of a request where power was watched, and says so where it was not', () => {
    expect(sentencesOf(run, 'MEASURE 2.12')).toMatchObject({
      evidence: '',
      missing: expect.stringContaining('not watched'),
    });
    const monitors = { sources: [], notes: [], series: [power(200), power(100), power(null)] };
    const watched = { ...run, monitors, durationS: 10, completed: 100 };
    expect(sentencesOf(watched, 'MEASURE 2.12').evidence).toBe(
      'mean power of 2 devices by gpu: 300 W over 10.0 s, 30 J for each completed request',
    );
    expect(sentencesOf(watched, 'MEASURE 2.12').missing).not.toContain('not added');
  });

  test('adds no power of two sources, which may watch one device', () => {
    const series = [power(200), power(201, 'prometheus')];
    const watched = { ...run, monitors: { sources: [], notes: [], series }, durationS: 10, completed: 100 };
    const { evidence, missing } = sentencesOf(watched, 'MEASURE 2.12');
    expect(evidence).toContain('by gpu: 200 W');
    expect(evidence).toContain('by prometheus: 201 W');
    expect(evidence).not.toContain('401');
    expect(missing).toContain('not added');
  });

  test.each([
    [true, ': alike'],
    [false, ': not alike'],
    [null, ': too little to tell'],
  ])('names what came of the comparison with the recording: %s', (representative, outcome) => {
    const compared = { ...run, calibration: { pairs: 40, representative } as ReplayDocument['calibration'] };
    expect(sentencesOf(compared, 'MEASURE 2.13').evidence).toMatch(new RegExp(`${outcome}$`, 'm'));
  });

  test('is tracked over time where runs share a name', () => {
    expect(sentencesOf(run, 'MEASURE 3.1').missing).toContain('--name');
    const named = { ...run, options: { ...run.options, name: 'nightly' } };
    expect(sentencesOf(named, 'MEASURE 3.1').evidence).toContain('"nightly"');
  });

  test('is a folded part of the page, and of the document', () => {
    const report = reportOf(mixedSends(60));
    expect(report.nist?.framework).toBe('NIST AI RMF 1.0');
    expect(reportPage(report, pageAssets())).toMatch(
      /<details><summary><h2>Evidence for NIST AI RMF 1\.0<\/h2>/,
    );
  });
});
