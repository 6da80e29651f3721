import { describe, expect, test } from 'vitest';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { JUDGEMENT_BOUNDS, type RunContext } from '../../../src/analysis/verdict/run-context.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { statusOfVerdict } from '../../../src/cli/exit.ts';
import { GapCounts } from '../../../src/core/gap-counts.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { contextOf, good, HEALTHY, late } from '../../support/run-contexts.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;

function codesOf(context: RunContext, slo = 'latency: p(95)<50') {
  const judgement = judge(context, parseObjectives(slo === '' ? [] : [slo]));
  const codes = (all: readonly { code: string }[]) => all.map(({ code }) => code);
  return { ...judgement, reasons: codes(judgement.reasons), notes: codes(judgement.notes) };
}

/** As `send`, answered so long after it left. */
function answered(index: number, afterMs: number, lateMs = 0): Send {
  const leftNs = (index * 100 + lateMs) * MS;
  return send({ index, actualOffsetNs: leftNs, lastByteOffsetNs: leftNs + afterMs * MS });
}

/** So many sends, each answered after `serviceMs`; the first `of` of them left `lateMs` late. */
const run = (serviceMs: number, { lateMs = 0, of = 1_000, count = 1_000 } = {}): Send[] =>
  Array.from({ length: count }, (_, index) => answered(index, serviceMs, index < of ? lateMs : 0));
const refusals = (count: number, from = 1_000): Send[] =>
  Array.from({ length: count }, (_, at) => refused(from + at));

/** One stall of 600 ms: six requests leave at its end, a millisecond apart. */
const stalled = (serviceMs: number): Send[] =>
  Array.from({ length: 1_000 }, (_, index) =>
    answered(index, serviceMs, index < 6 ? 600 - index * 100 + index : 0),
  );

describe('a generator that stood still', () => {
  const judgedWith = (facts: Partial<RunContext>) =>
    judge(
      contextOf(run(100), { health: { ...HEALTHY, stalls: 2, stalledMs: 640 }, ...facts }),
      [],
    ).notes.filter(({ code }) => code === 'lag_over_bound');

  test('is told of its stalls, and not that a lag within its bound is over it', () => {
    const [note] = judgedWith({});
    expect(note).toMatchObject({ severity: 'note' });
    expect(note?.text).toContain('stood still 2 times, 640.0 ms in all');
    expect(note?.text).not.toContain('the bound');
  });

  test('is told nothing in a closed loop, which has no instants to miss', () => {
    expect(judgedWith({ concurrency: 8 })).toEqual([]);
  });
});

