import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { viewMarkdown } from '../../../src/analysis/render/table.ts';
import { AROUND_S, lengthsWithin } from '../../../src/analysis/statement/part-lengths.ts';
import { statementPage, statementScreen, statementView } from '../../../src/analysis/statement/view.ts';
import { pageAssets } from '../../../src/app/package.ts';
import { type StatementDocument, statementSchema } from '../../../src/documents/statement.ts';
import { grownDemand, NO_DEMAND } from '../../support/grown-demand.ts';
import { playedAt, searched } from '../../support/searched.ts';
import { BREAKING, PLAN, RECORDED, stated } from '../../support/stated.ts';

const PASSED = { recorded: 'PASS', multiplied: 'PASS', spike: 'PASS' } as const;
const codesOf = ({ limits }: StatementDocument, decides?: boolean) =>
  limits.filter((each) => decides === undefined || each.decides === decides).map(({ code }) => code);
const UNLIKE = { ...searched([playedAt(1)], 'not_representative') };

describe('the verdict of a statement', () => {
  test.each([
    ['every part passed', stated(), 'PASS', []],
    ['the multiplier failed', stated({ ...PASSED, multiplied: 'FAIL' }), 'FAIL', ['objective_violated']],
    ['1x failed', stated({ recorded: 'FAIL' }), 'FAIL', ['objective_violated']],
    [
      'a part was not reached',
      stated({ recorded: 'PASS', multiplied: 'PASS' }),
      'INCONCLUSIVE',
      ['part_missing'],
    ],
    ['the search was not reached', stated(PASSED, { capacity: null }), 'INCONCLUSIVE', ['part_missing']],
    [
      'staging answers otherwise',
      stated(PASSED, { capacity: UNLIKE }),
      'INCONCLUSIVE',
      ['not_representative'],
    ],
    [
      'nothing can be sent',
      stated({}, { capacity: null, plan: { sendable: false, parts: [], searchS: null } }),
      'INCONCLUSIVE',
      ['without_requests'],
    ],
  ] as const)('%s', (_, document, verdict, deciding) => {
    expect(document).toMatchObject({ verdict });
    expect(codesOf(document, true)).toEqual(deciding);
    expect(statementSchema.parse(document)).toEqual(JSON.parse(JSON.stringify(document)));
  });

  test('a run that is undecided leaves the statement undecided, with the reasons of the run', () => {
    const [reason] = stated({ recorded: 'FAIL' }).runs;
    expect(reason?.violated).toEqual(['latency: p(95)<200']);
    const doubt = { code: 'sender_lag', text: 'late', advice: 'idle cores', severity: 'doubt' } as const;
    const reasons = [{ ...doubt, title: 'Late', means: 'It may be us.' }];
    const document = stated({ ...PASSED, multiplied: 'INCONCLUSIVE' }, { run: { reasons } });
    expect(document.verdict).toBe('INCONCLUSIVE');
    expect(codesOf(document, true)).toEqual(['sender_lag']);
    // The breaking point is a finding of the search, which may have passed what the run could not decide.
    expect(document.sentence).toContain('By the search');
    expect(stated(PASSED).sentence).not.toContain('By the search');
  });

  test('nothing checked never passes', () => {
    expect(stated({ ...PASSED, spike: null })).toMatchObject({ verdict: 'INCONCLUSIVE' });
    expect(codesOf(stated({ ...PASSED, spike: null }), true)).toEqual(['no_verdict']);
    expect(stated({}, { plan: { parts: [] } }).verdict).toBe('INCONCLUSIVE');
  });

  test('a failure with planned faults is no failure of the load', () => {
    const parts = [...PLAN.parts, { ...PLAN.parts[0]!, part: 'faults' as const }];
    const document = stated({ ...PASSED, faults: 'FAIL' }, { plan: { parts } });
    expect(document.verdict).toBe('FAIL');
    expect(document.sentence.startsWith('The service holds 2 times')).toBe(true);
  });

  test('a load that a lower one has failed is no missing part', () => {
    const document = stated({ recorded: 'PASS', multiplied: 'FAIL' });
    expect(document.runs.map(({ skipped }) => skipped)).toEqual([null, null, 'lower_load_failed']);
    expect(codesOf(document)).not.toContain('part_missing');
  });
});

describe('a statement', () => {
  test('is of the service that it was named for', () => {
    const document = stated(PASSED, { plan: { name: 'recommender' } });
    expect(document.sentence.startsWith('recommender holds 2 times')).toBe(true);
    expect(statementView(document).title).toContain('recommender');
  });

  test('has whether each run is valid, and what failed in it', () => {
    const run = { valid: false, errors: { total_timeout: 3 }, statuses: { 200: 195, 503: 2 } };
    const document = stated(PASSED, { run });
    expect(document.runs.map(({ valid }) => valid)).toEqual([false, false, false]);
    expect(document.runs[0]?.failures).toEqual([
      { kind: 'total_timeout', requests: 3 },
      { kind: 'status_503', requests: 2 },
    ]);
    expect(viewMarkdown(statementView(document))).toContain('total\\_timeout 3, status\\_503 2');
  });
});

