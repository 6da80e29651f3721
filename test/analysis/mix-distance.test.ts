import { describe, expect, test } from 'vitest';
import { MixDistance, sizeClassOf } from '../../src/analysis/mix-distance.ts';

const entry = (route: string, requestBytes = 100, model: string | null = null) => ({
  route,
  model,
  requestBytes,
});

describe('MixDistance', () => {
  test('is the share that would have to be exchanged', () => {
    const mix = new MixDistance(3);
    for (const route of ['a', 'a', 'a', 'b']) mix.add(0, entry(route));
    for (const route of ['a', 'b']) mix.add(1, entry(route));
    mix.add(2, entry('c'));
    expect(mix.between(0, 1)).toBeCloseTo(0.25, 12);
    expect(mix.between(1, 0)).toBeCloseTo(0.25, 12);
    expect(mix.between(0, 2)).toBe(1);
    expect(mix.between(0, 0)).toBe(0);
  });

  test('tells sizes apart by powers of two, and models and routes by name', () => {
    const mix = new MixDistance(2);
    mix.add(0, entry('a', 1_024));
    mix.add(1, entry('a', 2_047));
    expect(mix.between(0, 1)).toBe(0);
    mix.add(0, entry('a', 2_048));
    mix.add(1, entry('a', 1_024));
    expect(mix.between(0, 1)).toBe(0.5);
    const models = new MixDistance(2);
    models.add(0, entry('a', 1, 'm1'));
    models.add(1, entry('a', 1, 'm2'));
    expect(models.between(0, 1)).toBe(1);
  });

  test('has no answer while a stream is empty', () => {
    const mix = new MixDistance(2);
    mix.add(0, entry('a'));
    expect(mix.between(0, 1)).toBeNull();
  });

  test('stays small for endless routes, and never overstates the distance for it', () => {
    const mix = new MixDistance(2);
    for (let at = 0; at < 20_000; at++) {
      mix.add(0, entry(`/left/${at}`));
      mix.add(1, entry(`/left/${at}`));
    }
    expect(mix.between(0, 1)).toBe(0);
    for (let at = 0; at < 20_000; at++) mix.add(1, entry(`/right/${at}`));
    expect(mix.between(0, 1)).toBeLessThanOrEqual(0.5);
    expect(mix.between(0, 1)).toBeGreaterThan(0.1);
  });

  test('puts sizes into classes', () => {
    expect([0, 1, 2, 3, 4, 2 ** 32, 2 ** 40].map(sizeClassOf)).toEqual([0, 1, 2, 2, 3, 33, 41]);
  });
});
