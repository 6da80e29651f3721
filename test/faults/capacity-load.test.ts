import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type CapacityDocument, capacitySchema } from '../../src/documents/capacity.ts';
import { capacity } from '../../src/index.ts';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, requestMessage, TEST_EPOCH_US } from '../support/exchanges.ts';
import { runReprise } from '../support/process.ts';
import { uniform } from '../support/queue-simulator.ts';
import { serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SLO = 'latency: p(90)<500';
const STEP_S = 3;
const BUSIEST = { fromS: 20, toS: 23, perS: 60 };
const USUAL_PER_S = 20;

/** A recording with so many requests in each second, anywhere in it. Targets name their second. */
function captureWith(seconds: number, rateOf: (second: number) => number): string {
  const random = uniform(33);
  const exchanges = Array.from({ length: seconds }, (_, second) =>
    Array.from({ length: rateOf(second) }, () => random())
      .sort((a, b) => a - b)
      .map((within, at) =>
        exchangeOf({
          arrivalUs: TEST_EPOCH_US + Math.floor((second + within) * 1e6),
          request: requestMessage({ target: `/predict?second=${second}&at=${at}` }),
        }),
      ),
  );
  return captureOf(exchanges.flat());
}

function wandering(): string {
  const isBusy = (second: number) => second >= BUSIEST.fromS && second < BUSIEST.toS;
  return captureWith(40, (second) => (isBusy(second) ? BUSIEST.perS : USUAL_PER_S));
}

it('a search played another stretch at each step and printed rates that the target did not see', async () => {
  const arrivals: { readonly atMs: number; readonly second: number }[] = [];
  const server = await serverOf(({ target }, response) => {
    arrivals.push({ atMs: performance.now(), second: Number(/second=(\d+)/.exec(target)?.[1]) });
    response.end('{"outputs":[]}');
  });
  const seen: { readonly counted: number; readonly printed: number }[] = [];
  let counted = 0;
  const document = await capacity(
    wandering(),
    {
      ...{ target: server.url, slo: SLO, out: join(temporaryDirectory(), 'out'), step: `${STEP_S}s` },
      ...{ budget: '10m', compareAt1x: 'off', coolDown: '0s', multiplier: '0.5..2' },
    },
    {
      onStep: ({ windows, windowS, ratePerSecond }) => {
        const spanMs = windows.length * windowS * 1e3;
        const ofStep = arrivals.slice(counted).filter(({ second }) => second > 0);
        counted = arrivals.length;
        const lastMs = ofStep.at(-1)!.atMs;
        const inWindows = ofStep.filter(({ atMs }) => atMs > lastMs - spanMs).length;
        seen.push({ counted: inWindows / (spanMs / 1e3), printed: ratePerSecond });
      },
    },
  );
  expect(capacitySchema.parse(document)).toEqual(document);
  expect(document.load).toMatchObject({ isBusiest: true, seconds: STEP_S });
  expect(document.load.ratePerSecond / BUSIEST.perS).toBeCloseTo(1, 2);
  // Every step sends the load and nothing else. The probe sends the first requests of the recording.
  const probed = arrivals.filter(({ second }) => second === 0);
  expect(probed).toHaveLength(3);
  const seconds = new Set(arrivals.slice(probed.length).map(({ second }) => second));
  expect([...seconds].sort()).toEqual([20, 21, 22]);
  expect(seen).toHaveLength(document.steps.length);
  for (const { counted: own, printed } of seen) expect(Math.abs(printed / own - 1)).toBeLessThan(0.02);
  for (const { multiplier, ratePerSecond } of document.curve) {
    expect(Math.abs(ratePerSecond / (multiplier * BUSIEST.perS) - 1)).toBeLessThan(0.02);
  }
  expect(document.breakingPoint.passes).toEqual(
    document.curve.map(({ multiplier, ratePerSecond }) => ({ multiplier, ratePerSecond })).at(-1),
  );
});

async function search(capture: string, url: string, ...args: string[]): Promise<CapacityDocument> {
  const own = ['--slo', SLO, '--budget', '10m', '--compare-at-1x', 'off', '--cool-down', '0s', '--json'];
  const result = await runReprise(['capacity', capture, '--target', url, ...own, ...args]);
  return capacitySchema.parse(JSON.parse(result.stdout));
}

it('a region that fails at 1.3 to 1.45x and passes at 2x went unseen', async () => {
  const perS = 100;
  const overMs = 1_000;
  const recent: number[] = [];
  const server = await serverOf((_, response) => {
    const now = performance.now();
    recent.push(now);
    while ((recent[0] ?? now) < now - overMs) recent.shift();
    const load = recent.length / (overMs / 1e3) / perS;
    setTimeout(() => response.end('{"outputs":[]}'), load > 1.3 && load < 1.5 ? 700 : 0);
  });
  const out = join(temporaryDirectory(), 'out');
  const flags = ['--step', '2s', '--width', '50%', '--multiplier', '0.5..2', '--out', out];
  const document = await search(
    captureWith(20, () => perS),
    server.url,
    ...flags,
  );
  const { passes, fails } = document.breakingPoint;
  expect(passes?.multiplier).toBeGreaterThanOrEqual(1);
  expect(passes?.multiplier).toBeLessThan(1.3);
  expect(fails?.multiplier).toBeGreaterThan(1.3);
  expect(fails?.multiplier).toBeLessThan(1.5);
  expect(document.inverted).toEqual([2]);
});
