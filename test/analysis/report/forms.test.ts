import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { percentileCurve } from '../../../src/analysis/render/charts.ts';
import { inert, viewMarkdown, viewText } from '../../../src/analysis/render/table.ts';
import { buildReport } from '../../../src/analysis/report/build-report.ts';
import { reportPage } from '../../../src/analysis/report/page.ts';
import { reportView } from '../../../src/analysis/report/view.ts';
import { shownText } from '../../../src/core/text.ts';
import type { ReportDocument } from '../../../src/documents/report.ts';
import { repeated } from '../../support/long-form.ts';
import { mixedSends, recordedOf, reportOf, statisticsOf } from '../../support/reported-runs.ts';
import { failed, refused, send } from '../../support/sends.ts';

const ASSETS = { script: 'var uPlot;', style: '' };
const reportMarkdown = (document: ReportDocument) => viewMarkdown(reportView(document));
const reportText = (document: ReportDocument) => viewText(reportView(document));
const SLO = ['latency: p(95)<20', 'latency: p(99)<100000'];

/** Control characters but the line break, and marks that turn the direction of text. */
const UNREADABLE = /\p{Bidi_Control}|(?!\n)\p{Cc}/u;

const sends = mixedSends(1_500);
const report = reportOf(sends, { slo: SLO }, recordedOf(sends, 5));
const forms = {
  page: reportPage(report, ASSETS),
  markdown: reportMarkdown(report),
  text: reportText(report).map(shownText).join('\n'),
};

