import { expect, test } from 'vitest';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { dryRunPlan } from '../support/dry-run-plan.ts';
import { documentOf, replayHere, requestsOf, serverOf } from '../support/replaying.ts';

/** Twenty requests, 100 a second. */
const GAP_US = 10_000;

test('a rate sends as many as were asked for, in the order of the recording, again and again', async () => {
  const server = await serverOf();
  const capture = captureOf(requestsOf(20, GAP_US));
  const asked = ['--json', '--rate', '50', '--duration', '1s', '--slo', 'latency: p(99)<10s'];
  const result = await replayHere(capture, server.url, asked);
  const document = documentOf(result);
  expect(document).toMatchObject({ scaling: 'rate', planned: 50, completed: 50 });
  // The recorded rate is that of the twenty: 20 in 190 ms, and the seams between passes.
  const recorded = document.fidelity.recorded.ratePerSecond ?? 0;
  expect(document.multiplier).toBeCloseTo(50 / recorded, 9);
  expect(document.effectiveMultiplier).toBeCloseTo(document.multiplier, 9);
  expect(document.reasons.map(({ code }) => code)).not.toContain('multiplier_not_reached');
  // A longer window would change nothing.
  const short = document.reasons.find(({ code }) => code === 'too_few_samples');
  expect(short?.advice).toContain('Give a --duration');
  const reader = new RunReader(result.out);
  const ids = [...reader.sends()].sort((a, b) => a.index - b.index).map(({ exchangeId }) => exchangeId);
  reader.close();
  expect(ids.slice(20, 40)).toEqual(ids.slice(0, 20));
  expect(new Set(ids.slice(0, 20)).size).toBe(20);
});

test('the most requests that may be sent end a rate, and take nothing from it', async () => {
  const capture = captureOf(requestsOf(20, GAP_US));
  const { document, text } = await dryRunPlan(capture, { rate: 50, duration: '1m', maxRequests: 30 });
  const { planned, multiplier, effectiveMultiplier } = document;
  expect(planned).toBe(30);
  expect(effectiveMultiplier).toBe(multiplier);
  expect(text).toContain('scaling rate: keeps order and the payload mix');
});
