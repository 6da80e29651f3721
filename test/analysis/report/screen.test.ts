import { describe, expect, test } from 'vitest';
import { findingLines } from '../../../src/analysis/render/screen.ts';
import { reportPage } from '../../../src/analysis/report/page.ts';
import { runScreen } from '../../../src/analysis/report/screen.ts';
import { TonedLine } from '../../../src/core/text.ts';
import { mixedSends, type RunFacts, reportOf, summaryOf } from '../../support/reported-runs.ts';
import { late } from '../../support/run-contexts.ts';
import { failed, refused, send } from '../../support/sends.ts';

const textOf = (facts: RunFacts, sends = mixedSends(1_500)) =>
  runScreen(summaryOf(sends, facts), 'runs/one').map((line) =>
    line instanceof TonedLine ? line.text : line,
  );

const MANY = ['latency', 'service', 'ttft', 'tpot', 'itl'].flatMap((metric) =>
  [50, 75, 90, 95, 99].map((percent) => `${metric}: p(${percent})<${percent / 10}`),
);
const ANSWER = {
  firstTokenOffsetNs: null,
  lastTokenOffsetNs: null,
  contentEvents: 10,
  gapMaxNs: null,
  gaps: null,
  promptTokens: 5,
  outputTokens: 20,
  finish: null,
};
const CASES: Readonly<Record<string, RunFacts>> = {
  pass: { slo: ['latency: p(50)<1000'] },
  fail: { slo: ['latency: p(95)<20', 'errors: rate<0.0001'] },
  'many objectives, and all are violated': { slo: MANY },
  'many doubts': {
    slo: ['latency: p(50)<1000', 'latency: p(99.9)<100000', 'latency{model=nobody}: p(99)<1'],
    interrupted: 'SIGINT',
    coverage: { share: 0.5, unexplained: 0.5 },
    multiplier: 9,
    shards: { count: 40, missing: [1, 2, 3], startSpreadUs: 1e6 },
  },
  'no objective': {},
};