describe('what limits a statement', () => {
  const asRecorded = (p95: number, failedShare = 0) => ({
    run: { asRecorded: { answers: 100, latencyMs: { p50: 10, p95, p99: 900, max: 900 }, failedShare } },
  });

  test('objectives that production itself broke come first', () => {
    const document = stated({ ...PASSED, multiplied: 'FAIL' }, asRecorded(300, 0.2));
    expect(document.production?.violated).toEqual(['latency: p(95)<200', 'errors: rate<0.01']);
    expect(codesOf(document).slice(0, 3)).toEqual([
      'production_violated',
      'production_violated',
      'objective_violated',
    ]);
    expect(document.sentence.indexOf('Production')).toBe(0);
    expect(stated(PASSED, asRecorded(150)).production?.violated).toEqual([]);
  });

  test.each([
    ['less_than_a_month', { days: 1 / 24, isMonth: false }],
    ['silence', { silentS: 90_000, longestSilence: { from: RECORDED.from, to: RECORDED.to } }],
    ['recorders_missing', { recordersMissing: 3 }],
    ['coverage_unknown', { coverage: null }],
    ['coverage', { coverage: 0.9 }],
    ['not_stored', { unstored: 7 }],
  ])('%s', (code, recorded) => {
    const document = stated(PASSED, { plan: { recorded: { ...RECORDED, ...recorded } } });
    expect(codesOf(document, false)).toEqual([code]);
    expect(document.verdict).toBe('PASS');
  });

  test('a server that says of itself other things than the recorded one', () => {
    const [a, b] = ['0.6.3', '0.7.0'].map((version) => ({ '/version': { version: [version] } }));
    const document = stated(PASSED, {
      run: {
        serverDetails: b!,
        recordedServer: { serverDetails: a! },
        notes: [{ code: 'server_differs', text: '', advice: '', severity: 'note', title: '', means: '' }],
      },
    });
    expect(codesOf(document, false)).toEqual(['server_differs']);
    expect(viewMarkdown(statementView(document))).toMatch(/0\.6\.3 \| 0\.7\.0/);
  });

  test('a budget that shortens a part', () => {
    const parts = PLAN.parts.map((part) => ({ ...part, lengthS: 300, windowShare: 1 / 3 }));
    const document = stated(PASSED, { plan: { parts } });
    expect(codesOf(document)).toEqual(['shortened', 'shortened', 'shortened']);
    expect(document.sentence).toContain('33.3 %');
    expect(stated(PASSED).sentence).not.toContain('33.3 %');
  });

  test('a stretch that breaks the target below the multiplier if it lasts', () => {
    const document = stated(PASSED, { plan: { multiplier: 8 } });
    expect(codesOf(document, false)).toEqual(['breaks_below']);
    expect(document.verdict).toBe('PASS');
  });

  test('a load that the search passed and the run could not decide', () => {
    const undecided = stated({ ...PASSED, multiplied: 'INCONCLUSIVE' });
    expect(codesOf(undecided, false)).toContain('search_passes');
    expect(undecided.verdict).toBe('INCONCLUSIVE');
    const unreached = stated({ ...PASSED, multiplied: 'INCONCLUSIVE' }, { plan: { multiplier: 8 } });
    expect(codesOf(unreached)).not.toContain('search_passes');
    expect(codesOf(stated(PASSED))).not.toContain('search_passes');
  });

  test('a search without a breaking point leaves the claim, and says so', () => {
    const document = stated(PASSED, { capacity: searched([playedAt(1), playedAt(2)], 'budget') });
    expect(document.verdict).toBe('PASS');
    expect(codesOf(document, false)).toEqual(['budget']);
  });
});

describe('what is not claimed', () => {
  const codes = (document: StatementDocument) => document.notClaimed.map(({ code }) => code);

  test('always: another target, other caches, dependencies, other windows and replicas', () => {
    expect(codes(stated())).toEqual(['target', 'caches', 'dependencies', 'harder_windows', 'autoscaling']);
  });

  test('where it applies: what was not recorded, filtered, masked or unreplayable', () => {
    const audit = { unreplayableByReason: {}, maskedHeaders: {}, maskedQueryKeys: {}, maskedRequests: 4 };
    const document = stated(PASSED, {
      plan: { recorded: { ...RECORDED, coverage: 0.5 }, filtered: ['path /v1/chat'] },
      run: { unreplayable: 2, audit },
    });
    for (const code of ['coverage', 'filters', 'redaction', 'unreplayable'])
      expect(codes(document)).toContain(code);
  });
});

