import { describe, expect, test } from 'vitest';
import { JUDGEMENT_BOUNDS } from '../../src/analysis/judgement-bounds.ts';
import type { RunContext } from '../../src/analysis/run-context.ts';
import { parseSlo } from '../../src/analysis/slo.ts';
import { exitCodeOf, judge } from '../../src/analysis/verdict.ts';
import { contextOf, good, HEALTHY, late } from '../support/run-contexts.ts';
import { failed, refused, send } from '../support/sends.ts';

const MS = 1e6;
function codesOf(context: RunContext, slo = 'latency: p(95)<50') {
  const judgement = judge(context, parseSlo(slo === '' ? [] : [slo]));
  return { ...judgement, reasons: judgement.reasons.map(({ code }) => code) };
}

describe('judge', () => {
  test('passes a run that keeps its objectives with nothing against it', () => {
    const { verdict, valid, reasons, notes } = codesOf(contextOf(good(200)));
    expect({ verdict, valid, reasons }).toEqual({ verdict: 'PASS', valid: true, reasons: [] });
    expect(notes.map(({ code }) => code)).toEqual(['uncalibrated']);
  });

  test('fails a violated objective and says which, with what was observed', () => {
    const judgement = judge(contextOf(good(200)), parseSlo(['latency: p(95)<5']));
    expect(judgement.verdict).toBe('FAIL');
    expect(judgement.reasons).toMatchObject([{ code: 'slo_violated' }]);
    expect(judgement.reasons[0]?.text).toBe('latency: p(95)<5: observed 10.0 ms');
  });

  test('fails on too many failures although every answer was fast', () => {
    const sends = [...good(195), ...[195, 196, 197, 198, 199].map((index) => failed(index))];
    const { verdict, reasons } = codesOf(contextOf(sends), 'latency: p(95)<50');
    expect(verdict).toBe('FAIL');
    expect(reasons).toEqual(['slo_violated']);
  });

  test('FAIL comes before every doubt, and the doubts are kept as notes', () => {
    const judgement = judge(contextOf([...good(10), refused(10)]), parseSlo(['latency: p(99)<50']));
    expect(judgement.verdict).toBe('FAIL');
    expect(judgement.valid).toBe(false);
    const notes = judgement.notes.map(({ code }) => code);
    expect(notes).toEqual(expect.arrayContaining(['in_flight_cap', 'achieved_below', 'too_few_samples']));
  });

  test('where we were late ourselves, latency fails only if service latency does too', () => {
    const excused = codesOf(contextOf(late(200)), 'latency: p(95)<12');
    expect(excused).toMatchObject({ verdict: 'INCONCLUSIVE', reasons: ['lag_over_bound'] });
    expect(excused.notes.map(({ code }) => code)).toContain('violated_by_our_lag');
    expect(codesOf(contextOf(late(200)), 'latency: p(95)<4').verdict).toBe('FAIL');
  });

  test.each([
    ['a busy sender', { busyShare: 0.9 }],
    ['a throttled container', { throttled: true }],
  ])('%s excuses scheduled latency in the same way', (_, health) => {
    const slow = good(200).map(({ index }) => send({ index, actualOffsetNs: index * 100 * MS + 1.9 * MS }));
    const context = contextOf(slow, { health: { ...HEALTHY, ...health } });
    expect(codesOf(context, 'latency: p(95)<11').verdict).toBe('INCONCLUSIVE');
    expect(codesOf(context, 'latency: p(95)<8').verdict).toBe('FAIL');
    expect(codesOf(contextOf(slow), 'latency: p(95)<8').verdict).toBe('FAIL');
  });

  test('errors and service latency fail a run however late we were; makespan and achieved do not', () => {
    const sends = [...late(150), ...Array.from({ length: 50 }, (_, at) => failed(150 + at))];
    expect(codesOf(contextOf(sends), 'errors: rate<0.1').verdict).toBe('FAIL');
    expect(codesOf(contextOf(late(200)), 'service: p(95)<4').verdict).toBe('FAIL');
    expect(codesOf(contextOf(late(200)), 'makespan: <1s').verdict).toBe('INCONCLUSIVE');
    expect(codesOf(contextOf(good(200)), 'makespan: <1s').verdict).toBe('FAIL');
  });

  test('allows lag up to 5 % of the median service latency', () => {
    const slowServer = late(200).map((each) => ({
      ...each,
      lastByteOffsetNs: (each.actualOffsetNs as number) + 120 * MS,
    }));
    expect(codesOf(contextOf(slowServer), 'latency: p(95)<500').verdict).toBe('PASS');
    expect(codesOf(contextOf(late(200)), 'latency: p(95)<500').reasons).toEqual(['lag_over_bound']);
  });

  test('a run that the guard stopped says what failed, and asks neither for more of it nor for caps', () => {
    const answered = Array.from({ length: 60 }, (_, index) =>
      send({ index, status: index < 40 ? 500 : 200 }),
    );
    const unsent = Array.from({ length: 40 }, (_, at) => send({ index: 60 + at, actualOffsetNs: null }));
    const stopped = contextOf([...answered, ...unsent], { interrupted: 'RUN_ABORTED' });
    const [first, second] = judge(stopped, []).reasons;
    expect(first?.text).toBe(
      'the schedule was not played to its end (RUN_ABORTED): 40 of 60 sent requests had failed, most often with 500',
    );
    expect(first?.advice).toMatch(/^Mend what the target answers/);
    expect(second).toMatchObject({ code: 'achieved_below' });
    expect(second?.advice).not.toContain('caps');
    const merged = contextOf([...answered, ...unsent], { interrupted: 'shard 1: RUN_ABORTED' });
    expect(judge(merged, []).reasons[0]?.advice).toBe(first?.advice);
  });

  const bursty = Array.from({ length: 500 }, (_, index) =>
    send({ index, actualOffsetNs: Math.floor(index / 10) * 1_000 * MS + 1_000 * MS }),
  );
  const doubts: [string, string[], RunContext][] = [
    ['a stop before the end', ['interrupted'], contextOf(good(200), { interrupted: 'SIGINT' })],
    [
      'under 99 % of the planned sends',
      ['achieved_below'],
      contextOf([...good(196), ...[196, 197, 198].map((index) => send({ index, actualOffsetNs: null }))]),
    ],
    ['lag over its bound', ['lag_over_bound'], contextOf(late(200))],
    ['a busy sender', ['sender_busy'], contextOf(good(200), { health: { ...HEALTHY, busyShare: 0.81 } })],
    [
      'a throttled container',
      ['cpu_throttled'],
      contextOf(good(200), { health: { ...HEALTHY, throttled: true } }),
    ],
    [
      'a stall of over 250 ms',
      ['stalled'],
      contextOf(good(2_000), {
        health: { ...HEALTHY, stalls: [{ fromOffsetNs: 10 * MS, toOffsetNs: 261 * MS }] },
      }),
    ],
    [
      'stalls of over 1 % of the run',
      ['stalled'],
      contextOf(good(200), {
        health: { ...HEALTHY, stalls: [{ fromOffsetNs: 10 * MS, toOffsetNs: 250 * MS }] },
      }),
    ],
    ['sending in bursts what was planned evenly', ['lag_over_bound', 'arrivals_off_plan'], contextOf(bursty)],
    [
      'shards that are not there',
      ['shards_missing'],
      contextOf(good(200), { shards: { count: 3, missing: [1], startSpreadUs: 0 } }),
    ],
    [
      'shards that began apart',
      ['shards_apart'],
      contextOf(good(200), { shards: { count: 3, missing: [], startSpreadUs: 2_001 } }),
    ],
    ['the in-flight cap', ['in_flight_cap'], contextOf([...good(300), refused(300)])],
    ['too few samples', ['too_few_samples'], contextOf(good(129))],
    [
      'a recording with losses',
      ['coverage_unexplained'],
      contextOf(good(200), { coverage: { share: 0.98, unexplained: 0.02 } }),
    ],
    [
      'a plan below the multiplier',
      ['multiplier_not_reached'],
      contextOf(good(200), { effectiveMultiplier: 0.98 }),
    ],
    [
      'staging that turns requests away',
      ['not_comparable'],
      contextOf([
        ...good(190),
        ...Array.from({ length: 10 }, (_, at) => send({ index: 190 + at, status: 401 })),
      ]),
    ],
    [
      'staging that answers otherwise',
      ['not_comparable'],
      contextOf([
        ...good(190),
        ...Array.from({ length: 10 }, (_, at) => send({ index: 190 + at, status: 204 })),
      ]),
    ],
  ];

  test.each(doubts)('%s is INCONCLUSIVE, and says what to change', (_, codes, context) => {
    const judgement = judge(context, parseSlo(['latency: p(95)<5000']));
    expect(judgement.verdict).toBe('INCONCLUSIVE');
    expect(judgement.reasons.map(({ code }) => code)).toEqual(codes);
    for (const { text, advice } of judgement.reasons) {
      expect(text).not.toBe('');
      expect(advice).toMatch(/^[A-Z].*\.$/);
    }
  });

  test.each(doubts.filter(([, codes]) => codes[0] !== 'too_few_samples'))(
    'without an objective %s makes the run not valid',
    (_, codes, context) => {
      const { verdict, valid, reasons } = codesOf(context, '');
      expect({ verdict, valid, reasons }).toEqual({ verdict: null, valid: false, reasons: codes });
    },
  );

  test('a plan of nothing was not cut short by caps: it says that nothing was planned', () => {
    const nothing = contextOf([], { effectiveMultiplier: 0 });
    const judgement = judge(nothing, []);
    expect(judgement).toMatchObject({ valid: false, reasons: [{ code: 'nothing_planned' }] });
    expect(judgement.reasons).toHaveLength(1);
    expect(judgement.reasons[0]?.advice).not.toContain('caps');
    const stopped = codesOf(contextOf([], { interrupted: 'SIGINT' }), '');
    expect(stopped).toMatchObject({ valid: false, reasons: ['interrupted'] });
  });

  test('a shard to which nothing fell has played its part, and has no objective to keep', () => {
    const shard = contextOf([], { plannedElsewhere: 24 });
    const judgement = judge(shard, []);
    expect(exitCodeOf(judgement)).toBe(0);
    expect(judgement).toMatchObject({ verdict: null, valid: true, reasons: [] });
    expect(judgement.notes).toContainEqual(expect.objectContaining({ code: 'nothing_planned' }));
    const asked = codesOf(shard);
    expect(asked.verdict).toBe('INCONCLUSIVE');
    expect(new Set(asked.reasons)).toEqual(new Set(['too_few_samples']));
  });

  test('just inside every bound is still a PASS', () => {
    const nearly = good(20_000).map(({ index }) =>
      send({ index, actualOffsetNs: index * 100 * MS + 1.9 * MS }),
    );
    const sends = [
      ...nearly.slice(0, 19_850),
      ...Array.from({ length: 150 }, (_, at) => send({ index: 19_850 + at, actualOffsetNs: null })),
    ];
    const context = contextOf(sends, {
      health: { ...HEALTHY, busyShare: 0.8, stalls: [{ fromOffsetNs: 0, toOffsetNs: 249 * MS }] },
      coverage: { share: 0.99, unexplained: 0.01 },
      effectiveMultiplier: 0.99,
    });
    expect(codesOf(context)).toMatchObject({ verdict: 'PASS', reasons: [] });
  });

  test('the fewest samples that prove a percentile are enough', () => {
    expect(codesOf(contextOf(good(130))).verdict).toBe('PASS');
    expect(codesOf(contextOf(good(129))).verdict).toBe('INCONCLUSIVE');
  });

  test('what nobody measured counts neither for the run nor against it, and is said', () => {
    const context = contextOf(good(200), {
      health: { busyShare: null, throttled: null, stalls: [], starved: null },
      coverage: { share: null, unexplained: null },
      effectiveMultiplier: null,
    });
    const { verdict, notes } = codesOf(context);
    expect(verdict).toBe('PASS');
    const unknown = notes.find(({ code }) => code === 'unknown')?.text;
    for (const part of ['sender', 'quota', 'recording missed', 'multiplier']) expect(unknown).toContain(part);
  });

  test('says how many requests a stall took out of the percentiles', () => {
    const stalls = [{ fromOffsetNs: 0, toOffsetNs: 50 * MS }];
    const sends = [send({ index: 0, actualOffsetNs: 50 * MS }), ...good(200).slice(1)];
    const { verdict, notes } = codesOf(contextOf(sends, { health: { ...HEALTHY, stalls } }));
    expect(verdict).toBe('PASS');
    expect(notes.find(({ code }) => code === 'left_out')?.text).toContain(': 1 requests, 0.5 %');
  });

  test('a run in which nothing was planned passes nothing', () => {
    expect(codesOf(contextOf([]))).toMatchObject({ verdict: 'INCONCLUSIVE', valid: false });
    expect(codesOf(contextOf([]), '')).toMatchObject({ verdict: null, valid: false });
  });

  test('bounds can be set', () => {
    const strict = judge(contextOf(good(200)), [], { ...JUDGEMENT_BOUNDS, busyShare: 0.1 });
    expect(strict.reasons.map(({ code }) => code)).toEqual(['sender_busy']);
  });
});

describe('exitCodeOf', () => {
  test.each([
    ['PASS', true, 0],
    ['FAIL', true, 3],
    ['FAIL', false, 3],
    ['INCONCLUSIVE', false, 4],
    [null, true, 0],
    [null, false, 4],
  ] as const)('verdict %s of a run with valid=%s is %d', (verdict, valid, code) => {
    expect(exitCodeOf({ verdict, valid })).toBe(code);
  });
});