describe('the end of a run', () => {
  test.each(Object.entries(CASES))('fits 20 lines of 80 columns: %s', (_, facts) => {
    for (const sends of [mixedSends(1_500), []]) {
      const lines = textOf(facts, sends);
      expect(lines.length).toBeLessThanOrEqual(20);
      expect(lines.filter((line) => line.length > 80)).toEqual([]);
      expect(lines.join('\n')).not.toMatch(/NaN|undefined|Infinity|\[object/);
      expect(lines.at(-1)).toBe('Report: reprise report runs/one --html report.html');
    }
  });

  test('says what was violated with its figures, recorded beside replayed, and how true the load was', () => {
    const sends = Array.from({ length: 1_000 }, (_, index) =>
      send({
        index,
        recorded: { status: 200, bytes: 10, streamed: false, tookNs: 4e6, tellsError: false },
      }),
    );
    const text = textOf({ slo: ['latency: p(95)<5'], multiplier: 1 }, sends).join('\n');
    expect(text).toContain('FAIL: The target did not meet latency: p(95)<5 (observed 10.0 ms)');
    expect(text).toMatch(/recorded +4\.0 ms +4\.0 ms +4\.0 ms +0 %/);
    expect(text).toMatch(/replayed +10\.0 ms +10\.0 ms +10\.0 ms +0 %/);
    expect(text).toContain('goodput 0/s: 0 % served within latency<5');
    expect(text).toMatch(/Load: 1,000 of 1,000 sent, 10\/s, lag p99 .*, bursts as planned/);
  });

  test('the line on the load is whole where a stopped run refused requests', () => {
    const sends = [...mixedSends(1_500), ...Array.from({ length: 900 }, (_, at) => refused(1_500 + at))];
    const lines = textOf({ slo: ['latency: p(50)<1000'], interrupted: 'SIGINT' }, sends);
    const from = lines.findIndex((line) => line.startsWith('  Load: '));
    const load = lines.slice(from, from + 2).join(' ');
    expect(load).toMatch(/lag p99 .* refused by our caps, +bursts (?:NOT )?as planned/);
  });

  test('the one reason that mattered was hidden behind a number', () => {
    const facts = { ...CASES['many doubts'], slo: ['latency: p(50)<1000'] };
    const shown = textOf(facts).find((line) => line.includes('in the report): ')) ?? '';
    expect(shown).toMatch(/^ {2}Also \(in the report\): [a-z ]+, [a-z, ]+/);
  });

  test('says over which time goodput and tokens are, and how many answers tell neither', () => {
    const sends = Array.from({ length: 600 }, (_, index) => {
      if (index === 599) return failed(index, { lastByteOffsetNs: 90e9 });
      if (index % 3 > 0) return send({ index });
      const from = index * 100e6;
      const times = { firstTokenOffsetNs: from + 1e6, lastTokenOffsetNs: from + 9e6 };
      return send({ index, streamed: true, answer: index % 6 === 0 ? null : { ...ANSWER, ...times } });
    });
    const document = summaryOf(sends, { slo: ['ttft: p(95)<500', 'latency: p(95)<1000'] });
    expect(document.throughput).toMatchObject({ spanS: 90, goodput: { unknown: 100 } });
    const text = textOf({ slo: ['ttft: p(95)<500', 'latency: p(95)<1000'] }, sends).join(' ');
    expect(text).toContain('Over 90.0 s: ');
    expect(text).toMatch(/22\.2 output tokens\/s \(in 100 of\s+599\s+answers\)/);
    expect(text).toMatch(
      /goodput\s+5\.54\/s:\s+99\.8 % served within ttft<500 and\s+latency<1000, 100 not known/,
    );
  });

  test('marks a percentile of fewer requests than it needs, as the report does, and says what the mark means', () => {
    const sends = Array.from({ length: 160 }, (_, index) =>
      send({
        index,
        recorded: { status: 200, bytes: 10, streamed: false, tookNs: 4e6, tellsError: false },
      }),
    );
    const text = textOf({}, sends).join('\n');
    expect(text).toMatch(/recorded +4\.0 ms +4\.0 ms +4\.0 ms\* /);
    expect(text).toMatch(/replayed +10\.0 ms +10\.0 ms +10\.0 ms\* /);
    expect(text).toContain('latency (*: too few requests)');
    const enough = Array.from({ length: 662 }, (_, index) => send({ index }));
    expect(textOf({}, enough).join('\n')).not.toContain('*');
  });

  test('says nothing of bursts where nothing was planned, or the run is too short to have any', () => {
    const loadOf = (facts: RunFacts, count: number) =>
      textOf(
        facts,
        Array.from({ length: count }, (_, index) => send({ index })),
      ).find((line) => line.includes('Load: '));
    expect(loadOf({}, 1_500)).toContain('bursts as planned');
    expect(loadOf({ concurrency: 4 }, 1_500)).not.toContain('bursts');
    expect(loadOf({}, 5)).not.toContain('bursts');
  });

  test('a run that was stopped does not count what we stopped as failed, in neither form', () => {
    const sends = Array.from({ length: 100 }, (_, index) => {
      if (index < 2) return failed(index);
      if (index < 20) return send({ index, cancelled: true, status: null });
      return index < 80 ? send({ index }) : failed(index, { error: 'stopped' });
    });
    const report = reportOf(sends, { interrupted: 'SIGINT' });
    const replayed = textOf({ interrupted: 'SIGINT' }, sends).find((line) => line.includes('replayed'));
    // Two of those 62 that neither their client nor we gave up.
    expect(replayed).toMatch(/3\.23 %$/);
    const page = reportPage(report, { script: '', style: '' });
    expect(page).toMatch(/3\.23\s%.{0,80}2 requests/s);
  });

  test('has one line for the path of the run, however long that is', () => {
    const directory = `/${'long/'.repeat(40)}run`;
    const lines = runScreen(summaryOf(mixedSends(1_500), { slo: MANY }), directory);
    expect(lines.length).toBeLessThanOrEqual(20);
    expect(lines.at(-1)).toBe(`Report: reprise report ${directory}`);
  });

  test('says what to do once where two objectives are violated', () => {
    const text = textOf(
      { slo: ['latency: p(50)<1', 'latency: p(95)<1'] },
      [0, 1, 2].map((index) => send({ index })),
    );
    expect(text.filter((line) => line.includes('observed 10.0 ms'))).toHaveLength(2);
    expect(text.filter((line) => line.includes('To do: '))).toHaveLength(1);
  });

  test('rows of violated objectives were hidden behind those on latency, and errors came last', () => {
    const sends = Array.from({ length: 1_500 }, (_, index) => {
      const from = index * 100e6;
      const answer = { ...ANSWER, firstTokenOffsetNs: from + 1e6, lastTokenOffsetNs: from + 9e6 };
      return send({ index, status: index % 20 === 3 ? 500 : 200, streamed: index % 2 === 1, answer });
    });
    const slo = [
      'latency: p(90)<1',
      'latency: p(95)<1',
      'service: p(99)<1',
      'ttft: p(99)<90',
      'errors: rate<0.01',
    ];
    const facts = { slo, coverage: { share: 0.5, unexplained: 0.5 } };
    const text = textOf(facts, sends);
    expect(text.length).toBeLessThanOrEqual(20);
    const rows = text.filter((line) => line.includes(' VIOLATED '));
    expect(rows).toHaveLength(5);
    expect(rows[0]).toMatch(/^ {2}errors: rate<0.01 +VIOLATED +5 % +1 %$/);
    expect(text.join('\n')).not.toContain('never answered');
    expect(summaryOf(sends, facts).reasons[0]?.text).toMatch(/^errors/);
    expect(text.join('\n')).toContain('latency (without failed requests)');
  });

  test.each([6, 8])(
    'one of %i violated objectives was hidden behind figures that are in the report',
    (count) => {
      const slo = [10, 20, 30, 40, 50, 60, 70]
        .slice(0, count - 1)
        .map((percent) => `latency: p(${percent})<1`);
      const sends = Array.from({ length: 1_500 }, (_, index) =>
        send({ index, status: index % 20 === 3 ? 500 : 200 }),
      );
      const facts = { slo: [...slo, 'errors: rate<0.01'], coverage: { share: 0.5, unexplained: 0.5 } };
      const text = textOf(facts, sends);
      expect(text.length).toBeLessThanOrEqual(20);
      expect(text.filter((line) => line.includes(' VIOLATED '))).toHaveLength(count);
    },
  );

  test('what to do about a sliced objective showed other requests, of a run without a name', () => {
    const slo = ['latency{route="POST /v2/models/{model}/infer"}: p(50)<1', 'errors: rate<0.5'];
    const sends = [0, 1, 2].map((index) => send({ index }));
    const text = runScreen(summaryOf(sends, { slo }), 'runs/one', 'npx reprise')
      .map((line) => (line instanceof TonedLine ? line.text : line).trim())
      .join(' ');
    expect(text).toContain('npx reprise show runs/one --slowest 20 --route "POST /v2/models/{model}/infer".');
  });

  test('a recorded name that a shell would run is in no advice', () => {
    const route = 'POST /$(id)';
    const sends = [0, 1, 2].map((index) => send({ index, route }));
    const [reason] = summaryOf(sends, { slo: ['latency{*route}: p(50)<1'] }).reasons;
    expect(reason?.advice).toContain('reprise show RUN --slowest 20. ');
  });

  test('an objective that was not decided was shown as kept', () => {
    const sends = Array.from({ length: 500 }, (_, index) =>
      send({ index, lastByteOffsetNs: index * 100e6 + (index % 25 === 7 ? 150e6 : 10e6) }),
    );
    const document = summaryOf(sends, { slo: ['latency: p(95)<100'], multiplier: 1 });
    expect([document.verdict, document.slo[0]?.ok]).toEqual(['INCONCLUSIVE', true]);
    const row = textOf({ slo: ['latency: p(95)<100'], multiplier: 1 }, sends).find((line) =>
      line.startsWith('  latency: p(95)<100 '),
    );
    expect(row).toContain(' undecided ');
  });

  test('the objective that left a run undecided was the last of many, and not shown', () => {
    const sends = Array.from({ length: 500 }, (_, index) =>
      send({ index, lastByteOffsetNs: index * 100e6 + (index % 25 === 7 ? 150e6 : 10e6) }),
    );
    const met = Array.from({ length: 14 }, (_, at) => `latency: p(50)<${1_000 + at}`);
    const facts = { slo: [...met, 'latency: p(95)<100'], multiplier: 1 };
    expect(summaryOf(sends, facts).slo.map(({ ok }) => ok)).not.toContain(false);
    const rows = textOf(facts, sends).filter((line) => /^ {2}latency: p\(\d+\)<\d+ /.test(line));
    expect(rows.length).toBeLessThan(facts.slo.length);
    expect(rows[0]).toMatch(/^ {2}latency: p\(95\)<100 +undecided /);
  });

  test('an objective was called violated in red that only our lateness violated', () => {
    const slo = ['latency: p(95)<12'];
    const { verdict, slo: lines } = summaryOf(late(500), { slo, multiplier: 1 });
    expect([verdict, lines[0]?.ok]).toEqual(['INCONCLUSIVE', false]);
    const row = runScreen(summaryOf(late(500), { slo, multiplier: 1 }), 'runs/one').find(
      (line) => line instanceof TonedLine && line.text.startsWith('  latency: p(95)<12 '),
    );
    expect(row).toMatchObject({ tone: 'warn', text: expect.stringContaining(' undecided ') });
    const page = reportPage(reportOf(late(500), { slo, multiplier: 1 }), { script: '', style: '' });
    expect(page).not.toMatch(/class="(?:[^"]* )?bad[ "]/);
    expect(page).not.toMatch(/>violated</i);
    // What the target violated by itself is still called so.
    expect(textOf({ slo: ['latency: p(95)<5'], multiplier: 1 }, late(500)).join('\n')).toContain('VIOLATED');
  });

  test('objectives were shown as kept while most requests were turned away', () => {
    const sends = Array.from({ length: 500 }, (_, index) =>
      send({ index, status: index % 3 === 0 ? 200 : 401 }),
    );
    const given = { slo: ['latency: p(95)<1000'], multiplier: 1 };
    const { reasons, slo } = summaryOf(sends, given);
    expect(reasons.map(({ code }) => code)).toContain('not_comparable');
    expect(slo.every(({ ok }) => ok)).toBe(true);
    const rows = textOf(given, sends).filter((line) =>
      slo.some((each) => line.includes(` ${each.expression} `)),
    );
    expect(rows).toHaveLength(slo.length);
    for (const row of rows) expect(row).toContain(' undecided ');
  });

  test('notes were codes, and the place for the rest was the replay itself', () => {
    const text = textOf({ slo: ['latency: p(50)<1000'] }).join('\n');
    expect(text).toMatch(/^ {2}Notes: not compared at 1x first/m);
    expect(text).not.toContain('--verbose');
  });

  test('colours what is violated, and not what is kept', () => {
    const lines = runScreen(summaryOf(mixedSends(1_500), { slo: ['latency: p(95)<20'] }), 'runs/one');
    const toned = lines.filter((line) => line instanceof TonedLine);
    expect(toned.filter(({ tone }) => tone === 'bad').at(-1)?.text).toContain('VIOLATED');
    expect(toned.filter(({ text }) => text.includes(' met'))).toEqual([]);
  });
});

test('twenty violated objectives could not be told from two', () => {
  const findings = Array.from({ length: 20 }, (_, at) => ({
    code: at < 19 ? 'slo_violated' : 'interrupted',
    text: `objective ${at}`,
    advice: 'Do it.',
  }));
  expect(findingLines(findings, 4).at(-1)).toBe('  Also (--verbose): slo_violated (17), interrupted');
});
