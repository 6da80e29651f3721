import { describe, expect, test } from 'vitest';
import { RunStatistics } from '../../../src/analysis/run/run-statistics.ts';
import { judge } from '../../../src/analysis/verdict/verdict.ts';
import { AppError } from '../../../src/core/errors.ts';
import type { Send } from '../../../src/core/run.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { drawnRun } from '../../support/drawn-runs.ts';
import { exchangeRow } from '../../support/exchange-row.ts';
import { contextOf } from '../../support/run-contexts.ts';
import { failed, refused, send } from '../../support/sends.ts';

const MS = 1e6;

function judged(sends: readonly Send[], slo: readonly string[], stageEndsNs: readonly number[] = []) {
  const objectives = parseObjectives(slo);
  const statistics = new RunStatistics(0, null, { objectives, stageEndsNs });
  for (const each of sends) statistics.addPlanned(exchangeRow(), each.intendedOffsetNs);
  statistics.addSends(sends);
  const { verdict, reasons, notes, results } = judge(
    contextOf(sends, { figures: statistics.figures() }),
    objectives,
  );
  return {
    verdict,
    codes: reasons.map(({ code }) => code),
    notes: notes.map(({ code }) => code),
    lines: results.map(({ objective, ok, requests }) => [objective.expression, ok, requests]),
  };
}

/** Answered after so long, 1 % of it more for each of ten, so that no two are alike. */
function answered(index: number, ms: number, facts: Partial<Send> = {}): Send {
  const intendedOffsetNs = index * 20 * MS;
  const takesNs = Math.round(ms * MS * (1 + (index % 10) / 100));
  return send({ index, intendedOffsetNs, lastByteOffsetNs: intendedOffsetNs + takesNs, ...facts });
}

const times = <T>(count: number, make: (index: number) => T) =>
  Array.from({ length: count }, (_, at) => make(at));

/** A third of the traffic is of a model that takes 3 s. */
const mixed = times(900, (index) =>
  index % 3 === 0 ? answered(index, 3_000, { model: 'slow' }) : answered(index, 10, { model: 'fast' }),
);

