import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { COMPARISON_BOUNDS } from '../../src/analysis/compare/judge.ts';
import { PairTable } from '../../src/analysis/compare/pairs.ts';
import { shareMetric } from '../../src/analysis/compare/shares.ts';
import { repeatedVerdictsOf, streamVerdictsOf, verdictsOf } from '../support/compared-pairs.ts';
import { repeated } from '../support/long-form.ts';
import { uniform } from '../support/queue-simulator.ts';

/** The long form shows the rates themselves; the short one that they have not changed grossly. */
const DRAWS = repeated(50, 1_000);
/** Runs that are repeated, and short ones: they cost little, and more of them are wrong by chance. */
const REPEATED_DRAWS = repeated(100, 1_000);
const SHORT_DRAWS = repeated(300, 1_000);
const SHARE_DRAWS = repeated(300, 4_000);
/** Pairs that are drawn by seed: the counts are the same on every machine. */
const CASES = [
  { requests: 8_000, load: 0.5, service: 'steady' },
  { requests: 8_000, load: 0.5, service: 'exponential' },
  { requests: 8_000, load: 0.5, service: 'skewed' },
  { requests: 8_000, load: 0.5, service: 'heavy' },
  { requests: 8_000, load: 0.7, service: 'exponential' },
  { requests: 8_000, load: 0.85, service: 'exponential' },
  { requests: 2_000, load: 0.7, service: 'steady' },
] as const;

describe('verdicts over pairs of drawn queues', () => {
  test.each(CASES)('$requests requests, load $load, $service service times', (parts) => {
    const same = verdictsOf(DRAWS, { ...parts, executors: 4, slowdown: 1 });
    const slower = verdictsOf(DRAWS, { ...parts, executors: 4, slowdown: 1.2 });
    writeFileSync(process.stderr.fd, `${JSON.stringify({ ...parts, same, slower })}\n`);
    expect(same.WORSE / DRAWS).toBeLessThanOrEqual(0.01);
    expect(slower.WORSE / DRAWS).toBeGreaterThanOrEqual(0.95);
    expect(slower.SAME + slower.BETTER).toBe(0);
  });

  test.each(['exponential', 'skewed', 'heavy'] as const)(
    'of too short a run are inconclusive and not wrong: 1,000 requests, %s',
    (service) => {
      const parts = { requests: 1_000, load: 0.85, executors: 4, service };
      const same = verdictsOf(SHORT_DRAWS, { ...parts, slowdown: 1 });
      const slower = verdictsOf(SHORT_DRAWS, { ...parts, slowdown: 1.2 });
      expect(same.WORSE / SHORT_DRAWS).toBeLessThanOrEqual(0.01);
      expect(slower.SAME / SHORT_DRAWS).toBeLessThanOrEqual(0.05);
    },
  );
});

test('a swing over the run that both sides share makes no verdict wrong, and keeps from none', () => {
  const parts = { requests: 8_000, load: 0.5, service: 'exponential', executors: 4 } as const;
  const same = verdictsOf(DRAWS, { ...parts, slowdown: 1 }, 0.4);
  const slower = verdictsOf(DRAWS, { ...parts, slowdown: 1.2 }, 0.4);
  writeFileSync(process.stderr.fd, `${JSON.stringify({ ...parts, swing: 0.4, same, slower })}\n`);
  expect(same.WORSE / DRAWS).toBeLessThanOrEqual(0.01);
  // A change by a tenth is seen in four of five runs of this length, one by a fifth in nearly all.
  expect(same.SAME / DRAWS).toBeGreaterThanOrEqual(0.75);
  const fifth = { ...COMPARISON_BOUNDS, detect: 0.2 };
  const toldApart = verdictsOf(DRAWS, { ...parts, slowdown: 1 }, 0.4, fifth);
  expect(toldApart.SAME / DRAWS).toBeGreaterThanOrEqual(0.95);
  expect(slower.WORSE / DRAWS).toBeGreaterThanOrEqual(0.95);
  expect(slower.SAME + slower.BETTER).toBe(0);
});

test.each([CASES[1], CASES[3], CASES[6]])(
  'judged by route as well, they are not wrong more often: $service',
  (parts) => {
    const same = verdictsOf(
      DRAWS,
      { ...parts, executors: 4, slowdown: 1 },
      0,
      COMPARISON_BOUNDS,
      [8, 4, 2, 1, 1],
    );
    writeFileSync(process.stderr.fd, `${JSON.stringify({ ...parts, routes: 5, same })}\n`);
    expect(same.WORSE / DRAWS).toBeLessThanOrEqual(0.01);
  },
);

