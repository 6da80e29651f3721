import { describe, expect, test } from 'vitest';
import { capacityPage } from '../../../src/analysis/capacity/page.ts';
import { goalsOfTier, keepsAll, type Tier } from '../../../src/analysis/capacity/tiers.ts';
import { capacityScreen, capacityView } from '../../../src/analysis/capacity/view.ts';
import { viewText } from '../../../src/analysis/render/table.ts';
import { pageAssets } from '../../../src/app/package.ts';
import { TonedLine } from '../../../src/core/text.ts';
import { type CapacityDocument, capacitySchema } from '../../../src/documents/capacity.ts';
import { parseObjectives } from '../../../src/documents/metrics/objectives.ts';
import { playedAt, searched } from '../../support/searched.ts';

function tierOf(name: string, ...texts: string[]): Tier {
  return { name, objectives: parseObjectives(texts) };
}

const STRICT = 'latency: p(95)<100';
const GOLD = tierOf('gold', STRICT);
const SILVER = tierOf('silver', 'latency: p(95)<200');
const TIERS = [GOLD, SILVER];

const FORECAST: CapacityDocument['forecast'] = {
  executors: 12,
  executorsLeast: 10,
  executorsMost: 14,
  isOpen: false,
  services: [],
  fitted: { from: '', to: '', requests: 1_234_567 },
  checked: { from: '', to: '', requests: 1_234_567, percentiles: [] },
  assumptions: [],
};

function screenOf(document: CapacityDocument): string[] {
  return capacityScreen(document).map((line) => (line instanceof TonedLine ? line.text : line));
}

describe('a tier', () => {
  test('counts its own goals and those that nobody stated, and none of another tier', () => {
    const goals = [STRICT, 'latency: p(95)<200', 'errors: rate<0.01', 'rejected: rate<0.01'];
    expect(goalsOfTier(GOLD, TIERS, goals)).toEqual([STRICT, 'errors: rate<0.01', 'rejected: rate<0.01']);
    expect(goalsOfTier(SILVER, TIERS, goals)).toEqual(goals.slice(1));
  });

  test('counts each model of an objective on every model', () => {
    const [every, one] = [tierOf('every', 'latency{*model}: p(95)<200'), tierOf('one', 'latency: p(95)<200')];
    const goals = ['latency{model=a}: p(95)<200', 'latency{model="b c"}: p(95)<200', 'latency: p(95)<200'];
    expect(goalsOfTier(every, [every, one], goals)).toEqual(goals.slice(0, 2));
    expect(goalsOfTier(one, [every, one], goals)).toEqual(goals.slice(2));
  });

  test('is kept by a window only where all of its goals are known to be', () => {
    const goals = ['a', 'b'];
    expect(keepsAll({ a: true, b: true, c: false }, goals)).toBe(true);
    expect(keepsAll({ a: null, b: false }, goals)).toBe(false);
    expect(keepsAll({ a: true, b: null }, goals)).toBeNull();
    expect(keepsAll({ c: true }, goals)).toBeNull();
  });
});