describe('the forms of a statement', () => {
  const demand = { ...NO_DEMAND, days: grownDemand('compound', 5).days, growth: 0.2 };
  const all = [
    stated(),
    stated(PASSED, { plan: { demand } }),
    stated({ recorded: 'FAIL' }),
    stated({}),
    stated(PASSED, { capacity: UNLIKE }),
    stated({}, { capacity: null, plan: { sendable: false, parts: [], searchS: null } }),
    stated(PASSED, { plan: { recorded: { ...RECORDED, isMonth: false, coverage: null, unstored: 3 } } }),
  ];

  test('fit one screen', () => {
    for (const document of all) {
      const lines = statementScreen(document).map((line) => (typeof line === 'string' ? line : line.text));
      expect(lines.length).toBeLessThanOrEqual(20);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    }
  });

  test('have the sentence, every limit and all that is not claimed', () => {
    for (const document of all) {
      const markdown = viewMarkdown(statementView(document));
      const html = statementPage(document, pageAssets());
      expect(markdown).toContain(document.verdict);
      for (const { code } of document.limits) expect(markdown).toContain(code.replaceAll('_', '\\_'));
      for (const { code } of document.notClaimed) expect(markdown).toContain(code.replaceAll('_', ' '));
      expect(html).toContain(document.verdict);
      expect(html).not.toContain('<details>');
    }
  });

  test('say when demand reaches the breaking point, where that is known', () => {
    const { headroom, sentence } = all[1]!;
    expect(headroom).toMatchObject({ state: 'reached', growth: { source: 'set' } });
    expect(sentence).toContain(headroom.reached!.to);
    expect(statementPage(all[1]!, pageAssets())).toContain('id="headroom"');
    const short = { ...demand, days: demand.days.slice(0, 9), growth: null };
    const unknown = stated(PASSED, { plan: { demand: short } });
    expect(unknown.sentence).toContain('9 of 14 days');
    expect(statementPage(unknown, pageAssets())).not.toContain('id="headroom"');
  });

  test('escape what was recorded', () => {
    const hostile = '<script>alert(1)</script>';
    const html = statementPage(stated(PASSED, { plan: { capture: hostile, name: hostile } }), pageAssets());
    expect(html).not.toContain(hostile);
  });

  test('name where it breaks by the interval of the search', () => {
    expect(stated().breakingPoint?.breakingPoint.interval).toEqual(BREAKING.breakingPoint.interval);
  });
});

describe('a budget', () => {
  const need = fc
    .tuple(fc.double({ min: 1, max: 1_000, noNaN: true }), fc.double({ min: 0.01, max: 1, noNaN: true }))
    .map(([wholeS, share]) => ({ name: 'part', wholeS, leastS: wholeS * share }));
  const needs = fc.array(need, { minLength: 1, maxLength: 5 });
  const sumOf = (lengths: readonly number[]) => lengths.reduce((sum, each) => sum + each, 0);

  test('shortens parts to the same length and never below their least', () => {
    fc.assert(
      fc.property(needs, fc.double({ min: 0, max: 1, noNaN: true }), (each, share) => {
        const around = AROUND_S * each.length;
        const [least, whole] = [sumOf(each.map((one) => one.leastS)), sumOf(each.map((one) => one.wholeS))];
        const budgetS = Math.ceil(around + least + share * (whole - least)) + 1;
        const lengths = lengthsWithin(each, budgetS);
        expect(sumOf(lengths)).toBeLessThanOrEqual(budgetS - around + 1e-6);
        const free = lengths.filter((length, at) => {
          expect(length).toBeGreaterThanOrEqual(each[at]!.leastS - 1e-6);
          expect(length).toBeLessThanOrEqual(each[at]!.wholeS + 1e-6);
          return length > each[at]!.leastS + 1e-6 && length < each[at]!.wholeS - 1e-6;
        });
        for (const length of free) expect(length).toBeCloseTo(free[0]!, 3);
        if (free.length > 0) expect(sumOf(lengths)).toBeGreaterThan(budgetS - around - 1e-3);
      }),
    );
  });

  test('below the sum of the least lengths is refused, and none keeps every part whole', () => {
    fc.assert(
      fc.property(needs, (each) => {
        const sum = sumOf(each.map((one) => one.leastS)) + AROUND_S * each.length;
        expect(() => lengthsWithin(each, sum * 0.99)).toThrow(
          expect.objectContaining({ code: 'OPTION_INVALID' }),
        );
        expect(lengthsWithin(each, null)).toEqual(each.map(({ wholeS }) => wholeS));
      }),
    );
  });
});