describe('verdicts over pairs of drawn queues of streams', () => {
  const streams = [
    { requests: 8_000, load: 0.5, service: 'exponential' },
    { requests: 2_000, load: 0.5, service: 'steady' },
  ] as const;

  test.each(streams)('$requests of the same build, $service service times', (parts) => {
    const same = drawn(parts, { ttft: 1, itl: 1 });
    expect(same.WORSE / DRAWS).toBeLessThanOrEqual(0.01);
  });

  test.each(
    streams.flatMap((parts) => [
      { parts, slowdown: { ttft: 1.2, itl: 1 } },
      { parts, slowdown: { ttft: 1, itl: 1.2 } },
    ]),
  )('of which only tokens come a fifth later: $slowdown, $parts', ({ parts, slowdown }) => {
    const worse = drawn(parts, slowdown);
    expect(worse.WORSE / DRAWS).toBeGreaterThanOrEqual(0.95);
    expect(worse.SAME + worse.BETTER).toBe(0);
  });

  function drawn(parts: (typeof streams)[number], slowdown: { ttft: number; itl: number }) {
    const verdicts = streamVerdictsOf(DRAWS, { ...parts, executors: 4 }, slowdown);
    writeFileSync(process.stderr.fd, `${JSON.stringify({ ...parts, slowdown, verdicts })}\n`);
    return verdicts;
  }
});

describe('verdicts over several runs on a machine that varies by 5 % between them', () => {
  const parts = { requests: 1_000, executors: 4, load: 0.5, service: 'steady', share: 0.05 } as const;
  const noises = ['independent', 'wandering', 'drifting'] as const;

  test.each(noises.flatMap((noise) => [2, 3, 4, 5, 10].map((runs) => ({ noise, runs }))))(
    'call the same build neither worse nor better: $runs of each side, $noise',
    (each) => {
      const same = repeatedVerdictsOf(REPEATED_DRAWS, { ...parts, ...each, slowdown: 1 });
      writeFileSync(process.stderr.fd, `${JSON.stringify({ ...parts, ...each, same })}\n`);
      expect((same.WORSE + same.BETTER) / REPEATED_DRAWS).toBeLessThanOrEqual(0.01);
    },
  );

  test.each(noises)('see a tenth slower with five repeats of A, B, B, A: %s', (noise) => {
    // Of independent noise 80 in 100 are seen: a hundred draws stray too far from that to tell.
    const draws = noise === 'independent' ? repeated(400, 1_000) : REPEATED_DRAWS;
    const slower = repeatedVerdictsOf(draws, { ...parts, noise, runs: 10, slowdown: 1.1 });
    writeFileSync(process.stderr.fd, `${JSON.stringify({ ...parts, noise, slower })}\n`);
    expect(slower.WORSE / draws).toBeGreaterThanOrEqual(0.8);
    expect(slower.BETTER).toBe(0);
  });
});

describe('a share of failures that is greater by exactly the floor', () => {
  const { failureFloor } = COMPARISON_BOUNDS;

  test.each([
    { share: 0, requests: 300, looks: [2, 4, 8] },
    { share: 0, requests: 300, looks: [3, 6, 12] },
    { share: 0, requests: 450, looks: [2, 4] },
    { share: 0, requests: 100, looks: [8, 16] },
    { share: 0.001, requests: 300, looks: [4, 8, 16] },
    { share: 0.005, requests: 300, looks: [2, 4, 8, 16] },
  ])('is called the same by any of several looks in 5 of 100 gates at most: $share, $looks', (parts) => {
    const random = uniform(11);
    let same = 0;
    for (let draw = 0; draw < SHARE_DRAWS; draw++) {
      const runs = Math.max(...parts.looks);
      const failed = (share: number) => Array.from({ length: runs * parts.requests }, () => random() < share);
      const [a, b] = [failed(parts.share), failed(parts.share + failureFloor)];
      const isSame = parts.looks.some((look) => {
        const ends = Array.from({ length: look }, (_, at) => (at + 1) * parts.requests);
        const bounds = { ...COMPARISON_BOUNDS, looks: parts.looks.length };
        const counted = { name: 'failed', a: (at: number) => a[at]!, b: (at: number) => b[at]! } as const;
        return shareMetric(counted, ends, bounds, 3).verdict === 'same';
      });
      if (isSame) same += 1;
    }
    writeFileSync(process.stderr.fd, `${JSON.stringify({ ...parts, same, of: SHARE_DRAWS })}\n`);
    expect(same / SHARE_DRAWS).toBeLessThanOrEqual(0.05);
  });
});

test('a million pairs take some tens of megabytes, and no object each', () => {
  const before = process.memoryUsage();
  const table = new PairTable();
  const row = {
    segment: 's',
    exchangeId: 0,
    offsetNs: 0,
    latencyNs: 1e7,
    outcome: 0,
    status: 200,
    ttftNs: 5e6,
    itlNs: 1e6,
    lagNs: 1e5,
    bytes: 1_000,
    traits: 1,
  };
  for (let id = 0; id < 1_000_000; id++) table.addA(Object.assign(row, { exchangeId: id, offsetNs: id }));
  for (let id = 0; id < 1_000_000; id++) table.addB(Object.assign(row, { exchangeId: id }));
  expect(table.counts().pairs).toBe(1_000_000);
  expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(150e6);
});