describe('an objective by slice', () => {
  test.each([6, 8, 9])(
    'a tenth of a queue near saturation passes no more than the whole, draw %i',
    (seed) => {
      const parts = { arrivals: 'poisson', service: 'exponential', executors: 4, load: 0.95 } as const;
      const { arrivals, latencies } = drawnRun({ ...parts, requests: 2_000 }, seed);
      const sends = times(arrivals.length, (index) => {
        const intendedOffsetNs = Math.round(arrivals[index]! * 100 * MS);
        const lastByteOffsetNs = intendedOffsetNs + Math.round(latencies[index]! * 100 * MS);
        return send({
          index,
          intendedOffsetNs,
          lastByteOffsetNs,
          model: index % 10 === 3 ? 'rare' : 'other',
        });
      });
      // The 95th percentile of this queue is 1,569 ms; these draws saw too little of it.
      expect(judged(sends, ['latency{model=rare}: p(95)<1490'])).toMatchObject({
        verdict: 'INCONCLUSIVE',
        codes: ['too_close'],
      });
    },
  );

  test('a model with a third of the traffic at 3 s does not hide behind the others', () => {
    expect(judged(mixed, ['latency: p(60)<200']).verdict).toBe('PASS');
    expect(judged(mixed, ['latency{model=fast}: p(60)<200'])).toMatchObject({ verdict: 'PASS', codes: [] });
    const slow = judged(mixed, ['latency: p(60)<200; latency{model=slow}: p(60)<200']);
    expect(slow).toMatchObject({ verdict: 'FAIL', codes: ['slo_violated'] });
    expect(slow.lines[1]).toEqual(['latency{model=slow}: p(60)<200', false, 300]);
  });

  test('{*model} judges each model by itself, under its own name', () => {
    expect(judged(mixed, ['latency{*model}: p(60)<200']).lines).toEqual([
      ['latency{model=fast}: p(60)<200', true, 600],
      ['latency{model=slow}: p(60)<200', false, 300],
      ['errors: rate<0.01', true, null],
      ['rejected: rate<0.01', true, null],
    ]);
  });

  test('takes route with or without its method, size, client and stage, and all tags together', () => {
    const client = '00112233aabbccdd';
    const sends = times(400, (index) =>
      answered(index, 10, {
        model: index % 2 === 0 ? 'a' : 'b',
        route: index % 2 === 0 ? 'POST /v1/embeddings' : 'POST /v2/models/{model}/infer',
        requestBytes: index % 4 === 0 ? 100_000 : 2_000,
        client: index < 100 ? client : null,
      }),
    );
    const requests = (slice: string) =>
      judged(sends, [`latency${slice}: p(50)<200`], [2e9, 8e9]).lines[0]?.[2];
    expect(requests('{route=/v1/embeddings}')).toBe(200);
    expect(requests('{route=POST /v1/embeddings}')).toBe(200);
    expect(requests('{route="POST /v2/models/{model}/infer"}')).toBe(200);
    expect(requests('{size=large}')).toBe(100);
    expect(requests('{size=small}')).toBe(300);
    expect(requests('{size=..2001}')).toBe(300);
    expect(requests('{size=2KiB..}')).toBe(100);
    expect(requests(`{client=${client.toUpperCase()}}`)).toBe(100);
    expect(requests('{stage=1}')).toBe(100);
    expect(requests('{stage=2}')).toBe(300);
    expect(requests('{stage:1, model:b}')).toBe(50);
  });

  test('a slice that matched no request is INCONCLUSIVE, never passed', () => {
    const { verdict, codes, lines } = judged(mixed, ['latency{model=other}: p(60)<200']);
    expect({ verdict, codes }).toEqual({ verdict: 'INCONCLUSIVE', codes: ['slice_empty'] });
    expect(lines[0]).toEqual(['latency{model=other}: p(60)<200', null, 0]);
    for (const slo of [
      'errors{model=other}: rate<0.5',
      'errors{model=other}: count<5',
      'latency{*client}: max<9s',
    ]) {
      expect(judged(mixed, [slo])).toMatchObject({ verdict: 'INCONCLUSIVE', codes: ['slice_empty'] });
    }
  });

  test('a slice with too few samples is INCONCLUSIVE, whatever the others came to', () => {
    const sends = [...mixed, ...times(5, (index) => answered(900 + index, 10, { model: 'rare' }))];
    const { verdict, codes } = judged(sends, ['latency{*model}: p(95)<5000']);
    expect({ verdict, codes }).toEqual({ verdict: 'INCONCLUSIVE', codes: ['too_few_samples'] });
    // One reason for all of them.
    const clients = times(900, (index) => answered(index, 10, { client: `${index % 45}`.padStart(16, '0') }));
    expect(judged(clients, ['latency{*client}: p(95)<5000']).codes).toEqual(['too_few_samples']);
  });

  test('a bound on the number of slices that bites is named, and passes nothing', () => {
    const sends = times(1_000, (index) =>
      answered(index, 10, { client: (index % 60).toString(16).padStart(16, '0') }),
    );
    const { verdict, codes, lines } = judged(sends, ['latency{*client}: avg<200']);
    expect({ verdict, codes }).toEqual({ verdict: 'INCONCLUSIVE', codes: ['slices_beyond'] });
    expect(lines).toHaveLength(52);
  });

  test('requests without a model are in no slice of {*model}, and a note says so', () => {
    const sends = [...mixed, ...times(40, (index) => answered(900 + index, 9_000, { model: null }))];
    const { verdict, notes } = judged(sends, ['latency{*model}: p(60)<5000']);
    expect(verdict).toBe('PASS');
    expect(notes).toContain('slice_unnamed');
  });

  test('failures of a slice are its own: they are infinitely slow there, and count in its errors', () => {
    const sends = [
      ...times(300, (index) => answered(index, 10, { model: 'a' })),
      ...times(30, (index) => failed(300 + index, { model: 'b', intendedOffsetNs: (300 + index) * 20 * MS })),
    ];
    const { lines } = judged(sends, [
      'errors{model=a}: rate<0.01; errors{model=b}: rate<0.01; errors: rate<0.5',
    ]);
    expect(lines.map(([, ok]) => ok)).toEqual([true, false, true, true]);
    expect(judged(sends, ['latency{model=b}: p(50)<200; errors: rate<0.5']).verdict).toBe('FAIL');
  });

  test.each([
    ['latency{modle=gpt}: p(95)<300', 'unknown slice key modle'],
    ['latency{}: p(95)<300', 'empty slice'],
    ['latency{model=gpt: p(95)<300', 'without its end'],
    ['latency{route=POST /v2/{model}}: p(95)<300', 'without its end'],
    ['latency{model=}: p(95)<300', 'no value for model'],
    ['latency{model=a*}: p(95)<300', 'no value for model'],
    ['latency{model=a,model=b}: p(95)<300', 'model twice'],
    ['latency{*model,*route}: p(95)<300', 'one *'],
    ['latency{*model=a}: p(95)<300', 'beside *model'],
    ['latency{stage=0}: p(95)<300', 'stage 0'],
    ['latency{client=me}: p(95)<300', '16 hex digits'],
    ['latency{size=huge}: p(95)<300', 'size huge'],
    ['makespan{model=a}: <4h', 'whole run'],
    ['nosuch{model=a}', 'no preset'],
  ])('refuses %s', (text, reason) => {
    expect(() => parseObjectives([text])).toThrow(AppError);
    expect(() => parseObjectives([text])).toThrow(reason);
  });

  test('what was parsed and written is parsed as the same', () => {
    const texts = [
      'latency{model="a, b; {c}"}: p(95)<300',
      'latency{model="say \\"hi\\"",stage=2}: p(95)<300',
      'errors{route=/v1/embeddings}: rate<0.01',
      'latency{model=llama3:8b}: max<3',
      'ttft{*model,size=1KiB..64KiB}: med<1s',
      'goodput{model=gpt}: rate>0.95 where ttft<500 and tpot<=50',
    ];
    for (const text of texts) expect(parseObjectives([text])[0]?.expression).toBe(text);
    expect(parseObjectives(["latency{model='it, is'}: max<3"])[0]?.expression).toBe(
      'latency{model="it, is"}: max<3',
    );
    expect(parseObjectives(['realtime{model=a}']).map(({ expression }) => expression)).toEqual([
      'latency{model=a}: p(50)<50',
      'latency{model=a}: p(99)<200',
      'errors: rate<0.01',
    ]);
  });
});