describe('answers that waited for a paused generator', () => {
  /** Each answered after a time, and every third read 80 ms later. */
  const paused = (answerMs: number, facts: Partial<Send> = {}): Send[] =>
    run(answerMs).map((each) => ({
      ...each,
      ...(each.index % 3 === 0 && {
        lastByteOffsetNs: (each.lastByteOffsetNs ?? 0) + 80 * MS,
        pausedNs: 80 * MS,
      }),
      ...facts,
    }));

  test.each<[string, Send[], string, string | undefined, string?]>([
    ['violate no objective alone', paused(20), 'INCONCLUSIVE', 'generator_paused'],
    ['do not hide a target that is too slow', paused(70), 'FAIL', 'slo_violated'],
    ['are no reason if it is met with them', paused(20), 'PASS', undefined, 'latency: p(95)<120'],
    ['are unknown in old runs', paused(70, { pausedNs: null }), 'INCONCLUSIVE', 'generator_paused'],
  ])('%s', (_title, sends, verdict, reason, slo = 'latency: p(95)<60') => {
    const judgement = codesOf(contextOf(sends), slo);
    expect([judgement.verdict, judgement.reasons[0]]).toEqual([verdict, reason]);
  });

  test('are no excuse for the others', () => {
    const sends = run(70).map((each) => (each.index < 20 ? { ...each, pausedNs: 70 * MS } : each));
    expect(codesOf(contextOf(sends), 'latency: p(95)<60')).toMatchObject({
      verdict: 'FAIL',
      reasons: ['slo_violated'],
    });
  });

  /** With the counts that an objective on goodput needs. */
  function measured(sends: readonly Send[], slo: string): RunContext {
    const context = contextOf(sends);
    const statistics = new RunStatistics(0, null, { objectives: parseObjectives([slo]), stageEndsNs: [] });
    statistics.addSends(sends);
    return { ...context, figures: { ...context.figures, goodput: statistics.figures().goodput } };
  }

  test('count for first tokens, gaps and goodput too', () => {
    const gaps = new GapCounts();
    gaps.add(100 * MS);
    const unpausedGaps = new GapCounts();
    unpausedGaps.add(20 * MS);
    const sends = run(200).map((each): Send => {
      const leftNs = each.actualOffsetNs ?? 0;
      const times = { firstTokenOffsetNs: leftNs + 100 * MS, lastTokenOffsetNs: leftNs + 200 * MS };
      const pauses = {
        firstTokenPausedNs: 80 * MS,
        lastTokenPausedNs: 80 * MS,
        unpausedGaps: unpausedGaps.toBytes(),
      };
      const counts = { contentEvents: 2, promptTokens: 1, outputTokens: 2, finish: null };
      const answer = { ...times, ...pauses, ...counts, gapMaxNs: 100 * MS, gaps: gaps.toBytes() };
      return { ...each, streamed: true, pausedNs: 80 * MS, answer };
    });
    for (const slo of [
      ...['ttft: p(95)<60', 'itl: p(95)<60', 'tpot: p(95)<60', 'service: p(95)<150'],
      'goodput: rate>0.9 where ttft<60 and tpot<60 and latency<150',
    ]) {
      const { verdict, reasons } = codesOf(measured(sends, slo), slo);
      expect([slo, verdict, reasons]).toEqual([slo, 'INCONCLUSIVE', ['generator_paused']]);
    }
    for (const slo of [
      'ttft: p(95)<15',
      'itl: p(95)<15',
      'tpot: p(95)<15',
      'goodput: rate>0.9 where ttft<15',
    ])
      expect([slo, codesOf(measured(sends, slo), slo).verdict]).toEqual([slo, 'FAIL']);
  });
});

