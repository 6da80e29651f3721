import { describe, expect, test } from 'vitest';
import { viewMarkdown, viewText } from '../../../src/analysis/render/table.ts';
import { reportPage } from '../../../src/analysis/report/page.ts';
import { reportView, runView } from '../../../src/analysis/report/view.ts';
import { mixedSends, recordedOf, reportOf } from '../../support/reported-runs.ts';

const ASSETS = { script: 'var uPlot;', style: '' };
const sends = mixedSends(1_500);
const report = reportOf(
  sends,
  { concurrency: 4, scaling: 'closed', multiplier: 2.435 },
  recordedOf(sends, 5),
);
const forms = {
  page: reportPage(report, ASSETS),
  markdown: viewMarkdown(reportView(report)),
  text: viewText(reportView(report)).join('\n'),
  run: viewText(runView(report.summary!)).join('\n'),
};

describe('the report of a closed loop, which plans no instants', () => {
  test.each(Object.entries(forms))('shows no scheduled latency and no multiplier: %s', (_, text) => {
    const shown = text.replaceAll(/<script[^>]*>.*?<\/script>/gs, '');
    // The note on a closed loop says that there is none.
    expect(shown.replaceAll('there is no scheduled latency', '')).not.toMatch(/scheduled/i);
    expect(/.{80}(?:2\.435|by closed|2\.44 times).{40}/s.exec(shown)?.[0]).toBeUndefined();
    expect(shown).toContain('service');
  });

  test.each(Object.entries(forms))('begins with what a closed loop is: %s', (_, text) => {
    const at = text.indexOf('A closed loop kept 4 requests in flight');
    expect(at).toBeGreaterThan(-1);
    expect(at).toBeLessThan(text.search(/objectives and counts/i));
    expect(text).not.toContain('No objective was given');
  });
});
