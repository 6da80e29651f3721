import { Scaling, type ScalingParts } from '../../src/replay/plan/scaling.ts';

/** A scaling with what a test cares about in its place; compressed and complete where nothing is said. */
export function scalingAt(
  multiplier: number,
  parts: Partial<ScalingParts['options']> = {},
  rest: Partial<Omit<ScalingParts, 'options'>> = {},
): Scaling {
  return new Scaling({
    options: {
      multiplier,
      scaling: 'compress',
      stages: null,
      targetShare: 1,
      seed: 1,
      jitterMs: 0,
      perturb: [],
      ...parts,
    },
    coverage: 1,
    ...rest,
  });
}
