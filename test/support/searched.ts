import { type CapacityFacts, capacityDocument } from '../../src/analysis/capacity/build-document.ts';
import type { CapacityDocument, CapacityStep, StepWindow } from '../../src/documents/capacity.ts';

const SLO = 'latency: p(95)<200';
/** Requests per second that the target of these searches can answer. */
const CAPACITY = 100;
const RATE = 20;
const WINDOW_S = 5;

const FACTS: CapacityFacts = {
  version: '0.1.0',
  capture: '/captures/<monday>',
  target: 'http://127.0.0.1:8000',
  name: 'nightly',
  tested: { labels: { build: 'v1.4.2' }, captureDigest: '0123456789abcdef' },
  objectives: [SLO, 'errors: rate<0.01'],
  tiers: [],
  scalingAt: (multiplier) => ({
    scaling: multiplier < 1 ? 'thin' : 'compress',
    scalingKeeps: 'order',
    scalingBends: 'think times',
  }),
  search: {
    goals: ['all'],
    start: 1,
    floor: 0.1,
    ceiling: 64,
    width: 0.1,
    noise: 0.02,
    windowSAt: () => WINDOW_S,
    windowsToDecide: 3,
    overheadS: 5,
    budgetS: 600,
  },
  unseenAt: () => 0,
  load: {
    isBusiest: true,
    windows: [{ from: '2026-11-24T15:00:00.000000Z', to: '2026-11-24T15:00:29.999999Z' }],
    seconds: 30,
    ratePerSecond: RATE,
  },
  peakPerSecond: 30,
  replicas: 2,
  replicaCost: 2.5,
  directory: 'runs/search',
};

function windowOf(index: number, multiplier: number): StepWindow {
  const load = (multiplier * RATE) / CAPACITY;
  const isGood = load < 0.95;
  const latency = 40 / Math.max(0.05, 1 - load);
  const planned = Math.round(multiplier * RATE * WINDOW_S);
  return {
    index,
    result: isGood ? 'good' : 'bad',
    doubts: [],
    goals: { [SLO]: isGood, 'errors: rate<0.01': true },
    observed: { [SLO]: latency * 1.5, 'errors: rate<0.01': 0 },
    planned,
    sent: planned,
    completed: Math.min(planned, CAPACITY * WINDOW_S),
    failed: 0,
    good: isGood ? planned : 0,
    latencyMs: { p50: latency, p95: latency * 1.5, p99: latency * 2, max: latency * 3 },
    latencyMeanMs: latency,
  };
}

/** A step of two windows at a load, for a target that answers 100 requests per second. */
export function playedAt(multiplier: number, parts: Partial<CapacityStep> = {}): CapacityStep {
  const windows = [windowOf(0, multiplier), windowOf(1, multiplier)];
  const first = windows[0]!;
  return {
    multiplier,
    purpose: 'narrow',
    verdict: first.result === 'good' ? 'PASS' : 'FAIL',
    reasons: [],
    ratePerSecond: multiplier * RATE,
    achieved: { share: 1, ratePerSecond: first.completed / WINDOW_S },
    latencyMs: first.latencyMs,
    latencyMeanMs: first.latencyMeanMs,
    windowS: WINDOW_S,
    windows,
    endedEarly: null,
    spentS: 15,
    settledS: 1,
    run: 'steps/01',
    ...parts,
  };
}

/** The document of a search with these steps. */
export function searched(
  steps: readonly CapacityStep[],
  endedBy: CapacityDocument['endedBy'] = 'resolved',
  noise = 0.02,
  tiers: CapacityFacts['tiers'] = [],
): CapacityDocument {
  return capacityDocument(
    { ...FACTS, tiers },
    {
      schemaVersion: 1,
      kind: 'capacity-state',
      settings: '',
      generator: '',
      endedAt: null,
      windowS: WINDOW_S,
      load: { isBusiest: true, parts: [{ fromUs: 0, toUs: 30e6 }] },
      startedAt: '2026-11-24T15:00:00.000000Z',
      calibration: null,
      noise: { share: noise, source: 'measured', pairs: 100 },
      baselineMs: 40,
      steps: [...steps],
    },
    endedBy,
    '2026-11-24T15:10:00.000000Z',
  );
}