describe('the order of judgement', () => {
  const P95 = 'latency: p(95)<200';
  /** What was sent, the objective, the verdict and its reasons, and what must stand among the notes. */
  const table: [string, Send[], string, string, string[], string[]][] = [
    ['all is well', run(100), P95, 'PASS', [], ['uncalibrated']],
    ['service latency violates', run(250), P95, 'FAIL', ['slo_violated'], []],
    [
      'service latency violates though we were late',
      run(250, { lateMs: 100 }),
      P95,
      'FAIL',
      ['slo_violated'],
      ['lag_over_bound'],
    ],
    [
      'only scheduled latency violates',
      run(150, { lateMs: 60 }),
      P95,
      'INCONCLUSIVE',
      ['lag_over_bound'],
      [],
    ],
    [
      'the objective holds with our lag counted',
      run(150, { lateMs: 40 }),
      P95,
      'PASS',
      [],
      ['lag_over_bound'],
    ],
    [
      'lag within 5 % of the limit is not worth a note',
      run(150, { lateMs: 9 }),
      P95,
      'PASS',
      [],
      ['uncalibrated'],
    ],
    [
      'two of 200 sends left 14 ms late',
      run(14, { lateMs: 14, of: 2, count: 200 }),
      'latency: p(95)<100',
      'PASS',
      [],
      ['uncalibrated'],
    ],
    ['a stall hides no violated objective', stalled(400), 'latency: p(50)<200', 'FAIL', ['slo_violated'], []],
    [
      'a stall that breaks only the maximum',
      stalled(50),
      'latency: max<200',
      'INCONCLUSIVE',
      ['lag_over_bound'],
      [],
    ],
    [
      'service latency is judged however late we were',
      run(150, { lateMs: 60 }),
      'service: p(95)<200',
      'PASS',
      [],
      [],
    ],
    [
      'our cap refused some, and the target kept up',
      [...run(100), ...refusals(8)],
      'latency: p(99.9)<200',
      'INCONCLUSIVE',
      ['in_flight_cap', 'too_few_samples'],
      [],
    ],
    [
      'our cap refused some of a slow target',
      [...run(250), ...refusals(20)],
      P95,
      'FAIL',
      ['slo_violated'],
      ['in_flight_cap'],
    ],
    [
      'our cap refused half, and the target kept up',
      [...run(100), ...refusals(1_000)],
      P95,
      'INCONCLUSIVE',
      ['achieved_below', 'in_flight_cap'],
      [],
    ],
    [
      'achieved is violated by our cap alone',
      [...run(100), ...refusals(100)],
      'achieved: rate>0.95',
      'INCONCLUSIVE',
      ['achieved_below', 'in_flight_cap'],
      [],
    ],
    [
      'errors are the target’s however late we were',
      [...late(150), ...Array.from({ length: 50 }, (_, at) => failed(150 + at))],
      'errors: rate<0.1',
      'FAIL',
      ['slo_violated'],
      [],
    ],
    [
      'failures are infinitely slow',
      [...good(195), ...[195, 196, 197, 198, 199].map((index) => failed(index))],
      'latency: p(98)<50',
      'FAIL',
      ['slo_violated', 'slo_violated'],
      ['too_few_samples'],
    ],
    ['the run took too long by itself', run(100), 'makespan: <10s', 'FAIL', ['slo_violated'], []],
    [
      'the run took too long by our lag',
      run(100, { lateMs: 500 }),
      'makespan: <100.3s',
      'INCONCLUSIVE',
      ['lag_over_bound'],
      [],
    ],
    [
      'what is too short is not excused by lag',
      run(5, { lateMs: 1 }),
      'latency: min>50',
      'FAIL',
      ['slo_violated'],
      [],
    ],
  ];

  test.each(table)('%s', (_, sends, slo, verdict, reasons, notes) => {
    const judgement = codesOf(contextOf(sends), slo);
    expect({ verdict: judgement.verdict, reasons: judgement.reasons }).toEqual({ verdict, reasons });
    expect(judgement.notes).toEqual(expect.arrayContaining(notes));
    if (notes.length === 1 && notes[0] === 'uncalibrated') {
      expect(judgement.notes).not.toContain('lag_over_bound');
    }
  });

  test('FAIL comes before every doubt, and the doubts are kept as notes', () => {
    const judgement = codesOf(contextOf([...run(90, { count: 10 }), refused(10)]), 'latency: p(99)<50');
    expect(judgement).toMatchObject({ verdict: 'FAIL', valid: false });
    expect(judgement.notes).toEqual(
      expect.arrayContaining(['in_flight_cap', 'achieved_below', 'too_few_samples']),
    );
  });

  test.each([
    ['a busy sender', { busyShare: 0.9 }, 'sender_busy'],
    ['a CPU quota that cost nothing', { throttled: true }, 'cpu_throttled'],
    ['a stall', { stalls: 1, stalledMs: 300, longestStallMs: 300 }, 'lag_over_bound'],
  ])('%s is a note: what it costs is counted in scheduled latency', (_, health, code) => {
    const context = contextOf(good(200), { health: { ...HEALTHY, ...health } });
    expect(codesOf(context)).toMatchObject({ verdict: 'PASS', valid: true, reasons: [] });
    expect(codesOf(context).notes).toContain(code);
    expect(codesOf(context, '')).toMatchObject({ verdict: null, valid: true });
    expect(codesOf(context, 'latency: p(95)<8').verdict).toBe('FAIL');
  });

  test('a note says that it cannot change the answer, a doubt that it could', () => {
    const severities = (context: RunContext, slo: string) => {
      const { reasons, notes } = judge(context, parseObjectives([slo]));
      return [reasons, notes].map((all) => [...new Set(all.map(({ severity }) => severity))]);
    };
    expect(severities(contextOf(run(150, { lateMs: 40 })), P95)).toEqual([[], ['note']]);
    expect(severities(contextOf(run(150, { lateMs: 60 })), P95)).toEqual([['doubt'], ['note']]);
    expect(severities(contextOf([...run(250), ...refusals(20)]), P95)).toEqual([['fail'], ['doubt', 'note']]);
  });
});