/** A stream whose first token comes after so long, then one more each `tpot`. */
function stream(index: number, ttftMs: number, tpotMs: number, facts: Partial<Send> = {}): Send {
  const intendedOffsetNs = index * 20 * MS;
  const firstTokenOffsetNs = intendedOffsetNs + ttftMs * MS;
  const lastTokenOffsetNs = firstTokenOffsetNs + 10 * tpotMs * MS;
  return send({
    index,
    intendedOffsetNs,
    lastByteOffsetNs: lastTokenOffsetNs,
    streamed: true,
    answer: {
      firstTokenOffsetNs,
      lastTokenOffsetNs,
      contentEvents: 11,
      gapMaxNs: tpotMs * MS,
      gaps: null,
      promptTokens: 5,
      outputTokens: 11,
      finish: 'stop',
    },
    ...facts,
  });
}

describe('goodput', () => {
  const SLO = 'goodput: rate>0.9 where ttft<500 and tpot<50; errors: rate<0.5';

  test('is the share that kept all limits at once, though each limit alone is kept by 95 %', () => {
    const sends = times(200, (index) =>
      stream(index, index % 20 === 0 ? 900 : 100, index % 20 === 10 ? 90 : 10),
    );
    expect(judged(sends, ['ttft: p(90)<500; tpot: p(90)<50']).verdict).toBe('PASS');
    const { verdict, lines } = judged(sends, [SLO]);
    expect(verdict).toBe('FAIL');
    expect(lines[0]).toEqual(['goodput: rate>0.9 where ttft<500 and tpot<50', false, null]);
    expect(judged(sends, [SLO.replace('0.9', '0.85')]).verdict).toBe('PASS');
  });

  test('a failed request keeps no limit, however fast it failed', () => {
    const sends = times(200, (index) =>
      index % 5 === 0
        ? failed(index, { streamed: true, intendedOffsetNs: index * 20 * MS })
        : stream(index, 100, 10),
    );
    expect(judged(sends, [SLO]).verdict).toBe('FAIL');
  });

  test('what our own cap refused keeps no limit, and proves nothing against the target', () => {
    const sends = times(200, (index) =>
      index % 5 === 0
        ? refused(index, { streamed: true, intendedOffsetNs: index * 20 * MS })
        : stream(index, 100, 10),
    );
    const { verdict, codes } = judged(sends, [SLO]);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(codes).toContain('in_flight_cap');
  });

  test('what was turned away quickly is not good', () => {
    const sends = times(200, (index) => stream(index, 100, 10, index % 5 === 0 ? { status: 401 } : {}));
    const { verdict, codes } = judged(sends, [SLO]);
    expect(verdict).toBe('INCONCLUSIVE');
    expect(codes).toContain('not_comparable');
  });

  test('what left with its recorded client before an answer is good or not: a pass holds either way', () => {
    const leaving = (afterMs: number) =>
      times(200, (index) => {
        const { intendedOffsetNs } = stream(index, 100, 10);
        const lastByteOffsetNs = intendedOffsetNs + afterMs * MS;
        return stream(
          index,
          100,
          10,
          index % 5 === 0 ? { cancelled: true, answer: null, lastByteOffsetNs } : {},
        );
      });
    expect(judged(leaving(150), [SLO])).toMatchObject({ verdict: 'INCONCLUSIVE', codes: ['censored'] });
    expect(judged(leaving(150), [SLO.replace('0.9', '0.75')]).verdict).toBe('PASS');
    expect(judged(leaving(600), [SLO]).verdict).toBe('FAIL');
  });

  test('limits on tokens are about streams: others are in it only by their latency', () => {
    const sends = times(400, (index) =>
      index % 2 === 0 ? stream(index, 100, 10) : answered(index, index % 10 === 1 ? 5_000 : 10),
    );
    expect(judged(sends, [SLO]).verdict).toBe('PASS');
    expect(judged(sends, ['goodput: rate>0.95 where ttft<500 and latency<1s']).verdict).toBe('FAIL');
  });

  test('of too few requests, or with times that nobody knows, it is not decided', () => {
    expect(
      judged(
        times(20, (index) => stream(index, 100, 10)),
        [SLO],
      ).codes,
    ).toEqual(['too_few_samples']);
    const uncounted = times(200, (index) => {
      const each = stream(index, 100, 10);
      return each.answer && index % 10 === 0
        ? { ...each, answer: { ...each.answer, outputTokens: null } }
        : each;
    });
    const { verdict, codes } = judged(uncounted, [SLO]);
    expect({ verdict, codes }).toEqual({ verdict: 'INCONCLUSIVE', codes: ['goodput_unknown'] });
  });

  test('passes only where its share is surely over the limit', () => {
    const sends = times(200, (index) => stream(index, index % 12 === 0 ? 900 : 100, 10));
    expect(judged(sends, [SLO])).toMatchObject({ verdict: 'INCONCLUSIVE', codes: ['too_close'] });
    expect(judged(sends, [SLO.replace('0.9', '0.85')]).verdict).toBe('PASS');
    const clustered = times(200, (index) => stream(index, index >= 100 && index < 112 ? 900 : 100, 10));
    expect(judged(clustered, [SLO]).codes).toEqual(['too_close']);
    // All are good and far from the limits, and a few come late together.
    const stalled = times(300, (index) => stream(index, index >= 100 && index < 115 ? 200 - index : 50, 10));
    expect(judged(stalled, ['goodput: rate>0.9 where ttft<2s and tpot<500']).verdict).toBe('PASS');
    const spread = times(600, (index) => stream(index, index % 17 === 0 ? 900 : 100, 10));
    expect(judged(spread, [SLO]).verdict).toBe('PASS');
  });

  test('goes by slice', () => {
    const sends = times(600, (index) =>
      index % 3 === 0 ? stream(index, 900, 10, { model: 'slow' }) : stream(index, 100, 10, { model: 'fast' }),
    );
    const { verdict, lines } = judged(sends, ['goodput{*model}: rate>0.9 where ttft<500']);
    expect(verdict).toBe('FAIL');
    expect(lines.slice(0, 2)).toEqual([
      ['goodput{model=fast}: rate>0.9 where ttft<500', true, 400],
      ['goodput{model=slow}: rate>0.9 where ttft<500', false, 200],
    ]);
  });

  test.each([
    ['goodput: rate>0.95', 'no limits'],
    ['goodput: rate<0.95 where ttft<500', 'takes > or >='],
    ['goodput: rate>=1 where ttft<500', 'below 1'],
    ['goodput: p(95)<3 where ttft<500', 'takes rate'],
    ['goodput: rate>0.95 where itl<80', 'limit itl<80'],
    ['goodput: rate>0.95 where ttft>500', 'limit ttft>500'],
    ['goodput: rate>0.95 where', 'limit of nothing'],
    ['latency: p(95)<300 where ttft<500', 'only goodput'],
  ])('refuses %s', (text, reason) => {
    expect(() => parseObjectives([text])).toThrow(reason);
  });
});