describe('a search with tiers', () => {
  /** The target answers 100 requests a second; the strict objective breaks at half of that. */
  const steps = [1, 2, 3, 4, 4.5, 5, 6].map((load) => {
    const step = playedAt(load);
    const holds = load < 2.5;
    const windows = step.windows.map((window) => ({
      ...window,
      result: holds && window.result === 'good' ? ('good' as const) : ('bad' as const),
      goals: { ...window.goals, [STRICT]: holds },
    }));
    return { ...step, windows };
  });
  const document = searched(steps, 'resolved', 0.02, TIERS);

  test('says for each what passes and what fails, of the same windows', () => {
    expect(capacitySchema.parse(document)).toEqual(document);
    expect(document.tiers).toMatchObject([
      { name: 'gold', passes: { multiplier: 2 }, fails: { multiplier: 3 } },
      { name: 'silver', passes: { multiplier: 4.5 }, fails: { multiplier: 5 } },
    ]);
    expect(document.breakingPoint).toMatchObject({ passes: { multiplier: 2 }, fails: { multiplier: 3 } });
    expect(document.tiers?.[1]?.objectives).toEqual(['latency: p(95)<200', 'errors: rate<0.01']);
  });

  test('says which limits a good request keeps: the strictest of all tiers', () => {
    expect(viewText(capacityView(document)).join('\n')).toContain('within latency<100 (ms');
    const sliced = searched(steps, 'resolved', 0.02, [
      tierOf('a', 'latency: p(90)<100; ttft{model=a}: p(95)<50', 'errors: rate<0.1'),
      tierOf('b', 'latency: p(99)<300; goodput: rate>0.9 where latency<=90'),
    ]);
    expect(viewText(capacityView(sliced)).join('\n')).toContain('latency<=90; {model=a}: ttft<50 (ms');
  });

  test('prints each on the one screen, and all of them with their objectives', () => {
    const many = searched(
      steps,
      'budget',
      0.02,
      Array.from({ length: 6 }, (_, at) => tierOf(`tier-${at}`, `latency: p(95)<${200 + at}`)),
    );
    expect(screenOf(document).join('\n')).toContain('tier silver: passes 4.5x (90.0/s); fails 5x');
    expect(capacityPage(document, pageAssets())).toContain('tier gold passes');
    expect(screenOf(many).join('\n')).toContain('3 more tiers');
    expect(viewText(capacityView(many)).join('\n')).toContain('tier-5');
  });

  const doubts = [
    'achieved_below',
    'arrivals_off_plan',
    'connection_wait',
    'in_flight_cap',
    'lag_over_bound',
  ];
  const spoilt = { ...steps[0]!.windows[0]!, result: 'void' as const, doubts };

  test('says of each load how many windows the generator spoiled', () => {
    const found = searched(steps, 'budget', 0.1, []);
    const spoiled = found.steps.map((step, at) => ({
      ...step,
      windows: at === 0 ? [spoilt, spoilt] : step.windows,
    }));
    const [first] = found.steps;
    const line = screenOf({ ...found, steps: spoiled }).find((each) => each.includes('not judged'));
    expect(line).toContain(
      `2 windows at ${first?.multiplier}x not judged, limited by the generator: achieved_below`,
    );
  });

  test.each([1, 3, 4, 30])('fits on the screen of a crowded result with %i tiers of any name', (count) => {
    for (const length of [4, 40, 200]) {
      const tiers = Array.from({ length: count }, (_, at) =>
        tierOf(`${'n'.repeat(length)}-${at}`, `latency: p(95)<${200 + at}`),
      );
      for (const endedBy of [
        'resolved',
        'budget',
        'target_failed',
        'unjudged',
        'not_representative',
      ] as const) {
        const found = searched(steps, endedBy, endedBy === 'resolved' ? 0.5 : 0.02, tiers);
        const crowded: CapacityDocument = {
          ...found,
          directory: '/var/lib/somewhere/rather/long/path/to/runs/that/wraps/capacity-of-monday',
          gaveFirst: {
            ...found.gaveFirst!,
            objective: 'latency{model=a-long-model-name,route="POST /v1/chat/completions"}: p(95)<200',
          },
          sizing: found.sizing && { ...found.sizing, costPerThousandGood: 0.000123 },
          steps: found.steps.map((step) => ({
            ...step,
            purpose: 'widen' as const,
            windows: [...step.windows, spoilt],
          })),
        };
        for (const each of [crowded, { ...crowded, forecast: FORECAST }]) {
          const lines = screenOf(each);
          expect(lines.length, lines.join('\n')).toBeLessThanOrEqual(20);
          expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
          expect(lines.some((line) => line.includes('tier'))).toBe(true);
        }
      }
    }
  });
});