describe('judge', () => {
  test('a run that the guard stopped says what failed, and asks neither for more of it nor for caps', () => {
    const answered = Array.from({ length: 60 }, (_, index) =>
      send({ index, status: index < 40 ? 500 : 200 }),
    );
    const unsent = Array.from({ length: 40 }, (_, at) => send({ index: 60 + at, actualOffsetNs: null }));
    const stopped = contextOf([...answered, ...unsent], { interrupted: 'RUN_ABORTED' });
    const [first, second] = judge(stopped, []).reasons;
    expect(first?.text).toBe(
      'the run was stopped (RUN_ABORTED), because 40 of 60 requests failed, most often with status 500',
    );
    expect(first?.advice).toMatch(/^See why the target answers 500/);
    expect(second).toMatchObject({ code: 'achieved_below' });
    expect(second?.advice).not.toContain('caps');
    const merged = contextOf([...answered, ...unsent], { interrupted: 'shard 1: RUN_ABORTED' });
    expect(judge(merged, []).reasons[0]?.advice).toBe(first?.advice);
  });

  test('a run that a wrong server ended names no failures: a method it does not know is one refusal of many', () => {
    const refused = Array.from({ length: 20 }, (_, index) => send({ index, status: index < 19 ? 404 : 501 }));
    const stopped = judge(contextOf(refused, { interrupted: 'RUN_ABORTED' }), []).reasons[0];
    expect(stopped?.text).toBe(
      'the run was stopped (RUN_ABORTED), because none of 20 requests was answered as recorded',
    );
    expect(stopped?.advice).toMatch(/^Compare the statuses/);
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
    ['sending in bursts what was planned evenly', ['arrivals_off_plan'], contextOf(bursty)],
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
    const judgement = judge(context, parseObjectives(['latency: p(95)<5000']));
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
    expect(statusOfVerdict(judgement)).toBe(0);
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
      health: { ...HEALTHY, busyShare: 0.8 },
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
      health: { ...HEALTHY, busyShare: null, throttled: null, starved: null },
      coverage: { share: null, unexplained: null },
      effectiveMultiplier: null,
    });
    const { verdict, notes } = codesOf(context);
    expect(verdict).toBe('PASS');
    expect(notes).toContain('unknown');
    const unknown = judge(context, []).notes.find(({ code }) => code === 'unknown')?.text;
    for (const part of ['sender', 'quota', 'recording missed', 'multiplier']) expect(unknown).toContain(part);
  });

  test('a run in which nothing was planned passes nothing', () => {
    expect(codesOf(contextOf([]))).toMatchObject({ verdict: 'INCONCLUSIVE', valid: false });
    expect(codesOf(contextOf([]), '')).toMatchObject({ verdict: null, valid: false });
  });

  test('bounds can be set', () => {
    const few = contextOf([...good(196), send({ index: 196, actualOffsetNs: null })]);
    expect(judge(few, []).valid).toBe(true);
    const strict = judge(few, [], { ...JUDGEMENT_BOUNDS, achievedShare: 0.999 });
    expect(strict.reasons.map(({ code }) => code)).toEqual(['achieved_below']);
  });
});

describe('statusOfVerdict', () => {
  test.each([
    ['PASS', true, 0],
    ['FAIL', true, 3],
    ['FAIL', false, 3],
    ['INCONCLUSIVE', false, 4],
    [null, true, 0],
    [null, false, 4],
  ] as const)('verdict %s of a run with valid=%s is %d', (verdict, valid, code) => {
    expect(statusOfVerdict({ verdict, valid })).toBe(code);
  });
});

test('a violation told a figure with our lateness in it, and not the one that it was judged by', () => {
  const sends = Array.from({ length: 200 }, (_, index) => {
    const { intendedOffsetNs } = send({ index });
    const actualOffsetNs = intendedOffsetNs + 30e6;
    return send({ index, actualOffsetNs, lastByteOffsetNs: actualOffsetNs + 80e6 });
  });
  const { verdict, reasons } = judge(contextOf(sends), parseObjectives(['latency: p(95)<70']));
  expect(verdict).toBe('FAIL');
  expect(reasons[0]?.text).toMatch(
    /observed 110\.\d ms, at least 80\.\d ms from when requests left, 1\.1 times the limit/,
  );
});
