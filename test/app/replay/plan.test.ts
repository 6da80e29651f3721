import { describe, expect, it, test } from 'vitest';
import { planLines } from '../../../src/analysis/plan/view.ts';
import { askedMultiplier, beyondSenders, planFacts, statedBounds } from '../../../src/app/replay/plan.ts';
import { planEndOf } from '../../../src/replay/plan/forecast.ts';
import { scheduledBy } from '../../replay/plan/scheduled.ts';

const SECOND_US = 1_000_000;

/** So many seconds, the n-th of which holds what is said; nothing lies at their edges. */
function arrivalsOf(seconds: number, perSecond: (second: number) => number, fromUs = 700_000): number[] {
  return Array.from({ length: seconds }, (_, second) => {
    const count = perSecond(second);
    return Array.from({ length: count }, (_each, n) =>
      Math.round(fromUs + (second + (n + 0.5) / count) * SECOND_US),
    );
  }).flat();
}

const steady = arrivalsOf(100, () => 4);

function linesOf(flags: Parameters<typeof scheduledBy>[1], arrivals = steady): string {
  return planLines(planFacts(scheduledBy(arrivals, flags).plan)).join('\n');
}

describe('the end of a plan', () => {
  it('stages end before the duration that was asked for', () => {
    const text = linesOf({ stages: '5s@1x', duration: '20s' });
    expect(text).toContain(
      'the plan ends after 5.0 s of the run, with its stages: --duration 20.0 s is longer',
    );
    expect(text).toContain('they replay 5.0 s of the recording');
    expect(text).not.toContain('until the duration is over');
    expect(text).not.toContain('repeated');
  });

  it('the duration ends before the stages do', () => {
    const text = linesOf({ stages: '5s@1x,3s@1x..2x', duration: '6s', multiplier: '10' });
    expect(text).toContain('the plan ends after 6.0 s of the run');
    expect(text).toContain('they replay 61.7 s of the recording, until the duration is over');
  });

  it('the windows end before the stages and the duration do', () => {
    const text = linesOf({ stages: '10m@1x', duration: '20m', loop: '1' });
    expect(text).toMatch(/ends after 99\.\d s of the run, with its windows: --duration 20\.0 min is longer/);
    expect(text).toMatch(/they replay 99\.\d s of the recording, to the end of the windows/);
    expect(linesOf({ loop: '3', duration: '1h' })).toContain(
      'with its windows: --duration 60.0 min is longer',
    );
  });

  it('windows are called repeated where they are', () => {
    expect(linesOf({ duration: '8s' })).not.toContain('repeated');
    expect(linesOf({ duration: '8s' })).not.toContain('meet warm caches');
    expect(linesOf({ duration: '250s' })).toContain('repeated until the duration is over');
    expect(linesOf({ stages: '250s@1x', duration: '1h' })).toContain('repeated until the stages are over');
    expect(linesOf({ loop: '3', duration: '150s' })).toContain('replayed up to 3 times');
    expect(linesOf({ loop: '3' })).toContain('replayed 3 times');
  });

  it('ramps that whole sessions follow late are said to be bent, and no others', () => {
    const bent = 'steps and ramps of the stages, which only sessions that begin meanwhile follow';
    const ramp = { stages: '20s@1x..3x' };
    expect(linesOf({ ...ramp, scaling: 'amplify' })).toMatch(new RegExp(`changes payloads.*; ${bent}`));
    expect(linesOf({ stages: '20s@1x,20s@0.5x', scaling: 'thin' })).toContain(bent);
    expect(linesOf({ ...ramp, scaling: 'compress' })).not.toContain(bent);
    expect(linesOf({ stages: '20s@2x,20s@2x', scaling: 'amplify' })).not.toContain(bent);
    expect(linesOf({ multiplier: '2', scaling: 'amplify' })).not.toContain(bent);
  });

  it('is known for a lone arrival that is repeated', () => {
    const { plan } = scheduledBy([1_500_000], { stages: '20s@1x', duration: '1h', scaling: 'amplify' });
    expect(planEndOf(plan.scaling, plan.window).offsetNs).toBe(20e9);
    expect(askedMultiplier(plan)).toBe(1);
  });
});

describe('the length of a plan', () => {
  it.each<[string, Parameters<typeof scheduledBy>[1], number]>([
    ['stages', { stages: '10s@1x' }, 30],
    ['windows', { window: ['..1970-01-01T00:00:10Z'] }, 29],
    ['a duration', { duration: '12s' }, 12],
  ])('holds the copies that come after what they repeat, where it ends with %s', (_, flags, leastS) => {
    const copied = { multiplier: '2', scaling: 'amplify,jitter=20s', ...flags };
    const { plan, planned, lastNs } = scheduledBy(steady, copied);
    expect(plan.window.plannedSpanNs).toBeGreaterThan(lastNs);
    expect(plan.window.plannedSpanNs).toBeGreaterThanOrEqual(leastS * 1e9);
    expect(plan.window.plannedSpanNs).toBeLessThanOrEqual((leastS + 1) * 1e9);
    if (flags.duration === undefined) {
      expect(Math.abs(plan.forecast.plannedExchanges / planned - 1)).toBeLessThan(0.03);
    }
  });
});

