import { describe, expect, test } from 'vitest';
import { comparePairs } from '../../../src/analysis/compare/judge.ts';
import { FAILED, type PairedAnswers, PairTable } from '../../../src/analysis/compare/pairs.ts';
import { pairsOf, routed, sideRow, spoilt } from '../../support/compared-pairs.ts';

/** Request by request, of the route that is its; B takes so many times as long on it. */
function scanned(count: number, routeOf: (id: number) => number, timesOn: (route: number) => number) {
  const table = new PairTable();
  const add = (id: number, times: number) =>
    sideRow(id, (10 + (id % 7)) * 1e6 * times, { route: `GET /r${routeOf(id)}` });
  for (let id = 0; id < count; id++) table.addA(add(id, 1));
  for (let id = 0; id < count; id++) table.addB(add(id, timesOn(routeOf(id))));
  return table.pairs();
}

/** B takes so many times as long on one route. */
function slowerOn(pairs: PairedAnswers, route: number, times: number): PairedAnswers {
  for (let at = 0; at < pairs.count; at++) {
    if (pairs.routes?.of[at] === route) pairs.b.latencyNs[at]! *= times;
  }
  return pairs;
}

describe('comparing route by route', () => {
  test('a build with one route 3 times as slow was SAME, as the sum hid it', () => {
    const hidden = slowerOn(routed(pairsOf(1, 8_000), [6, 3, 1]), 2, 3);
    // Less than p95 is told of the whole only if more than a twentieth is slow.
    const whole = comparePairs({ ...hidden, routes: { names: ['all'], of: new Uint32Array(8_000) } });
    expect(whole.routes).toBeNull();
    const { verdict, reasons, routes } = comparePairs(hidden);
    expect(verdict).toBe('WORSE');
    expect(reasons.map(({ code }) => code)).toContain('routes_worse');
    expect(routes).toMatchObject({ worse: 1, undecided: 0, unjudged: 0 });
    const [first] = routes!.shown;
    expect(first).toMatchObject({ route: 'POST /2', verdict: 'worse', pairs: 800 });
    const p50 = first!.metrics.find(({ name }) => name === 'latency_p50');
    expect(p50?.ratio).toBeCloseTo(3, 0);
    expect(reasons.at(-1)).toMatchObject({ advice: expect.stringContaining("--route 'POST /2'") });
  });

  test('finds it where the median of the whole does not move', () => {
    const rare = slowerOn(routed(pairsOf(1, 8_000), [12, 7, 1]), 2, 1.5);
    const p50 = comparePairs(rare).metrics.find(({ name }) => name === 'latency_p50');
    expect(p50?.verdict).toBe('same');
    expect(comparePairs(rare).routes?.shown[0]).toMatchObject({ route: 'POST /2', verdict: 'worse' });
  });

  test('the same build is the same on every route, and a rare route is named as undecided', () => {
    const pairs = routed(pairsOf(1, 8_000), [5, 4]);
    const of = Uint32Array.from(pairs.routes!.of, (route, at) => (at % 400 === 0 ? 2 : route));
    const { verdict, routes } = comparePairs({ ...pairs, routes: { names: ['a', 'b', 'rare'], of } });
    expect(verdict).toBe('SAME');
    expect(routes).toMatchObject({ worse: 0, better: 0, same: 2, undecided: 1 });
  });

  test('a route that alone fails is worse', () => {
    const pairs = routed(pairsOf(1, 8_000), [6, 4]);
    const failing = spoilt(pairs, FAILED, (at) => pairs.routes!.of[at] === 1 && at % 5 === 3);
    const [first] = comparePairs(failing).routes!.shown;
    expect(first).toMatchObject({ route: 'POST /1', verdict: 'worse' });
    expect(first!.metrics.find(({ name }) => name === 'failed')?.verdict).toBe('worse');
  });

  test('shows twenty routes and judges a hundred, and counts the others', () => {
    const pairs = routed(
      pairsOf(1, 24_000),
      Array.from({ length: 120 }, () => 1),
    );
    const { routes } = comparePairs(pairs);
    expect(routes?.shown).toHaveLength(20);
    expect(routes?.unjudged).toBe(20);
    const { worse, better, same, undecided } = routes!;
    expect([worse, better, same + undecided]).toEqual([0, 0, 100]);
  });

  test('a route beyond the thousandth that is worse was told of the thousandth', () => {
    // The first 1,000 have 2 pairs each, and two later ones 1,500 each, of which one is slower.
    const routeOf = (id: number) => (id < 2_000 ? id % 1_000 : 1_000 + (id % 2));
    const { verdict, routes } = comparePairs(scanned(5_000, routeOf, (route) => (route === 1_001 ? 3 : 1)));
    expect(verdict).toBe('WORSE');
    expect(routes).toMatchObject({ worse: 1, unjudged: 902 });
    expect(routes!.shown[0]).toMatchObject({ route: 'GET /r1001', verdict: 'worse', pairs: 1_500 });
  });

  test('routes beyond ten thousand have no name, and count as one that is not judged', () => {
    const { routes } = comparePairs(
      scanned(
        10_500,
        (id) => id,
        (route) => (route < 10_000 ? 1 : 9),
      ),
    );
    expect(routes).toMatchObject({ worse: 0, undecided: 100, unjudged: 10_000 - 100 + 1 });
    expect(routes!.shown.map(({ pairs }) => pairs)).toEqual(Array.from({ length: 20 }, () => 1));
  });

  test('a route that may fail more often was told to be slower', () => {
    const pairs = routed(pairsOf(1, 2_000), [6, 4]);
    const failing = spoilt(pairs, FAILED, (at) => pairs.routes!.of[at] === 1 && at % 97 < 2 && at % 2 === 0);
    const { reasons, notes } = comparePairs(failing);
    const doubt = [...reasons, ...notes].find(({ code }) => code === 'routes_doubtful');
    expect(doubt?.text).toMatch(/probably worse.*POST \/1, failed went from/);
    expect(doubt?.text).not.toContain('slower');
  });
});
