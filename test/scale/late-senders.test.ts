import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { JUDGEMENT_BOUNDS } from '../../src/analysis/verdict/run-context.ts';
import { judge } from '../../src/analysis/verdict/verdict.ts';
import type { Send } from '../../src/core/run.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import { sendsOf } from '../analysis/verdict/looked-at.ts';
import { drawnRun } from '../support/drawn-runs.ts';
import { repeated } from '../support/long-form.ts';
import { uniform } from '../support/queue-simulator.ts';
import { contextOf } from '../support/run-contexts.ts';

const SEEDS = repeated(20, 200);
const REQUESTS = 1_200;
const PERCENTS = [50, 95, 99] as const;
const MS = 1e6;

/** How late a request leaves, in ns. */
const LAGS: Readonly<Record<string, (index: number, random: () => number) => number>> = {
  'no request': () => 0,
  'one request, by 66 ms': (index) => (index === 500 ? 66 * MS : 0),
  'one in a hundred, by up to 100 ms': (_, random) => (random() < 0.01 ? random() * 100 * MS : 0),
  'the second half, by 5 to 25 ms': (index, random) => (index > REQUESTS / 2 ? (5 + 20 * random()) * MS : 0),
  'ten of each 200, after a stall': (index) => Math.max(0, 10 - (index % 200)) * 8 * MS,
};

function lateRun(lag: (index: number, random: () => number) => number, load: number, seed: number): Send[] {
  const random = uniform(seed + 99);
  const parts = {
    arrivals: 'poisson',
    service: 'exponential',
    executors: 4,
    load,
    requests: REQUESTS,
  } as const;
  return sendsOf(drawnRun(parts, seed)).map((each, index) => {
    const lagNs = Math.round(lag(index, random));
    const { intendedOffsetNs, lastByteOffsetNs } = each;
    return {
      ...each,
      actualOffsetNs: intendedOffsetNs + lagNs,
      lastByteOffsetNs: (lastByteOffsetNs ?? 0) + lagNs,
    };
  });
}

const CASES = Object.keys(LAGS).flatMap((late) => [0.5, 0.8].map((load) => ({ late, load })));

test.each(CASES)('late: $late; load $load', ({ late, load }) => {
  const lag = LAGS[late]!;
  const pool = Array.from({ length: 80 }, (_, draw) =>
    lateRun(lag, load, 1_000 + draw).map(
      ({ lastByteOffsetNs, intendedOffsetNs }) => (lastByteOffsetNs ?? 0) - intendedOffsetNs,
    ),
  )
    .flat()
    .sort((a, b) => a - b);
  const counts = PERCENTS.map((percent) => {
    const trueMs = pool[Math.ceil((pool.length * percent) / 100) - 1]! / MS;
    return { percent, trueMs, passed: 0, half: 0 };
  });
  for (let seed = 1; seed <= SEEDS; seed++) {
    const context = contextOf(lateRun(lag, load, seed));
    for (const count of counts) {
      const limits = [count.trueMs / 1.05, count.trueMs * 2];
      const slo = parseObjectives(limits.map((ms) => `latency: p(${count.percent})<${ms.toFixed(3)}`));
      const [atTrue, atTwice] = judge(context, slo, JUDGEMENT_BOUNDS).results;
      if (atTrue?.margin?.holds === true) count.passed += 1;
      if (atTwice?.margin?.holds === true) count.half += 1;
    }
  }
  writeFileSync(process.stderr.fd, `${JSON.stringify({ late, load, seeds: SEEDS, counts })}\n`);
  for (const { passed, half, percent } of counts) {
    expect(passed).toBeLessThanOrEqual(0.05 * SEEDS);
    if (load === 0.5 && percent < 99) expect(half).toBeGreaterThanOrEqual(0.95 * SEEDS);
  }
});
