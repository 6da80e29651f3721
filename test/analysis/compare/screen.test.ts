import { describe, expect, test } from 'vitest';
import { lengthNeededS } from '../../../src/analysis/compare/judge.ts';
import { comparisonPage } from '../../../src/analysis/compare/page.ts';
import { comparisonScreen } from '../../../src/analysis/compare/screen.ts';
import { comparisonView } from '../../../src/analysis/compare/view.ts';
import { intervalText, viewText } from '../../../src/analysis/render/table.ts';
import { COMPARE_OPTIONS, compareNamed, resolveCompareOptions } from '../../../src/app/compare.ts';
import { byProgram } from '../../../src/core/options.ts';
import { shellWord, TonedLine } from '../../../src/core/text.ts';
import type { ComparedMetric } from '../../../src/documents/comparison.ts';
import { calmSends, comparedRun } from '../../support/compared-runs.ts';

const DEFAULTS = resolveCompareOptions(byProgram(COMPARE_OPTIONS, {}));

async function screenOf(count: number, ratio: number) {
  const { a, b } = calmSends(count, ratio);
  const document = await compareNamed(comparedRun(a), comparedRun(b), DEFAULTS);
  const lines = comparisonScreen(document, comparisonView(document));
  return { document, lines, text: lines.map((line) => (line instanceof TonedLine ? line.text : line)) };
}

describe('the end of a comparison', () => {
  test.each([
    [900, 1.5, 'WORSE'],
    [900, 1, 'SAME'],
    [100, 1.02, 'INCONCLUSIVE'],
  ])('fits 20 lines of 80 columns: %i pairs, %f times', async (count, ratio, verdict) => {
    const { document, text } = await screenOf(count, ratio);
    expect(document.verdict).toBe(verdict);
    expect(text[0]).toMatch(new RegExp(`^${verdict}: `));
    expect(text.length).toBeLessThanOrEqual(20);
    expect(text.filter((line) => line.length > 80)).toEqual([]);
    expect(text.join('\n')).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });

  test('lists what is worse first, in its colour, and says how long a run would tell', async () => {
    const { lines } = await screenOf(900, 1.5);
    const bad = lines.filter((line) => line instanceof TonedLine && line.tone === 'bad') as TonedLine[];
    expect(bad[1]?.text).toMatch(/^ {2}latency p50 +\d+ % slower .* worse .* ms$/);
    const { text } = await screenOf(100, 1.02);
    expect(text.join(' ')).toMatch(/a run of about [\d.]+ (?:s|min) would tell of all/);
  });

  test('a change stood beside two numbers whose quotient was another, and codes stood in place of names', async () => {
    const { document } = await screenOf(900, 1.5);
    const labels = { labels: { build: 'v1' }, captureDigest: '0123456789abcdef' };
    const both = { ...document, a: { ...document.a, ...labels }, b: { ...document.b, ...labels } };
    const { lines, tested, sections } = comparisonView(both);
    expect(lines[0]).toMatch(/^B compared with A: latency p50 \d+ % slower; latency p95 [\d.]+/);
    expect(tested).toEqual(['A and B: tested: build v1']);
    expect(lines.at(-1)).toBe('A and B: digest of the capture: 0123456789abcdef');
    const [changes, whole] = sections[0]?.tables ?? [];
    expect(changes?.columns.map(({ title }) => title)).not.toContain('A');
    expect(changes?.rows[0]?.[1]).toMatch(/^\d+ % slower$/);
    expect(whole?.columns.map(({ title }) => title)).toEqual(['metric', 'A', 'B']);
    const page = comparisonPage(both, { script: '', style: '' });
    expect(page).toContain('<strong>Latency p50 worse</strong> <code>latency_p50_worse</code>');
  });

  test('a metric had one interval on the screen and another on the page', async () => {
    const { document, text } = await screenOf(900, 1.5);
    const view = comparisonView(document);
    const forms = [
      text.join('\n'),
      viewText(view).join('\n'),
      comparisonPage(document, { script: '', style: '' }),
    ];
    const { interval90, interval } = document.metrics.find(
      ({ name }) => name === 'latency_p50',
    ) as ComparedMetric;
    expect(interval90).not.toEqual(interval);
    const has = (ends: ComparedMetric['interval']) => forms.map((form) => form.includes(intervalText(ends)));
    expect({ shown: has(interval90), other: has(interval) }).toEqual({
      shown: [true, true, true],
      other: [false, false, false],
    });
  });

  test('names no length where the doubt is another than too few pairs', async () => {
    const { a, b } = calmSends(100, 1.02);
    const [runA, runB] = [comparedRun(a), comparedRun(b, { interrupted: 'SIGINT' })];
    const document = await compareNamed(runA, runB, DEFAULTS);
    expect(document.reasons.map(({ code }) => code)).toEqual(['run_b_interrupted']);
    for (const line of comparisonScreen(document, comparisonView(document)))
      expect(line instanceof TonedLine ? line.text : line).not.toContain('would tell');
    const { document: open } = await screenOf(100, 1.02);
    expect(lengthNeededS(open)).toBeGreaterThan(0);
    const blind = open.reasons.map((reason, at) => (at === 0 ? { ...reason, code: 'no_answer' } : reason));
    expect(lengthNeededS({ ...open, reasons: blind })).toBeNull();
    const metrics = open.metrics.map((metric) => ({ ...metric, windowNeededS: null }));
    expect(lengthNeededS({ ...open, metrics })).toBeNull();
  });

  test.each([
    ['reprise', `/tmp/${'long/'.repeat(14)}a run`],
    ['npx reprise', 'a run'],
    ['npx @reprise-load/reprise', 'a run'],
    ['node bin/reprise.js', `runs/${'b'.repeat(60)}`],
  ])('a command of %s was folded, and could not be pasted', async (program, path) => {
    const { document } = await screenOf(100, 1);
    const advice =
      'See both: reprise show A --failed --slowest 20, and reprise report B. Then go on with what is slow.';
    const side = { ...document.a, name: path };
    const shown = { ...document, a: side, b: side, reasons: [{ code: 'one', text: 'first', advice }] };
    const lines = comparisonScreen(shown, comparisonView(shown, 'UTC', program));
    const text = lines.map((line) => (line instanceof TonedLine ? line.text : line)).join('\n');
    expect(text).toContain(`${program} show ${shellWord(path)} --failed --slowest 20`);
    expect(text).toContain(`${program} report ${shellWord(path)}`);
  });
});