describe('every form of a report', () => {
  test.each(Object.entries(forms))('says the verdict first, and what to do about it: %s', (_, text) => {
    const positions = [
      'FAIL',
      'did not meet 2 of 4 objectives',
      'An objective is violated',
      'more capacity',
      'Objectives',
    ];
    const found = positions.map((words) => text.indexOf(words));
    expect(found.every((at) => at >= 0)).toBe(true);
    expect(found).toEqual(found.toSorted((a, b) => a - b));
  });

  test.each(Object.entries(forms))('has every part: %s', (_, text) => {
    for (const words of [
      'p99.99',
      'scheduled',
      'service',
      'as recorded',
      'TTFT',
      'TPOT',
      'By route',
      'By model',
      'By input size',
      'KS distance of gaps',
      'IDC 0.1 s',
      'truncated_request',
      'Look for: ',
    ])
      expect(text.replaceAll('\\', '')).toContain(words);
    expect(text).toMatch(/send \d+: exchange \d+ of /);
  });

  test('says plainly when the latency of the recording is not known', () => {
    const without = reportOf(sends);
    for (const text of [
      reportPage(without, ASSETS),
      reportMarkdown(without),
      reportText(without).join('\n'),
    ]) {
      expect(text).toContain('recorded latency is not available: the capture has moved');
      expect(text).not.toContain('recorded p50');
    }
  });

  test('is there for a run that was not sealed, an empty one, and one of which nothing was sent', () => {
    const recording = { capture: null, unavailable: 'the run does not say of which capture it is' };
    const unsealed = buildReport({
      directory: 'runs/<b>',
      run: null,
      summary: null,
      recording,
      statistics: statisticsOf(sends),
    });
    expect(unsealed).toMatchObject({ verdict: null, valid: false, reasons: [{ code: 'not_sealed' }] });
    const others = [
      reportOf([]),
      reportOf([refused(0)]),
      reportOf([failed(0)]),
      reportOf([send({ index: 0 })]),
    ];
    for (const each of [unsealed, ...others]) {
      expect(reportPage(each, ASSETS)).toContain('</html>');
      expect(reportMarkdown(each)).toContain('# Load test report');
      expect(reportText(each)[0]).toMatch(/^(?:Verdict|No verdict): /);
      const page = reportPage(each, ASSETS).replaceAll(/<script[^>]*>.*?<\/script>/gs, '');
      for (const text of [page, reportMarkdown(each), reportText(each).join('\n')]) {
        expect(text).not.toMatch(/NaN|undefined|Infinity|\[object/);
      }
    }
    expect(reportPage(unsealed, ASSETS)).toContain('This run never came to its end');
    expect(reportPage(unsealed, ASSETS)).toContain('runs/&#60;b&#62;');
  });
});

test('the notes of a run that failed say first which of them would forbid a PASS', () => {
  const doubted = reportOf(sends, { slo: SLO, coverage: { share: 0.5, unexplained: 0.5 } }, null);
  for (const text of [reportText(doubted).join('\n'), reportMarkdown(doubted)]) {
    const notes = text.slice(text.search(/^(?:NOTES|## Notes)$/m));
    expect(notes).toMatch(/DOUBT, which would forbid a PASS: The recording lost traffic/);
    expect(notes.lastIndexOf('DOUBT')).toBeLessThan(notes.indexOf('Not compared at 1x first'));
  }
});

describe('recorded text', () => {
  test('does nothing in a page', () => {
    expect(forms.page).toContain('GET /a|b&#60;/script&#62;&#60;img src=x onerror=alert(1)&#62;');
    expect(forms.page).not.toContain('<img');
    expect(forms.page).not.toMatch(UNREADABLE);
    expect(forms.page.match(/<\/script>/g)).toHaveLength(2);
  });

  test('does nothing on a terminal, and moves no column', () => {
    expect(forms.text).not.toMatch(UNREADABLE);
    const lines = forms.text.split('\n').filter((line) => line.includes('GET /a|b'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/\d+ +[\d.]+ % +\d+ /);
  });

  test('does nothing in Markdown: no tag, link, picture, mention, formula, cell or heading', () => {
    const lines = forms.markdown.split('\n').filter((line) => /a\\\|b|everyone/.test(line));
    expect(lines.length).toBe(2);
    for (const line of lines) {
      const bare = line.replaceAll(/\\.|&#\d+;/g, '');
      expect(bare).not.toMatch(/[<>[\]!`*_#@$]|https?:\/\/|www\./);
      expect(bare.split('|')).toHaveLength(13);
    }
    expect(forms.markdown).not.toMatch(UNREADABLE);
  });

  test('of whatever kind stays in its cell of Markdown', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        const shown = inert(text)
          .replaceAll(/\\./gs, '')
          .replaceAll(/&(?:#\d+|amp);/g, '');
        expect(shown).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}<>|`*_[\]#~!@$&]/u);
        expect(shown).not.toMatch(/:\/\/|\bwww\./i);
      }),
      { seed: 5, numRuns: repeated(20, 200) },
    );
    expect(inert('1. 64.1 ms')).toBe('1\\. 64.1 ms');
    expect(inert('64.1 ms')).toBe('64.1 ms');
    expect(inert('- x')).toBe('\\- x');
    expect(inert('-0.5')).toBe('-0.5');
  });
});

describe('a curve of percentiles', () => {
  const point = (percent: number, value: number | null, trusted = true) => ({ percent, value, trusted });
  const drawn = (...values: (number | null)[]) =>
    percentileCurve({
      lines: [
        { label: '<i>', points: values.map((value, at) => point([50, 90, 99][at] ?? 99.9, value, at < 2)) },
      ],
      text: String,
      description: 'd',
    });

  test('keeps its points within the picture, rising to the right, and has none where samples are few', () => {
    const marks = [...drawn(1, 10, 1_000).matchAll(/<circle class="one" cx="([\d.]+)" cy="([\d.]+)"/g)];
    expect(marks).toHaveLength(2);
    const xs = marks.map(([, x]) => Number(x));
    const ys = marks.map(([, , y]) => Number(y));
    expect(xs).toEqual(xs.toSorted((a, b) => a - b));
    expect(ys).toEqual(ys.toSorted((a, b) => b - a));
    for (const x of xs) expect(x > 0 && x < 800).toBe(true);
    for (const y of ys) expect(y > 0 && y < 260).toBe(true);
  });

  test('is none without values, and bears nulls, zeros and equal values', () => {
    expect(drawn(null, null)).toBe('');
    expect(drawn(0, 0)).toBe('');
    for (const picture of [drawn(5, 5, 5), drawn(0, 3, null), drawn(1e-4, 1e6)]) {
      expect(picture).not.toMatch(/NaN|Infinity/);
      expect(picture).toContain('&#60;i&#62;');
    }
  });
});
