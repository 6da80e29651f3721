import { describe, expect, test } from 'vitest';
import type { ComparisonDocument } from '../../src/analysis/compare/comparison-document.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { queueServer } from '../support/queue-server.ts';
import { poissonArrivals, uniform } from '../support/queue-simulator.ts';
import { replay } from '../support/replaying.ts';

const EXECUTORS = 8;
const SERVICE_MS = 40;
const REQUESTS = 1_000;
/** Half of what the executors can do. */
const RATE_PER_SECOND = (EXECUTORS / SERVICE_MS) * 1_000 * 0.5;
/** A run that a neighbour on the machine spoilt says so, and is played again. */
const ATTEMPTS = 6;
/** Our own lateness does not matter beside service times of 40 ms. */
const PATIENT = ['--lag-bound', '20ms,50%'];

function recordedCapture(): string {
  const arrivals = poissonArrivals(REQUESTS, RATE_PER_SECOND, uniform(11));
  return captureOf(
    [...arrivals].map((second, at) =>
      exchangeOf({
        arrivalUs: TEST_EPOCH_US + Math.round(second * 1e6),
        request: requestMessage({ target: `/v2/models/m/infer?n=${at}` }),
      }),
    ),
  );
}

async function comparison(capture: string, slowdown: number, seed: number): Promise<ComparisonDocument> {
  let document: ComparisonDocument | null = null;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const runs: string[] = [];
    for (const [side, factor] of [
      [0, 1],
      [1, slowdown],
    ] as const) {
      const parts = {
        executors: EXECUTORS,
        serviceMs: SERVICE_MS * factor,
        seed: seed * 10 + side + attempt,
      };
      const done = await replay(capture, await queueServer(parts), PATIENT);
      runs.push(done.out);
    }
    const done = await runReprise(['compare', ...runs, '--json']);
    document = JSON.parse(done.stdout || '{}') as ComparisonDocument;
    const expected = { SAME: 0, BETTER: 0, WORSE: 3, INCONCLUSIVE: 4 }[document.verdict];
    expect(done, done.stderr).toMatchObject({ status: expected });
    if (!document.reasons.some(({ code }) => code.startsWith('run_'))) return document;
  }
  throw new Error(`no valid pair of runs: ${JSON.stringify(document?.reasons)}`);
}

describe('real runs against a server with executors and a queue', () => {
  const capture = recordedCapture();

  test.each([1, 2, 3])('of the same build are the same (pair %i)', async (seed) => {
    const document = await comparison(capture, 1, seed);
    expect(document.verdict, JSON.stringify(document)).toBe('SAME');
    expect(document.pairs).toBeGreaterThan(REQUESTS * 0.98);
  });

  test.each([1, 2, 3])('of which one takes a fifth longer are worse (pair %i)', async (seed) => {
    const document = await comparison(capture, 1.2, seed);
    expect(document.verdict, JSON.stringify(document)).toBe('WORSE');
    expect(document.metrics[0]?.ratio).toBeGreaterThan(1.1);
    expect(document.metrics[0]?.ratio).toBeLessThan(1.35);
  });
});