describe('the requests that are foreseen', () => {
  // Quiet, then busy: the mean says nothing of either part.
  const rising = arrivalsOf(400, (second) => (second < 320 ? 2 : 20));

  it.each<[string, Parameters<typeof scheduledBy>[1], number]>([
    ['the begin of a window is quiet', { duration: '8s', multiplier: '40' }, 0.02],
    ['most of a window is played', { duration: '9500ms', multiplier: '40' }, 0.02],
    ['a window is played and a part of it again', { duration: '15s', multiplier: '40' }, 0.02],
    ['a window is played twice at most', { duration: '1h', loop: '2', multiplier: '40' }, 0.02],
    ['sessions are played more often', { duration: '300s', scaling: 'amplify', multiplier: '3' }, 0.02],
    ['stages end within the window', { stages: '50s@0.5x', scaling: 'amplify', multiplier: '10' }, 0.02],
    ['stages pass quickly', { stages: '4s@1x,4s@1x..2x', multiplier: '20' }, 0.02],
  ])('are those of what is played: %s', (_, flags, within) => {
    const { plan, planned } = scheduledBy(rising, flags);
    expect(Math.abs(plan.forecast.plannedExchanges / planned - 1)).toBeLessThan(within);
  });

  it('are counted in the last second that stages reach', () => {
    // Half of what lies in five seconds lies in the last, which roll-ups hold with what follows it.
    const late = [1_680_000, 3_000_000, 6_200_000, 6_500_000, 6_900_000, 9_000_000];
    const { plan, planned } = scheduledBy(late, {
      stages: '5s@0.5x',
      multiplier: '10',
      scaling: 'amplify,jitter=0s',
    });
    expect(planned).toBe(20);
    expect(plan.forecast).toMatchObject({ exchanges: 4, plannedExchanges: 20 });
    expect(askedMultiplier(plan)).toBe(5);
  });

  it.each([
    ['begins and ends within seconds', '1970-01-01T00:00:03.950Z', '1970-01-01T00:00:05.050Z', 22],
    ['lies within one second', '1970-01-01T00:00:03.250Z', '1970-01-01T00:00:03.750Z', 10],
    ['is all that there is', undefined, undefined, 190],
  ])('are not all of a second where a window %s', (_, from, to, expected) => {
    const even = arrivalsOf(19, () => 10, 0).map((us) => 700_000 + us / 2);
    const { plan, planned } = scheduledBy(even, { window: from === undefined ? [] : [`${from}..${to}`] });
    expect(Math.abs(planned - expected)).toBeLessThanOrEqual(1);
    expect(Math.abs(plan.forecast.exchanges - planned)).toBeLessThanOrEqual(1);
  });

  it('round no multiplier that was asked for', () => {
    const { plan } = scheduledBy(steady, { stages: '1s@1.3x', scaling: 'amplify' });
    expect(askedMultiplier(plan)).toBeCloseTo(1.3, 9);
  });

  it('bound every second of what a duration leaves of the window', () => {
    for (const duration of ['250ms', '1s', '2300ms', '12s']) {
      for (const from of [undefined, '1970-01-01T00:00:03.950Z']) {
        const { plan, peakPerSecond } = scheduledBy(rising, {
          duration: duration,
          multiplier: '30',
          window: from === undefined ? [] : [`${from}..`],
        });
        expect(plan.forecast.plannedPeakPerSecond).toBeGreaterThanOrEqual(peakPerSecond);
      }
    }
  });
});

describe('copies', () => {
  it('say what is made new in them, and nothing where there are none', () => {
    const told = 'in JSON bodies request_id and rid of chat, completions and generate, id of v2 and generate';
    expect(linesOf({ scaling: 'amplify', multiplier: '2' })).toContain(told);
    expect(linesOf({ multiplier: '2' })).not.toContain('made new');
  });
});

test.each([
  [{ lagMs: null, share: null }, {}],
  [{ lagMs: 20, share: null }, { lagNs: 20e6 }],
  [{ lagMs: null, share: 0.5 }, { lagShare: 0.5 }],
  [
    { lagMs: 20, share: 0.5 },
    { lagNs: 20e6, lagShare: 0.5 },
  ],
])('a stated share of --lag-bound reaches the judgement: %o', (lagBound, bounds) => {
  expect(statedBounds({ lagBound, confidence: 0.95 })).toEqual({ ...bounds, confidence: 0.95 });
});

test('a plan that a sender can send was refused, because its upper bound is twice its peak', () => {
  const busy = arrivalsOf(3, () => 12_000);
  const source = { isSelective: false } as Parameters<typeof beyondSenders>[1];
  const refusal = (flags: Parameters<typeof scheduledBy>[1]) =>
    beyondSenders(scheduledBy(busy, flags).plan, source)?.code ?? null;
  expect(refusal({ multiplier: '1' })).toBeNull();
  expect(refusal({ multiplier: '1.6' })).toBeNull();
  expect(refusal({ multiplier: '2' })).toBe('OPTION_INVALID');
  expect(refusal({ rate: '19000', duration: '1s' })).toBeNull();
  expect(refusal({ rate: '21000', duration: '1s' })).toBe('OPTION_INVALID');
});
